"""One consume queue: bytes, put rules, cuts and expiry, recovery of its end."""

import random

import pytest
import trio
from trio.testing import MockClock

from broker_trio.model.errors import StoreCorrupt
from broker_trio.store.consume_queue import ConsumeQueue
from broker_trio.store.open_files import OpenFiles
from broker_trio.store.units import PRE_BLANK, UNIT, UNIT_BYTES, Unit, decode_unit
from broker_trio.testing.sim_disk import SimDisk

UNITS = 8  # a segment
FOLDER = "consumequeue/T/0"


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(1))


def opened(disk: SimDisk) -> ConsumeQueue:
    return ConsumeQueue(OpenFiles(disk), UNITS, "T", 0)


def filled(disk: SimDisk, count: int, begin: int = 0) -> ConsumeQueue:
    """Units begin … with records of 100 bytes, unit k at physical offset 100 * k."""
    queue = opened(disk)
    put(queue, begin, begin + count)
    queue.write_out()
    return queue


def put(queue: ConsumeQueue, begin: int, end: int) -> None:
    for k in range(begin, end):
        assert queue.put(k, 100 * k, 100, k)


def all_units(queue: ConsumeQueue) -> list[Unit | None]:
    return [queue.unit_at(k) for k in range(queue.min_offset, queue.max_offset)]


def reopened(disk: SimDisk, durable: int = 1 << 40) -> ConsumeQueue:
    queue = opened(disk)
    queue.load()
    queue.recover(durable, lambda _topic, _queue_id, k, unit: unit.physical_offset == 100 * k)
    return queue


def test_bytes_are_apaches(disk: SimDisk) -> None:
    """The golden unit of storage.md §16 is what a put writes, in a file of full length."""
    queue = opened(disk)
    queue.put(0, 4096, 127, 2598919)
    queue.write_out()
    data = disk.read(f"{FOLDER}/{0:020d}")
    assert data[:UNIT_BYTES].hex() == "00000000000010000000007f000000000027a807"
    assert data[UNIT_BYTES:] == bytes((UNITS - 1) * UNIT_BYTES)


def test_readable_before_it_is_written(disk: SimDisk) -> None:
    """Buffered units are read like written ones, and across the border between them."""
    queue = filled(disk, 3)
    put(queue, 3, 6)
    assert [unit[2] for unit in UNIT.iter_unpack(queue.units_nowait(1, 4))] == [1, 2, 3, 4]
    assert [unit[2] for unit in UNIT.iter_unpack(queue.units_nowait(4, 9))] == [4, 5]
    assert not disk.exists(f"{FOLDER}/{UNITS * UNIT_BYTES:020d}")


def test_rolls_into_files_named_by_their_offset(disk: SimDisk) -> None:
    """A write across segments fills the first and goes on in the next."""
    filled(disk, 2 * UNITS + 3)
    assert disk.list(FOLDER) == [f"{n * UNITS * UNIT_BYTES:020d}" for n in range(3)]
    assert UNIT.unpack_from(disk.read(f"{FOLDER}/{2 * UNITS * UNIT_BYTES:020d}"))[2] == 16


def test_read_stops_at_the_files_end(disk: SimDisk) -> None:
    """One read serves one file: at most one is traversed by a pull."""
    queue = filled(disk, 2 * UNITS)
    assert len(queue.units_nowait(UNITS - 2, 10)) == 2 * UNIT_BYTES


def test_put_again_is_ignored(disk: SimDisk) -> None:
    """Units that are there already, by position or by offset, change nothing."""
    queue = filled(disk, 5)
    assert not queue.put(4, 400, 100, 4)
    assert not queue.put(5, 300, 100, 4)
    assert not queue.put(2, 9_000, 100, 4)
    assert all_units(queue) == [Unit(100 * k, 100, k) for k in range(5)]


def test_hole_is_never_appended(disk: SimDisk) -> None:
    """A put above the end raises while messages can be read, and leaves the queue as it was."""
    queue = filled(disk, 5)
    with pytest.raises(StoreCorrupt, match="next is message 5, got 7"):
        queue.put(7, 700, 100, 7)
    assert (queue.max_offset, queue.physical_end) == (5, 500)


def test_begins_in_the_middle_with_pre_blanks(disk: SimDisk) -> None:
    """The first file of a queue is filled up to its first message, which is its min offset."""
    queue = filled(disk, 2, begin=11)
    assert (queue.min_offset, queue.max_offset) == (11, 13)
    data = disk.read(f"{FOLDER}/{UNITS * UNIT_BYTES:020d}")
    assert data[: 3 * UNIT_BYTES] == PRE_BLANK * 3
    assert decode_unit(data[3 * UNIT_BYTES :]) == Unit(1100, 100, 11)


def test_expired_queue_goes_on_above_a_hole(disk: SimDisk) -> None:
    """Where nothing can be read a hole is no shift: the queue begins anew at its offset."""
    queue = filled(disk, 5)
    queue.correct_min(10_000)
    assert queue.put(20, 20_000, 100, 20)
    assert (queue.min_offset, queue.max_offset) == (20, 21)


@pytest.mark.parametrize("keep", range(14))
def test_truncate_forgets_and_zeroes(disk: SimDisk, keep: int) -> None:
    """After a cut no unit of a later record is left, in memory or in a file."""
    queue = filled(disk, 11)
    put(queue, 11, 13)
    queue.truncate(100 * keep)
    kept = min(keep, 13)
    assert all_units(queue) == [Unit(100 * k, 100, k) for k in range(kept)]
    assert queue.physical_end == 100 * kept
    put(queue, kept, 15)
    queue.write_out()
    stored = b"".join(disk.read(f"{FOLDER}/{name}") for name in disk.list(FOLDER))
    assert [unit[2] for unit in UNIT.iter_unpack(stored) if unit[1]] == list(range(15))


