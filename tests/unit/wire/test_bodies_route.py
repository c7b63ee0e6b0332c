"""Routes, clusters, topic lists and key-value tables, in both dialects."""

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.route import BrokerData, QueueData, TopicRouteData
from broker_trio.wire.bodies.route import (
    BrokerMemberGroup,
    ClusterInfo,
    TopicList,
    decode_broker_member_group,
    decode_cluster_info,
    decode_kv_table,
    decode_route,
    decode_topic_list,
    encode_broker_member_group,
    encode_cluster_info,
    encode_kv_table,
    encode_route,
    encode_topic_list,
    wants_standard_json,
)
from broker_trio.wire.command import Serialize

JSON, CBOR = Serialize.JSON, Serialize.CBOR
BOTH = pytest.mark.parametrize("serialize", [JSON, CBOR])

# Spec §2.1, produced by Apache's classes; members in Apache's alphabetical order.
STANDARD = (
    b'{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},'
    b'"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false,'
    b'"zoneName":"z1"}],"filterServerTable":{},"orderTopicConf":"broker-a:4;broker-b:4",'
    b'"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,'
    b'"writeQueueNums":4}]}'
)
BARE = STANDARD.replace(b'"0":', b"0:").replace(b'"1":', b"1:")
BROKER = BrokerData("DefaultCluster", "broker-a", {0: "10.0.0.1:10911", 1: "10.0.0.2:10911"}, "z1")
ROUTE = TopicRouteData(
    [QueueData("broker-a", 4, 4, 6)], [BROKER], order_topic_conf="broker-a:4;broker-b:4"
)


def test_standard_route_is_apache_s_text() -> None:
    """Quoted numeric keys, byte for byte."""
    assert encode_route(ROUTE, JSON) == STANDARD
    assert decode_route(STANDARD, JSON) == ROUTE


def test_bare_route_is_apache_s_text() -> None:
    """Bare numeric keys for older clients, byte for byte."""
    assert encode_route(ROUTE, Serialize.ROCKETMQ, standard=False) == BARE
    assert decode_route(BARE, JSON) == ROUTE


def test_cbor_route_keeps_integer_keys() -> None:
    """Under CBOR the dialects are one."""
    data = encode_route(ROUTE, CBOR)
    assert data == encode_route(ROUTE, CBOR, standard=False)
    assert decode_route(data, CBOR) == ROUTE


def test_none_is_left_out() -> None:
    """No order setting and no zone means no member, never null."""
    broker = BrokerData("c", "b", {})
    text = encode_route(TopicRouteData([], [broker]), JSON)
    assert b"null" not in text
    assert text == (
        b'{"brokerDatas":[{"brokerAddrs":{},"brokerName":"b","cluster":"c",'
        b'"enableActingMaster":false}],"filterServerTable":{},"queueDatas":[]}'
    )


def test_a_text_that_says_null_stays() -> None:
    """A broker may be called null."""
    route = TopicRouteData([QueueData("null")])
    assert decode_route(encode_route(route, JSON), JSON) == route


@pytest.mark.parametrize(
    ("version", "only", "standard"), [(400, False, False), (401, False, True), (317, True, True)]
)
def test_who_gets_standard_json(version: int, only: bool, standard: bool) -> None:
    """From V4_9_4 on, or whoever asks for it."""
    assert wants_standard_json(version, accept_standard_json_only=only) is standard


def test_third_party_routes_are_read() -> None:
    """Numbers as text, text as numbers, nulls and single quotes are bent to what is wanted."""
    text = (
        b"{'queueDatas':[{'brokerName':7,'readQueueNums':'4','perm':6.0,'writeQueueNums':null}],"
        b"'brokerDatas':[{'cluster':'c','brokerName':'b','brokerAddrs':{'0':'h:1',1:'h:2'},"
        b"'enableActingMaster':'TRUE','zoneName':null,'x':[1]}],'filterServerTable':null}"
    )
    broker = BrokerData("c", "b", {0: "h:1", 1: "h:2"}, None, enable_acting_master=True)
    assert decode_route(text, JSON) == TopicRouteData([QueueData("7", 4, 0, 6)], [broker])


def test_static_topics_pass_through() -> None:
    """The mapping of a static topic is kept as it came."""
    mapping = {"broker-a": {"bname": "broker-a", "currIdMap": {"0": 0}, "dirty": False}}
    route = TopicRouteData(topic_queue_mapping_by_broker=dict(mapping))
    assert decode_route(encode_route(route, JSON), JSON) == route
    assert decode_route(encode_route(route, CBOR), CBOR) == route


@pytest.mark.parametrize("depth", [40, 400, 40_000])
def test_deep_open_members_are_refused(depth: int) -> None:
    """What may hold any tree may not hold a deep one."""
    deep = b"[" * depth + b"]" * depth
    with pytest.raises(RemoteProtocolError):
        decode_route(b'{"topicQueueMappingByBroker":{"b":' + deep + b"}}", JSON)


@BOTH
def test_cluster_info(serialize: Serialize) -> None:
    """106 writes bare keys, as the sample of spec §2.5."""
    info = ClusterInfo({"broker-a": BROKER}, {"DefaultCluster": ["broker-a"]})
    data = encode_cluster_info(info, serialize)
    assert decode_cluster_info(data, serialize) == info
    if serialize is JSON:
        assert data == (
            b'{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"10.0.0.1:10911",'
            b'1:"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster",'
            b'"enableActingMaster":false,"zoneName":"z1"}},'
            b'"clusterAddrTable":{"DefaultCluster":["broker-a"]}}'
        )


@BOTH
def test_broker_member_group(serialize: Serialize) -> None:
    """901 wraps the group, with bare keys; an unknown group has no addresses."""
    group = BrokerMemberGroup("DefaultCluster", "broker-a", {0: "10.0.0.1:10911"})
    data = encode_broker_member_group(group, serialize)
    assert decode_broker_member_group(data, serialize) == group
    if serialize is JSON:
        assert data == (
            b'{"brokerMemberGroup":{"brokerAddrs":{0:"10.0.0.1:10911"},'
            b'"brokerName":"broker-a","cluster":"DefaultCluster"}}'
        )


@BOTH
def test_topic_list(serialize: Serialize) -> None:
    """`brokerAddr` is there only where it is known."""
    data = encode_topic_list(["T1"], serialize)
    assert decode_topic_list(data, serialize) == TopicList(["T1"])
    if serialize is JSON:
        assert data == b'{"topicList":["T1"]}'
        assert encode_topic_list([], JSON, broker_addr="h:1") == (
            b'{"brokerAddr":"h:1","topicList":[]}'
        )


@BOTH
def test_kv_table(serialize: Serialize) -> None:
    """Runtime information keeps its texts; numbers of other writers become texts."""
    table = {"putTps": "1.0 2.0 3.0", "runtime": "[ 0 days, 1 hours ]"}
    assert decode_kv_table(encode_kv_table(table, serialize), serialize) == table
    assert decode_kv_table(b'{"table":{"k":5,"f":0.5,"b":true,"n":null}}', JSON) == {
        "k": "5",
        "f": "0.5",
        "b": "true",
    }
