"""Opening the consume queues: what is there, what is missing, from where to dispatch again.

    load      names and lengths of files, and the marks of the last run (`queue_marks.py`)
    recover   each queue's end; tells the physical offset from which the log must be dispatched
    settle    once that was done: queues of which the log has nothing any more keep their place

After a clean stop the ends come from the marks, and no file is opened. After any other one each
queue is cut back to what was certainly on disk and the rest is dispatched, and so written, again:
a page that can be read need not be on disk.

A queue lost units where its files are damaged, where it ends or begins otherwise than its mark
says, or where it has no files at all. Then the log is dispatched again from its last unit on, from
the beginning where it has none. Leading files that retention dropped are told from lost ones by
what follows: if that is expired too, so were they.

Files of a topic that the marks call deleted: with no message at or above its next offset they are
the rest of a deletion that was cut off, and go. With one, the topic lives again, from there on.
"""

from typing import NamedTuple, final

from broker_trio.model.errors import StoreCorrupt
from broker_trio.runtime.seams import Disk
from broker_trio.store import snapshot
from broker_trio.store.consume_queue import ConsumeQueue, UnitCheck
from broker_trio.store.queue_files import CONSUME_QUEUE_FOLDER
from broker_trio.store.queue_marks import (
    QUEUE_MARKS_PATH,
    Deleted,
    Mark,
    QueueMarks,
    unpack_deleted,
    unpack_marks,
)
from broker_trio.store.queue_table import QueueTable


class Trust(NamedTuple):
    """What a start may rely on; see `ConsumeQueues.recover`."""

    durable: int
    clean: bool
    marks_hold: bool
    log_min: int
    cut_at: int  # the log was cut there since the marks, -1 for never


@final
class QueueStart:
    """One start; used once."""

    def __init__(self, disk: Disk, table: QueueTable) -> None:
        self._disk, self._table = disk, table
        self._marks = QueueMarks()
        self._damaged: set[ConsumeQueue] = set()
        self._expected: dict[ConsumeQueue, int] = {}  # max offset that it had once
        self.min_physical = 0  # the log's begin that all min offsets found go with

    def load(self) -> None:
        """Find the queues. Changes nothing that is whole. Raises `StoreCorrupt`."""
        table = self._table
        assert not table.topics, "loaded twice"
        self._marks = snapshot.load(self._disk, QUEUE_MARKS_PATH, QueueMarks) or QueueMarks()
        for topic in self._disk.list(CONSUME_QUEUE_FOLDER):
            for name in self._disk.list(f"{CONSUME_QUEUE_FOLDER}/{topic}"):
                if not name.isdigit() or str(int(name)) != name:
                    path = f"{self._disk.root}/{CONSUME_QUEUE_FOLDER}/{topic}/{name}"
                    raise StoreCorrupt(path, 0, "not the folder of a queue id")
                queue = table.new(topic, int(name))
                whole = queue.load()
                if queue.file_count:
                    table.add(queue)
                    if not whole:
                        self._damaged.add(queue)

    def recover(self, trust: Trust, check: UnitCheck) -> int:
        """Ends of all queues; from where to dispatch again. Blocks; raises `OSError`."""
        marks = self._marks
        known = {t: unpack_marks(rows) for t, rows in marks.queues.items()}
        if not trust.marks_hold:
            known = {}
        deleted = {t: unpack_deleted(rows) for t, rows in marks.deleted.items()}
        again_from = trust.durable
        self.min_physical = marks.min_physical
        for queue in self._table:
            mark = known.get(queue.topic, {}).pop(queue.queue_id, None)
            if self._recover_one(queue, mark, trust, check):
                again_from = min(again_from, queue.physical_end)
        for topic, next_offsets in deleted.items():
            known.pop(topic, None)
            self._restore_deleted(topic, next_offsets)
        if self._restore_missing(known, trust):
            again_from = 0
        self._table.is_changed = False
        return again_from

    def _recover_one(
        self, queue: ConsumeQueue, mark: Mark | None, trust: Trust, check: UnitCheck
    ) -> bool:
        """One queue that has files; whether units of records before `durable` are missing."""
        lost = queue in self._damaged
        comparable = mark is not None and self._marks.physical_end <= trust.durable
        adopt = trust.clean and self._marks.physical_end == trust.durable and not lost
        if not (adopt and mark is not None and queue.adopt(*mark)):
            queue.recover(trust.durable, check, near=0 if mark is None else mark.max_offset)
            queue.correct_min(trust.log_min)
            self.min_physical = min(self.min_physical, trust.log_min)
        if mark is None:
            return lost
        first_lives = queue.first_unit == queue.min_offset < queue.max_offset
        if comparable and first_lives and mark.min_offset < queue.first_unit:
            queue.begin_at(mark.min_offset)  # what was before it may live as well
            lost = True
        lost = lost or (comparable and queue.max_offset < mark.max_offset)
        # Files of an earlier life may have come back, if their removal was not durable.
        of_earlier_life = not mark.physical_end and queue.max_offset <= mark.max_offset
        if of_earlier_life or not queue.physical_end:
            queue.begin_at(mark.min_offset)
        queue.min_offset = min(max(queue.min_offset, mark.min_offset), queue.max_offset)
        self._expect(queue, mark, trust)
        return lost

    def _expect(self, queue: ConsumeQueue, mark: Mark, trust: Trust) -> None:
        """Its place, unless that was of a tail that was cut: then it is given again."""
        if not 0 <= trust.cut_at < mark.physical_end:
            self._expected[queue] = mark.max_offset

    def _restore_deleted(self, topic: str, next_offsets: dict[int, int]) -> None:
        table = self._table
        alive = {}
        for queue_id, offset in next_offsets.items():
            queue = table.get(topic, queue_id)
            if queue is not None and queue.max_offset > offset:
                queue.min_offset = max(queue.min_offset, offset)
                alive[queue_id] = queue
        if topic in table.topics:
            if not alive and set(table.topics[topic]) <= set(next_offsets):
                table.remove(topic)
            else:
                for queue_id, offset in next_offsets.items():
                    if queue_id not in alive:
                        table.add(table.get(topic, queue_id) or table.new(topic, queue_id))
                        table.topics[topic][queue_id].begin_at(offset)
                return
        log_end = self._marks.deleted_ends.get(topic, self._marks.physical_end)
        table.bury(topic, Deleted(next_offsets, log_end))

    def _restore_missing(self, known: dict[str, dict[int, Mark]], trust: Trust) -> bool:
        """Queues that were known and have no files; whether any of them ever had a message."""
        lost = False
        for topic, queues in known.items():
            for queue_id, mark in queues.items():
                had_messages = mark.physical_end > 0
                begin = mark.min_offset if had_messages else mark.max_offset
                queue = self._table.add(self._table.new(topic, queue_id, begin))
                self._expect(queue, mark, trust)
                lost = lost or had_messages
        return lost

    def settle(self) -> None:
        """What the log holds was dispatched: who has nothing in it begins where it was."""
        for queue, max_offset in self._expected.items():
            if queue.min_offset == queue.max_offset < max_offset:
                queue.begin_at(max_offset)
        self._expected.clear()
        self._damaged.clear()
