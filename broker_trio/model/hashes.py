"""Java's string hash, fast: consume queues, filters and the key index are made of it.

    h(s) = s[0]*31^(n-1) + s[1]*31^(n-2) + … + s[n-1]     over UTF-16 units, in signed 32 bits

A loop over the characters costs 3 to 5 µs for a typical key. Two facts make it cheaper:

* it is a polynomial, so `sum(map(mul, units backwards, POWERS))` computes it in C;
* h(a + b) = h(a) * 31^len(b) + h(b), so that the hash of a shared beginning can be kept
  (`wire/java.py` does so for index keys).

A tag's code is asked for once a message and tags are few: a bounded cache holds them (0.06 µs).
"""

from functools import lru_cache
from operator import mul
from struct import unpack
from typing import Final

CHUNK: Final = 1024  # units hashed in one go; longer texts take several
TAGS_CACHED_MAX: Final = 4096
TAGS_KEPT_MAX: Final = 128  # characters: a cache of texts of 32 KiB would be one of 100 MiB

POWERS: Final = tuple(pow(31, exponent, 1 << 32) for exponent in range(CHUNK))
_CHUNK_POWER: Final = pow(31, CHUNK, 1 << 32)


def signed32(value: int) -> int:
    """Wrap to a signed 32-bit integer as Java's int arithmetic does."""
    return ((value + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def units_of(text: str) -> bytes | tuple[int, ...]:
    """The text's UTF-16 units; a pair of surrogates is two of them. Plain ASCII stays bytes."""
    if text.isascii():
        return text.encode()
    raw = text.encode("utf-16-be", "surrogatepass")
    return unpack(f">{len(raw) // 2}H", raw)


def polynomial(units: bytes | tuple[int, ...]) -> int:
    """The unwrapped hash of `units`, congruent to the real one modulo 2**32."""
    if len(units) <= CHUNK:
        return sum(map(mul, units[::-1], POWERS))
    value = 0
    head = len(units) % CHUNK
    if head:
        value = polynomial(units[:head])
    for start in range(head, len(units), CHUNK):
        chunk = units[start : start + CHUNK]
        value = (value * _CHUNK_POWER + sum(map(mul, chunk[::-1], POWERS))) & 0xFFFFFFFF
    return value


def java_hash(text: str) -> int:
    """`String.hashCode()`: signed 32 bits; 0 for the empty text."""
    return signed32(polynomial(units_of(text)))


_kept_hash: Final = lru_cache(TAGS_CACHED_MAX)(java_hash)


def tags_code(tags: str) -> int:
    """What a consume-queue unit stores for the property TAGS; 0 where there is none.

    Several tags are still one text: RocketMQ hashes it whole, whatever the topic's filter type.
    """
    return _kept_hash(tags) if len(tags) <= TAGS_KEPT_MAX else java_hash(tags)