def test_truncate_below_everything_keeps_the_position(disk: SimDisk) -> None:
    """0 <= min <= max also where all files went (the min was left above the max in #10417)."""
    queue = filled(disk, 5, begin=UNITS + 2)
    queue.correct_min(100 * (UNITS + 4))
    queue.truncate(0)
    assert (queue.min_offset, queue.max_offset) == (UNITS + 2, UNITS + 2)


@pytest.mark.parametrize("last_missing", [0, 1, 70])
def test_recover_finds_the_true_end(disk: SimDisk, last_missing: int) -> None:
    """The end is the last unit whose record the log has; others go, a queue of liars is emptied."""
    filled(disk, 90)
    queue = opened(disk)
    queue.load()
    queue.recover(1 << 40, lambda _topic, _id, k, _unit: k < 90 - last_missing)
    assert queue.max_offset == (0 if last_missing == 70 else 90 - last_missing)
    assert queue.physical_end == 100 * queue.max_offset


def test_recover_drops_what_may_not_be_on_disk(disk: SimDisk) -> None:
    """Units of records at or after the durable mark are cut off: they are written again."""
    filled(disk, 11)
    queue = reopened(disk, durable=900)
    assert (queue.max_offset, queue.physical_end) == (9, 900)
    assert disk.read(f"{FOLDER}/{UNITS * UNIT_BYTES:020d}")[UNIT_BYTES:] == bytes(7 * UNIT_BYTES)


def test_recover_after_pre_blanks(disk: SimDisk) -> None:
    """Pre-blanks are no messages: the min offset comes back behind them."""
    filled(disk, 2, begin=11)
    queue = reopened(disk)
    assert (queue.min_offset, queue.max_offset, queue.physical_end) == (11, 13, 1300)


@pytest.mark.parametrize("damage", ["gap", "short", "empty"])
def test_load_repairs_what_a_crash_left(disk: SimDisk, damage: str) -> None:
    """A missing, short or empty file ends the run of units; the log brings the rest again."""
    filled(disk, 3 * UNITS)
    second = f"{FOLDER}/{UNITS * UNIT_BYTES:020d}"
    if damage == "gap":
        disk.unlink(second)
    else:
        disk.open(second).truncate(3 * UNIT_BYTES if damage == "short" else 0)
    queue = opened(disk)
    assert not queue.load()
    queue.recover(1 << 40, lambda *_: True)
    assert queue.max_offset == UNITS + (3 if damage == "short" else 0)
    put(queue, queue.max_offset, 2 * UNITS)
    queue.write_out()
    assert all_units(queue) == [Unit(100 * k, 100, k) for k in range(2 * UNITS)]


@pytest.mark.parametrize("name", ["x", f"{7:020d}", "12"])
def test_load_refuses_foreign_names(disk: SimDisk, name: str) -> None:
    """A file that is no segment of this length stops the start, with its path."""
    disk.open(f"{FOLDER}/{name}", create=True).truncate(UNITS * UNIT_BYTES)
    with pytest.raises(StoreCorrupt, match=name):
        opened(disk).load()


def test_load_refuses_longer_files(disk: SimDisk) -> None:
    """A file of another length was written with another setting."""
    disk.open(f"{FOLDER}/{0:020d}", create=True).truncate((UNITS + 1) * UNIT_BYTES)
    with pytest.raises(StoreCorrupt, match="a segment has 160 bytes"):
        opened(disk).load()


@pytest.mark.parametrize(
    ("mark", "fits"),
    [((0, 13, 1300), True), ((0, 8, 800), False), ((0, 17, 1700), False), ((3, 16, 0), True)],
)
def test_adopts_only_what_the_files_can_hold(
    disk: SimDisk, mark: tuple[int, int, int], fits: bool
) -> None:
    """Marks of a clean stop are taken without opening a file, if the newest file agrees."""
    filled(disk, 13)
    queue = opened(disk)
    queue.load()
    assert queue.adopt(*mark) == fits
    assert (queue.max_offset == mark[1]) == fits


async def test_expire_drops_whole_files_but_the_last(
    disk: SimDisk, autojump_clock: MockClock
) -> None:
    """Files without a living record go; the last one stays and keeps the position."""
    queue = filled(disk, 2 * UNITS + 3)
    assert await queue.expire(100 * (UNITS + 1)) == 1
    assert queue.min_offset == UNITS + 1
    assert await queue.expire(1 << 40) == 1
    assert queue.min_offset == queue.max_offset == 2 * UNITS + 3
    assert queue.file_count == 1
    assert queue.put(2 * UNITS + 3, 1 << 41, 100, 0)


async def test_cold_units_are_waited_for(disk: SimDisk, autojump_clock: MockClock) -> None:
    """Where nothing is cached reading on the loop would block, and waiting gives the same bytes."""
    queue = filled(disk, 5)
    disk.cold = 1.0
    with pytest.raises(trio.WouldBlock):
        queue.units_nowait(1, 2)
    assert queue.unit_at(1) is None
    assert [unit[2] for unit in UNIT.iter_unpack(await queue.units(1, 2))] == [1, 2]
