"""Which queues an ordered consumer may read: those whose lock it took and still trusts.

    asked at t ──▶ granted ──────▶ trusted until t + 30 s          brokers keep a lock for 60 s,
                     │  renewed every 20 s                         and forget it when they restart
                     └─ not granted any more, or no answer for 30 s ──▶ lost

The time runs from the *asking*, so that two members never trust one lock at once. A lost queue is
given up with all that was fetched: whoever gets the lock next begins at what was committed.
"""

from collections.abc import Iterable
from typing import Final, final

from broker_trio.model.route import MessageQueue

RENEW_S: Final = 20.0
TRUST_S: Final = 30.0


@final
class LockTable:
    """Locks of one member in one group. `now` in seconds, on any clock that only grows."""

    def __init__(self) -> None:
        self._asked: dict[MessageQueue, float] = {}

    def granted(self, queues: Iterable[MessageQueue], asked: float) -> None:
        """The broker answered yes to a question that left at `asked`."""
        for queue in queues:
            self._asked[queue] = max(asked, self._asked.get(queue, asked))

    def renewed(self, queues: Iterable[MessageQueue], asked: float) -> None:
        """The same for those that were not given back meanwhile."""
        self.granted([queue for queue in queues if queue in self._asked], asked)

    def denied(self, queues: Iterable[MessageQueue]) -> list[MessageQueue]:
        """Another member has them now; those that were ours until then."""
        return [queue for queue in queues if self._asked.pop(queue, None) is not None]

    def forget(self, queue: MessageQueue) -> None:
        """It was given back."""
        self._asked.pop(queue, None)

    def holds(self, queue: MessageQueue, now: float) -> bool:
        asked = self._asked.get(queue)
        return asked is not None and now - asked < TRUST_S

    def expired(self, now: float) -> list[MessageQueue]:
        """Locks that cannot be trusted any more, sorted; they are forgotten."""
        late = sorted(queue for queue, asked in self._asked.items() if now - asked >= TRUST_S)
        for queue in late:
            del self._asked[queue]
        return late

    def by_broker(self) -> dict[str, list[MessageQueue]]:
        """What is to be renewed, in one question for each broker."""
        found: dict[str, list[MessageQueue]] = {}
        for queue in sorted(self._asked):
            found.setdefault(queue.broker_name, []).append(queue)
        return found
