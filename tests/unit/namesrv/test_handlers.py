"""What brokers and clients send a nameserver, and what they are answered."""

import json
import zlib

import pytest

from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.route import QueueData, TopicRouteData
from broker_trio.model.topic import DataVersion
from broker_trio.namesrv.config import HotSection, HttpSection, NameserverConfig
from broker_trio.namesrv.handlers import BODY_BYTES_MAX, answer
from broker_trio.wire.bodies import route as bodies
from broker_trio.wire.bodies.topic_config import decode_data_version, encode_data_version
from broker_trio.wire.command import Serialize
from namesrv.fakes import MASTER, SLAVE, Nameserver, register_body, register_ext

ROUTE = RequestCode.GET_ROUTEINFO_BY_TOPIC
NO_HTTP = HttpSection(address="")
ALL = (Serialize.JSON, Serialize.ROCKETMQ, Serialize.CBOR)


def with_hot(**switches: bool) -> Nameserver:
    return Nameserver(NameserverConfig(http=NO_HTTP, hot=HotSection(**switches)))


def test_every_code_of_the_nameserver_has_a_route() -> None:
    """The dispatcher knows all codes of protocol.md §2, five of ours, and no controller code."""
    codes = (105, 103, 104, 322, 904, 217, 106, 206, 224, 304, 311, 312, 313, 100, 101, 102)
    codes += (219, 205, 327, 216, 318, 319, 901, 26_001, 26_002, 26_003, 26_005, 26_100)
    assert set(Nameserver().app.dispatcher.routes) == set(codes)


@pytest.mark.parametrize("serialize", ALL)
def test_register_then_route_in_each_serialisation(serialize: Serialize) -> None:
    """A broker's registration and a client's question work in JSON, binary and CBOR alike."""
    server = Nameserver()
    assert server.register(serialize=serialize).code == ResponseCode.SUCCESS
    response = server.ask(ROUTE, {"topic": "T1"}, serialize=serialize)
    route = bodies.decode_route(response.body, serialize)
    assert route.broker_datas[0].broker_addrs == {0: MASTER}
    assert route.queue_datas == [QueueData("broker-a", 8, 8, 6)]


@pytest.mark.parametrize(
    ("version", "accept", "bare"),
    [(317, None, True), (400, None, True), (401, None, False), (317, "true", False)],
)
def test_route_flavour_follows_the_client(version: int, accept: str | None, bare: bool) -> None:
    """Clients before 401 that do not ask for standard JSON get bare numeric keys."""
    server = Nameserver()
    server.register()
    ext = {"topic": "T1"} if accept is None else {"topic": "T1", "acceptStandardJsonOnly": accept}
    body = server.ask(ROUTE, ext, version=version).body
    key = b"{0:" if bare else b'{"0":'
    assert b'"brokerAddrs":' + key in body


def test_route_is_what_java_clients_expect() -> None:
    """The standard form has exactly the members of the protocol, nothing that is null."""
    server = Nameserver()
    server.register(ext={"__ZONE_NAME": "z1"})
    assert json.loads(server.ask(ROUTE, {"topic": "T1"}).body) == {
        "brokerDatas": [
            {
                "brokerAddrs": {"0": MASTER},
                "brokerName": "broker-a",
                "cluster": "c",
                "enableActingMaster": False,
                "zoneName": "z1",
            }
        ],
        "filterServerTable": {},
        "queueDatas": [
            {
                "brokerName": "broker-a",
                "perm": 6,
                "readQueueNums": 8,
                "topicSysFlag": 0,
                "writeQueueNums": 8,
            }
        ],
    }


def test_unknown_topic_is_17_and_counted() -> None:
    """A topic without a registered broker is TOPIC_NOT_EXIST; both are counted and timed."""
    server = Nameserver()
    server.register()
    response = server.ask(ROUTE, {"topic": "nope"})
    server.ask(ROUTE, {"topic": "T1"})
    stats = server.app.stats
    assert (response.code, "nope" in (response.remark or "")) == (17, True)
    assert (stats.route_found, stats.route_not_found, stats.route_duration.count) == (1, 1, 2)
    assert stats.route_duration.total == pytest.approx(0.004)


def test_missing_header_field_is_code_1() -> None:
    """A request without a required field is answered with the field's wire name."""
    response = Nameserver().ask(RequestCode.UNREGISTER_BROKER, {"brokerName": "b"})
    assert (response.code, "brokerAddr" in (response.remark or "")) == (1, True)


