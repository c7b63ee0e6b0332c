"""The stored message record: what the commit log holds and what pull, pop and query replies carry.

    at   type      field                       at   type      field
     0   i32       totalSize                   48   4 + i32   bornHost           } 16 + i32 where
     4   i32       magic V1 or V2              56   i64       storeTimestamp     } sysFlag has 0x10
     8   i32       bodyCRC                     64   4 + i32   storeHost          } (born) or 0x20
    12   i32       queueId                     72   i32       reconsumeTimes     } (store): what
    16   i32       flag                        76   i64       preparedTransactionOffset   follows
    20   i64       queueOffset                 84   i32 + n   bodyLength, body   } moves by 12 each
    28   i64       physicalOffset            88+n   i8  + t   topicLength (V2: i16), topic
    36   i32       sysFlag                      …   i16 + p   propertiesLength, properties
    40   i64       bornTimestamp

* Big-endian, no padding: 91 bytes around body, topic and properties (V1, IPv4).
* V2 exactly where the topic is longer than 127 characters: V1's length byte is signed.
* CRC = CRC-32 & 0x7FFFFFFF, of the body as stored; 0 for an empty body.
* The records of PREPARED and ROLLBACK messages carry queueOffset 0; who appends passes it so.
* A segment ends in a filler: i32 bytes left, i32 BLANK, then anything.

Optionally the properties end in a checksum of the whole record: `__CRC32#` 0x01, ten digits with
the *lowest first*, 0x02. It is checked where it is present and never required.

Encoding gives buffers (head, body, tail): the log gathers them into one write and the body is never
copied (0.8 µs for 128 bytes; 2-core x86, CPython 3.11). Decoding comes in two kinds. `check_record`
is for our own log: it verifies, tells good from filler from damage, and never raises (3.6 µs).
`decode_record` is for bytes of peers: a value or RemoteProtocolError (4.5 µs).
"""

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.hosts import decode_host
from broker_trio.model.message import (
    DELAY_LEVELS_S,
    PROPERTY_CRC32,
    PROPERTY_DELAY,
    PROPERTY_TAGS,
    MessageExt,
)
from broker_trio.model.names import SCHEDULE_TOPIC
from broker_trio.wire.java import tags_code_of
from broker_trio.wire.properties import find_property, parse_properties

Buffer = bytes | bytearray | memoryview

MAGIC_V1: Final = 0xDAA320A7
MAGIC_V2: Final = 0xDAA320AB
BLANK_MAGIC: Final = 0xCBD43194
BLANK_SIZE_MIN: Final = 8  # a record needs this many bytes of its segment beside its own
RECORD_SIZE_MIN: Final = 91
TOPIC_LENGTH_V1_MAX: Final = 127
TOPIC_LENGTH_MAX: Final = 255
CRC_MASK: Final = 0x7FFFFFFF
CRC_PROPERTY_SIZE: Final = 20

HEAD_FORMATS: Final = (  # by (sysFlag >> 4) & 3: which of the two hosts is IPv6
    ">iIiiiqqiq8sq8siqi",
    ">iIiiiqqiq20sq8siqi",
    ">iIiiiqqiq8sq20siqi",
    ">iIiiiqqiq20sq20siqi",
)
_HEADS: Final = tuple(map(Struct, HEAD_FORMATS))
HEAD_SIZES: Final = tuple(head.size for head in _HEADS)  # 88, 100, 100, 112
_SIZE_AND_MAGIC: Final = Struct(">iI")
_INT: Final = Struct(">i")
_SHORT: Final = Struct(">h")
_LONG: Final = Struct(">q")
_CRC_PREFIX: Final = PROPERTY_CRC32.encode() + b"\x01"
_DELAY: Final = PROPERTY_DELAY.encode()
_TAGS: Final = PROPERTY_TAGS.encode()
_TOPICS_CACHED_MAX: Final = 4096


class RecordInfo(NamedTuple):
    """A good record, without its body: the fields of `broker_trio.store.entry.Entry`, in order."""

    topic: str
    queue_id: int
    queue_offset: int
    physical_offset: int
    size: int  # bytes
    tags_code: int
    store_timestamp_ms: int
    sys_flag: int
    properties: bytes


class Blank(NamedTuple):
    """The end-of-segment filler. `size` is what it says is left of the segment, in bytes."""

    size: int


class Flaw(Enum):
    """What is wrong with bytes that should be a record."""

    SHORT = "fewer bytes left than a record's first fields"
    EMPTY = "never written"  # zeros: how a segment in use normally ends
    SIZE = "impossible totalSize"
    CUT = "totalSize larger than what is left"
    MAGIC = "unknown magic"
    LENGTHS = "lengths that do not add up to totalSize"
    TOPIC = "a topic that is no name"
    POSITION = "physicalOffset is not where the record lies"
    BODY_CRC = "body checksum"
    PROPERTIES_CRC = "record checksum in the properties"


