"""One consume queue: the records of one (topic, queue id) in order, 20 bytes each.

    unit    0 …… min_offset ………………… written_offset ……… max_offset
            expired   in files             buffered, readable too

A put only fills the buffer; `write_out` brings it to the page cache with one write per file
(`queue_files.py` has the files, `units.py` the 20 bytes, which are Apache's SimpleCQ).

Invariants:

* Unit k refers to the record whose queueOffset is k, or is a pre-blank. A put that would leave a
  hole is never shifted into place: as long as something can be read it raises `StoreCorrupt`
  (Apache logs it and shifts every later message of the queue); a queue of which nothing can be read
  begins anew at that offset.
* 0 <= min_offset <= max_offset, always; both only grow, except in `truncate` and `recover`.
* Physical offsets ascend. `physical_end` is the end of the last unit's record, 0 without one.
"""

from collections.abc import Callable
from typing import Final, final

import trio

from broker_trio.store.open_files import OpenFiles
from broker_trio.store.queue_files import QueueFiles
from broker_trio.store.units import (
    UNIT,
    UNIT_BYTES,
    Search,
    Unit,
    decode_unit,
    end_near,
    first_at_or_after,
    is_pre_blank,
)

VERIFIED_BACKWARDS_MAX: Final = 64
"""Units at a queue's end that recovery rejects one by one before it rejects the whole queue."""

UnitCheck = Callable[[str, int, int, Unit], bool]
"""(topic, queue id, queue offset, unit) → whether the log has that very record there. May block."""


