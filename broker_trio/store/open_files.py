"""Few descriptors for many files: thousands of queues, of which some hundreds are in use.

Files open when first used and close when `files_max` others were used since (least recently used
first). Whoever waits inside a file pins it for that long: an eviction in between would close the
descriptor under a worker thread that has not begun yet. A pinned file never closes; one that was
dropped meanwhile (its queue was deleted) closes with its last pin. Only pins can take the number of
open files past the limit, and they are bounded by the reads and flushes under way.

Closing a file that was written and not flushed loses nothing: its dirty pages belong to the file,
not to the descriptor, and `flush` opens it again.

What was written and what was created is noted by path, so that `flush_touched` costs what was
touched. A flush that fails or is cancelled gives its paths back to the next one.
"""

from typing import Final, final

import trio

from broker_trio.runtime.seams import Disk, File

OPEN_FILES_MAX: Final = 512
"""Half of the usual soft limit on descriptors; the other half is for the log and connections."""
FLUSHES_AT_ONCE: Final = 4  # half of the disk's flush threads: the log must not wait for these


@final
class _Held:
    __slots__ = ("dropped", "file", "pins")

    def __init__(self, file: File) -> None:
        self.file = file
        self.pins = 0
        self.dropped = False


@final
class OpenFiles:
    """Open files of one Disk by path, the least recently used first."""

    def __init__(self, disk: Disk, files_max: int = OPEN_FILES_MAX) -> None:
        self.disk, self._files_max = disk, files_max
        self._held: dict[str, _Held] = {}
        self._written: set[str] = set()
        self._folders: set[str] = set()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def is_touched(self) -> bool:
        """Whether `flush_touched` has anything to do."""
        return bool(self._written or self._folders)

    def open(self, path: str) -> File:
        """The open file, for use before the next await. Raises `FileNotFoundError`."""
        return self._get(path).file

    def open_to_write(self, path: str) -> File:
        """The same, noted for the next flush."""
        self._written.add(path)
        return self._get(path).file

    def create(self, folder: str, path: str, size: int) -> File:
        """A new file of that length, all zero and sparse. Raises `OSError`."""
        file = self._get(path, create=True).file
        file.truncate(size)
        self._written.add(path)
        self._folders.add(folder)
        return file

    def _get(self, path: str, *, create: bool = False) -> _Held:
        held = self._held.pop(path, None)
        if held is None:
            held = _Held(self.disk.open(path, create=create))
            if len(self._held) >= self._files_max:
                self._evict()
        self._held[path] = held
        return held

    def _evict(self) -> None:
        victim = next((path for path, held in self._held.items() if not held.pins), None)
        if victim is not None:
            self._held.pop(victim).file.close()

    async def read(self, path: str, position: int, size: int) -> bytes:
        """`File.read_at`, pinned. Raises `FileNotFoundError` where it was deleted."""
        held = self._get(path)
        held.pins += 1
        try:
            return await held.file.read_at(position, size)
        finally:
            self._unpin(held)

    async def _flush(self, path: str) -> None:
        try:
            held = self._get(path)
        except FileNotFoundError:
            return  # deleted since it was written: nothing of it has to last
        held.pins += 1
        try:
            await held.file.flush()
        finally:
            self._unpin(held)

    async def flush_touched(self) -> None:
        """Make all that was written and created before this call durable. Raises `OSError`."""
        written, self._written = self._written, set()
        folders, self._folders = self._folders, set()
        finished = False
        try:
            await self._flush_all(sorted(written))
            for folder in sorted(folders):
                if folder in self._folders or self.disk.exists(folder):
                    await self.disk.sync_folder(folder)
            finished = True
        finally:
            if not finished:
                self._written |= written
                self._folders |= folders

    async def _flush_all(self, paths: list[str]) -> None:
        """Several at once: each is a wait of its own for the device. The first error counts."""
        if len(paths) < FLUSHES_AT_ONCE:
            for path in paths:
                await self._flush(path)
            return
        rest = iter(paths)
        failures: list[OSError] = []

        async def work() -> None:
            for path in rest:
                try:
                    await self._flush(path)
                except OSError as error:
                    failures.append(error)
                    return

        async with trio.open_nursery() as nursery:
            for _ in range(FLUSHES_AT_ONCE):
                nursery.start_soon(work)
        if failures:
            raise failures[0]

    def _unpin(self, held: _Held) -> None:
        held.pins -= 1
        if held.dropped and not held.pins:
            held.file.close()

    def unlink(self, folder: str, path: str) -> None:
        """Remove a file; who reads it goes on doing so. Raises `OSError`."""
        self._drop(path)
        self._written.discard(path)
        self._folders.add(folder)
        self.disk.unlink(path)

    def touch_folder(self, folder: str) -> None:
        """Names in it may not be durable: the next flush sees to it."""
        self._folders.add(folder)

    def remove_folder(self, parent: str, folder: str) -> None:
        """Remove a folder if it is there and empty. Raises `OSError`."""
        self._folders.discard(folder)
        if self.disk.exists(folder) and not self.disk.list(folder):
            self.disk.unlink(folder)
            self._folders.add(parent)

    def _drop(self, path: str) -> None:
        held = self._held.pop(path, None)
        if held is not None:
            held.dropped = True
            if not held.pins:
                held.file.close()

    def close(self) -> None:
        """Close what nobody waits in; the rest closes as its readers leave."""
        for path in list(self._held):
            self._drop(path)