class Damage(NamedTuple):
    """No record here. `size` is the totalSize claimed (CUT: so much would have to be read)."""

    flaw: Flaw
    detail: str
    size: int = 0

    def __str__(self) -> str:
        return f"{self.flaw.value}: {self.detail}"


def body_crc(body: bytes) -> int:
    """31 bits of CRC-32; 0 for no body."""
    return crc32(body) & CRC_MASK


@lru_cache(_TOPICS_CACHED_MAX)
def topic_field(topic: str) -> bytes:
    """Length and name as a record holds them: one byte of length in V1, two in V2."""
    name = topic.encode()
    if len(name) <= TOPIC_LENGTH_V1_MAX:
        return bytes((len(name),)) + name
    assert len(name) <= TOPIC_LENGTH_MAX, f"a topic of {len(name)} bytes reached the log"
    return _SHORT.pack(len(name)) + name


def record_size(topic: str, body_size: int, properties_size: int, sys_flag: int) -> int:
    """Bytes that `record_parts` will make of these."""
    fixed = HEAD_SIZES[(sys_flag >> 4) & 3] + 2
    return fixed + body_size + len(topic_field(topic)) + properties_size


def record_parts(
    topic: str,
    queue_id: int,
    queue_offset: int,
    physical_offset: int,
    flag: int,
    sys_flag: int,
    born_timestamp_ms: int,
    born_host: bytes,
    store_timestamp_ms: int,
    store_host: bytes,
    reconsume_times: int,
    prepared_transaction_offset: int,
    body: bytes,
    properties: bytes,
) -> tuple[bytes, bytes, bytes]:
    """(head, body, tail) of one record; the body is the caller's own object.

    Hosts are in stored form (8 or 20 bytes) and must agree with the IPv6 bits of `sys_flag`.
    Everything must fit its field; what comes from a peer was checked before it came here.
    """
    kind = (sys_flag >> 4) & 3
    assert len(born_host) == (20 if kind & 1 else 8), "bornHost disagrees with sysFlag 0x10"
    assert len(store_host) == (20 if kind & 2 else 8), "storeHost disagrees with sysFlag 0x20"
    name = topic_field(topic)
    body_size, properties_size = len(body), len(properties)
    head = _HEADS[kind].pack(
        HEAD_SIZES[kind] + 2 + body_size + len(name) + properties_size,
        MAGIC_V1 if len(name) <= 128 else MAGIC_V2,
        crc32(body) & CRC_MASK,
        queue_id,
        flag,
        queue_offset,
        physical_offset,
        sys_flag,
        born_timestamp_ms,
        born_host,
        store_timestamp_ms,
        store_host,
        reconsume_times,
        prepared_transaction_offset,
        body_size,
    )
    return head, body, name + _SHORT.pack(properties_size) + properties


def batch_parts(
    topic: str,
    queue_id: int,
    queue_offset: int,
    physical_offset: int,
    sys_flag: int,
    born_timestamp_ms: int,
    born_host: bytes,
    store_timestamp_ms: int,
    store_host: bytes,
    reconsume_times: int,
    prepared_transaction_offset: int,
    items: Sequence[tuple[int, bytes, bytes, int]],
) -> tuple[list[bytes], list[int]]:
    """The buffers of many records one behind the other, and their sizes.

    As `record_parts` for each item, (flag, body, properties, whatever), with consecutive offsets;
    what they have in common is worked out once, which saves half of the time.
    """
    kind = (sys_flag >> 4) & 3
    assert len(born_host) == (20 if kind & 1 else 8), "bornHost disagrees with sysFlag 0x10"
    assert len(store_host) == (20 if kind & 2 else 8), "storeHost disagrees with sysFlag 0x20"
    name, pack, pack_short = topic_field(topic), _HEADS[kind].pack, _SHORT.pack
    magic = MAGIC_V1 if len(name) <= 128 else MAGIC_V2
    fixed = HEAD_SIZES[kind] + 2 + len(name)
    buffers: list[bytes] = []
    sizes: list[int] = []
    for flag, body, properties, _ in items:
        body_size, properties_size = len(body), len(properties)
        size = fixed + body_size + properties_size
        head = pack(
            size,
            magic,
            crc32(body) & CRC_MASK,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp_ms,
            born_host,
            store_timestamp_ms,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body_size,
        )
        buffers += (head, body, name, pack_short(properties_size), properties)
        sizes.append(size)
        physical_offset += size
        queue_offset += 1
    return buffers, sizes


