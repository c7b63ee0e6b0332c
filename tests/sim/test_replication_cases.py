"""What a pair's streams promise, case by case: divergence, refusals, codes, tables, late slaves."""

import msgspec
import pytest
import trio

from broker_trio.broker.replication.acks import Outcome
from broker_trio.broker.replication.streaming import Streaming
from broker_trio.model.errors import Refused
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.topic import TopicConfig
from broker_trio.store.config import TINY
from broker_trio.testing.checkers.stored import check_all
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from tests.sim.replication_rig import IDS, Program, Rig, assert_identical, bytes_of, sending
from tests.sim.store_workload import ASYNC, SYNC, Workload, draft

SEGMENT = TINY.commit_log_segment_bytes


def burst(rig: Rig, name: str, seed: int, steps: int = 3) -> int:
    """Some sends at once; how many messages."""
    workload, before = Workload(seed, rig.journal, prefix=f"{name}{seed}."), len(rig.journal.sent)
    for _ in range(steps):
        rig.programs[name].send(workload, rig.told)
    return len(rig.journal.sent) - before


async def pair(
    world: World, config=SYNC, least: int = 2, **settings
) -> tuple[Rig, Program, Program]:
    """`a` owns, `b` follows and is level."""
    rig = Rig(world, config, **settings)
    rig.first_record(least)
    master, slave = await rig.up("a"), await rig.up("b")
    await rig.level()
    return rig, master, slave


# -- who comes back --------------------------------------------------------------------------------


async def returning_master(world: World, config) -> None:
    rig, master, slave = await pair(world, config, least=1)
    burst(rig, "a", 1, 20)
    await rig.level()
    world.network.cut("a", "b")
    kept = slave.store.log.max_offset
    lost = burst(rig, "a", 2, 10)
    await master.store.wait_flushed(master.store.log.max_offset)
    tail = await bytes_of(master.store, kept, master.store.log.max_offset)
    rig.kill("a")
    for one in rig.journal.sent[-lost:]:
        one.acknowledged = False  # an asynchronous pair: within the lag
    await slave.role.own(slave.replication, (IDS["a"], IDS["b"]), 1)
    burst(rig, "b", 3, 15)
    world.network.heal_all()
    old = await rig.up("a")
    old.role.promise(slave.role.epoch)
    await rig.level(follower="a", leader="b")
    await assert_identical(old.store, slave.store, slave.store.log.max_offset)
    names = world.nodes["a"].disk.list("divergent")
    assert names == [f"{kept:020d}-{kept + len(tail):020d}.log"]
    assert world.nodes["a"].disk.read(f"divergent/{names[0]}") == tail
    assert old.replication.stats.cut_bytes == len(tail)
    gone = {
        one.name
        for one in rig.journal.sent
        if kept <= one.at.physical_offset and one.name.startswith("a2.")
    }
    rig.journal.sent = [one for one in rig.journal.sent if one.name not in gone]
    await trio.sleep(1.1)
    await check_all(old.store, rig.journal)
    assert old.role.epochs == slave.role.epochs


@pytest.mark.parametrize("config", [ASYNC, SYNC], ids=["memory", "disk"])
def test_a_returning_master_saves_its_tail_and_follows(config):
    """What only it had is in the side file, byte for byte; then its log is the new master's."""
    simulate(1, lambda world: returning_master(world, config))


async def late_slave(world: World) -> None:
    config = msgspec.structs.replace(SYNC, retention_hours=0, disk_used_ratio_delete=0.0,
                                     retention_interval_ms=50)  # fmt: skip
    rig = Rig(world, config)
    rig.first_record(least=1)
    master = await rig.up("a")
    for seed in range(8):
        burst(rig, "a", seed, 20)
        await trio.sleep(0.3)
    begin = master.store.log.min_offset
    assert begin > 0
    slave = await rig.up("b")
    await rig.level()
    assert slave.store.log.min_offset >= begin
    await assert_identical(master.store, slave.store, master.store.log.max_offset)


