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

from collections.abc import Iterator
from typing import Final, final

import trio

from broker_trio.model.errors import StoreCorrupt
from broker_trio.runtime.seams import Disk
from broker_trio.store import snapshot
from broker_trio.store.config import StoreConfig
from broker_trio.store.consume_queue import ConsumeQueue, UnitCheck
from broker_trio.store.entry import Entry
from broker_trio.store.open_files import OPEN_FILES_MAX, OpenFiles
from broker_trio.store.queue_files import CONSUME_QUEUE_FOLDER
from broker_trio.store.queue_marks import (
    DELETED_TOPICS_MAX,
    QUEUE_MARKS_PATH,
    Mark,
    QueueMarks,
    marks_of,
    pack_deleted,
    unpack_deleted,
    unpack_marks,
)
from broker_trio.store.units import UNIT

HIDDEN: Final = 0x4  # the bit of sysFlag that PREPARED and ROLLBACK share: they enter no queue
MARKS_EVERY: Final = 10
"""Flushes between two writes of the marks: a start with older ones does more, nothing else."""


@final
class ConsumeQueues:
    """Every queue by topic and queue id."""

    def __init__(
        self, disk: Disk, config: StoreConfig, *, open_files_max: int = OPEN_FILES_MAX
    ) -> None:
        self._disk, self._units = disk, config.consume_queue_segment_units
        self._files = OpenFiles(disk, open_files_max)
        self._topics: dict[str, dict[int, ConsumeQueue]] = {}
        self._next: dict[str, dict[int, int]] = {}
        self._deleted: dict[
            str, dict[int, int]
        ] = {}  # topics without files: next offset by queue id
        self._deleting: dict[str, dict[int, int]] = {}
        self._dirty: dict[ConsumeQueue, None] = {}  # ordered: a seed replays its writes
        self._marks = QueueMarks()
        self._damaged: set[ConsumeQueue] = set()
        self._expected: dict[ConsumeQueue, int] = {}  # while starting: max offset it had once
        self._queue_added = False
        self._flushing = trio.Lock()
        self._flushes_since_marks = 0
        self.dispatched_offset = self.durable_offset = 0
        self.min_physical = 0
        self.put_count = self.ignored_count = 0
        self.expired_files = 0

    # -- looking ----------------------------------------------------------------------------------

    def get(self, topic: str, queue_id: int) -> ConsumeQueue | None:
        """The queue, also an empty one; None where nothing was ever stored."""
        queues = self._topics.get(topic)
        return None if queues is None else queues.get(queue_id)

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
        return [topic for topic in self._topics if topic not in self._deleted]

    def queues_of(self, topic: str) -> list[ConsumeQueue]:
        """The topic's queues by id."""
        queues = self._topics.get(topic, {})
        return [queues[queue_id] for queue_id in sorted(queues)]

    def __iter__(self) -> Iterator[ConsumeQueue]:
        for queues in self._topics.values():
            yield from queues.values()

    @property
    def queue_count(self) -> int:
        return sum(map(len, self._topics.values()))

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

    # -- putting ----------------------------------------------------------------------------------

    def put_all(self, entries: list[Entry]) -> None:
        """Add dispatched records, in the order of the log. Raises `StoreCorrupt` for a hole.

        Records that are there already are ignored: the log may be dispatched again from anywhere.
        """
        topics, dirty, pack = self._topics, self._dirty, UNIT.pack
        ignored = 0
        for topic, queue_id, offset, position, size, code, _, sys_flag, _ in entries:
            if sys_flag & HIDDEN:
                continue
            try:
                queue = topics[topic][queue_id]
            except KeyError:
                queue = self._add(topic, queue_id)
            if offset == queue.max_offset and position >= queue.physical_end:
                queue.buffer += pack(position, size, code)
                queue.max_offset = offset + 1
                queue.physical_end = position + size
                dirty[queue] = None
            elif queue.put(offset, position, size, code):
                dirty[queue] = None
            else:
                ignored += 1
        if entries:
            last = entries[-1]
            self.dispatched_offset = max(self.dispatched_offset, last.physical_offset + last.size)
        self.put_count += len(entries) - ignored
        self.ignored_count += ignored

    def _new(self, topic: str, queue_id: int, begin: int = 0) -> ConsumeQueue:
        return ConsumeQueue(self._files, self._units, topic, queue_id, begin)

    def _add(self, topic: str, queue_id: int, begin: int = 0) -> ConsumeQueue:
        queue = self._new(topic, queue_id, begin)
        self._topics.setdefault(topic, {})[queue_id] = queue
        self._queue_added = True
        return queue

    def write_out(self) -> None:
        """Bring every buffered unit to the page cache. Raises `OSError`."""
        dirty = self._dirty
        for queue in dirty:
            queue.write_out()
            if self._deleted:
                self._deleted.pop(queue.topic, None)  # alive again
        dirty.clear()

    # -- flushing ---------------------------------------------------------------------------------

    async def flush(self, *, marks: bool = False) -> None:
        """Make all that was put so far durable; `marks` (at a clean stop): the marks as well.

        Raises `OSError`. Cancelled: what was not flushed is flushed the next time.
        """
        async with self._flushing:
            await self._flush(marks=marks)

    async def _flush(self, *, marks: bool) -> None:
        self.write_out()
        end = self.dispatched_offset
        self._flushes_since_marks += 1
        due = self._files.is_touched and self._flushes_since_marks >= MARKS_EVERY
        now = self._snapshot(end) if marks or due or self._queue_added else None
        self._queue_added = False
        finished = False
        try:
            await self._files.flush_touched()
            self.durable_offset = max(self.durable_offset, end)
            if now is not None:
                await snapshot.save(self._disk, QUEUE_MARKS_PATH, now)
                self._flushes_since_marks = 0
            finished = True
        finally:
            self._queue_added |= not finished and now is not None

    def _snapshot(self, physical_end: int) -> QueueMarks:
        """The marks as they are now; all units are in the page cache, a flush makes them true."""
        queues = {
            topic: marks_of(by_id.values())
            for topic, by_id in self._topics.items()
            if topic not in self._deleted and topic not in self._deleting
        }
        gone = self._deleted | self._deleting
        deleted = {topic: pack_deleted(by_id) for topic, by_id in gone.items()}
        return QueueMarks(
            physical_end=physical_end,
            min_physical=self.min_physical,
            queues=queues,
            deleted=deleted,
        )

    # -- starting ---------------------------------------------------------------------------------

    def load(self) -> None:
        """Find the queues by their names. Changes nothing that is whole. Raises `StoreCorrupt`."""
        assert not self._topics, "loaded twice"
        self._marks = snapshot.load(self._disk, QUEUE_MARKS_PATH, QueueMarks) or QueueMarks()
        for topic in self._disk.list(CONSUME_QUEUE_FOLDER):
            for name in self._disk.list(f"{CONSUME_QUEUE_FOLDER}/{topic}"):
                if not name.isdigit() or str(int(name)) != name:
                    path = f"{self._disk.root}/{CONSUME_QUEUE_FOLDER}/{topic}/{name}"
                    raise StoreCorrupt(path, 0, "not the folder of a queue id")
                queue = self._new(topic, int(name))
                whole = queue.load()
                if queue.file_count:
                    self._topics.setdefault(topic, {})[queue.queue_id] = queue
                    if not whole:
                        self._damaged.add(queue)

    def recover(
        self, durable: int, check: UnitCheck, *, clean: bool = False, marks_hold: bool = True
    ) -> int:
        """Find every queue's end; returns the physical offset from which to dispatch again.

        `durable`: every unit of a record before it was on disk once (`watermarks.py`, or where
        Apache's rules begin). `clean`: the last stop was one and the log ends at `durable`.
        `marks_hold`: nobody else wrote to this store since we did. The result is below `durable`
        where a queue lost units, 0 where it lost all. Blocks; raises `OSError`.
        """
        marks = self._marks
        known = {t: unpack_marks(rows) for t, rows in marks.queues.items()} if marks_hold else {}
        adopt = clean and marks_hold and marks.physical_end == durable
        again_from = durable
        for queue in self:
            mark = known.get(queue.topic, {}).pop(queue.queue_id, None)
            lost = queue in self._damaged
            if lost or not adopt or mark is None or not queue.adopt(*mark):
                queue.recover(durable, check)
            if mark is not None and marks.physical_end <= durable:
                lost = lost or queue.max_offset < mark.max_offset
                self._expected[queue] = mark.max_offset
            if lost:
                again_from = min(again_from, queue.physical_end)
        self._restore_deleted(known)
        if self._restore_missing(known):
            again_from = 0
        self.min_physical = marks.min_physical if adopt else 0
        self._damaged.clear()
        self._next.clear()
        self._queue_added = False
        self.dispatched_offset = self.durable_offset = again_from
        return again_from

    def _restore_deleted(self, known: dict[str, dict[int, Mark]]) -> None:
        for topic, rows in self._marks.deleted.items():
            if topic not in self._topics:
                known.pop(topic, None)
                self._bury(topic, unpack_deleted(rows))

    def _restore_missing(self, known: dict[str, dict[int, Mark]]) -> bool:
        """Queues that were known and have no files; whether any of them ever had a message."""
        lost = False
        for topic, queues in known.items():
            for queue_id, mark in queues.items():
                had_messages = mark.physical_end > 0
                queue = self._add(
                    topic, queue_id, mark.min_offset if had_messages else mark.max_offset
                )
                self._expected[queue] = mark.max_offset
                lost = lost or had_messages
        return lost

    def correct_min(self, min_physical: int) -> None:
        """The log begins at `min_physical`, what it holds was dispatched. While starting only."""
        if min_physical > self.min_physical:
            for queue in self:
                queue.correct_min(min_physical)
            self.min_physical = min_physical
        for queue, max_offset in self._expected.items():
            if queue.min_offset == queue.max_offset < max_offset:
                queue.restart_at(max_offset)  # nothing of it is in the log any more
        self._expected.clear()

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
        return dropped

    async def delete_topic(self, topic: str) -> None:
        """Drop the topic's queues. Their offsets go on where they are if the topic comes back.

        The marks are durable before the first file goes: a crash in between leaves the topic whole.
        Cancelled or raising `OSError` before that: so does this.
        """
        async with self._flushing:
            if topic not in self._topics or topic in self._deleted:
                return
            self._deleting[topic] = self._next_offsets(topic)
            try:
                await self._flush(marks=True)
                self._drop_topic(topic)
            finally:
                del self._deleting[topic]

    def _next_offsets(self, topic: str) -> dict[int, int]:
        """Where each queue of a topic would go on, counting what is not dispatched yet."""
        offsets = {
            queue_id: queue.max_offset for queue_id, queue in self._topics.get(topic, {}).items()
        }
        for queue_id, offset in self._next.get(topic, {}).items():
            offsets[queue_id] = max(offset, offsets.get(queue_id, 0))
        return offsets

    def _drop_topic(self, topic: str) -> None:
        offsets = self._next_offsets(topic)
        for queue in self._topics.pop(topic).values():
            self._dirty.pop(queue, None)
            queue.unlink_all()
            self._files.remove_folder(f"{CONSUME_QUEUE_FOLDER}/{topic}", queue.folder)
        self._files.remove_folder(CONSUME_QUEUE_FOLDER, f"{CONSUME_QUEUE_FOLDER}/{topic}")
        self._next.pop(topic, None)
        self._bury(topic, offsets)

    def _bury(self, topic: str, offsets: dict[int, int]) -> None:
        """Keep a deleted topic's queues as empty ones that begin at their next offsets."""
        if len(self._deleted) >= DELETED_TOPICS_MAX:
            oldest = next(iter(self._deleted))
            del self._deleted[oldest], self._topics[oldest]
        self._deleted[topic] = offsets
        for queue_id, offset in offsets.items():
            self._add(topic, queue_id, offset)

    def close(self) -> None:
        """Close the files. What is buffered must have been flushed."""
        self._files.close()
