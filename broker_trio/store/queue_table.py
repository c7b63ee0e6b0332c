"""Which consume queues there are: alive ones, and those of deleted topics that keep their place.

A deleted queue stays as an empty one that begins at its old next offset, because offsets of a queue
never go back within a store's lifetime: consumer offsets that somebody still has must never name
other messages. A topic is in `deleted` until one of its queues has a message again, or the log has
nothing any more that is older than the deletion. Deleted topics are bounded (`DELETED_TOPICS_MAX`);
the oldest are forgotten first.
"""

from collections.abc import Collection, Iterator
from typing import Final, final

from broker_trio.store.consume_queue import ConsumeQueue
from broker_trio.store.open_files import OpenFiles
from broker_trio.store.queue_files import CONSUME_QUEUE_FOLDER
from broker_trio.store.queue_marks import Deleted, QueueMarks, marks_of, pack_deleted

DELETED_TOPICS_MAX: Final = 10_000


@final
class QueueTable:
    """Queues by topic and queue id, and the next offsets of deleted ones."""

    def __init__(self, files: OpenFiles, segment_units: int) -> None:
        self.files, self._units = files, segment_units
        self.topics: dict[str, dict[int, ConsumeQueue]] = {}
        self.deleted: dict[str, Deleted] = {}
        self.is_changed = False  # a queue came since the marks were written

    def __iter__(self) -> Iterator[ConsumeQueue]:
        for queues in self.topics.values():
            yield from queues.values()

    def get(self, topic: str, queue_id: int) -> ConsumeQueue | None:
        """The queue, also an empty one; None where nothing was ever stored."""
        queues = self.topics.get(topic)
        return None if queues is None else queues.get(queue_id)

    def new(self, topic: str, queue_id: int, begin: int = 0) -> ConsumeQueue:
        """A queue that is not in the table yet."""
        return ConsumeQueue(self.files, self._units, topic, queue_id, begin)

    def add(self, queue: ConsumeQueue) -> ConsumeQueue:
        """Put a queue into the table; the same queue."""
        self.topics.setdefault(queue.topic, {})[queue.queue_id] = queue
        self.is_changed = True
        return queue

    def bury(self, topic: str, deleted: Deleted) -> None:
        """Keep a topic's queues as empty ones that begin at their next offsets."""
        if len(self.deleted) >= DELETED_TOPICS_MAX:
            oldest = next(iter(self.deleted))
            del self.deleted[oldest], self.topics[oldest]
        self.deleted[topic] = deleted
        for queue_id, offset in deleted.next_offsets.items():
            self.add(self.new(topic, queue_id, offset))

    def forgettable(self, min_physical: int) -> list[str]:
        """The log begins there now: deleted topics of which it has nothing, and no queue either."""
        return [
            topic
            for topic, deleted in self.deleted.items()
            if deleted.log_end <= min_physical
            and not any(queue.physical_end for queue in self.topics[topic].values())
        ]

    def forget(self, topic: str) -> None:
        """A deleted topic is like one that never was."""
        del self.deleted[topic], self.topics[topic]
        self.is_changed = True

    def remove(self, topic: str) -> None:
        """Take a topic's queues out, with files and folders. Raises `OSError`."""
        folder = f"{CONSUME_QUEUE_FOLDER}/{topic}"
        for queue in self.topics.pop(topic).values():
            queue.unlink_all()
            self.files.remove_folder(folder, queue.folder)
        self.files.remove_folder(CONSUME_QUEUE_FOLDER, folder)

    def marks(
        self,
        physical_end: int,
        min_physical: int,
        deleting: dict[str, Deleted],
        without: Collection[str] = (),
    ) -> QueueMarks:
        """What `queue_marks.py` keeps, as it is now; `deleting` counts as deleted already.

        Nothing of the deleted topics `without`.
        """
        gone = self.deleted | deleting
        queues = {
            topic: marks_of(by_id.values())
            for topic, by_id in self.topics.items()
            if topic not in gone
        }
        for topic in without:
            del gone[topic]
        return QueueMarks(
            physical_end=physical_end,
            min_physical=min_physical,
            queues=queues,
            deleted={topic: pack_deleted(one.next_offsets) for topic, one in gone.items()},
            deleted_ends={topic: one.log_end for topic, one in gone.items()},
        )
