"""One queue while a consumer holds it: what was fetched, what is out, what may be committed.

    offsets   3   4   5   6   7   8 │ 9
              ✓  handed ✓   ✓ waiting│ next_offset: where the next pull begins
                 ▲
                 commit_offset: the smallest unresolved, so that nothing below it can be lost

A message is *waiting*, then *handed* out, then either resolved (acknowledged, or safely stored by
the broker for a retry) or put back. One that failed is *returning* until the broker has it. Only
resolved messages leave; `commit_offset` is the first of what is left, or `next_offset`.

Plain data: `now` is an argument, in seconds. What is held is bounded by `Limits`: messages, bytes,
and the span between the oldest unresolved message and the next pull, so that one message that
hangs cannot make the set of those behind it, which a crash would repeat, grow for ever.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple, final

from broker_trio.model.message import MessageExt
from broker_trio.model.route import MessageQueue

PULL_MAX: Final = 32  # messages in one pull: more than this brokers cut off anyway


class Limits(NamedTuple):
    """How much one queue may hold: messages, their bytes in records, and offsets between ends."""

    messages: int = 1_000
    size: int = 16 << 20
    span: int = 2_000

    def shared(self, queues: int) -> "Limits":
        """Each queue's part of what all may hold together; never less than one message."""
        parts = max(queues, 1)
        return Limits(max(self.messages // parts, 1), max(self.size // parts, 1), self.span)


class Stage(Enum):
    """Where an unresolved message is."""

    WAITING = "waiting"
    HANDED = "handed"
    RETURNING = "returning"


@dataclass(slots=True)
class Held:
    """An unresolved message. `since`: when it was handed out last; `failed`: how often, here."""

    message: MessageExt
    stage: Stage = Stage.WAITING
    since: float = 0.0
    failed: int = 0


@final
class ProcessQueue:
    """A queue's unresolved messages in order. `dropped`: given up, outcomes no longer count."""

    def __init__(self, queue: MessageQueue, offset: int, *, ordered: bool = False) -> None:
        """`ordered`: one message at a time is out, and the next only after it was resolved."""
        assert offset >= 0, f"{queue} cannot begin at {offset}"
        self.queue, self.next_offset, self.ordered = queue, offset, ordered
        self.size = self.handed = self.resolved = 0
        self.dropped = False
        self.resume = 0.0  # an ordered queue rests until then
        self._held: dict[int, Held] = {}  # by offset; offsets only ever grow
        self._waiting: deque[Held] = deque()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def commit_offset(self) -> int:
        """Everything below it is resolved."""
        return next(iter(self._held), self.next_offset)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def room(self, limits: Limits) -> int:
        """How many messages the next pull may ask for; 0: not now."""
        if self.size >= limits.size or self.next_offset - self.commit_offset >= limits.span:
            return 0
        return max(min(limits.messages - len(self._held), PULL_MAX), 0)

    # ---- what happens

    def arrived(self, messages: Iterable[MessageExt], next_offset: int) -> int:
        """A pull from `next_offset` brought these; how many are new. Those not wanted are left out
        by the caller: they count as resolved, because `next_offset` passes them.
        """
        count = 0
        for message in messages:
            if message.queue_offset >= self.next_offset:
                held = self._held[message.queue_offset] = Held(message)
                self._waiting.append(held)
                self.next_offset = message.queue_offset + 1
                self.size += message.size
                count += 1
        self.next_offset = max(self.next_offset, next_offset)
        return count

    def ready(self, now: float) -> bool:
        """Whether `take` would give a message."""
        if self.dropped or not self._waiting:
            return False
        return not self.ordered or (len(self._held) == self.waiting and now >= self.resume)

    def take(self, now: float) -> Held | None:
        """The oldest waiting message, handed out from now on."""
        if not self.ready(now):
            return None
        held = self._waiting.popleft()
        held.stage, held.since = Stage.HANDED, now
        self.handed += 1
        return held

    def resolve(self, offset: int) -> bool:
        """It was handled, or the broker keeps it for a retry. False: it was not held any more."""
        held = self._held.pop(offset, None)
        if held is None:
            return False
        assert held.stage is not Stage.WAITING, f"{self.queue} at {offset} was never handed out"
        self.handed -= held.stage is Stage.HANDED
        self.size -= held.message.size
        self.resolved += 1
        return True

    def give_back(self, offset: int) -> Held | None:
        """It failed and waits until the broker has taken it back; None: no longer handed out."""
        held = self._held.get(offset)
        if held is None or held.stage is not Stage.HANDED:
            return None
        held.stage = Stage.RETURNING
        held.failed += 1
        self.handed -= 1
        return held

    def put_back(self, offset: int, resume: float) -> bool:
        """It failed and is to be handed out again, before all others, not before `resume`."""
        held = self._held.get(offset)
        if held is None or held.stage is not Stage.HANDED:
            return False
        held.stage = Stage.WAITING
        held.failed += 1
        self.handed -= 1
        self.resume = resume
        self._waiting.appendleft(held)
        return True

    def overdue(self, before: float) -> list[Held]:
        """Messages that were handed out before then and that nobody resolved, oldest first."""
        return [
            held
            for held in self._held.values()
            if held.stage is Stage.HANDED and held.since < before
        ]

    def drop(self) -> None:
        """Give the queue up: what waits is forgotten, what is out no longer counts."""
        self.dropped = True
        self._waiting.clear()
