"""LOCK_BATCH_MQ (41) and UNLOCK_BATCH_MQ (42): queues that one client wants for itself.

{"clientId":"c","consumerGroup":"CG","mqSet":[{"brokerName":"b","queueId":0,"topic":"T"}]} is
answered by {"lockOKMQSet":[…]}, those that it got. `mqSet` may come as null.
"""

import msgspec

from broker_trio.model.route import MessageQueue
from broker_trio.wire.bodies.codec import decode_body, decode_request, encode_body
from broker_trio.wire.command import Serialize


class LockRequest(msgspec.Struct, frozen=True, rename="camel"):
    """Body of both requests. `only_this_broker`: do not ask other replicas."""

    consumer_group: str
    client_id: str
    mq_set: list[MessageQueue] = []
    only_this_broker: bool = False


class LockResult(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to 41."""

    lock_ok_mq_set: list[MessageQueue] = msgspec.field(default=[], name="lockOKMQSet")


def decode_lock_request(data: bytes, serialize: Serialize) -> LockRequest:
    return decode_request(data, serialize, LockRequest)


def encode_lock_request(request: LockRequest, serialize: Serialize) -> bytes:
    return encode_body(request, serialize)


def encode_lock_result(locked: list[MessageQueue], serialize: Serialize) -> bytes:
    return encode_body(LockResult(locked), serialize)


def decode_lock_result(data: bytes, serialize: Serialize) -> list[MessageQueue]:
    return decode_body(data, serialize, LockResult).lock_ok_mq_set
