"""What goes when: ages, hours, shares of the disk, and what never goes."""

import random
from datetime import UTC, datetime

import msgspec
import pytest
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, StoreFailed
from broker_trio.store.config import TINY, StoreConfig
from broker_trio.store.retention import HOUR_MS, Aged, expired_count, is_delete_hour
from broker_trio.store.store import Store
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_disk import SimDisk
from tests.sim.store_workload import HOST, draft

NOW = 1_700_000_000_000
OLD = NOW - 72 * HOUR_MS
NO_HOUR = msgspec.structs.replace(
    TINY, delete_when_hours=(), disk_used_ratio_delete=0.75, queue_flush_interval_ms=50
)


@pytest.mark.parametrize(
    ("ages", "keep_from", "count"),
    [
        ([OLD, OLD, OLD], 1 << 40, 3),
        ([OLD, NOW, OLD], 1 << 40, 1),
        ([OLD + 1, OLD], 1 << 40, 0),
        ([OLD, OLD, OLD], 8192, 2),
        ([OLD, OLD, OLD], 8191, 1),
        ([], 1 << 40, 0),
    ],
)
def test_the_oldest_that_are_too_old_go(ages: list[int], keep_from: int, count: int) -> None:
    """Deleting goes by the last write, from the oldest, and stops at what is needed or young."""
    segments = [Aged((n + 1) * 4096, age) for n, age in enumerate(ages)]
    assert expired_count(segments, keep_from, NOW, 72) == count


def test_the_hour_is_the_hosts() -> None:
    """deleteWhen is local time, as Apache has it."""
    hour = datetime.fromtimestamp(NOW / 1000, UTC).astimezone().hour
    assert is_delete_hour(NOW, (hour,))
    assert not is_delete_hour(NOW, [other for other in range(24) if other != hour])
    assert not is_delete_hour(NOW, ())


class Rig:
    """An open store with some segments, on a disk and a clock that a test can turn."""

    def __init__(self, config: StoreConfig) -> None:
        self.disk = SimDisk(random.Random(1))
        self.clock = SimClock()
        self.disk.clock = self.clock
        self.store = Store(self.disk, self.clock, random.Random(1), config, HOST)

    async def fill(self, count: int = 100) -> None:
        for n in range(count):
            self.store.append(draft(f"m{n:031d}", queue_id=n % 2))
            self.store.write_out()
        await self.store.wait_flushed(self.store.log.max_offset)
        await trio.sleep(0.5)

    def use(self, share: float) -> None:
        """Make the disk so large that what it holds is this share of it."""
        usage = self.disk.usage()
        self.disk.capacity_bytes = int((usage.total - usage.free) / share)


async def test_expired_segments_go_and_queues_follow(autojump_clock: object) -> None:
    """At the hour, what is older than retention_hours goes; queues begin where the log does."""
    rig = Rig(msgspec.structs.replace(NO_HOUR, delete_when_hours=tuple(range(24))))
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.store.run)
        await rig.fill()
        rig.clock.step(71 * HOUR_MS)
        assert await rig.store.retention.sweep() == 0
        rig.clock.step(HOUR_MS)
        count = await rig.store.retention.sweep()
        log = rig.store.log
        assert count == rig.store.stats.expired_by_age == log.min_offset // 4096 > 2
        assert log.newest is not None
        assert log.min_offset <= log.newest.physical_offset
        queue = rig.store.queues.get("T", 0)
        assert queue is not None
        unit = queue.unit_at(queue.min_offset)
        assert unit is not None
        assert unit.physical_offset >= log.min_offset
        nursery.cancel_scope.cancel()


async def test_another_hour_deletes_only_under_pressure(autojump_clock: object) -> None:
    """Outside the hour expired segments stay until the disk is used to disk_used_ratio_delete."""
    rig = Rig(NO_HOUR)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.store.run)
        await rig.fill()
        rig.clock.step(100 * HOUR_MS)
        assert await rig.store.retention.sweep() == 0
        rig.use(0.8)
        assert await rig.store.retention.sweep() > 0
        nursery.cancel_scope.cancel()


async def test_young_segments_go_when_the_disk_is_nearly_full(autojump_clock: object) -> None:
    """Above the force ratio the oldest go whatever their age, only until it is below."""
    rig = Rig(NO_HOUR)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.store.run)
        await rig.fill()
        rig.use(0.86)
        assert await rig.store.retention.sweep() == 1
        assert rig.store.retention.used_ratio <= 0.85
        assert rig.store.stats.expired_by_space == 1
        nursery.cancel_scope.cancel()


async def test_a_full_disk_refuses_with_numbers_and_recovers(autojump_clock: object) -> None:
    """Above the refuse ratio appends are refused naming path, share and limit; below, taken."""
    rig = Rig(NO_HOUR)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.store.run)
        await rig.fill(10)
        rig.use(0.95)
        await rig.store.retention.sweep()
        with pytest.raises(Refused, match=r"sim: is used to 9\d\.\d%, limit 90\.0%") as caught:
            rig.store.append(draft("m" * 32))
        assert caught.value.code == ResponseCode.SERVICE_NOT_AVAILABLE
        assert rig.store.stats.refused["disk_full"] == 1
        got = rig.store.reader.get_nowait("T", 0, 0, count_max=1, codes=None)
        assert got.count == 1
        rig.disk.capacity_bytes = 1 << 30
        await rig.store.retention.sweep()
        assert rig.store.append(draft("n" * 32)).queue_offset == 5
        nursery.cancel_scope.cancel()


async def test_the_newest_record_stays_however_full_it_is(autojump_clock: object) -> None:
    """The segment with the newest record is never deleted: the next start knows the log by it."""
    rig = Rig(NO_HOUR)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.store.run)
        await rig.fill()
        for _ in range(10):
            rig.use(1.0)
            await rig.store.retention.sweep()
        newest = rig.store.log.newest
        assert newest is not None
        assert rig.store.log.min_offset == newest.physical_offset // 4096 * 4096
        nursery.cancel_scope.cancel()


async def test_a_disk_that_cannot_delete_has_failed(autojump_clock: object) -> None:
    """EIO while deleting ends the store like any other error of the disk."""
    rig = Rig(NO_HOUR)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.store.run)
        await rig.fill()
        rig.use(0.95)
        rig.disk.faults.fail("unlink", path="commitlog")
        with pytest.raises(StoreFailed):
            await rig.store.retention.sweep()
        nursery.cancel_scope.cancel()


async def test_what_the_marks_on_disk_need_stays(autojump_clock: object) -> None:
    """Deleting goes by the marks that a crash would find, not by what is known in memory."""
    rig = Rig(msgspec.structs.replace(NO_HOUR, checkpoint_interval_ms=60_000))
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.store.run)
        await trio.sleep(0.1)
        await rig.fill()
        for _ in range(3):
            rig.use(1.0)
            await rig.store.retention.sweep()
        assert rig.store.log.min_offset == 0
        rig.use(0.86)  # a full disk would not take the marks either
        await trio.sleep(80)  # a checkpoint, and a round of retention after it
        assert rig.store.log.min_offset > 0
        nursery.cancel_scope.cancel()
