"""Group commit: what one flush covers, who is told what, and what a failed one means."""

import random

import msgspec
import pytest
import trio

from broker_trio.model.errors import StoreFailed
from broker_trio.store.commit_log import CommitLog
from broker_trio.store.config import TINY, StoreConfig
from broker_trio.store.flush import Flusher
from broker_trio.store.stats import StoreStats
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_disk import SimDisk

SEGMENT = TINY.commit_log_segment_bytes
SYNC = msgspec.structs.replace(TINY, flush_disk_type="SYNC_FLUSH")


class Rig:
    """A log with a flusher, and what was told to whom."""

    def __init__(self, config: StoreConfig = SYNC) -> None:
        self.disk = SimDisk(random.Random(1))
        self.stats = StoreStats()
        self.log = CommitLog(self.disk, config, self.stats)
        self.log.open_at(0, None)
        self.told: list[tuple[str, object]] = []
        self.flusher = Flusher(
            self.disk, SimClock(), self.log, config, self.stats, self._dispatched
        )

    def _dispatched(self) -> None:
        self.told.append(("flushed", self.log.flushed_offset))

    def put(self, size: int) -> int:
        self.log.place(size)
        self.log.stage((b"x" * size,), size)
        return self.log.max_offset

    def wait_for(self, name: str, end: int) -> None:
        self.flusher.when_durable(end, lambda durable: self.told.append((name, durable)))


async def test_one_flush_serves_all_that_wait(autojump_clock: object) -> None:
    """Waiters share a flush: readers see the records first, then every answer leaves."""
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.flusher.run)
        for name in "abc":
            rig.wait_for(name, rig.put(100))
        await rig.flusher.wait_flushed(300)
        nursery.cancel_scope.cancel()
    assert rig.told == [("flushed", 300), ("a", True), ("b", True), ("c", True)]
    assert rig.stats.flushes == 1
    assert rig.stats.flush_seconds.count == 1


async def test_latecomers_join_the_next_flush(autojump_clock: object) -> None:
    """A record that was appended while a flush ran is not covered by it."""
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.flusher.run)
        rig.wait_for("first", rig.put(100))
        await trio.sleep(0.000_1)
        rig.wait_for("late", rig.put(100))
        await rig.flusher.wait_flushed(200)
        nursery.cancel_scope.cancel()
    assert rig.told == [("flushed", 100), ("first", True), ("flushed", 200), ("late", True)]


async def test_a_flush_covers_every_segment_it_touched(autojump_clock: object) -> None:
    """After a roll one flush makes both segments and the new names durable."""
    rig = Rig()
    rig.put(3000)
    rig.put(3000)
    await rig.flusher.flush()
    assert rig.log.flushed_offset == SEGMENT + 3000
    rig.disk.crash(power=True)
    rig.disk.restart()
    first, second = (f"commitlog/{base:020d}" for base in (0, SEGMENT))
    assert rig.disk.read(first)[:3000] == rig.disk.read(second)[:3000] == b"x" * 3000


async def test_nothing_dirty_costs_no_fsync(autojump_clock: object) -> None:
    """An idle store does not touch the disk."""
    rig = Rig()
    rig.put(100)
    await rig.flusher.flush()
    operations = rig.disk.faults.operations
    await rig.flusher.flush()
    assert rig.disk.faults.operations == operations
    assert rig.stats.flushes == 1


async def test_what_is_durable_is_told_at_once(autojump_clock: object) -> None:
    """Nobody waits for what is on disk already."""
    rig = Rig()
    end = rig.put(100)
    await rig.flusher.flush()
    rig.wait_for("a", end)
    assert rig.told[-1] == ("a", True)


