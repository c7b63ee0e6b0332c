"""Brokers and nameservers of different makes together, as in a cluster that moves step by step.

Apache's broker ──registers──▶ our nameserver ◀── Java clients, which then use that broker
our broker ──registers──▶ Apache's nameserver ◀── Java clients, which then use ours
"""

import time
from collections.abc import Iterator

import pytest

from broker_trio.model.codes import RequestCode, ResponseCode
from tests.interop import cache, raw
from tests.interop.clusters import Cluster, Program, is_routed, start_broker, start_nameserver
from tests.interop.driver import Driver
from tests.interop.test_push import numbered, numbers

NOTICED_SECONDS = 5.0  # a closed connection is noticed at once, a missed heartbeat after 120 s

Mixed = tuple[Cluster, Program, Program]


@pytest.fixture(scope="module")
def apache_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    """Our nameserver with Apache's broker."""
    yield from mixed("ours", "apache", tmp_path_factory)


@pytest.fixture(scope="module")
def our_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    """Apache's nameserver with our broker."""
    yield from mixed("apache", "ours", tmp_path_factory)


def mixed(
    nameserver_kind: str, broker_kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mixed]:
    script, folder = cache.apache(), tmp_path_factory.mktemp("mixed")
    nameserver = start_nameserver(nameserver_kind, folder / "nameserver", script)
    try:
        broker = start_broker(
            broker_kind, folder / "broker", nameserver.address, script, name="broker-mixed"
        )
    except BaseException:
        nameserver.stop(kill=True)
        raise
    cluster = Cluster(broker_kind, nameserver.address, broker.address, "broker-mixed")
    yield cluster, nameserver, broker
    broker.stop(kill=True)
    nameserver.stop(kill=True)


@pytest.fixture(params=["apache_broker", "our_broker"])
def pair(request: pytest.FixtureRequest) -> Mixed:
    """Both mixtures in turn."""
    found: Mixed = request.getfixturevalue(request.param)
    return found


def test_clients_produce_and_consume_through_a_mixed_pair(
    pair: Mixed, driver: Driver, topic: str, group: str
) -> None:
    """A topic made by the first send is registered and routed; groups balance and commit."""
    cluster, _, _ = pair
    driver.ask(cluster, "send", "sync", topic, 20, tag="TagA", key="key")
    driver.ask(cluster, "subscribe", group, topic, group=group)
    assert numbers(driver.ask(cluster, "got", group, count=20)) == numbered(20)
    driver.ask(cluster, "stop", group)
    (found,) = driver.ask(cluster, "query", topic, key="key7")
    assert found["body"] == "m7"
    later = driver.ask(cluster, "lite", f"{group}-lite", topic, count=20)
    assert numbers(later) == numbered(20)


def test_a_retry_topic_is_routed_through_a_mixed_pair(
    pair: Mixed, driver: Driver, topic: str, group: str
) -> None:
    """%RETRY% topics are registered too: a failed message comes again."""
    cluster, _, _ = pair
    driver.ask(cluster, "send", "sync", topic, 1)
    driver.ask(cluster, "subscribe", group, topic, group=group, fail=1, level=1)
    messages = driver.ask(cluster, "got", group, count=2)
    assert [message["reconsumeTimes"] for message in messages] == [0, 1]
    driver.ask(cluster, "stop", group)


def test_the_admin_tool_sees_the_broker_of_a_mixed_pair(
    pair: Mixed, driver: Driver, topic: str
) -> None:
    """Cluster, topic and route, created by one make's broker, told by the other's nameserver."""
    cluster, _, _ = pair
    words = f"updateTopic -b {cluster.broker} -t {topic} -r 3 -w 3".split()
    assert "success" in driver.ask(cluster, "mqadmin", *words)
    assert f'0:"{cluster.broker}"' in driver.ask(cluster, "mqadmin", "topicRoute", "-t", topic)
    assert "broker-mixed" in driver.ask(cluster, "mqadmin", "clusterList")
    assert topic in driver.ask(cluster, "mqadmin", "topicList")


def test_a_broker_that_is_gone_is_no_longer_routed_to_and_comes_back(pair: Mixed) -> None:
    """Its connection ends with it: the route is gone within seconds, and there again after."""
    _, nameserver, broker = pair
    assert is_routed(nameserver.address, broker.address)
    broker.stop(kill=True)
    end = time.monotonic() + NOTICED_SECONDS
    while is_routed(nameserver.address, broker.address):
        assert time.monotonic() < end
        time.sleep(0.05)
    question = {"topic": "TBW102"}
    answer = raw.ask(nameserver.address, RequestCode.GET_ROUTEINFO_BY_TOPIC, question)
    assert answer.code == ResponseCode.TOPIC_NOT_EXIST
    broker.start()


def test_a_broker_registers_again_with_a_nameserver_that_was_restarted(pair: Mixed) -> None:
    """The route table is gone with the nameserver; the broker fills it within its interval."""
    _, nameserver, broker = pair
    nameserver.restart(kill=True)
    end = time.monotonic() + 35
    while not is_routed(nameserver.address, broker.address):
        assert time.monotonic() < end
        time.sleep(0.1)
