"""Pulls that found nothing and wait for a message: the long poll.

    hold     under (topic, queue id), with the offset and tags that it wants
    arrived  the dispatcher's entries: those wanted wake their pulls, in the order they were held
    expired  at its deadline a pull is answered with what is there, which may be nothing

A pull looks and is held in one synchronous step, and the dispatcher tells of arrivals in another,
so no arrival can fall between the two (the lost wake-up of RocketMQ #7358). A woken pull runs once
more with holding off. Deadlines are a heap and one task; a pull whose connection closed is dropped.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import trio

from broker_trio.remoting.dispatch import Later, Parked, Request, Response, Session, settle
from broker_trio.runtime.seams import Clock
from broker_trio.store.entry import Entry

CODES_MAX: Final = 2_000_000  # tag codes of all held pulls together: 70 bytes each

Rerun = Callable[[], Response | Parked | Later]


@dataclass(slots=True, eq=False)
class Held:
    """One waiting pull. `codes` None = any tag."""

    request: Request
    topic: str
    queue_id: int
    offset: int
    codes: frozenset[int] | None
    deadline: float
    rerun: Rerun
    gone: bool = False


@final
class HeldPulls:
    """All waiting pulls of one broker."""

    def __init__(self, clock: Clock, held_max: int) -> None:
        self.held_max, self.codes_max = held_max, CODES_MAX
        self.count = self.codes = 0
        self.woken = self.expired = self.refused = 0
        self._clock = clock
        self._by_queue: dict[tuple[str, int], list[Held]] = {}
        self._by_session: dict[int, set[Held]] = {}
        self._deadlines: list[tuple[float, int, Held]] = []
        self._sequence = 0
        self._sooner = trio.Event()
        self._cold: list[tuple[Request, Later]] = []
        self._cold_work = trio.Event()

    @property
    def full(self) -> bool:
        return self.count >= self.held_max or self.codes >= self.codes_max

    def hold(self, held: Held) -> None:
        """Keep it until something arrives, its deadline, or its connection's end."""
        self.count += 1
        self.codes += len(held.codes or ())
        self._by_queue.setdefault((held.topic, held.queue_id), []).append(held)
        self._by_session.setdefault(held.request.session.id, set()).add(held)
        self._sequence += 1
        if not self._deadlines or held.deadline < self._deadlines[0][0]:
            self._sooner.set()
        heapq.heappush(self._deadlines, (held.deadline, self._sequence, held))

    def arrived(self, entries: list[Entry]) -> None:
        """Wake whoever wants one of these; a dict look-up an entry where nobody waits."""
        table = self._by_queue
        if not table:
            return
        for entry in entries:
            waiting = table.get((entry.topic, entry.queue_id))
            if waiting is None:
                continue
            for held in [h for h in waiting if wants(h, entry)]:
                self.woken += 1
                self._release(held)

    def wake_all(self) -> None:
        """Answer every waiting pull with what is there: the broker stops, or a queue was reset."""
        for waiting in list(self._by_queue.values()):
            for held in list(waiting):
                self._release(held)

    def session_closed(self, session: Session) -> None:
        """Drop the pulls of a connection that has ended."""
        for held in list(self._by_session.get(session.id, ())):
            self._remove(held)

    def _remove(self, held: Held) -> None:
        held.gone = True
        self.count -= 1
        self.codes -= len(held.codes or ())
        key = (held.topic, held.queue_id)
        waiting = self._by_queue[key]
        waiting.remove(held)
        if not waiting:
            del self._by_queue[key]
        mine = self._by_session[held.request.session.id]
        mine.discard(held)
        if not mine:
            del self._by_session[held.request.session.id]

    def _release(self, held: Held) -> None:
        self._remove(held)
        result = held.rerun()
        if isinstance(result, Response):
            held.request.answer(result)
        else:
            assert not isinstance(result, Parked), "a pull is held once"
            self._cold.append((held.request, result))
            self._cold_work.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Expire pulls at their deadline, and finish those whose messages turned out cold."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._expire)
            nursery.start_soon(self._finish_cold, nursery)
            task_status.started()

    async def _expire(self) -> None:
        while True:
            heap = self._deadlines
            now = self._clock.monotonic()
            while heap and (heap[0][2].gone or heap[0][0] <= now):
                held = heapq.heappop(heap)[2]
                if not held.gone:
                    self.expired += 1
                    self._release(held)
            self._sooner = trio.Event()
            wait = heap[0][0] - now if heap else 3600.0
            with trio.move_on_after(wait):
                await self._sooner.wait()

    async def _finish_cold(self, nursery: trio.Nursery) -> None:
        while True:
            await self._cold_work.wait()
            self._cold_work = trio.Event()
            work, self._cold = self._cold, []
            for request, later in work:
                nursery.start_soon(_finish, request, later)


async def _finish(request: Request, later: Later) -> None:
    result = await settle(later)
    assert isinstance(result, Response), "a pull is held once"
    request.answer(result)


def wants(held: Held, entry: Entry) -> bool:
    """Whether this arrival is one that the pull waits for."""
    if entry.queue_offset < held.offset:
        return False
    return held.codes is None or entry.tags_code in held.codes
