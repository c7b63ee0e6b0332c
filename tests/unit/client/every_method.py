"""Every awaitable that the public client has, with arguments that work: one table for tests that
hold for all of them.

`METHODS` names each as users write it (`mq.admin.topics.put`); `public_methods` finds them by
looking, so that a new one cannot be forgotten.
"""

import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio

from broker_trio.client.connect import Client
from broker_trio.client.errors import ClientError
from broker_trio.client.events import Event
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.route import MessageQueue
from broker_trio.model.topic import TopicConfig
from broker_trio.testing import RocketMQ

TOPIC, GROUP = "orders", "billing"
QUEUE = MessageQueue(TOPIC, "broker-a", 0)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
INNER = {"DeadLetters.send", "DeadLetters.done_with", "DeadLetters.check_not_dead_again"}
"""Steps of `send_back`, which is in the table."""

Call = Callable[["Scene"], Awaitable[object]]


class Scene:
    """A client, the cluster, and what `prepared` left there."""

    def __init__(self, rocketmq: RocketMQ, mq: Client) -> None:
        self.rocketmq, self.mq, self.admin = rocketmq, mq, mq.admin
        self.address = rocketmq.address
        self.puller = mq.pull(GROUP)
        self.offset_id = ""
        self.message: Any = None

    async def prepared(self) -> "Scene":
        """A topic with two messages of which one is a dead letter of the group."""
        await self.rocketmq.create_topic(TOPIC, queues=2)
        await self.admin.groups.put(SubscriptionGroupConfig(GROUP))
        receipt = await self.mq.send(TOPIC, "dead", queue=QUEUE, keys=["k"])
        await self.mq.send(TOPIC, "alive", queue=QUEUE)
        self.offset_id = receipt.offset_message_id
        async with self.mq.subscribe(TOPIC, group=GROUP, start="first") as messages:
            async with await anext(messages) as message:
                message.reject("bad")
            async with await anext(messages):
                pass
        self.message = await self.admin.messages.by_id(self.offset_id)
        return self


async def enter(scene: Scene) -> None:
    async with scene.mq.subscribe(TOPIC, group="readers", start="first"):
        pass


async def next_one(scene: Scene) -> None:
    async with scene.mq.subscribe(TOPIC, group="next", start="first") as messages:
        message = await anext(messages)
        async with message:
            pass


async def each(scene: Scene) -> None:
    async with (
        scene.mq.subscribe(TOPIC, group="each", start="first") as messages,
        anyio.create_task_group() as tasks,
    ):

        async def handler(_: object) -> None:
            tasks.cancel_scope.cancel()

        await messages.each(handler)


async def listen(scene: Scene) -> None:
    events = scene.mq.events()
    scene.mq.session.events.emit(Event())
    async for _ in events:
        return


async def send_back(scene: Scene) -> None:
    letters = scene.admin.dead_letters
    async for _ in letters.send_back(await letters.of(GROUP), per_s=1e6):
        pass


async def walk(scene: Scene) -> None:
    async for _ in scene.admin.messages.walk(QUEUE, scene.address, 0, 2):
        pass


async def reset(scene: Scene) -> None:
    offsets = scene.admin.offsets
    await offsets.reset(GROUP, await offsets.plan_reset(GROUP, TOPIC, "first"))


async def count(scene: Scene) -> None:
    letters = scene.admin.dead_letters
    await letters.count(await letters.of(GROUP), "cause", everything=True)


