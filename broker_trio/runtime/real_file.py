"""One open file of a RealDisk: positioned reads and writes on a descriptor.

Writes loop until complete: the kernel may take less than it was given (a signal, a full disk, the
2 GiB limit of one call), and a short write that went unnoticed would be a hole in the log. Reads
loop as well, because RWF_NOWAIT answers the cached head of a range whose tail is cold: such an
answer is short *inside* the file, which the caller must not take for its end.

Worker threads use a duplicate of the descriptor, made in the thread under the file's lock: `close`
on the loop can neither pull the descriptor away from under them nor leave them with its number
after somebody else got it. The lock is held for one `dup` or `close`, never during I/O.
"""

import errno
import os
import threading
from collections.abc import Sequence
from typing import Final, final

import trio

from broker_trio.runtime.seams import Buffer

PARTS_MAX: Final = 1024  # IOV_MAX of Linux and macOS
SCRATCH_BYTES: Final = 512 << 10  # twice the largest pull reply; larger reads allocate
HOT_WINDOW_BYTES: Final = 4 << 20  # see disk.py: the own tail that is surely cached
RWF_NOWAIT: Final = getattr(os, "RWF_NOWAIT", 0)
_fdatasync: Final = getattr(os, "fdatasync", os.fsync)


class Threads:
    """Limits on a disk's worker threads, one per kind so that none starves another.

    Flushes: the log and its derived files at once. Reads: more would only queue in the device.
    """

    def __init__(self) -> None:
        self.flush = trio.CapacityLimiter(8)
        self.read = trio.CapacityLimiter(16)
        self.metadata = trio.CapacityLimiter(4)
        # For read_at_nowait, which only ever runs on the loop and never awaits.
        self.scratch = memoryview(bytearray(SCRATCH_BYTES))


def _read_whole(descriptor: int, position: int, size: int) -> bytes:
    """Up to `size` bytes; never allocates more than the file could give."""
    size = min(size, os.fstat(descriptor).st_size - position)
    if size <= 0:
        return b""
    data = os.pread(descriptor, size, position)
    if len(data) == size or not data:
        return data
    parts = [data]
    at = len(data)
    while at < size and (data := os.pread(descriptor, size - at, position + at)):
        parts.append(data)
        at += len(data)
    return b"".join(parts)


@final
class RealFile:
    """A file of a RealDisk; made by `RealDisk.open` only."""

    def __init__(
        self, path: str, full: str, descriptor: int, threads: Threads, *, nowait: bool
    ) -> None:
        self._path, self._full, self._descriptor = path, full, descriptor
        self._threads = threads
        self._closing = threading.Lock()
        self._nowait = nowait
        self._hot_from = self._hot_to = 0  # what we appended last; kept only without RWF_NOWAIT

    @property
    def path(self) -> str:
        return self._path

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def write_at(self, position: int, data: Buffer) -> None:
        size = len(data)
        try:
            done = os.pwrite(self._descriptor, data, position)
            if done < size:
                rest = memoryview(data)
                while done < size:
                    done += os.pwrite(self._descriptor, rest[done:], position + done)
        except OSError as error:
            error.filename = self._full
            raise
        if not self._nowait:
            self._appended(position, size)

    def write_parts_at(self, position: int, parts: Sequence[Buffer]) -> None:
        at = position
        try:
            for begin in range(0, len(parts), PARTS_MAX):
                chunk = parts[begin : begin + PARTS_MAX]
                size = sum(map(len, chunk))
                done = os.pwritev(self._descriptor, chunk, at)
                if done < size:  # rare: write the rest of this chunk as one buffer
                    rest = memoryview(b"".join(chunk))
                    while done < size:
                        done += os.pwrite(self._descriptor, rest[done:], at + done)
                at += size
        except OSError as error:
            error.filename = self._full
            raise
        if not self._nowait:
            self._appended(position, at - position)

    def _appended(self, position: int, size: int) -> None:
        if position != self._hot_to:
            self._hot_from = position
        self._hot_to = position + size
        self._hot_from = max(self._hot_from, self._hot_to - HOT_WINDOW_BYTES)

    def read_at_nowait(self, position: int, size: int) -> bytes:
        if not self._nowait:
            return self._read_hot_window(position, size)
        if size > SCRATCH_BYTES:
            size = max(0, min(size, self.size() - position))
        buffer = self._threads.scratch
        if size > SCRATCH_BYTES:
            buffer = memoryview(bytearray(size))
        done = 0
        try:
            while done < size:
                more = os.preadv(self._descriptor, [buffer[done:size]], position + done, RWF_NOWAIT)
                if more == 0:
                    break
                done += more
        except BlockingIOError:
            raise trio.WouldBlock from None
        except OSError as error:
            error.filename = self._full
            raise
        return bytes(buffer[:done])

    def _read_hot_window(self, position: int, size: int) -> bytes:
        end = min(position + size, self.size())
        if position < end and not (self._hot_from <= position and end <= self._hot_to):
            raise trio.WouldBlock
        return _read_whole(self._descriptor, position, size)

    async def read_at(self, position: int, size: int) -> bytes:
        """As the seam says. Cancelled: the thread reads to its end and its bytes are dropped."""

        def work() -> bytes:
            descriptor = self._duplicate()
            try:
                return _read_whole(descriptor, position, size)
            except OSError as error:
                error.filename = self._full
                raise
            finally:
                os.close(descriptor)

        return await trio.to_thread.run_sync(
            work, abandon_on_cancel=True, limiter=self._threads.read
        )

    def _duplicate(self) -> int:
        with self._closing:
            return os.dup(self._descriptor)

    def read_at_blocking(self, position: int, size: int) -> bytes:
        return _read_whole(self._descriptor, position, size)

    def reserve(self, position: int, size: int) -> None:
        """As the seam says; the file's size becomes at least `position + size`.

        Free space is asked first: a fallocate that fails half-way keeps what it got (ext4, tried),
        so the last free bytes, which topics and offsets need, would be gone by a mere question.
        """
        before = os.fstat(self._descriptor)
        file_system = os.fstatvfs(self._descriptor)
        # Exact for files filled from their start, as all of ours are.
        missing = min(size, position + size - before.st_blocks * 512)
        if missing > file_system.f_bavail * file_system.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._full)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._descriptor, position, size)
            elif before.st_size < position + size:  # macOS: no such promise there, only the size
                os.ftruncate(self._descriptor, position + size)
        except OSError as error:
            error.filename = self._full
            if self.size() > before.st_size:  # somebody else was faster: give back what we got
                os.ftruncate(self._descriptor, before.st_size)
            raise

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self._hot_to = min(self._hot_to, size)
        self._hot_from = min(self._hot_from, self._hot_to)

    async def flush(self) -> None:
        """As the seam says; a file closed before the thread began is EBADF, and was not flushed."""

        def work() -> None:
            descriptor = self._duplicate()
            try:
                _fdatasync(descriptor)
            except OSError as error:
                error.filename = self._full
                raise
            finally:
                os.close(descriptor)

        await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads.flush)

    def close(self) -> None:
        """Safe to call twice; every other call afterwards fails with EBADF."""
        with self._closing:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor != -1:
                os.close(descriptor)