async def test_a_hung_disk_times_out(autojump_clock: object) -> None:
    """After flush_timeout_ms the answer is no, once; the flush that comes later changes nothing."""
    rig = Rig()
    rig.disk.hang()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.flusher.run)
        nursery.start_soon(rig.flusher.expire)
        begun = trio.current_time()
        rig.wait_for("a", rig.put(100))
        await trio.sleep(1)
        rig.wait_for("b", rig.put(100))
        assert rig.flusher.oldest_wait_s == 1.0
        await trio.sleep(4.5)
        assert rig.told == [("a", False)]
        assert rig.flusher.oldest_wait_s == 4.5  # the first has been told
        rig.disk.resume()
        await rig.flusher.wait_flushed(200)
        assert trio.current_time() - begun < 6
        nursery.cancel_scope.cancel()
    assert rig.told == [("a", False), ("flushed", 100), ("flushed", 200), ("b", True)]
    assert rig.stats.flush_timeouts == 1


async def test_a_failed_fsync_is_never_tried_again(autojump_clock: object) -> None:
    """EIO fails the store: nobody is told yes, and the next fsync (which says OK) is not asked."""
    rig = Rig()
    rig.disk.faults.fail("flush", path="commitlog")
    with pytest.RaisesGroup(StoreFailed):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.flusher.run)
            rig.wait_for("a", rig.put(100))
            rig.wait_for("b", rig.put(100))
    assert rig.told == [("a", False), ("b", False)]
    assert rig.log.flushed_offset == 0
    with pytest.raises(StoreFailed):
        await rig.flusher.flush()
    with pytest.raises(StoreFailed):
        await rig.flusher.wait_flushed(1)
    rig.flusher.when_durable(0, lambda durable: rig.told.append(("late", durable)))
    assert rig.told[-1] == ("late", False)


async def test_a_write_that_fails_during_an_fsync_wins(autojump_clock: object) -> None:
    """An fsync that was under way when a write failed confirms nothing."""
    rig = Rig()
    rig.put(100)
    with pytest.RaisesGroup(StoreFailed):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.flusher.flush)
            await trio.sleep(0.000_1)
            rig.put(100)
            rig.disk.faults.fail("write", path="commitlog")
            with pytest.raises(StoreFailed):
                rig.log.write_out()
    assert rig.log.flushed_offset == 0
    assert rig.told == []


async def test_a_failed_folder_sync_is_a_failed_flush(autojump_clock: object) -> None:
    """Bytes in a file whose name may vanish are not durable."""
    rig = Rig()
    rig.put(100)
    rig.disk.faults.fail("sync", path="commitlog")
    with pytest.raises(StoreFailed):
        await rig.flusher.flush()
    assert rig.log.flushed_offset == 0


async def test_cancelled_at_every_checkpoint(autojump_clock: object) -> None:
    """Cancelling a flush moves nothing and loses nothing: the next flush covers it all."""
    for delay in (0.0, 0.000_2, 0.001, 0.004, 0.008, 0.012):
        rig = Rig()
        rig.put(3000)
        end = rig.put(3000)
        with trio.move_on_after(delay) as scope:
            await rig.flusher.flush()
        if scope.cancelled_caught:
            assert rig.log.flushed_offset == 0
        await rig.flusher.flush()
        assert rig.log.flushed_offset == end
        rig.disk.crash(power=True)
        rig.disk.restart()
        assert rig.disk.read(f"commitlog/{SEGMENT:020d}")[:3000] == b"x" * 3000


async def test_async_flush_comes_by_the_clock(autojump_clock: object) -> None:
    """Without a waiter dirty bytes are on disk after flush_interval_ms and one fsync."""
    rig = Rig(TINY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.flusher.run)
        rig.put(100)
        await trio.sleep(0.45)
        assert rig.log.flushed_offset == 0
        await trio.sleep(0.1)
        assert rig.log.flushed_offset == 100
        nursery.cancel_scope.cancel()


async def test_half_of_the_limit_starts_a_flush(autojump_clock: object) -> None:
    """Write-back begins long before the limit refuses anybody."""
    config = msgspec.structs.replace(TINY, unflushed_bytes_max=2000)
    rig = Rig(config)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.flusher.run)
        for size in (1000, 1):
            end = rig.put(size)
            rig.log.write_out()
            rig.flusher.kick_if_half()
        await trio.sleep(0.05)
        assert rig.log.flushed_offset == end
        nursery.cancel_scope.cancel()
