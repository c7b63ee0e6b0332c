"""Bringing derived files to the disk, and writing down how far that got.

    units, index items ──fsync──▶ queues_durable, indexed_durable ──▶ watermarks.cbor, checkpoint

Two rounds of one task, in the order that keeps every claim true: first fsync, then move the mark,
then replace the files that carry it. A crash between any two leaves an older claim, which is true.

A full disk stops neither reading nor this task: appends are refused (`Dispatcher.stall`), the round
is repeated, and the first one that succeeds takes the refusal back. Where the disk was full already
when the store opened, the rest of the recovery comes first.
"""

import errno
from collections.abc import Awaitable, Callable
from typing import final

import msgspec
import trio

from broker_trio.runtime.seams import Disk
from broker_trio.store import checkpoint as checkpoints
from broker_trio.store import watermarks as watermarks_file
from broker_trio.store.commit_log import CommitLog
from broker_trio.store.config import StoreConfig
from broker_trio.store.dispatcher import Dispatcher
from broker_trio.store.entry import Entry
from broker_trio.store.index import Index
from broker_trio.store.queues import ConsumeQueues
from broker_trio.store.watermarks import Anchor, Watermarks


@final
class Durability:
    """The only one who fsyncs consume queues and index, and who writes marks and checkpoint."""

    def __init__(
        self,
        disk: Disk,
        commit_log: CommitLog,
        queues: ConsumeQueues,
        index: Index,
        dispatcher: Dispatcher,
        config: StoreConfig,
        dispatch: Callable[[], None],
    ) -> None:
        """`dispatch`: try again what a full disk kept pending."""
        self._disk, self._log, self._queues, self._index = disk, commit_log, queues, index
        self._dispatcher, self._config, self._dispatch = dispatcher, config, dispatch
        self._marks = Watermarks()
        self._queues_durable = self._indexed_durable = 0
        self._queues_ms = self._index_ms = 0
        self._checkpoint_behind = False  # the marks were written, the checkpoint found no space
        self._turn = trio.Lock()
        self._rest: Callable[[], Awaitable[Watermarks]] | None = None

    def open_at(
        self,
        marks: Watermarks,
        newest_ms: int,
        rest: Callable[[], Awaitable[Watermarks]] | None = None,
    ) -> None:
        """Recovery brought all files to one end and wrote these marks.

        `rest`: what it had no space for; tried before any other round until it comes through.
        """
        self._marks, self._rest = marks, rest
        self._queues_durable, self._indexed_durable = marks.queues_durable, marks.indexed_durable
        self._queues_ms = newest_ms
        before = checkpoints.load_checkpoint(self._disk)
        self._index_ms = 0 if before is None else min(before.index_ms, newest_ms)

    def needed_from(self) -> int:
        """What a start after a crash now would need of the log: by the marks that are on disk.

        It reads from the lowest mark on, and knows the log again by the marks' anchor.
        """
        marks = self._marks
        return (
            marks.lowest
            if marks.anchor is None
            else min(marks.lowest, marks.anchor.physical_offset)
        )

    async def run(self) -> None:
        """Until cancelled. Raises `StoreFailed`."""
        flush_s = self._config.queue_flush_interval_ms / 1000
        checkpoint_s = self._config.checkpoint_interval_ms / 1000
        flush_at = checkpoint_at = trio.current_time()
        rounds = 0
        while True:
            now = trio.current_time()
            if now >= flush_at:
                await self.flush(index=rounds % self._config.index_flush_rounds == 0)
                flush_at = now + flush_s
                rounds += 1
            if now >= checkpoint_at:
                await self.checkpoint()
                checkpoint_at = now + checkpoint_s
            await trio.sleep_until(min(flush_at, checkpoint_at))

    async def flush(self, *, closing: bool = False, index: bool = True) -> bool:
        """Fsync derived files; False where the disk had no space. Raises `StoreFailed`.

        Without `index` only the queues: a flush of the index writes slots all over 20 MB, so it
        is done more rarely, and sooner where the index asks for it itself (`Index.run`).
        """
        async with self._turn:
            try:
                await self._finish_recovery()
                queues_to = self._dispatcher.dispatched_offset
                queues_ms = self._dispatcher.newest_ms
                await self._queues.flush(marks=closing)
                self._queues_durable, self._queues_ms = queues_to, queues_ms
                if index:
                    await self._index.flush(settle=closing)
                if closing and self._index.durable_offset >= queues_to:
                    self._index_ms = queues_ms  # in between our journal has what Apache would miss
                self._indexed_durable = max(self._indexed_durable, self._index.durable_offset)
            except OSError as error:
                self._dispatcher.stall(error)
                return False
            self._dispatcher.resume()
            self._dispatch()
            return True

    async def _finish_recovery(self) -> None:
        if self._rest is not None:
            self._marks = await self._rest()
            self._rest = None

    async def checkpoint(self, *, closing: bool = False) -> bool:
        """Write the marks down if they moved; False for no space. Raises `StoreFailed`."""
        async with self._turn:
            if self._rest is not None:
                return False
            newest = self._log.newest_flushed
            now = (self._log.flushed_offset, self._queues_durable, self._indexed_durable)
            old = self._marks
            same = now == (old.log_flushed, old.queues_durable, old.indexed_durable)
            if same and not closing and not self._checkpoint_behind:
                return True
            newest_ms = 0 if newest is None else newest.store_timestamp_ms
            saved = checkpoints.Checkpoint(newest_ms, self._queues_ms, self._index_ms)
            try:
                marks = Watermarks(
                    log_flushed=now[0],
                    queues_durable=now[1],
                    indexed_durable=now[2],
                    truncated_at=old.truncated_at,
                    anchor=None if newest is None else await self._anchor(newest),
                    checkpoint_ms=saved.log_ms,
                )
                await watermarks_file.save_watermarks(self._disk, marks)
                self._marks, self._checkpoint_behind = marks, True
                await checkpoints.save_checkpoint(self._disk, saved)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    return False  # older marks stay, and stay true
                raise self._log.fail(error) from error
            self._checkpoint_behind = False
            return True

    async def around_cut(
        self, physical_end: int, newest: Entry | None, cut: Callable[[], Awaitable[None]]
    ) -> None:
        """Claim nothing behind `physical_end` any more, on disk, and then let `cut` cut there.

        `newest`: the last record before it. Raises `StoreFailed`; `OSError` for no space, before
        anything was cut.
        """
        async with self._turn:
            await self._finish_recovery()
            newest_ms = 0 if newest is None else newest.store_timestamp_ms
            marks = msgspec.structs.replace(
                self._marks.cut(physical_end),
                anchor=None if newest is None else await self._anchor(newest),
                checkpoint_ms=newest_ms,
            )
            saved = checkpoints.Checkpoint(newest_ms, newest_ms, min(self._index_ms, newest_ms))
            await watermarks_file.save_watermarks(self._disk, marks)
            await checkpoints.save_checkpoint(self._disk, saved)
            self._marks = marks
            self._queues_durable = min(self._queues_durable, physical_end)
            self._indexed_durable = min(self._indexed_durable, physical_end)
            self._queues_ms, self._index_ms = newest_ms, saved.index_ms
            await cut()

    async def begun_at(self, physical_offset: int) -> None:
        """The log was emptied and begins there, on disk. Raises `OSError`."""
        async with self._turn:
            self._queues_durable = self._indexed_durable = physical_offset
            marks = Watermarks(
                log_flushed=physical_offset,
                queues_durable=physical_offset,
                indexed_durable=physical_offset,
                truncated_at=physical_offset,
            )
            await watermarks_file.save_watermarks(self._disk, marks)
            self._marks = marks

    async def _anchor(self, newest: Entry) -> Anchor:
        record = await self._log.read(newest.physical_offset, newest.size)
        assert len(record) == newest.size, "the newest record is always there"
        return Anchor(
            newest.physical_offset, newest.size, watermarks_file.checksum(record),
            newest.store_timestamp_ms,
        )  # fmt: skip

    async def close(self) -> bool:
        """The last round of a clean stop; False where the stop cannot be a clean one."""
        return await self.flush(closing=True) and await self.checkpoint(closing=True)
