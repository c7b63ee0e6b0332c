"""Topics and subscription groups as bodies: Apache's samples, pages, forbidden bits."""

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.group import (
    CustomizedRetryPolicy,
    ExponentialRetryPolicy,
    GroupRetryPolicy,
    SimpleSubscription,
    SubscriptionGroupConfig,
)
from broker_trio.model.route import MessageQueue
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.wire.bodies.group import (
    GroupForbidden,
    SubscriptionGroupWrapper,
    decode_group_config,
    decode_group_config_list,
    decode_group_forbidden,
    decode_group_list,
    decode_group_table,
    encode_group_config,
    encode_group_config_list,
    encode_group_forbidden,
    encode_group_list,
    encode_group_table,
)
from broker_trio.wire.bodies.topic_config import (
    TopicConfigSerializeWrapper,
    TopicOffset,
    TopicStatsTable,
    decode_data_version,
    decode_topic_config,
    decode_topic_config_list,
    decode_topic_config_table,
    decode_topic_stats,
    encode_data_version,
    encode_topic_config,
    encode_topic_config_list,
    encode_topic_config_table,
    encode_topic_stats,
)
from broker_trio.wire.command import Serialize

JSON, CBOR = Serialize.JSON, Serialize.CBOR
BOTH = pytest.mark.parametrize("serialize", [JSON, CBOR])

# Spec §4.1 and §4.2, produced by Apache's classes.
STATS = (
    b'{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T1"}:{'
    b'"lastUpdateTimestamp":0,"maxOffset":10,"minOffset":0}},"topicPutTps":0.0}'
)
TABLE = (
    b'{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":5},'
    b'"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":0},'
    b'"topicConfigTable":{"T1":{"attributes":{},"order":false,"perm":6,"readQueueNums":8,'
    b'"topicFilterType":"SINGLE_TAG","topicName":"T1","topicSysFlag":0,"writeQueueNums":8}},'
    b'"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}'
)
GROUP = (
    b'{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,'
    b'"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,'
    b'"groupName":"CG","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,'
    b'"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,'
    b'"whichBrokerWhenConsumeSlowly":1}'
)
VERSION = DataVersion(timestamp=5, counter=1)


def test_topic_table_is_apache_s_text() -> None:
    """GET_ALL_TOPIC_CONFIG's body, byte for byte and back."""
    wrapper = TopicConfigSerializeWrapper(VERSION, {"T1": TopicConfig("T1")})
    assert encode_topic_config_table(wrapper, JSON) == TABLE
    assert decode_topic_config_table(TABLE, JSON) == wrapper
    assert decode_topic_config_table(encode_topic_config_table(wrapper, CBOR), CBOR) == wrapper


def test_topic_stats_are_apache_s_text() -> None:
    """Message queues are bare object keys, byte for byte and back."""
    table = TopicStatsTable({MessageQueue("T1", "broker-a", 0): TopicOffset(0, 10)})
    assert encode_topic_stats(table, JSON) == STATS
    assert decode_topic_stats(STATS, JSON) == table
    assert decode_topic_stats(encode_topic_stats(table, CBOR), CBOR) == table


def test_quoted_queue_keys_are_read() -> None:
    """A key that is JSON text inside a string means the same queue."""
    text = (
        b'{"offsetTable":{"{\\"brokerName\\":\\"b\\",\\"queueId\\":\\"3\\",\\"topic\\":\\"T\\"}":'
        b'{"maxOffset":"10"}}}'
    )
    expected = {MessageQueue("T", "b", 3): TopicOffset(0, 10)}
    assert decode_topic_stats(text, JSON).offset_table == expected


@pytest.mark.parametrize(
    "key", [b'"T"', b'"[1,2"', b"7", b"{}", b'{"topic":"T"}', b'"{\\"topic\\":[]}"', b'"[[]]"']
)
def test_a_key_that_is_no_queue(key: bytes) -> None:
    """Such a map is refused, not guessed at."""
    with pytest.raises(RemoteProtocolError):
        decode_topic_stats(b'{"offsetTable":{' + key + b":{}}}", JSON)


@BOTH
def test_one_topic_is_flat(serialize: Serialize) -> None:
    """351: the topic's members with the mapping beside them, or without it."""
    config = TopicConfig("T1", 4, 5, 2, attributes={"message.type": "FIFO"})
    read = decode_topic_config(encode_topic_config(config, serialize), serialize)
    assert (read.topic_name, read.write_queue_nums, read.mapping_detail) == ("T1", 5, None)
    assert read.attributes == config.attributes
    data = encode_topic_config(config, serialize, mapping_detail={"bname": "b"})
    assert decode_topic_config(data, serialize).mapping_detail == {"bname": "b"}
    if serialize is JSON:
        assert b'"mappingDetail":{"bname":"b"},"order":false' in data


@BOTH
def test_topic_list(serialize: Serialize) -> None:
    """18 brings whole configurations."""
    configs = [TopicConfig("T1"), TopicConfig("T2", order=True)]
    data = encode_topic_config_list(configs, serialize)
    assert decode_topic_config_list(data, serialize) == configs


@BOTH
def test_data_version(serialize: Serialize) -> None:
    """322's body."""
    assert decode_data_version(encode_data_version(VERSION, serialize), serialize) == VERSION


def test_group_is_apache_s_text() -> None:
    """The defaults of a new group, byte for byte and back."""
    config = SubscriptionGroupConfig("CG")
    assert encode_group_config(config, JSON) == GROUP
    assert decode_group_config(GROUP, JSON) == config


@BOTH
def test_group_with_everything(serialize: Serialize) -> None:
    """Both retry policies and fixed subscriptions survive."""
    policy = GroupRetryPolicy(
        "EXPONENTIAL", ExponentialRetryPolicy(1, 2, 3), CustomizedRetryPolicy([1000, 5000])
    )
    config = SubscriptionGroupConfig(
        "CG",
        group_retry_policy=policy,
        subscription_data_set=[SimpleSubscription("T", "TAG", "A", 7)],
        attributes={"k": "v"},
    )
    assert decode_group_config(encode_group_config(config, serialize), serialize) == config
    listed = encode_group_config_list([config], serialize)
    assert decode_group_config_list(listed, serialize) == [config]


@BOTH
def test_group_table(serialize: Serialize) -> None:
    """201's body with forbidden bits."""
    wrapper = SubscriptionGroupWrapper(
        VERSION, {"CG": SubscriptionGroupConfig("CG")}, {"CG": {"T": 1}}
    )
    assert decode_group_table(encode_group_table(wrapper, serialize), serialize) == wrapper


@BOTH
def test_forbidden_and_names(serialize: Serialize) -> None:
    """353 and 300."""
    body = GroupForbidden("CG", "T", readable=True)
    data = encode_group_forbidden(body, serialize)
    assert decode_group_forbidden(data, serialize) == body
    assert decode_group_list(encode_group_list(["CG"], serialize), serialize) == ["CG"]
    if serialize is JSON:
        assert data == b'{"group":"CG","readable":true,"topic":"T"}'
        assert encode_group_list(["CG"], JSON) == b'{"groupList":["CG"]}'