def test_a_new_slave_begins_where_the_master_still_has_it():
    """Expired segments are nobody's: the copy begins with the first that is kept."""
    simulate(2, late_slave)


async def catching_up(world: World) -> None:
    slow = Streaming(chunk_bytes=700, catch_up_bytes_per_s=20_000, level_bytes=2_000)
    rig = Rig(world, ASYNC, streaming=slow)
    rig.first_record(least=1)
    master = await rig.up("a")
    for seed in range(4):
        burst(rig, "a", seed, 20)
    size, begun = master.store.log.max_offset, trio.current_time()
    slave = await rig.up("b")
    await trio.sleep(0.5)
    assert slave.replication.lag_bytes > 0 < slave.replication.lag_messages
    assert slave.replication.lag_seconds > 0
    burst(rig, "a", 9)
    assert rig.told.outcomes[Outcome.OK] == len(rig.journal.sent)
    await rig.level(within_s=60)
    assert trio.current_time() - begun > size / 20_000 * 0.8
    assert slave.replication.lag_bytes == slave.replication.lag_messages == 0


def test_catching_up_is_bounded_and_disturbs_nobody():
    """A slave far behind gets its share of bandwidth; sends are answered all the while."""
    simulate(3, catching_up)


# -- answers ---------------------------------------------------------------------------------------


async def no_slave(world: World) -> None:
    rig, master, _ = await pair(world)
    rig.kill("b")
    await trio.sleep(0.1)
    count = burst(rig, "a", 1)
    await trio.sleep(2.5)
    assert rig.told.outcomes[Outcome.OK] == 0 == len(rig.told.refused)
    end = master.store.log.max_offset
    assert master.store.confirm_offset < end
    await trio.sleep(1.0)
    assert rig.told.outcomes[Outcome.NO_SLAVE] == count
    burst(rig, "a", 2)
    assert "SLAVE_NOT_AVAILABLE" in rig.told.refused[0]
    assert "broker-trio degrade" in rig.told.refused[0]
    assert master.store.log.max_offset == end, "nothing may be appended that nobody copies"
    await rig.up("b")
    await rig.level()
    assert master.store.confirm_offset == end
    count = burst(rig, "a", 3)
    await trio.sleep(0.5)
    assert rig.told.outcomes[Outcome.OK] == count


def test_without_a_slave_11_and_then_refused_before_the_append():
    """Never a silent OK; after the timeout no invisible tail grows; all is well when it is back."""
    simulate(4, no_slave)


async def slow_slave(world: World) -> None:
    rig, master, _ = await pair(world)
    world.network.stall("a", "b", 4.0)
    count = burst(rig, "a", 1)
    await trio.sleep(3.1)
    late = rig.told.outcomes[Outcome.SLAVE_LATE] + rig.told.outcomes[Outcome.NO_SLAVE]
    assert late == count
    await rig.level()
    assert master.store.confirm_offset == master.store.log.max_offset
    count = burst(rig, "a", 2)
    await trio.sleep(0.5)
    assert rig.told.outcomes[Outcome.OK] == count


def test_a_slave_that_does_not_answer_in_time_is_12():
    """The message is stored, and the sender knows that it knows no more."""
    simulate(5, slow_slave)


async def slow_disk(world: World) -> None:
    rig, _, _ = await pair(world)
    world.nodes["a"].disk.slow = 3_000.0
    count = burst(rig, "a", 1)
    await trio.sleep(4.0)
    assert rig.told.outcomes[Outcome.NOT_FLUSHED] == count


def test_the_own_disk_is_late_is_10():
    """The slave has it on disk, this broker does not know whether its own has."""
    simulate(6, slow_disk)


async def unseen(world: World) -> None:
    rig, master, slave = await pair(world)
    burst(rig, "a", 1)
    await rig.level()
    await trio.sleep(0.2)
    world.network.cut("a", "b")
    seen = {(one.topic, one.queue_id): one.max_offset for one in master.store.queues}
    position = master.store.log.max_offset
    burst(rig, "a", 2)
    await master.store.wait_flushed(master.store.log.max_offset)
    for (topic, queue_id), end in seen.items():
        assert master.store.queues.max_offset(topic, queue_id) == end
    assert await master.store.reader.record_at(position) is None
    rig.kill("a")
    again = await rig.up("a")  # recovery dispatches all that is in the log
    assert again.store.log.max_offset > position
    assert again.store.confirm_offset <= position
    assert await again.store.reader.record_at(position) is None
    del slave


