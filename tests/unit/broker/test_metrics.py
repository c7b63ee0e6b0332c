"""The broker's samples: what a scrape shows of a real store and real tables on a simulated disk."""

import random
from collections.abc import AsyncIterator

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.metrics import (
    broker_samples,
    latency_samples,
    process_samples,
    rebinned,
    recovery_samples,
    remoting_samples,
)
from broker_trio.broker.parts import Parts
from broker_trio.metrics.catalogue import CATALOGUE
from broker_trio.metrics.collector import Distribution, Identity, MetricsCollector, Sample
from broker_trio.metrics.exposition import Exposition
from broker_trio.model.codes import RequestCode
from broker_trio.model.histogram import PUT_SECONDS, RPC_MILLISECONDS
from broker_trio.model.hosts import encode_host
from broker_trio.model.topic import TopicConfig
from broker_trio.remoting.client import RemotingClient
from broker_trio.remoting.stats import LATENCY_BOUNDS_S, RemotingStats
from broker_trio.runtime.seams import Usage
from broker_trio.store.config import TINY
from broker_trio.store.scan import Progress
from broker_trio.store.store import Draft, Store
from broker_trio.testing.sim_clock import ManualClock
from broker_trio.testing.sim_disk import SimDisk

HOST = "10.0.0.1:10911"
CONFIG = BrokerConfig(store=TINY, nameservers=("10.0.0.9:9876",))
USAGE = Usage(total=100, free=40)
Values = dict[tuple[str, ...], float]


