"""How long messages are kept, and what a filling disk does about it.

    used share of the file system
    0 ................ 0.75 ................. 0.85 ................. 0.90 .............. 1
      expired segments      expired segments       the oldest ones        appends are
      at delete_when        at any hour            whatever their age     refused as well

A segment is expired when it was last written more than `retention_hours` ago: its newest message is
older than that. Only whole segments go, the oldest first, and never one that

* is not in the consume queues and the index, on disk, yet (however full that is): after a crash
  nobody could tell how far its queues were, and their offsets would be given out twice;
* holds the record by which the next start knows the log again (the anchor of `watermarks.py`).

Both are judged by the marks that are on disk, not by what is known in memory.

Refusing beats deleting: what nobody dispatched is not thrown away, producers are told instead, with
the path, the share and the limit. Refusal ends by itself once the share is below the limit.

Queues and index follow the log: `delete_expired` with the log's new begin.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, final

import structlog
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.store.commit_log import COMMIT_LOG_FOLDER, CommitLog
from broker_trio.store.config import StoreConfig
from broker_trio.store.index import Index
from broker_trio.store.queues import ConsumeQueues
from broker_trio.store.stats import StoreStats

DELETED_AT_ONCE_MAX: Final = 10
"""Segments a round, as Apache has it: unlinking a gigabyte takes the file system a while."""
DELETE_PAUSE_S: Final = 0.1
HOUR_MS: Final = 3_600_000

log = structlog.get_logger()


class Aged(NamedTuple):
    """A segment as retention sees it."""

    end: int
    modified_ms: int


def expired_count(
    segments: Sequence[Aged], keep_from: int, now_ms: int, retention_hours: int
) -> int:
    """How many of the oldest segments are too old; stops at the first that is not, or is needed."""
    count = 0
    for segment in segments:
        if segment.end > keep_from or segment.modified_ms + retention_hours * HOUR_MS > now_ms:
            break
        count += 1
    return count


def is_delete_hour(now_ms: int, hours: Sequence[int]) -> bool:
    """Whether the host's local time is in one of the hours, as Apache's `deleteWhen`."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).astimezone().hour in hours


@final
class Retention:
    """Deletes old segments and decides whether the disk still takes messages."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        commit_log: CommitLog,
        queues: ConsumeQueues,
        index: Index,
        config: StoreConfig,
        stats: StoreStats,
        needed_from: Callable[[], int],
    ) -> None:
        """`needed_from`: what the next start would need of the log."""
        self._disk, self._clock, self._log = disk, clock, commit_log
        self._queues, self._index = queues, index
        self._config, self._stats, self._needed_from = config, stats, needed_from
        self.used_ratio = 0.0

    async def run(self) -> None:
        """Look every `retention_interval_ms` until cancelled. Raises `StoreFailed`."""
        while True:
            await trio.sleep(self._config.retention_interval_ms / 1000)
            await self.sweep()

    def check_space(self) -> float:
        """Measure the file system; refuse appends above the limit, take that back below it."""
        usage = self._disk.usage()
        self.used_ratio = 1 - usage.free / usage.total if usage.total else 0.0
        limit = self._config.disk_used_ratio_refuse
        refusing = self.used_ratio > limit
        remark = (
            f"the disk is full: {self._disk.root} is used to {self.used_ratio:.1%}, "
            f"limit {limit:.1%} (store.disk_used_ratio_refuse)"
        )
        if refusing and self._log.refusal is None:
            log.error("retention.refusing", root=self._disk.root, used=round(self.used_ratio, 4))
        refusal = Refused(ResponseCode.SERVICE_NOT_AVAILABLE, remark) if refusing else None
        self._log.refuse("disk_used", refusal)
        return self.used_ratio

    async def sweep(self) -> int:
        """One round; how many segments went. Raises `StoreFailed`."""
        used = self.check_space()
        before = self._log.min_offset
        try:
            count = await self._delete_expired(used)
            count += await self._delete_for_space()
            if self._log.min_offset != before:
                await self._disk.sync_folder(COMMIT_LOG_FOLDER)
                await self._queues.delete_expired(self._log.min_offset)
                await self._index.delete_expired(self._log.min_offset)
        except OSError as error:
            raise self._log.fail(error) from error
        return count

    def _keep_from(self) -> int:
        """Nothing that ends behind this may go."""
        return min(self._needed_from(), self._log.flushed_offset)

    async def _delete_expired(self, used: float) -> int:
        now_ms, config = self._clock.wall_ms(), self._config
        any_hour = used > config.disk_used_ratio_delete
        if not any_hour and not is_delete_hour(now_ms, config.delete_when_hours):
            return 0
        oldest = self._log.segments.all[:DELETED_AT_ONCE_MAX]
        aged = [Aged(segment.end, segment.modified_ms) for segment in oldest]
        count = expired_count(aged, self._keep_from(), now_ms, config.retention_hours)
        for _ in range(count):
            await self._drop_first("age")
        self._stats.expired_by_age += count
        return count

    async def _delete_for_space(self) -> int:
        count = 0
        while count < DELETED_AT_ONCE_MAX and self._over_force():
            await self._drop_first("space")
            count += 1
        self._stats.expired_by_space += count
        return count

    def _over_force(self) -> bool:
        if self.check_space() <= self._config.disk_used_ratio_force:
            return False
        segments = self._log.segments.all
        return bool(segments) and segments[0].end <= self._keep_from()

    async def _drop_first(self, cause: str) -> None:
        dropped = self._log.drop_first()
        used = round(self.used_ratio, 4)
        log.info("retention.deleted", path=dropped.path, cause=cause, used=used)
        await trio.sleep(DELETE_PAUSE_S)