def test_consumers_see_only_what_is_confirmed():
    """Not by queue, not by position, not after a restart."""
    simulate(7, unseen)


async def no_lease(world: World) -> None:
    rig, master, _ = await pair(world, ASYNC, least=1)
    master.role.lease = False
    burst(rig, "a", 1)
    assert rig.told.refused == ["no master, or no lease"] * 3
    master.role.lease = True
    workload = Workload(2, rig.journal)
    for sent in workload.burst(master.store):
        for end, tell in sent:
            master.replication.acks.wait(end, lambda got, tell=tell: rig.told.hear(tell, got))
    master.role.lease = False  # runs out between the append and the answer
    master.store.write_out()
    assert rig.told.outcomes[Outcome.SLAVE_LATE] == len(rig.journal.sent) > 0


def test_a_lone_answer_needs_the_lease_again():
    """Rule 6: what was appended with a lease is answered 12 where the lease is gone."""
    simulate(8, no_lease)


async def follower_writes(world: World) -> None:
    _, _, slave = await pair(world)
    with pytest.raises(Refused):
        slave.store.append(draft("x"))
    with pytest.raises(Refused):
        slave.store.check_writable(10)


def test_a_slave_takes_no_writes():
    """Whoever asks."""
    simulate(9, follower_writes)


# -- tables ----------------------------------------------------------------------------------------


async def tables(world: World) -> None:
    rig, master, slave = await pair(world, least=1)
    burst(rig, "a", 1, 20)
    master.topics.put(TopicConfig("T1", 4, 4))
    master.groups.put(SubscriptionGroupConfig("G1"))
    master.groups.put(SubscriptionGroupConfig("G2"))
    master.groups.set_may_read("G1", "T1", readable=False)
    master.offsets.commit("G1", "orders", 0, 2)
    await trio.sleep(1.0)
    assert slave.topics.table == master.topics.table
    assert slave.groups.table == master.groups.table
    assert slave.groups.forbidden == master.groups.forbidden
    assert slave.offsets.table == master.offsets.table
    assert slave.topics.data_version == master.topics.data_version
    master.topics.delete("T1")
    master.groups.delete("G2")
    master.offsets.reset("G1", "orders", 0, 1)
    master.offsets.delete_group("G3")
    await trio.sleep(1.0)
    assert slave.topics.table == master.topics.table
    assert slave.groups.table == master.groups.table
    assert slave.offsets.query("G1", "orders", 0) == 1
    assert slave.offsets.reset_counts == {"orders@G1": 1}


def test_tables_follow_within_a_second():
    """Topics, groups, what is barred, offsets: changed, reset and deleted."""
    simulate(10, tables)


async def offsets_come_back(world: World) -> None:
    rig, master, slave = await pair(world, least=1)
    burst(rig, "a", 1, 40)
    for program in (master, slave):
        for queue in range(3):
            program.topics.put(TopicConfig("orders", 8, 8))
            program.groups.put(SubscriptionGroupConfig("G"))
            program.offsets.commit("G", "orders", queue, 1)
        program.offsets.commit("G4", "orders", 0, 1)
    await rig.level()
    await trio.sleep(1.2)
    end = master.store.queues.max_offset("orders", 0)
    assert end > 4
    world.network.cut("a", "b")
    slave.offsets.commit("G", "orders", 0, 4)
    slave.offsets.commit("G", "orders", 1, 1_000)
    slave.offsets.commit("G", "orders", 7_000, 3)
    slave.offsets.commit("begun", "orders", 0, 3)
    master.offsets.delete_group("G4")
    master.offsets.reset("G", "orders", 2, 0)
    slave.offsets.commit("H", "orders", 2, 2)
    master.groups.put(SubscriptionGroupConfig("H"))
    await trio.sleep(12)
    world.network.heal_all()
    await rig.level()
    await trio.sleep(1.2)
    assert master.offsets.query("H", "orders", 2) == 2
    assert master.offsets.query("begun", "orders", 0) == 3, "the group began at the slave"
    assert master.offsets.query("G4", "orders", 0) == -1, "the group was deleted since"
    assert master.offsets.query("G", "orders", 0) == 1, "the group was reset since"
    assert master.offsets.query("G", "orders", 7_000) == -1
    assert slave.offsets.table == master.offsets.table


