"""Programs of users inside a simulated cluster: the real client, each on a host of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from broker_trio.client.connect import Client, connect
from broker_trio.client.delivered import Delivered
from broker_trio.client.events import Event
from broker_trio.client.subscribe import Subscription
from broker_trio.model.route import MessageQueue
from broker_trio.remoting.bridge import through
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.world import Node

TOPIC = "t"


@asynccontextmanager
async def client(cluster: Cluster, name: str, **options: Any) -> AsyncIterator[Client]:
    """A client on the host `name`; no connection of it is open afterwards."""
    host = cluster.world.network.boot(name)
    async with connect(
        cluster.nameserver_addresses,
        connect=through(host),
        wall_ms=SimClock().wall_ms,
        entropy=cluster.world.rng(f"client/{name}"),
        **options,
    ) as mq:
        yield mq
    assert not host.streams, f"{name} left {len(host.streams)} connections open"


async def send(cluster: Cluster, bodies: list[str], topic: str = TOPIC, **options: Any) -> None:
    """Store these, all of them acknowledged."""
    async with client(cluster, "producer") as mq:
        for body in bodies:
            receipt = await mq.send(topic, body, **options)
            assert receipt.status == "SUCCESS"


def numbered(count: int, word: str = "m") -> list[str]:
    return [f"{word}{number}" for number in range(count)]


class Member:
    """A member of a group on its own machine: what it was handed, where, and when."""

    def __init__(self, cluster: Cluster, name: str, group: str = "g", **options: Any) -> None:
        self.cluster, self.name, self.group, self.options = cluster, name, group, options
        self.topic = options.pop("topic", TOPIC)
        self.handle_s = options.pop("handle_s", 0.0)
        self.fail = options.pop("fail", {})  # body to how many attempts fail
        self.client_options = options.pop("client_options", {})
        self.got: list[tuple[float, MessageQueue, int, str, int]] = []
        self.events: list[Event] = []
        self.sub: Subscription | None = None
        self.leave = trio.Event()
        self.left_at = 0.0
        self.node = cluster.world.node(name, self._main)

    async def _main(self, node: Node) -> None:
        self.leave, self.sub = trio.Event(), None
        async with connect(
            self.cluster.nameserver_addresses,
            connect=through(node.network),
            wall_ms=SimClock().wall_ms,
            entropy=node.entropy,
            on_event=self.events.append,
            **self.client_options,
        ) as mq:
            async with mq.subscribe(self.topic, group=self.group, **self.options) as sub:
                self.sub = sub
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._consume, sub)
                    await self.leave.wait()
                    nursery.cancel_scope.cancel()
            self.sub = None
        assert not node.network.streams
        self.left_at = trio.current_time()

    async def _consume(self, sub: Subscription) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(min(sub.options.concurrency, 8)):
                nursery.start_soon(self._one_by_one, sub)

    async def _one_by_one(self, sub: Subscription) -> None:
        async for message in sub:
            async with message:
                await self._handle(message)

    async def _handle(self, message: Delivered) -> None:
        if self.handle_s:
            await trio.sleep(self.handle_s)
        body = message.body.decode()
        place = (message.queue, message.queue_offset)
        self.got.append((trio.current_time(), *place, body, message.attempt))
        self.cluster.world.log("handled", self.name, body, message.attempt)
        if message.attempt <= self.fail.get(body, 0):
            raise ValueError(body)

    async def joined(self) -> "Member":
        """Start it, and wait until it is in."""
        self.node.start()
        await until(lambda: self.sub is not None)
        return self

    async def stop(self) -> None:
        """Leave the group in good order."""
        self.leave.set()
        await self.node.stopped()

    @property
    def bodies(self) -> list[str]:
        return [body for _, _, _, body, _ in self.got]

    @property
    def queues(self) -> list[int]:
        """Numbers of the queues of the topic that it has."""
        if self.sub is None:
            return []
        return [queue.queue_id for queue in self.sub.queues if queue.topic == self.topic]

    def heard(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


async def until(condition: Any, within_s: float = 60.0) -> float:
    """Wait in virtual time; how long it took. Raises `trio.TooSlowError`."""
    began = trio.current_time()
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110 -- conditions of many kinds; time is virtual
            await trio.sleep(0.01)
    return trio.current_time() - began


async def committed(cluster: Cluster, group: str, topic: str = TOPIC) -> dict[MessageQueue, int]:
    """Where the brokers say that the group stands; queues without an offset are left out."""
    async with client(cluster, "asker") as mq:
        puller = mq.pull(group)
        found = {queue: await puller.committed(queue) for queue in await puller.queues(topic)}
        return {queue: offset for queue, offset in found.items() if offset is not None}


def assert_in_order(*members: Member) -> None:
    """All members together: first handlings of a queue in the order of its offsets."""
    seen: dict[object, int] = {}
    for _, queue, offset, body, _ in sorted(one for member in members for one in member.got):
        assert offset <= seen.get(queue, -1) + 1, f"{body} was handled before its predecessor"
        seen[queue] = max(offset, seen.get(queue, -1))
