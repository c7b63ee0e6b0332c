"""Brokers that stop and that are killed: groups go on where they were, no acknowledged send lost.

These tests have programs of their own, because they end them.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop import cache
from tests.interop.clusters import Cluster, Program, start_broker, start_nameserver
from tests.interop.driver import Driver
from tests.interop.test_push import numbered, numbers

Start = Callable[..., tuple[Cluster, Program]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a cluster of a make and gives its broker to stop and to start."""
    programs: list[Program] = []

    def starter(kind: str, **settings: str) -> tuple[Cluster, Program]:
        script = cache.apache() if kind == "apache" else None
        nameserver = start_nameserver(kind, tmp_path / "nameserver", script)
        programs.append(nameserver)
        broker = start_broker(kind, tmp_path / "broker", nameserver.address, script, **settings)
        programs.append(broker)
        return Cluster(kind, nameserver.address, broker.address, "broker-a"), broker

    yield starter
    for program in reversed(programs):
        program.stop(kill=True)


@pytest.mark.parametrize("kind", ["ours", "apache"])
def test_groups_go_on_where_they_were_after_a_clean_restart(
    start: Start, driver: Driver, topic: str, group: str, kind: str
) -> None:
    """Messages, committed offsets and topics are there again; consumers that stayed go on."""
    cluster, broker = start(kind)
    stays, leaves = f"{group}-stays", f"{group}-leaves"
    driver.ask(cluster, "send", "sync", topic, 20)
    for name in (stays, leaves):
        driver.ask(cluster, "subscribe", name, topic, group=name)
        assert numbers(driver.ask(cluster, "got", name, count=20)) == numbered(20)
    driver.ask(cluster, "stop", leaves)
    before = driver.ask(cluster, "offsets", topic)

    broker.restart()

    assert driver.ask(cluster, "offsets", topic) == before
    driver.ask(cluster, "send", "sync", topic, 10, body="after")
    driver.ask(cluster, "subscribe", leaves, topic, group=leaves)
    assert numbers(driver.ask(cluster, "got", leaves, count=10)) == numbered(10, "after")
    expected, seen = {*numbered(20), *numbered(10, "after")}, set[str]()
    end = time.monotonic() + 20
    while seen != expected:  # what it had not committed comes to it twice
        assert time.monotonic() < end, expected - seen
        seen = set(numbers(driver.ask(cluster, "got", stays, count=30)))
    for name in (stays, leaves):
        driver.ask(cluster, "stop", name)


@pytest.mark.parametrize(
    ("kind", "flush"),
    [("ours", "SYNC_FLUSH"), ("ours", "ASYNC_FLUSH"), ("apache", "ASYNC_FLUSH")],
)
def test_nothing_acknowledged_is_missing_after_kill_9_under_load(
    start: Start, driver: Driver, topic: str, group: str, kind: str, flush: str
) -> None:
    """Eight threads send while the broker is killed and started again on what it left.

    A process that dies loses nothing that it wrote, so this holds in both flush modes.
    """
    cluster, broker = start(kind, flush=flush)
    driver.ask(cluster, "send", "sync", topic, 4, body="before")
    load = driver.start(
        cluster, "send", "until", topic, 0, ms=14_000 if kind == "apache" else 8_000
    )
    time.sleep(1.5)
    broker.restart(kill=True)
    restarted = time.time() * 1_000
    time.sleep(1.5)
    driver.ask(cluster, "enough", topic)
    told = load.result(30)
    assert told["failed"] > 0, "the kill was noticed"
    assert told["last"] > restarted, "the load went on afterwards"
    assert len(told["acked"]) > 100

    messages = driver.ask(cluster, "pull", group, topic)
    stored = [message["body"] for message in messages]
    assert set(told["acked"]) <= set(stored)
    assert set(numbered(4, "before")) <= set(stored)
    offsets: dict[int, list[int]] = {}
    for message in messages:
        offsets.setdefault(message["queueId"], []).append(message["queueOffset"])
    assert all(found == list(range(len(found))) for found in offsets.values()), "dense, in order"
