"""One file of the key index, Apache's format byte for byte, and its slots while it is written.

    0      header   i64 beginTimestamp, i64 endTimestamp, i64 beginPhyOffset, i64 endPhyOffset,
                    i32 slots in use, i32 itemCount
    40     slots    i32 × slots      number of the newest item of this bucket, 0 for none
    …      items    20 bytes × items i32 keyHash, i64 physicalOffset, i32 seconds, i32 previous item

Default 5,000,000 slots and 20,000,000 items: 420,000,040 bytes, sparse. Items are numbered from 1,
item 0 is never used, and `itemCount` is the number of the next one. `seconds` count from
beginTimestamp; the first item has 0 (in a file that Apache's broker began it may say something
else, because that takes the time from the previous file; readers here take 0).

The file that is written keeps its slots in memory, in chunks that come into being when first used
(20 MB when all are), because a put has to know the bucket's newest item: an array access instead of
a system call. Items go to the file with every batch. Slots and header go there only from a journal
(`index_journal.py`): until then `changed` holds them.
"""

from array import array
from collections.abc import Sequence
from struct import Struct
from sys import byteorder
from typing import Final, NamedTuple, final

import trio

from broker_trio.store.open_files import OpenFiles

INDEX_FOLDER: Final = "index"
HEADER: Final = Struct(">qqqqii")
HEADER_BYTES: Final = 40
SLOT: Final = Struct(">i")
ITEM: Final = Struct(">iqii")
ITEM_BYTES: Final = 20
SECONDS_MAX: Final = 0x7FFFFFFF
CHUNK_SHIFT: Final = 14  # 16,384 slots, 64 KiB
CHUNK: Final = 1 << CHUNK_SHIFT
RESERVED_ITEMS: Final = 50_000  # a megabyte of items is allocated at a time
APPLIED_AT_ONCE: Final = 1_000  # slots written between two turns of the loop, about a millisecond

Row = tuple[int, int, int]
"""(key hash, physical offset, store timestamp ms) of one key of one record."""


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


def file_size(slots: int, items: int) -> int:
    """Bytes of an index file."""
    return HEADER_BYTES + SLOT.size * slots + ITEM_BYTES * items


@final
class IndexFile:
    """One file: put keys at its end, find keys by hash."""

    def __init__(self, files: OpenFiles, name: str, slots: int, items: int) -> None:
        self._files, self._slots, self._items = files, slots, items
        self.name, self.path = name, f"{INDEX_FOLDER}/{name}"
        self.header = Header()
        self.changed: dict[int, int] = {}  # slot → newest item, not in a journal yet
        self._chunks: list[array[int] | None] | None = None  # None: read slots from the file
        self._reserved = 0

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
        self.header = header._replace(item_count=max(header.item_count, 1))

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
            if not any(data):
                self._chunks.append(None)
                continue
            chunk = array("i", data.ljust(CHUNK * SLOT.size, b"\0"))
            if byteorder == "little":
                chunk.byteswap()
            if max(chunk) >= count or min(chunk) < 0:
                chunk = array("i", [value if 0 < value < count else 0 for value in chunk])
            self._chunks.append(chunk)

    def cut_items(self) -> None:
        """Make all behind the last item zero: what a crash or a cut left. Raises `OSError`."""
        file = self._files.open_to_write(self.path)
        file.truncate(self._item_at(self.header.item_count))
        file.truncate(file_size(self._slots, self._items))
        self._reserved = 0

    # -- putting ----------------------------------------------------------------------------------

    def put(self, rows: Sequence[Row]) -> None:
        """Add keys in the order of the log; at most `room`. Raises `OSError`, nothing changed then.

        About 0.6 µs a key; the items go to the page cache with one write.
        """
        assert 0 < len(rows) <= self.room, "a full file"
        self._reserve(self.header.item_count + len(rows))
        begin_ms, _, begin_physical, _, used, number = self.header
        if number == 1:
            _, begin_physical, begin_ms = rows[0]
        position = self._item_at(number)
        data, pack = bytearray(), ITEM.pack
        changed, slots = self.changed, self._slots
        for key_hash, physical, stored_ms in rows:
            slot = key_hash % slots
            chunk = self._chunk(slot)
            previous = chunk[slot & CHUNK - 1]
            seconds = (stored_ms - begin_ms) // 1000 if begin_ms > 0 else 0
            if not 0 <= seconds <= SECONDS_MAX:
                seconds = 0 if seconds < 0 else SECONDS_MAX
            data += pack(key_hash, physical, seconds, previous)
            chunk[slot & CHUNK - 1] = changed[slot] = number
            used += not previous
            number += 1
        _, physical, stored_ms = rows[-1]
        self._files.open_to_write(self.path).write_at(position, data)
        self.header = Header(begin_ms, stored_ms, begin_physical, physical, used, number)

    def _reserve(self, number: int) -> None:
        if number > self._reserved:
            count = max(RESERVED_ITEMS, number - self.header.item_count)
            count = min(count, self._items - self.header.item_count)
            begin = self._item_at(self.header.item_count)
            self._files.open(self.path).reserve(begin, count * ITEM_BYTES)
            self._reserved = self.header.item_count + count

    def _chunk(self, slot: int) -> "array[int]":
        assert self._chunks is not None, "not the file that is written"
        chunk = self._chunks[slot >> CHUNK_SHIFT]
        if chunk is None:
            chunk = self._chunks[slot >> CHUNK_SHIFT] = array("i", bytes(CHUNK * SLOT.size))
        return chunk

    def set_slots(self, slots: "array[int]", values: "array[int]") -> None:
        """What a journal says of some slots; it will be in the next journal again."""
        for slot, value in zip(slots, values, strict=True):
            self._chunk(slot)[slot & CHUNK - 1] = self.changed[slot] = value

    def release(self) -> None:
        """The file is full and its slots are in it: no more need to have them in memory."""
        if not self.changed:
            self._chunks = None

    async def apply(self, header: Header, slots: dict[int, int]) -> None:
        """Write slots and header of a journal that is on disk. Raises `OSError`."""
        rest = iter(sorted(slots.items()))
        while part := [row for row, _ in zip(rest, range(APPLIED_AT_ONCE), strict=False)]:
            file = self._files.open_to_write(self.path)
            for slot, value in part:
                file.write_at(HEADER_BYTES + slot * SLOT.size, SLOT.pack(value))
            await trio.lowlevel.checkpoint()
        self._files.open_to_write(self.path).write_at(0, HEADER.pack(*header))

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
                    self.cut_items()
                return number - 1
            number -= 1
            slot = last.key_hash % self._slots
            self._chunk(slot)[slot & CHUNK - 1] = self.changed[slot] = last.previous
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
            return 0 if chunk is None else chunk[slot & CHUNK - 1]
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
