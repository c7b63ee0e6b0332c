"""The files of one consume queue: one address space of units, in segments of equal length.

    consumequeue/<topic>/<queue id>/00000000000000000000   …/00000000000006000000
                                    [first_segment …                 … end_segment)

A segment has its full length from the start (sparse) and is named by the byte offset of its first
unit, 20 digits. There are no gaps. When the very first one begins before the queue's first message,
pre-blanks (`units.py`) fill it up to there. Behind the last unit the last segment is zero, so that
neither we nor Apache take for a unit what was cut off before: cutting sets the length down and up.

`load` looks at names and lengths only. What a crash or a hand left is repaired: a file too short
gets its length, an empty one goes, and so does all behind these and behind a gap, because units are
one run without holes. What went comes again from the log.
"""

from typing import Final, final

from broker_trio.model.errors import StoreCorrupt
from broker_trio.store.open_files import OpenFiles
from broker_trio.store.segments import segment_name
from broker_trio.store.units import PRE_BLANK, UNIT_BYTES

CONSUME_QUEUE_FOLDER: Final = "consumequeue"


@final
class QueueFiles:
    """Reads and writes by unit offset. Opens nothing before it is needed."""

    __slots__ = ("_bytes", "_end", "_files", "_first", "_units", "folder")

    def __init__(self, files: OpenFiles, segment_units: int, topic: str, queue_id: int) -> None:
        self._files, self._units, self._bytes = files, segment_units, segment_units * UNIT_BYTES
        self.folder = f"{CONSUME_QUEUE_FOLDER}/{topic}/{queue_id}"
        self._first = self._end = 0  # segments [first, end) exist

    def __len__(self) -> int:
        return self._end - self._first

    @property
    def first_unit(self) -> int:
        """The first unit that has a place in a file."""
        return self._first * self._units

    @property
    def last_segment_unit(self) -> int:
        """The first unit of the newest segment."""
        return (self._end - 1) * self._units

    @property
    def capacity_unit(self) -> int:
        """One past the last unit that has a place in a file."""
        return self._end * self._units

    def segment_after(self, unit: int) -> int:
        """The first unit of the segment behind the one with `unit`."""
        return (unit // self._units + 1) * self._units

    def _path(self, segment: int) -> str:
        return f"{self.folder}/{segment_name(segment * self._bytes)}"

    def corrupt(self, position: int, problem: str, path: str | None = None) -> StoreCorrupt:
        """The error to raise; `position` is the byte in the file, or in the queue."""
        return StoreCorrupt(f"{self._files.disk.root}/{path or self.folder}", position, problem)

    def load(self) -> bool:
        """Find the files; whether all of them were there and whole. Raises `StoreCorrupt`."""
        whole, previous = True, None
        for name in self._files.disk.list(self.folder):
            path = f"{self.folder}/{name}"
            if len(name) != 20 or not name.isdigit() or int(name) % self._bytes:
                raise self.corrupt(0, f"not a segment of {self._bytes} bytes", path)
            segment, size = int(name) // self._bytes, self._files.disk.stat(path).size
            if size > self._bytes:
                raise self.corrupt(size, f"a segment has {self._bytes} bytes", path)
            if size == 0 or not whole or (previous is not None and segment != previous + 1):
                self._files.unlink(self.folder, path)
                whole = False
                continue
            if size < self._bytes:
                self._files.open_to_write(path).truncate(self._bytes)
                whole = False
            if previous is None:
                self._first = segment
            previous, self._end = segment, segment + 1
        return whole

    def write(self, unit: int, data: bytearray) -> int:
        """Write units from offset `unit` on, up to the segment's end; how many. Raises `OSError`.

        Creates the segment where there is none, with pre-blanks if it is the first.
        """
        segment, inside = divmod(unit, self._units)
        if segment >= self._end or not len(self):
            self._create(segment, inside)
        count = min(len(data) // UNIT_BYTES, self._units - inside)
        part = data if count * UNIT_BYTES == len(data) else data[: count * UNIT_BYTES]
        self._files.open_to_write(self._path(segment)).write_at(inside * UNIT_BYTES, part)
        return count

    def _create(self, segment: int, blanks: int) -> None:
        first = not len(self)
        file = self._files.create(self.folder, self._path(segment), self._bytes)
        if first and blanks:
            file.write_at(0, PRE_BLANK * blanks)
        if first:
            self._first = segment
        self._end = segment + 1

    def read_nowait(self, unit: int, count: int) -> bytes:
        """Up to `count` units, not beyond the segment; empty where none is. May `WouldBlock`."""
        segment, inside = divmod(unit, self._units)
        if not self._first <= segment < self._end:
            return b""
        count = min(count, self._units - inside)
        file = self._files.open(self._path(segment))
        return file.read_at_nowait(inside * UNIT_BYTES, count * UNIT_BYTES)

    async def read(self, unit: int, count: int) -> bytes:
        """The same, waiting for the device; empty also where the file went meanwhile."""
        segment, inside = divmod(unit, self._units)
        if not self._first <= segment < self._end:
            return b""
        count = min(count, self._units - inside)
        path = self._path(segment)
        try:
            return await self._files.read(path, inside * UNIT_BYTES, count * UNIT_BYTES)
        except FileNotFoundError:
            return b""

    def read_blocking(self, unit: int) -> bytes:
        """One unit, waiting on the loop: while starting, or while a replica is cut back."""
        segment, inside = divmod(unit, self._units)
        if not self._first <= segment < self._end:
            return b""
        file = self._files.open(self._path(segment))
        return file.read_at_blocking(inside * UNIT_BYTES, UNIT_BYTES)

    def cut(self, end: int) -> None:
        """Remove every unit from offset `end` on. Raises `OSError`."""
        while len(self) and self.last_segment_unit >= end:
            self._end -= 1
            self._files.unlink(self.folder, self._path(self._end))
        if len(self) and end < self.capacity_unit:
            file = self._files.open_to_write(self._path(self._end - 1))
            file.truncate((end - self.last_segment_unit) * UNIT_BYTES)
            file.truncate(self._bytes)

    def drop_before(self, unit: int) -> int:
        """Unlink leading segments that end at or before `unit`, never the last. How many."""
        dropped = 0
        while len(self) > 1 and self.first_unit + self._units <= unit:
            self._files.unlink(self.folder, self._path(self._first))
            self._first += 1
            dropped += 1
        return dropped

    def unlink_all(self) -> None:
        """Remove every segment. Raises `OSError`."""
        while len(self):
            self._end -= 1
            self._files.unlink(self.folder, self._path(self._end))
        self._first = self._end = 0
