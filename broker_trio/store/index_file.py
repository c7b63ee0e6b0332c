"""One file of the key index, Apache's format byte for byte, and its slots while it is written.

    0      header   i64 beginTimestamp, i64 endTimestamp, i64 beginPhyOffset, i64 endPhyOffset,
                    i32 slots in use, i32 itemCount
    40     slots    i32 × slots      number of the newest item of this bucket, 0 for none
    …      items    20 bytes × items i32 keyHash, i64 physicalOffset, i32 seconds, i32 previous item

Default 5,000,000 slots and 20,000,000 items: 420,000,040 bytes, sparse. Items are numbered from 1,
item 0 is never used, and `itemCount` is the number of the next one. `seconds` count from
beginTimestamp; the first item has 0 (in a file that Apache's broker began it may say something
else, because that takes the time from the previous file; readers here take 0).

The file that is written keeps its slots in memory (`SlotChunk`, 20 MB when all are used), because
a put has to know the bucket's newest item: an array access instead of a system call. Items go to
the file with every batch. Slots and header go there only from a journal (`index_journal.py`): until
then they are the chunks' `changed`.
"""

from array import array
from collections.abc import Iterable
from itertools import repeat
from struct import Struct
from typing import Final, NamedTuple, final

import trio

from broker_trio.runtime.seams import File
from broker_trio.store.index_rows import Rows
from broker_trio.store.index_slots import CHUNK, CHUNK_SHIFT, Changes, SlotChunk, patched
from broker_trio.store.open_files import OpenFiles

INDEX_FOLDER: Final = "index"
HEADER: Final = Struct(">qqqqii")
HEADER_BYTES: Final = 40
SLOT: Final = Struct(">i")
ITEM: Final = Struct(">iqii")
ITEM_BYTES: Final = 20
SECONDS_MAX: Final = 0x7FFFFFFF
RESERVED_ITEMS: Final = 50_000  # a megabyte of items is allocated at a time
WHOLE_CHUNK_MIN: Final = 24  # changed slots from which one write of 64 KiB is cheaper
CHUNKS_AT_ONCE: Final = 8  # written between two turns of the loop, some 0.5 ms


class Item(NamedTuple):
    """One key of one record."""

    key_hash: int
    physical_offset: int
    seconds: int
    previous: int


class Header(NamedTuple):
    """The first 40 bytes."""

    begin_ms: int = 0
    end_ms: int = 0
    begin_physical: int = 0
    end_physical: int = 0
    slots_used: int = 0
    item_count: int = 1


