"""What would be lost with a broker: counted by who has not read it."""

import pytest

from broker_trio.client.admin.holdings import AllHoldings, Unread, delayed, parted
from broker_trio.client.admin.offsets import Lag
from broker_trio.client.admin.problems import NoSuchBroker
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.route import MessageQueue
from broker_trio.model.topic import TopicConfig
from broker_trio.wire.bodies.offsets import OffsetWrapper
from broker_trio.wire.bodies.topic_config import TopicOffset
from tests.unit.client.admin.cluster import Running, running


def queue(topic: str, queue_id: int = 0) -> MessageQueue:
    return MessageQueue(topic, "broker-b", queue_id)


def bounds(low: int, high: int) -> TopicOffset:
    return TopicOffset(low, high, 0)


def lag(group: str, **places: int) -> dict[str, Lag]:
    """A group's consumer offsets by topic, in queue 0."""
    table = {queue(topic): OffsetWrapper(consumer_offset=at) for topic, at in places.items()}
    return {group: Lag(group, table, 0.0, {})}


def test_a_group_without_a_place_has_read_nothing() -> None:
    """It stands at the beginning of a queue that it never committed in."""
    queues = {queue("orders"): bounds(3, 10), queue("orders", 1): bounds(0, 4)}
    found = parted(queues, {"orders": ["billing"]}, lag("billing", orders=8))
    assert found.unread == [Unread("billing", "orders", 2 + 4)]
    assert not found.unowned


def test_a_group_that_stands_before_what_retention_left_reads_only_what_is_there() -> None:
    """Messages that are gone are nobody's to read."""
    found = parted({queue("t"): bounds(5, 9)}, {"t": ["g"]}, lag("g", t=1))
    assert found.unread == [Unread("g", "t", 4)]


def test_what_no_group_reads_is_told_apart() -> None:
    """A topic without readers, dead letters, and a retry topic, which is its group's own."""
    queues = {
        queue("audit"): bounds(0, 3),
        queue("%DLQ%billing"): bounds(0, 2),
        queue("%RETRY%billing"): bounds(0, 1),
        queue("empty"): bounds(7, 7),
    }
    found = parted(queues, {"audit": ["TOOLS_CONSUMER"]}, {})
    assert found.unowned == [Unread("", "audit", 3)]
    assert found.dead_letters == [Unread("billing", "%DLQ%billing", 2)]
    assert found.unread == [Unread("billing", "%RETRY%billing", 1)]


def test_delays_are_counted_over_all_levels() -> None:
    """Next to deliver and end of each level; what is no pair of numbers says nothing."""
    info = {"scheduleMessageOffset_1": "3,5", "scheduleMessageOffset_3": "0,4", "putTps": "1,9"}
    assert delayed({**info, "scheduleMessageOffset_9": "x,4"}) == 2 + 4


async def test_a_cluster_tells_it_until_nothing_is_left() -> None:
    """Messages nobody reads, then unread ones of a group, then none; a drain shows everywhere."""
    async with running(brokers=2, nameservers=2) as cluster:
        holdings = AllHoldings(cluster.calls, cluster.nameservers)
        assert (await holdings.of("broker-b")).is_empty
        await cluster.topic("orders")
        await cluster.admin.topics.put(TopicConfig("audit", 1, 1), broker="broker-b")
        assert (await holdings.of("broker-b")).only_here == ["audit"]
        assert (await holdings.of("broker-a")).only_here == []
        await cluster.admin.groups.put(SubscriptionGroupConfig("billing"))
        await cluster.send("orders", b"1", broker="broker-b")
        await cluster.send("orders", b"2", broker="broker-a")
        assert (await holdings.of("broker-b")).unowned == [Unread("", "orders", 1)]
        await commit(cluster, "broker-a", 1)
        assert (await holdings.of("broker-b")).unread == [Unread("billing", "orders", 1)]
        await commit(cluster, "broker-b", 1)
        found = await holdings.of("broker-b")
        assert found.is_empty
        assert list(found.writable.values()) == [True, True]
        await cluster.admin.statistics.let_write("broker-b", writable=False)
        assert list((await holdings.writable("broker-b")).values()) == [False, False]
        assert list((await holdings.writable("broker-a")).values()) == [True, True]


async def commit(cluster: Running, broker: str, offset: int) -> None:
    """The group has read the broker's only queue of the topic up to there."""
    at = cluster.queue("orders", broker=broker)
    await cluster.admin.offsets.commit("billing", at, cluster.brokers[broker].address, offset)


async def test_a_delayed_message_is_held() -> None:
    """It counts until it was delivered, and its topic's reader counts it from then on."""
    async with running() as cluster:
        await cluster.topic("orders")
        await cluster.send("orders", b"later", DELAY="5")
        found = await AllHoldings(cluster.calls, cluster.nameservers).of("broker-a")
        assert (found.delayed, found.unowned) == (1, [])


async def test_an_unknown_broker_is_named_with_those_that_exist() -> None:
    async with running() as cluster:
        with pytest.raises(NoSuchBroker, match="broker-x"):
            await AllHoldings(cluster.calls, cluster.nameservers).of("broker-x")
