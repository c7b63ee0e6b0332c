"""Lag and resets through the admin client, against a real broker."""

import pytest

from broker_trio.client.admin.offsets import AtTime
from broker_trio.client.admin.problems import BadPlace
from broker_trio.client.errors import BrokerRefused
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.route import MessageQueue

from .cluster import Running, running


async def consumed(cluster: Running, group: str, topic: str, offset: int) -> None:
    queue = MessageQueue(topic, "broker-a", 0)
    address = cluster.brokers["broker-a"].address
    await cluster.admin.groups.put(SubscriptionGroupConfig(group))
    await cluster.admin.offsets.commit(group, queue, address, offset)


async def test_lag_is_what_lies_between_the_place_and_the_end() -> None:
    """Messages waiting, per queue and in sum; the same from the table of all groups."""
    async with running() as cluster:
        await cluster.topic("orders", 2)
        for number in range(5):
            await cluster.send("orders", b"%d" % number)
        await consumed(cluster, "billing", "orders", 2)
        lag = await cluster.admin.offsets.lag("billing")
        assert (lag.messages, lag.consumed, lag.problems) == (3, 2, {})
        assert list(lag.by_topic()) == ["orders"]
        everything = await cluster.admin.offsets.everything()
        assert everything["billing"].queues == lag.queues


async def test_a_plan_says_what_a_reset_will_do_and_changes_nothing() -> None:
    """Back is again, forward is skipped; the group stands where it stood."""
    async with running() as cluster:
        await cluster.topic("orders")
        for _ in range(5):
            await cluster.send("orders", b"x")
        await consumed(cluster, "billing", "orders", 2)
        offsets = cluster.admin.offsets
        plans = {to: await offsets.plan_reset("billing", "orders", to) for to in ("first", "last")}
        assert [(m.before, m.after, m.again, m.skipped) for m in plans["first"]] == [(2, 0, 2, 0)]
        assert [(m.before, m.after, m.again, m.skipped) for m in plans["last"]] == [(2, 5, 0, 3)]
        assert (await offsets.lag("billing")).consumed == 2


async def test_a_reset_does_what_was_planned_though_more_arrives() -> None:
    """The plan's offsets are explicit: `last` is the end that was shown."""
    async with running() as cluster:
        await cluster.topic("orders")
        for _ in range(3):
            await cluster.send("orders", b"x")
        await consumed(cluster, "billing", "orders", 0)
        plan = await cluster.admin.offsets.plan_reset("billing", "orders", "last")
        await cluster.send("orders", b"later")
        assert await cluster.admin.offsets.reset("billing", plan) == {cluster.queue("orders"): 3}
        assert (await cluster.admin.offsets.lag("billing")).messages == 1


async def test_a_time_becomes_an_offset_within_the_queue() -> None:
    """Before everything is the first message, after everything is the end."""
    async with running() as cluster:
        await cluster.topic("orders")
        await cluster.send("orders", b"x")
        plan = cluster.admin.offsets.plan_reset
        assert [m.after for m in await plan("billing", "orders", AtTime(0))] == [0]
        assert [m.after for m in await plan("billing", "orders", AtTime(1 << 60))] == [1]


async def test_places_that_are_not_there_are_named_with_those_that_are() -> None:
    """An offset beyond the end, a queue beyond the last, a group that nobody knows."""
    async with running() as cluster:
        await cluster.topic("orders", 2)
        plan = cluster.admin.offsets.plan_reset
        with pytest.raises(
            BadPlace, match="offset 7 is outside of queue 0 of broker-a, which has 0"
        ):
            await plan("billing", "orders", 7)
        with pytest.raises(BadPlace, match="no queue 9 on a master: queue ids 0 to 1"):
            await plan("billing", "orders", "first", queue_id=9)
        moves = await plan("nobody", "orders", "first")
        assert [move.before for move in moves] == [-1, -1]


async def test_a_clone_stands_where_its_source_stands() -> None:
    """Every queue of every topic."""
    async with running() as cluster:
        await cluster.topic("orders")
        await cluster.send("orders", b"x")
        await consumed(cluster, "billing", "orders", 1)
        cluster.brokers["broker-a"].parts.settings.auto_create_subscription_group = False
        with pytest.raises(BrokerRefused, match="copy"):
            await cluster.admin.offsets.clone("billing", "copy")
        await cluster.admin.groups.put(SubscriptionGroupConfig("copy"))
        assert await cluster.admin.offsets.clone("billing", "copy") == ["broker-a"]
        assert (await cluster.admin.offsets.lag("copy")).consumed == 1
