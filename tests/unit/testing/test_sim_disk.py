import errno
import itertools
import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from broker_trio.testing.disk_faults import Dead, Kind
from broker_trio.testing.sim_clock import ManualClock
from broker_trio.testing.sim_disk import SimDisk


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(7))


async def crashes(
    run: Callable[[SimDisk], Awaitable[None]], *, power: bool, draws: int = 4
) -> list[SimDisk]:
    """One restarted disk for each operation of `run` and draw, plus one that ran to its end."""
    found = []
    for operation in itertools.count(1):
        for draw in range(draws):
            disk = SimDisk(random.Random(f"{operation}/{draw}"))
            (disk.faults.power_off_at if power else disk.faults.kill_at)(operation)
            try:
                await run(disk)
            except Dead:
                disk.restart()
            else:
                disk.crash(power=power)
                disk.restart()
                return [*found, disk]
            found.append(disk)
    raise AssertionError


async def test_a_flushed_synced_file_survives_power_loss(
    autojump_clock: MockClock, disk: SimDisk
) -> None:
    """What was flushed, under a name whose folder was synced, is there after a power loss."""
    file = disk.open("a/log", create=True)
    file.write_at(0, b"abc")
    await file.flush()
    await disk.sync_folder("a")
    disk.crash(power=True)
    disk.restart()
    assert disk.read("a/log") == b"abc"


async def test_unsynced_files_can_vanish_though_flushed(autojump_clock: MockClock) -> None:
    """A flush keeps bytes, not the name: without a folder sync the file is there or it is not."""
    found = set()
    for seed in range(20):
        disk = SimDisk(random.Random(seed))
        file = disk.open("a/log", create=True)
        file.write_at(0, b"abc")
        await file.flush()
        disk.crash(power=True)
        disk.restart()
        found.add(disk.read("a/log") if disk.exists("a/log") else None)
    assert found == {b"abc", None}


async def test_a_kill_keeps_the_page_cache_until_the_power_goes(
    autojump_clock: MockClock, disk: SimDisk
) -> None:
    """kill -9 loses nothing readable; a power loss while no process runs still can."""
    lost = 0
    for seed in range(20):
        disk = SimDisk(random.Random(seed))
        file = disk.open("log", create=True)
        await disk.sync_folder("")
        file.write_at(0, b"abc")
        disk.crash(power=False)
        if seed % 2:
            disk.restart()
            assert disk.read("log") == b"abc"
        disk.crash(power=True)
        disk.restart()
        lost += disk.read("log") != b"abc"
    assert 0 < lost < 20


async def test_dead_processes_touch_nothing(autojump_clock: MockClock, disk: SimDisk) -> None:
    """After a kill every call raises Dead, on handles of an earlier process for ever."""
    file = disk.open("log", create=True)
    disk.crash(power=False)
    calls: list[Callable[[], object]] = [
        file.size,
        lambda: file.write_at(0, b"x"),
        lambda: file.read_at_nowait(0, 1),
        lambda: file.truncate(0),
        lambda: file.reserve(0, 1),
    ]
    for call in [*calls, lambda: disk.open("log"), lambda: disk.list(""), disk.usage, disk.lock]:
        with pytest.raises(Dead):
            call()
    for waiting in (file.flush, lambda: disk.replace("x", b""), lambda: disk.sync_folder("")):
        with pytest.raises(Dead):
            await waiting()
    file.close()
    disk.restart()
    for call in calls:
        with pytest.raises(Dead):
            call()
    assert disk.read("log") == b""


async def test_a_kill_ends_calls_that_wait(autojump_clock: MockClock, disk: SimDisk) -> None:
    """A flush under way when the process is killed raises Dead, though the disk runs again."""
    file = disk.open("log", create=True)
    file.write_at(0, b"abc")
    raised = []

    async def flush() -> None:
        with pytest.raises(Dead):
            await file.flush()
        raised.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flush)
        await trio.testing.wait_all_tasks_blocked()
        disk.crash(power=False)
        disk.restart()
    assert raised == [True]
    assert disk.durable("log") is None


async def replace_twice(disk: SimDisk) -> None:
    await disk.replace("config/x", b"old" * 500)
    await disk.replace("config/x", b"new" * 600)


