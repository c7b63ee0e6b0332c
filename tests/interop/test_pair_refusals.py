"""A synchronous master without its slave, as Java producers meet it: they go to another pair.

Answers 11 and 12 are for what was stored and may be lost; once no slave was in sync for
`replication.slave_timeout_ms` nothing is stored any more, and the refusal is one that clients retry
elsewhere (decision 10). The ones that have nowhere to go are told what is wrong and what to type.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.clusters import Program, start_broker
from tests.interop.driver import ClientError, Driver
from tests.interop.pairs import NAME, Pair, Probe, wait_for

OTHER = "broker-b"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    started = Pair(tmp_path / "pair").start()
    yield started
    started.stop()


@pytest.fixture
def other(pair: Pair, tmp_path: Path) -> Iterator[Program]:
    """A second broker name of the same cluster."""
    broker = start_broker("ours", tmp_path / "other", pair.nameserver.address, name=OTHER)
    yield broker
    broker.stop(kill=True)


def brokers(results: list[dict[str, Any]]) -> set[str]:
    assert {result["status"] for result in results} == {"SEND_OK"}
    return {result["broker"] for result in results}


def test_producers_go_to_another_broker_while_the_slave_is_away(
    pair: Pair, other: Program, driver: Driver, topic: str
) -> None:
    """Every send succeeds there, nothing grows here; without another one the reason is told."""
    alone = f"{topic}-alone"  # nowhere else
    for name, address in ((topic, pair.a.address), (topic, other.address), (alone, pair.a.address)):
        words = f"updateTopic -b {address} -t {name} -r 4 -w 4".split()
        assert "success" in driver.ask(pair.cluster, "mqadmin", *words)
    wait_for(
        lambda: brokers(driver.ask(pair.cluster, "send", "sync", topic, 8)) == {NAME, OTHER},
        "a producer that knows both brokers",
    )
    pair.b.stop(kill=True)
    probe = Probe(pair.a.address)
    wait_for(lambda: probe.once().startswith("14: SLAVE_NOT_AVAILABLE"), "a refusal")
    before = pair.status(pair.a)
    assert before is not None
    assert brokers(driver.ask(pair.cluster, "send", "sync", topic, 24)) == {OTHER}
    after = pair.status(pair.a)
    assert after is not None
    assert after.log_end == before.log_end, "refused before the append"

    with pytest.raises(ClientError) as caught:
        driver.ask(pair.cluster, "send", "sync", alone, 1)
    assert caught.value.code == 14, "that of the refusal; the remark is in the cause's text"
    assert "broker-trio degrade" in probe.once()
    done = pair.command("degrade", f"{NAME}/1", "--yes")
    assert done.returncode == 0, done.stderr + done.stdout
    assert brokers(driver.ask(pair.cluster, "send", "sync", alone, 4)) == {NAME}
