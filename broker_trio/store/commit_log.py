"""The commit log: records one behind the other in segments, the only truth of the store.

    0 ........ min_offset ........... flushed_offset ....... written_offset ..... max_offset
    deleted    on disk                in the page cache      staged buffers       the next record

`append` is split so that its caller can lay out a record without a copy:

    position = log.place(size)     room for `size` bytes for certain, or it raises and is as before
    log.stage(parts, size)         the bytes for that room; cannot fail

A segment ends in a filler of at least 8 bytes, `i32 bytes left, i32 0xCBD43194`, because a record
is only placed where it leaves 8 bytes behind it: no record and no batch straddles two segments.

Invariants:

* `place` refuses before anything changed: space is allocated (`File.reserve`) and the next segment
  exists before a byte is staged, so that a full disk is a refusal and never a torn log.
* One limit, `_room_end`, stands for all reasons why a record may not go where the log ends: end of
  the segment, of the reserved space, of the bytes that may be unflushed, or a store that refuses.
  The hot path compares with it once; `_make_room` finds out which it was.
* `flushed_offset` moves only in `flushed_to`, after the flusher's fsyncs returned.
* After a failed write or fsync (`fail`) nothing is appended, written or confirmed any more. Space
  that ran out in spite of the reservation counts as a failure too: the write was already promised.
"""

import errno
import struct
from collections.abc import Sequence
from typing import Final, final

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, StoreFailed
from broker_trio.runtime.seams import Buffer, Disk
from broker_trio.store.config import StoreConfig
from broker_trio.store.entry import Entry
from broker_trio.store.segments import Segment, Segments
from broker_trio.store.stats import StoreStats

COMMIT_LOG_FOLDER: Final = "commitlog"
FILLER_BYTES: Final = 8
FILLER_MAGIC: Final = -875286124  # 0xCBD43194 as a signed i32
_FILLER: Final = struct.Struct(">ii")
_COUNTED_AS: Final = {
    "opening": "stopping",
    "stopping": "stopping",
    "read_only": "read_only",
    "disk_used": "disk_full",
    "derived": "disk_full",
}
"""Who may refuse every append, and the reason under which each refusal is counted."""


def filler(bytes_left: int) -> bytes:
    """What stands where a segment's last record ends."""
    return _FILLER.pack(bytes_left, FILLER_MAGIC)


