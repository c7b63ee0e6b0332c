"""What Java decides about bytes: string hashes, the key index's hash, stored hosts, message ids.

`index_hash` is the hot one: every message has a UNIQ_KEY, so it runs once a message behind the
acknowledgement. The hashed text is `topic#key`, about 45 characters. A client's UNIQ_KEYs are

    ip (8 or 32 digits)  pid (4)  class loader (8)  ms in the month (8)  counter (4)

so all but the last 8 digits stay the same for 65 s. Their hash, multiplied by 31^8, is kept in a
bounded table under (topic, beginning) and only the last 8 digits are hashed, unrolled by hand since
that beats `sum(map(mul, …))` for so few: 0.6 µs, where the whole text takes 2 µs (2-core x86,
CPython 3.11).
"""

from functools import lru_cache
from typing import Final

from broker_trio.model.hashes import (
    POWERS,
    TAGS_CACHED_MAX,
    TAGS_KEPT_MAX,
    java_hash,
    polynomial,
    tags_code,
    units_of,
)
from broker_trio.model.hosts import decode_host, decode_message_id, encode_host, message_id

__all__ = [
    "absolute",
    "decode_host",
    "decode_message_id",
    "encode_host",
    "index_hash",
    "java_hash",
    "message_id",
    "shifted_hash",
    "tags_code",
    "tags_code_of",
    "topic_key_hash",
]

TAIL: Final = 8  # digits of a UNIQ_KEY that change quickly
UNIQ_KEY_LENGTHS: Final = frozenset({32, 56})
PREFIXES_MAX: Final = 8192  # entries; a wrong guess about keys costs time, never memory
MIN_INT: Final = 1 << 31

_prefixes: Final[dict[tuple[str, bytes], int]] = {}


def tags_code_of(tags: bytes) -> int:
    """`tags_code` of a property's bytes; what is no UTF-8 is replaced as Java replaces it."""
    return _kept_tags(tags) if len(tags) <= TAGS_KEPT_MAX else _hash_of(tags)


def _hash_of(tags: bytes) -> int:
    return java_hash(str(tags, "utf-8", "replace"))


_kept_tags: Final = lru_cache(TAGS_CACHED_MAX)(_hash_of)


def index_hash(topic_key: str) -> int:
    """The index's hash of a whole `topic#key`: the absolute value, 0 for the smallest int."""
    return absolute(polynomial(units_of(topic_key)))


def topic_key_hash(topic: str, key: bytes) -> int:
    """`index_hash` of `topic#key` for a key as it is stored; quick for UNIQ_KEYs."""
    if len(key) not in UNIQ_KEY_LENGTHS or not key.isascii():
        return index_hash(f"{topic}#{str(key, 'utf-8', 'replace')}")
    shifted = shifted_hash(topic, key[:-TAIL])
    a, b, c, d, e, f, g, h = key[-TAIL:]
    tail = ((((((a * 31 + b) * 31 + c) * 31 + d) * 31 + e) * 31 + f) * 31 + g) * 31 + h
    value = (shifted + tail) & 0xFFFFFFFF
    return value if value < MIN_INT else absolute(value)


def shifted_hash(topic: str, beginning: bytes) -> int:
    """The hash of `topic#` and an ASCII key's beginning, before the last `TAIL` units are added."""
    known = _prefixes.get((topic, beginning))
    if known is not None:
        return known
    if len(_prefixes) >= PREFIXES_MAX:
        _prefixes.clear()
    text = f"{topic}#{beginning.decode()}"
    shifted = polynomial(units_of(text)) * POWERS[TAIL] & 0xFFFFFFFF
    _prefixes[topic, beginning] = shifted
    return shifted


def absolute(value: int) -> int:
    """As Java's `Math.abs` of the int with these low 32 bits, 0 for the smallest one."""
    value &= 0xFFFFFFFF
    if value < MIN_INT:
        return value
    return (1 << 32) - value if value > MIN_INT else 0
