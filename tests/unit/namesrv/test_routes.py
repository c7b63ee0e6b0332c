"""The route table, rule by rule of protocol.md §2.2 and §2.3, and its invariants under anything."""

import contextlib
import random

import pytest

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.route import QueueData
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.namesrv.config import RoutesSection
from broker_trio.namesrv.routes import RouteTable
from namesrv.registrations import V1, V2, registration

MASTER, SLAVE, OTHER = "10.0.0.1:10911", "10.0.0.2:10911", "10.0.0.3:10911"


@pytest.fixture
def table() -> RouteTable:
    return RouteTable(RoutesSection())


def perm(table: RouteTable, topic: str, name: str = "broker-a") -> int | None:
    queue = table.topics.get(topic, name)
    return None if queue is None else queue.perm


def test_first_registration_stores_cluster_address_and_topics(table: RouteTable) -> None:
    """A fresh broker's whole table is there after one 103, and nobody is told a master."""
    result = table.register(registration(), now=0.0)
    assert (result.result, result.master_addr) == ("new", None)
    assert table.clusters == {"c": {"broker-a"}}
    assert table.brokers["broker-a"].broker_addrs == {0: MASTER}
    assert table.topics.names() == ["T1", "TBW102"]


def test_slave_is_told_its_master(table: RouteTable) -> None:
    """A slave gets masterAddr and haServerAddr of the live master; its topics do not count."""
    table.register(registration(), now=0.0)
    result = table.register(registration("A", "B", addr=SLAVE, broker_id=1, session=2), now=0.0)
    assert (result.master_addr, result.ha_server_addr) == (MASTER, "10.0.0.1:10912")
    assert table.topics.names() == ["T1", "TBW102"]
    assert table.brokers["broker-a"].broker_addrs == {0: MASTER, 1: SLAVE}


def test_slave_without_a_master_is_told_nobody(table: RouteTable) -> None:
    """Before its master has registered a slave gets no address."""
    result = table.register(registration(addr=SLAVE, broker_id=1), now=0.0)
    assert (result.result, result.master_addr, result.ha_server_addr) == ("new", None, None)


def test_promoted_slave_leaves_its_old_id(table: RouteTable) -> None:
    """An address that registers under another id is no longer listed under the old one."""
    table.register(registration(addr=SLAVE, broker_id=1), now=0.0)
    table.register(registration(addr=SLAVE, broker_id=0), now=1.0)
    assert table.brokers["broker-a"].broker_addrs == {0: SLAVE}


def test_lower_state_version_does_not_take_the_id(table: RouteTable) -> None:
    """While the id's holder has a higher stateVersion, another address is ignored, not refused."""
    high, low = DataVersion(state_version=5), DataVersion(state_version=4, counter=9)
    table.register(registration(version=high), now=0.0)
    result = table.register(registration("X", "Y", addr=OTHER, version=low, session=2), now=0.0)
    assert result.result == "rejected"
    assert table.brokers["broker-a"].broker_addrs == {0: MASTER}
    assert table.live.get("c", OTHER) is None
    assert "X" not in table.topics


@pytest.mark.parametrize("state_version", [5, 6])
def test_equal_or_higher_state_version_takes_the_id(table: RouteTable, state_version: int) -> None:
    """One that is not behind replaces the id's address, and the old one's end is harmless."""
    table.register(registration(version=DataVersion(state_version=5)), now=0.0)
    version = DataVersion(state_version=state_version)
    table.register(registration(addr=OTHER, version=version, session=2), now=0.0)
    assert table.brokers["broker-a"].broker_addrs == {0: OTHER}
    assert table.connection_closed(1) == []
    assert table.brokers["broker-a"].broker_addrs == {0: OTHER}


def test_ignored_claimant_that_was_a_slave_loses_its_old_id(table: RouteTable) -> None:
    """Step 2 stands although step 3 ignores the registration: it said that it is no slave."""
    table.register(registration(version=DataVersion(state_version=5)), now=0.0)
    table.register(registration(addr=SLAVE, broker_id=1, session=2), now=0.0)
    table.register(registration(addr=SLAVE, broker_id=0, session=2), now=1.0)
    assert table.brokers["broker-a"].broker_addrs == {0: MASTER}
    table.check_invariants()


