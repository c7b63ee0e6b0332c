"""Ledgers made by hand: a sound drill of one writer and one reading, to be broken by tests.

Times: attempt n begins at n seconds and ends half a second later, unless told otherwise.
"""

from dataclasses import dataclass, field

from broker_trio.ops.ledger.evidence import Evidence
from broker_trio.ops.ledger.judge import judge
from broker_trio.ops.ledger.records import (
    Attempt,
    Damaged,
    Ended,
    Found,
    How,
    Outcome,
    QueueRead,
    Reading,
    Record,
    Writing,
)
from broker_trio.ops.ledger.report import Demands, Report

W1, W2 = "1111111111111111", "2222222222222222"
WALL_MS = 1_700_000_000_000
READ_AT_S = 1_000.0


def wall(t: float) -> int:
    return WALL_MS + round(t * 1_000)


@dataclass
class Drill:
    """What one writer told and one reading found; `report()` judges it."""

    writer: str = W1
    topic: str = "orders"
    broker: str = "broker-a"
    resend: bool = False
    rate: float = 1.0
    sent: list[Record] = field(default_factory=list)
    found: list[Record] = field(default_factory=list)
    queues: dict[int, QueueRead] = field(default_factory=dict)
    extra: list[Record] = field(default_factory=list)
    writer_ended: bool = True
    reader_ended: bool = True

    def attempt(self, n: int, at: float | None = None) -> None:
        t = float(n) if at is None else at
        self.sent.append(Attempt(n=n, t=t, wall_ms=wall(t)))

    def ends(
        self, n: int, how: How, queue: int = 0, offset: int = -1, *,
        at: float | None = None, tries: int = 1, cause: str = "",
    ) -> None:  # fmt: skip
        t = n + 0.5 if at is None else at
        where = {"broker": self.broker, "queue": queue, "offset": offset} if offset >= 0 else {}
        told = {"cause": cause, **where}
        self.sent.append(Outcome(n=n, t=t, wall_ms=wall(t), how=how, tries=tries, **told))

    def lies(self, n: int, queue: int, offset: int) -> None:
        self.found.append(
            Found(broker=self.broker, queue=queue, offset=offset, writer=self.writer, n=n)
        )

    def stored(self, n: int, queue: int, offset: int) -> None:
        """An attempt that was acknowledged and is there."""
        self.attempt(n)
        self.ends(n, "ok", queue, offset)
        self.lies(n, queue, offset)

    def read_queue(self, queue: int, high: int, *, low: int = 0, complete: bool = True) -> None:
        self.queues[queue] = QueueRead(
            broker=self.broker, queue=queue, low=low, high=high, complete=complete
        )

    def damaged(self, queue: int, offset: int) -> None:
        self.extra.append(Damaged(broker=self.broker, queue=queue, offset=offset, why="torn"))

    def writing(self) -> list[Record]:
        head = Writing(
            writer=self.writer, topic=self.topic, t=0.0, wall_ms=WALL_MS, rate=self.rate,
            resend=self.resend,
        )  # fmt: skip
        tail = [Ended(t=100.0, wall_ms=wall(100.0))] if self.writer_ended else []
        return [head, *self.sent, *tail]

    def reading(self, reader: str = "r1", at: float = READ_AT_S) -> list[Record]:
        head = Reading(reader=reader, topic=self.topic, t=5.0, wall_ms=wall(at))
        tail = [Ended(t=9.0, wall_ms=wall(at + 4))] if self.reader_ended else []
        return [head, *self.found, *self.extra, *self.queues.values(), *tail]

    def evidence(self) -> Evidence:
        return evidence_of(self.writing(), self.reading())

    def report(self, demands: Demands | None = None) -> Report:
        return judge(self.evidence(), demands)


def evidence_of(*files: list[Record]) -> Evidence:
    evidence = Evidence()
    for number, records in enumerate(files):
        evidence.begin_file(f"file-{number}")
        for record in records:
            evidence.add(record)
        evidence.end_file()
    return evidence


def sound(count: int = 8, queues: int = 2) -> Drill:
    """Every message acknowledged and there, in turns over the queues."""
    drill = Drill()
    for n in range(1, count + 1):
        drill.stored(n, (n - 1) % queues, (n - 1) // queues)
    for queue in range(queues):
        drill.read_queue(queue, (count - queue + queues - 1) // queues)
    return drill