@pytest.fixture
async def parts(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> AsyncIterator[Parts]:
    disk, clock, entropy = SimDisk(random.Random(1)), ManualClock(1_000_000), random.Random(2)
    store = Store(disk, clock, entropy, TINY, encode_host(HOST))
    await nursery.start(store.run)
    made = Parts(clock, disk, entropy, CONFIG, HOST, store, RemotingClient())
    made.topics.create_system_topics("DefaultCluster", "broker-a")
    made.topics.put(TopicConfig("orders", 2, 2))
    yield made
    nursery.cancel_scope.cancel()


def put(parts: Parts, queue_id: int, count: int) -> None:
    """Messages as a send would store and count them."""
    for _ in range(count):
        parts.store.append(Draft("orders", queue_id, b"hello", b"", 0, 0, 0, encode_host(HOST), 0))
    parts.store.write_out()
    parts.stats.topic("orders").puts += count


def values(parts: Parts, now_ms: int = 1_000_000) -> Values:
    """Plain samples of a scrape, under (family, label, …)."""
    return {
        (found.name, *found.labels): found.value
        for found in broker_samples(parts, USAGE, now_ms)
        if not isinstance(found.value, Distribution)
    }


async def test_every_sample_is_in_the_catalogue(parts: Parts) -> None:
    """The whole page of a broker with messages, a group and connections parses and is listed."""
    put(parts, 0, 3)
    parts.offsets.commit("g", "orders", 0, 1)
    parts.stats.got("orders", "g", 1, 100)
    remoting = RemotingStats()
    remoting.answered(RequestCode.SEND_MESSAGE_V2, 0, 0.002)
    remoting.answered(424_242, 3, 0.002)
    await parts.ages.look()
    sources = [
        lambda: process_samples(CONFIG, HOST, ready=True),
        lambda: broker_samples(parts, USAGE, 1_000_000),
        lambda: remoting_samples(remoting),
    ]
    collector = MetricsCollector(Identity("c", "broker", "broker-a"), sources)
    text = (await Exposition(collector).page()).decode()
    names = {
        parsed.name + ("_total" if parsed.type == "counter" else "")
        for parsed in text_string_to_metric_families(text)
    }
    assert names <= CATALOGUE.keys()
    assert {"rocketmq_messages_in_total", "brokertrio_commitlog_offset_bytes"} <= names


async def test_lag_is_there_without_any_consumer_connected(parts: Parts) -> None:
    """What the group committed against what the queues hold; uncommitted queues do not count."""
    put(parts, 0, 5)
    put(parts, 1, 7)
    parts.offsets.commit("g", "orders", 0, 2)
    parts.offsets.pulled("g", "orders", 0, 4)
    found = values(parts)
    labels = ("orders", "g", "false", "false")
    assert found["rocketmq_consumer_lag_messages", *labels] == 3
    assert found["rocketmq_consumer_inflight_messages", *labels] == 2
    assert found["rocketmq_consumer_ready_messages", *labels] == 1
    assert found["brokertrio_consumer_offset", "orders", "g"] == 2
    assert found["brokertrio_topic_offset", "orders"] == 12
    assert found["rocketmq_messages_in_total", "orders", "normal", "false"] == 12


def sized(parts: Parts) -> dict[tuple[str, ...], tuple[tuple[int, ...], float]]:
    """Counts and bytes of the size histograms by topic and type."""
    return {
        found.labels[:2]: found.value
        for found in broker_samples(parts, USAGE, 1_000_000)
        if found.name == "rocketmq_message_size" and isinstance(found.value, Distribution)
    }


async def test_messages_are_told_apart_by_type_and_size(parts: Parts) -> None:
    """The topic's declared type, and delays by the messages themselves; sums are of each type."""
    stats = parts.stats.topic("orders")
    stats.puts, stats.put_bytes = 5, 7_000
    stats.note_large(1, 4_096)
    stats.note_delayed(100)
    stats.note_delayed(5_000)
    stats.note_large(1, 5_000)
    found = values(parts)
    assert found["rocketmq_messages_in_total", "orders", "normal", "false"] == 3
    assert found["rocketmq_messages_in_total", "orders", "delay", "false"] == 2
    assert found["rocketmq_throughput_in_total", "orders", "delay", "false"] == 5_100
    assert sized(parts)["orders", "normal"] == ((2, 1, 0, 0, 0, 0, 0), 1_900)
    assert sized(parts)["orders", "delay"] == ((1, 0, 1, 0, 0, 0, 0), 5_100)
    for declared in ("FIFO", "DELAY"):
        attributes = {"message.type": declared}
        parts.topics.put(TopicConfig("orders", 2, 2, attributes=attributes))
        found = values(parts)
        whole = 3 if declared == "FIFO" else 5
        assert found["rocketmq_messages_in_total", "orders", declared.lower(), "false"] == whole


async def test_watermarks_are_what_waits(parts: Parts) -> None:
    """Tasks by processor, and sends that wait for their fsync, under RocketMQ's names."""
    stats = RemotingStats()
    stats.wait("query", 1)
    stats.wait("query", 1)
    stats.wait("query", -1)
    stats.wait("pull", 1)
    stats.wait("pull", -1)
    found = {one.labels[-1]: one.value for one in remoting_samples(stats) if "water" in one.name}
    assert found == {"query_message": 1, "pull": 0}
    put(parts, 0, 1)
    parts.store.when_durable(parts.store.log.max_offset, lambda _: None)
    assert values(parts)["rocketmq_processor_watermark", "async_put"] == 1


async def test_lag_is_never_below_zero(parts: Parts) -> None:
    """A group that committed beyond the end has no lag."""
    put(parts, 0, 1)
    parts.offsets.commit("g", "orders", 0, 9)
    labels = ("orders", "g", "false", "false")
    assert values(parts)["rocketmq_consumer_lag_messages", *labels] == 0


async def test_series_vanish_with_topic_and_group(parts: Parts) -> None:
    """After a topic is deleted no sample carries its name."""
    put(parts, 0, 1)
    parts.offsets.commit("g", "orders", 0, 0)
    assert any("orders" in key for key in values(parts))
    parts.topics.delete("orders")
    parts.offsets.delete_topic("orders")
    parts.stats.forget_topic("orders")
    await parts.store.queues.delete_topic("orders")
    assert [key for key in values(parts) if "orders" in key] == []


async def test_positions_of_the_log_tell_written_from_durable(parts: Parts) -> None:
    """Bytes that are written and not flushed show as the difference, until the flush."""
    put(parts, 0, 2)
    found = values(parts)
    end = found["brokertrio_commitlog_offset_bytes", "max"]
    assert end > 0
    behind = found["rocketmq_storage_flush_behind_bytes", "local", "disk"]
    assert end - found["brokertrio_commitlog_offset_bytes", "flushed"] == behind
    await parts.store.wait_flushed(int(end))
    assert values(parts)["rocketmq_storage_flush_behind_bytes", "local", "disk"] == 0
    assert found["brokertrio_store_filesystem_avail_bytes", "commitlog"] == 40


async def test_ages_grow_while_nobody_looks(parts: Parts) -> None:
    """The moment of storing is remembered, the age is made at the scrape."""
    put(parts, 0, 2)
    parts.offsets.commit("g", "orders", 0, 0)
    await parts.ages.look()
    labels = ("orders", "g", "false", "false")
    family = "rocketmq_consumer_lag_latency_milliseconds"
    assert values(parts, 1_000_500)[family, *labels] == 500
    assert values(parts, 1_060_000)[family, *labels] == 60_000
    reserve = ("rocketmq_storage_message_reserve_time_milliseconds", "local", "disk")
    assert values(parts, 1_000_500)[reserve] == 500
    parts.offsets.commit("g", "orders", 0, 2)
    assert values(parts)[family, *labels] == 0


async def test_a_group_that_was_level_has_an_age_from_that_moment(parts: Parts) -> None:
    """What came after the look is at most as old as the look, and that is said."""
    put(parts, 0, 2)
    parts.offsets.commit("g", "orders", 0, 2)
    await parts.ages.look()
    put(parts, 0, 1)
    labels = ("orders", "g", "false", "false")
    for family in (
        "rocketmq_consumer_lag_latency_milliseconds",
        "rocketmq_consumer_queueing_latency_milliseconds",
    ):
        assert values(parts, 1_007_000)[family, *labels] == 7_000


async def test_an_age_that_nobody_looked_up_is_not_zero(parts: Parts) -> None:
    """A lag in messages whose first message was not read yet has no age: unknown is absent."""
    put(parts, 0, 2)
    parts.offsets.commit("g", "orders", 0, 0)
    shown = values(parts)
    assert shown["rocketmq_consumer_lag_messages", "orders", "g", "false", "false"] == 2
    names = {key[0] for key in shown}
    assert "rocketmq_consumer_lag_latency_milliseconds" not in names
    assert "rocketmq_consumer_queueing_latency_milliseconds" not in names


async def test_a_nameserver_that_never_answered_is_not_registered(parts: Parts) -> None:
    """0, and no time of a success that never was."""
    found = values(parts)
    assert found["brokertrio_nameserver_registered", "10.0.0.9:9876"] == 0
    assert not any("last_success" in key[0] for key in found)


def test_not_ready_is_said_from_the_first_moment() -> None:
    """While the store recovers there are few figures, and the gate reads 0."""
    found = {s.name: s for s in process_samples(CONFIG, HOST, ready=False)}
    assert found["brokertrio_ready"].value == 0
    assert found["brokertrio_broker_info"].labels == ("0", "master", HOST)
    found = {s.name: s for s in process_samples(CONFIG, HOST, ready=False, role="slave")}
    assert found["brokertrio_broker_info"].labels == ("1", "slave", HOST)


def test_a_long_recovery_says_how_far_it_is() -> None:
    """The running phase and its share; at the end 1, so that nobody takes it for stuck."""
    progress = Progress()
    progress.begin("writing the tail again", 200)
    progress.bytes_done = 50
    labels = ("writing_the_tail_again",)
    assert list(recovery_samples(progress)) == [
        Sample("brokertrio_store_recovery_ratio", 0.25, labels)
    ]
    progress.begin("done", 0)
    assert list(recovery_samples(progress)) == [
        Sample("brokertrio_store_recovery_ratio", 1.0, ("done",))
    ]


def test_held_pulls_do_not_spoil_the_latency_of_pulls() -> None:
    """A pull that waited for a message counts as long polling, and not as a slow pull."""
    stats = RemotingStats()
    stats.answered(RequestCode.PULL_MESSAGE, 0, 0.0002)
    stats.answered(RequestCode.PULL_MESSAGE, 19, 15.0, parked=True)
    stats.answered(RequestCode.SEND_MESSAGE_V2, 0, 0.004)
    stats.answered(RequestCode.SEND_BATCH_MESSAGE, 0, 0.2, parked=True)
    found = {(s.name, *s.labels): s.value for s in latency_samples(stats.by_code)}
    pulls = found[("brokertrio_pull_duration_seconds",)]
    sends = found[("brokertrio_store_put_duration_seconds",)]
    assert isinstance(pulls, Distribution)
    assert isinstance(sends, Distribution)
    assert (sum(pulls.counts), pulls.total) == (1, 0.0002)
    assert (sum(sends.counts), sends.total) == (2, pytest.approx(0.204))
    held = found[
        "rocketmq_rpc_latency_milliseconds",
        "remoting",
        "pull_message",
        "pull_not_found",
        "true",
        "success",
    ]
    assert isinstance(held, Distribution)
    assert (held.counts[-1], held.total) == (1, 15_000)


@pytest.mark.parametrize("value", [0.0, 0.0005, 0.0007, 0.003, 0.0065, 0.02, 1.5, 2.2, 9.0, 60.0])
def test_coarser_buckets_agree_with_counting_in_them(value: float) -> None:
    """Adding fine buckets up gives what a histogram of the coarse bounds would have counted."""
    stats = RemotingStats()
    stats.answered(RequestCode.SEND_MESSAGE_V2, 0, value)
    (fine,) = (code.buckets for code in stats.by_code.values())
    for bounds in (PUT_SECONDS, tuple(bound / 1_000 for bound in RPC_MILLISECONDS)):
        expected = [0] * (len(bounds) + 1)
        expected[next((i for i, b in enumerate(bounds) if value <= b), len(bounds))] = 1
        assert rebinned(fine, bounds) == tuple(expected)


def test_both_sets_of_bounds_are_among_the_fine_ones() -> None:
    """Otherwise adding up would be wrong without anybody noticing."""
    assert set(PUT_SECONDS) <= set(LATENCY_BOUNDS_S)
    assert {bound / 1_000 for bound in RPC_MILLISECONDS} <= set(LATENCY_BOUNDS_S)
