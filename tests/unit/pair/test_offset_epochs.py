"""Rule 16: consumer offsets carry their epoch, so that none of them skips what came in the place of
messages that were cut; and that a group was reset is known after a restart, too."""

import json
import random

import pytest
import trio

from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.replication import common, master, replication, slave
from broker_trio.broker.replication.common import end_of
from broker_trio.model.pair import NO_EPOCH, Epoch, EpochStart
from broker_trio.model.topic import TopicConfig
from broker_trio.testing.sim_clock import ManualClock
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from tests.sim.replication_rig import IDS, Program
from tests.sim.store_workload import draft
from tests.sim.test_replication_cases import pair

A1, B2, A3 = Epoch(1, IDS["a"]), Epoch(2, IDS["b"]), Epoch(3, IDS["a"])
LINES = (EpochStart(A1, 0), EpochStart(B2, 100), EpochStart(A3, 250))


@pytest.mark.parametrize(
    ("epoch", "end"),
    [(A1, 100), (B2, 250), (Epoch(2, IDS["a"]), 100), (A3, 400), (Epoch(9, "z"), 400),
     (NO_EPOCH, 400)],
)  # fmt: skip
def test_an_epoch_ends_where_a_later_one_begins(epoch: Epoch, end: int) -> None:
    """One that has no line here, too; of no epoch at all nothing is known."""
    assert end_of(epoch, LINES, 400) == end


def loaded(disk: SimDisk) -> ConsumerOffsets:
    offsets = ConsumerOffsets(disk, ManualClock())
    offsets.load(log_is_empty=True)
    return offsets


async def test_epoch_and_resets_survive_a_restart(autojump_clock: trio.abc.Clock) -> None:
    """They are in consumerOffset.json itself, so that table and epoch are of one moment."""
    disk = SimDisk(random.Random(1))
    offsets = loaded(disk)
    offsets.commit("G", "T", 0, 7)
    await offsets.file.persist_if_dirty()
    assert set(json.loads(disk.read(offsets.file.path).replace(b"{0:7", b'{"0":7'))) == {
        "dataVersion", "offsetTable",
    }, "a broker without a pair writes Apache's file, nothing else"  # fmt: skip
    offsets.reset("G", "T", 0, 3)
    offsets.commit("H", "T", 0, 9)
    offsets.enter(B2, lambda _topic, _queue: 5)
    await offsets.file.persist_if_dirty()
    again = loaded(disk)
    assert (again.epoch, again.reset_counts) == (B2, {"T@G": 1})
    assert (again.query("G", "T", 0), again.query("H", "T", 0)) == (3, 5)
    assert again.merge("T@G", {0: 9}, 0, lambda _topic, _queue: 9) == 0, "reset since"
    assert again.merge("T@H", {0: 9}, 0, lambda _topic, _queue: 7) == 1
    assert again.query("H", "T", 0) == 7


def put(program: Program, count: int) -> None:
    """So many messages into one queue."""
    for number in range(count):
        program.store.append(draft(f"m{number}", "orders", 0))
    program.store.write_out()


async def cut_under_a_group(world: World) -> tuple[int, int, Program, Program]:
    """A master that alone had messages, and a group that had read them, returns twice; the second
    time with a table on its disk that is older than its log."""
    rig, old, new = await pair(world, least=1)
    for program in (old, new):
        program.topics.put(TopicConfig("orders", 8, 8))
    put(old, 4)
    await rig.level()
    await trio.sleep(0.1)
    common_end = old.store.queues.next_offset("orders", 0)
    world.network.cut("a", "b")
    put(old, 3)
    lost_end = old.store.queues.next_offset("orders", 0)
    old.offsets.commit("G", "orders", 0, lost_end)
    await old.offsets.file.persist_if_dirty()
    await old.store.wait_flushed(old.store.log.max_offset)
    rig.kill("a")
    await new.role.own(new.replication, (IDS["a"], IDS["b"]), 1)
    new.offsets.commit("G", "orders", 0, 1)
    put(new, 9)
    assert (common_end, lost_end, new.store.queues.next_offset("orders", 0)) == (4, 7, 13)
    world.network.heal_all()
    for _ in range(2):
        back = await rig.up("a")
        back.role.promise(new.role.epoch)
        await rig.level(follower="a", leader="b")
        await trio.sleep(1.2)
        rig.kill("a")
    return common_end, lost_end, new, back


def test_no_offset_skips_what_came_in_the_place_of_cut_messages() -> None:
    """The group goes on at or before the place where the logs parted."""

    async def scenario(world: World) -> None:
        common_end, _, new, _ = await cut_under_a_group(world)
        assert new.offsets.query("G", "orders", 0) <= common_end

    simulate(5, scenario)


def test_planted_offsets_without_epochs_skip_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scenario finds the plain maximum."""
    for module in (common, master, replication, slave):
        monkeypatch.setattr(module, "end_of", lambda _epoch, _lines, log_end: log_end)

    async def scenario(world: World) -> None:
        common_end, lost_end, new, _ = await cut_under_a_group(world)
        assert new.offsets.query("G", "orders", 0) == lost_end > common_end

    simulate(5, scenario)