@final
class ConsumeQueue:
    """One queue. Everything is synchronous except what may wait for the device."""

    __slots__ = (
        "_files", "buffer", "max_offset", "min_offset", "physical_end", "queue_id", "topic",
        "written_offset",
    )  # fmt: skip

    def __init__(
        self, files: OpenFiles, segment_units: int, topic: str, queue_id: int, begin: int = 0
    ) -> None:
        self.topic, self.queue_id = topic, queue_id
        self._files = QueueFiles(files, segment_units, topic, queue_id)
        self.buffer = bytearray()
        self.min_offset = self.max_offset = self.written_offset = begin
        self.physical_end = 0

    @property
    def folder(self) -> str:
        return self._files.folder

    @property
    def file_count(self) -> int:
        return len(self._files)

    @property
    def first_unit(self) -> int:
        """The first unit that has a place in a file, whether it can be read or not."""
        return self._files.first_unit

    # -- writing ----------------------------------------------------------------------------------

    def put(self, queue_offset: int, physical_offset: int, size: int, tags_code: int) -> bool:
        """Add a unit; False where it is there already. Raises `StoreCorrupt` for a hole.

        `ConsumeQueues.put_all` does the usual case itself.
        """
        if physical_offset + size <= self.physical_end or queue_offset < self.max_offset:
            return False
        if queue_offset > self.max_offset:
            if self.min_offset < self.max_offset:
                raise self._files.corrupt(
                    self.max_offset * UNIT_BYTES,
                    f"next is message {self.max_offset}, got {queue_offset} "
                    f"(physical offset {physical_offset}): units between them are missing",
                )
            self.begin_at(queue_offset)
        self.buffer += UNIT.pack(physical_offset, size, tags_code)
        self.max_offset += 1
        self.physical_end = physical_offset + size
        return True

    def begin_at(self, queue_offset: int) -> None:
        """Forget all and be an empty queue that begins at an offset. Raises `OSError`."""
        self.unlink_all()
        self.min_offset = self.max_offset = self.written_offset = queue_offset
        self.physical_end = 0

    def unlink_all(self) -> None:
        """Remove the files; the numbers stay. Raises `OSError`."""
        self.buffer = bytearray()
        self._files.unlink_all()

    def write_out(self) -> None:
        """Bring the buffer to the page cache: one write, two across files. Raises `OSError`."""
        while self.buffer:
            count = self._files.write(self.written_offset, self.buffer)
            self.written_offset += count
            self.buffer = self.buffer[count * UNIT_BYTES :]

    # -- reading ----------------------------------------------------------------------------------

    def units_nowait(self, begin: int, count: int) -> bytes:
        """Up to `count` units from `begin`, not beyond its file or the end; empty where none is.

        Raises `trio.WouldBlock` where they are not in memory.
        """
        ahead = self.written_offset - begin
        if ahead <= 0:
            return bytes(self.buffer[-ahead * UNIT_BYTES : (count - ahead) * UNIT_BYTES])
        data = self._files.read_nowait(begin, min(count, ahead))
        if count > ahead and len(data) == ahead * UNIT_BYTES:
            data += self.buffer[: (count - ahead) * UNIT_BYTES]
        return data

    async def units(self, begin: int, count: int) -> bytes:
        """The same, waiting for the device; not across the end of what is written."""
        ahead = self.written_offset - begin
        if ahead <= 0:
            await trio.lowlevel.checkpoint()
            return self.units_nowait(begin, count)
        return await self._files.read(begin, min(count, ahead))

    def unit_at(self, queue_offset: int) -> Unit | None:
        """One unit that is in memory; None where there is none, or it is cold."""
        if not self.min_offset <= queue_offset < self.max_offset:
            return None
        try:
            return decode_unit(self.units_nowait(queue_offset, 1))
        except trio.WouldBlock:
            return None

    def _unit_blocking(self, queue_offset: int) -> bytes:
        if queue_offset >= self.written_offset:
            return self.units_nowait(queue_offset, 1)
        return self._files.read_blocking(queue_offset)

    def next_file_offset(self, queue_offset: int) -> int:
        """The first unit of the file after the one that holds `queue_offset`."""
        return self._files.segment_after(queue_offset)

    # -- cutting and expiring ---------------------------------------------------------------------

    def _search_min(self, min_physical: int) -> Search:
        begin = max(self.min_offset, self._files.first_unit)
        return first_at_or_after(begin, self.max_offset, min_physical)

    def _drive(self, search: Search) -> int:
        """Run a search with reads on the loop."""
        try:
            wanted = next(search)
            while True:
                wanted = search.send(self._unit_blocking(wanted))
        except StopIteration as found:
            return int(found.value)

    async def _drive_waiting(self, search: Search) -> int:
        try:
            wanted = next(search)
            while True:
                wanted = search.send(await self.units(wanted, 1))
        except StopIteration as found:
            return int(found.value)

    def correct_min(self, min_physical: int) -> None:
        """The log now begins at `min_physical`; older units cannot be read. Blocks."""
        if self.physical_end <= min_physical:
            self.min_offset = self.max_offset
        elif self.min_offset < self.max_offset:
            self.min_offset = self._drive(self._search_min(min_physical))

    async def expire(self, min_physical: int) -> int:
        """The same while running; then drop leading files without a living record, never the last.

        Returns how many files went. Raises `OSError`.
        """
        found = self.max_offset
        if self.min_offset < self.max_offset and self.physical_end > min_physical:
            found = await self._drive_waiting(self._search_min(min_physical))
        self.min_offset = max(self.min_offset, min(found, self.max_offset))
        return self._files.drop_before(self.min_offset)

    def last_before(self, physical_end: int) -> Unit | None:
        """The last readable unit of a record before `physical_end`. Blocks."""
        end = self.max_offset
        if self.physical_end > physical_end:
            begin = max(self.min_offset, self._files.first_unit if self.file_count else 0)
            end = self._drive(first_at_or_after(begin, self.max_offset, physical_end))
        return decode_unit(self._unit_blocking(end - 1)) if end > self.min_offset else None

    def end_before(self, physical_end: int) -> int:
        """One past the last message whose record begins before `physical_end`. Blocks."""
        if self.physical_end <= physical_end:
            return self.max_offset
        begin = max(self.min_offset, self._files.first_unit if self.file_count else 0)
        return self._drive(first_at_or_after(begin, self.max_offset, physical_end))

    def truncate(self, physical_end: int) -> None:
        """Forget the units of records at or after `physical_end`. Blocks; raises `OSError`."""
        if self.physical_end > physical_end:
            begin = self._files.first_unit if self.file_count else self.written_offset
            self._cut(self._drive(first_at_or_after(begin, self.max_offset, physical_end)))

    def _cut(self, end: int) -> None:
        """Nothing remains from `end` on."""
        if end >= self.written_offset:
            del self.buffer[(end - self.written_offset) * UNIT_BYTES :]
        else:
            self.buffer = bytearray()
            self.written_offset = end
            self._files.cut(end)
        self.max_offset = end
        self.min_offset = min(self.min_offset, end)
        data = self._unit_blocking(end - 1) if end > self._files.first_unit else b""
        unit = decode_unit(data)
        known = unit is not None and not is_pre_blank(data)
        self.physical_end = unit.physical_offset + unit.size if unit and known else 0

    # -- starting ---------------------------------------------------------------------------------

    def load(self) -> bool:
        """Find the files by name; whether all were there and whole. Raises `StoreCorrupt`."""
        return self._files.load()

    def adopt(self, min_offset: int, max_offset: int, physical_end: int) -> bool:
        """Take over what was known at a clean stop, without opening a file.

        False, and nothing changed, where the files that are here cannot hold that.
        """
        files = self._files
        if not files.last_segment_unit < max_offset <= files.capacity_unit:
            return False
        self.min_offset, self.max_offset = max(min_offset, files.first_unit), max_offset
        self.written_offset, self.physical_end = max_offset, physical_end
        return True

    def recover(self, durable: int, check: UnitCheck, near: int = 0) -> None:
        """Find the true end; cut off units of records at or after `durable`, they come again.

        `near`: an offset that was the end not long ago, if one is known.

        Below `durable` every unit was on disk once, so the units that count are one run from the
        first file on, and its end can be found by halving. The last one must name the very record
        that the log has there, else it goes too. A queue of which nothing remains begins at 0: its
        first record may come from anywhere. Blocks; raises `OSError`.
        """
        assert self.file_count, "nothing to recover"
        first, capacity = self._files.first_unit, self._files.capacity_unit
        self.min_offset, self.max_offset, self.written_offset = first, capacity, capacity
        end = self._drive(end_near(first, capacity, durable, near))
        self._cut(self._verified_end(first, end, check))
        if not self.physical_end:
            self.begin_at(0)
        self.correct_min(0)  # past pre-blanks

    def _verified_end(self, first: int, end: int, check: UnitCheck) -> int:
        for candidate in range(end, max(first, end - VERIFIED_BACKWARDS_MAX), -1):
            data = self._unit_blocking(candidate - 1)
            unit = decode_unit(data)
            assert unit is not None, "an unused slot before the end"
            if is_pre_blank(data) or check(self.topic, self.queue_id, candidate - 1, unit):
                return candidate
        return first
