"""Java consumers when the master is away: they read on at the slave and come back, unconfigured."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.driver import ClientError, Driver
from tests.interop.pairs import Pair, tell, wait_for
from tests.interop.test_push import numbered, numbers


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    started = Pair(tmp_path / "pair").start()
    yield started
    started.stop()


def test_consumers_move_to_the_slave_and_back(
    pair: Pair, driver: Driver, topic: str, group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who stays gets each message once; who begins meanwhile begins at the slave; offsets that the
    slave took are the master's when it returns."""
    stays, begins = f"{group}-stays", f"{group}-begins"
    driver.ask(pair.cluster, "send", "sync", topic, 20)
    driver.ask(pair.cluster, "subscribe", stays, topic, group=stays)
    assert numbers(driver.ask(pair.cluster, "got", stays, count=20)) == numbered(20)

    pair.a.stop(kill=True)
    away = time.monotonic()
    driver.ask(pair.cluster, "subscribe", begins, topic, group=begins)
    found = driver.ask(pair.cluster, "got", begins, count=20, ms=40_000)
    moved_s = time.monotonic() - away
    assert numbers(found) == numbered(20)
    driver.ask(pair.cluster, "stop", begins)  # its offsets are committed at the slave

    pair.a.start()
    pair.wait_whole()
    driver.ask(pair.cluster, "send", "sync", topic, 10, body="after")
    driver.ask(pair.cluster, "subscribe", begins, topic, group=begins)
    assert numbers(driver.ask(pair.cluster, "got", begins, count=10)) == numbered(10, "after")
    seen = numbers(driver.ask(pair.cluster, "got", stays, count=30, ms=40_000))
    assert seen == sorted([*numbered(20), *numbered(10, "after")])
    tell(
        capsys,
        f"a new Java consumer, which asks for routes each second, had all from the slave "
        f"{moved_s:.1f} s after the master's death",
    )
    for name in (stays, begins):
        driver.ask(pair.cluster, "stop", name)


def test_consumers_follow_a_promotion(pair: Pair, driver: Driver, topic: str, group: str) -> None:
    """The slave that they read from becomes the master; nothing is delivered twice."""
    driver.ask(pair.cluster, "send", "sync", topic, 20)
    driver.ask(pair.cluster, "subscribe", group, topic, group=group)
    assert numbers(driver.ask(pair.cluster, "got", group, count=20)) == numbered(20)
    time.sleep(6.0)  # its offsets are committed, and with the slave
    pair.a.stop(kill=True)
    pair.recover(pair.b, "promote", "broker-a/2", "--one-copy")
    pair_at_b = pair.cluster
    pair_at_b.broker = pair.b.address
    sent: list[str] = []

    def resent() -> bool:
        """A producer has the old route for up to a second."""
        try:
            driver.ask(pair_at_b, "send", "sync", topic, 1, body="after-")
        except ClientError:
            return False
        sent.append("after-0")
        return True

    wait_for(resent, "a producer that found the new master", 10.0)
    seen = numbers(driver.ask(pair_at_b, "got", group, count=21, ms=40_000))
    assert seen == sorted([*numbered(20), *sent])
    driver.ask(pair_at_b, "stop", group)


def test_clients_with_their_own_settings_find_the_new_master(
    pair: Pair, driver: Driver, topic: str, group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A producer and a consumer as Apache ships them: routes each 30 s, another try after 3 s."""
    driver.ask(pair.cluster, "send", "sync", topic, 4, body="before")
    driver.ask(pair.cluster, "subscribe", group, topic, group=group, defaults="yes")
    assert len(driver.ask(pair.cluster, "got", group, count=4)) == 4
    load = driver.start(pair.cluster, "send", "until", topic, 0, defaults="yes")
    time.sleep(1.0)
    pair.a.stop(kill=True)
    recovery = pair.recover(pair.b, "promote", "broker-a/2", "--one-copy")
    promoted = time.monotonic()
    before = pair.stored()
    wait_for(lambda: pair.stored() > before, "a Java producer that found the new master", 45.0)
    sends_s = time.monotonic() - promoted
    driver.ask(pair.cluster, "enough", topic)
    told = load.result(60)
    count = 4 + len(told["acked"])
    found = driver.ask(pair.cluster, "got", group, count=count, ms=44_000)
    reads_s = time.monotonic() - promoted
    assert set(told["acked"]) <= set(numbers(found))
    driver.ask(pair.cluster, "stop", group)
    tell(
        capsys,
        f"Java clients with default settings: promoted after {recovery.first_ok_s:.1f} s, then the "
        f"producer sent again after {sends_s:.0f} s, the consumer had all after {reads_s:.0f} s",
    )