def test_slave_is_answered_its_master() -> None:
    """A slave's registration is answered masterAddr and haServerAddr, a master's with neither."""
    server = Nameserver()
    assert server.register().ext == {}
    response = server.register(addr=SLAVE, broker_id=1, session=2)
    assert response.ext == {"masterAddr": MASTER, "haServerAddr": "10.0.0.1:10912"}
    assert response.body == b""


async def test_registration_is_answered_the_order_settings() -> None:
    """The namespace ORDER_TOPIC_CONFIG comes back with each 103, unless switched off."""
    server = Nameserver()
    ext = {"namespace": "ORDER_TOPIC_CONFIG", "key": "T1", "value": "broker-a:4"}
    await server.ask_later(RequestCode.PUT_KV_CONFIG, ext)
    assert server.register().body == b'{"table":{"T1":"broker-a:4"}}'
    server.app.hot.update({"returnOrderTopicConfigToBroker": "false"})
    assert server.register().body == b""


async def test_order_settings_are_in_routes_only_when_enabled() -> None:
    """orderTopicConf of a route needs orderMessageEnable, which is off by default."""
    server = Nameserver()
    server.register()
    ext = {"namespace": "ORDER_TOPIC_CONFIG", "key": "T1", "value": "broker-a:4"}
    await server.ask_later(RequestCode.PUT_KV_CONFIG, ext)
    plain = bodies.decode_route(server.ask(ROUTE, {"topic": "T1"}).body, Serialize.JSON)
    server.app.hot.update({"orderMessageEnable": "true"})
    ordered = bodies.decode_route(server.ask(ROUTE, {"topic": "T1"}).body, Serialize.JSON)
    assert (plain.order_topic_conf, ordered.order_topic_conf) == (None, "broker-a:4")


@pytest.mark.parametrize("version", [412, 413])
def test_compressed_registration(version: int) -> None:
    """A compressed body is inflated, in the form of the sender's version."""
    server = Nameserver()
    body = register_body(compressed=True)
    if version < 413:  # no mapping section before 5.0
        body = zlib.compress(zlib.decompress(body)[:-4])
    ext = {**register_ext(), "compressed": "true"}
    response = server.ask(RequestCode.REGISTER_BROKER, ext, body, version=version)
    assert response.code == 0
    assert server.app.table.topics.names() == ["T1", "TBW102"]


def test_bare_wrapper_of_an_old_broker() -> None:
    """Before version 37 the body is the topic table itself."""
    server = Nameserver()
    wrapper = json.loads(register_body())["topicConfigSerializeWrapper"]
    response = server.ask(
        RequestCode.REGISTER_BROKER, register_ext(), json.dumps(wrapper).encode(), version=36
    )
    assert response.code == 0
    assert server.app.table.topics.names() == ["T1", "TBW102"]


def test_checksum_is_checked_unless_zero() -> None:
    """bodyCrc32 0 means unchecked; a right one passes, a wrong one is refused and counted."""
    server = Nameserver()
    right = str(zlib.crc32(register_body()) & 0x7FFFFFFF)
    assert server.register(ext={"bodyCrc32": "0"}).code == 0
    assert server.register(ext={"bodyCrc32": right}).code == 0
    response = server.register(ext={"bodyCrc32": "12345"})
    assert (response.code, response.remark) == (1, "crc32 not match")
    assert server.app.stats.registrations["rejected"] == 1


def test_registrations_are_counted_by_result() -> None:
    """New, refreshed, unchanged and rejected registrations are told apart."""
    server = Nameserver()
    server.register()
    server.register()
    server.register(counter=2)
    refused = server.register("only", name="broker-b", addr=SLAVE)
    broken = server.ask(RequestCode.REGISTER_BROKER, register_ext(), b"{")
    assert (refused.code, broken.code) == (1, 1)
    counts = {"new": 1, "refresh": 1, "unchanged": 1, "rejected": 2}
    assert server.app.stats.registrations == counts


def test_ignored_registration_is_answered_success() -> None:
    """A claimant behind the id's holder hears success with an empty header, and nothing changed."""
    server = Nameserver()
    body = register_body().replace(b'"stateVersion":0', b'"stateVersion":7')
    server.ask(RequestCode.REGISTER_BROKER, register_ext(), body)
    response = server.register(addr=SLAVE, session=2)
    assert (response.code, response.ext, server.app.stats.registrations["rejected"]) == (0, {}, 1)
    assert server.app.table.brokers["broker-a"].broker_addrs == {0: MASTER}


