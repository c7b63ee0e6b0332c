"""The properties of an incoming message: decide whether anything is special, and what is stored.

    name 0x01 value 0x02 name 0x01 value 0x02 …      (the last 0x02 may be missing)

Most messages hold UNIQ_KEY, WAIT, TAGS and KEYS and are stored as they came, less WAIT, plus what
the broker adds: that takes a few searches in the bytes and no parsing (2.5 µs). What differs from
one message of a producer to the next is often the UNIQ_KEY alone: all the rest is a *shape*, which
is remembered with what was found out about it (0.6 µs). Names that make the broker act (DELAY),
that it must not store (POP_CK, transient ones), that ask for what this broker does not do (timers,
transactions, inner batches), and everything that is not cleanly formed takes the slow way through
a dict. As RocketMQ does: pieces without a name or a value are dropped, the last of equal names
wins.
"""

import re
from collections.abc import Sequence
from typing import Final, final

import msgspec

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.message import DELAY_LEVELS_S, PROPERTIES_SIZE_MAX
from broker_trio.runtime.seams import Entropy
from broker_trio.wire.java import tags_code_of

TRANSIENT_PREFIX: Final = "__RMQ.TRANSIENT."
TIMER_NAMES: Final = frozenset({"TIMER_DELAY_SEC", "TIMER_DELAY_MS", "TIMER_DELIVER_MS"})
NEVER_STORED: Final = frozenset({"POP_CK", "WAIT", "__CRC32#"})
ADDED_NAMES: Final = ("MSG_REGION", "TRACE_ON", "CLUSTER")
"""What the broker adds to every message; a sender's own are dropped."""

_NOTICED: Final = re.compile(
    rb"\x02(?:DELAY\x01|TIMER_DEL|TRAN_MSG\x01|POP_CK\x01|INNER_|MSG_REGION\x01|TRACE_ON\x01"
    rb"|CLUSTER\x01|__RMQ\.TRANSIENT\.|__CRC32#)"
)
_WAIT: Final = b"\x02WAIT\x01"
_WAIT_TRUE: Final = b"\x02WAIT\x01true\x02"
_UNIQ_KEY: Final = b"\x02UNIQ_KEY\x01"
_TAGS: Final = b"\x02TAGS\x01"
_KEYS: Final = b"\x02KEYS\x01"
_KEY_NAME: Final = b"UNIQ_KEY\x01"
SHAPE_BYTES_MAX: Final = 1_024  # of one shape; larger ones are found out anew each time
SHAPES_MAX: Final = 1_024  # entries; producers with KEYS of their own on each message go without


class Scanned(msgspec.Struct, gc=False):
    """What was found. `special`: it is stored as something else than what was sent."""

    stored: bytes = b""
    tags_code: int = 0
    uniq_key: bytes = b""
    has_keys: bool = False
    wait: bool = True
    delay_level: int = 0
    special: bool = False
    refusal: Refused | None = None


class _Shape(msgspec.Struct, gc=False):
    """Properties with a hole for the UNIQ_KEY."""

    before: bytes
    after: bytes
    tags_code: int
    has_keys: bool