def test_single_topic_before_the_whole_table_is_refused(table: RouteTable) -> None:
    """A table of one topic from an unknown id is refused with code 1 and leaves no trace."""
    with pytest.raises(Refused, match="register broker failed") as caught:
        table.register(registration("T1"), now=0.0)
    assert caught.value.code == ResponseCode.SYSTEM_ERROR
    assert (table.brokers, table.clusters, len(table.live)) == ({}, {}, 0)


def test_single_topic_of_a_known_broker_is_added(table: RouteTable) -> None:
    """After the whole table an incremental registration adds its topic and keeps the others."""
    table.register(registration(), now=0.0)
    assert table.register(registration("T2", version=V2), now=1.0).result == "refresh"
    assert table.topics.names() == ["T1", "T2", "TBW102"]


def test_empty_table_registers(table: RouteTable) -> None:
    """A registration without a body brings no topics and is no single-topic one."""
    request = registration()
    empty = {**{f: getattr(request, f) for f in request.__struct_fields__}, "topics": {}}
    assert table.register(type(request)(**empty), now=0.0).result == "new"


def test_equal_data_version_skips_topics(table: RouteTable) -> None:
    """With an unchanged DataVersion a changed topic is not heard; with a new one it is."""
    table.register(registration(), now=0.0)
    changed = TopicConfig("T1", perm=4)
    assert table.register(registration("TBW102", changed), now=1.0).result == "unchanged"
    assert perm(table, "T1") == 6
    table.register(registration("TBW102", changed, version=V2), now=2.0)
    assert perm(table, "T1") == 4


@pytest.mark.parametrize(
    "version",
    [
        DataVersion(state_version=1, timestamp=V1.timestamp, counter=V1.counter),
        DataVersion(state_version=0, timestamp=V1.timestamp + 1, counter=V1.counter),
        DataVersion(state_version=0, timestamp=V1.timestamp, counter=V1.counter - 1),
    ],
)
def test_any_member_of_the_version_counts(table: RouteTable, version: DataVersion) -> None:
    """DataVersions are equal only in all three members; older ones count as changed too."""
    table.register(registration(), now=0.0)
    table.register(registration("TBW102", TopicConfig("T1", perm=4), version=version), now=1.0)
    assert perm(table, "T1") == 4


def test_missing_topic_comes_back_under_an_equal_version(table: RouteTable) -> None:
    """A topic deleted here comes back with the next 103 whatever its DataVersion."""
    table.register(registration(), now=0.0)
    assert table.delete_topic("T1") == 1
    table.register(registration(), now=1.0)
    assert perm(table, "T1") == 6


def test_topics_left_out_stay(table: RouteTable) -> None:
    """A topic missing from a later table stays, unless the nameserver deletes what is missing."""
    table.register(registration("A", "B", "C"), now=0.0)
    table.register(registration("A", "B", version=V2), now=1.0)
    assert "C" in table.topics
    later = registration("A", "B", version=V2, delete_missing_topics=True)
    table.register(later, now=2.0)
    assert table.topics.names() == ["A", "B"]


def test_incremental_registration_never_deletes(table: RouteTable) -> None:
    """Even where missing topics are deleted, a table of one topic deletes nothing."""
    table.register(registration("A", "B"), now=0.0)
    table.register(registration("C", version=V2, delete_missing_topics=True), now=1.0)
    assert table.topics.names() == ["A", "B", "C"]


def test_acting_slave_registers_read_only_topics(table: RouteTable) -> None:
    """The smallest id that knows acting masters speaks for the topics, without the write bit."""
    table.register(registration(addr=SLAVE, broker_id=1, acting=True), now=0.0)
    table.register(registration("X", "Y", addr=OTHER, broker_id=2, acting=True), now=0.0)
    assert perm(table, "T1") == 4
    assert "X" not in table.topics


