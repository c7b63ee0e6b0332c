"""HEART_BEAT (34): who a client is, what it produces, and what it subscribes to.

    HeartbeatData
      client_id, heartbeat_fingerprint, without_sub     version 2: subscriptions left out while the
      producer_data_set [ProducerData]                  fingerprint stays
      consumer_data_set [ConsumerData]
        subscription_data_set [SubscriptionData]

Broker filters compare hashes, and a client's own `codeSet` is never believed: it is made here from
the tags, and the tags from the expression where a client sends none.
"""

import msgspec

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.hashes import tags_code
from broker_trio.model.subscription import TAG, SubscriptionData, build_subscription
from broker_trio.wire.bodies.codec import decode_request, encode_body
from broker_trio.wire.command import Serialize


class ProducerData(msgspec.Struct, frozen=True, rename="camel"):
    """One producer group of the client."""

    group_name: str


class ConsumerData(msgspec.Struct, frozen=True, rename="camel"):
    """One consumer group of the client.

    `consume_type` CONSUME_ACTIVELY, CONSUME_PASSIVELY, CONSUME_POP; `message_model` CLUSTERING,
    BROADCASTING.
    """

    group_name: str
    consume_type: str = "CONSUME_PASSIVELY"
    message_model: str = "CLUSTERING"
    consume_from_where: str = "CONSUME_FROM_LAST_OFFSET"
    subscription_data_set: list[SubscriptionData] = []
    unit_mode: bool = False


class HeartbeatData(msgspec.Struct, frozen=True, rename="camel"):
    """Everything of one client; it sends the same to every broker that it knows."""

    client_id: str = msgspec.field(name="clientID")
    producer_data_set: list[ProducerData] = []
    consumer_data_set: list[ConsumerData] = []
    heartbeat_fingerprint: int = 0
    without_sub: bool = False


def decode_heartbeat(data: bytes, serialize: Serialize) -> HeartbeatData:
    """Raises `RemoteProtocolError`, also for an expression that means nothing."""
    heartbeat = decode_request(data, serialize, HeartbeatData)
    consumers = [
        msgspec.structs.replace(
            consumer,
            subscription_data_set=[
                with_codes(subscription) for subscription in consumer.subscription_data_set
            ],
        )
        for consumer in heartbeat.consumer_data_set
    ]
    return msgspec.structs.replace(heartbeat, consumer_data_set=consumers)


def encode_heartbeat(heartbeat: HeartbeatData, serialize: Serialize) -> bytes:
    return encode_body(heartbeat, serialize)


def with_codes(sent: SubscriptionData) -> SubscriptionData:
    """The subscription with a code set of our own making. Raises `RemoteProtocolError`."""
    if sent.expression_type != TAG:
        return msgspec.structs.replace(sent, tags_set=frozenset(), code_set=frozenset())
    if sent.tags_set:
        return msgspec.structs.replace(sent, code_set=frozenset(map(tags_code, sent.tags_set)))
    try:
        built = build_subscription(sent.topic, sent.sub_string, TAG, sent.sub_version)
    except ValueError as error:
        raise RemoteProtocolError(f"subscription of {sent.topic}: {error}") from error
    return msgspec.structs.replace(sent, tags_set=built.tags_set, code_set=built.code_set)