@pytest.mark.parametrize("power", [True, False])
async def test_replace_is_old_or_new_at_every_operation(
    autojump_clock: MockClock, power: bool
) -> None:
    """Whichever operation inside a replace is the last, the file is absent, old or new: whole."""
    disks = await crashes(replace_twice, power=power)
    found = [disk.read("config/x") if disk.exists("config/x") else None for disk in disks]
    assert set(found) == {None, b"old" * 500, b"new" * 600}
    assert found[-1] == b"new" * 600
    assert len(disks) == 4 * 14 + 1  # each replace is 7 operations


async def append_flushing(disk: SimDisk) -> None:
    file = disk.open("log", create=True)
    await disk.sync_folder("")
    for number in range(4):
        file.write_at(number * 700, b"%d" % number * 700)
        await file.flush()


async def test_power_can_go_inside_a_flush(autojump_clock: MockClock) -> None:
    """Over all operations the last flushed write is seen whole, torn, and lost."""
    disks = await crashes(append_flushing, power=True, draws=20)
    ends = {disk.read("log")[2100:] for disk in disks if disk.exists("log")}
    assert b"" in ends
    assert b"3" * 700 in ends
    assert len(ends) > 3


async def test_a_killed_write_may_be_short(autojump_clock: MockClock) -> None:
    """kill -9 inside a write leaves any part of it from its start."""
    sizes = set()
    for seed in range(30):
        disk = SimDisk(random.Random(seed))
        file = disk.open("log", create=True)
        file.reserve(0, 100)
        disk.faults.kill_at(1)
        with pytest.raises(Dead):
            file.write_at(0, b"x" * 100)
        disk.restart()
        data = disk.read("log")
        assert data.rstrip(b"\0") == b"x" * data.count(b"x")
        sizes.add(data.count(b"x"))
    assert len(sizes) > 10


@pytest.mark.parametrize("kind", ["write", "read", "truncate", "reserve", "flush"])
async def test_errors_strike_once_or_for_ever(
    autojump_clock: MockClock, disk: SimDisk, kind: Kind
) -> None:
    """An armed EIO hits the calls of its kind and path, so many times as told."""
    file, other = disk.open("log", create=True), disk.open("other", create=True)

    async def call(target: object) -> None:
        if kind == "flush":
            await target.flush()  # type: ignore[attr-defined]
        else:
            {
                "write": lambda: target.write_at(0, b"x"),  # type: ignore[attr-defined]
                "read": lambda: target.read_at_nowait(0, 1),  # type: ignore[attr-defined]
                "truncate": lambda: target.truncate(9),  # type: ignore[attr-defined]
                "reserve": lambda: target.reserve(0, 9),  # type: ignore[attr-defined]
            }[kind]()

    disk.faults.fail(kind, path="log", skip=1)
    await call(file)
    await call(other)
    with pytest.raises(OSError, match="log") as caught:
        await call(file)
    assert caught.value.errno == errno.EIO
    await call(file)
    disk.faults.fail(kind, times=None)
    for target in (file, other, file):
        with pytest.raises(OSError, match=r"log|other"):
            await call(target)
    disk.faults.clear()
    await call(file)


async def test_fsyncgate(autojump_clock: MockClock, disk: SimDisk) -> None:
    """After a failed flush the next one says OK though the bytes are not durable."""
    lost = 0
    for seed in range(20):
        disk = SimDisk(random.Random(seed))
        file = disk.open("log", create=True)
        await disk.sync_folder("")
        file.write_at(0, b"abc")
        disk.faults.fail("flush")
        with pytest.raises(OSError, match="log"):
            await file.flush()
        await file.flush()
        assert file.read_at_nowait(0, 3) == b"abc"
        lost += disk.durable("log") != b"abc"
    assert lost > 5