def test_old_slave_never_speaks_for_topics(table: RouteTable) -> None:
    """A slave that does not send enableActingMaster brings no topics, be it alone or not."""
    table.register(registration(addr=SLAVE, broker_id=1, acting=None), now=0.0)
    assert len(table.topics) == 0


def test_slave_with_acting_switched_off_keeps_the_write_bit(table: RouteTable) -> None:
    """enableActingMaster=false still speaks for topics, and takes no permission away."""
    table.register(registration(addr=SLAVE, broker_id=1, acting=False), now=0.0)
    assert perm(table, "T1") == 6


def test_unregister_of_the_last_address_takes_everything(table: RouteTable) -> None:
    """With its last address a name leaves its cluster and every topic, and empty topics go."""
    table.register(registration("A", "B"), now=0.0)
    table.register(registration("B", "C", name="broker-b", addr=OTHER, session=2), now=0.0)
    assert table.unregister("broker-a", MASTER) is True
    assert table.topics.names() == ["B", "C"]
    assert table.clusters == {"c": {"broker-b"}}
    assert table.unregister("broker-b", OTHER) is True
    assert (table.brokers, table.clusters, table.topics.names()) == ({}, {}, [])


def test_unregister_matches_the_address(table: RouteTable) -> None:
    """An address that the name does not have changes nothing."""
    table.register(registration(), now=0.0)
    assert table.unregister("broker-a", OTHER) is False
    assert table.unregister("broker-z", MASTER) is False
    assert table.live.get("c", MASTER) is not None


def test_lost_master_makes_acting_replicas_read_only(table: RouteTable) -> None:
    """Without id 0 left and with acting masters, the name's queues lose the write bit."""
    table.register(registration(acting=True), now=0.0)
    table.register(registration(addr=SLAVE, broker_id=1, session=2, acting=True), now=0.0)
    table.unregister("broker-a", MASTER)
    assert perm(table, "T1") == 4


def test_lost_master_of_old_replicas_keeps_permissions(table: RouteTable) -> None:
    """Without acting masters the queues stay as they were: producers need id 0 anyway."""
    table.register(registration(), now=0.0)
    table.register(registration(addr=SLAVE, broker_id=1, session=2), now=0.0)
    table.unregister("broker-a", MASTER)
    assert perm(table, "T1") == 6


def test_closed_connection_unregisters_by_identity(table: RouteTable) -> None:
    """The end of a connection that a broker has left for another one takes nothing away."""
    table.register(registration(session=1), now=0.0)
    table.register(registration(session=2), now=1.0)
    assert table.connection_closed(1) == []
    assert "broker-a" in table.brokers
    assert [live.broker_addr for live in table.connection_closed(2)] == [MASTER]
    assert table.brokers == {}


def test_closed_connection_takes_every_broker_it_spoke_for(table: RouteTable) -> None:
    """Several brokers over one connection all go with it."""
    table.register(registration(session=7), now=0.0)
    table.register(registration(name="broker-b", addr=OTHER, session=7), now=0.0)
    assert len(table.connection_closed(7)) == 2
    assert table.brokers == {}


def test_silence_expires_exactly_after_the_timeout(table: RouteTable) -> None:
    """At the timeout a broker is alive, just past it gone; a heartbeat starts it anew."""
    table.register(registration(), now=0.0)
    assert table.expire(120.0) == []
    table.live.refresh("c", MASTER, now=100.0)
    assert table.expire(220.0) == []
    assert [live.broker_name for live in table.expire(220.001)] == ["broker-a"]
    assert table.topics.names() == []


@pytest.mark.parametrize(
    ("asked_ms", "kept_s"), [(None, 120), (0, 120), (-5, 120), (5_000, 5), (10**12, 3_600)]
)
def test_broker_may_ask_for_its_own_timeout(
    table: RouteTable, asked_ms: int | None, kept_s: int
) -> None:
    """heartbeatTimeoutMillis counts within its limit; nonsense means the default."""
    table.register(registration(heartbeat_timeout_ms=asked_ms), now=0.0)
    assert table.expire(kept_s) == []
    assert len(table.expire(kept_s + 0.001)) == 1


