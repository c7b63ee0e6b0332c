"""Who is connected, as administrators see it: 203, 204 and 328.

`language` is a LanguageCode's name; Java refuses other names, so it is left out where unknown.
`version` is the client's version ordinal. Times in ms since 1970.
"""

import msgspec

from broker_trio.model.subscription import SubscriptionData
from broker_trio.wire.bodies.codec import decode_body, encode_body
from broker_trio.wire.command import Serialize


class Connection(msgspec.Struct, frozen=True, rename="camel"):
    """One client's connection in a group."""

    client_id: str
    client_addr: str
    language: str | None = None
    version: int = 0


class ConsumerConnection(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_CONSUMER_CONNECTION_LIST."""

    connection_set: list[Connection] = []
    subscription_table: dict[str, SubscriptionData] = {}
    consume_type: str | None = None
    message_model: str | None = None
    consume_from_where: str | None = None


class ProducerConnection(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_PRODUCER_CONNECTION_LIST."""

    connection_set: list[Connection] = []


class ProducerInfo(msgspec.Struct, frozen=True, rename="camel"):
    """One producer's connection, as GET_ALL_PRODUCER_INFO shows it."""

    client_id: str
    remote_ip: str = msgspec.field(name="remoteIP")
    language: str | None = None
    version: int = 0
    last_update_timestamp: int = 0


class ProducerTable(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_ALL_PRODUCER_INFO: group -> producers."""

    data: dict[str, list[ProducerInfo]] = {}


def encode_consumer_connection(body: ConsumerConnection, serialize: Serialize) -> bytes:
    return encode_body(body, serialize)


def decode_consumer_connection(data: bytes, serialize: Serialize) -> ConsumerConnection:
    return decode_body(data, serialize, ConsumerConnection)


def encode_producer_connection(connections: list[Connection], serialize: Serialize) -> bytes:
    return encode_body(ProducerConnection(connections), serialize)


def decode_producer_connection(data: bytes, serialize: Serialize) -> list[Connection]:
    return decode_body(data, serialize, ProducerConnection).connection_set


def encode_producer_table(table: dict[str, list[ProducerInfo]], serialize: Serialize) -> bytes:
    return encode_body(ProducerTable(table), serialize)


def decode_producer_table(data: bytes, serialize: Serialize) -> dict[str, list[ProducerInfo]]:
    return decode_body(data, serialize, ProducerTable).data
