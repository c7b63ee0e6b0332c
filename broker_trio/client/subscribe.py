"""A subscription: one member of a group, from joining to leaving.

    join    routes ─▶ heartbeat ─▶ first rebalance ─▶ every queue of ours has a place
    run     `async for`: the inbox's next message, at most `concurrency` of them out at once
            rebalance each 20 s, on 40 (somebody came or left), on each change of a route
    leave   stop reading ─▶ wait for what is out ─▶ commit ─▶ unlock ─▶ unregister

Whoever leaves because of a cancellation does not wait for handlers, and says good-bye within the
client's `leave_timeout_s`. What was not settled then is given to another member.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, final

import anyio

from broker_trio.client.assignment import Assignment
from broker_trio.client.consume import Reader
from broker_trio.client.consumer_errors import NotSubscribed
from broker_trio.client.consumer_events import LockLost
from broker_trio.client.consumer_options import ConsumerOptions
from broker_trio.client.delivered import Delivered
from broker_trio.client.errors import NoRoute
from broker_trio.client.events import Rebalanced
from broker_trio.client.handing import Handing
from broker_trio.client.membership import Membership
from broker_trio.client.offsets import Offsets
from broker_trio.client.ordered import LockKeeper
from broker_trio.client.process_queue import ProcessQueue
from broker_trio.client.rebalance import change
from broker_trio.client.session import OWN, Session
from broker_trio.model.names import is_retry
from broker_trio.model.route import MessageQueue
from broker_trio.wire.bodies.heartbeat import ConsumerData
from broker_trio.wire.bodies.running import QueueInfo, RunningInfo

if TYPE_CHECKING:
    from broker_trio.client.consumers import Consumers

LOOK_AGAIN_S: Final = 1.0  # after a look that could not find out everything; doubles
BEGIN_S: Final = 10.0  # how long joining waits for the first places
LOCK_S: Final = 2.0  # the same where another member may still have the locks


@final
class Subscription:
    """`async with mq.subscribe(…) as sub: async for message in sub: async with message: …`.

    Several tasks may iterate over one subscription: each message goes to one of them.
    """

    def __init__(self, session: Session, consumers: "Consumers", options: ConsumerOptions) -> None:
        self.options = options
        self._session, self._consumers = session, consumers
        self._member = Membership(session, options)
        self._offsets = Offsets(self._member)
        self._assignment = Assignment(self._member)
        self._locks = LockKeeper(self._member, self._lock_lost)
        self._handing = Handing(self._member, self._poke)
        self._readers: dict[MessageQueue, Reader] = {}
        self._retiring: dict[MessageQueue, ProcessQueue | None] = {}
        self._assigned: dict[str, tuple[MessageQueue, ...]] = {}
        self._nudged = anyio.Event()
        self._stop_watching: list[Callable[[], None]] = []
        self._tasks = anyio.create_task_group()
        self._entered = False

    # ---- for programs

    @property
    def group(self) -> str:
        return self.options.group

    @property
    def queues(self) -> list[MessageQueue]:
        """What this member reads now."""
        return sorted(self._readers)

    @property
    def positions(self) -> dict[MessageQueue, int]:
        """Each queue's smallest unresolved offset: where a broadcast member may start again."""
        return {held.queue: held.commit_offset for held in self._member.inbox}

    def __aiter__(self) -> Self:
        if not self._entered:
            raise NotSubscribed(self.group)
        return self

    async def __anext__(self) -> Delivered:
        """The next message; ends when the subscription is left. Cancelling loses none."""
        return await self._handing.next()

    async def each(self, handler: Callable[[Delivered], Awaitable[object]]) -> None:
        """Call `handler` for every message in `concurrency` tasks, settling each by its outcome."""
        async with anyio.create_task_group() as tasks:
            for _ in range(self.options.concurrency):
                tasks.start_soon(self._each, handler)

    async def _each(self, handler: Callable[[Delivered], Awaitable[object]]) -> None:
        async for message in self:
            async with message:
                await handler(message)

    # ---- joining

    async def __aenter__(self) -> Self:
        """Raises `NoRoute` for a topic that does not exist (after 2 s: it may be new),
        `NoPermission` where nobody may read it, `Unreachable` where nobody answers, `GroupTaken`
        where this client is in the group already.
        """
        self._consumers.join(self)
        try:
            await self._tasks.__aenter__()
        except BaseException:
            self._consumers.left(self)
            raise
        try:
            await self._join()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        self._entered = True
        return self

    async def _join(self) -> None:
        for topic in self.options.topics:
            await self._find(topic, patient=not is_retry(topic) and not self.options.wait_for_topic)
        self._session.heartbeat.add_consumer(self._registration())
        await self._session.heartbeat.beat()
        for topic in self.options.topics:
            stop = self._session.routes.watch(topic, lambda _: self.nudge())
            self._stop_watching.append(stop)
        await self._rebalance()
        tasks = self._tasks
        tasks.start_soon(self._keep_balanced)
        tasks.start_soon(self._offsets.keep)
        tasks.start_soon(self._handing.keep)
        if self.options.ordered:
            tasks.start_soon(self._locks.keep)
        with anyio.move_on_after(LOCK_S if self.options.ordered else BEGIN_S):
            for reader in list(self._readers.values()):
                await reader.begun.wait()

    async def _find(self, topic: str, *, patient: bool) -> None:
        """A topic that its first message made a moment ago is not at the nameservers yet."""
        routes = self._session.routes
        if patient:
            await routes.get_readable(topic)
            return
        with suppress(NoRoute):
            await routes.get(topic)

    def _registration(self) -> ConsumerData:
        options, version = self.options, self._session.wall_ms()
        return ConsumerData(
            options.group,
            message_model="BROADCASTING" if options.broadcast else "CLUSTERING",
            consume_from_where=options.from_where,
            subscription_data_set=options.subscriptions(version),
        )

    # ---- balancing

    def nudge(self) -> None:
        """Look at once whose queue is whose: members came or left, or a route changed."""
        self._nudged.set()

    async def _keep_balanced(self) -> None:
        failures = 0
        while True:
            with anyio.move_on_after(self._pause_s(failures)):
                await self._nudged.wait()
            self._nudged = anyio.Event()
            failures = 0 if await self._rebalance() else failures + 1

    def _pause_s(self, failures: int) -> float:
        if not failures:
            return self.options.rebalance_s
        return min(LOOK_AGAIN_S * 2.0 ** min(failures - 1, 10), self.options.rebalance_s)

    async def _rebalance(self) -> bool:
        """Whether everything could be found out."""
        look = await self._assignment.look()
        for topic, mine in look.mine.items():
            held = [queue for queue in self._readers if queue.topic == topic]
            moved = change(held, mine)
            for queue in moved.dropped:
                self._give_up(queue)
            added = [queue for queue in moved.added if queue not in self._retiring]
            self._member.inbox.parts = len(self._readers) + len(added)
            for queue in added:
                self._take_up(queue)
            if self._assigned.get(topic) != tuple(mine):
                self._assigned[topic] = tuple(mine)
                self._member.emit(Rebalanced(self.group, topic, tuple(mine)))
        return look.complete

    def _take_up(self, queue: MessageQueue) -> None:
        late = self._assignment.is_late(queue)
        reader = self._readers[queue] = Reader(self._member, self._offsets, queue, late=late)
        self._tasks.start_soon(reader.run)

    def _give_up(self, queue: MessageQueue, *, lost: bool = False, to: int | None = None) -> None:
        """Stop at once; what the broker must be told is told beside. `to`: begin there again."""
        self._readers.pop(queue).scope.cancel()
        held = self._retiring[queue] = self._member.inbox.remove(queue)
        self._member.changed()
        self._tasks.start_soon(partial(self._retire, queue, held, lost=lost, to=to))

    async def _retire(
        self, queue: MessageQueue, held: ProcessQueue | None, *, lost: bool, to: int | None
    ) -> None:
        """An ordered queue stays locked until the message that is out was settled."""
        if held is not None and self.options.ordered:
            await self._member.settled(held, self.options.handle_timeout_s)
        if to is not None:
            await self._offsets.commit(ProcessQueue(queue, to))
        elif held is not None and not lost:
            await self._offsets.commit(held)
        if self.options.ordered and not lost:
            await self._locks.unlock([queue])
        del self._retiring[queue]
        self.nudge()

    def _lock_lost(self, queue: MessageQueue, cause: str) -> None:
        if queue in self._readers:
            self._member.emit(LockLost(self.group, queue, cause))
            self._give_up(queue, lost=True)

    def _poke(self, held: ProcessQueue) -> None:
        reader = self._readers.get(held.queue)
        if reader is not None:
            reader.poke(held)

    # ---- what brokers ask

    def reset(self, offsets: Mapping[MessageQueue, int]) -> None:
        """An operator sets the group elsewhere: what is held of these queues is forgotten."""
        for queue, offset in offsets.items():
            if queue in self._readers and offset >= 0:
                self._give_up(queue, to=offset)

    def running_info(self) -> RunningInfo:
        """What this member looks like from inside, for `client` commands and Apache's tools."""
        options, now = self.options, anyio.current_time()
        queues = {
            held.queue: QueueInfo(
                commit_offset=held.commit_offset,
                cached_msg_min_offset=held.commit_offset if len(held) else 0,
                cached_msg_max_offset=held.next_offset - 1 if len(held) else 0,
                cached_msg_count=len(held),
                cached_msg_size_in_mi_b=held.size >> 20,
                locked=self._member.locks.holds(held.queue, now),
            )
            for held in self._member.inbox
        }
        properties = {
            "PROP_CONSUMEORDERLY": str(options.ordered).lower(),
            "PROP_CONSUME_TYPE": "CONSUME_PASSIVELY",
            "PROP_NAMESERVER_ADDR": ";".join(self._session.nameservers.addresses),
            "concurrency": str(options.concurrency),
            "messages out": str(self._handing.count),
        }
        return RunningInfo(properties, options.subscriptions(0), queues)

    # ---- leaving

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """A body's own exception passes as it is; a cancellation goes to whom it belongs."""
        ours = error is None or isinstance(error, OWN)
        swallowed: bool | None = False
        try:
            try:
                calm = error is None or isinstance(error, Exception)
                await self._stop(drain=calm and self._entered)
            finally:
                with anyio.move_on_after(self._session.options.leave_timeout_s, shield=True):
                    await self._say_goodbye()
        finally:
            self._consumers.left(self)
            self._tasks.cancel_scope.cancel()
            passed = (None, None, None) if ours else (kind, error, trace)
            swallowed = await self._tasks.__aexit__(*passed)
        return swallowed if not ours else False

    async def _stop(self, *, drain: bool) -> None:
        for stop in self._stop_watching:
            stop()
        for reader in self._readers.values():
            reader.scope.cancel()
        self._handing.close()
        if drain:
            await self._handing.drain(self.options.drain_s)

    async def _say_goodbye(self) -> None:
        """Commit first, unlock then, and leave: whoever gets a queue begins where we ended."""
        for held in self._retiring.values():
            if held is not None:
                await self._offsets.commit(held)
        await self._offsets.commit_all()
        if self.options.ordered:
            busy = self._handing.busy()
            await self._locks.unlock(
                [queue for queue in [*self._readers, *self._retiring] if queue not in busy]
            )
        await self._session.heartbeat.remove(self.group)