METHODS: dict[str, Call] = {
    "Client.send": lambda s: s.mq.send(TOPIC, b"x"),
    "Client.send_batch": lambda s: s.mq.send_batch(TOPIC, [b"x", b"y"]),
    "Client.send_oneway": lambda s: s.mq.send_oneway(TOPIC, b"x"),
    "Client.subscribe": enter,
    "Subscription.__anext__": next_one,
    "Subscription.each": each,
    "Client.events": listen,
    "Puller.queues": lambda s: s.puller.queues(TOPIC),
    "Puller.committed": lambda s: s.puller.committed(QUEUE),
    "Puller.begin_offset": lambda s: s.puller.begin_offset(QUEUE),
    "Puller.bounds": lambda s: s.puller.bounds(QUEUE),
    "Puller.offset_of_time": lambda s: s.puller.offset_of_time(QUEUE, LONG_AGO),
    "Puller.pull": lambda s: s.puller.pull(QUEUE, 0),
    "Puller.commit": lambda s: s.puller.commit(QUEUE, 1),
    "Brokers.replicas": lambda s: s.admin.brokers.replicas(),
    "Brokers.masters": lambda s: s.admin.brokers.masters(),
    "Brokers.address_of": lambda s: s.admin.brokers.address_of("broker-a"),
    "Brokers.masters_of_topic": lambda s: s.admin.brokers.masters_of_topic(TOPIC),
    "Brokers.readable_of_topic": lambda s: s.admin.brokers.readable_of_topic(TOPIC),
    "Topics.names": lambda s: s.admin.topics.names(),
    "Topics.route": lambda s: s.admin.topics.route(TOPIC),
    "Topics.configs": lambda s: s.admin.topics.configs(TOPIC),
    "Topics.tables": lambda s: s.admin.topics.tables(),
    "Topics.state": lambda s: s.admin.topics.state(TOPIC),
    "Topics.groups_of": lambda s: s.admin.topics.groups_of(TOPIC),
    "Topics.put": lambda s: s.admin.topics.put(TopicConfig("other", 2, 2)),
    "Topics.change": lambda s: s.admin.topics.change(TOPIC, {"perm": 6}),
    "Topics.delete": lambda s: s.admin.topics.delete("other"),
    "Groups.tables": lambda s: s.admin.groups.tables(),
    "Groups.names": lambda s: s.admin.groups.names(),
    "Groups.configs": lambda s: s.admin.groups.configs(GROUP),
    "Groups.topics_of": lambda s: s.admin.groups.topics_of(GROUP),
    "Groups.put": lambda s: s.admin.groups.put(SubscriptionGroupConfig("other")),
    "Groups.change": lambda s: s.admin.groups.change(GROUP, {"retry_max_times": 3}),
    "Groups.delete": lambda s: s.admin.groups.delete("other", offsets=True),
    "Groups.allow": lambda s: s.admin.groups.allow(GROUP, TOPIC, readable=True),
    "Offsets.lag": lambda s: s.admin.offsets.lag(GROUP),
    "Offsets.everything": lambda s: s.admin.offsets.everything(),
    "Offsets.queues": lambda s: s.admin.offsets.queues(TOPIC),
    "Offsets.bounds": lambda s: s.admin.offsets.bounds(QUEUE, s.address),
    "Offsets.at_time": lambda s: s.admin.offsets.at_time(QUEUE, s.address, 0),
    "Offsets.committed": lambda s: s.admin.offsets.committed(GROUP, QUEUE, s.address),
    "Offsets.commit": lambda s: s.admin.offsets.commit(GROUP, QUEUE, s.address, 2),
    "Offsets.plan_reset": lambda s: s.admin.offsets.plan_reset(GROUP, TOPIC, "first"),
    "Offsets.reset": reset,
    "Offsets.clone": lambda s: s.admin.offsets.clone(GROUP, "copy", TOPIC),
    "Messages.by_id": lambda s: s.admin.messages.by_id(s.offset_id),
    "Messages.place_of": lambda s: s.admin.messages.place_of(s.offset_id),
    "Messages.by_key": lambda s: s.admin.messages.by_key(TOPIC, "k"),
    "Messages.read": lambda s: s.admin.messages.read(QUEUE, s.address, 0),
    "Messages.newest": lambda s: s.admin.messages.newest(TOPIC, 2),
    "Messages.by_time": lambda s: s.admin.messages.by_time(TOPIC, 0, 1 << 50, 10),
    "Messages.walk": walk,
    "Connections.consumers": lambda s: s.admin.connections.consumers(GROUP),
    "Connections.producers": lambda s: s.admin.connections.producers(),
    "Connections.running_info": lambda s: s.admin.connections.running_info(GROUP, "nobody"),
    "Connections.tracks": lambda s: s.admin.connections.tracks(s.message, [GROUP]),
    "Statistics.runtime": lambda s: s.admin.statistics.runtime("broker-a"),
    "Statistics.counter": lambda s: s.admin.statistics.counter("broker-a", "TOPIC_PUT_NUMS", TOPIC),
    "Statistics.settings": lambda s: s.admin.statistics.settings("broker-a"),
    "Statistics.change_settings": lambda s: s.admin.statistics.change_settings(
        "broker-a", {"autoCreateTopicEnable": "true"}
    ),
    "Statistics.let_write": lambda s: s.admin.statistics.let_write("broker-a", writable=True),
    "DeadLetters.groups": lambda s: s.admin.dead_letters.groups(),
    "DeadLetters.of": lambda s: s.admin.dead_letters.of(GROUP),
    "DeadLetters.peek": lambda s: s.admin.dead_letters.peek(GROUP, 5),
    "DeadLetters.count": count,
    "DeadLetters.attempts_max": lambda s: s.admin.dead_letters.attempts_max(GROUP),
    "DeadLetters.send_back": send_back,
    "Hosts.facts": lambda s: s.admin.hosts.facts(s.address, lambda: 0),
    "Hosts.runtime": lambda s: s.admin.hosts.runtime(s.address, lambda: 0),
    "Hosts.table": lambda s: s.admin.hosts.table(s.rocketmq.nameserver),
}


def public_methods(mq: Client) -> set[str]:
    """Every awaitable method of the client, its puller and the parts of its admin client."""
    parts = [*vars(mq.admin).values(), mq.pull(GROUP), mq]
    return {
        f"{type(part).__name__}.{name}"
        for part in parts
        for name, method in inspect.getmembers(type(part), inspect.iscoroutinefunction)
        if not name.startswith("_")
    } - INNER


async def outcome(call: Call, scene: Scene) -> ClientError | None:
    """What it ends in: nothing, or a typed error; anything else is a defect and comes out."""
    try:
        await call(scene)
    except ClientError as error:
        return error
    return None