def test_offsets_that_a_slave_took_alone_come_back():
    """The further place counts, up to the queue's end, unless the group was reset meanwhile."""
    simulate(11, offsets_come_back)


async def delays(world: World) -> None:
    rig, master, slave = await pair(world, least=1)
    for number in range(5):
        one = draft(f"d{number}", "orders", 0)
        one.properties += b"DELAY\x011\x02REAL_TOPIC\x01orders\x02REAL_QID\x010\x02"
        one.topic, one.queue_id = "SCHEDULE_TOPIC_XXXX", 0
        master.store.append(one)
    master.store.write_out()
    await trio.sleep(4.0)
    assert master.schedule.offsets()[1] == 5
    assert slave.schedule.delivered == 0
    await rig.level()
    await trio.sleep(1.0)
    rig.kill("a")
    await slave.role.own(slave.replication, (IDS["b"],), 1)
    await trio.sleep(3.0)
    assert slave.schedule.offsets()[1] == 5
    assert slave.schedule.delivered == 0, "delivered by the old master, and known to be"


def test_delay_levels_go_on_where_they_were():
    """A slave delivers nothing; as a master it goes on behind what was delivered."""
    simulate(12, delays)


# -- the disk of a slave ---------------------------------------------------------------------------


async def full_slave(world: World) -> None:
    rig, master, slave = await pair(world, least=1)
    disk = world.nodes["b"].disk
    disk.capacity_bytes = disk._used_bytes + 2_000
    burst(rig, "a", 1, 30)
    await trio.sleep(5.0)
    assert slave.store.log.max_offset < master.store.log.max_offset
    assert "disk is full" in slave.replication.slave.problems["a:10912"]
    disk.capacity_bytes = 1 << 40
    await rig.level()
    await assert_identical(master.store, slave.store, master.store.log.max_offset)


def test_a_full_disk_stops_a_slave_until_there_is_room():
    """It neither dies nor skips a byte."""
    simulate(13, full_slave)


async def learner(world: World) -> None:
    rig = Rig(world, SYNC, names="abc")
    rig.first_record(2)
    master = await rig.up("a")
    await rig.up("c")
    await rig.level(follower="c")
    count = burst(rig, "a", 1)
    await trio.sleep(3.5)
    assert rig.told.outcomes[Outcome.OK] == 0, "a learner's copy does not count"
    assert rig.told.outcomes[Outcome.NO_SLAVE] == count
    await rig.up("b")
    await rig.level()
    count = burst(rig, "a", 2)
    await trio.sleep(0.5)
    assert rig.told.outcomes[Outcome.OK] == count
    assert len(master.replication.followers) == 2


def test_a_learner_follows_and_does_not_count():
    """Every slave beyond the member is one."""
    simulate(14, learner)


async def in_order(world: World) -> None:
    rig, master, _ = await pair(world)
    world.network.set_delay("a", "b", (0.5, 0.5))
    async with sending(rig):
        await trio.sleep(2.0)
    await trio.sleep(2.0)
    assert rig.told.outcomes[Outcome.OK] == len(rig.journal.sent) > 100
    assert master.replication.acks.waiting_count == 0
    waits = master.replication.acks.waits_s  # what the metric shows of them
    assert waits.count == len(rig.journal.sent)
    assert 0.5 < waits.total / waits.count < 1.5


def test_a_slow_wire_delays_answers_and_loses_none():
    """Each is answered when its own bytes are there, whoever waits before or behind it."""
    simulate(15, in_order)
