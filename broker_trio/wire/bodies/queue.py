"""Bodies about the units of consume queues: a queue as it is (321), corrections (308).

{"maxQueueIndex":9,"minQueueIndex":0,"queueData":[{"physicOffset":0,"physicSize":170,"tagsCode":0,
"eval":true}],"subscriptionData":{…},"filterData":"…"} · {"correctionOffsets":{0:5}}
"""

import msgspec

from broker_trio.model.subscription import SubscriptionData
from broker_trio.wire.bodies.codec import decode_body, encode_body
from broker_trio.wire.command import Serialize


class ConsumeQueueUnit(msgspec.Struct, frozen=True, rename="camel"):
    """One unit. `eval`: whether it passes the subscription of the group that was named."""

    physic_offset: int
    physic_size: int
    tags_code: int
    eval: bool = False


class ConsumeQueueBody(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to QUERY_CONSUME_QUEUE. Indexes are queue offsets, [min, max)."""

    min_queue_index: int
    max_queue_index: int
    queue_data: list[ConsumeQueueUnit] = []
    subscription_data: SubscriptionData | None = None
    filter_data: str | None = None


class CorrectionOffsets(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to QUERY_CORRECTION_OFFSET: queue id → offset."""

    correction_offsets: dict[int, int] = {}


def encode_consume_queue(body: ConsumeQueueBody, serialize: Serialize) -> bytes:
    return encode_body(body, serialize)


def decode_consume_queue(data: bytes, serialize: Serialize) -> ConsumeQueueBody:
    return decode_body(data, serialize, ConsumeQueueBody)


def encode_correction_offsets(offsets: dict[int, int], serialize: Serialize) -> bytes:
    return encode_body(CorrectionOffsets(offsets), serialize, bare_keys=True)


def decode_correction_offsets(data: bytes, serialize: Serialize) -> dict[int, int]:
    return decode_body(data, serialize, CorrectionOffsets).correction_offsets
