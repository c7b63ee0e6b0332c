"""Reading the log record by record, and looking for records behind the place where that ends.

    begin                                   end                          later
    |record|record|record|filler| |record| X ........ |record|record| .... zeros
                                  next     ^ the first bytes that are no record of this place

`scan` walks the chain and checks everything a record can prove: magic, lengths, its own position,
checksums. `find_later` searches behind the end for a record that names its own place: after a power
loss pages of an unfinished flush reach the disk in any order, so a hole with records behind it is
ordinary there; below what an fsync had covered it is damage. Recovery decides which it is.

What was never written reads as zero. Body and lengths are covered by checks of their own;
properties have none, so behind `doubt_from` (the end of what is known to be on disk) a record is
also refused if its properties end in a zero byte (a write that was cut short), or if a whole
512-byte sector's share of them is zero (a sector that a power loss took).
"""

from collections.abc import Callable
from typing import Final, NamedTuple, final

import trio

from broker_trio.store.entry import Entry
from broker_trio.store.segments import Segment, Segments
from broker_trio.wire.record import Blank, Damage, Flaw, RecordInfo, check_record

CHUNK_BYTES: Final = 1 << 20
"""Read at once; some 20 ms of checking small records, so that the loop goes on answering."""
RECORD_BYTES_MAX: Final = 64 << 20
"""A size claimed above this is damage, not a reason to allocate; bodies are limited far below."""
LOOK_AHEAD_BYTES: Final = 64 << 20
"""How far behind the end of the chain records are looked for, beside later segments' starts."""
SECTOR: Final = 512

_MAGIC_PREFIX: Final = b"\xda\xa3\x20"
_MAGIC_AT: Final = 4

OnEntries = Callable[[list[Entry]], None]


class Scan(NamedTuple):
    """What walking the chain from `begin` found."""

    begin: int
    end: int  # after the last good record, or the start of the segment behind a filler
    records: int
    newest: Entry | None
    newest_ms: int  # the largest store time met; 0 for none
    stop: Damage | None  # None: the last segment is full

    @property
    def ends_in_zeros(self) -> bool:
        return self.stop is None or self.stop.flaw in {Flaw.EMPTY, Flaw.SHORT}


@final
class Progress:
    """How far recovery is; `/readyz` shows it."""

    __slots__ = ("bytes_done", "bytes_total", "phase")

    def __init__(self) -> None:
        self.phase = "not started"
        self.bytes_done = self.bytes_total = 0

    def begin(self, phase: str, bytes_total: int) -> None:
        """A new phase with so many bytes to go through."""
        self.phase, self.bytes_done, self.bytes_total = phase, 0, max(0, bytes_total)


@final
class _Walk:
    """The state of one scan: where it is, and what it met."""

    def __init__(self, begin: int, doubt_from: int, on_entries: OnEntries) -> None:
        self.position, self.count, self.newest_ms = begin, 0, 0
        self.newest: Entry | None = None
        self.size_wanted = 0  # a record that needs a larger chunk
        self._doubt_from, self._on_entries = doubt_from, on_entries

    def chunk(self, data: bytes, segment: Segment) -> Damage | None:
        """Go as far as the chunk's bytes lead. None: read on at `position`."""
        begin, at, end = self.position, 0, segment.end
        entries: list[Entry] = []
        stop: Damage | None = None
        while True:
            found = check_record(data, at, begin + at)
            if not isinstance(found, RecordInfo):
                stop = self._not_a_record(found, segment, begin + at, len(data) - at)
                break
            if begin + at >= self._doubt_from and is_torn(found, data, at):
                detail = "a part of the properties was never written"
                stop = Damage(Flaw.LENGTHS, detail, found.size)
                break
            entries.append(Entry(*found))
            at += found.size
            if begin + at >= end:
                stop = Damage(Flaw.SIZE, "a record reaches the end of its segment", found.size)
                break
        self._took(entries)
        self.position = max(self.position, begin + at)
        return stop

    def _not_a_record(
        self, found: Blank | Damage, segment: Segment, position: int, seen: int
    ) -> Damage | None:
        left = segment.end - position
        if isinstance(found, Blank):
            if found.size != left:
                return Damage(Flaw.SIZE, f"a filler of {found.size}, {left} bytes are left")
            self.position = segment.end
            return None
        if found.flaw is Flaw.SHORT and seen < left:
            self.size_wanted = CHUNK_BYTES
            return None
        if found.flaw is Flaw.CUT and found.size <= min(left, RECORD_BYTES_MAX) and seen < left:
            self.size_wanted = found.size
            return None
        return found

    def _took(self, entries: list[Entry]) -> None:
        if entries:
            self._on_entries(entries)
            self.count += len(entries)
            self.newest = entries[-1]
            self.newest_ms = max(self.newest_ms, *[one.store_timestamp_ms for one in entries])


