"""Java consumers when the master is away: they read on at the slave and come back, unconfigured."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from broker_trio.model.codes import RequestCode
from tests.interop import raw
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


LARGE: Final = 200_000  # bytes of a message; 60 of them are far behind, one is near
FAR: Final = {"BROKER_TRIO__PULL__FAR_BEHIND_BYTES": str(3 << 20)}


def _far_behind(pair: Pair, topic: str, count: int) -> None:
    fields: dict[str, str | int | bool] = {
        "producerGroup": "p", "topic": topic, "defaultTopic": "TBW102", "queueId": 0,
        "defaultTopicQueueNums": 1, "sysFlag": 0, "bornTimestamp": 1, "flag": 0,
    }  # fmt: skip
    with raw.connected(pair.a.address) as connection:
        for number in range(count):
            body = f"{number:06}".encode() * (LARGE // 6)
            assert connection.ask(RequestCode.SEND_MESSAGE, fields, body).code == 0


def _served(address: str) -> int:
    """How many messages a broker gave to consumers."""
    answer = raw.ask(address, RequestCode.GET_BROKER_RUNTIME_INFO)
    return int(json.loads(answer.body)["table"]["msgGetTotalTodayNow"])


def _committed(address: str, group: str, topic: str) -> int:
    fields: dict[str, str | int | bool] = {"consumerGroup": group, "topic": topic, "queueId": 0}
    answer = raw.ask(address, RequestCode.QUERY_CONSUMER_OFFSET, fields)
    return int(str(answer.ext["offset"])) if answer.code == 0 else -1


def test_who_is_far_behind_reads_at_the_slave_and_comes_back(
    tmp_path: Path, driver: Driver, topic: str, group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Java consumer follows the master's hint to the slave, and back once it is near the end;
    each message comes once, and its place at the master only ever moves on."""
    pair = Pair(tmp_path / "pair", settings=FAR).start()
    try:
        _far_behind(pair, topic, 60)
        before = _served(pair.a.address), _served(pair.b.address)
        driver.ask(pair.cluster, "subscribe", group, topic, group=group)
        places = []

        def all_came() -> bool:
            places.append(_committed(pair.a.address, group, topic))
            return places[-1] == 60

        wait_for(all_came, "60 messages consumed and committed at the master")
        away = _served(pair.b.address) - before[1]
        _far_behind(pair, topic, 1)
        seen = driver.ask(pair.cluster, "got", group, count=61)
        assert sorted(message["queueOffset"] for message in seen) == list(range(61))
        assert places == sorted(places)
        at_master = _served(pair.a.address) - before[0]
        assert away >= 30, "the far part came from the slave"
        assert at_master >= 2, "the beginning and the end came from the master"
        wait_for(lambda: _committed(pair.b.address, group, topic) >= 60, "the slave knows, too")
        driver.ask(pair.cluster, "stop", group)
    finally:
        pair.stop()
    tell(capsys, f"a Java consumer far behind: {at_master} from the master, {away} from the slave")


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
