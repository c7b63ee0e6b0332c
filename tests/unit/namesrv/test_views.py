"""What clients and tools are shown of a route table."""

import pytest

from broker_trio.model.route import QueueData
from broker_trio.model.topic import TopicConfig
from broker_trio.namesrv import views
from broker_trio.namesrv.config import RoutesSection
from broker_trio.namesrv.registration import MappingInfo
from broker_trio.namesrv.routes import RouteTable
from namesrv.registrations import registration

MASTER, SLAVE, OTHER = "10.0.0.1:10911", "10.0.0.2:10911", "10.0.0.3:10911"


@pytest.fixture
def table() -> RouteTable:
    """A pair broker-a in cluster c, and broker-b in cluster d."""
    table = RouteTable(RoutesSection())
    table.register(registration("A", "B", acting=True), 0.0)
    table.register(registration(addr=SLAVE, broker_id=1, session=2, acting=True), 0.0)
    far = registration("B", "C", name="broker-b", addr=OTHER, session=3, cluster="d")
    table.register(far, 0.0)
    return table


def test_route_lists_every_broker_of_the_topic(table: RouteTable) -> None:
    """A route has queues and all replicas of each broker name that offers the topic, sorted."""
    route = views.pick_route(table, "B")
    assert route is not None
    assert [queue.broker_name for queue in route.queue_datas] == ["broker-a", "broker-b"]
    assert [b.broker_addrs for b in route.broker_datas] == [{0: MASTER, 1: SLAVE}, {0: OTHER}]
    assert route.topic_queue_mapping_by_broker is None


def test_unknown_topic_has_no_route(table: RouteTable) -> None:
    """A topic that nobody registered, or whose brokers are all gone, gives None."""
    assert views.pick_route(table, "Z") is None
    table.connection_closed(3)
    assert views.pick_route(table, "C") is None


def test_static_topic_shows_its_mapping() -> None:
    """A mapping info that came with a registration is part of the topic's route."""
    table = RouteTable(RoutesSection())
    info = MappingInfo("S", "broker-a", total_queues=4)
    table.register(registration("S", "T", mappings={"S": info, "unknown": info}), 0.0)
    route = views.pick_route(table, "S")
    assert route is not None
    assert route.topic_queue_mapping_by_broker == {"broker-a": info}
    table.unregister("broker-a", MASTER)
    assert table.fingerprint == 0


def test_acting_master_is_shown_as_id_0_only_when_asked(table: RouteTable) -> None:
    """The smallest id of a master-less, read-only, willing broker is shown as 0 in a copy."""
    table.unregister("broker-a", MASTER)
    plain = views.pick_route(table, "A")
    acting = views.pick_route(table, "A", acting_master=True)
    assert plain is not None
    assert acting is not None
    assert plain.broker_datas[0].broker_addrs == {1: SLAVE}
    assert acting.broker_datas[0].broker_addrs == {0: SLAVE}
    assert table.brokers["broker-a"].broker_addrs == {1: SLAVE}


def test_writable_queue_or_member_topic_has_no_acting_master(table: RouteTable) -> None:
    """Where the queue is still writable, or the topic serves the replicas themselves, ids stay."""
    table.unregister("broker-a", MASTER)
    table.register_topic("rmq_sys_SYNC_BROKER_MEMBER_broker-a", [QueueData("broker-a", 1, 1, 1)])
    table.register_topic("W", [QueueData("broker-a", 1, 1, 6)])
    for topic in ("W", "rmq_sys_SYNC_BROKER_MEMBER_broker-a"):
        route = views.pick_route(table, topic, acting_master=True)
        assert route is not None
        assert route.broker_datas[0].broker_addrs == {1: SLAVE}


def test_cluster_info_and_topic_lists(table: RouteTable) -> None:
    """106, 224 and 304 name every cluster, broker and topic once, sorted."""
    brokers, clusters = views.cluster_info(table)
    assert (list(brokers), clusters) == (
        ["broker-a", "broker-b"],
        {"c": ["broker-a"], "d": ["broker-b"]},
    )
    assert views.topics_of_cluster(table, "d") == ["B", "C"]
    assert views.topics_of_cluster(table, "nowhere") == []
    assert views.system_topics(table) == (["broker-a", "broker-b", "c", "d"], MASTER)


def test_system_topics_of_an_empty_table() -> None:
    """Without a broker there is neither a name nor an address."""
    assert views.system_topics(RouteTable(RoutesSection())) == ([], None)


def test_unit_lists_read_the_sys_flag() -> None:
    """311 wants UNIT, 312 UNIT_SUB, 313 UNIT_SUB without UNIT."""
    table = RouteTable(RoutesSection())
    table.register(registration(*(TopicConfig(f"F{n}", topic_sys_flag=n) for n in range(4))), 0.0)
    assert views.unit_topics(table, wanted=views.UNIT) == ["F1", "F3"]
    assert views.unit_topics(table, wanted=views.UNIT_SUB) == ["F2", "F3"]
    assert views.unit_topics(table, wanted=views.UNIT_SUB, unwanted=views.UNIT) == ["F2"]


def test_member_group_of_a_known_and_an_unknown_name(table: RouteTable) -> None:
    """901 lists replicas; a name that the cluster does not have gives no addresses."""
    assert views.member_group(table, "c", "broker-a").broker_addrs == {0: MASTER, 1: SLAVE}
    assert views.member_group(table, "d", "broker-a").broker_addrs == {}


def test_broker_counts_by_role(table: RouteTable) -> None:
    """Each registered address counts once, as a master or a slave of its cluster."""
    assert views.broker_counts(table) == {("c", "master"): 1, ("c", "slave"): 1, ("d", "master"): 1}