def is_torn(info: RecordInfo, data: bytes, at: int) -> bool:
    """Whether a part of the properties was never written."""
    if info.properties.endswith(b"\0"):
        return True
    end, shift = info.physical_offset + info.size, at - info.physical_offset
    sector = -(-(end - len(info.properties)) // SECTOR) * SECTOR
    for boundary in range(sector, end, SECTOR):
        if not any(data[boundary + shift : min(boundary + SECTOR, end) + shift]):
            return True
    return False


async def scan(
    segments: Segments,
    begin: int,
    *,
    doubt_from: int,
    on_entries: OnEntries,
    progress: Progress,
) -> Scan:
    """Walk the chain from the record or segment that begins at `begin`. Raises `OSError`."""
    walk = _Walk(begin, doubt_from, on_entries)
    stop: Damage | None = None
    while stop is None and (segment := segments.find(walk.position)) is not None:
        position = walk.position
        size = min(max(CHUNK_BYTES, walk.size_wanted), segment.end - position)
        walk.size_wanted = 0
        data = await segment.file.read_at(position - segment.base, size)
        stop = walk.chunk(data, segment)
        if stop is None and walk.position == position and len(data) < size:
            stop = Damage(Flaw.SHORT, "the file ends here")
        progress.bytes_done = walk.position - begin
        await trio.lowlevel.checkpoint()
    return Scan(begin, walk.position, walk.count, walk.newest, walk.newest_ms, stop)


async def find_later(segments: Segments, end: int) -> RecordInfo | None:
    """The first record found behind `end`: near it, else at the start of a later segment."""
    segment = segments.find(end)
    if segment is not None:
        position, limit = end + 1, min(segment.end, end + LOOK_AHEAD_BYTES)
        while position < limit:
            found = await _search(segment, position, min(CHUNK_BYTES, limit - position))
            if found is not None:
                return found
            position += CHUNK_BYTES
    for later in (*segments.all, *segments.behind_gap):
        if later.base > end and (first := await first_record(later)) is not None:
            return first
    return None


async def _search(segment: Segment, position: int, size: int) -> RecordInfo | None:
    """A record that begins in [position, position + size)."""
    size += _MAGIC_AT + len(_MAGIC_PREFIX)
    data = await segment.file.read_at(position - segment.base, size)
    at = data.find(_MAGIC_PREFIX)
    while at != -1:
        if at >= _MAGIC_AT:
            found = await record_at(segment, position + at - _MAGIC_AT)
            if found is not None:
                return found
        at = data.find(_MAGIC_PREFIX, at + 1)
    return None


async def first_record(segment: Segment) -> RecordInfo | None:
    """The record that a segment begins with."""
    return await record_at(segment, segment.base)


async def record_at(segment: Segment, position: int) -> RecordInfo | None:
    """A good record at exactly this place."""
    size = 4096
    while True:
        size = min(size, segment.end - position)
        data = await segment.file.read_at(position - segment.base, size)
        found = check_record(data, 0, position)
        if isinstance(found, RecordInfo):
            return found
        wanted = found.size if isinstance(found, Damage) and found.flaw is Flaw.CUT else 0
        if not len(data) < wanted <= min(RECORD_BYTES_MAX, segment.end - position):
            return None
        size = wanted
