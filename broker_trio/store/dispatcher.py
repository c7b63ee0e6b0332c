"""From the commit log to everything derived from it: consume queues, index, whoever waits.

    appended ─▶ pending (entries, in log order) ─▶ confirmed ─▶ queues, index ─▶ arrivals

Readers see a record when it is dispatched, and it is dispatched when it is confirmed: under
SYNC_FLUSH when it is on disk, under ASYNC_FLUSH when it is written. Live entries and those that
recovery decodes from the log are equal field by field and go the same way.

`dispatched_offset` is the end of the last record that every consume queue holds. It moves after
`put_all` came back, so no record is ever passed over: what raises there ends the process, and the
next start dispatches the record again. A full disk is the one error that passes: the entries stay
pending, appends are refused, and the same entries are tried again (putting twice is harmless, a
queue ignores what it has) until derived files could be flushed, which calls `resume`.

`pending` is bounded by the log: at most `unflushed_bytes_max` worth of records.
"""

import errno
from collections import deque
from collections.abc import Callable
from typing import final

import structlog

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.store.commit_log import CommitLog
from broker_trio.store.entry import Entry
from broker_trio.store.index import Index
from broker_trio.store.queues import ConsumeQueues
from broker_trio.store.stats import StoreStats

Arrival = Callable[[list[Entry]], None]
log = structlog.get_logger()


@final
class Dispatcher:
    """The one builder of derived data."""

    def __init__(
        self, commit_log: CommitLog, queues: ConsumeQueues, index: Index, stats: StoreStats
    ) -> None:
        self._log, self._queues, self._index, self._stats = commit_log, queues, index, stats
        self.pending: deque[Entry] = deque()
        self.dispatched_offset = 0
        self.newest_ms = 0  # store time of the last record dispatched
        self.arrivals: list[Arrival] = []
        self.stalled = False

    def open_at(self, physical_end: int, newest_ms: int) -> None:
        """Recovery has dispatched everything before `physical_end`."""
        self.dispatched_offset, self.newest_ms = physical_end, newest_ms

    def dispatch(self, confirm_offset: int) -> None:
        """Everything pending that ends at or before it. Raises `StoreFailed`."""
        pending = self.pending
        if not pending or pending[0].physical_offset >= confirm_offset:
            return
        last = pending[-1]
        if last.physical_offset + last.size <= confirm_offset:
            entries = list(pending)
        else:
            entries = []
            for entry in pending:
                if entry.physical_offset + entry.size > confirm_offset:
                    break
                entries.append(entry)
        if entries and self._put(entries):
            self._passed(entries)

    def cut(self, physical_end: int, newest_ms: int) -> None:
        """The log ends there now; who undoes the derived files is the caller."""
        pending = self.pending
        while pending and pending[-1].physical_offset >= physical_end:
            pending.pop()
        if physical_end < self.dispatched_offset:
            self.dispatched_offset, self.newest_ms = physical_end, newest_ms

    def _put(self, entries: list[Entry]) -> bool:
        try:
            self._queues.put_all(entries)
            self._index.put_all(entries)
        except OSError as error:
            self.stall(error)
            return False
        return True

    def stall(self, error: OSError) -> None:
        """No space for derived files: appends are refused until `resume`. Else `StoreFailed`."""
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise self._log.fail(error) from error
        if not self.stalled:
            self.stalled = True
            log.error("dispatch.no_space", path=error.filename, behind=len(self.pending))
            remark = f"the disk is full: cannot extend {error.filename}: {error.strerror}"
            self._log.refuse("derived", Refused(ResponseCode.SERVICE_NOT_AVAILABLE, remark))

    def resume(self) -> None:
        """There is space again."""
        if self.stalled:
            self.stalled = False
            self._log.refuse("derived", None)
            log.info("dispatch.resumed", behind=len(self.pending))

    def _passed(self, entries: list[Entry]) -> None:
        last, pending = entries[-1], self.pending
        if len(entries) == len(pending):
            pending.clear()
        else:
            for _ in entries:
                pending.popleft()
        self.dispatched_offset = last.physical_offset + last.size
        self.newest_ms = last.store_timestamp_ms
        self._stats.dispatched_count += len(entries)
        for listener in self.arrivals:
            listener(entries)