@final
class CommitLog:
    """Append and read. Knows bytes and positions, nothing of what a record means."""

    def __init__(self, disk: Disk, config: StoreConfig, stats: StoreStats) -> None:
        self._disk, self._config, self._stats = disk, config, stats
        self.segments = Segments(disk, COMMIT_LOG_FOLDER, config.commit_log_segment_bytes)
        self.max_offset = self.written_offset = self.flushed_offset = 0
        self.failure: StoreFailed | None = None
        self.newest: Entry | None = None  # the last record appended
        self.newest_flushed: Entry | None = None
        opening = Refused(ResponseCode.SERVICE_NOT_AVAILABLE, f"{disk.root} is being recovered")
        self._refusals: dict[str, Refused] = {"opening": opening}
        self._active: Segment | None = None
        self._parts: list[Buffer] = []
        self._reserved_end = self._room_end = 0
        self._dirty: dict[int, Segment] = {}  # written since the last flush began
        self._folder_dirty = False  # a segment was created since the folder was synced

    # -- positions ------------------------------------------------------------------------------

    @property
    def min_offset(self) -> int:
        """The first byte that is kept."""
        return self.segments.min_offset

    @property
    def unflushed_bytes(self) -> int:
        return self.max_offset - self.flushed_offset

    def open_at(self, physical_end: int, newest: Entry | None) -> None:
        """Begin to append at the end that recovery found; all before it is durable."""
        self.newest = self.newest_flushed = newest
        self.max_offset = self.written_offset = self.flushed_offset = physical_end
        self._active = self.segments.find(physical_end)
        self._reserved_end = physical_end
        self.refuse("opening", None)

    def _set_room(self) -> None:
        if self._active is None or self._refusals or self.failure is not None:
            self._room_end = -1
        else:
            self._room_end = min(
                self._active.end - FILLER_BYTES,
                self._reserved_end - FILLER_BYTES,
                self.flushed_offset + self._config.unflushed_bytes_max,
            )

    # -- appending ------------------------------------------------------------------------------

    def place(self, size: int) -> int:
        """The physical offset for `size` bytes that are staged next.

        Raises `Refused` or `StoreFailed`, and the log is as before.
        """
        if self.max_offset + size > self._room_end:
            self._make_room(size)
        return self.max_offset

    def stage(self, parts: Sequence[Buffer], size: int) -> None:
        """`size` bytes for the room that was just placed.

        `parts` are kept as they are until `write_out`: nobody may change them.
        """
        self._parts += parts
        self.max_offset += size

    def _make_room(self, size: int) -> None:
        """The slow way of `place`: find out what is in the way, and remove it or refuse."""
        self.check_writable(size)
        if size + FILLER_BYTES > self._config.commit_log_segment_bytes:
            self._stats.refuse("too_large")
            raise Refused(
                ResponseCode.MESSAGE_ILLEGAL,
                f"{size} bytes do not fit a segment of {self._config.commit_log_segment_bytes} "
                "bytes (store.commit_log_segment_bytes)",
            )
        if self._active is None or self.max_offset + size + FILLER_BYTES > self._active.end:
            self._roll(size)
        elif self.max_offset + size + FILLER_BYTES > self._reserved_end:
            end = self.max_offset + size
            self._reserved_end = self._reserve(self._active, self._reserved_end, end)
        self._set_room()

    def check_writable(self, size: int) -> None:
        """Raises `StoreFailed` or `Refused` where `size` bytes would not be taken now."""
        self._check_alive()
        for source, refusal in self._refusals.items():
            self._stats.refuse(_COUNTED_AS[source])
            raise Refused(refusal.code, refusal.remark)  # one instance would collect tracebacks
        limit = self._config.unflushed_bytes_max
        if self.max_offset + size - self.flushed_offset > limit and self.unflushed_bytes:
            self._stats.refuse("busy")
            raise Refused(
                ResponseCode.SYSTEM_BUSY,
                f"[PC_SYNCHRONIZED]broker busy, {self.unflushed_bytes} bytes are not on disk yet, "
                f"limit {limit} (store.unflushed_bytes_max), {self._disk.root}/{COMMIT_LOG_FOLDER}",
            )

    def _roll(self, size: int) -> None:
        """Close the active segment with a filler and go on in the next one."""
        begin = self.max_offset if self._active is None else self._active.end
        target = self.segments.find(begin) or self._create(begin)
        reserved_end = self._reserve(target, begin, begin + size)
        active = self._active
        if active is not None and begin > self.max_offset:
            if self._reserved_end < self.max_offset + FILLER_BYTES:
                self._reserved_end = self._reserve(active, self._reserved_end, self.max_offset)
            self.stage((filler(begin - self.max_offset),), FILLER_BYTES)
            self.write_out()
        self._active = target
        self.max_offset = self.written_offset = begin
        self._reserved_end = reserved_end

    def _create(self, begin: int) -> Segment:
        try:
            segment = self.segments.create(begin)
        except OSError as error:
            raise self._no_space(error, "create a segment") from error
        self._folder_dirty = True
        self._dirty[segment.base] = segment
        return segment

    def _reserve(self, segment: Segment, begin: int, end: int) -> int:
        """Allocate [begin, end), a filler and some more; where the reserved space ends then."""
        step = max(self._config.reserve_bytes, end + FILLER_BYTES - begin)
        step = min(step, segment.end - begin)
        try:
            segment.file.reserve(begin - segment.base, step)
        except OSError as error:
            raise self._no_space(error, f"reserve {step} bytes") from error
        return begin + step

    def _no_space(self, error: OSError, what: str) -> Refused | StoreFailed:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            return self.fail(error)
        self._stats.refuse("disk_full")
        return Refused(
            ResponseCode.SERVICE_NOT_AVAILABLE,
            f"the disk is full: cannot {what} in {self._disk.root}/{COMMIT_LOG_FOLDER}: "
            f"{error.strerror}",
        )

    def prepare_next(self) -> None:
        """Create the next segment once the active one is half full: a roll only switches then."""
        active = self._active
        if active is None or self.failure is not None or active.end != self.segments.capacity_end:
            return
        if self.max_offset - active.base > self._config.commit_log_segment_bytes // 2:
            try:
                self._create(active.end)
            except Refused:
                return  # no space now; the roll will ask again, and say so

    def write_out(self) -> None:
        """Bring everything staged to the page cache in one write. Raises `StoreFailed`."""
        if not self._parts:
            return
        self._check_alive()
        segment = self._active
        assert segment is not None, "staged without a segment"
        position = self.written_offset - segment.base
        try:
            if len(self._parts) == 1:
                segment.file.write_at(position, self._parts[0])
            else:
                segment.file.write_parts_at(position, self._parts)
        except OSError as error:
            raise self.fail(error) from error
        self._parts.clear()
        self._stats.writes += 1
        self.written_offset = self.max_offset
        self._dirty[segment.base] = segment

    # -- following another log ------------------------------------------------------------------

    def append_raw(self, data: Buffer) -> None:
        """Bytes as another log has them, to this log's end and the page cache; in one segment.

        Whole records, or a filler with all that it fills. Raises `Refused` and `StoreFailed` like
        `place`; the log is as before then.
        """
        self._check_alive()
        begin, size = self.max_offset, len(data)
        assert not self._parts, "a log that follows appends nothing of its own"
        active = self._active
        if active is None or begin == active.end:
            active = self.segments.find(begin) or self._create(begin)
            self._active, self._reserved_end = active, begin
        assert begin + size <= active.end, "records do not straddle segments"
        if begin + size > self._reserved_end:
            self._reserved_end = self._reserve(active, self._reserved_end, begin + size)
        try:
            active.file.write_at(begin - active.base, data)
        except OSError as error:
            raise self.fail(error) from error
        self._stats.writes += 1
        self.max_offset = self.written_offset = begin + size
        self._dirty[active.base] = active
        self._set_room()

    def cut(self, physical_end: int, newest: Entry | None) -> None:
        """End there; `newest` is the last record that remains. `Flusher.around` makes it durable.

        Only where everything before it is on disk. Raises `OSError`.
        """
        assert not self._parts
        assert self.min_offset <= physical_end <= self.flushed_offset
        while len(self.segments) > 1 and self.segments.all[-1].base >= physical_end:
            self._dirty.pop(self.segments.drop_last().base, None)
            self._folder_dirty = True
        segment = self.segments.find(physical_end)
        if segment is not None:
            segment.file.truncate(physical_end - segment.base)
            segment.file.truncate(segment.end - segment.base)
            self._dirty[segment.base] = segment
        self.open_at(physical_end, newest)

    def begin_at(self, physical_offset: int) -> None:
        """Drop everything and begin where a segment may. `Flusher.around` makes it durable."""
        assert physical_offset % self._config.commit_log_segment_bytes == 0
        while self.segments.all:
            self._dirty.pop(self.segments.drop_last().base, None)
            self._folder_dirty = True
        self._create(physical_offset)
        self.open_at(physical_offset, None)

    # -- refusing -------------------------------------------------------------------------------

    def refuse(self, source: str, refusal: Refused | None) -> None:
        """Refuse every append until the same source (see `_COUNTED_AS`) takes it back by None."""
        assert source in _COUNTED_AS
        if refusal is None:
            self._refusals.pop(source, None)
        else:
            self._refusals[source] = refusal
        self._set_room()

    def _check_alive(self) -> None:
        if self.failure is not None:
            raise StoreFailed(*self.failure.args) from self.failure

    @property
    def refusal(self) -> Refused | None:
        """Why every append is refused now, if it is."""
        return next(iter(self._refusals.values()), None)

    def fail(self, error: OSError) -> StoreFailed:
        """A write or fsync failed: the process has to end; nothing is confirmed any more."""
        if self.failure is None:
            self.failure = StoreFailed(f"{self._disk.root}: {error}")
            self._set_room()
        return self.failure

    # -- reading --------------------------------------------------------------------------------

    def read_nowait(self, physical_offset: int, size: int) -> bytes:
        """Up to `size` bytes from there, not beyond the segment or the log's end.

        Empty where the log does not have that offset. Raises `trio.WouldBlock` where the device
        would have to be asked, and `StoreFailed` where staged bytes could not be written.
        """
        segment, size = self._clip(physical_offset, size)
        if segment is None:
            return b""
        return segment.file.read_at_nowait(physical_offset - segment.base, size)

    async def read(self, physical_offset: int, size: int) -> bytes:
        """The same, waiting for the device. Raises `OSError` where it cannot read."""
        segment, size = self._clip(physical_offset, size)
        if segment is None:
            return b""
        segment.pins += 1
        try:
            return await segment.file.read_at(physical_offset - segment.base, size)
        finally:
            segment.unpin()

    def _clip(self, physical_offset: int, size: int) -> tuple[Segment | None, int]:
        if physical_offset + size > self.written_offset:
            self.write_out()
        segment = self.segments.find(physical_offset)
        if segment is None or physical_offset >= self.written_offset or size <= 0:
            return None, 0
        end = min(physical_offset + size, segment.end, self.written_offset)
        return segment, end - physical_offset

    # -- flushing (called by the flusher only) ----------------------------------------------------

    def take_dirty(self) -> tuple[list[Segment], bool]:
        """The segments to sync, and whether their folder has to be synced; both start anew."""
        dirty = [self._dirty[base] for base in sorted(self._dirty)]
        folder, self._folder_dirty = self._folder_dirty, False
        self._dirty = {}
        return dirty, folder

    def give_back_dirty(self, dirty: list[Segment], *, folder: bool) -> None:
        """A flush was cancelled: what it took has to be synced by the next one."""
        self._dirty.update({segment.base: segment for segment in dirty})
        self._folder_dirty = self._folder_dirty or folder

    def flushed_to(self, physical_end: int, newest: Entry | None) -> None:
        """Everything before `physical_end` is on disk; `newest` is the last record of that."""
        assert self.flushed_offset <= physical_end <= self.written_offset
        self.flushed_offset, self.newest_flushed = physical_end, newest
        self._set_room()

    @property
    def is_dirty(self) -> bool:
        return bool(self._dirty) or self._folder_dirty or bool(self._parts)

    # -- dropping -------------------------------------------------------------------------------

    def drop_first(self) -> Segment:
        """Delete the oldest segment; never the one that is appended to. Raises `OSError`."""
        first = self.segments.all[0]
        assert first is not self._active
        assert first.end <= self.flushed_offset
        self._dirty.pop(first.base, None)
        self._folder_dirty = True
        return self.segments.drop_first()
