"""All consume queues of a store, and the table that assigns queue offsets.

    next_offset ≥ max_offset of its queue     assigned to what is appended, ahead of dispatch
    dispatched_offset                         every record before it was put
    durable_offset                            every unit of a record before it is on disk

`put_all` is the only way in, live and at recovery. It costs about 0.6 µs a message and touches no
file. `write_out` writes once per queue that got something; `flush` fsyncs only files that were
written. Both cost what was touched, not how many queues there are.

A start goes `load` (names only) → `recover` (ends) → dispatch of the log from what `recover` said →
`correct_min`. After a clean stop the ends come from `queue_marks.py` and no file is opened.

Offsets of a queue never go back within a store's lifetime, also not when its topic is deleted and
made again: a deleted queue stays in the table as an empty one that begins at its old next offset.
The one exception is the loss of the log's own tail, where those offsets name nothing.
"""

import errno
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, final

import trio

from broker_trio.runtime.seams import Disk
from broker_trio.store import snapshot
from broker_trio.store.config import StoreConfig
from broker_trio.store.consume_queue import ConsumeQueue, UnitCheck
from broker_trio.store.entry import Entry
from broker_trio.store.open_files import OPEN_FILES_MAX, OpenFiles
from broker_trio.store.queue_marks import QUEUE_MARKS_PATH, Deleted
from broker_trio.store.queue_start import QueueStart, Trust
from broker_trio.store.queue_table import QueueTable
from broker_trio.store.units import UNIT

HIDDEN: Final = 0x4  # the bit of sysFlag that PREPARED and ROLLBACK share: they enter no queue
BUFFERED_UNITS_MAX: Final = 200_000  # 4 MB; a start that dispatches a long log comes that far
MARKS_EVERY: Final = 10
"""Flushes between two writes of the marks: a start with older ones does more, nothing else."""


