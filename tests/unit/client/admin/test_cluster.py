"""Brokers, connections, statistics and host facts through the admin client."""

import time

import pytest

from broker_trio.client.admin.asking import ask_each
from broker_trio.client.admin.hosts import clock_of
from broker_trio.client.admin.problems import NoSuchBroker, listed
from broker_trio.client.errors import BrokerRefused
from broker_trio.model.codes import RequestCode
from broker_trio.model.subscription import build_subscription
from broker_trio.remoting.client import Unreachable
from broker_trio.wire.bodies.heartbeat import (
    ConsumerData,
    HeartbeatData,
    ProducerData,
    encode_heartbeat,
)

from .cluster import Running, running


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def beat(cluster: Running) -> None:
    """One client that produces for `pg` and consumes `orders` in `billing`."""
    consumer = ConsumerData(
        group_name="billing", consume_type="CONSUME_PASSIVELY", message_model="CLUSTERING",
        consume_from_where="CONSUME_FROM_LAST_OFFSET",
        subscription_data_set=[build_subscription("orders", "TagA")],
    )  # fmt: skip
    body = HeartbeatData(
        client_id="me@1", producer_data_set=[ProducerData("pg")], consumer_data_set=[consumer]
    )
    for broker in cluster.brokers.values():
        await cluster.calls.ask(
            broker.address,
            RequestCode.HEART_BEAT,
            body=lambda serialize: encode_heartbeat(body, serialize),
        )


async def test_members_are_laid_together_over_brokers() -> None:
    """One client on two brokers is one member with both of them."""
    async with running(brokers=2) as cluster:
        await cluster.topic("orders")
        await beat(cluster)
        connections = cluster.admin.connections
        group = await connections.consumers("billing")
        assert group is not None
        (member,) = group.members
        assert (member.client_id, member.brokers) == ("me@1", ("broker-a", "broker-b"))
        assert group.subscriptions["orders"].sub_string == "TagA"
        assert await connections.consumers("nobody") is None
        assert [m.group for m in await connections.producers()] == ["pg"]
        assert [m.client_id for m in await connections.producers("pg")] == ["me@1"]
        assert await connections.producers("nobody") == []
        assert await connections.running_info("billing", "nobody") is None


async def test_a_broker_is_found_by_name_and_by_address() -> None:
    """A name leads to its master; an unknown one is named with those that exist."""
    async with running() as cluster:
        address = cluster.brokers["broker-a"].address
        assert await cluster.admin.brokers.address_of("broker-a") == address
        assert await cluster.admin.brokers.address_of("h:1") == "h:1"
        with pytest.raises(NoSuchBroker, match="no broker named x; brokers known: broker-a"):
            await cluster.admin.brokers.address_of("x")
        assert [r.role for r in await cluster.admin.brokers.replicas()] == ["master"]


async def test_counters_and_settings_are_read_and_changed() -> None:
    """A counter that never moved is zero; only hot settings change."""
    async with running() as cluster:
        statistics = cluster.admin.statistics
        assert (await statistics.counter("broker-a", "TOPIC_PUT_NUMS", "x")).stats_minute.sum == 0
        assert (await statistics.settings("broker-a"))["brokerName"] == "broker-a"
        await statistics.change_settings("broker-a", {"longPollingEnable": "false"})
        assert (await statistics.settings("broker-a"))["longPollingEnable"] == "false"
        with pytest.raises(BrokerRefused, match="read at start only"):
            await statistics.change_settings("broker-a", {"brokerName": "other"})


async def test_a_drained_broker_takes_no_messages_until_it_is_let() -> None:
    """let_write works at every nameserver and counts the topics."""
    async with running(nameservers=2) as cluster:
        await cluster.topic("orders")
        await cluster.admin.statistics.let_write("broker-a", writable=False)
        (queue,) = (await cluster.nameservers.route("orders")).queue_datas
        assert not queue.writable
        await cluster.admin.statistics.let_write("broker-a", writable=True)
        (queue,) = (await cluster.nameservers.route("orders")).queue_datas
        assert queue.writable


async def test_programs_tell_their_clock_their_disk_and_their_limits() -> None:
    """Broker and nameserver both; skew is small on one machine."""
    async with running() as cluster:
        found = await cluster.admin.hosts.facts(cluster.brokers["broker-a"].address, wall_ms)
        assert found is not None
        facts, clock = found
        assert (facts.role, facts.name) == ("broker", "broker-a-0")
        assert abs(clock.skew_ms) <= 1_000
        assert facts.open_files_max == -1 or facts.open_files < facts.open_files_max
        assert [each.registered for each in facts.nameservers] == [True]
        assert facts.disk_total > facts.disk_free > 0
        found = await cluster.admin.hosts.facts(cluster.nameserver_apps[0].address, wall_ms)
        assert found is not None
        assert found[0].role == "nameserver"
        assert found[0].route_fingerprint is not None


async def test_runtime_information_tells_the_clock_to_the_second() -> None:
    """As Apache's brokers do: boot time and uptime add up to now."""
    async with running() as cluster:
        _, clock = await cluster.admin.hosts.runtime(cluster.brokers["broker-a"].address, wall_ms)
        assert clock is not None
        assert abs(clock.skew_ms) <= clock.error_ms + 1_000


def test_skew_is_counted_from_the_middle_of_the_question() -> None:
    """Asked at 100, answered at 120, theirs was 1110: a second ahead, give or take 10 ms."""
    assert clock_of(100, 1_110, 120) == (1_000, 10)


async def test_whoever_is_silent_hides_nobody() -> None:
    """Answers and problems side by side; `some` raises only where nobody answered."""

    async def question(address: str) -> int:
        if address == "down":
            raise Unreachable(address, "refused", sent=False)
        return len(address)

    asked = await ask_each({"a": "down", "b": "upup"}, question)
    assert asked.answers == asked.some() == {"b": 4}
    assert list(asked.problems) == ["a"]
    with pytest.raises(Unreachable):
        asked.all()
    with pytest.raises(Unreachable):
        (await ask_each({"a": "down"}, question)).some()


def test_long_lists_of_names_are_cut() -> None:
    """None, some, and more than a line holds."""
    assert listed([]) == "none"
    assert listed(["b", "a"]) == "a, b"
    assert listed(f"n{n:02}" for n in range(14)).endswith("n11 and 2 more")
