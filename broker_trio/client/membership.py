"""What the parts of one subscription share: who we are in the group, and what we hold.

Subscription ─┬─ Readers      one a queue: begin, pull, pull …      ┐
              ├─ Offsets      where to begin, what to commit        │
              ├─ LockKeeper   ordered queues only                   ├── one Membership
              ├─ Returns      failed messages, back to their broker │
              └─ Assignment   which queues are ours                 ┘
"""

from typing import Final, final

import anyio

from broker_trio.client.consumer_options import ConsumerOptions
from broker_trio.client.errors import ClientError
from broker_trio.client.events import Event
from broker_trio.client.group_calls import GroupCalls
from broker_trio.client.inbox import Inbox
from broker_trio.client.locks import LockTable
from broker_trio.client.process_queue import ProcessQueue
from broker_trio.client.session import Session
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.route import MASTER_ID, MessageQueue

TROUBLE: Final = (ClientError, RemoteProtocolError)
"""What a question may end in. All of it is told as an event and tried again."""

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 3.0


@final
class Backoff:
    """Pauses between attempts: doubling, with a quarter of chance, so that clients spread out."""

    def __init__(self, session: Session, most_s: float = BACKOFF_MAX_S) -> None:
        self._entropy, self._most_s = session.entropy, most_s
        self.failures = 0

    async def pause(self) -> None:
        """Sleep as long as it is time for."""
        bare_s = min(BACKOFF_FIRST_S * 2.0 ** min(self.failures, 20), self._most_s)
        self.failures += 1
        await anyio.sleep(bare_s * (0.875 + 0.25 * self._entropy.random()))

    def reset(self) -> None:
        self.failures = 0


@final
class Membership:
    """One client in one group."""

    def __init__(self, session: Session, options: ConsumerOptions) -> None:
        self.session, self.options = session, options
        self.calls = GroupCalls(session.calls, options.group, session.client_id)
        self.inbox = Inbox(options.prefetch)
        self.locks = LockTable()
        self._news = anyio.Event()

    @property
    def group(self) -> str:
        return self.options.group

    def emit(self, event: Event) -> None:
        self.session.events.emit(event)

    # ---- waiting for each other

    def changed(self) -> None:
        """Messages came, were settled, or a queue went: whoever waits looks again."""
        if self._news.statistics().tasks_waiting:
            self._news.set()
            self._news = anyio.Event()

    async def wait(self, until: float | None = None) -> None:
        """Until the next change, or until then on the loop's clock."""
        if until is None:
            await self._news.wait()
            return
        with anyio.move_on_at(until):
            await self._news.wait()

    async def settled(self, held: ProcessQueue, within_s: float) -> None:
        """Until nothing of this queue is out any more; at most so long."""
        with anyio.move_on_after(within_s):
            while held.handed:
                await self._news.wait()

    # ---- whom to ask

    async def address(self, queue: MessageQueue) -> str:
        """The queue's master; where it has none, whoever else has the queue: offsets are taken
        there as well. Raises `NoRoute` or `Unreachable`.
        """
        data = self.session.routes.brokers.get(queue.broker_name)
        read = data is not None and data.master is None
        return await self.session.broker_address(queue.broker_name, read=read)

    async def read_address(
        self, queue: MessageQueue, broker_id: int = MASTER_ID, failures: int = 0
    ) -> str:
        """Where to pull: the replica that was suggested, the next one after each failure."""
        data = self.session.routes.brokers.get(queue.broker_name)
        if data is None or not data.broker_addrs:
            return await self.session.broker_address(queue.broker_name, read=True)
        ids = sorted(data.broker_addrs, key=lambda known: (known != broker_id, known))
        return data.broker_addrs[ids[failures % len(ids)]]