def test_query_data_version_answers_and_keeps_alive(table: RouteTable) -> None:
    """322 says changed for an unknown broker or another version, and counts as a sign of life."""
    assert table.query_data_version("c", MASTER, V1, 0.0) == (True, None)
    table.register(registration(), now=0.0)
    assert table.query_data_version("c", MASTER, V1, 100.0) == (False, V1)
    assert table.query_data_version("c", MASTER, V2, 100.0) == (True, V1)
    assert table.expire(200.0) == []


def test_wipe_lasts_until_the_version_moves(table: RouteTable) -> None:
    """205 survives every 103 with the same DataVersion and is lost with the next other one."""
    table.register(registration("A", "B"), now=0.0)
    assert table.wipe_write_perm("broker-a") == 2
    table.register(registration("A", "B"), now=1.0)
    assert (perm(table, "A"), table.wiped) == (4, {"broker-a"})
    table.register(registration("A", "B", version=V2), now=2.0)
    assert (perm(table, "A"), table.wiped) == (6, set())


def test_wipe_of_one_broker_leaves_others(table: RouteTable) -> None:
    """205 touches the queues of its broker only, and counts nothing for an unknown one."""
    table.register(registration("A", "B"), now=0.0)
    table.register(registration("A", "B", name="broker-b", addr=OTHER, session=2), now=0.0)
    table.wipe_write_perm("broker-a")
    assert (perm(table, "A"), perm(table, "A", "broker-b")) == (4, 6)
    assert table.wipe_write_perm("broker-z") == 0


def test_add_write_perm_sets_six(table: RouteTable) -> None:
    """327 makes every topic of the broker 6, whatever it was before."""
    table.register(registration(TopicConfig("A", perm=7), TopicConfig("B", perm=1)), now=0.0)
    table.wipe_write_perm("broker-a")
    assert table.add_write_perm("broker-a") == 2
    assert (perm(table, "A"), perm(table, "B"), table.wiped) == (6, 6, set())


def test_delete_topic_in_one_cluster(table: RouteTable) -> None:
    """216 with a cluster removes that cluster's entries; without one the whole topic."""
    table.register(registration("A", "B"), now=0.0)
    far = registration("A", "B", name="broker-b", addr=OTHER, session=2, cluster="d")
    table.register(far, now=0.0)
    assert table.delete_topic("A", "d") == 1
    assert (perm(table, "A"), perm(table, "A", "broker-b")) == (6, None)
    assert table.delete_topic("A", "nowhere") == 0
    assert table.delete_topic("B") == 2
    assert table.topics.names() == ["A"]


def test_register_topic_adds_queues_of_known_brokers(table: RouteTable) -> None:
    """217 adds a topic; with one unknown broker among them nothing changes."""
    table.register(registration(), now=0.0)
    table.register_topic("N", [QueueData("broker-a", 4, 4, 6)])
    assert perm(table, "N") == 6
    with pytest.raises(Refused, match="broker-z is not registered"):
        table.register_topic("M", [QueueData("broker-a", 4, 4, 6), QueueData("broker-z", 4, 4, 6)])
    assert "M" not in table.topics


def test_renamed_broker_takes_its_address_along(table: RouteTable) -> None:
    """An address that comes back under another name leaves nothing under the old one."""
    table.register(registration(), now=0.0)
    table.register(registration(name="broker-b", session=2), now=1.0)
    assert set(table.brokers) == {"broker-b"}
    table.check_invariants()