def encode_record(message: MessageExt, born_host: bytes, store_host: bytes, raw: bytes) -> bytes:
    """One record in one piece, of a decoded message and its properties in stored form (`raw`)."""
    return b"".join(
        record_parts(
            message.topic,
            message.queue_id,
            message.queue_offset,
            message.physical_offset,
            message.flag,
            message.sys_flag,
            message.born_timestamp_ms,
            born_host,
            message.store_timestamp_ms,
            store_host,
            message.reconsume_times,
            message.prepared_transaction_offset,
            message.body,
            raw,
        )
    )


def with_crc_property(properties: bytes) -> bytes:
    """Properties with room for the record's checksum; fill it with `seal`. Off by default."""
    separator = b"" if not properties or properties.endswith(b"\x02") else b"\x02"
    return properties + separator + _CRC_PREFIX + b"0000000000\x02"


def seal(parts: tuple[bytes, bytes, bytes]) -> tuple[bytes, bytes, bytes]:
    """The same record with its checksum filled in, for properties of `with_crc_property`."""
    head, body, tail = parts
    covered = tail[:-CRC_PROPERTY_SIZE]
    assert tail[-CRC_PROPERTY_SIZE:].startswith(_CRC_PREFIX), "no room for the checksum"
    checksum = crc32(covered, crc32(body, crc32(head))) & CRC_MASK
    return head, body, covered + _CRC_PREFIX + (b"%010d" % checksum)[::-1] + b"\x02"


def dispatch_tags_code(
    topic: str,
    properties: bytes,
    store_timestamp_ms: int,
    delay_levels_s: Sequence[int] = DELAY_LEVELS_S,
) -> int:
    """What the consume-queue unit of a record holds beside position and size.

    The hash of TAGS; in SCHEDULE_TOPIC_XXXX the time at which to deliver, ms since 1970.
    """
    if topic == SCHEDULE_TOPIC:
        level = find_property(properties, _DELAY)
        if level is not None and len(level) < 10 and level.isdigit() and int(level) > 0:
            delay_s = delay_levels_s[min(int(level), len(delay_levels_s)) - 1]
            return store_timestamp_ms + delay_s * 1000
    tags = find_property(properties, _TAGS)
    return 0 if tags is None else tags_code_of(tags)


class _Spans(NamedTuple):
    """Where the variable parts of a record lie, as positions in the data."""

    kind: int
    size: int
    body: int
    topic_length: int  # here the body ends
    topic: int
    properties_length: int  # here the topic ends
    end: int


def _locate(data: Buffer, at: int) -> "_Spans | Blank | Damage":
    """Sizes and bounds only. Nothing is trusted, nothing is allocated by a claimed length."""
    left = len(data) - at
    if left < BLANK_SIZE_MIN:
        return Damage(Flaw.SHORT, f"{left} bytes")
    size, magic = _SIZE_AND_MAGIC.unpack_from(data, at)
    if magic == BLANK_MAGIC:
        return Blank(size) if size >= BLANK_SIZE_MIN else Damage(Flaw.SIZE, f"filler of {size}")
    if magic not in (MAGIC_V1, MAGIC_V2):
        flaw = Flaw.EMPTY if size == 0 and magic == 0 else Flaw.MAGIC
        return Damage(flaw, f"magic {magic:#010x}, totalSize {size}")
    if size < RECORD_SIZE_MIN:
        return Damage(Flaw.SIZE, f"{size} bytes", size)
    if size > left:
        return Damage(Flaw.CUT, f"{size} bytes of which {left} are here", size)
    spans = _spans(data, at, size, magic)
    return Damage(Flaw.LENGTHS, f"totalSize {size}", size) if spans is None else spans


def _spans(data: Buffer, at: int, size: int, magic: int) -> "_Spans | None":
    end = at + size
    kind = (data[at + 39] >> 4) & 3  # the low byte of sysFlag
    body = at + HEAD_SIZES[kind]
    if body + 3 > end:
        return None
    (body_size,) = _INT.unpack_from(data, body - 4)
    topic_length = body + body_size
    if body_size < 0 or topic_length + 3 > end:
        return None
    if magic == MAGIC_V1:
        topic, topic_size = topic_length + 1, data[topic_length]
        if topic_size > TOPIC_LENGTH_V1_MAX:
            return None
    else:
        topic = topic_length + 2
        (topic_size,) = _SHORT.unpack_from(data, topic_length)
    properties_length = topic + topic_size
    if topic_size < 0 or properties_length + 2 > end:
        return None
    (properties_size,) = _SHORT.unpack_from(data, properties_length)
    if properties_size < 0 or properties_length + 2 + properties_size != end:
        return None
    return _Spans(kind, size, body, topic_length, topic, properties_length, end)


