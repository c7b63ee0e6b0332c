"""A message on its way out: what a user gives, checked, and what goes on the wire.

    Message(body, tag, keys, properties, delay) ──checks──▶ Outgoing(topic, body, properties, …)

Whatever no broker stores is told here, with the value and the limit, before anything is sent.

A message id is 32 hex digits in RocketMQ's layout, so that tools read its time:

    address 4 (127.0.0.1: a client does not know its own) | 2 and 4 of chance | milliseconds of the
    month 4 | counter 2
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict, final

from broker_trio.client.errors import InvalidName, MessageIllegal, UnsupportedDelay
from broker_trio.model import message as names
from broker_trio.model.errors import LocalProtocolError
from broker_trio.model.message import (
    DELAY_LEVELS_S,
    PROPERTIES_SIZE_MAX,
    PROPERTY_DELAY,
    PROPERTY_KEYS,
    PROPERTY_SHARDING_KEY,
    PROPERTY_TAGS,
    PROPERTY_UNIQ_KEY,
    SysFlag,
)
from broker_trio.model.names import NOT_SENDABLE, check_topic
from broker_trio.wire.properties import format_properties

if TYPE_CHECKING:
    from broker_trio.model.route import MessageQueue
    from broker_trio.runtime.seams import Entropy

BROKER_ADDS: Final = 512
"""Bytes of properties left to the broker, which adds its own to the same 32,767."""
RESERVED: Final = frozenset(
    value for name, value in vars(names).items() if name.startswith("PROPERTY_")
)
"""Names of properties that have a meaning of their own."""


class DelayLevel(IntEnum):
    """The delays that a broker knows, by level; the names tell seconds, minutes and hours."""

    S1, S5, S10, S30 = 1, 2, 3, 4
    M1, M2, M3, M4, M5, M6, M7, M8, M9, M10, M20, M30 = 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
    H1, H2 = 17, 18


Delay = timedelta | float | DelayLevel
"""A `timedelta`, seconds, or a level; it must be exactly one of the 18."""


class BatchNames(TypedDict, total=False):
    """What each kind of send takes beside its message; `Client.send` explains each."""

    ordering_key: str | None
    queue: "MessageQueue | None"
    timeout_s: float | None


class OnewayNames(BatchNames, total=False):
    """What one message has beside its topic and body."""

    tag: str
    keys: Iterable[str]
    properties: Mapping[str, str] | None


class SendNames(OnewayNames, total=False):
    """All that `send` takes beside topic, body and codec."""

    delay: Delay | None


def level_of(delay: Delay | None) -> int:
    """The level; 0 for no delay. Raises `UnsupportedDelay` for what is none of them."""
    if delay is None:
        return 0
    if isinstance(delay, DelayLevel):
        return int(delay)
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if seconds not in DELAY_LEVELS_S:
        known = " ".join(_short(level) for level in DELAY_LEVELS_S)
        raise UnsupportedDelay(f"delay of {seconds:g} s; brokers know these: {known}")
    return DELAY_LEVELS_S.index(int(seconds)) + 1


def _short(seconds: int) -> str:
    for size, unit in ((3_600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a batch. Text is sent as UTF-8."""

    body: bytes | str
    tag: str = ""
    keys: Iterable[str] = ()
    properties: Mapping[str, str] = field(default_factory=dict[str, str])


class Outgoing(NamedTuple):
    """A checked message: bytes that a broker takes."""

    topic: str
    message_id: str
    body: bytes
    properties: str
    sys_flag: int


@lru_cache(1_024)
def check_sendable(topic: str) -> None:
    """Raises `InvalidName` for a topic that clients may not send to. Cheap for a known one."""
    try:
        check_topic(topic)
    except ValueError as error:
        raise InvalidName(str(error)) from error
    if topic in NOT_SENDABLE:
        raise InvalidName(f"topic {topic} belongs to the brokers; clients may not send to it")