@final
class Scanner:
    """Scans for one broker, which adds `MSG_REGION`, `TRACE_ON` and `CLUSTER` to every message."""

    def __init__(self, entropy: Entropy, region: str, trace_on: str, cluster: str) -> None:
        self._entropy = entropy
        added = zip(ADDED_NAMES, (region, trace_on, cluster), strict=True)
        self._suffix = "".join(f"{name}\x01{value}\x02" for name, value in added).encode()
        self._shapes: dict[bytes, _Shape] = {}

    def scan(self, raw: bytes) -> Scanned:
        """What of these properties is stored and acted on. A refusal is in the result."""
        at = raw.find(_KEY_NAME) + len(_KEY_NAME)
        end = raw.find(b"\x02", at)
        key = raw[at:end]
        rest = raw[:at] + raw[end:]
        shape = self._shapes.get(rest)
        if shape is not None and key.isalnum():
            return Scanned(shape.before + key + shape.after, shape.tags_code, key, shape.has_keys)
        found = self._search(raw)
        if found.uniq_key == key and found.wait and not found.special and key.isalnum():
            self._remember(rest, found)
        return found

    def plain(self, raw: bytes) -> tuple[bytes, int] | None:
        """(stored, tags code) where the shape of `raw` is remembered (never special); else None.

        What the items of a batch take: the little that they need, in half a µs.
        """
        at = raw.find(_KEY_NAME) + len(_KEY_NAME)
        end = raw.find(b"\x02", at)
        key = raw[at:end]
        shape = self._shapes.get(raw[:at] + raw[end:])
        if shape is None or len(raw) > SHAPE_BYTES_MAX or not key.isalnum():
            return None
        return shape.before + key + shape.after, shape.tags_code

    def plain_run(self, raws: Sequence[bytes]) -> tuple[list[bytes], list[bytes], int] | None:
        """(stored, UNIQ_KEYs, tags code) where all differ in their UNIQ_KEYs alone; else None.

        All of one length. As `plain` for each, in half of its time.
        """
        first = raws[0]
        at = first.find(_KEY_NAME) + len(_KEY_NAME)
        end = first.find(b"\x02", at)
        before, after = first[:at], first[end:]
        shape = self._shapes.get(before + after)
        if shape is None or len(first) > SHAPE_BYTES_MAX:
            return None
        keys = [raw[at:end] for raw in raws]
        if (
            not b"".join(keys).isalnum()
            or [raw[:at] for raw in raws].count(before) != len(raws)
            or [raw[end:] for raw in raws].count(after) != len(raws)
        ):
            return None
        before, after = shape.before, shape.after
        return [before + key + after for key in keys], keys, shape.tags_code

    def _remember(self, rest: bytes, found: Scanned) -> None:
        if len(rest) > SHAPE_BYTES_MAX:
            return
        before, key, after = found.stored.partition(found.uniq_key)
        if not key or key in after or found.refusal is not None:
            return
        if len(self._shapes) >= SHAPES_MAX:
            self._shapes.clear()
        self._shapes[rest] = _Shape(before, after, found.tags_code, found.has_keys)

    def _search(self, raw: bytes) -> Scanned:
        """By searches in the bytes."""
        framed = b"\x02" + raw if raw[-1:] == b"\x02" else b"\x02" + raw + b"\x02"
        if (
            _NOTICED.search(framed) is not None
            or b"\x01\x02" in framed
            or b"\x02\x02" in framed
            or b"\x02\x01" in framed
            or framed.count(b"\x01") + 1 != framed.count(b"\x02")
        ):
            return self._slow(raw)
        wait = True
        if _WAIT in framed:
            if _WAIT_TRUE in framed:
                framed = framed.replace(_WAIT_TRUE, b"\x02", 1)
            if _WAIT in framed:  # WAIT=false, or said twice
                return self._slow(raw)
        at = framed.rfind(_UNIQ_KEY)
        if at < 0:
            return self._slow(raw)
        uniq_key = framed[at + 10 : framed.index(b"\x02", at + 10)]
        code = 0
        at = framed.rfind(_TAGS)
        if at >= 0:
            code = tags_code_of(framed[at + 6 : framed.index(b"\x02", at + 6)])
        return Scanned(
            framed[1:] + self._suffix,
            code,
            uniq_key,
            _KEYS in framed,
            wait,
        )

    def _slow(self, raw: bytes) -> Scanned:
        """By a dict of names, for everything that the searches cannot settle."""
        found = Scanned()
        pairs: dict[str, str] = {}
        for piece in raw.decode("utf-8", "replace").split("\x02"):
            name, _, value = piece.partition("\x01")
            if name and value:
                pairs[name] = value
        found.wait = pairs.get("WAIT", "true").lower() != "false"
        for name in list(pairs):
            if name in NEVER_STORED or name in ADDED_NAMES or name.startswith(TRANSIENT_PREFIX):
                del pairs[name]
        if not pairs.get("UNIQ_KEY"):
            pairs["UNIQ_KEY"] = f"{self._entropy.getrandbits(128):032X}"
        _judge(found, pairs)
        found.uniq_key = pairs["UNIQ_KEY"].encode()
        found.has_keys = "KEYS" in pairs
        tags = pairs.get("TAGS")
        if tags is not None:
            found.tags_code = tags_code_of(tags.encode())
        text = "".join(f"{name}\x01{value}\x02" for name, value in pairs.items())
        found.stored = text.encode() + self._suffix
        return found


def checked(stored: bytes) -> bytes:
    """The same properties, if a record can hold them; whoever adds to them asks anew.

    Raises `Refused` 13: their length is a signed short in the record.
    """
    if len(stored) > PROPERTIES_SIZE_MAX:
        raise Refused(
            ResponseCode.MESSAGE_ILLEGAL,
            f"the properties have {len(stored)} bytes, limit {PROPERTIES_SIZE_MAX}",
        )
    return stored


def _judge(found: Scanned, pairs: dict[str, str]) -> None:
    """Delay, or a refusal of what this broker does not do."""
    if pairs.get("TRAN_MSG", "").lower() == "true":
        found.refusal = Refused(
            ResponseCode.NO_PERMISSION, "this broker takes no transactional messages"
        )
    elif "INNER_NUM" in pairs or "INNER_MULTI_DISPATCH" in pairs:
        found.refusal = Refused(
            ResponseCode.MESSAGE_ILLEGAL, "inner batches and light queues are not supported"
        )
    elif "DELAY" in pairs:
        _delay(found, pairs)
    elif TIMER_NAMES & pairs.keys():
        name = min(TIMER_NAMES & pairs.keys())
        found.refusal = Refused(
            ResponseCode.SYSTEM_ERROR, f"timer messages are not enabled on this broker ({name})"
        )


def _delay(found: Scanned, pairs: dict[str, str]) -> None:
    """A delay level beats timer properties, as RocketMQ does; 0 and garbage mean none."""
    for name in TIMER_NAMES & pairs.keys():
        del pairs[name]
    try:
        level = int(pairs["DELAY"])
    except ValueError:
        level = 0
    found.delay_level = min(max(level, 0), len(DELAY_LEVELS_S))
    found.special = found.delay_level > 0
