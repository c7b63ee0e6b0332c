"""How the broker's small tables reach the disk and come back: one discipline for all of them.

    load      <name>  ──undecodable or missing──▶  <name>.bak  ──the same──▶  empty, or refuse
    persist   encode ─▶ replace <name>.bak by what <name> holds ─▶ replace <name>

`Disk.replace` writes beside, fsyncs, renames and fsyncs the folder, so that each of the two files
is always old or new. The copy to `.bak` is made only of content that decoded: a damaged main file
never overwrites a good copy of itself.

What is kept true, and which accident it comes from (storage.md §14.1 row 8):

* Nothing is written before `load` finished: Apache once wrote an empty table over the real one.
* Where a log has records, a table that exists and does not decode stops the start. An empty table
  would silently lose every topic or offset; a person can put a copy back, or write `{}` on purpose.
* A change that comes while a write is under way is written by the next round: versions are counted,
  so that a failed or cancelled write leaves the table dirty by itself.
* A failed write ends the process (`StoreFailed`), except for a full disk: the table stays dirty,
  the log says so once, and the next round tries again.
"""

import errno
from collections.abc import Callable, Sequence
from typing import Final, TypeVar, final

import structlog
import trio

from broker_trio.model.errors import RemoteProtocolError, StoreCorrupt, StoreFailed
from broker_trio.runtime.seams import Disk

log = structlog.get_logger()

T = TypeVar("T")
FILE_SIZE_MAX: Final = 256 << 20  # bytes; a larger table file is not read into memory
IDLE_S: Final = 3600.0  # longest sleep; a change wakes it
RETRY_S: Final = 1.0  # pause after the disk had no space


@final
class MetadataFile:
    """One table's file, e.g. `config/topics.json`: the table owns the values, this the bytes."""

    def __init__(self, disk: Disk, path: str, *, interval_s: float = 0.0) -> None:
        """`interval_s`: how long a change may wait for its write; 0 means as soon as possible."""
        self._disk = disk
        self.path = path
        self.interval_s = interval_s
        self._encode: Callable[[], bytes] | None = None
        self._main_decodes = False
        self._changed = 0
        self._persisted = 0
        self._writing = trio.Lock()
        self.writes = 0
        self.refused_for_space = 0
        self.on_touch: Callable[[], None] = _nothing

    @property
    def dirty(self) -> bool:
        return self._changed != self._persisted

    def load(
        self,
        decode: Callable[[bytes], T],
        encode: Callable[[], bytes],
        *,
        log_is_empty: bool,
        required: bool = False,
    ) -> T | None:
        """The decoded table, or None where there is nothing to start from. Runs on the loop.

        `decode` raises `RemoteProtocolError` for bytes that are no such table. `required`: the file
        cannot be missing once the log has records. Raises `StoreCorrupt` in the cases that a person
        must decide.
        """
        assert self._encode is None, f"{self.path} loaded twice"
        main, main_problem = self._read(self.path, decode)
        value, problem = main, main_problem
        if value is None:
            value, bak_problem = self._read(self.path + ".bak", decode)
            problem = problem or bak_problem
            if value is not None and main_problem:
                log.warning("metadata.backup_used", path=self.path, problem=main_problem)
        if value is None and not log_is_empty and (problem or required):
            raise StoreCorrupt(
                f"{self._disk.root}/{self.path}",
                0,
                f"{problem or 'missing'}, no usable copy in .bak, and the log holds messages; "
                "put a copy of the file back, or write {} into it to start with an empty table",
            )
        if value is None and problem:
            log.warning("metadata.started_empty", path=self.path, problem=problem)
        self._main_decodes = main is not None
        self._encode = encode
        return value

    def _read(self, path: str, decode: Callable[[bytes], T]) -> tuple[T | None, str]:
        """The value, or None with the reason; an absent file has no reason."""
        if not self._disk.exists(path):
            return None, ""
        if self._disk.stat(path).size > FILE_SIZE_MAX:
            return None, f"larger than {FILE_SIZE_MAX} bytes"
        data = self._disk.read(path)
        if not data.strip():
            return None, "the file is empty"
        try:
            return decode(data), ""
        except RemoteProtocolError as error:
            return None, f"does not decode: {error}"

    def touch(self) -> None:
        """The table changed: write it within `interval_s`."""
        was_clean = self._changed == self._persisted
        self._changed += 1
        if was_clean:
            self.on_touch()

    async def persist_if_dirty(self) -> None:
        """Returns once everything that was touched before the call is durable.

        Raises `StoreFailed`, or `OSError` (ENOSPC, EDQUOT) where the table stays dirty. Cancelled:
        the file is old or new, and the table stays dirty.
        """
        assert self._encode is not None, f"{self.path} must not be written before it was loaded"
        async with self._writing:
            if not self.dirty:
                return
            version = self._changed
            data = self._encode()
            try:
                if self._main_decodes:
                    await self._disk.replace(self.path + ".bak", self._disk.read(self.path))
                await self._disk.replace(self.path, data)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    self.refused_for_space += 1
                    raise
                raise StoreFailed(f"{self._disk.root}/{self.path}: {error}") from error
            self._main_decodes = True
            self._persisted = version
            self.writes += 1


def _nothing() -> None:
    """Nobody waits for changes yet."""


@final
class Persister:
    """The one task that brings dirty tables to the disk, each within its own interval."""

    def __init__(self, files: Sequence[MetadataFile]) -> None:
        self._files = tuple(files)
        self._wake = trio.Event()
        for file in self._files:
            file.on_touch = self._touched

    def _touched(self) -> None:
        self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled; started once all that was dirty is on disk. Raises `StoreFailed`.

        So no door opens, and no message is stored, before there is a topics.json: a log without one
        refuses to start.
        """
        due: dict[str, float] = {}
        await self.persist_all()
        task_status.started()
        while True:
            self._wake = trio.Event()
            now = trio.current_time()
            for file in self._files:
                if not file.dirty:
                    due.pop(file.path, None)
                elif due.setdefault(file.path, now + file.interval_s) <= now:
                    due[file.path] = trio.current_time() + RETRY_S
                    if await self._written(file):
                        due.pop(file.path, None)
                        self._wake.set()  # it may have been touched while it was written
            with trio.move_on_at(min(due.values(), default=now + IDLE_S)):
                await self._wake.wait()

    async def _written(self, file: MetadataFile) -> bool:
        try:
            await file.persist_if_dirty()
        except OSError as error:
            log.warning("metadata.no_space", path=file.path, problem=str(error))
            return False
        return True

    async def persist_all(self) -> None:
        """The last write before the process ends; a table that finds no space is logged."""
        for file in self._files:
            await self._written(file)
