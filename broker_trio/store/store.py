"""The store as the broker sees it: append, know when it is durable, read through its parts.

    handler: check_writable ─▶ append ─▶ (when_durable)      one transaction, no system call
    server, once per socket read: write_out                  one write; ASYNC_FLUSH dispatches
    flusher: fsync ─▶ flushed_offset                         SYNC_FLUSH dispatches, then answers
    every queue_flush_interval_ms: fsync queues and index
    every checkpoint_interval_ms: marks of what the fsyncs made true, Apache's checkpoint

States: opening (every append refused, `progress` moves) ─▶ open ─▶ stopping (refused) ─▶ stopped;
from any of them failed, after the first write or fsync that did not work: then nothing is confirmed
any more and `run` ends with `StoreFailed`.

Whoever keeps positions of its own (offsets of groups, delay levels) bounds them by
`recovered.truncated_to` and by the queues' max offsets when the store has opened.
"""

from collections.abc import Callable, Sequence
from typing import final

import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.runtime.seams import Clock, Disk, Entropy
from broker_trio.store import checkpoint as checkpoints
from broker_trio.store.appender import AppendedRun, Appender, BatchItem, Draft, Run
from broker_trio.store.commit_log import CommitLog
from broker_trio.store.config import StoreConfig
from broker_trio.store.dispatcher import Arrival, Dispatcher
from broker_trio.store.durability import Durability
from broker_trio.store.entry import Appended
from broker_trio.store.flush import Flusher
from broker_trio.store.index import Index
from broker_trio.store.queues import ConsumeQueues
from broker_trio.store.reader import Reader
from broker_trio.store.recovery import Recovered, Recovery
from broker_trio.store.replica import NO_BOUND, Replica
from broker_trio.store.retention import Retention
from broker_trio.store.scan import Progress
from broker_trio.store.stats import StoreStats

__all__ = ["BatchItem", "Draft", "Recovered", "Store"]