@final
class ConsumeQueues:
    """Every queue by topic and queue id."""

    def __init__(
        self,
        disk: Disk,
        config: StoreConfig,
        *,
        open_files_max: int = OPEN_FILES_MAX,
        buffered_units_max: int = BUFFERED_UNITS_MAX,
    ) -> None:
        self._disk = disk
        self._files = OpenFiles(disk, open_files_max)
        self._table = QueueTable(self._files, config.consume_queue_segment_units)
        self._start = QueueStart(disk, self._table)
        self.get = self._table.get
        self._next: dict[str, dict[int, int]] = {}
        self._deleting: dict[str, Deleted] = {}
        self._dirty: dict[ConsumeQueue, None] = {}  # ordered: a seed replays its writes
        self._buffered_units, self._buffered_units_max = 0, buffered_units_max
        self._flushing = trio.Lock()
        self._flushes_since_marks = 0
        self.dispatched_offset = self.durable_offset = 0
        self.min_physical = 0
        self.put_count = self.ignored_count = 0
        self.expired_files = 0

    # -- looking ----------------------------------------------------------------------------------

    def min_offset(self, topic: str, queue_id: int) -> int:
        """The first readable message; 0 for an unknown queue."""
        queue = self.get(topic, queue_id)
        return 0 if queue is None else queue.min_offset

    def max_offset(self, topic: str, queue_id: int) -> int:
        """One past the last readable message; 0 for an unknown queue."""
        queue = self.get(topic, queue_id)
        return 0 if queue is None else queue.max_offset

    def topics(self) -> list[str]:
        """Topics that have queues, deleted ones apart."""
        deleted, dirty = self._table.deleted, {queue.topic for queue in self._dirty}
        return [topic for topic in self._table.topics if topic not in deleted or topic in dirty]

    def queues_of(self, topic: str) -> list[ConsumeQueue]:
        """The topic's queues by id."""
        queues = self._table.topics.get(topic, {})
        return [queues[queue_id] for queue_id in sorted(queues)]

    def held_topics(self) -> dict[str, int]:
        """Topics that have a message, dispatched or not; how many queues each has at least."""
        found: dict[str, int] = {}
        for queue in self:
            if queue.min_offset < queue.max_offset:
                found[queue.topic] = max(found.get(queue.topic, 0), queue.queue_id + 1)
        for topic, following in self._next.items():
            for queue_id, offset in following.items():
                if offset > self.max_offset(topic, queue_id):
                    found[topic] = max(found.get(topic, 0), queue_id + 1)
        return found

    def __iter__(self) -> Iterator[ConsumeQueue]:
        return iter(self._table)

    @property
    def buffered_count(self) -> int:
        """Units in memory that no file has, about."""
        return self._buffered_units

    @property
    def open_file_count(self) -> int:
        return len(self._files)

    # -- assigning --------------------------------------------------------------------------------

    def next_offset(self, topic: str, queue_id: int) -> int:
        """The queue offset of the next message that is appended to this queue."""
        queues = self._next.get(topic)
        if queues is None:
            queues = self._next[topic] = {}
        offset = queues.get(queue_id)
        if offset is None:
            offset = queues[queue_id] = self.max_offset(topic, queue_id)
        return offset

    def advance(self, topic: str, queue_id: int, count: int) -> None:
        """`count` messages were appended from `next_offset` on."""
        self._next[topic][queue_id] += count

    def assign(self, topic: str, queue_ids: Sequence[int]) -> Sequence[int]:
        """Queue offsets for messages of one topic in this order; `next_offset` moves on."""
        first, count = queue_ids[0], len(queue_ids)
        if queue_ids.count(first) == count:
            begin = self.next_offset(topic, first)
            self._next[topic][first] = begin + count
            return range(begin, begin + count)
        for queue_id in set(queue_ids):
            self.next_offset(topic, queue_id)
        offsets, table = [], self._next[topic]
        for queue_id in queue_ids:
            offset = table[queue_id]
            table[queue_id] = offset + 1
            offsets.append(offset)
        return offsets

    def assigned(self, entries: Iterable[Entry]) -> None:
        """These got their queue offsets elsewhere and wait for dispatch: theirs are taken."""
        for topic, queue_id, offset, _, _, _, _, sys_flag, _ in entries:
            if not sys_flag & HIDDEN:
                self._next.setdefault(topic, {})[queue_id] = offset + 1

    # -- putting ----------------------------------------------------------------------------------

    def put_all(self, entries: list[Entry]) -> None:
        """Add dispatched records, in the order of the log. Raises `StoreCorrupt` for a hole.

        Raises `OSError` only when it writes; then what was put stays put. Records that are there
        already are ignored: the log may be dispatched again from anywhere.
        """
        topics, dirty, pack = self._table.topics, self._dirty, UNIT.pack
        queues: dict[int, ConsumeQueue] = {}
        ignored, last_topic = 0, None
        for topic, queue_id, offset, position, size, code, _, sys_flag, _ in entries:
            if sys_flag & HIDDEN:
                continue
            try:
                if topic is not last_topic:
                    queues, last_topic = topics[topic], topic
                queue = queues[queue_id]
            except KeyError:
                queue = self._table.add(self._table.new(topic, queue_id))
            if offset == queue.max_offset and position >= queue.physical_end:
                queue.buffer += pack(position, size, code)
                queue.max_offset = offset + 1
                queue.physical_end = position + size
                dirty[queue] = None
            else:
                if offset < queue.max_offset and topic in self._table.deleted:
                    self._begin_anew(topic, position)
                if queue.put(offset, position, size, code):
                    dirty[queue] = None
                else:
                    ignored += 1
        if entries:
            last = entries[-1]
            self.dispatched_offset = max(self.dispatched_offset, last.physical_offset + last.size)
        self.put_count += len(entries) - ignored
        self.ignored_count += ignored
        self._buffered_units += len(entries) - ignored
        if self._buffered_units > self._buffered_units_max:
            self.write_out()

    def _begin_anew(self, topic: str, position: int) -> None:
        """A deleted topic comes back from 0 on, as its master has it, which forgot it already."""
        queues = self.queues_of(topic)
        anew = position >= self._table.deleted[topic].log_end
        if anew and all(queue.min_offset == queue.max_offset for queue in queues):
            for queue in queues:
                queue.begin_at(0)

    def write_out(self) -> None:
        """Bring every buffered unit to the page cache. Raises `OSError`."""
        dirty = self._dirty
        for queue in dirty:
            queue.write_out()
            if self._table.deleted:
                self._table.deleted.pop(queue.topic, None)  # alive again
        dirty.clear()
        self._buffered_units = 0

    # -- flushing ---------------------------------------------------------------------------------

    async def flush(self, *, marks: bool = False) -> None:
        """Make all that was put so far durable; `marks` (at a clean stop): the marks as well.

        Raises `OSError`. Cancelled: what was not flushed is flushed the next time.
        """
        async with self._flushing:
            await self._flush(marks=marks)

    async def _flush(self, *, marks: bool, without: Sequence[str] = ()) -> None:
        """`without`: deleted topics that the marks say nothing of any more."""
        self.write_out()
        end, table = self.dispatched_offset, self._table
        self._flushes_since_marks += 1
        due = self._files.is_touched and self._flushes_since_marks >= MARKS_EVERY
        now = None
        if marks or due or table.is_changed:
            now = table.marks(end, self.min_physical, self._deleting, without)
        table.is_changed, finished = False, False
        try:
            await self._files.flush_touched()
            self.durable_offset = max(self.durable_offset, end)
            if now is not None:
                await snapshot.save(self._disk, QUEUE_MARKS_PATH, now)
                self._flushes_since_marks = 0
            finished = True
        finally:
            table.is_changed |= not finished and now is not None

    # -- starting ---------------------------------------------------------------------------------

    def load(self) -> None:
        """Find the queues by their names. Changes nothing that is whole. Raises `StoreCorrupt`."""
        self._start.load()

    def recover(
        self,
        durable: int,
        check: UnitCheck,
        *,
        clean: bool = False,
        marks_hold: bool = True,
        log_min: int = 0,
        cut_at: int = -1,
    ) -> int:
        """Find every queue's end; returns the physical offset from which to dispatch again.

        `durable`: every unit of a record before it was on disk once (`watermarks.py`, or where
        Apache's rules begin). `clean`: the last stop was one and the log ends at `durable`.
        `marks_hold`: nobody else wrote to this store since we did. `cut_at`: where the log was cut
        since, -1 for never. `log_min`: where the log begins; what a queue lost before it cannot
        come again, and leaves no hole. The result is below `durable` where a queue lost units,
        `log_min` where it lost all. Blocks; raises `OSError`.
        """
        again_from = self._start.recover(Trust(durable, clean, marks_hold, log_min, cut_at), check)
        again_from = max(again_from, log_min)
        self.min_physical = self._start.min_physical
        self._next.clear()
        self.dispatched_offset = self.durable_offset = again_from
        return again_from

    def correct_min(self, min_physical: int) -> None:
        """The log begins at `min_physical`, what it holds was dispatched. While starting only."""
        if min_physical > self.min_physical:
            for queue in self:
                queue.correct_min(min_physical)
            self.min_physical = min_physical
        self._start.settle()

    # -- removing ---------------------------------------------------------------------------------

    def truncate(self, physical_end: int) -> None:
        """The log was cut at `physical_end`: no unit may point behind it. Blocks; raises `OSError`.

        Costs a comparison for a queue that has none. `flush` makes it durable.
        """
        for queue in self:
            queue.truncate(physical_end)
        self._next.clear()
        self.dispatched_offset = min(self.dispatched_offset, physical_end)
        self.durable_offset = min(self.durable_offset, physical_end)

    async def delete_expired(self, min_physical: int) -> int:
        """Retention: the log begins at `min_physical` now. Returns the files dropped."""
        await trio.lowlevel.checkpoint()
        dropped = 0
        for queue in list(self):
            if self.get(queue.topic, queue.queue_id) is queue:
                dropped += await queue.expire(min_physical)
            await trio.lowlevel.checkpoint()
        self.min_physical = max(self.min_physical, min_physical)
        self.expired_files += dropped
        await self._forget_deleted(min_physical)
        self._table.is_changed |= dropped > 0
        return dropped

    async def _forget_deleted(self, min_physical: int) -> None:
        """Drop what is remembered of topics that were deleted before the log's begin.

        On disk first: marks that still call a topic deleted would drop what it gets anew.
        """
        if not self._forgettable(min_physical):
            return
        async with self._flushing:
            gone = self._forgettable(min_physical)
            try:
                await self._flush(marks=True, without=gone)
            except OSError as error:
                if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                    raise
                return  # another time
            for topic in set(gone) & set(self._forgettable(min_physical)):
                self._table.forget(topic)
                self._next.pop(topic, None)
            self._table.is_changed = True

    def _forgettable(self, min_physical: int) -> list[str]:
        """Not those that are coming back: of which something waits for dispatch."""
        return [
            topic
            for topic in self._table.forgettable(min_physical)
            if all(
                offset == self.max_offset(topic, queue_id)
                for queue_id, offset in self._next.get(topic, {}).items()
            )
        ]

    async def delete_topic(self, topic: str, log_end: int | None = None) -> None:
        """Drop the topic's queues. Their offsets go on where they are if the topic comes back.

        Until the log begins at or after `log_end` (None: what is dispatched), behind which nothing
        of the topic was appended; then it begins at 0 like any new one.

        The marks are durable before the first file goes, and a start finishes what was cut off.
        Cancelled or raising `OSError` before that: the topic is whole.
        """
        async with self._flushing:
            self.write_out()  # and so know whether a deleted topic came back
            if topic not in self._table.topics or topic in self._table.deleted:
                return
            end = self.dispatched_offset if log_end is None else log_end
            self._deleting[topic] = Deleted(self._next_offsets(topic), end)
            try:
                await self._flush(marks=True)
                self._drop_topic(topic, end)
            finally:
                del self._deleting[topic]

    def _next_offsets(self, topic: str) -> dict[int, int]:
        """Where each queue of a topic would go on, counting what is not dispatched yet."""
        offsets = {queue.queue_id: queue.max_offset for queue in self.queues_of(topic)}
        for queue_id, offset in self._next.get(topic, {}).items():
            offsets[queue_id] = max(offset, offsets.get(queue_id, 0))
        return offsets

    def _drop_topic(self, topic: str, log_end: int) -> None:
        offsets = self._next_offsets(topic)
        for queue in self.queues_of(topic):
            self._dirty.pop(queue, None)
        self._table.remove(topic)
        self._table.bury(topic, Deleted(offsets, log_end))
        self._next.pop(topic, None)

    def close(self) -> None:
        """Close the files. What is buffered must have been flushed."""
        self._files.close()
