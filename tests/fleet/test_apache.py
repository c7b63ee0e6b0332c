"""Apache's pair on the lab's hosts loses its master as ours does: same script, ledger and judge.

One run each, in order of the systems; tests/bench/failover.py runs them for figures. What is
asserted holds on a slow machine too: who took over, what the ledger proves.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_trio.ops.lab.plan import LabError
from tests.bench.failover import AWAY_S, Bench, three_hosts
from tests.bench.failover_page import FAULTS, Fault
from tests.bench.peers import missing
from tests.fleet.plays import Fleet, figure
from tests.interop.cache import give_up

pytestmark = [pytest.mark.fleet, pytest.mark.slow]


@pytest.fixture(scope="module")
def bench(
    lab_can_run: None, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    """Three hosts with ours deployed, and Java and jars mounted into them."""
    if reason := missing():
        give_up(reason)
    folder = tmp_path_factory.mktemp("apache")
    with three_hosts() as lab:
        made = Bench(Fleet(lab, bundle, folder), folder)
        made.deploy()
        yield made


def test_the_hosts_run_this_machines_java(bench: Bench) -> None:
    """From a folder in which they can write nothing."""
    java = "/opt/apache/jdk/bin/java"
    assert "17" in bench.lab.execute("broker-a0", java, "-version").stderr
    with pytest.raises(LabError, match="Read-only file system"):
        bench.lab.execute("broker-a0", "touch", "/opt/apache/jars/new")


@pytest.mark.parametrize("fault", FAULTS)
def test_ours_is_promoted(bench: Bench, fault: Fault) -> None:
    """By the drill; nothing acknowledged is lost."""
    made = measured(bench, "ours", fault)
    assert made["decided_s"] < made["rto_s"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_classic_slave_is_never_promoted(bench: Bench, fault: Fault) -> None:
    """Sends fail until the master is back, and are then taken by it."""
    made = measured(bench, "classic", fault)
    assert made["rto_s"] > AWAY_S
    assert made["failed"] > 0


@pytest.mark.parametrize("fault", FAULTS)
def test_a_controller_elects_the_other_one(bench: Bench, fault: Fault) -> None:
    """Without anybody's order, and before the fault is undone; the old one follows after it."""
    made = measured(bench, "controller", fault)
    assert made["master_after"] == 2, made
    assert {"owned_s", "routed_s"} <= made.keys(), made


def measured(bench: Bench, system: str, fault: Fault) -> dict[str, Any]:
    """One run; nothing acknowledged is lost with a second copy, whoever keeps it."""
    with bench.up(system):
        made = bench.run(system, fault)
    figure("failover", **made)
    assert (made["verdict"], made["lost"]) == ("pass", 0), made
    return made
