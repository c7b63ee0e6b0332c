"""A simulated disk: the Disk seam over `sim_media`, with kills, power loss, errors and a full disk.

    disk = SimDisk(random.Random(seed))        a machine's disk, empty
    …a program opens files on it…
    disk.crash(power=True)                     from now every call of the program raises Dead
    disk.restart()                             the next program may use it; old handles stay dead

Waiting calls (`flush`, `read_at`, `replace`, `sync_folder`) sleep for a seeded time; under a Trio
MockClock that costs nothing. Nothing here uses a thread: virtual time would run past it.

`capacity_bytes`, `cold` and `slow` may be set at any time. Faults on demand: `disk.faults`.
"""

import errno
import os
from typing import Final, final

import trio

from broker_trio.runtime.paths import NAME_BYTES_MAX, check_folder, check_path, parent_of
from broker_trio.runtime.seams import Buffer, File, Stat, Usage
from broker_trio.testing.sim_device import FLUSH_S, SimDevice, folders_above
from broker_trio.testing.sim_file import SimFile
from broker_trio.testing.sim_media import Inode

LOCK_NAME: Final = "lock"


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


@final
class SimDisk(SimDevice):
    """One machine's disk as its processes see it."""

    def _find(self, path: str) -> Inode:
        inode = self._names.now.get(check_path(path))
        if inode is not None:
            return inode
        if path in self._folders:
            raise _error(errno.EISDIR, path)
        if any(folder in self._names.now for folder in folders_above(path)):
            raise _error(errno.ENOTDIR, path)
        raise _error(errno.ENOENT, path)

    def _make_folders(self, path: str) -> None:
        for folder in folders_above(path):
            if folder in self._names.now:
                raise _error(errno.ENOTDIR, folder)
            self._folders[folder] = None

    def open(self, path: str, *, create: bool = False) -> File:
        self.alive()
        try:
            inode = self._find(path)
        except FileNotFoundError:
            if not create:
                raise
            inode = self._create(path)
        return SimFile(self, path, inode)

    def _create(self, path: str) -> Inode:
        if max(len(name.encode()) for name in path.split("/")) > NAME_BYTES_MAX:
            raise _error(errno.ENAMETOOLONG, path)
        self.enter("create", path)
        self._make_folders(path)
        inode = Inode(self.now_ms())
        self._names.change({path: inode})
        self.done("create", path)
        return inode

    def exists(self, path: str) -> bool:
        self.alive()
        return check_path(path) in self._names.now or path in self._folders

    def list(self, folder: str) -> list[str]:
        self.alive()
        if check_folder(folder) in self._names.now:
            raise _error(errno.ENOTDIR, folder)
        found = [*self._names.now, *self._folders]
        return sorted(path.rpartition("/")[2] for path in found if parent_of(path) == folder)

    def stat(self, path: str) -> Stat:
        self.alive()
        inode = self._find(path)
        return Stat(inode.cache.size, inode.modified_ms)

    def read(self, path: str) -> bytes:
        self.enter("read", path)
        inode = self._find(path)
        return inode.cache.read(0, inode.cache.size)

    async def replace(self, path: str, data: Buffer) -> None:
        self.alive()
        check_path(path)
        held = bytes(data)
        async with self._replacing:
            # Shielded as a worker thread is: once begun it runs to its end. Waits are short, and a
            # crash ends them even while the device hangs.
            with trio.CancelScope(shield=True):
                beside = path + ".tmp"
                file = self.open(beside, create=True)
                if file.size():
                    file.truncate(0)
                file.write_at(0, held)
                await file.flush()
                self.rename(beside, path)
                await self.sync_folder(parent_of(path))

    def rename(self, old: str, new: str) -> None:
        self.enter("rename", old)
        check_path(new)
        if old in self._folders:
            moved = self._rename_folder(old, new)
        elif new in self._folders:
            raise _error(errno.EISDIR, new)
        else:
            moved = {old: None, new: self._find(old)}
            self._make_folders(new)
        if old != new:
            self._names.change(moved)
            self._count_used()
        self.done("rename", old)

    def _rename_folder(self, old: str, new: str) -> dict[str, Inode | None]:
        if new in self._names.now:
            raise _error(errno.ENOTDIR, new)
        if old != new and self.list(new):
            raise _error(errno.ENOTEMPTY, new)
        moved: dict[str, Inode | None] = {}
        for path in [path for path in self._names.now if path.startswith(f"{old}/")]:
            moved[path] = None
            moved[new + path[len(old) :]] = self._names.now[path]
        for folder in [one for one in self._folders if one == old or one.startswith(f"{old}/")]:
            del self._folders[folder]
            self._folders[new + folder[len(old) :]] = None
        self._make_folders(new)
        return moved

    def unlink(self, path: str) -> None:
        self.enter("unlink", path)
        if path in self._folders:
            if self.list(path):
                raise _error(errno.ENOTEMPTY, path)
            del self._folders[path]
        else:
            self._find(path)
            self._names.change({path: None})
            self._count_used()
        self.done("unlink", path)

    async def sync_folder(self, folder: str) -> None:
        self.alive()
        if check_folder(folder) and folder not in self._folders:
            raise _error(errno.ENOENT, folder)
        await self.wait(FLUSH_S)
        self.enter("sync", folder)
        self.done("sync", folder)
        self._names.synced(folder)
        self.done("sync", folder)

    def usage(self) -> Usage:
        self.alive()
        return Usage(self.capacity_bytes, max(0, self.capacity_bytes - self._used_bytes))

    def lock(self) -> None:
        self.alive()
        if self._locked:
            raise BlockingIOError(errno.EAGAIN, "another process has this store", self.root)
        file = self.open(LOCK_NAME, create=True)
        if not file.size() and self._used_bytes < self.capacity_bytes:
            file.write_at(0, b"lock")
        self._locked = True
