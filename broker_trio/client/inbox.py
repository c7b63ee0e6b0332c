"""All queues that a subscription holds, and whose message is handed out next: each queue in turn.

    queue 0   m m m ─┐
    queue 1   m      ├─▶ take(now)   one of 0, one of 1, one of 2, one of 0, …
    queue 2   m m   ─┘

A queue with many messages does not starve one with few. Queues that may have something ready stand
in line; who has nothing leaves the line, and joins it again when something happens to it (`mark`):
messages came, an ordered queue's message was resolved, its rest is over. No look at a hundred
queues for each message.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, final

from broker_trio.client.process_queue import Held, Limits, ProcessQueue
from broker_trio.model.route import MessageQueue


class Taken(NamedTuple):
    """A message that is handed out, and the queue that waits for its outcome."""

    source: ProcessQueue
    held: Held


@final
class Inbox:
    """Process queues by message queue; at most one of each."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.parts = 0  # queues that are ours, also those that are not held yet
        self._queues: dict[MessageQueue, ProcessQueue] = {}
        self._line: deque[ProcessQueue] = deque()
        self._in_line: set[int] = set()
        self._resting: set[MessageQueue] = set()

    def __len__(self) -> int:
        return len(self._queues)

    def __iter__(self) -> Iterator[ProcessQueue]:
        return iter(list(self._queues.values()))

    def __contains__(self, queue: MessageQueue) -> bool:
        return queue in self._queues

    def get(self, queue: MessageQueue) -> ProcessQueue | None:
        return self._queues.get(queue)

    @property
    def limits(self) -> Limits:
        """What each of the queues may hold now."""
        return self._limits.shared(max(self.parts, len(self._queues)))

    @property
    def handed(self) -> int:
        """Messages that are out."""
        return sum(held.handed for held in self._queues.values())

    def add(self, held: ProcessQueue) -> None:
        assert held.queue not in self._queues, f"{held.queue} is held already"
        self._queues[held.queue] = held
        self.mark(held)

    def remove(self, queue: MessageQueue) -> ProcessQueue | None:
        """Give a queue up: see `ProcessQueue.drop`."""
        held = self._queues.pop(queue, None)
        self._resting.discard(queue)
        if held is not None:
            held.drop()
        return held

    def mark(self, held: ProcessQueue) -> None:
        """Something happened to it: it may have a message ready, now or after its rest."""
        if held.resume and not held.dropped:
            self._resting.add(held.queue)
        if held.waiting and not held.dropped and id(held) not in self._in_line:
            self._in_line.add(id(held))
            self._line.append(held)

    def take(self, now: float) -> Taken | None:
        """The next message in turn."""
        for queue in [queue for queue in self._resting if self._queues[queue].resume <= now]:
            self._resting.discard(queue)
            self._queues[queue].resume = 0.0
            self.mark(self._queues[queue])
        while self._line:
            held = self._line.popleft()
            self._in_line.discard(id(held))
            found = held.take(now)
            if found is not None:
                if not held.ordered:
                    self.mark(held)
                return Taken(held, found)
        return None

    def wake_at(self) -> float | None:
        """When the first resting queue may go on."""
        return min((self._queues[queue].resume for queue in self._resting), default=None)
