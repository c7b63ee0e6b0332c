"""Where a member begins in a queue, and what it tells the broker about how far it came.

    begin   what the group committed; if nothing: the start position, committed at once, so that
            whoever takes the queue over before anything was handled begins there too
    commit  the smallest unresolved offset: with every pull, each 5 s, when a queue is given up,
            and on leaving

"last" means what is sent from the subscription on: a queue that appears later begins at its first
message, and so does the retry topic. A broadcast member keeps its offsets to itself, for as long as
the subscription lives.
"""

from datetime import datetime
from typing import final

import anyio

from broker_trio.client.consumer_events import CommitFailed
from broker_trio.client.membership import TROUBLE, Membership
from broker_trio.client.process_queue import ProcessQueue
from broker_trio.model.names import is_retry
from broker_trio.model.route import MessageQueue


@final
class Offsets:
    """Offsets of one member. `known`: what the broker has, as far as we know."""

    def __init__(self, member: Membership) -> None:
        self._member = member
        self.known: dict[MessageQueue, int] = {}
        self._told: set[MessageQueue] = set()

    # ---- beginning

    async def begin(self, queue: MessageQueue, *, late: bool) -> int:
        """`late`: the queue came to be after the subscription. Raises what questions raise."""
        member = self._member
        if member.options.broadcast:
            offset = self.known.get(queue)
            return await self._start(queue, late=late) if offset is None else offset
        address = await member.address(queue)
        offset = await member.calls.committed(address, queue)
        if offset is None or offset < 0:
            offset = await self._start(queue, late=late)
            await member.calls.commit(address, queue, offset)
        self.known[queue] = offset
        return offset

    async def _start(self, queue: MessageQueue, *, late: bool) -> int:
        calls, start = self._member.calls, self._member.options.start
        address = await self._member.address(queue)
        if is_retry(queue.topic):
            return await calls.begin(address, queue)
        if isinstance(start, datetime):
            ms = int(start.timestamp() * 1_000)
            return await calls.offset_of_time(address, queue, ms)
        if start == "last" and not late:
            return await calls.end(address, queue)
        if not isinstance(start, str) and queue in start:
            return start[queue]
        return await calls.begin(address, queue)

    # ---- committing

    def noted(self, queue: MessageQueue, offset: int) -> None:
        """A pull carried it, or a broadcast member came so far."""
        self.known[queue] = offset

    def doubt(self, queue: MessageQueue) -> None:
        """The broker may have another offset by now: it is told again, also what it knew."""
        if not self._member.options.broadcast:
            self.known.pop(queue, None)

    async def commit(self, held: ProcessQueue) -> bool:
        """Tell the broker how far this queue is, if that is news; whether it knows now."""
        member, queue, offset = self._member, held.queue, held.commit_offset
        if self.known.get(queue) == offset:
            return True
        if not member.options.broadcast:
            try:
                await member.calls.commit(await member.address(queue), queue, offset)
            except TROUBLE as error:
                if queue not in self._told:
                    self._told.add(queue)
                    member.emit(CommitFailed(member.group, queue, str(error)))
                return False
        self._told.discard(queue)
        self.known[queue] = offset
        return True

    async def commit_all(self) -> None:
        """All queues that are held. A broker that does not answer is asked once, not per queue."""
        brokers: dict[str, list[ProcessQueue]] = {}
        for held in self._member.inbox:
            if self.known.get(held.queue) != held.commit_offset:
                brokers.setdefault(held.queue.broker_name, []).append(held)
        async with anyio.create_task_group() as tasks:
            for helds in brokers.values():
                tasks.start_soon(self._commit_some, helds)

    async def _commit_some(self, helds: list[ProcessQueue]) -> None:
        for held in helds:
            if not held.dropped and not await self.commit(held):
                return

    async def keep(self) -> None:
        """Commit every few seconds, until cancelled."""
        while True:
            await anyio.sleep(self._member.options.commit_s)
            await self.commit_all()
