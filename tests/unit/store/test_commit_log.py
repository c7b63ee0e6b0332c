"""The commit log: room first, fillers, refusals that leave no trace, failures that are final."""

import errno
import random
from itertools import pairwise

import msgspec
import pytest
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, StoreFailed
from broker_trio.store.commit_log import FILLER_BYTES, CommitLog, filler
from broker_trio.store.config import TINY
from broker_trio.store.stats import StoreStats
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.record import Blank, check_record

SEGMENT = TINY.commit_log_segment_bytes


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(1))


def opened(disk: SimDisk, **changes: object) -> CommitLog:
    log = CommitLog(disk, msgspec.structs.replace(TINY, **changes), StoreStats())
    log.open_at(0, None)
    return log


def put(log: CommitLog, data: bytes) -> int:
    position = log.place(len(data))
    log.stage((data,), len(data))
    return position


def test_staged_bytes_are_written_at_once(disk: SimDisk) -> None:
    """Many appends are one write, and a read of staged bytes brings them out first."""
    log = opened(disk)
    assert [put(log, b"a" * 100), put(log, b"b" * 100)] == [0, 100]
    assert (log.max_offset, log.written_offset) == (200, 0)
    assert log.read_nowait(50, 100) == b"a" * 50 + b"b" * 50
    assert (log.written_offset, log._stats.writes) == (200, 1)
    log.write_out()
    assert log._stats.writes == 1


@pytest.mark.parametrize(("size", "position"), [(92, 4000 - 12), (93, SEGMENT)])
def test_a_record_leaves_room_for_a_filler(disk: SimDisk, size: int, position: int) -> None:
    """A record goes into a segment only where 8 bytes stay behind it, else a filler closes it."""
    log = opened(disk)
    put(log, b"x" * (SEGMENT - 108))
    assert SEGMENT - 108 == 3988
    assert put(log, b"y" * (size + 8)) == position
    log.write_out()
    found = log.segments.all[0].file.read_at_blocking(3988, 108)
    if position == SEGMENT:
        assert check_record(found, 0, 3988) == Blank(108)
        assert found[:8] == filler(108)


