"""A real pair whose cables are cut: between the two, one way only, and around the master's host.

A Java producer and the ledger write all the time; nothing acknowledged is lost, nothing is stored
twice by one send, and both logs are the same bytes in the end.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.driver import Driver
from tests.interop.networks import Network, network
from tests.interop.pairs import NAME, Pair, Probe, logs_agree, tell, wait_for
from tests.interop.test_pair import Load, shown

pytestmark = pytest.mark.slow


@pytest.fixture
def cables() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture
def pair(cables: Network, tmp_path: Path) -> Iterator[Pair]:
    started = Pair(tmp_path / "pair", hosts=cables.hosts)
    try:
        yield started.start()
    finally:
        started.stop()


def refuses(pair: Pair) -> bool:
    """Whether the master refuses before the append, and says why."""
    probe = Probe(pair.a.address)
    return probe.once().startswith("14: SLAVE_NOT_AVAILABLE")


def first_ok_s(pair: Pair, began: float) -> float:
    """Seconds until the master acknowledges again."""
    probe = Probe(pair.a.address)
    wait_for(lambda: probe.once() == "0", "SEND_OK")
    return time.monotonic() - began


def agree(pair: Pair, master: str = "a") -> bool:
    status = pair.status(pair.a if master == "a" else pair.b)
    assert status is not None
    return logs_agree(pair, status.confirm_offset)


def test_a_cut_between_the_two(
    cables: Network,
    pair: Pair,
    driver: Driver,
    topic: str,
    group: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Full, then one way and the other: no SEND_OK without the copy, no second master; `degrade`
    goes on with one copy, and the slave is counted again by itself."""
    healed = {}
    with Load(pair, driver, topic, tmp_path) as load:
        for what, cut in (
            ("both ways", lambda: cables.cut("a", "b")),
            ("to the slave", lambda: cables.drop("b", "a")),
            ("to the master", lambda: cables.drop("a", "b")),
        ):
            time.sleep(1.0)
            cut()
            wait_for(lambda: refuses(pair), f"{what}: refusal before the append")
            assert pair.state(pair.b) != "owner"
            cables.heal()
            healed[what] = first_ok_s(pair, time.monotonic())
            pair.wait_whole()
        cables.cut("a", "b")
        wait_for(lambda: refuses(pair), "refusal before the append")
        alone = pair.recover(pair.a, "degrade", f"{NAME}/1")
        time.sleep(1.0)
        cables.heal()
        pair.wait_whole()
        _, report = load.finish(group)
    shown(capsys, "degrade of a master that is cut from its slave", alone, report)
    told = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in healed.items())
    tell(capsys, f"a cut between the two, from its end to SEND_OK: {told}")
    assert alone.first_ok_s < alone.limit_s
    assert agree(pair)


def test_a_master_that_nobody_reaches(
    cables: Network,
    pair: Pair,
    driver: Driver,
    topic: str,
    group: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its host is cut from everybody: the slave is promoted, and the old master follows it."""
    with Load(pair, driver, topic, tmp_path) as load:
        time.sleep(1.0)
        cables.isolate("a")
        recovery = pair.recover(pair.b, "promote", f"{NAME}/2", "--one-copy")
        time.sleep(2.0)
        cables.heal()
        pair.wait_whole(pair.b)
        time.sleep(1.0)
        _, report = load.finish(group)
    shown(capsys, "the master's host cut off", recovery, report)
    assert recovery.first_ok_s < recovery.limit_s
    assert agree(pair, "b")
