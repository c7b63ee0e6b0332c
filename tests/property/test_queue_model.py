"""Consume queues against a plain list: whatever happens in whatever order, both say the same."""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from trio.testing import MockClock

from broker_trio.store.config import TINY
from broker_trio.store.entry import Entry
from broker_trio.store.queues import ConsumeQueues
from broker_trio.store.units import Unit
from broker_trio.testing.sim_disk import SimDisk

QUEUES = [("A", 0), ("A", 1), ("B", 0)]
SIZE = 100


def wait_for(work: Callable[[], Awaitable[Any]]) -> None:
    """Run something that waits, in virtual time."""

    async def main() -> None:
        await work()

    trio.run(main, clock=MockClock(autojump_threshold=0))


class QueueModel(RuleBasedStateMachine):
    """The model: the log's records, where it begins, and where a deleted topic's queues begin."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = SimDisk(random.Random(1))
        self.queues = ConsumeQueues(self.disk, TINY)
        self.log: list[Entry] = []
        self.log_min = 0
        self.begin: dict[tuple[str, int], int] = {}
        self.gone: dict[str, int] = {}  # deleted topic → the log's end then
        self.lives = {"A": 0, "B": 0}  # a name begins anew once the log has nothing from before
        self.born: list[int] = []  # the life of each record's topic

    @property
    def log_end(self) -> int:
        return SIZE * len(self.log)

    def living(self, key: tuple[str, int]) -> list[Entry]:
        return [
            entry
            for entry in self.log
            if entry[:2] == key
            and entry.physical_offset >= self.log_min
            and entry.queue_offset >= self.begin.get(key, 0)
        ]

    def check(self, topic: str, queue_id: int, queue_offset: int, unit: Unit) -> bool:
        k = unit.physical_offset // SIZE
        return k < len(self.log) and self.log[k][:3] == (topic, queue_id, queue_offset)

    # -- what may happen --------------------------------------------------------------------------

    @rule(places=st.lists(st.integers(0, 2), min_size=1, max_size=12))
    def append(self, places: list[int]) -> None:
        """Messages come, to one queue or mixed."""
        entries = []
        for place in places:
            topic, queue_id = QUEUES[place]
            offset = self.queues.next_offset(topic, queue_id)
            self.queues.advance(topic, queue_id, 1)
            entry = Entry(topic, queue_id, offset, self.log_end, SIZE, offset, 0, 0, b"")
            self.log.append(entry)
            self.born.append(self.lives[topic])
            entries.append(entry)
        self.queues.put_all(entries)

    @rule(back=st.integers(0, 40))
    def dispatch_again(self, back: int) -> None:
        """Records that are there already come once more."""
        first = max(0, len(self.log) - back)
        self.queues.put_all([e for e in self.log[first:] if e.physical_offset >= self.log_min])

    @rule()
    def write_out(self) -> None:
        self.queues.write_out()

    @rule(marks=st.booleans())
    def flush(self, marks: bool) -> None:
        wait_for(lambda: self.queues.flush(marks=marks))

    @rule(cut=st.integers(0, 30))
    def truncate(self, cut: int) -> None:
        """The log loses its newest records, as recovery or a failover has it."""
        keep = max(len(self.log) - cut, self.log_min // SIZE)
        del self.log[keep:], self.born[keep:]
        self.queues.truncate(self.log_end)
        wait_for(lambda: self.queues.flush(marks=True))

    @precondition(lambda self: self.queues.durable_offset > self.log_min)
    @rule(share=st.floats(0, 1))
    def expire(self, share: float) -> None:
        """Retention drops the log's beginning, never what is not on disk everywhere."""
        steps = int((self.queues.durable_offset - self.log_min) / SIZE * share)
        self.log_min += SIZE * steps
        wait_for(lambda: self.queues.delete_expired(self.log_min))
        for topic in [topic for topic, end in self.gone.items() if end <= self.log_min]:
            del self.gone[topic]
            self.lives[topic] += 1
            self.begin = {key: begin for key, begin in self.begin.items() if key[0] != topic}

    @rule(topic=st.sampled_from("AB"))
    def delete_topic(self, topic: str) -> None:
        """The topic goes; its offsets stay for as long as the log's records of that time."""
        self.gone[topic] = self.log_end
        for key in QUEUES:
            if key[0] == topic:
                self.begin[key] = self.queues.next_offset(*key)
        wait_for(lambda: self.queues.delete_topic(topic))

    @rule(power=st.booleans())
    def crash(self, power: bool) -> None:
        """The process dies, perhaps the machine; the log survives, and is dispatched again."""
        durable = self.queues.durable_offset
        self.disk.crash(power=power)
        self.disk.restart()
        self.start(durable, clean=False)

    @rule()
    def stop_and_start(self) -> None:
        """A clean stop opens no file at the next start."""
        wait_for(lambda: self.queues.flush(marks=True))
        self.start(self.log_end, clean=True)
        assert self.queues.open_file_count == 0

    @rule(which=st.integers(0, 50), clean=st.booleans())
    def lose_a_file(self, which: int, clean: bool) -> None:
        """Somebody deletes a file while the store is closed."""
        wait_for(lambda: self.queues.flush(marks=True))
        paths = [
            f"{folder}/{name}"
            for topic, queue_id in QUEUES
            for folder in [f"consumequeue/{topic}/{queue_id}"]
            for name in self.disk.list(folder)
        ]
        if paths:
            self.disk.unlink(paths[which % len(paths)])
            self.start(self.log_end, clean=clean)

    def start(self, durable: int, *, clean: bool) -> None:
        self.queues = ConsumeQueues(self.disk, TINY)
        self.queues.load()
        again_from = self.queues.recover(durable, self.check, clean=clean, log_min=self.log_min)
        assert again_from <= durable
        again_from = max(again_from, self.log_min)
        self.queues.put_all([e for e in self.log if e.physical_offset >= again_from])
        self.queues.correct_min(self.log_min)

    # -- what always holds ------------------------------------------------------------------------

    @invariant()
    def every_living_message_is_at_its_offset(self) -> None:
        for key in QUEUES:
            queue = self.queues.get(*key)
            if queue is None:
                assert not self.living(key)
                continue
            assert 0 <= queue.min_offset <= queue.max_offset == self.queues.next_offset(*key)
            assert queue.min_offset >= self.begin.get(key, 0)
            found = {k: queue.unit_at(k) for k in range(queue.min_offset, queue.max_offset)}
            assert found == {
                entry.queue_offset: Unit(entry.physical_offset, SIZE, entry.tags_code)
                for entry in self.living(key)
            }

    @invariant()
    def offsets_name_one_message_each(self) -> None:
        """No offset is given twice within a topic's life, whatever was deleted or expired."""
        given = [(*entry[:3], life) for entry, life in zip(self.log, self.born, strict=True)]
        assert len(given) == len(set(given))


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
