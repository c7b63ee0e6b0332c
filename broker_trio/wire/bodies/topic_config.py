"""Topics as bodies: the whole table with its version (21, 103), one (351), a list (18), statistics.

TopicConfigSerializeWrapper   dataVersion, topicConfigTable {name: TopicConfig}, and three maps
                              about static topics that we keep as they come
TopicStatsTable               offsetTable {MessageQueue: TopicOffset}, topicPutTps
"""

import msgspec

from broker_trio.model.route import MessageQueue
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.wire.bodies.codec import decode_body, decode_request, encode_body
from broker_trio.wire.command import Serialize


class TopicConfigSerializeWrapper(msgspec.Struct, frozen=True, rename="camel"):
    """A broker's topics, or one page of them. Paging: entries in the table's own order."""

    data_version: DataVersion = DataVersion()
    topic_config_table: dict[str, TopicConfig] = {}
    mapping_data_version: DataVersion = DataVersion()
    topic_queue_mapping_detail_map: dict[str, object] = {}
    topic_queue_mapping_info_map: dict[str, object] = {}


class TopicConfigList(msgspec.Struct, frozen=True, rename="camel"):
    """Request of UPDATE_AND_CREATE_TOPIC_LIST."""

    topic_config_list: list[TopicConfig] = []


class TopicConfigAndQueueMapping(TopicConfig, frozen=True, rename="camel"):
    """Answer to GET_TOPIC_CONFIG: the topic's members flat, a static topic's mapping beside."""

    mapping_detail: dict[str, object] | None = None


class TopicOffset(msgspec.Struct, frozen=True, rename="camel"):
    """One queue's bounds; `last_update_timestamp` is its last message's store time, 0 for none."""

    min_offset: int = 0
    max_offset: int = 0
    last_update_timestamp: int = 0


class TopicStatsTable(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_TOPIC_STATS_INFO."""

    offset_table: dict[MessageQueue, TopicOffset] = {}
    topic_put_tps: float = 0.0


def encode_topic_config_table(wrapper: TopicConfigSerializeWrapper, serialize: Serialize) -> bytes:
    return encode_body(wrapper, serialize)


def decode_topic_config_table(data: bytes, serialize: Serialize) -> TopicConfigSerializeWrapper:
    return decode_body(data, serialize, TopicConfigSerializeWrapper)


def encode_topic_config(
    config: TopicConfig, serialize: Serialize, *, mapping_detail: dict[str, object] | None = None
) -> bytes:
    """The flat form of 351."""
    members = msgspec.structs.asdict(config)
    members["mapping_detail"] = mapping_detail
    return encode_body(TopicConfigAndQueueMapping(**members), serialize)


def decode_topic_config(data: bytes, serialize: Serialize) -> TopicConfigAndQueueMapping:
    return decode_body(data, serialize, TopicConfigAndQueueMapping)


def encode_topic_config_list(configs: list[TopicConfig], serialize: Serialize) -> bytes:
    return encode_body(TopicConfigList(configs), serialize)


def decode_topic_config_list(data: bytes, serialize: Serialize) -> list[TopicConfig]:
    return decode_request(data, serialize, TopicConfigList).topic_config_list


def encode_topic_stats(table: TopicStatsTable, serialize: Serialize) -> bytes:
    return encode_body(table, serialize)


def decode_topic_stats(data: bytes, serialize: Serialize) -> TopicStatsTable:
    return decode_body(data, serialize, TopicStatsTable)


def encode_data_version(version: DataVersion, serialize: Serialize) -> bytes:
    """The body of QUERY_DATA_VERSION, and (as JSON) the text in several headers."""
    return encode_body(version, serialize)


def decode_data_version(data: bytes, serialize: Serialize) -> DataVersion:
    return decode_request(data, serialize, DataVersion)