def seconds_between(begin_ms: int, stored_ms: int) -> int:
    """An item's time: whole seconds after the file's begin, never negative, 0 without a begin."""
    if begin_ms <= 0 or stored_ms <= begin_ms:
        return 0
    return min((stored_ms - begin_ms) // 1000, SECONDS_MAX)


def file_size(slots: int, items: int) -> int:
    """Bytes of an index file."""
    return HEADER_BYTES + SLOT.size * slots + ITEM_BYTES * items


@final
class IndexFile:
    """One file: put keys at its end, find keys by hash."""

    def __init__(self, files: OpenFiles, name: str, slots: int, items: int) -> None:
        self._files, self._slots, self._items = files, slots, items
        self.name, self.path = name, f"{INDEX_FOLDER}/{name}"
        self.header = self.applied = Header()  # as it is to be, as the file has it
        self.changed_count = 0  # slots changed that are in no journal yet; counted once a change
        self._chunks: list[SlotChunk | None] | None = None  # None: slots are read from the file
        self._reserved = 0
        self._is_stale = False  # items were taken back that the journal on disk still counts

    @property
    def is_full(self) -> bool:
        return self.header.item_count >= self._items

    @property
    def room(self) -> int:
        """Items that still fit."""
        return self._items - self.header.item_count

    def _item_at(self, number: int) -> int:
        return HEADER_BYTES + SLOT.size * self._slots + ITEM_BYTES * number

    # -- opening ----------------------------------------------------------------------------------

    def create(self) -> None:
        """Make the file and allocate its slots, so that journals always fit. Raises `OSError`."""
        file = self._files.create(INDEX_FOLDER, self.path, file_size(self._slots, self._items))
        file.reserve(0, self._item_at(0))
        self._chunks = [None] * (-(-self._slots // CHUNK))

    def load_header(self) -> None:
        """Read the header from the file. Blocks."""
        data = self._files.open(self.path).read_at_blocking(0, HEADER_BYTES)
        header = Header._make(HEADER.unpack(data.ljust(HEADER_BYTES, b"\0")))
        self.header = self.applied = header._replace(item_count=max(header.item_count, 1))

    def ends_with(self, header: Header) -> bool:
        """Whether the last item that a header counts is of the record that it ends with. Blocks."""
        if header.item_count <= 1:
            return True
        position = self._item_at(header.item_count - 1)
        data = self._files.open(self.path).read_at_blocking(position, ITEM_BYTES)
        return len(data) == ITEM_BYTES and ITEM.unpack(data)[1] == header.end_physical

    def load_slots(self) -> None:
        """Take the slots into memory: the file will be written. 20 MB at most. Blocks.

        A slot that names no item of this file counts as empty, as Apache has it.
        """
        if self._chunks is not None:
            return
        file, count = self._files.open(self.path), self.header.item_count
        self._chunks = []
        for first in range(0, self._slots, CHUNK):
            size = min(CHUNK, self._slots - first) * SLOT.size
            data = file.read_at_blocking(HEADER_BYTES + first * SLOT.size, size)
            self._chunks.append(SlotChunk.decode(data, count) if any(data) else None)

    def cut_items(self) -> None:
        """Make all behind the last item zero: what a crash or a cut left. Raises `OSError`."""
        file = self._files.open_to_write(self.path)
        file.truncate(self._item_at(self.header.item_count))
        file.truncate(file_size(self._slots, self._items))
        self._reserved = 0

    # -- putting ----------------------------------------------------------------------------------

    def put(self, rows: Rows) -> None:
        """Add keys in the order of the log; at most `room`. Raises `OSError`, nothing changed then.

        About 0.6 µs a key; the items go to the page cache with one write.
        """
        hashes, positions, times = rows
        assert 0 < len(hashes) <= self.room, "a full file"
        self._reserve(self.header.item_count + len(hashes))
        begin_ms, _, begin_physical, _, used, number = self.header
        if number == 1:
            begin_physical, begin_ms = positions[0], times[0]
        position = self._item_at(number)
        chunks, count = self._chunks, self._slots
        assert chunks is not None, "not the file that is written"
        previous: list[int] = []
        for key_hash in hashes:
            slot = key_hash % count
            chunk = chunks[slot >> CHUNK_SHIFT]
            if chunk is None:
                chunk = chunks[slot >> CHUNK_SHIFT] = SlotChunk()
            values, at = chunk.values, slot & CHUNK - 1
            previous.append(values[at])
            values[at] = chunk.changed[slot] = number
            number += 1
        used += previous.count(0)
        if times.count(times[0]) == len(times):
            seconds: Iterable[int] = repeat(seconds_between(begin_ms, times[0]))
        else:
            seconds = [seconds_between(begin_ms, stored_ms) for stored_ms in times]
        data = b"".join(map(ITEM.pack, hashes, positions, seconds, previous))
        self._files.open_to_write(self.path).write_at(position, data)
        self.header = Header(begin_ms, times[-1], begin_physical, positions[-1], used, number)
        self.changed_count += len(hashes)

    def _reserve(self, number: int) -> None:
        if number > self._reserved:
            count = max(RESERVED_ITEMS, number - self.header.item_count)
            count = min(count, self._items - self.header.item_count)
            begin = self._item_at(self.header.item_count)
            self._files.open(self.path).reserve(begin, count * ITEM_BYTES)
            self._reserved = self.header.item_count + count

    def _set(self, slot: int, value: int) -> None:
        assert self._chunks is not None, "not the file that is written"
        chunk = self._chunks[slot >> CHUNK_SHIFT]
        if chunk is None:
            chunk = self._chunks[slot >> CHUNK_SHIFT] = SlotChunk()
        chunk.values[slot & CHUNK - 1] = chunk.changed[slot] = value
        self.changed_count += 1

    # -- the journal's side -----------------------------------------------------------------------

    def take_changes(self) -> Changes:
        """What changed since the last time; the journal's from now on."""
        self.changed_count = 0
        return [chunk.take() for chunk in self._chunks or () if chunk and chunk.changed]

    def give_back(self, changes: Changes) -> None:
        """No journal came of it: the next one has to hold it, under what changed meanwhile."""
        for changed in changes:
            chunk = self._chunks and self._chunks[next(iter(changed)) >> CHUNK_SHIFT]
            assert chunk, "slots changed in a file that is not written"
            chunk.changed = {**changed, **chunk.changed}
            self.changed_count += len(changed)

    def set_slots(self, slots: "array[int]", values: "array[int]") -> None:
        """What a journal says of some slots; it will be in the next journal again."""
        for slot, value in zip(slots, values, strict=True):
            self._set(slot, value)

    def release(self) -> None:
        """The file is full and its slots are in it: no more need to have them in memory."""
        if not self.changed_count:
            self._chunks = None

    async def apply(self, header: Header, changes: Changes) -> None:
        """Write slots and header of a journal that is on disk. Raises `OSError`."""
        for n, changed in enumerate(changes, 1):
            self._apply(self._files.open_to_write(self.path), changed)
            if n % CHUNKS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        self._files.open_to_write(self.path).write_at(0, HEADER.pack(*header))
        self.applied = header
        if self._is_stale:
            self.cut_items()
            self._is_stale = False

    def _apply(self, file: File, changed: dict[int, int]) -> None:
        """One chunk: a few slots one by one, many by writing the chunk as it should be on disk."""
        first = next(iter(changed)) & -CHUNK
        chunk = self._chunks and self._chunks[first >> CHUNK_SHIFT]
        size = min(CHUNK, self._slots - first) * SLOT.size
        position = HEADER_BYTES + first * SLOT.size
        try:
            old = b"" if chunk and chunk.is_new else file.read_at_nowait(position, size)
        except trio.WouldBlock:
            old = None
        if chunk:
            chunk.is_new = False
        if old is None or (old and len(changed) < WHOLE_CHUNK_MIN):
            for slot, value in changed.items():
                file.write_at(HEADER_BYTES + slot * SLOT.size, SLOT.pack(value))
        else:
            file.write_at(position, patched(old, changed, first)[:size])

    # -- taking back ------------------------------------------------------------------------------

    def remove_from(self, physical_offset: int) -> int:
        """Take back the items of records at or after it; how many are left. Blocks.

        The inverse of `put`, item by item: each one names what its bucket held before. The end time
        is not known to the millisecond afterwards; it is set to the end of its second.
        """
        begin_ms, _, begin_physical, _, used, number = self.header
        file = self._files.open(self.path)
        while number > 1:
            data = file.read_at_blocking(self._item_at(number - 1), ITEM_BYTES)
            last = Item._make(ITEM.unpack(data))
            if last.physical_offset < physical_offset:
                if number < self.header.item_count:
                    end_ms = begin_ms + last.seconds * 1000 + 999
                    self.header = Header(
                        begin_ms, end_ms, begin_physical, last.physical_offset, used, number
                    )
                    self._is_stale = True
                return number - 1
            number -= 1
            slot = last.key_hash % self._slots
            self._set(slot, last.previous)
            used -= not last.previous
        return 0

    # -- finding ----------------------------------------------------------------------------------

    async def _read(self, position: int, size: int) -> bytes:
        try:
            return self._files.open(self.path).read_at_nowait(position, size)
        except trio.WouldBlock:
            return await self._files.read(self.path, position, size)

    async def newest(self, key_hash: int) -> int:
        """The number of the bucket's newest item; 0 for none. Raises `FileNotFoundError`."""
        slot = key_hash % self._slots
        if self._chunks is not None:
            chunk = self._chunks[slot >> CHUNK_SHIFT]
            return 0 if chunk is None else chunk.values[slot & CHUNK - 1]
        data = await self._read(HEADER_BYTES + slot * SLOT.size, SLOT.size)
        return int.from_bytes(data, "big", signed=True)

    async def item(self, number: int) -> Item | None:
        """An item by its number; None where it cannot be one. Raises `FileNotFoundError`."""
        if not 0 < number < self.header.item_count:
            return None
        data = await self._read(self._item_at(number), ITEM_BYTES)
        if len(data) < ITEM_BYTES:
            return None
        item = Item._make(ITEM.unpack(data))
        return item._replace(seconds=0) if number == 1 else item
