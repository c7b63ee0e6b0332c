"""A machine with a consumer on it: one task a queue, pull with a hold, write down, commit, pull …

It starts where its group stands, and goes back there after any trouble, so that it reads again what
it had not committed. What it cannot handle it sends back to be retried. It lives through everything
that happens to the cluster; it may be killed itself, as any node.
"""

from collections.abc import Callable
from typing import Final, final

import trio

from broker_trio.client.calls import Calls
from broker_trio.client.errors import BrokerRefused, NoAnswer, NoRoute
from broker_trio.client.group_calls import GroupCalls, readable
from broker_trio.client.routes import Nameservers
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.message import MessageExt
from broker_trio.model.route import MessageQueue
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.cluster.history import Back, Got
from broker_trio.testing.cluster.producer import CALL_S, PAUSE_S
from broker_trio.testing.world import Node

HOLD_MS: Final = 5_000
REFRESH_S: Final = 2.0  # between two looks for new queues, once every topic was found
TROUBLE: Final = (BrokerRefused, NoAnswer, NoRoute, Unreachable)

Handle = Callable[[Got], int | None]
"""What a consumer does with a message: None handled it, a delay level sends it back for a retry."""


def handled(_: Got) -> int | None:
    """Every message can be handled."""
    return None


def group_of(consumer: str) -> str:
    """The group of a simulated consumer."""
    return f"cg-{consumer}"


async def first_offset(group: GroupCalls, address: str, queue: MessageQueue) -> int:
    """Where the group stands, or else the queue's first message."""
    committed = await group.committed(address, queue)
    return await group.begin(address, queue) if committed is None else committed


@final
class SimConsumer:
    """A group of one that reads every queue of some topics, for as long as it lives."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        topics: tuple[str, ...],
        *,
        handle: Handle = handled,
        retries_max: int = 16,
        hold_ms: int = HOLD_MS,
    ) -> None:
        """Topics may be its own retry topic, as `retry_topic(group)` names it.

        `retries_max`: after so many a message that is sent back becomes a dead letter.
        """
        self.name, self.group, self.topics = name, group_of(name), topics
        self.retries_max = retries_max
        self.reached: dict[tuple[str, str, int], int] = {}  # queue to the offset it goes on at
        self._cluster, self._handle, self._hold_ms = cluster, handle, hold_ms
        self.node = cluster.world.node(name, self._main)

    def go(self) -> None:
        self.node.start()

    async def _main(self, node: Node) -> None:
        async with RemotingClient(through(node.network)) as client, trio.open_nursery() as nursery:
            calls = Calls(client, timeout_s=CALL_S)
            nameservers = Nameservers(calls, self._cluster.nameserver_addresses)
            group = GroupCalls(calls, self.group)
            known: dict[MessageQueue, str] = {}  # and whom to read each from: a pair changes hands
            while True:  # topics come to be, and routes come back, while we live
                for topic in self.topics:
                    await self._find(topic, known, nameservers, group, nursery)
                found = {queue.topic for queue in known}
                await trio.sleep(PAUSE_S if found < set(self.topics) else REFRESH_S)

    async def _find(
        self,
        topic: str,
        known: dict[MessageQueue, str],
        nameservers: Nameservers,
        group: GroupCalls,
        nursery: trio.Nursery,
    ) -> None:
        """Begin to read the queues of a topic that are not read yet."""
        try:
            queues = readable(topic, await nameservers.route(topic))
        except TROUBLE:
            return
        new = [queue for queue in queues if queue not in known]
        known.update(queues)
        for queue in new:
            nursery.start_soon(self._read, group, queue, known)

    async def _read(
        self, group: GroupCalls, queue: MessageQueue, known: dict[MessageQueue, str]
    ) -> None:
        offset, address = -1, ""
        while True:
            if address != known[queue]:
                offset, address = -1, known[queue]  # the group may stand elsewhere there
            try:
                if offset < 0:
                    offset = await first_offset(group, address, queue)
                pulled = await group.pull(address, queue, offset, wait_ms=self._hold_ms)
                for message in pulled.messages:
                    got = self._note(queue, message)
                    level = self._handle(got)
                    if level is not None:
                        await self._send_back(group, address, message, level)
                moved = pulled.next_offset != offset
                offset = pulled.next_offset
                self.reached[queue.broker_name, queue.topic, queue.queue_id] = offset
                if moved:
                    await group.commit(address, queue, offset)
            except RemoteProtocolError as error:
                raise Violation(
                    "I16", f"{self.name} was served bytes of {queue}: {error}"
                ) from error
            except TROUBLE as error:
                self._cluster.world.log("trouble", self.name, type(error).__name__)
                offset = -1  # as a client that rebalanced: from where its group stands
                await trio.sleep(PAUSE_S)

    def _note(self, queue: MessageQueue, message: MessageExt) -> Got:
        got = Got(
            self.name,
            queue.broker_name,
            message.topic,
            message.queue_id,
            message.queue_offset,
            message.physical_offset,
            message.body,
            trio.current_time(),
            message.store_timestamp_ms,
            message.reconsume_times,
        )
        self._cluster.history.got.append(got)
        place = (queue.broker_name, message.topic, message.queue_id, message.queue_offset)
        self._cluster.world.log("got", self.name, *place)
        return got

    async def _send_back(
        self, group: GroupCalls, address: str, message: MessageExt, level: int
    ) -> None:
        began, accepted = trio.current_time(), False
        try:
            await group.send_back(address, message, level, retries_max=self.retries_max)
            accepted = True
        finally:
            ended, times = trio.current_time(), message.reconsume_times
            back = Back(self.name, self.group, message.body, times, level, began, ended, accepted)
            self._cluster.history.backs.append(back)
            self._cluster.world.log("back", self.name, message.queue_offset, level, accepted)