def test_registration_without_a_body_is_an_empty_table() -> None:
    """No body registers the address with no topic."""
    server = Nameserver()
    assert server.ask(RequestCode.REGISTER_BROKER, register_ext()).code == 0
    assert list(server.app.table.brokers) == ["broker-a"]


def test_static_topic_mapping_reaches_the_route() -> None:
    """A mapping info of the registering broker is in its topic's route, another's is not."""
    server = Nameserver()
    tree = json.loads(register_body())
    tree["topicConfigSerializeWrapper"]["topicQueueMappingInfoMap"] = {
        "T1": {"topic": "T1", "bname": "broker-a", "totalQueues": 2, "currIdMap": {"0": 0}},
        "TBW102": {"topic": "TBW102", "bname": "broker-z"},
    }
    server.ask(RequestCode.REGISTER_BROKER, register_ext(), json.dumps(tree).encode())
    route = json.loads(server.ask(ROUTE, {"topic": "T1"}).body)
    info = route["topicQueueMappingByBroker"]["broker-a"]
    assert (info["totalQueues"], info["currIdMap"]) == (2, {"0": 0})
    assert b'"currIdMap":{0:0}' in server.ask(ROUTE, {"topic": "T1"}, version=317).body
    cbor = server.ask(ROUTE, {"topic": "T1"}, serialize=Serialize.CBOR).body
    assert bodies.decode_route(cbor, Serialize.CBOR).topic_queue_mapping_by_broker is not None
    other = json.loads(server.ask(ROUTE, {"topic": "TBW102"}).body)
    assert "topicQueueMappingByBroker" not in other


def test_mapping_that_is_no_mapping_is_refused() -> None:
    """What cannot be a mapping info is refused before anything changes."""
    server = Nameserver()
    tree = json.loads(register_body())
    tree["topicConfigSerializeWrapper"]["topicQueueMappingInfoMap"] = {"T1": [1, 2]}
    body = json.dumps(tree).encode()
    assert server.ask(RequestCode.REGISTER_BROKER, register_ext(), body).code == 1
    assert server.app.table.brokers == {}


def test_unregister_answers_success_for_anybody() -> None:
    """104 of a registered broker takes it away; of an unknown one it changes nothing; both 0."""
    server = Nameserver()
    server.register()
    fields = {key: value for key, value in register_ext().items() if key != "haServerAddr"}
    for _ in range(2):
        assert server.ask(RequestCode.UNREGISTER_BROKER, fields).code == 0
    assert server.app.table.brokers == {}


def test_heartbeat_keeps_a_broker_alive() -> None:
    """904 moves the last sign of life, needs no broker id, and never fails."""
    server = Nameserver()
    server.register()
    server.clock.now += 100
    ext = {"clusterName": "c", "brokerAddr": MASTER, "brokerName": "broker-a"}
    assert server.ask(RequestCode.BROKER_HEARTBEAT, ext).code == 0
    assert server.ask(RequestCode.BROKER_HEARTBEAT, {**ext, "brokerAddr": SLAVE}).code == 0
    assert server.app.table.expire(server.clock.now + 120) == []
    assert len(server.app.table.expire(server.clock.now + 121)) == 1


@pytest.mark.parametrize("serialize", ALL)
def test_query_data_version(serialize: Serialize) -> None:
    """322 says whether the broker must register again, and shows the stored version if any."""
    server = Nameserver()
    code = RequestCode.QUERY_DATA_VERSION
    body = encode_data_version(DataVersion(counter=1), serialize)
    unknown = server.ask(code, register_ext(), body, serialize=serialize)
    assert (unknown.ext, unknown.body) == ({"changed": "true"}, b"")
    server.register()
    known = server.ask(code, register_ext(), body, serialize=serialize)
    assert known.ext == {"changed": "false"}
    assert decode_data_version(known.body, serialize) == DataVersion(counter=1)
    assert server.ask(code, register_ext()).ext == {"changed": "true"}


def test_register_topic_needs_a_body() -> None:
    """217 adds the body's queues; without one (an old KV lookup) it is refused."""
    server = Nameserver()
    server.register()
    code = RequestCode.REGISTER_TOPIC_IN_NAMESRV
    told = TopicRouteData(queue_datas=[QueueData("broker-a", 2, 2, 6)])
    body = bodies.encode_route(told, Serialize.JSON)
    assert server.ask(code, {"topic": "N"}, body).code == 0
    assert server.ask(code, {"topic": "M"}).code != 0
    assert server.ask(code, {"namespace": "n", "key": "k"}).code != 0
    assert server.app.table.topics.names() == ["N", "T1", "TBW102"]


