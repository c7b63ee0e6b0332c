"""The Disk seam on a real folder: who may block the loop, and who may not.

    call                     where it runs      waits for the device?
    write_at, write_parts    the loop           no: page cache (the callers bound dirty bytes)
    read_at_nowait           the loop           no: WouldBlock instead
    reserve, truncate, open,
    rename, unlink, list     the loop           metadata, normally cached; short
    read, read_at_blocking   the loop           yes: small files, and recovery before any door opens
    read_at                  a worker thread    yes
    flush                    a worker thread    yes
    replace, sync_folder     a worker thread    yes

Reads that must not wait use `preadv(RWF_NOWAIT)`. tmpfs, overlayfs and systems other than Linux do
not have it. That is found out once, when the disk is made (`nowait_supported`); a read there is
served on the loop only inside the window of bytes that this process itself appended last to the
file, which are in the page cache unless memory is very short. Everything else raises WouldBlock
there and so goes to a worker thread. The window keeps consumers at the tail fast; without it every
pull on such a disk would cost two thread switches.

Work that a cancelled caller abandons (flush, read_at) goes on in its thread; `replace` and
`sync_folder` make their caller wait, because two of them at once on one name would mix.
After EIO nothing is retried here: Linux marks the pages clean, so a second fsync would lie.
"""

import errno
import fcntl
import os
from typing import Final, final

import trio

from broker_trio.runtime.paths import ancestors, check_folder, check_path, parent_of
from broker_trio.runtime.real_file import RealFile, Threads
from broker_trio.runtime.seams import Buffer, File, Stat, Usage

FILE_MODE: Final = 0o640
FOLDER_MODE: Final = 0o750
LOCK_NAME: Final = "lock"
BOOT_ID_PATH: Final = "/proc/sys/kernel/random/boot_id"
LOCK_CONTENT: Final = b"lock"


def _fsync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_if_room(descriptor: int, data: bytes) -> None:
    """For content that nobody reads: a full disk is no reason not to open a store."""
    try:
        os.pwrite(descriptor, data, 0)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise


