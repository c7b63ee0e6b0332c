"""One queue of a subscription: where to begin, then pull after pull into its process queue.

    (lock) ──▶ begin ──▶ room? ──▶ pull, held by the broker at the end ──▶ arrived ─┐
       ▲                   ▲  waits while the prefetch is full                      │
       │                   └────────────────────────────────────────────────────────┘
       └── given up from outside, by cancelling `scope`: rebalanced, lock lost, left

Nothing ends a reader but its scope. Every trouble is told once and tried again with growing pauses,
at another replica where there is one.
"""

from typing import Final, final

import anyio

from broker_trio.client.consumer_events import OffsetMoved, PullFailed, PullRecovered
from broker_trio.client.group_calls import Pulled
from broker_trio.client.membership import TROUBLE, Backoff, Membership
from broker_trio.client.offsets import Offsets
from broker_trio.client.process_queue import PULL_MAX, ProcessQueue
from broker_trio.client.tag_filter import EVERYTHING
from broker_trio.model.route import MASTER_ID, MessageQueue

QUICK_S: Final = 0.05  # an answer "nothing here" that came so soon was not held by the broker
IDLE_S: Final = 0.5  # the pause after it
DENIED_S: Final = 1.0  # between two attempts to lock a queue that another member has


@final
class Reader:
    """The task of one queue. `begun` is set as soon as it has a place to read from."""

    def __init__(
        self, member: Membership, offsets: Offsets, queue: MessageQueue, *, late: bool
    ) -> None:
        self.queue, self.scope, self.begun = queue, anyio.CancelScope(), anyio.Event()
        self._member, self._offsets, self._late = member, offsets, late
        self._filter = member.options.filters.get(queue.topic, EVERYTHING)
        self._backoff = Backoff(member.session)
        self._told = False
        self._replica = MASTER_ID
        self._room = anyio.Event()

    async def run(self) -> None:
        """Until `scope` is cancelled."""
        with self.scope:
            if self._member.options.ordered:
                await self._lock()
            self._hold(await self._begin())
            while not self.scope.cancel_called:  # an answer may be here before the cancellation
                await self._turn()

    # ---- before the first pull

    async def _lock(self) -> None:
        member = self._member
        while True:
            asked = anyio.current_time()
            try:
                address = await member.session.broker_address(self.queue.broker_name)
                granted = await member.calls.lock(address, [self.queue])
            except TROUBLE as error:
                await self._failed(error)
                continue
            if self.queue in granted:
                member.locks.granted(granted, asked)
                return
            await anyio.sleep(DENIED_S)

    async def _begin(self) -> int:
        while True:
            try:
                return await self._offsets.begin(self.queue, late=self._late)
            except TROUBLE as error:
                await self._failed(error)

    def _hold(self, offset: int) -> None:
        if self.scope.cancel_called:
            return
        options = self._member.options
        self._member.inbox.add(ProcessQueue(self.queue, offset, ordered=options.ordered))
        self.begun.set()
        self._member.changed()

    # ---- pulling

    async def _turn(self) -> None:
        """One pull, or one wait for room."""
        member = self._member
        held = member.inbox.get(self.queue)
        assert held is not None, f"{self.queue} is read and not held"
        if not self._has_room(held):
            self._room = anyio.Event()
            await self._room.wait()
            return
        if held.ordered and not member.locks.holds(self.queue, anyio.current_time()):
            await anyio.sleep(QUICK_S)  # its time is over: it is about to be given up
            return
        asked = anyio.current_time()
        try:
            pulled = await self._pull(held)
        except TROUBLE as error:
            await self._failed(error)
            return
        self._worked()
        self._replica = pulled.suggested_id
        if pulled.moved:
            await self._moved(held, pulled.next_offset)
        else:
            await self._arrived(held, pulled, asked)

    def _has_room(self, held: ProcessQueue) -> bool:
        """A few free places are not worth a question."""
        limits = self._member.inbox.limits
        return held.room(limits) >= min(PULL_MAX, -(-limits.messages // 4))

    def poke(self, held: ProcessQueue) -> None:
        """A message of the queue was settled: there may be room again."""
        if not self._room.is_set() and self._has_room(held):
            self._room.set()

    async def _pull(self, held: ProcessQueue) -> Pulled:
        member, offset = self._member, held.commit_offset
        address = await member.read_address(self.queue, self._replica, self._backoff.failures)
        commits = not member.options.broadcast and self._offsets.known.get(self.queue) != offset
        pulled = await member.calls.pull(
            address,
            self.queue,
            held.next_offset,
            filter=self._filter,
            count=held.room(member.inbox.limits),
            wait_ms=int(member.options.hold_s * 1_000),
            commit_offset=offset if commits else None,
        )
        if commits:
            self._offsets.noted(self.queue, offset)
        return pulled

    async def _arrived(self, held: ProcessQueue, pulled: Pulled, asked: float) -> None:
        before = held.next_offset
        if held.arrived(pulled.messages, pulled.next_offset):
            self._member.inbox.mark(held)
            self._member.changed()
        elif held.next_offset == before and anyio.current_time() - asked < QUICK_S:
            await anyio.sleep(IDLE_S)

    async def _moved(self, held: ProcessQueue, offset: int) -> None:
        """Our place is none of the queue's: what we have of it is forgotten, but not in use."""
        member = self._member
        member.emit(OffsetMoved(member.group, self.queue, held.next_offset, offset))
        member.inbox.remove(self.queue)
        self._offsets.doubt(self.queue)
        member.changed()
        if held.ordered:
            await member.settled(held, member.options.handle_timeout_s)
        self._hold(offset)

    # ---- trouble

    async def _failed(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            self._member.emit(PullFailed(self._member.group, self.queue, str(error)))
        self._member.session.routes.suspect()
        await self._backoff.pause()

    def _worked(self) -> None:
        self._backoff.reset()
        if self._told:
            self._told = False
            self._offsets.doubt(self.queue)  # a broker that was killed comes back with older ones
            self._member.emit(PullRecovered(self._member.group, self.queue))
