"""One open file of a SimDisk: the File seam over an inode's page cache and dirty operations.

Writes are in the cache when they return and dirty until a flush that began later has ended. A
flush that fails with EIO leaves the pages readable and clean, so the next flush says OK though
their data never arrived: what fsyncgate taught, and why a caller must not try twice.
"""

import errno
import os
from collections.abc import Sequence
from typing import final

import trio

from broker_trio.runtime.seams import Buffer
from broker_trio.testing.disk_faults import Dead, Kind
from broker_trio.testing.sim_device import FLUSH_S, READ_S, SimDevice
from broker_trio.testing.sim_media import Inode


@final
class SimFile:
    """Made by `SimDisk.open` only; dead for ever once its process was killed."""

    def __init__(self, disk: SimDevice, path: str, inode: Inode) -> None:
        self._disk, self._path, self._inode = disk, path, inode
        self._boot = disk.boot
        self._closed = False

    @property
    def path(self) -> str:
        return self._path

    def _alive(self) -> Inode:
        if self._boot != self._disk.boot:
            raise Dead
        self._disk.alive()
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._path)
        return self._inode

    def _enter(self, kind: Kind) -> Inode:
        self._alive()
        self._disk.enter(kind, self._path)
        return self._inode

    def size(self) -> int:
        return self._alive().cache.size

    def write_at(self, position: int, data: Buffer) -> None:
        disk, inode = self._disk, self._alive()
        try:
            disk.enter("write", self._path)
            disk.allocate(inode, position + len(data), self._path)
        except OSError:  # the kernel may have taken a part before it failed
            self._write_part(position, data)
            raise
        if disk.faults.next_is_last:  # killed inside the call: likewise
            self._write_part(position, data)
        else:
            self._write(position, data)
        disk.done("write", self._path)

    def _write_part(self, position: int, data: Buffer) -> None:
        part = self._disk.entropy.randint(0, len(data))
        room = self._inode.allocated - position  # a part never takes new space: the disk is full
        self._write(position, data[: max(0, min(part, room))])

    def _write(self, position: int, data: Buffer) -> None:
        self._inode.write(position, data)
        self._inode.modified_ms = self._disk.now_ms()

    def write_parts_at(self, position: int, parts: Sequence[Buffer]) -> None:
        self.write_at(position, b"".join(parts))

    def read_at_nowait(self, position: int, size: int) -> bytes:
        inode = self._enter("read")
        if self._disk.cold and self._disk.entropy.random() < self._disk.cold:
            raise trio.WouldBlock
        return inode.cache.read(position, size)

    async def read_at(self, position: int, size: int) -> bytes:
        self._enter("read")
        await self._disk.wait(READ_S)
        return self._inode.cache.read(position, size)

    def read_at_blocking(self, position: int, size: int) -> bytes:
        return self._enter("read").cache.read(position, size)

    def reserve(self, position: int, size: int) -> None:
        inode = self._enter("reserve")
        self._disk.allocate(inode, position + size, self._path)
        if position + size > inode.cache.size:
            inode.resize(position + size)
        self._disk.done("reserve", self._path)

    def truncate(self, size: int) -> None:
        inode = self._enter("truncate")
        inode.resize(size)
        self._disk.release(inode, size)
        inode.modified_ms = self._disk.now_ms()
        self._disk.done("truncate", self._path)

    async def flush(self) -> None:
        """As the seam says; cancelled, the data stay dirty, so a crash may keep or lose them."""
        disk, inode = self._disk, self._alive()
        number = inode.number
        await disk.wait(FLUSH_S)
        try:
            disk.enter("flush", self._path)
        except OSError:
            inode.flush_failed(number, disk.entropy)
            raise
        disk.done("flush", self._path)
        inode.flushed(number)
        disk.done("flush", self._path)

    def close(self) -> None:
        """Harmless on a dead disk too: it changes nothing."""
        self._closed = True