def _write_whole(path: str, data: Buffer) -> None:
    """Write a new file and fsync it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    try:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(descriptor)


@final
class RealDisk:
    """A folder of this host; made, with its missing parents, where it does not exist.

    `nowait_supported`: whether its file system tells hot reads from cold ones (`doctor` shows it).
    """

    def __init__(self, root: str, *, nowait: bool = True) -> None:
        self._root = os.path.abspath(root)
        self._lock_descriptor: int | None = None
        # Folders whose own entry is durable for sure. Others may have been made by a process that
        # was killed before it synced them, so "exists" proves nothing. Bounded by the store's tree.
        self._durable_folders: set[str] = set()
        self._threads = Threads()
        self._replacing = trio.Lock()  # one temporary name per path; the last caller's data wins
        if not os.path.isdir(self._root):
            os.makedirs(self._root, mode=FOLDER_MODE, exist_ok=True)
            _fsync_folder(os.path.dirname(self._root))
        self.nowait_supported = nowait and self._probe_nowait()

    @property
    def root(self) -> str:
        return self._root

    def _probe_nowait(self) -> bool:
        """Ask the file system itself; the kernel refuses the flag before it looks at any byte."""
        flag = getattr(os, "RWF_NOWAIT", None)
        if flag is None:
            return False
        path = os.path.join(self._root, f".nowait-{os.getpid()}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            os.unlink(path)
            os.preadv(descriptor, [bytearray(1)], 0, flag)
        except OSError as error:
            if error.errno in {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}:
                return False
            if error.errno != errno.EAGAIN:
                raise
        finally:
            os.close(descriptor)
        return True

    def _full(self, path: str) -> str:
        return os.path.join(self._root, check_path(path))

    def _folder(self, folder: str) -> str:
        return os.path.join(self._root, check_folder(folder)) if folder else self._root

    def _make_folders(self, folder: str) -> None:
        for name in ancestors(folder):
            try:
                os.mkdir(os.path.join(self._root, name), FOLDER_MODE)
            except FileExistsError:
                continue
            self._durable_folders.discard(name)

    def open(self, path: str, *, create: bool = False) -> File:
        full = self._full(path)
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            descriptor = os.open(full, flags)
        except FileNotFoundError:
            if not create:
                raise
            self._make_folders(parent_of(path))
            descriptor = os.open(full, flags | os.O_CREAT, FILE_MODE)
        return RealFile(path, full, descriptor, self._threads, nowait=self.nowait_supported)

    def exists(self, path: str) -> bool:
        return os.path.exists(self._full(path))

    def list(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(self._folder(folder)))
        except FileNotFoundError:
            return []

    def stat(self, path: str) -> Stat:
        full = self._full(path)
        if os.path.isdir(full):
            raise IsADirectoryError(errno.EISDIR, "a folder has no size", full)
        found = os.stat(full)
        return Stat(found.st_size, found.st_mtime_ns // 1_000_000)

    def read(self, path: str) -> bytes:
        with open(self._full(path), "rb", buffering=0) as file:
            return file.readall()

    async def replace(self, path: str, data: Buffer) -> None:
        """As the seam says; calls are served in their order, so the last one's data stays.

        Cancelled while waiting for its turn: nothing happened. Once begun it runs to its end.
        """
        full = self._full(path)
        folder = parent_of(path)
        held = bytes(data)  # the caller may reuse its buffer while the thread writes

        async with self._replacing:
            self._make_folders(folder)
            sync = self._folders_to_sync(folder)

            def work() -> None:
                beside = full + ".tmp"
                _write_whole(beside, held)
                os.rename(beside, full)
                for one in sync.values():
                    _fsync_folder(one)

            await trio.to_thread.run_sync(work, limiter=self._threads.metadata)
        self._durable_folders.update(ancestors(folder))

    def rename(self, old: str, new: str) -> None:
        source, target = self._full(old), self._full(new)
        self._make_folders(parent_of(new))
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        full = self._full(path)
        try:
            os.unlink(full)
        except (IsADirectoryError, PermissionError):  # macOS answers EPERM for a folder
            os.rmdir(full)
            self._durable_folders.discard(path)

    async def sync_folder(self, folder: str) -> None:
        """As the seam says; the folders on the way to it become durable as well."""
        sync = self._folders_to_sync(folder)

        def work() -> None:
            for path in sync.values():
                _fsync_folder(path)

        await trio.to_thread.run_sync(work, limiter=self._threads.metadata)
        self._durable_folders.update(ancestors(folder))

    def _folders_to_sync(self, folder: str) -> dict[str, str]:
        """The folder, and the parents up from it of all that are not surely durable; innermost
        first, name to full path."""
        found = {folder: self._folder(folder)}
        for name in reversed(list(ancestors(folder))):
            if name in self._durable_folders:
                break
            parent = parent_of(name)
            found[parent] = self._folder(parent)
        return found

    def usage(self) -> Usage:
        found = os.statvfs(self._root)
        used = found.f_blocks - found.f_bfree
        size = used + found.f_bavail  # without what is kept from us: full is when nothing is left
        return Usage(size * found.f_frsize, found.f_bavail * found.f_frsize)

    @property
    def cache_life(self) -> str:
        """The kernel's boot id, which all processes and containers of a host share."""
        try:
            with open(BOOT_ID_PATH) as file:
                return file.read().strip()
        except OSError:
            return ""

    def lock(self) -> None:
        """Two locks on one file: `lockf` on byte 0 keeps a Java broker out, `flock` a second disk
        of this very process, which POSIX locks do not see."""
        full = os.path.join(self._root, LOCK_NAME)
        descriptor = os.open(full, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
            if os.fstat(descriptor).st_size == 0:
                _write_if_room(descriptor, LOCK_CONTENT)
        except OSError as error:
            os.close(descriptor)
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                raise BlockingIOError(
                    errno.EAGAIN, "another process has this store", full
                ) from error
            raise
        self._lock_descriptor = descriptor

    def close(self) -> None:
        """Give the lock back. A process that ends need not; a test that starts again must."""
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None