def test_every_fill_level_keeps_the_rule(disk: SimDisk) -> None:
    """Whatever sizes come, no record straddles segments and each closed one ends in a filler."""
    log, sizes = opened(disk), random.Random(3)
    placed = []
    for _ in range(400):
        size = sizes.randrange(91, 700)
        placed.append((put(log, b"r" * size), size))
        if sizes.random() < 0.2:
            log.write_out()
            log.flushed_to(log.written_offset, None)
    log.write_out()
    for (position, size), (following, _) in pairwise(placed):
        end = position + size
        assert position // SEGMENT == (end + FILLER_BYTES - 1) // SEGMENT
        if following != end:
            assert following == (end // SEGMENT + 1) * SEGMENT
            segment = log.segments.find(end)
            assert segment is not None
            assert segment.file.read_at_blocking(end - segment.base, 8) == filler(following - end)


def test_a_full_disk_refuses_and_recovers(disk: SimDisk) -> None:
    """ENOSPC at the reservation is a refusal before anything is staged; space ends it."""
    disk.capacity_bytes = 2048
    log = opened(disk)
    while disk.capacity_bytes - log.max_offset > 300 + FILLER_BYTES:
        put(log, b"x" * 300)
    before = log.max_offset
    with pytest.raises(Refused, match="sim:/commitlog") as caught:
        log.place(300)
    assert caught.value.code == ResponseCode.SERVICE_NOT_AVAILABLE
    log.write_out()
    assert (log.max_offset, log.written_offset) == (before, before)
    assert log.read_nowait(0, 300) == b"x" * 300
    assert log._stats.refused["disk_full"] == 1
    disk.capacity_bytes = 1 << 20
    assert put(log, b"y" * 300) == before
    log.write_out()
    assert log.read_nowait(before, 300) == b"y" * 300


def test_no_space_for_the_next_segment_leaves_this_one_whole(disk: SimDisk) -> None:
    """A roll that finds no space writes no filler: the same append works once there is space."""
    log = opened(disk, reserve_bytes=SEGMENT)
    put(log, b"x" * (SEGMENT - 100))
    disk.capacity_bytes -= disk.usage().free - 50
    with pytest.raises(Refused):
        log.place(200)
    log.write_out()
    assert log.max_offset == SEGMENT - 100
    assert log.read_nowait(SEGMENT - 100, 8) == b""
    disk.capacity_bytes = 1 << 20
    assert put(log, b"y" * 200) == SEGMENT


def test_too_much_unflushed_is_busy(disk: SimDisk) -> None:
    """Past the limit appends are refused with the limit and the value, until a flush."""
    log = opened(disk, unflushed_bytes_max=1000)
    put(log, b"x" * 900)
    with pytest.raises(
        Refused, match=r"\[PC_SYNCHRONIZED\]broker busy, 900 .* limit 1000"
    ) as caught:
        log.place(101)
    assert caught.value.code == ResponseCode.SYSTEM_BUSY
    log.check_writable(100)
    with pytest.raises(Refused):
        log.check_writable(101)
    log.write_out()
    log.flushed_to(900, None)
    assert log.place(101) == 900


def test_a_record_larger_than_a_segment_is_illegal(disk: SimDisk) -> None:
    """What can never fit is the message's fault, not the disk's."""
    log = opened(disk)
    with pytest.raises(Refused) as caught:
        log.place(SEGMENT - FILLER_BYTES + 1)
    assert caught.value.code == ResponseCode.MESSAGE_ILLEGAL
    assert log.place(SEGMENT - FILLER_BYTES) == 0


def test_a_failed_write_is_the_end(disk: SimDisk) -> None:
    """After EIO nothing is appended, written or refused politely: it is StoreFailed for ever."""
    log = opened(disk)
    put(log, b"x" * 100)
    disk.faults.fail("write", path="commitlog")
    with pytest.raises(StoreFailed, match="commitlog"):
        log.write_out()
    for attempt in (log.write_out, lambda: log.place(1), lambda: log.check_writable(1)):
        with pytest.raises(StoreFailed):
            attempt()
    assert log.flushed_offset == log.written_offset == 0


def test_an_unexpected_error_while_reserving_is_a_failure(disk: SimDisk) -> None:
    """Only a full disk refuses; EIO where space is allocated ends the store."""
    log = opened(disk)
    disk.faults.fail("reserve", path="commitlog", number=errno.EIO)
    with pytest.raises(StoreFailed):
        log.place(100)


def test_refusals_stand_until_their_source_takes_them_back(disk: SimDisk) -> None:
    """Two reasons to refuse are independent; a closed log refuses from the start."""
    log = CommitLog(disk, TINY, StoreStats())
    with pytest.raises(Refused, match="being recovered"):
        log.place(1)
    log.open_at(0, None)
    full = Refused(ResponseCode.SERVICE_NOT_AVAILABLE, "disk full")
    stopping = Refused(ResponseCode.SERVICE_NOT_AVAILABLE, "stopping")
    log.refuse("disk_used", full)
    log.refuse("stopping", stopping)
    log.refuse("disk_used", None)
    with pytest.raises(Refused, match="stopping"):
        log.place(1)
    log.refuse("stopping", None)
    assert log.place(1) == 0
    assert log._stats.refused == {
        "disk_full": 0, "busy": 0, "read_only": 0, "too_large": 0, "stopping": 2
    }  # fmt: skip


def test_the_next_segment_is_there_before_it_is_needed(disk: SimDisk) -> None:
    """Past half of a segment the next one is created, once; a full disk only postpones that."""
    log = opened(disk)
    put(log, b"x" * 2000)
    log.prepare_next()
    assert len(log.segments) == 1
    put(log, b"x" * 100)
    disk.faults.fail("create", number=errno.ENOSPC)
    log.prepare_next()
    assert len(log.segments) == 1
    log.prepare_next()
    log.prepare_next()
    assert [segment.base for segment in log.segments.all] == [0, SEGMENT]
    assert put(log, b"y" * 2000) == SEGMENT


async def test_reads_end_at_the_log_and_at_the_segment(
    disk: SimDisk, autojump_clock: object
) -> None:
    """A read gives what is there: not beyond the end, nothing for an offset that is not kept."""
    log = opened(disk)
    put(log, b"x" * 3000)
    put(log, b"y" * 2000)
    log.write_out()
    log.flushed_to(log.written_offset, None)
    assert await log.read(SEGMENT + 1990, 100) == b"y" * 10
    assert len(await log.read(2990, 10_000)) == SEGMENT - 2990
    assert log.read_nowait(SEGMENT + 2000, 1) == b""
    log.drop_first()
    assert log.min_offset == SEGMENT
    assert log.read_nowait(0, 10) == b"" == await log.read(0, 10)


async def test_a_cold_read_says_so(disk: SimDisk, autojump_clock: object) -> None:
    """What is not in the page cache is WouldBlock, and the waiting read has it."""
    log = opened(disk)
    put(log, b"x" * 100)
    log.write_out()
    disk.cold = 1.0
    with pytest.raises(trio.WouldBlock):
        log.read_nowait(0, 100)
    assert await log.read(0, 100) == b"x" * 100
