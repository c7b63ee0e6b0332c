"""Segments: names, lengths, gaps, and what deleting does to readers."""

import random

import pytest

from broker_trio.model.errors import StoreCorrupt
from broker_trio.store.segments import Segments, segment_name
from broker_trio.testing.sim_disk import SimDisk

SIZE = 4096


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(1))


def make(disk: SimDisk, bases: list[int], size: int = SIZE) -> None:
    for base in bases:
        disk.open(f"log/{segment_name(base)}", create=True).truncate(size)


def loaded(disk: SimDisk) -> Segments:
    segments = Segments(disk, "log", SIZE)
    segments.load()
    return segments


def test_name_is_twenty_digits() -> None:
    """A segment's name is its first offset in 20 digits, as Apache's broker expects it."""
    assert segment_name(1 << 30) == "00000000001073741824"


def test_loads_in_order_and_finds(disk: SimDisk) -> None:
    """Every offset belongs to the segment whose range holds it, and to none outside."""
    make(disk, [8192, 4096, 12288])
    segments = loaded(disk)
    assert [segment.base for segment in segments.all] == [4096, 8192, 12288]
    assert (segments.min_offset, segments.capacity_end) == (4096, 16384)
    assert segments.find(4095) is None
    assert segments.find(16384) is None
    found = [segments.find(offset) for offset in (4096, 8191, 8192, 16383)]
    assert [one.base for one in found if one] == [4096, 4096, 8192, 12288]


def test_a_gap_keeps_what_follows_apart(disk: SimDisk) -> None:
    """Behind a missing file nothing is part of the log, and the place is named."""
    make(disk, [0, 8192, 12288])
    segments = loaded(disk)
    assert [segment.base for segment in segments.all] == [0]
    assert [segment.base for segment in segments.behind_gap] == [8192, 12288]
    assert segments.missing_from == 4096
    assert [segments.drop_last().base for _ in range(2)] == [12288, 8192]
    assert segments.missing_from is None
    assert disk.list("log") == [segment_name(0)]


def test_a_short_file_is_repaired_only_on_demand(disk: SimDisk) -> None:
    """Loading changes nothing; `repair` sets the length and says which file it was."""
    make(disk, [0])
    make(disk, [4096], size=100)
    segments = loaded(disk)
    assert segments.missing_from == 4196
    assert disk.stat(f"log/{segment_name(4096)}").size == 100
    assert [segment.base for segment in segments.repair()] == [4096]
    assert disk.stat(f"log/{segment_name(4096)}").size == SIZE
    assert segments.missing_from is None


@pytest.mark.parametrize(
    ("name", "size"),
    [("00000000000000000000", SIZE + 1), ("00000000000000000001", SIZE), ("notes.txt", SIZE)],
)
def test_foreign_files_stop_the_start(disk: SimDisk, name: str, size: int) -> None:
    """A file that no crash of ours can leave is refused, with its path."""
    disk.open(f"log/{name}", create=True).truncate(size)
    with pytest.raises(StoreCorrupt, match=name):
        loaded(disk)


def test_create_continues_where_the_last_ends(disk: SimDisk) -> None:
    """A new segment has its full length at once, and only the next one can be made."""
    segments = Segments(disk, "log", SIZE)
    segments.create(8192)
    segments.create(12288)
    assert disk.stat(f"log/{segment_name(12288)}").size == SIZE
    assert [segment.base for segment in segments.all] == [8192, 12288]
    with pytest.raises(AssertionError, match="gap"):
        segments.create(20480)


async def test_a_pinned_segment_stays_readable_when_dropped(
    disk: SimDisk, autojump_clock: object
) -> None:
    """Deleting unlinks at once, the descriptor lives until its last reader left."""
    segments = Segments(disk, "log", SIZE)
    first = segments.create(0)
    segments.create(SIZE)
    first.file.write_at(0, b"still here")
    first.pins += 1
    segments.drop_first()
    assert not disk.exists(first.path)
    assert await first.file.read_at(0, 10) == b"still here"
    first.unpin()
    with pytest.raises(FileNotFoundError):
        _ = first.file
