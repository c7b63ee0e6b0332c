"""Requests to a nameserver, right and wrong, that both makes should answer alike."""

from typing import Any, Final

from broker_trio.model.codes import RequestCode as Code
from tests.interop.differ import Case, Side, ext

OLD, NEW = 317, 401  # versions of clients: bare integer keys, standard JSON


def of(side: Side, code: int, body: bytes = b"", version: int = NEW, **fields: object) -> Any:
    return side.nameserver.ask(code, ext(**fields), body, version)


def route(side: Side, topic: str, version: int = NEW, **fields: object) -> Any:
    return of(side, Code.GET_ROUTEINFO_BY_TOPIC, version=version, topic=topic, **fields)


def kept(side: Side) -> Any:
    name = {"namespace": side.made, "key": "k"}
    assert of(side, Code.PUT_KV_CONFIG, value="a=b;c", **name).code == 0
    return of(side, Code.GET_KV_CONFIG, **name)


def kept_list(side: Side) -> Any:
    for key in ("one", "two"):
        assert of(side, Code.PUT_KV_CONFIG, namespace=side.made + "l", key=key, value=key).code == 0
    return of(side, Code.GET_KVLIST_BY_NAMESPACE, namespace=side.made + "l")


def deleted(side: Side) -> Any:
    name = {"namespace": side.made + "d", "key": "k"}
    assert of(side, Code.PUT_KV_CONFIG, value="v", **name).code == 0
    assert of(side, Code.DELETE_KV_CONFIG, **name).code == 0
    return of(side, Code.GET_KV_CONFIG, **name)


def broker_of(side: Side) -> dict[str, object]:
    cluster = side.cluster
    return {
        "clusterName": "DefaultCluster", "brokerName": cluster.broker_name, "brokerId": 0,
        "brokerAddr": cluster.broker,
    }  # fmt: skip


def nobody(_side: Side) -> dict[str, object]:
    return {
        "clusterName": "Nowhere", "brokerName": "nobody", "brokerId": 0,
        "brokerAddr": "127.0.0.1:1", "haServerAddr": "127.0.0.1:2",
    }  # fmt: skip


def own_topics(body: Any, side: Side) -> Any:
    """The scene's topics and well-known ones: others come and go."""
    known = {"TBW102", "SELF_TEST_TOPIC", "DefaultCluster", side.filled, side.empty}
    known.add(side.cluster.broker_name)
    return sorted(set(body["topicList"]) & known)


def own_cluster(body: Any, side: Side) -> Any:
    """Without what refused registrations left."""
    name = side.cluster.broker_name
    return [body["clusterAddrTable"]["DefaultCluster"], body["brokerAddrTable"][name]]


def refused_then_cluster(side: Side) -> Any:
    assert of(side, Code.REGISTER_BROKER, ONE_TOPIC, **nobody(side)).code != 0
    return of(side, Code.GET_BROKER_CLUSTER_INFO)


def members_only(body: Any, _side: Side) -> Any:
    return sorted(body)


VERSION: Final = b'{"counter":1,"stateVersion":0,"timestamp":1}'
ONE_TOPIC: Final = (
    b'{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":' + VERSION + b","
    b'"topicConfigTable":{"T1":{"order":false,"perm":6,"readQueueNums":8,"topicFilterType":'
    b'"SINGLE_TAG","topicName":"T1","topicSysFlag":0,"writeQueueNums":8}}}}'
)
NAMESERVER: Final = [
    Case("route", lambda s: route(s, s.filled)),
    Case("route, old client", lambda s: route(s, s.filled, OLD), "raw"),
    Case("route, new client", lambda s: route(s, s.filled, NEW), "raw"),
    Case(
        "route, standard asked for",
        lambda s: route(s, s.filled, OLD, acceptStandardJsonOnly=True),
        "raw",
    ),
    Case("route, unknown topic", lambda s: route(s, "none-such")),
    Case("route, template", lambda s: route(s, "TBW102")),
    Case("route, no topic", lambda s: of(s, Code.GET_ROUTEINFO_BY_TOPIC)),
    Case("cluster", lambda s: of(s, Code.GET_BROKER_CLUSTER_INFO), only=own_cluster),
    Case("cluster, its keys", lambda s: of(s, Code.GET_BROKER_CLUSTER_INFO), "keys"),
    Case("cluster, after a refused broker", refused_then_cluster),
    Case("topics", lambda s: of(s, Code.GET_ALL_TOPIC_LIST_FROM_NAMESERVER), only=own_topics),
    Case(
        "topics of a cluster",
        lambda s: of(s, Code.GET_TOPICS_BY_CLUSTER, cluster="DefaultCluster"),
        only=own_topics,
    ),
    Case("topics of no cluster", lambda s: of(s, Code.GET_TOPICS_BY_CLUSTER, cluster="Nowhere")),
    Case("system topics", lambda s: of(s, Code.GET_SYSTEM_TOPIC_LIST_FROM_NS), only=own_topics),
    Case("topics with units", lambda s: of(s, Code.GET_UNIT_TOPIC_LIST)),
    Case("topics with unit groups", lambda s: of(s, Code.GET_HAS_UNIT_SUB_TOPIC_LIST)),
    Case("topics with those alone", lambda s: of(s, Code.GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST)),
    Case("value", kept),
    Case("value, none", lambda s: of(s, Code.GET_KV_CONFIG, namespace="none", key="k")),
    Case("value, deleted", deleted),
    Case("values", kept_list),
    Case("values, none", lambda s: of(s, Code.GET_KVLIST_BY_NAMESPACE, namespace="none")),
    Case("members", lambda s: of(s, Code.GET_BROKER_MEMBER_GROUP, **broker_of(s))),
    Case("members, text", lambda s: of(s, Code.GET_BROKER_MEMBER_GROUP, **broker_of(s)), "raw"),
    Case("members, unknown", lambda s: of(s, Code.GET_BROKER_MEMBER_GROUP, **nobody(s))),
    Case("wipe, unknown", lambda s: of(s, Code.WIPE_WRITE_PERM_OF_BROKER, brokerName="nobody")),
    Case("add, unknown", lambda s: of(s, Code.ADD_WRITE_PERM_OF_BROKER, brokerName="nobody")),
    Case("delete a topic, unknown", lambda s: of(s, Code.DELETE_TOPIC_IN_NAMESRV, topic="no-such")),
    Case("config", lambda s: of(s, Code.GET_NAMESRV_CONFIG), "text", members_only),
    Case(
        "config, forbidden key", lambda s: of(s, Code.UPDATE_NAMESRV_CONFIG, b"kvConfigPath=/tmp\n")
    ),
    Case("version, unknown broker", lambda s: of(s, Code.QUERY_DATA_VERSION, VERSION, **nobody(s))),
    Case("heartbeat, unknown broker", lambda s: of(s, Code.BROKER_HEARTBEAT, **nobody(s))),
    Case("unregister, unknown broker", lambda s: of(s, Code.UNREGISTER_BROKER, **nobody(s))),
    Case(
        "register, wrong checksum",
        lambda s: of(s, Code.REGISTER_BROKER, b"{}", bodyCrc32=5, **nobody(s)),
    ),
    Case(
        "register, a table of one",
        lambda s: of(s, Code.REGISTER_BROKER, ONE_TOPIC, version=NEW, **nobody(s)),
    ),
    Case(
        "node's old lookup",
        lambda s: of(s, Code.REGISTER_TOPIC_IN_NAMESRV, namespace="n", key="k"),
    ),
    Case("unknown code", lambda s: of(s, 9_999)),
]