def test_cluster_info_has_bare_keys() -> None:
    """106 is written with bare numeric keys for every client."""
    server = Nameserver()
    server.register()
    body = server.ask(RequestCode.GET_BROKER_CLUSTER_INFO).body
    assert b"{0:" in body
    info = bodies.decode_cluster_info(body, Serialize.JSON)
    assert info.cluster_addr_table == {"c": ["broker-a"]}
    assert info.broker_addr_table["broker-a"].broker_addrs == {0: MASTER}


@pytest.mark.parametrize(
    ("code", "ext", "topics"),
    [
        (RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER, {}, ["T1", "TBW102"]),
        (RequestCode.GET_TOPICS_BY_CLUSTER, {"cluster": "c"}, ["T1", "TBW102"]),
        (RequestCode.GET_SYSTEM_TOPIC_LIST_FROM_NS, {}, ["broker-a", "c"]),
        (RequestCode.GET_UNIT_TOPIC_LIST, {}, []),
        (RequestCode.GET_HAS_UNIT_SUB_TOPIC_LIST, {}, []),
        (RequestCode.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, {}, []),
    ],
)
def test_topic_lists(code: RequestCode, ext: dict[str, str], topics: list[str]) -> None:
    """Each list code answers a TopicList; only 304 names a broker's address."""
    server = Nameserver()
    server.register()
    told = json.loads(server.ask(code, ext).body)
    assert told["topicList"] == topics
    assert told.get("brokerAddr") == (MASTER if code == 304 else None)


@pytest.mark.parametrize(
    ("switch", "code"),
    [
        ("enable_all_topic_list", RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER),
        ("enable_topic_list", RequestCode.GET_TOPICS_BY_CLUSTER),
        ("enable_topic_list", RequestCode.GET_UNIT_TOPIC_LIST),
        ("enable_topic_list", RequestCode.GET_HAS_UNIT_SUB_TOPIC_LIST),
        ("enable_topic_list", RequestCode.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST),
    ],
)
def test_lists_can_be_disabled(switch: str, code: RequestCode) -> None:
    """A switched-off list is refused with code 1."""
    response = with_hot(**{switch: False}).ask(code, {"cluster": "c"})
    assert (response.code, response.remark) == (1, "disable")


def test_member_group_of_an_unknown_name_is_empty() -> None:
    """901 answers 0 with bare keys; an unknown group has no addresses."""
    server = Nameserver()
    server.register()
    code = RequestCode.GET_BROKER_MEMBER_GROUP
    known = server.ask(code, {"clusterName": "c", "brokerName": "broker-a"})
    unknown = server.ask(code, {"clusterName": "c", "brokerName": "broker-z"})
    assert b'"brokerAddrs":{0:' in known.body
    group = bodies.decode_broker_member_group(unknown.body, Serialize.JSON)
    assert (unknown.code, group.broker_addrs) == (0, {})


def test_no_routes_while_waiting_for_service() -> None:
    """With needWaitForService a fresh nameserver shows no half-filled table for 45 s."""
    server = with_hot(need_wait_for_service=True)
    server.register()
    early = server.ask(ROUTE, {"topic": "T1"})
    server.clock.now += 45
    assert (early.code, early.remark) == (1, "name server not ready")
    assert server.ask(ROUTE, {"topic": "T1"}).code == 0


@pytest.mark.parametrize("number", [10**30, -(10**30), 2**63])
def test_huge_numbers_never_reach_a_reply(number: int) -> None:
    """Integers beyond a long are refused wherever a registration has them."""
    server = Nameserver()
    for old in (b'"counter":1', b'"perm":6', b'"readQueueNums":8'):
        member = old.split(b":")[0]
        body = register_body().replace(old, b"%s:%d" % (member, number))
        assert server.ask(RequestCode.REGISTER_BROKER, register_ext(), body).code == 1
    assert (
        server.ask(RequestCode.REGISTER_BROKER, {**register_ext(), "brokerId": str(number)}).code
        == 1
    )
    assert server.app.table.brokers == {}


def test_answer_too_large_for_a_frame_is_refused() -> None:
    """A list that would break its reader's connection is refused, naming the limit."""
    assert answer(b" " * BODY_BYTES_MAX).code == 0
    with pytest.raises(Refused, match="BODY_BYTES_MAX"):
        answer(b" " * (BODY_BYTES_MAX + 1))