@final
class Store:
    """One commit log with everything derived from it, in one folder."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        entropy: Entropy,
        config: StoreConfig,
        store_host: bytes,
        *,
        process_id: int = 0,
        accept_damage: bool = False,
    ) -> None:
        """`store_host`: 8 or 20 bytes as stored. `process_id`: what `abort` shows to people.

        `accept_damage`: open although messages that were on disk are gone; an operator's decision.
        """
        self._disk, self._clock, self.entropy = disk, clock, entropy
        self._put_count = 0  # messages whose write was timed
        self._sync = config.flush_disk_type == "SYNC_FLUSH"
        self.stats = StoreStats()
        self.log = CommitLog(disk, config, self.stats)
        self.queues = ConsumeQueues(disk, config)
        self.index = Index(disk, config)
        self.reader = Reader(self.log, self.queues, self.index, config, stats=self.stats)
        self._dispatcher = Dispatcher(self.log, self.queues, self.index, self.stats)
        self._appender = Appender(
            clock, self.log, self.queues, self._dispatcher, self.stats, store_host
        )
        self._flusher = Flusher(disk, clock, self.log, config, self.stats, self.dispatch)
        self._durability = Durability(
            disk, self.log, self.queues, self.index, self._dispatcher, config, self.dispatch
        )
        self.retention = Retention(
            disk,
            clock,
            self.log,
            self.queues,
            self.index,
            config,
            self.stats,
            self._durability.needed_from,
        )
        self._recovery = Recovery(
            disk, clock, self.log, self.queues, self.index, process_id, accept_damage=accept_damage
        )
        self.progress: Progress = self._recovery.progress
        self.arrivals: list[Arrival] = self._dispatcher.arrivals
        self.recovered: Recovered | None = None
        self._stopped = False
        # The hot ones, without a call in between.
        self.append: Callable[[Draft], Appended] = self._appender.append
        self.append_batch: Callable[[Draft, Sequence[BatchItem]], list[Appended]] = (
            self._appender.append_batch
        )
        self.append_run: Callable[[Run], AppendedRun] = self._appender.append_run
        self.check_writable: Callable[[int], None] = self.log.check_writable
        self.when_durable = self._flusher.when_durable
        self.wait_flushed = self._flusher.wait_flushed
        # Of a pair: readers see nothing that ends behind `bound`; `on_progress` is called when
        # something was written or flushed.
        self.bound = NO_BOUND
        self.on_progress: Callable[[], None] | None = None
        self.reader.visible_end = lambda: min(self.log.max_offset, self.bound)

    def guard(self, check: Callable[[], None]) -> None:
        """From now on `check` is asked before every append; it raises `Refused`."""
        append, append_batch = self._appender.append, self._appender.append_batch
        append_run = self._appender.append_run
        check_writable = self.log.check_writable

        def guarded(draft: Draft) -> Appended:
            check()
            return append(draft)

        def guarded_batch(draft: Draft, items: Sequence[BatchItem]) -> list[Appended]:
            check()
            return append_batch(draft, items)

        def guarded_run(run: Run) -> AppendedRun:
            check()
            return append_run(run)

        def guarded_check(size: int) -> None:
            check()
            check_writable(size)

        self.append, self.append_batch, self.append_run = guarded, guarded_batch, guarded_run
        self.check_writable = guarded_check

    def replica(self) -> Replica:
        """The way in for another log's bytes; once the store has opened."""
        return Replica(
            self._disk,
            self,
            self._appender,
            self._dispatcher,
            self._flusher,
            self._durability,
        )

    # -- writing and dispatching ------------------------------------------------------------------

    def write_out(self) -> None:
        """Bring what was appended to the page cache; dispatch what that confirms.

        Before any answer to it is sent. Raises `StoreFailed`.
        """
        self.write_log()
        self.dispatch_written()

    def write_log(self) -> None:
        """The half of `write_out` that answers wait for. `dispatch_written` follows, unawaited."""
        count = self.stats.appended_count - self._put_count
        if count:
            begun = self._clock.monotonic()
            self.log.write_out()
            self.stats.put(count, self._clock.monotonic() - begun)
            self._put_count += count
        else:
            self.log.write_out()
        if self._sync:
            self._flusher.kick()

    def dispatch_written(self) -> None:
        """The other half. Raises `StoreFailed`."""
        if not self._sync:
            self._dispatcher.dispatch(min(self.log.written_offset, self.bound))
            self._flusher.kick_if_half()
        if self.on_progress is not None:
            self.on_progress()

    def dispatch(self) -> None:
        """Everything that is confirmed and not dispatched yet."""
        self._dispatcher.dispatch(self.confirm_offset)
        if self.on_progress is not None:
            self.on_progress()

    def raise_bound(self, physical_end: int) -> None:
        """Readers may see more: what ends at or before it, as far as the flush mode lets them."""
        if physical_end > self.bound:
            self.bound = physical_end
            self._dispatcher.dispatch(self.confirm_offset)

    @property
    def confirm_offset(self) -> int:
        """Readers see what ends at or before it."""
        return min(self.own_end, self.bound)

    @property
    def own_end(self) -> int:
        """What this copy holds in the sense of its flush mode: on disk, or in the page cache."""
        return self.log.flushed_offset if self._sync else self.log.written_offset

    @property
    def is_sync(self) -> bool:
        """Whether SEND_OK waits for this copy's fsync."""
        return self._sync

    def dispatched_to(self) -> int:
        """Everything before it is in the consume queues, and in the index."""
        if not self._dispatcher.pending and not self.index.behind_count:
            return self.log.written_offset
        return min(self._dispatcher.dispatched_offset, self.index.indexed_offset)

    @property
    def undispatched_bytes(self) -> int:
        """Bytes appended that readers do not see yet."""
        pending = self._dispatcher.pending
        return self.log.max_offset - pending[0].physical_offset if pending else 0

    @property
    def flush_waiting_count(self) -> int:
        """Sends that wait for their fsync."""
        return self._flusher.waiting_count

    @property
    def flush_oldest_wait_s(self) -> float:
        """How long the first of them has waited."""
        return self._flusher.oldest_wait_s

    # -- running ----------------------------------------------------------------------------------

    async def run(
        self, *, task_status: trio.TaskStatus[Recovered] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Recover, report by `started`, then flush, checkpoint and expire until cancelled.

        Raises `BlockingIOError` where another process has the store, `StoreCorrupt`, `StoreFailed`.
        Cancelled: what was written stays; the next start finds an unclean stop unless `stop` ran.
        """
        self._disk.lock()
        recovered = await self._recovery.run()
        newest = recovered.newest
        newest_ms = 0 if newest is None else newest.store_timestamp_ms
        self._appender.newest_ms = newest_ms
        self._dispatcher.open_at(recovered.truncated_to, newest_ms)
        rest = None if recovered.full is None else self._recovery.finish
        self._durability.open_at(recovered.marks, newest_ms, rest)
        if recovered.full is not None:
            self._dispatcher.stall(recovered.full)
        self.reader.written_from = recovered.truncated_to
        self.stats.recovery_seconds = recovered.seconds
        self.recovered = recovered
        self.retention.check_space()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._flusher.run)
                nursery.start_soon(self._flusher.expire)
                nursery.start_soon(self._durability.run)
                nursery.start_soon(self.retention.run)
                nursery.start_soon(self._run_index)
                task_status.started(recovered)
        finally:
            self.log.segments.close()
            self.queues.close()

    async def _run_index(self) -> None:
        try:
            await self.index.run()
        except OSError as error:
            raise self.log.fail(error) from error

    async def stop(self) -> None:
        """The clean stop, while `run` still runs: refuse appends, bring everything to the disk.

        Afterwards the next start is a clean one and `run` may be cancelled. Raises `StoreFailed`.
        """
        if self._stopped:
            return
        self.log.refuse(
            "stopping", Refused(ResponseCode.SERVICE_NOT_AVAILABLE, "the broker is stopping")
        )
        self.write_out()
        await self._flusher.flush()
        self.bound = NO_BOUND  # nobody reads any more; the next start knows what to hide
        self.dispatch()
        if self._dispatcher.pending:
            return  # derived files have no space: let the next start dispatch again
        if await self._durability.close():
            try:
                await checkpoints.mark_closed(self._disk)
            except OSError as error:
                raise self.log.fail(error) from error
        self._stopped = True
