"""All records of all files of one drill, put in order for the judge.

    file 1 ─ Writing w1 … Ended      ┐          writers   w1, w2: attempts with their outcomes
    file 2 ─ Writing w2 …            ├─ add ─▶  readings  r1: queues, what was found where
    file 3 ─ Reading r1 … Ended      ┘          flaws     what is wrong with the files themselves

The same file may be given twice, and files in any order. Nothing is judged here.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple, final

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.ops.ledger.records import (
    Attempt,
    Damaged,
    Ended,
    Found,
    Outcome,
    QueueRead,
    Reading,
    Record,
    Writing,
)

RECORDS_MAX: Final = 20_000_000  # some 6 GB of memory; a drill has thousands


class Place(NamedTuple):
    """Where a message is stored."""

    topic: str
    broker: str
    queue: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic} {self.broker}/{self.queue}@{self.offset}"


class Name(NamedTuple):
    """Which message it is."""

    writer: str
    n: int

    def __str__(self) -> str:
        return f"{self.writer} #{self.n}"


@dataclass(slots=True)
class Writer:
    """Everything that one run of `ledger write` told."""

    heading: Writing
    attempts: dict[int, Attempt] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    ended: Ended | None = None
    cut: bool = False  # its file is damaged: it may have sent more than is known

    def place(self, outcome: Outcome) -> Place:
        """Where its receipt says that the message is."""
        return Place(self.heading.topic, outcome.broker, outcome.queue, outcome.offset)

    def ends_at(self) -> float:
        """The last moment it tells of, on its own clock."""
        times = [self.heading.t]
        if self.ended is not None:
            times.append(self.ended.t)
        times.extend(attempt.t for attempt in self.attempts.values())
        times.extend(outcome.t for outcome in self.outcomes.values())
        return max(times)

    def wall_ms(self, t: float) -> int:
        """A moment of its clock as time since 1970, by the heading's pair; steps do not matter."""
        return self.heading.wall_ms + round((t - self.heading.t) * 1_000)

    def at(self, wall_ms: int) -> float:
        """The reverse."""
        return self.heading.t + (wall_ms - self.heading.wall_ms) / 1_000


@dataclass(slots=True)
class Reader:
    """Everything that one run of `ledger read` told."""

    heading: Reading
    found: list[Found] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)
    queues: dict[tuple[str, int], QueueRead] = field(default_factory=dict)
    ended: Ended | None = None

    def place(self, record: Found | Damaged) -> Place:
        """Where it found the message."""
        return Place(self.heading.topic, record.broker, record.queue, record.offset)


@final
class Evidence:
    """What the judge judges. Fill it file by file with `begin_file` and `add`."""

    def __init__(self) -> None:
        self.writers: dict[str, Writer] = {}
        self.readers: dict[str, Reader] = {}
        self.flaws: list[str] = []  # what makes the files themselves doubtful
        self.notes: list[str] = []  # what people should know and does no harm
        self._file = ""
        self._now: Writer | Reader | None = None
        self._records = 0

    def begin_file(self, name: str) -> None:
        """What is added from here on comes from this file."""
        self._file, self._now = name, None

    def add(self, record: Record) -> None:
        """Take one record in. Raises RemoteProtocolError where it cannot stand there."""
        self._records += 1
        if self._records > RECORDS_MAX:
            raise RemoteProtocolError(f"more than {RECORDS_MAX} records in all; check fewer files")
        match record:
            case Writing():
                self._now = self.writers.setdefault(record.writer, Writer(record))
            case Reading():
                self._now = self.readers.setdefault(record.reader, Reader(record))
            case _:
                self._add_below(record)

    def _add_below(self, record: Attempt | Outcome | Ended | Found | Damaged | QueueRead) -> None:
        match self._now, record:
            case Writer() as writer, Attempt():
                writer.attempts[record.n] = record
            case Writer() as writer, Outcome():
                writer.outcomes[record.n] = record
            case Reader() as reader, Found():
                reader.found.append(record)
            case Reader() as reader, Damaged():
                reader.damaged.append(record)
            case Reader() as reader, QueueRead():
                reader.queues[record.broker, record.queue] = record
            case (Writer() | Reader()) as run, Ended():
                run.ended = record
            case _:
                kind = record.__struct_config__.tag
                raise RemoteProtocolError(f"a record {kind!r} without its heading")

    def end_file(self, *, torn_bytes: int = 0, problem: str = "") -> None:
        """The file is read: what was left over at its end."""
        if problem:
            self.flaws.append(f"{self._file}: {problem}; nothing after it was read")
            if isinstance(self._now, Writer):
                self._now.cut = True
        elif torn_bytes:
            self.notes.append(
                f"{self._file}: its last {torn_bytes} bytes are no whole record, as after a kill"
            )
