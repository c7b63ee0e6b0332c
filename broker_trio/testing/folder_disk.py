"""A real folder as the disk of a program in a test: it can be killed under it, and be full.

    disk = FolderDisk(str(tmp_path))       a Disk over RealDisk
    disk.full = True                       nothing more can be allocated; reads go on
    disk.crash(); disk.restart()           handles of the life before raise Dead, the lock is free

What a test reads is in the page cache, so that every read is served on the loop. There is no power
loss: the kernel keeps what was written. Tests that need one use the disk in memory.
"""

import errno
import os
from collections.abc import Sequence
from typing import final

from broker_trio.runtime.disk import RealDisk
from broker_trio.runtime.seams import Buffer, File, Stat, Usage
from broker_trio.testing.disk_faults import Dead


@final
class FolderFile:
    """Made by `FolderDisk.open` only; dead for ever once its process was killed."""

    def __init__(self, file: File, disk: "FolderDisk") -> None:
        self._file, self._disk, self._life = file, disk, disk.life
        disk.files[self] = None

    @property
    def path(self) -> str:
        return self._file.path

    def _alive(self) -> File:
        if self._life != self._disk.life:
            raise Dead
        return self._file

    def size(self) -> int:
        return self._alive().size()

    def write_at(self, position: int, data: Buffer) -> None:
        self._alive().write_at(position, data)

    def write_parts_at(self, position: int, parts: Sequence[Buffer]) -> None:
        self._alive().write_parts_at(position, parts)

    def read_at_nowait(self, position: int, size: int) -> bytes:
        return self._alive().read_at_blocking(position, size)

    async def read_at(self, position: int, size: int) -> bytes:
        return await self._alive().read_at(position, size)

    def read_at_blocking(self, position: int, size: int) -> bytes:
        return self._alive().read_at_blocking(position, size)

    def reserve(self, position: int, size: int) -> None:
        file = self._alive()
        if position + size > file.size():
            self._disk.check_space(file.path)
        file.reserve(position, size)

    def truncate(self, size: int) -> None:
        self._alive().truncate(size)

    async def flush(self) -> None:
        await self._alive().flush()
        self._alive()

    def close(self) -> None:
        self._disk.files.pop(self, None)
        self._file.close()


@final
class FolderDisk:
    """The Disk of one program, over all of its lives."""

    def __init__(self, root: str) -> None:
        self._path = root
        self._disk = RealDisk(root)
        self.life = 0  # grows by each crash: handles of an earlier one are dead
        self.up = True
        self.full = False
        self.files: dict[FolderFile, None] = {}  # open ones: a kernel closes those of the dead

    # ---- the machine's side

    def crash(self) -> None:
        """kill -9: the process's handles are dead and closed, and its lock is gone."""
        self.life += 1
        self.up = False
        for file in list(self.files):
            file.close()
        self._disk.close()

    def restart(self) -> None:
        """Serve the next process."""
        self.crash()
        self._disk = RealDisk(self._path)
        self.up = True

    def check_space(self, path: str) -> None:
        """Raises `OSError(ENOSPC)` while the disk is full."""
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{self._path}/{path}")

    # ---- the Disk seam

    @property
    def root(self) -> str:
        return self._disk.root

    def _alive(self) -> RealDisk:
        if not self.up:
            raise Dead
        return self._disk

    def open(self, path: str, *, create: bool = False) -> File:
        disk = self._alive()
        if self.full and create and not disk.exists(path):
            self.check_space(path)
        return FolderFile(disk.open(path, create=create), self)

    def exists(self, path: str) -> bool:
        return self._alive().exists(path)

    def list(self, folder: str) -> list[str]:
        return self._alive().list(folder)

    def stat(self, path: str) -> Stat:
        return self._alive().stat(path)

    def read(self, path: str) -> bytes:
        return self._alive().read(path)

    async def replace(self, path: str, data: Buffer) -> None:
        self._alive()
        self.check_space(path)
        await self._disk.replace(path, data)

    def rename(self, old: str, new: str) -> None:
        self._alive().rename(old, new)

    def unlink(self, path: str) -> None:
        self._alive().unlink(path)

    async def sync_folder(self, folder: str) -> None:
        await self._alive().sync_folder(folder)

    def usage(self) -> Usage:
        """Half full, however full the developer's own disk is: a broker would refuse at 90 %."""
        total = self._alive().usage().total
        return Usage(total, 0 if self.full else total // 2)

    @property
    def cache_life(self) -> str:
        return self._alive().cache_life

    def lock(self) -> None:
        self._alive().lock()
