"""What a simulated disk holds: files as page cache and platter, names as cache and journal.

    write ──> cache ──(dirty operations, in order)──> durable
                          flush: all of them, or after EIO some, and the rest is forgotten
                          power loss: any part that a real disk could have written by itself

What a power loss may leave of a file's dirty operations 1…n (`Inode.lose_power`):

* Each 512-byte sector is whole: it holds its content after the first k operations that touch it,
  for a k of its own. So two writes far apart may arrive in either order (reordered), a long write
  in part (torn), and a sector never mixes a later write with a lost earlier one.
* The size is that after the first m operations: data beyond it is gone, a gap inside reads as zero.
* After a shrink that did not make it nothing later can stand beyond it.
* Half of the draws are the plain cases (all lost, all kept, cut at one moment): independent draws
  for many sectors would hardly ever give them.

A kill without power loss changes nothing here: the cache is the kernel's. That is why a page that
can be read after a restart may still not be on the platter.

A name (creation, removal, rename) is durable once each folder that it concerns was synced; before
that a power loss keeps or loses it whole. Folders exist as long as they have a durable name.
"""

from dataclasses import dataclass, field
from typing import Final, final

from broker_trio.runtime.paths import parent_of
from broker_trio.runtime.seams import Buffer, Entropy

SECTOR: Final = 512


@final
class Content:
    """Bytes of a file with a size of their own: what lies beyond `data` reads as zero."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytes = b"", size: int = 0) -> None:
        self.data = bytearray(data)
        self.size = size

    def put(self, position: int, data: Buffer) -> None:
        """Write without changing `size`."""
        if position > len(self.data):
            self.data.extend(bytes(position - len(self.data)))
        self.data[position : position + len(data)] = data

    def resize(self, size: int) -> None:
        del self.data[size:]
        self.size = size

    def read(self, position: int, size: int) -> bytes:
        end = min(position + size, self.size)
        if position >= end:
            return b""
        found = bytes(self.data[position:end])
        return found + bytes(end - position - len(found))


@dataclass(frozen=True, slots=True)
class Write:
    """A dirty write. `number` orders it among all operations on its file."""

    number: int
    position: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A dirty change of size by truncate or reserve."""

    number: int
    size: int


@final
class Inode:
    """One file. Costs memory up to its highest written byte."""

    def __init__(self, modified_ms: int) -> None:
        self.cache = Content()
        self.durable = Content()
        self.dirty: list[Write | Resize] = []
        self.allocated = 0  # bytes from its start that take space on the disk
        self.modified_ms = modified_ms
        self.number = 0  # of the last operation

    def write(self, position: int, data: Buffer) -> None:
        self.number += 1
        self.cache.put(position, data)
        self.cache.size = max(self.cache.size, position + len(data))
        self.dirty.append(Write(self.number, position, bytes(data)))

    def resize(self, size: int) -> None:
        self.number += 1
        self.cache.resize(size)
        self.dirty.append(Resize(self.number, size))

    def flushed(self, number: int) -> None:
        """All operations up to `number` reached the platter."""
        for operation in self._take(number):
            if isinstance(operation, Resize):
                self.durable.resize(operation.size)
            else:
                self.durable.put(operation.position, operation.data)
                end = operation.position + len(operation.data)
                self.durable.size = max(self.durable.size, end)

    def flush_failed(self, number: int, entropy: Entropy) -> None:
        """As Linux: the pages are clean now, some reached the platter, and the next fsync is OK."""
        self._write_some(self._take(number), entropy)

    def lose_power(self, entropy: Entropy) -> None:
        self._write_some(self._take(self.number), entropy)
        self.cache = Content(bytes(self.durable.data), self.durable.size)
        self.allocated = len(self.durable.data)

    def _take(self, number: int) -> list[Write | Resize]:
        taken = [one for one in self.dirty if one.number <= number]
        del self.dirty[: len(taken)]
        return taken

    def _write_some(self, operations: list[Write | Resize], entropy: Entropy) -> None:
        count = len(operations)
        if not count:
            return
        one = {"lost": 0, "kept": count, "moment": entropy.randint(0, count)}.get(
            entropy.choice(("lost", "kept", "moment", "torn", "torn", "torn"))
        )
        sizes = entropy.randint(0, count) if one is None else one  # the first so many resized it
        cuts: dict[int, int] = {}
        durable, limit = self.durable, None
        for index, operation in enumerate(operations):
            if isinstance(operation, Resize):
                if index < sizes:
                    durable.resize(operation.size)
                elif operation.size < durable.size:
                    limit = operation.size if limit is None else min(limit, operation.size)
                continue
            for at, piece in _sectors(operation, limit):
                sector = at // SECTOR
                if sector not in cuts:
                    cuts[sector] = entropy.randint(0, count) if one is None else one
                if index < cuts[sector]:
                    durable.put(at, piece)
            if index < sizes:
                durable.size = max(durable.size, operation.position + len(operation.data))
        del durable.data[durable.size :]


def _sectors(write: Write, limit: int | None) -> list[tuple[int, bytes]]:
    """The write cut at sector borders; nothing of it at or beyond `limit`."""
    end = write.position + len(write.data)
    if limit is not None:
        end = min(end, limit)
    pieces = []
    at = write.position
    while at < end:
        stop = min(end, at - at % SECTOR + SECTOR)
        pieces.append((at, write.data[at - write.position : stop - write.position]))
        at = stop
    return pieces


@dataclass(slots=True)
class _Change:
    """Names that change together, with the folders not yet synced since."""

    names: dict[str, Inode | None]
    waiting: list[str] = field(default_factory=list)


@final
class Names:
    """Which path is which file: now, and after a power loss."""

    def __init__(self) -> None:
        self.now: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}
        self._pending: list[_Change] = []

    def copy(self) -> "Names":
        """The same files, all of them durable."""
        other = Names()
        for path, inode in self.now.items():
            same = Inode(inode.modified_ms)
            for content in (same.cache, same.durable):
                content.data, content.size = bytearray(inode.cache.data), inode.cache.size
            same.allocated = inode.allocated
            other.now[path] = other.durable[path] = same
        return other

    def change(self, names: dict[str, Inode | None]) -> None:
        """Set or remove (None) several names as one atomic change."""
        _apply(self.now, names)
        folders = dict.fromkeys(parent_of(name) for name in names)
        self._pending.append(_Change(dict(names), list(folders)))

    def synced(self, folder: str) -> None:
        for change in list(self._pending):
            if folder in change.waiting:
                change.waiting.remove(folder)
                if not change.waiting:
                    self._commit(change)

    def _commit(self, change: _Change) -> None:
        """Make it durable; an older change that still waits must not undo it later."""
        _apply(self.durable, change.names)
        at = self._pending.index(change)
        for older in self._pending[:at]:
            for name in change.names:
                older.names.pop(name, None)
        del self._pending[at]

    def lose_power(self, entropy: Entropy) -> None:
        """Each change not yet durable is kept or lost; half of the time in the journal's order."""
        ordered = entropy.random() < 0.5
        kept = entropy.randint(0, len(self._pending))
        for index, change in enumerate(self._pending):
            if index < kept if ordered else entropy.random() < 0.5:
                _apply(self.durable, change.names)
        self._pending.clear()
        self.now = dict(self.durable)


def _apply(names: dict[str, Inode], change: dict[str, Inode | None]) -> None:
    for name, inode in change.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode
