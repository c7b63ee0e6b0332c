"""REGISTER_BROKER (103): a broker's topics on their way to a nameserver.

Three forms exist; which one it is follows from the header and the sender's version:

    RegisterBrokerBody   {"filterServerList":[],"topicConfigSerializeWrapper":{…}}
    before V3_0_11       the bare wrapper {"dataVersion":…,"topicConfigTable":…}
    compressed           a zlib stream of

        int n, DataVersion as JSON
        int topics, topics x (int n, TopicConfig text)
        int n, the filter servers as a JSON list
        int infos, infos x (int n, TopicQueueMappingInfo as JSON)      from V5_0_0 on

    TopicConfig text     T1 8 8 6 SINGLE_TAG {"message.type":"NORMAL"}
                         name, read queues, write queues, perm, filter type, attributes;
                         `order` and `topicSysFlag` are lost

No body at all is an empty table. What is inflated is bounded before it is parsed. CBOR knows the
first form only.
"""

import zlib
from struct import pack
from typing import Final

import msgspec

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.wire import json_text
from broker_trio.wire.bodies import shape
from broker_trio.wire.bodies.codec import decode_body, encode_body
from broker_trio.wire.bodies.topic_config import TopicConfigSerializeWrapper
from broker_trio.wire.command import Serialize

BODY_VERSION: Final = 37  # V3_0_11: the first that sends a RegisterBrokerBody
MAPPING_VERSION: Final = 413  # V5_0_0: the first whose compressed form has mapping infos
ENTRIES_MAX: Final = 100_000  # topics or infos of one registration, before the first is read
INFLATED_MAX: Final = 64 * 1024 * 1024  # four times what the largest frame holds


class RegisterBrokerBody(msgspec.Struct, frozen=True, rename="camel"):
    """What a nameserver learns besides the header."""

    topic_config_serialize_wrapper: TopicConfigSerializeWrapper = TopicConfigSerializeWrapper()
    filter_server_list: list[str] = []


def decode_register_body(
    data: bytes, serialize: Serialize, *, version: int, compressed: bool = False
) -> RegisterBrokerBody:
    """`version` is the request's. Raises `RemoteProtocolError`."""
    if not data:
        return RegisterBrokerBody()
    if serialize == Serialize.CBOR:
        return decode_body(data, serialize, RegisterBrokerBody)
    if version < BODY_VERSION:
        return RegisterBrokerBody(decode_body(data, serialize, TopicConfigSerializeWrapper))
    if compressed:
        return _decode_compressed(_inflate(data), with_mapping=version >= MAPPING_VERSION)
    return decode_body(data, serialize, RegisterBrokerBody)


def encode_register_body(
    body: RegisterBrokerBody, serialize: Serialize, *, compressed: bool = False
) -> bytes:
    """Compressed as from V5_0_0 on; CBOR is never compressed."""
    if compressed and serialize != Serialize.CBOR:
        return _encode_compressed(body)
    return encode_body(body, serialize)


def _inflate(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, INFLATED_MAX)
    except zlib.error as error:
        raise RemoteProtocolError(f"registration: {error}") from error
    if stream.unconsumed_tail:
        raise RemoteProtocolError(f"registration inflates to more than {INFLATED_MAX} bytes")
    if not stream.eof:
        raise RemoteProtocolError("registration: the zlib stream ends too early")
    return text


class _Sections:
    """The inflated text, read from its beginning to its end."""

    def __init__(self, text: bytes) -> None:
        self._text, self._at = text, 0

    def integer(self) -> int:
        """A count or a length; never negative."""
        end = self._at + 4
        if end > len(self._text):
            raise RemoteProtocolError(f"registration ends at byte {self._at} before an integer")
        value = int.from_bytes(self._text[self._at : end], "big", signed=True)
        if value < 0:
            raise RemoteProtocolError(f"registration: {value} at byte {self._at}")
        self._at = end
        return value

    def count(self) -> int:
        """How many pieces follow."""
        count = self.integer()
        if count > ENTRIES_MAX:
            raise RemoteProtocolError(f"registration of {count} entries, limit {ENTRIES_MAX}")
        return count

    def piece(self) -> bytes:
        """`int n` and n bytes."""
        size = self.integer()
        end = self._at + size
        if end > len(self._text):
            raise RemoteProtocolError(f"registration: {size} bytes at {self._at} are not there")
        piece = self._text[self._at : end]
        self._at = end
        return piece


def _decode_compressed(text: bytes, *, with_mapping: bool) -> RegisterBrokerBody:
    sections = _Sections(text)
    version = decode_body(sections.piece(), Serialize.JSON, DataVersion)
    topics = [_topic_of_text(sections.piece()) for _ in range(sections.count())]
    servers: list[str] = shape.read(list[str], json_text.loads(sections.piece()))
    infos: dict[str, object] = {}
    for _ in range(sections.count() if with_mapping else 0):
        info = shape.read(dict[str, object], json_text.loads(sections.piece()))
        infos[str(info.get("topic", ""))] = info
    wrapper = TopicConfigSerializeWrapper(
        data_version=version,
        topic_config_table={topic.topic_name: topic for topic in topics},
        topic_queue_mapping_info_map=infos,
    )
    return RegisterBrokerBody(wrapper, servers)


def _encode_compressed(body: RegisterBrokerBody) -> bytes:
    wrapper = body.topic_config_serialize_wrapper
    infos = wrapper.topic_queue_mapping_info_map.values()
    parts = [_piece(encode_body(wrapper.data_version, Serialize.JSON))]
    parts.append(pack(">i", len(wrapper.topic_config_table)))
    parts += [_piece(_text_of_topic(topic)) for topic in wrapper.topic_config_table.values()]
    parts.append(_piece(msgspec.json.encode(body.filter_server_list)))
    parts.append(pack(">i", len(infos)))
    parts += [_piece(msgspec.json.encode(info)) for info in infos]
    return zlib.compress(b"".join(parts), 9)


def _piece(text: bytes) -> bytes:
    return pack(">i", len(text)) + text


def _topic_of_text(text: bytes) -> TopicConfig:
    try:
        fields = text.decode().split(" ", 5)
    except UnicodeError as error:
        raise RemoteProtocolError(f"registration: a topic's text: {error}") from error
    if len(fields) < 5:
        raise RemoteProtocolError(f"registration: a topic's text has {len(fields)} fields")
    name, read_queues, write_queues, perm, filter_type = fields[:5]
    attributes = json_text.loads(fields[5].encode()) if len(fields) > 5 and fields[5] else {}
    return TopicConfig(
        topic_name=name,
        read_queue_nums=shape.read(int, read_queues),
        write_queue_nums=shape.read(int, write_queues),
        perm=shape.read(int, perm),
        topic_filter_type=filter_type,
        attributes=shape.read(dict[str, str], attributes),
    )


def _text_of_topic(topic: TopicConfig) -> bytes:
    numbers = f"{topic.read_queue_nums} {topic.write_queue_nums} {topic.perm}"
    head = f"{topic.topic_name} {numbers} {topic.topic_filter_type} "
    return head.encode() + msgspec.json.encode(topic.attributes)
