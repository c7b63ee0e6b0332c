"""Stored messages through the admin client, against a real broker."""

import zlib

import pytest

from broker_trio.client.admin.connections import ConsumerGroup, judge
from broker_trio.client.admin.messages import inflated
from broker_trio.client.admin.offsets import Lag
from broker_trio.client.admin.problems import ForeignMessageId, NoSuchMessage
from broker_trio.model.message import MessageExt, SysFlag
from broker_trio.model.route import MessageQueue
from broker_trio.model.subscription import build_subscription
from broker_trio.wire.bodies.offsets import OffsetWrapper

from .cluster import running


async def test_a_message_is_found_by_each_of_its_names() -> None:
    """By offset id, by key, by its own id, by time, by place."""
    async with running() as cluster:
        await cluster.topic("orders")
        found = cluster.admin.messages
        message_id = await cluster.send("orders", b"one", key="k1 k2", uniq="U1")
        await cluster.send("orders", b"two", key="k3", uniq="U2")
        one = await found.by_id(message_id)
        assert (one.body, one.keys) == (b"one", ["k1", "k2"])
        assert [m.body for m in await found.by_key("orders", "k2")] == [b"one"]
        assert [m.body for m in await found.by_key("orders", "U2", unique=True)] == [b"two"]
        at = one.store_timestamp_ms
        assert [m.body for m in await found.by_time("orders", at, 1 << 60, 1)] == [b"one"]
        assert await found.by_time("orders", 0, at - 1, 10) == []
        assert [m.body for m in await found.newest("orders", 1)] == [b"two"]
        assert [m.body for m in await found.newest("orders", 1, offset=0)] == [b"one"]


async def test_a_walk_goes_over_pages_and_stops_at_its_end() -> None:
    """More than one page, and nothing beyond the end that was asked for."""
    async with running() as cluster:
        await cluster.topic("orders")
        for number in range(70):
            await cluster.send("orders", b"%d" % number)
        queue, address = cluster.queue("orders"), cluster.brokers["broker-a"].address
        walk = cluster.admin.messages.walk(queue, address, 3, 68)
        assert [int(message.body) async for message in walk] == list(range(3, 68))


async def test_an_id_that_points_nowhere_says_where_it_looked() -> None:
    """The broker's own text is in the error."""
    async with running() as cluster:
        await cluster.topic("orders")
        message_id = await cluster.send("orders", b"one")
        with pytest.raises(NoSuchMessage, match="has none at 255 of its log"):
            await cluster.admin.messages.by_id(message_id[:-2] + "FF")
        with pytest.raises(ForeignMessageId, match="8 characters"):
            await cluster.admin.messages.by_id("nonsense")


async def test_compressed_bodies_are_shown_as_they_were() -> None:
    """zlib is inflated, in all reads."""
    async with running() as cluster:
        await cluster.topic("orders")
        packed = zlib.compress(b"hello " * 100)
        await cluster.send("orders", packed, sys_flag=SysFlag.COMPRESSED)
        (message,) = await cluster.admin.messages.newest("orders", 1)
        assert message.body == b"hello " * 100


def test_a_body_that_claims_to_be_compressed_and_is_not_is_shown_as_stored() -> None:
    """An administrator wants to see what is there."""
    message = MessageExt(
        topic="t", queue_id=0, queue_offset=0, physical_offset=0, body=b"xx",
        sys_flag=SysFlag.COMPRESSED,
    )  # fmt: skip
    assert inflated(message) is message


def lag(place: int, queue_id: int = 0) -> Lag:
    wrapper = OffsetWrapper(broker_offset=9, consumer_offset=place)
    return Lag("g", {MessageQueue("orders", "broker-a", queue_id): wrapper}, 0.0, {})


def online(expression: str, topic: str = "orders") -> ConsumerGroup:
    return ConsumerGroup("g", [], {topic: build_subscription(topic, expression)}, "", "", "")


@pytest.mark.parametrize(
    ("place", "group", "verdict"),
    [
        (6, None, "consumed"),
        (5, None, "waiting"),
        (0, None, "not started"),
        (6, online("TagA"), "consumed"),
        (6, online("TagB"), "other tags"),
        (0, online("*"), "waiting"),
        (6, online("*", "other"), "not subscribed"),
    ],
)
def test_what_became_of_a_message_follows_from_the_place(
    place: int, group: ConsumerGroup | None, verdict: str
) -> None:
    """Offset 5 with TagA on broker-a, for groups that stand, want and subscribe differently."""
    message = MessageExt(
        topic="orders", queue_id=0, queue_offset=5, physical_offset=0, properties={"TAGS": "TagA"}
    )
    assert judge(message, lag(place), group, {"broker-a"}).verdict == verdict
