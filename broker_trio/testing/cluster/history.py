"""What the clients of a simulated cluster did and saw: the evidence that checkers judge.

    Sent     one attempt of a producer: when, what, and how it ended
    Got      one delivery to a consumer: when, from where, which bytes
    Back     one message that a consumer sent back to be retried
    Stood    one answer about where a group stands
    Placed   one message as it lies in a queue in the end, read by a drain
    Life     what happened to one broker's process and machine, in the order of time

How an attempt ended:

    ACKED      SEND_OK: the promise holds, with `durability` "disk" or "memory"
    REFUSED    a code that says the message is not stored
    UNKNOWN    no answer, a broken connection, or stored-but-not-durable: stored once, or not
    NOT_SENT   it never left the client
    PENDING    the run, or the client, ended first: the same as UNKNOWN

Every body is different, so a body names its attempt. Nothing here decides what is right.
"""

from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import NamedTuple, final


class Outcome(Enum):
    """How an attempt to send ended."""

    PENDING = "pending"
    ACKED = "acked"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    NOT_SENT = "not sent"


@dataclass(slots=True)
class Sent:
    """One attempt. Times are virtual seconds; `queue_offset` is −1 unless stored for certain."""

    producer: str
    number: int  # counts this producer's attempts, one after the other
    topic: str
    body: bytes
    began: float
    delay_level: int = 0
    outcome: Outcome = Outcome.PENDING
    ended: float = 0.0
    broker: str = ""
    queue_id: int = -1
    queue_offset: int = -1
    durability: str = ""
    physical_offset: int = -1  # in the broker's log, of what was stored for certain
    code: int = 0
    reason: str = ""
    batch: int = 0  # number of the first attempt of its batch; 0 where it was sent alone
    volley: int = 0  # the same of attempts made at the same time, which end each by itself

    def __str__(self) -> str:
        place = f" at {self.broker}/{self.topic}/{self.queue_id}@{self.queue_offset}"
        return (
            f"{self.producer} #{self.number} ({len(self.body)} bytes, {self.outcome.value} "
            f"{self.began:.4f} to {self.ended:.4f} s"
            f"{place if self.queue_offset >= 0 else ' in ' + self.topic})"
        )


class Got(NamedTuple):
    """One delivery, `at` virtual seconds. `offset` is the message's place in its queue."""

    consumer: str
    broker: str
    topic: str
    queue_id: int
    offset: int
    physical_offset: int
    body: bytes
    at: float
    store_ms: int
    reconsume_times: int


class Back(NamedTuple):
    """A message that a consumer could not handle and sent back for a retry at a delay level."""

    consumer: str
    group: str
    body: bytes
    reconsume_times: int  # of the delivery that failed
    level: int
    began: float
    ended: float
    accepted: bool  # else the outcome is unknown, or it was refused


class Placed(NamedTuple):
    """A message of the final state."""

    broker: str
    topic: str
    queue_id: int
    offset: int
    body: bytes
    store_ms: int
    reconsume_times: int
    properties: dict[str, str]


class Stood(NamedTuple):
    """What a consumer was told of its group's committed offset, and of the queue's end after it."""

    group: str
    broker: str
    topic: str
    queue_id: int
    committed: int
    end: int
    at: float


class Event(NamedTuple):
    """A turn in a broker's life: "ready", "kill", "power", "stop" or "crash"."""

    what: str
    at: float


@final
class Life:
    """One broker's turns. A "kill" keeps the page cache, a "power" does not."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, what: str, at: float) -> None:
        self.events.append(Event(what, at))

    def _safe_since(self, at: float, flush_s: float) -> float:
        """When bytes in the page cache at `at` were surely on disk, if the power stayed on.

        The flusher takes `flush_s` at most; a process that dies before leaves them to the next
        one, which writes the tail again and flushes it before it is ready.
        """
        deadline = at + flush_s
        for event in self.events:
            if event.at < at:
                continue
            if event.what != "ready" and event.at < deadline:
                deadline = inf
            elif event.what == "ready" and deadline == inf:
                return event.at
        return deadline

    def may_lose(self, began: float, ended: float, flush_s: float) -> bool:
        """Whether a power loss may have taken what came to the page cache between the two times."""
        safe = max(self._safe_since(at, flush_s) for at in (began, ended))
        return any(event.what == "power" and began <= event.at <= safe for event in self.events)


@dataclass(slots=True)
class History:
    """Everything that clients did and saw in one run."""

    sent: list[Sent] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)
    backs: list[Back] = field(default_factory=list)
    stood: list[Stood] = field(default_factory=list)
    lives: dict[str, Life] = field(default_factory=dict)
    placed: list[Placed] = field(default_factory=list)
    began: dict[tuple[str, str, int], int] = field(default_factory=dict)  # queues' first offsets
    ended: dict[tuple[str, str, int], int] = field(default_factory=dict)  # queues' ends
    healed_at: float = 0.0  # when the last fault was over
    faults: int = 0  # beside those in `lives`: of links, clocks, disks, nameservers, operators

    def attempts(self) -> dict[bytes, Sent]:
        """Body to its attempt."""
        return {sent.body: sent for sent in self.sent}

    def count(self, outcome: Outcome) -> int:
        return sum(sent.outcome is outcome for sent in self.sent)

    def crashed(self, after: float, before: float) -> bool:
        """Whether a broker's process or machine ended between the two times."""
        return any(
            event.what in {"kill", "power"} and after <= event.at <= before
            for life in self.lives.values()
            for event in life.events
        )
