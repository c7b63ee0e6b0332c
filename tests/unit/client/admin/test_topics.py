"""Topics through the admin client, against a real broker."""

import pytest

from broker_trio.client.admin.problems import NoSuchBroker
from broker_trio.client.errors import InvalidName, NoRoute
from broker_trio.model.topic import TopicConfig

from .cluster import running


async def test_a_topic_is_made_on_every_master_and_seen_at_once() -> None:
    """put answers after the nameserver knows it: the route is there without waiting."""
    async with running(brokers=2) as cluster:
        brokers = await cluster.admin.topics.put(TopicConfig("orders", 3, 3))
        assert brokers == ["broker-a", "broker-b"]
        assert await cluster.admin.topics.names() == ["orders"]
        configs = await cluster.admin.topics.configs("orders")
        assert {name: c.write_queue_nums for name, c in configs.items()} == {
            "broker-a": 3,
            "broker-b": 3,
        }


async def test_a_change_leaves_what_it_does_not_name() -> None:
    """Only the named members change, and only on the named broker."""
    async with running(brokers=2) as cluster:
        await cluster.admin.topics.put(TopicConfig("orders", 3, 3, order=True))
        await cluster.admin.topics.change("orders", {"perm": 4}, "broker-b")
        found = await cluster.admin.topics.configs("orders")
        assert [(c.perm, c.read_queue_nums, c.order) for c in found.values()] == [
            (6, 3, True),
            (4, 3, True),
        ]


async def test_the_state_counts_messages_and_names_who_is_silent() -> None:
    """A broker that has gone hides none of the others."""
    async with running(brokers=2) as cluster:
        await cluster.topic("orders", 2)
        await cluster.send("orders", b"x", queue=1)
        state = await cluster.admin.topics.state("orders")
        assert (state.messages, state.ever, len(state.queues), state.problems) == (1, 1, 4, {})
        assert state.queues[cluster.queue("orders", 1)].max_offset == 1


async def test_a_bad_name_is_refused_before_anybody_is_asked() -> None:
    """Names are checked here, brokers are named with those that exist."""
    async with running() as cluster:
        with pytest.raises(InvalidName, match="characters other than"):
            await cluster.admin.topics.put(TopicConfig("a/b"))
        with pytest.raises(NoSuchBroker, match="broker broker-z; brokers known: broker-a"):
            await cluster.admin.topics.put(TopicConfig("orders"), broker="broker-z")


async def test_a_deleted_topic_is_gone_everywhere() -> None:
    """On brokers, at nameservers, and it does not come back."""
    async with running(nameservers=2) as cluster:
        await cluster.topic("orders")
        assert await cluster.admin.topics.delete("orders") == ["broker-a"]
        assert await cluster.admin.topics.names() == []
        with pytest.raises(NoRoute):
            await cluster.admin.topics.state("orders")