def test_broker_in_another_cluster_has_one_life(table: RouteTable) -> None:
    """The same broker registered from another cluster dies once, with its last connection."""
    table.register(registration(session=1), now=0.0)
    table.register(registration(session=2, cluster="d"), now=1.0)
    assert table.connection_closed(1) == []
    assert len(table.connection_closed(2)) == 1
    assert (table.brokers, table.clusters) == ({}, {})


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (registration(TopicConfig("A", read_queue_nums=1 << 20), "B"), "limit 65536"),
        (registration(TopicConfig("A", write_queue_nums=-1), "B"), "writeQueueNums"),
        (registration(TopicConfig("A", perm=16), "B"), "limit 15"),
        (registration(TopicConfig("A", topic_sys_flag=-1), "B"), "topicSysFlag"),
        (registration("A" * 256, "B"), "NAME_CHARS_MAX"),
        (registration("A", " "), "topic is blank"),
        (registration(name=""), "brokerName is blank"),
        (registration(cluster="c" * 256), "clusterName"),
        (registration(addr="10.0.0.1:1,10.0.0.2:1"), "not host:port"),
        (registration(addr="10.0.0.1"), "not host:port"),
        (registration(broker_id=-1), "below 0"),
        (registration(zone_name="z" * 256), "__ZONE_NAME"),
        (registration(version=DataVersion(timestamp=1 << 63)), "64 bits"),
    ],
)
def test_shape_of_a_registration_is_limited(
    table: RouteTable, request_: object, named: str
) -> None:
    """What would hurt a client that reads it is refused, naming what is wrong; nothing changes."""
    with pytest.raises(Refused, match=named):
        table.register(request_, now=0.0)  # type: ignore[arg-type]
    assert table.brokers == {}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (RoutesSection(brokers_max=1), "routes.brokers_max"),
        (RoutesSection(topics_max=2), "routes.topics_max"),
        (RoutesSection(entries_max=3), "routes.entries_max"),
        (RoutesSection(topics_per_registration_max=2), "routes.topics_per_registration_max"),
    ],
)
def test_table_is_limited(config: RoutesSection, named: str) -> None:
    """What does not fit beside the table is refused with the setting's name; the table stays."""
    table = RouteTable(config)
    table.register(registration("A", "B"), now=0.0)
    before = table.fingerprint
    with pytest.raises(Refused, match=named):
        table.register(registration("A", "B", "C", name="broker-b", addr=OTHER), now=0.0)
    assert (table.fingerprint, set(table.brokers)) == (before, {"broker-a"})


def test_clusters_and_replicas_of_one_name_are_limited(table: RouteTable) -> None:
    """Neither new clusters nor new ids under one name can grow the table without bound."""
    for number in range(8):
        table.register(registration(cluster=f"c{number}"), now=0.0)
    with pytest.raises(Refused, match="CLUSTERS_MAX"):
        table.register(registration(cluster="c8"), now=0.0)
    for number in range(63):
        addr = f"10.0.1.{number}:10911"
        table.register(registration(addr=addr, broker_id=number + 1, cluster="c0"), now=0.0)
    with pytest.raises(Refused, match="REPLICAS_MAX"):
        table.register(registration(addr=OTHER, broker_id=64, cluster="c0"), now=0.0)


@pytest.mark.parametrize("seed", range(6))
def test_invariants_hold_after_anything(seed: int) -> None:
    """Whatever order brokers come, move, conflict and go in, the table's promises hold, and an
    empty table is empty everywhere."""
    rng = random.Random(seed)
    table, now = RouteTable(RoutesSection(heartbeat_timeout_s=30.0)), 0.0
    for _ in range(300):
        now += rng.random() * 5
        topics = rng.sample("ABCDE", rng.randint(1, 4))
        request = registration(
            *(TopicConfig(topic, perm=rng.choice((4, 6))) for topic in topics),
            name=f"broker-{rng.choice('abc')}",
            addr=f"10.0.0.{rng.randint(1, 4)}:10911",
            broker_id=rng.randint(0, 2),
            session=rng.randint(1, 6),
            cluster=rng.choice("cd"),
            version=DataVersion(rng.randint(0, 2), 0, rng.randint(0, 2)),
            acting=rng.choice((None, False, True)),
        )
        act = rng.randint(0, 9)
        if act < 6:
            with contextlib.suppress(Refused):
                table.register(request, now)
        elif act == 6:
            table.unregister(request.broker_name, request.broker_addr)
        elif act == 7:
            table.connection_closed(request.session_id)
        elif act == 8:
            rng.choice((table.wipe_write_perm, table.add_write_perm))(request.broker_name)
        else:
            table.expire(now)
        table.check_invariants()
    table.expire(now + 3_601)
    table.check_invariants()
    assert (len(table.live), len(table.topics), table.fingerprint) == (0, 0, 0)