async def test_a_full_disk_refuses_and_recovers(autojump_clock: MockClock, disk: SimDisk) -> None:
    """Reserved space is there for writes; beyond it ENOSPC, until something is removed."""
    disk.capacity_bytes = 1000
    file, other = disk.open("log", create=True), disk.open("other", create=True)
    other.write_at(0, bytes(400))
    file.reserve(0, 500)
    assert disk.usage() == (1000, 100)
    for call in (
        lambda: other.reserve(400, 101),
        lambda: other.write_at(400, bytes(101)),
    ):
        with pytest.raises(OSError, match="other") as caught:
            call()
        assert caught.value.errno == errno.ENOSPC
    file.write_at(0, bytes(500))
    file.truncate(100)
    assert disk.usage().free == 500
    disk.unlink("other")
    assert disk.usage().free == 900


async def test_cold_reads_block_now_and_then(autojump_clock: MockClock) -> None:
    """In cold mode a seeded share of hot reads raise WouldBlock; the awaited ones never do."""
    disk = SimDisk(random.Random(1), cold=0.5)
    file = disk.open("log", create=True)
    file.write_at(0, b"abc")
    blocked = 0
    for _ in range(100):
        try:
            assert file.read_at_nowait(0, 3) == b"abc"
        except trio.WouldBlock:
            blocked += 1
    assert 30 < blocked < 70
    assert await file.read_at(0, 3) == b"abc"


async def test_a_hung_disk_waits_and_a_kill_still_works(
    autojump_clock: MockClock, disk: SimDisk
) -> None:
    """While the disk hangs a flush does not return and writes do; a kill ends the flush."""
    file = disk.open("log", create=True)
    disk.hang()
    file.write_at(0, b"abc")
    with trio.move_on_after(3600) as scope:
        await file.flush()
    assert scope.cancelled_caught
    disk.resume()
    await file.flush()
    disk.hang()

    async def kill() -> None:
        await trio.sleep(5)
        disk.crash(power=False)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        with pytest.raises(Dead):
            await disk.replace("x", b"")


async def test_slowness_is_a_factor(autojump_clock: MockClock, disk: SimDisk) -> None:
    """A disk slowed a thousand times takes seconds for a flush."""
    file = disk.open("log", create=True)
    disk.slow = 1000.0
    began = trio.current_time()
    await file.flush()
    assert 0.5 <= trio.current_time() - began <= 8


async def test_rot_is_seen_by_reads_and_after_restarts(
    autojump_clock: MockClock, disk: SimDisk
) -> None:
    """A flipped bit is in the cache and on the platter, exactly one."""
    file = disk.open("log", create=True)
    file.write_at(0, b"\0\0")
    await file.flush()
    await disk.sync_folder("")
    disk.flip_bit("log", 9)
    assert disk.read("log") == b"\0\2"
    disk.crash(power=True)
    disk.restart()
    assert disk.read("log") == b"\0\2"


async def test_the_lock_ends_with_its_process(autojump_clock: MockClock, disk: SimDisk) -> None:
    """A killed process's lock is free for the next one."""
    disk.lock()
    disk.crash(power=False)
    disk.restart()
    disk.lock()


async def test_writes_carry_the_clocks_time(autojump_clock: MockClock) -> None:
    """A file's time is the wall time of its last write or truncate."""
    clock = ManualClock(5_000)
    disk = SimDisk(random.Random(1), clock=clock)
    file = disk.open("log", create=True)
    clock.advance(1.5)
    file.write_at(0, b"x")
    assert disk.stat("log").modified_ms == 6_500
    clock.step(-2_000)
    file.truncate(0)
    assert disk.stat("log").modified_ms == 4_500


async def test_history_names_the_last_operations(autojump_clock: MockClock, disk: SimDisk) -> None:
    """Operations are counted and the latest are kept, bounded, to explain a failure."""
    file = disk.open("log", create=True)
    for _ in range(100):
        file.write_at(0, b"x")
    await file.flush()
    assert disk.faults.operations == 103
    assert disk.faults.history[-1] == "103 flush log"
    assert disk.faults.history[-3] == "101 write log"
    assert len(disk.faults.history) == 64


def test_only_durable_files_keep_folders() -> None:
    """After a power loss a folder is there where a name in it is."""
    for seed in range(10):
        disk = SimDisk(random.Random(seed))
        disk.open("a/b/x", create=True)
        disk.crash(power=True)
        disk.restart()
        assert disk.exists("a/b") == disk.exists("a/b/x") == (disk.list("") == ["a"])
