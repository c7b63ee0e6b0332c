"""Scanning the log: where the chain ends, why, and what lies behind."""

import random

import pytest

from broker_trio.store.commit_log import filler
from broker_trio.store.entry import Entry
from broker_trio.store.scan import Progress, Scan, find_later, is_torn, scan
from broker_trio.store.segments import Segments
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.record import Flaw, RecordInfo, check_record, record_parts

SIZE = 4096
HOST = b"\x7f\x00\x00\x01\x00\x00\x2a\x9f"
FAR = 1 << 62


def record(at: int, *, body: int = 100, properties: bytes = b"TAGS\x01a\x02") -> bytes:
    parts = record_parts(
        "T", 0, at, at, 0, 0, 1, HOST, 1_700_000_000_000 + at, HOST, 0, 0, b"b" * body, properties
    )
    return b"".join(parts)


ONE = len(record(0))


class Log:
    """Segments with bytes at places."""

    def __init__(self, count: int = 2, size: int = SIZE) -> None:
        self.segments = Segments(SimDisk(random.Random(1)), "log", size)
        for n in range(count):
            self.segments.create(n * size)

    def write(self, at: int, data: bytes) -> int:
        segment = self.segments.find(at)
        assert segment is not None
        segment.file.write_at(at - segment.base, data)
        return at + len(data)

    def chain(self, at: int, count: int) -> int:
        for _ in range(count):
            at = self.write(at, record(at))
        return at

    async def scan(self, begin: int = 0, doubt_from: int = FAR) -> tuple[Scan, list[Entry]]:
        entries: list[Entry] = []
        found = await scan(
            self.segments,
            begin,
            doubt_from=doubt_from,
            on_entries=entries.extend,
            progress=Progress(),
        )
        return found, entries


async def test_the_chain_goes_over_fillers_to_the_first_zeros(autojump_clock: object) -> None:
    """All records of all segments in order; zeros behind them are the end and nothing wrong."""
    log = Log()
    end = log.chain(0, 5)
    log.write(end, filler(SIZE - end))
    end = log.chain(SIZE, 3)
    found, entries = await log.scan()
    assert (found.end, found.records, found.ends_in_zeros) == (end, 8, True)
    assert [entry.physical_offset for entry in entries[5:]] == [SIZE, SIZE + ONE, SIZE + 2 * ONE]
    assert found.newest == entries[-1]
    assert found.newest_ms == entries[-1].store_timestamp_ms


async def test_a_filler_ends_at_the_next_segment(autojump_clock: object) -> None:
    """Behind a filler the log goes on at the next segment, whether that is there or not."""
    log = Log(1)
    end = log.chain(0, 5)
    log.write(end, filler(SIZE - end))
    found, _ = await log.scan()
    assert (found.end, found.stop) == (SIZE, None)


@pytest.mark.parametrize(
    ("break_at", "data", "flaw"),
    [
        (0, b"\0\0\0\x05", Flaw.SIZE),
        (4, b"\0", Flaw.MAGIC),
        (28, b"\1", Flaw.POSITION),
        (90, b"c", Flaw.BODY_CRC),
        (87, b"\1", Flaw.LENGTHS),
        (0, b"\x7f", Flaw.CUT),
        (0, filler(100), Flaw.SIZE),
    ],
)
async def test_each_flaw_ends_the_chain(
    break_at: int, data: bytes, flaw: Flaw, autojump_clock: object
) -> None:
    """A record that is not in order in any respect is not taken, nor is what follows."""
    log = Log()
    end = log.chain(0, 3)
    log.chain(end, 3)
    log.write(end + break_at, data)
    found, entries = await log.scan()
    assert (found.end, len(entries), found.ends_in_zeros) == (end, 3, False)
    assert found.stop is not None
    assert found.stop.flaw is flaw
    later = await find_later(log.segments, found.end)
    assert later is not None
    assert later.physical_offset == end + ONE


async def test_a_record_larger_than_a_chunk_is_read_whole(autojump_clock: object) -> None:
    """Records of any size are followed, however they lie to the chunks."""
    log = Log(1, size=8 << 20)
    end = log.write(0, record(0, body=700_000))
    end = log.write(end, record(end, body=3_000_000))
    end = log.write(end, record(end, body=400_000))
    found, entries = await log.scan()
    assert (found.end, len(entries)) == (end, 3)


async def test_a_short_file_reads_as_its_end(autojump_clock: object) -> None:
    """A file whose length was lost ends the chain without a fault of its own."""
    log = Log(1)
    end = log.chain(0, 5)
    log.segments.all[0].file.truncate(end - 10)
    found, entries = await log.scan()
    assert (found.end, len(entries)) == (end - ONE, 4)
    log.chain(end - ONE, 1)  # now the file ends with its last record
    found, entries = await log.scan()
    assert (found.end, len(entries), found.ends_in_zeros) == (end, 5, True)


async def test_truncated_at_any_byte_a_prefix_remains(autojump_clock: object) -> None:
    """Zeros from any byte on: exactly the records before it are found, whole ones only."""
    log = Log(1)
    starts, at = [0], 0
    for n in range(6):
        at = log.write(at, record(at, body=n * 40))
        starts.append(at)
    file = log.segments.all[0].file
    for cut in range(at, 0, -7):
        file.truncate(cut)
        file.truncate(SIZE)
        found, entries = await log.scan(doubt_from=0)
        whole = [start for start in starts if start <= cut]
        assert (found.end, len(entries)) == (whole[-1], len(whole) - 1)


def test_a_lost_sector_in_the_properties_is_seen() -> None:
    """Properties have no checksum: a whole sector of zeros, or a zero at their end, is a tear."""
    data = bytearray(record(0, properties=b"KEYS\x01" + b"k" * 1200 + b"\x02"))
    info = check_record(data, 0, 0)
    assert isinstance(info, RecordInfo)
    assert not is_torn(info, bytes(data), 0)
    data[512:1024] = bytes(512)
    info = check_record(data, 0, 0)
    assert isinstance(info, RecordInfo)
    assert is_torn(info, bytes(data), 0)
    cut = bytearray(record(0, body=0, properties=b"TAGS\x01abc\x02"))
    cut[-3:] = bytes(3)
    info = check_record(cut, 0, 0)
    assert isinstance(info, RecordInfo)
    assert is_torn(info, bytes(cut), 0)


async def test_tears_are_looked_for_only_in_doubt(autojump_clock: object) -> None:
    """What is known to have been on disk is taken as it is, zeros and all."""
    log = Log()
    log.write(0, record(0, properties=b"KEYS\x01a\0"))
    assert (await log.scan(doubt_from=1))[0].records == 1
    assert (await log.scan(doubt_from=0))[0].records == 0


async def test_later_segments_count_as_later(autojump_clock: object) -> None:
    """A record at the start of a later segment shows that the log once went on."""
    log = Log(3)
    end = log.chain(0, 2)
    assert await find_later(log.segments, end) is None
    log.chain(2 * SIZE, 1)
    later = await find_later(log.segments, end)
    assert later is not None
    assert later.physical_offset == 2 * SIZE


async def test_a_record_of_another_place_is_none(autojump_clock: object) -> None:
    """Bytes that name another place, a copied or an old segment, are no later record."""
    log = Log()
    end = log.chain(0, 2)
    log.write(end + 50, record(end + 40))
    assert await find_later(log.segments, end) is None
