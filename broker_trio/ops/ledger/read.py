"""Reading back everything that a topic holds: each queue from its first message to its end.

    queue ─ bounds ─▶ pull, pull, … ─▶ Found │ Damaged │ foreign │ hole ─▶ QueueRead

No consumer group is asked: what is read depends on the store alone, and reading twice does no harm.
A queue's end is taken when it is begun. A broker that does not answer is asked again until it was
silent for `patience_s`; then the queue is on record as not complete, which the judge respects. A
broker that *answers* and gives no message at an offset that it counts has a hole there: it is
passed over, and whosever message it was is missed by the judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, final

import trio

from broker_trio.model.errors import BrokerTrioError, RemoteProtocolError
from broker_trio.ops.ledger.file import LedgerFile
from broker_trio.ops.ledger.payload import Numbered, parse_body
from broker_trio.ops.ledger.records import TEXT_MAX, Damaged, Ended, Found, QueueRead, Reading
from broker_trio.runtime.seams import Clock

QUEUES_AT_ONCE: Final = 8
COUNT: Final = 32
PAUSE_S: Final = 0.5
ANSWERS_WITHOUT_PROGRESS_MAX: Final = 5


class Stored(NamedTuple):
    """A message as its queue gives it."""

    offset: int
    body: bytes
    keys: list[str]
    store_ms: int


class Batch(NamedTuple):
    """What one pull brought, and where the next one goes on."""

    messages: Sequence[Stored]
    next_offset: int


class Source(Protocol):
    """A topic's queues. Each call raises BrokerTrioError where it got no usable answer."""

    async def queues(self) -> Sequence[tuple[str, int]]:
        """Broker name and number of each."""
        ...

    async def bounds(self, broker: str, queue: int) -> tuple[int, int]:
        """The first offset, and the next one to be written."""
        ...

    async def pull(self, broker: str, queue: int, offset: int, count: int) -> Batch:
        """RemoteProtocolError: the answer holds a record that is none."""
        ...


@dataclass(slots=True)
class Progress:
    """How far a reading is, for whoever watches."""

    queues: int = 0
    queues_done: int = 0
    messages: int = 0  # seen, of anybody
    expected: int = 0  # in the queues begun so far
    found: int = 0
    damaged: int = 0
    incomplete: int = 0


@final
class LedgerReader:
    """One run over one topic."""

    def __init__(
        self,
        file: LedgerFile,
        source: Source,
        clock: Clock,
        reader: str,
        topic: str,
        *,
        patience_s: float = 30.0,
    ) -> None:
        self.progress = Progress()
        self._file, self._source, self._clock = file, source, clock
        self._reader, self._topic, self._patience_s = reader, topic, patience_s

    async def run(self) -> None:
        """Read all queues. Raises BrokerTrioError where not even the queues are to be had."""
        clock = self._clock
        queues = await self._source.queues()
        self.progress.queues = len(queues)
        self._file.add(
            Reading(
                reader=self._reader, topic=self._topic,
                t=clock.monotonic(), wall_ms=clock.wall_ms(),
            )
        )  # fmt: skip
        limit = trio.CapacityLimiter(QUEUES_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for broker, queue in queues:
                nursery.start_soon(self._read_queue, broker, queue, limit)
        self._file.add(Ended(t=clock.monotonic(), wall_ms=clock.wall_ms()))
        await self._file.flush()

    async def _read_queue(self, broker: str, queue: int, limit: trio.CapacityLimiter) -> None:
        async with limit:
            one = _Queue(self._file, self._source, self.progress, broker, queue)
            with trio.CancelScope() as patience:
                await one.read(patience, self._patience_s)
            self._file.add(one.ended(in_time=not patience.cancelled_caught))
            self.progress.queues_done += 1
            self.progress.incomplete += patience.cancelled_caught


@final
class _Queue:
    """One queue, at some offset of it."""

    def __init__(
        self, file: LedgerFile, source: Source, progress: Progress, broker: str, queue: int
    ) -> None:
        self._file, self._source, self._progress = file, source, progress
        self._broker, self._queue = broker, queue
        self._low = self._high = self._at = 0
        self._found = self._foreign = self._damaged = self._seen = self._idle = 0
        self._problem = "its broker does not answer"

    async def read(self, patience: trio.CancelScope, patience_s: float) -> None:
        """To the end that it has now. The deadline moves on with every answer that helps."""
        patience.deadline = trio.current_time() + patience_s
        begun = False
        while not begun or self._at < self._high:
            try:
                if begun:
                    helped = await self._pull()
                else:
                    self._low, self._high = await self._source.bounds(self._broker, self._queue)
                    self._at = self._low
                    self._progress.expected += self._high - self._low
                    begun = helped = True
            except BrokerTrioError as error:
                self._problem = str(error)
                await trio.sleep(PAUSE_S)
                continue
            if helped:
                patience.deadline = trio.current_time() + patience_s

    async def _pull(self) -> bool:
        """One pull; whether it brought us on."""
        before, count = self._at, 1 if self._idle else COUNT
        try:
            batch = await self._source.pull(self._broker, self._queue, before, count)
        except RemoteProtocolError as error:
            self._bad(str(error), alone=count == 1)
            return self._at > before
        for stored in batch.messages:
            if before <= stored.offset < self._high:
                self._take(stored)
        self._at = max(before, min(batch.next_offset, self._high))
        if self._at > before:
            self._idle = 0
            return True
        self._problem = (
            f"its broker gives nothing at offset {before}, though it ends at {self._high}"
        )
        self._idle += 1
        if self._idle < ANSWERS_WITHOUT_PROGRESS_MAX:
            await trio.sleep(PAUSE_S)
            return False
        self._at, self._idle = before + 1, 0
        return True

    def _bad(self, why: str, *, alone: bool) -> None:
        """An answer that cannot be decoded: asked for one by one, the bad one shows."""
        self._problem = why
        if not alone:
            self._idle = 1
            return
        self._note_damaged(self._at, why)
        self._at += 1
        self._seen += 1

    def _take(self, stored: Stored) -> None:
        self._seen += 1
        self._progress.messages += 1
        told = parse_body(stored.body, stored.keys)
        match told:
            case None:
                self._foreign += 1
            case Numbered(writer, n):
                self._found += 1
                self._progress.found += 1
                self._file.add(
                    Found(
                        broker=self._broker, queue=self._queue, offset=stored.offset,
                        writer=writer, n=n, store_ms=stored.store_ms,
                    )
                )  # fmt: skip
            case str():
                self._note_damaged(stored.offset, told)

    def _note_damaged(self, offset: int, why: str) -> None:
        self._damaged += 1
        self._progress.damaged += 1
        self._file.add(
            Damaged(broker=self._broker, queue=self._queue, offset=offset, why=why[:TEXT_MAX])
        )

    def ended(self, *, in_time: bool) -> QueueRead:
        """What is to be put on record of it."""
        read = self._at - self._low
        return QueueRead(
            broker=self._broker,
            queue=self._queue,
            low=self._low,
            high=self._high,
            found=self._found,
            foreign=self._foreign,
            holes=max(0, read - self._seen),
            complete=in_time,
            why="" if in_time else self._problem[:TEXT_MAX],
        )