@lru_cache(_TOPICS_CACHED_MAX)
def _topic_of(name: bytes) -> str | None:
    """The topic, or None for what must not become a folder: no checksum covers these bytes."""
    if not name or b"/" in name or b"\0" in name or name in (b".", b".."):
        return None
    return str(name, "utf-8", "replace")


def _crc_damage(data: Buffer, at: int, spans: _Spans, stored_crc: int) -> Damage | None:
    """Both checksums; the one in the properties only where it is there."""
    if spans.topic_length > spans.body:
        actual = crc32(data[spans.body : spans.topic_length]) & CRC_MASK
        if actual != stored_crc:
            return Damage(Flaw.BODY_CRC, f"{actual}, stored is {stored_crc}", spans.size)
    sealed = spans.end - CRC_PROPERTY_SIZE
    first = spans.properties_length + 2
    if sealed == first or (sealed > first and data[sealed - 1] == 2):  # a pair begins there
        pair = bytes(data[sealed : spans.end])
        digits = pair[9:19]
        if pair.startswith(_CRC_PREFIX) and digits.isdigit() and pair.endswith(b"\x02"):
            actual = crc32(data[at:sealed]) & CRC_MASK
            if actual != int(digits[::-1]):
                return Damage(Flaw.PROPERTIES_CRC, f"{actual}, stored {digits!r}", spans.size)
    return None


def check_record(
    data: Buffer,
    at: int,
    expected_physical_offset: int,
    *,
    verify_crc: bool = True,
    delay_levels_s: Sequence[int] = DELAY_LEVELS_S,
) -> RecordInfo | Blank | Damage:
    """What lies at `at` of our own log; never raises.

    `expected_physical_offset` is the position in the log: bytes of an earlier life of the segment
    are perfect records except that they name another place. Java's recovery does not look.
    """
    spans = _locate(data, at)
    if not isinstance(spans, _Spans):
        return spans
    fields = _HEADS[spans.kind].unpack_from(data, at)
    physical_offset, store_timestamp_ms = fields[6], fields[10]
    if physical_offset != expected_physical_offset:
        detail = f"{physical_offset} at {expected_physical_offset}"
        return Damage(Flaw.POSITION, detail, spans.size)
    if verify_crc and (damage := _crc_damage(data, at, spans, fields[2])) is not None:
        return damage
    topic = _topic_of(bytes(data[spans.topic : spans.properties_length]))
    if topic is None:
        return Damage(Flaw.TOPIC, f"{spans.properties_length - spans.topic} bytes", spans.size)
    properties = bytes(data[spans.properties_length + 2 : spans.end])
    return RecordInfo(
        topic,
        fields[3],
        fields[5],
        physical_offset,
        spans.size,
        dispatch_tags_code(topic, properties, store_timestamp_ms, delay_levels_s),
        store_timestamp_ms,
        fields[7],
        properties,
    )


def decode_record(data: Buffer, at: int = 0, *, verify_crc: bool = False) -> MessageExt:
    """The message at `at`. Raises RemoteProtocolError, also for a filler."""
    spans = _locate(data, at)
    if isinstance(spans, Blank):
        raise RemoteProtocolError("an end-of-segment filler where a record should be")
    if isinstance(spans, Damage):
        raise RemoteProtocolError(str(spans))
    fields = _HEADS[spans.kind].unpack_from(data, at)
    if verify_crc and (damage := _crc_damage(data, at, spans, fields[2])) is not None:
        raise RemoteProtocolError(str(damage))
    return MessageExt(
        topic=str(data[spans.topic : spans.properties_length], "utf-8", "replace"),
        queue_id=fields[3],
        queue_offset=fields[5],
        physical_offset=fields[6],
        flag=fields[4],
        sys_flag=fields[7],
        born_timestamp_ms=fields[8],
        born_host=decode_host(fields[9]),
        store_timestamp_ms=fields[10],
        store_host=decode_host(fields[11]),
        reconsume_times=fields[12],
        prepared_transaction_offset=fields[13],
        body=bytes(data[spans.body : spans.topic_length]),
        properties=parse_properties(bytes(data[spans.properties_length + 2 : spans.end])),
        size=spans.size,
        body_crc=fields[2],
    )


def decode_records(data: Buffer) -> list[MessageExt]:
    """All messages of a pull or query reply. Raises RemoteProtocolError for a bad or cut one."""
    messages = []
    at = 0
    while at < len(data):
        message = decode_record(data, at)
        messages.append(message)
        at += message.size
    return messages


def store_timestamp_of(data: Buffer, at: int = 0) -> int:
    """storeTimestamp of a record that is known to be good, without looking at the rest."""
    (timestamp_ms,) = _LONG.unpack_from(data, at + (68 if data[at + 39] & 0x10 else 56))
    return int(timestamp_ms)
