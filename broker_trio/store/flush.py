"""Group commit: one flush in flight, everybody else joins the next one.

    append, append ──▶ write_out ──▶ page cache
                                        │  one flush: fsync of every segment written since the last
                                        ▼  one began, then of the folder if a segment is new
    flushed_offset moves ──▶ dispatch (SYNC_FLUSH) ──▶ waiters at or below it: done(True)

A flush covers what was written when it began. It takes *all* segments written since the last one,
so that a roll in between needs no second call. `flushed_offset` moves only after every fsync of the
flush returned; if one fails, the store has failed: Linux marks the lost pages clean, and a second
fsync would call them safe.

    mode          a flush begins
    SYNC_FLUSH    as soon as something is written: readers wait for it, too
    ASYNC_FLUSH   every flush_interval_ms, earlier when half of unflushed_bytes_max is reached

A waiter that `flush_timeout_ms` did not serve is told False: its bytes are in the log and may
become durable later, which is what FLUSH_DISK_TIMEOUT says. Waiters come in the order of their
deadlines, and a flush serves all that were there when it began: a deque is all the order needed.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, final

import trio

from broker_trio.model.errors import StoreFailed
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.store.commit_log import COMMIT_LOG_FOLDER, CommitLog
from broker_trio.store.config import StoreConfig
from broker_trio.store.stats import StoreStats

Done = Callable[[bool], None]


class Waiter(NamedTuple):
    """Somebody who answers some messages once the log is durable up to `physical_end`."""

    physical_end: int
    deadline: float
    done: Done
    messages: int


@final
class Flusher:
    """The only one who fsyncs the commit log."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        log: CommitLog,
        config: StoreConfig,
        stats: StoreStats,
        on_flushed: Callable[[], None],
    ) -> None:
        self._disk, self._clock, self._log = disk, clock, log
        self._config, self._stats, self._on_flushed = config, stats, on_flushed
        self._waiters: deque[Waiter] = deque()
        self._wanted = trio.Event()
        self._waiting = trio.Event()
        self._progress = trio.Event()
        self._in_flight = trio.Lock()
        self._half = config.unflushed_bytes_max // 2

    # -- asking -----------------------------------------------------------------------------------

    def when_durable(self, physical_end: int, done: Done, count: int = 1) -> None:
        """Call `done` once: True when flushed, at once if it is; False after flush_timeout_ms.

        `count`: messages that wait. They were appended together, so one flush covers all of them.
        """
        assert physical_end <= self._log.max_offset, "nobody waits for what is not appended"
        if self._log.failure is not None:
            done(False)
            return
        if physical_end <= self._log.flushed_offset:
            done(True)
            return
        deadline = self._clock.monotonic() + self._config.flush_timeout_ms / 1000
        self._waiters.append(Waiter(physical_end, deadline, done, count))
        self._wanted.set()
        self._waiting.set()

    async def wait_flushed(self, physical_end: int) -> None:
        """Return once the log is durable up to there. Raises `StoreFailed`; no timeout."""
        await trio.lowlevel.checkpoint()
        while self._log.flushed_offset < physical_end:
            if self._log.failure is not None:
                raise StoreFailed(*self._log.failure.args) from self._log.failure
            self._wanted.set()
            await self._progress.wait()

    def kick(self) -> None:
        """Begin a flush if anything is dirty: SYNC_FLUSH, also for messages nobody waits for."""
        if self._log.written_offset > self._log.flushed_offset:
            self._wanted.set()

    def kick_if_half(self) -> None:
        """Begin to write back before the limit refuses anybody."""
        if self._log.written_offset - self._log.flushed_offset > self._half:
            self._wanted.set()

    @property
    def waiting_count(self) -> int:
        """Messages that wait."""
        return sum([waiter.messages for waiter in self._waiters])

    @property
    def oldest_wait_s(self) -> float:
        """How long the first of them has waited; 0 where nobody does."""
        if not self._waiters:
            return 0.0
        left_s = self._waiters[0].deadline - self._clock.monotonic()
        return max(0.0, self._config.flush_timeout_ms / 1000 - left_s)

    # -- working ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush until cancelled. Raises `StoreFailed`."""
        interval_s = self._config.flush_interval_ms / 1000
        while True:
            with trio.move_on_after(interval_s):
                await self._wanted.wait()
            self._wanted = trio.Event()
            await self.flush()
            self._log.prepare_next()

    async def flush(self) -> None:
        """Make everything appended so far durable. Raises `StoreFailed`; cancelled: no change."""
        async with self._in_flight:
            self._log.write_out()
            if not self._log.is_dirty:
                return
            target, newest = self._log.written_offset, self._log.newest
            begun = self._clock.monotonic()
            await self._sync()
            if self._log.failure is not None:  # a write failed while the fsync ran
                raise StoreFailed(*self._log.failure.args) from self._log.failure
            self._stats.flushes += 1
            self._stats.flushed_bytes += target - self._log.flushed_offset
            self._stats.flush_seconds.observe(self._clock.monotonic() - begun)
            self._log.flushed_to(target, newest)
        self._on_flushed()
        self._release()

    async def around(self, change: Callable[[], None]) -> None:
        """Flush, let `change` cut the log, make that durable: no flush comes between.

        Nobody may append meanwhile; who waits is told no. Raises `StoreFailed`.
        """
        await self.flush()
        async with self._in_flight:
            assert self._log.written_offset == self._log.flushed_offset
            try:
                change()
            except OSError as error:
                raise self._fail(error) from error
            await self._sync()
        while self._waiters:
            self._waiters.popleft().done(False)

    async def _sync(self) -> None:
        """Fsync what is dirty; after a cancellation it counts as dirty again."""
        dirty, folder = self._log.take_dirty()
        for segment in dirty:
            segment.pins += 1
        finished = False
        try:
            for segment in dirty:
                await segment.file.flush()
            if folder:
                await self._disk.sync_folder(COMMIT_LOG_FOLDER)
            finished = True
        except OSError as error:
            raise self._fail(error) from error
        finally:
            for segment in dirty:
                segment.unpin()
            if not finished:
                self._log.give_back_dirty(dirty, folder=folder)

    def _release(self) -> None:
        """Answer everybody whose bytes are safe."""
        flushed, waiters = self._log.flushed_offset, self._waiters
        while waiters and waiters[0].physical_end <= flushed:
            waiters.popleft().done(True)
        progress, self._progress = self._progress, trio.Event()
        progress.set()

    def _fail(self, error: OSError) -> StoreFailed:
        failure = self._log.fail(error)
        self.abandon()
        return failure

    def abandon(self) -> None:
        """No flush will come any more: nobody is told yes."""
        while self._waiters:
            self._waiters.popleft().done(False)
        self._progress.set()

    async def expire(self) -> None:
        """Tell waiters whose time is over. Its own task: a hung disk must not delay it."""
        while True:
            await self._waiting.wait()
            if not self._waiters:
                self._waiting = trio.Event()
                continue
            await trio.sleep_until(self._waiters[0].deadline)
            now = self._clock.monotonic()
            while self._waiters and self._waiters[0].deadline <= now:
                waiter = self._waiters.popleft()
                self._stats.flush_timeouts += waiter.messages
                waiter.done(False)