def checked_properties(
    message_id: str,
    *,
    tag: str = "",
    keys: Iterable[str] = (),
    properties: Mapping[str, str] | None = None,
    ordering_key: str | None = None,
    delay_level: int = 0,
    carried: Mapping[str, str] | None = None,
) -> str:
    """The properties as one string. `carried` comes from the client itself, unchecked by name."""
    found = dict(carried) if carried else {}
    if properties:
        found.update(_unreserved(properties))
    found[PROPERTY_UNIQ_KEY] = message_id
    if "|" in tag:
        raise MessageIllegal(f"tag {tag!r}: no consumer can ask for a tag with a |")
    if tag:
        found[PROPERTY_TAGS] = tag
    joined = _joined(keys)
    if joined:
        found[PROPERTY_KEYS] = joined
    if ordering_key:
        found[PROPERTY_SHARDING_KEY] = ordering_key
    if delay_level:
        found[PROPERTY_DELAY] = str(delay_level)
    try:
        raw = format_properties(found)
    except LocalProtocolError as error:
        raise MessageIllegal(f"{error} (the characters 1 and 2 are separators)") from error
    size_max = PROPERTIES_SIZE_MAX - BROKER_ADDS
    if len(raw) > size_max:
        raise MessageIllegal(f"{len(raw)} bytes of properties, tag and keys; limit {size_max}")
    return raw.decode()


def _unreserved(properties: Mapping[str, str]) -> Mapping[str, str]:
    for name in properties:
        if name in RESERVED:
            raise MessageIllegal(
                f"property {name} has a meaning of its own: tag, keys, ordering_key and delay are "
                "arguments, the others are set by brokers"
            )
    return properties


def _joined(keys: Iterable[str]) -> str:
    if isinstance(keys, str):
        keys = (keys,)
    found = []
    for key in keys:
        if not key or any(character.isspace() for character in key):
            raise MessageIllegal(f"key {key!r} is empty or has a space; keys are parted by spaces")
        found.append(key)
    return " ".join(found)


def checked_body(body: object, size_max: int) -> bytes:
    """The body as bytes, of at most `size_max`. Raises `MessageIllegal`."""
    if isinstance(body, str):
        body = body.encode()
    elif isinstance(body, bytearray | memoryview):
        body = bytes(body)
    if not isinstance(body, bytes):
        raise MessageIllegal(
            f"a body of type {type(body).__name__}: give bytes or text, or a codec with it"
        )
    if not body:
        raise MessageIllegal("an empty body: RocketMQ's clients refuse those")
    if len(body) > size_max:
        raise MessageIllegal(
            f"a body of {len(body)} bytes, limit {size_max} (option body_bytes_max; the brokers' "
            "own is message_size_max)"
        )
    return body


def packed(body: bytes, above: int | None) -> tuple[bytes, int]:
    """The body as it is sent, and its flag: compressed where it is large and gets smaller by it."""
    if above is None or len(body) <= above:
        return body, 0
    smaller = zlib.compress(body, 5)
    if len(smaller) >= len(body):
        return body, 0
    return smaller, SysFlag.COMPRESSED | SysFlag.COMPRESSION_ZLIB


@final
class MessageIds:
    """Ids that no other client makes. The chance in them is drawn anew with each month."""

    def __init__(self, entropy: "Entropy", wall_ms: Callable[[], int]) -> None:
        self._entropy, self._wall_ms = entropy, wall_ms
        self._count = entropy.getrandbits(16)
        self._begin = self._end = 0
        self._prefix = ""

    def next(self) -> str:
        now = self._wall_ms()
        if not self._begin <= now < self._end:
            self._begin, self._end = month_of(now)
            self._prefix = f"7F000001{self._entropy.getrandbits(48):012X}"
        self._count = self._count + 1 & 0xFFFF
        return f"{self._prefix}{now - self._begin:08X}{self._count:04X}"


def month_of(wall_ms: int) -> tuple[int, int]:
    """The month of this moment, in UTC: its first millisecond, and the next month's."""
    now = datetime.fromtimestamp(wall_ms / 1_000, UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = (first + timedelta(days=32)).replace(day=1)
    return int(first.timestamp() * 1_000), int(after.timestamp() * 1_000)
