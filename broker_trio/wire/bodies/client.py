"""Small bodies around consumer groups: members (38), a subscription to check (46) or to show (345).

{"consumerIdList":["c@1"]} · {"clientId":"c@1","group":"CG","subscriptionData":{…}} ·
{"group":"CG","topic":"T","subscriptionData":{…}}
"""

import msgspec

from broker_trio.model.subscription import SubscriptionData
from broker_trio.wire.bodies.codec import decode_body, decode_request, encode_body
from broker_trio.wire.command import Serialize


class ConsumerList(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_CONSUMER_LIST_BY_GROUP."""

    consumer_id_list: list[str] = []


class CheckClientConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Request of CHECK_CLIENT_CONFIG: can the broker filter by this expression?"""

    client_id: str = ""
    group: str = ""
    namespace: str | None = None
    subscription_data: SubscriptionData | None = None


class ConsumerSubscription(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to QUERY_SUBSCRIPTION_BY_CONSUMER."""

    group: str
    topic: str | None = None
    subscription_data: SubscriptionData | None = None


def encode_consumer_list(client_ids: list[str], serialize: Serialize) -> bytes:
    return encode_body(ConsumerList(client_ids), serialize)


def decode_consumer_list(data: bytes, serialize: Serialize) -> list[str]:
    return decode_body(data, serialize, ConsumerList).consumer_id_list


def decode_check_client_config(data: bytes, serialize: Serialize) -> CheckClientConfig:
    """The subscription as sent: the expression is what is to be checked."""
    return decode_request(data, serialize, CheckClientConfig)


def encode_check_client_config(body: CheckClientConfig, serialize: Serialize) -> bytes:
    return encode_body(body, serialize)


def encode_consumer_subscription(body: ConsumerSubscription, serialize: Serialize) -> bytes:
    return encode_body(body, serialize)


def decode_consumer_subscription(data: bytes, serialize: Serialize) -> ConsumerSubscription:
    return decode_body(data, serialize, ConsumerSubscription)
