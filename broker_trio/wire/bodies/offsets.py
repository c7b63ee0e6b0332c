"""Consumer progress as bodies: statistics (208, 317), whole tables (43, 45), resets, time spans.

ConsumeStats          offsetTable {MessageQueue: OffsetWrapper}, consumeTps
ConsumerOffsetTable   {"topic@group": {queue id: offset}}       bare keys, as Apache writes them
DelayOffsetTable      {delay level: offset}                     bare keys
ResetOffsetBody       {MessageQueue: offset}; for C++ clients a list of flat entries instead
"""

import msgspec

from broker_trio.model.route import MessageQueue
from broker_trio.model.topic import DataVersion
from broker_trio.wire.bodies.codec import decode_body, encode_body
from broker_trio.wire.command import Serialize


class OffsetWrapper(msgspec.Struct, frozen=True, rename="camel"):
    """One queue. `last_timestamp` is the store time of the last consumed message, 0 for none."""

    broker_offset: int = 0
    consumer_offset: int = 0
    pull_offset: int = 0
    last_timestamp: int = 0


class ConsumeStats(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_CONSUME_STATS."""

    offset_table: dict[MessageQueue, OffsetWrapper] = {}
    consume_tps: float = 0.0


class BrokerConsumeStats(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_BROKER_CONSUME_STATS; each entry of the list maps one group to its topics'."""

    broker_addr: str | None = None
    consume_stats_list: list[dict[str, list[ConsumeStats]]] = []
    total_diff: int = 0
    total_inflight_diff: int = 0


class ConsumerOffsetTable(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_ALL_CONSUMER_OFFSET."""

    data_version: DataVersion = DataVersion()
    offset_table: dict[str, dict[int, int]] = {}


class ConsumerOffsetsFile(ConsumerOffsetTable, frozen=True, rename="camel"):
    """consumerOffset.json. What a pair adds to it Apache's reader does not see.

    `pair_epoch`: "counter owner" that all of it was committed in. `pair_resets`: how often a key
    was reset or deleted.
    """

    pair_epoch: str | None = None
    pair_resets: dict[str, int] | None = None


class DelayOffsetTable(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_ALL_DELAY_OFFSET, and delayOffset.json: how far each level was delivered."""

    data_version: DataVersion = DataVersion()
    offset_table: dict[int, int] = {}


class ResetOffsetBody(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to 222, request 220."""

    offset_table: dict[MessageQueue, int] = {}


class _FlatOffset(msgspec.Struct, frozen=True, rename="camel"):
    broker_name: str
    offset: int
    queue_id: int
    topic: str


class _ResetOffsetBodyForC(msgspec.Struct, frozen=True, rename="camel"):
    offset_table: list[_FlatOffset] = []


class ConsumerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to 221 (a client's own table) and 223 (the tables by client id)."""

    message_queue_table: dict[MessageQueue, int] = {}
    consumer_table: dict[str, dict[MessageQueue, int]] = {}


class QueueTimeSpan(msgspec.Struct, frozen=True, rename="camel"):
    """Store times in ms of a queue's oldest, newest and last consumed message."""

    message_queue: MessageQueue
    min_time_stamp: int = 0
    max_time_stamp: int = 0
    consume_time_stamp: int = 0
    delay_time: int = 0


class ConsumeTimeSpan(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to QUERY_CONSUME_TIME_SPAN."""

    consume_time_span_set: list[QueueTimeSpan] = []


def encode_consume_stats(stats: ConsumeStats, serialize: Serialize) -> bytes:
    return encode_body(stats, serialize)


def decode_consume_stats(data: bytes, serialize: Serialize) -> ConsumeStats:
    return decode_body(data, serialize, ConsumeStats)


def encode_broker_consume_stats(stats: BrokerConsumeStats, serialize: Serialize) -> bytes:
    return encode_body(stats, serialize)


def decode_broker_consume_stats(data: bytes, serialize: Serialize) -> BrokerConsumeStats:
    return decode_body(data, serialize, BrokerConsumeStats)


def encode_consumer_offsets(table: ConsumerOffsetTable, serialize: Serialize) -> bytes:
    return encode_body(table, serialize, bare_keys=True)


def decode_consumer_offsets(data: bytes, serialize: Serialize) -> ConsumerOffsetTable:
    return decode_body(data, serialize, ConsumerOffsetTable)


def encode_delay_offsets(table: DelayOffsetTable, serialize: Serialize) -> bytes:
    return encode_body(table, serialize, bare_keys=True)


def decode_delay_offsets(data: bytes, serialize: Serialize) -> DelayOffsetTable:
    return decode_body(data, serialize, DelayOffsetTable)


def encode_reset_offset(
    offsets: dict[MessageQueue, int], serialize: Serialize, *, for_c: bool = False
) -> bytes:
    """`for_c`: the flat form, where the request's language is CPP."""
    if not for_c:
        return encode_body(ResetOffsetBody(offsets), serialize)
    flat = [
        _FlatOffset(queue.broker_name, offset, queue.queue_id, queue.topic)
        for queue, offset in offsets.items()
    ]
    return encode_body(_ResetOffsetBodyForC(flat), serialize)


def decode_reset_offset(data: bytes, serialize: Serialize) -> dict[MessageQueue, int]:
    return decode_body(data, serialize, ResetOffsetBody).offset_table


def encode_consumer_status(status: ConsumerStatus, serialize: Serialize) -> bytes:
    return encode_body(status, serialize)


def decode_consumer_status(data: bytes, serialize: Serialize) -> ConsumerStatus:
    return decode_body(data, serialize, ConsumerStatus)


def encode_consume_time_span(spans: list[QueueTimeSpan], serialize: Serialize) -> bytes:
    return encode_body(ConsumeTimeSpan(spans), serialize)


def decode_consume_time_span(data: bytes, serialize: Serialize) -> list[QueueTimeSpan]:
    return decode_body(data, serialize, ConsumeTimeSpan).consume_time_span_set
