"""A pair changed while clients use it: switchover, power off and failover, upgrade and back.

A ledger is written all the while. What it proves is asserted (nothing lost, nothing doubled, and
where the pair stays whole nothing failed); how long clients waited is printed and kept as figures.
"""

import re
import time
from pathlib import Path

import pytest

from broker_trio.cli.lab.faults import Faults
from broker_trio.cli.lab.processes import wait_until
from tests.fleet.plays import AGAIN, TOPIC, Fleet, figure
from tests.interop.driver import Driver

pytestmark = pytest.mark.fleet
MEMBERS = {"broker-a0": "broker-a-1", "broker-a1": "broker-a-2"}


@pytest.fixture
def whole(fleet: Fleet) -> Fleet:
    """The cluster, both members in force."""
    fleet.wait_until_whole()
    return fleet


def clean(report: dict[str, object]) -> None:
    """Every message was acknowledged and is there once."""
    told = {key: report[key] for key in ("failed", "unknown", "reasons", "causes")}
    assert report["verdict"] == "pass", told
    assert (report["failed"], report["unknown"]) == (0, 0), told


def test_a_switchover_under_load_costs_nothing(whole: Fleet) -> None:
    """No send fails, nothing is lost or doubled; the inventory does not undo it."""
    before = whole.master()
    with whole.load("switchover") as ledger:
        play = whole.play("switchover", pair="broker-a")
    clean(ledger.judge("switchover under load"))
    assert whole.master() != before
    assert any(host == "ns1" for host, _ in play.changed_tasks)
    again = whole.play("site")
    assert again.changed_tasks == set()
    assert whole.master() != before


def test_a_master_without_power_is_replaced_and_comes_back(whole: Fleet) -> None:
    """Nothing acknowledged is lost; the old one's tail is counted, saved, and it follows."""
    lab, old = whole.lab, whole.master()
    with whole.load("failover") as ledger:
        off = time.time()
        lab.power_off(old)
        began = time.time()
        play = whole.play("failover", pair="broker-a")
        done = time.time()
    report = ledger.judge("failover after power off", "--fault-at", str(round(off * 1000)))
    figure(
        "failover",
        client_seconds=report["rto_s"],
        play_seconds=round(play.seconds, 1),
        since_power_off=round(done - off, 1),
        power_off_seconds=round(began - off, 1),
    )
    assert report["lost"]["count"] == report["duplicated"]["count"] == 0, report["reasons"]
    assert whole.master() != old
    assert whole.play("failover", pair="broker-a").changed_tasks == set()  # again: done already
    lab.power_on(old)
    whole.play("rejoin", pair="broker-a")
    whole.wait_until_whole()
    assert whole.master() != old


def test_a_java_producer_sends_again_after_its_look_at_the_routes(
    whole: Fleet, java: Driver
) -> None:
    """As Apache ships it, a look each 30 s: that, and not the failover, is how long it waits."""
    lab, old = whole.lab, whole.master()
    load = java.start(whole, "send", "until", TOPIC, 0, defaults="yes", pause=100)
    begun = whole.stored()
    wait_until(lambda: whole.stored() > begun, "a Java producer's first sends", 60)
    lab.power_off(old)
    play = whole.play("failover", pair="broker-a")
    promoted = whole.stored()
    wait_until(lambda: whole.stored() > promoted, "sends to the new master", 120)
    java.ask(whole, "enough", TOPIC)
    told = load.result(60)
    figure(
        "failover of a Java producer",
        client_seconds=round(told["gap"] / 1000, 1),
        play_seconds=round(play.seconds, 1),
        acknowledged=len(told["acked"]),
        failed=told["failed"],
    )
    assert told["acked"]
    lab.power_on(old)
    whole.play("rejoin", pair="broker-a")
    whole.wait_until_whole()


def ahead(fleet: Fleet, host: str) -> int:
    """How many bytes a member has on disk beyond the end of the other's log."""
    address = fleet.lab.plan.host(host).address
    replicas = fleet.pair()["replicas"].items()
    own = [one["durable_end"] for where, one in replicas if where.startswith(f"{address}:")]
    others = [one["log_end"] for where, one in replicas if not where.startswith(f"{address}:")]
    return int(own[0] - others[0]) if own and others else 0


def test_what_only_the_old_master_had_is_counted_and_saved(whole: Fleet) -> None:
    """Stored by a master that its slave did not hear, then replaced: said with number and file."""
    lab, old = whole.lab, whole.master()
    (other,) = MEMBERS.keys() - {old}
    faults = Faults(lab)
    with whole.load("tail") as ledger:
        faults.cut(old, other)
        wait_until(lambda: ahead(whole, old) > 0, "what only the master has", 60)
        lab.power_off(old)
        faults.heal()
        whole.play("failover", pair="broker-a")
    report = ledger.judge("what only the old master had")
    assert report["lost"]["count"] == report["duplicated"]["count"] == 0, report["reasons"]
    lab.power_on(old)
    rejoin = whole.play("rejoin", pair="broker-a")
    found = re.search(
        r"(\d+) messages that only this member had .*?saved in ([^\s\",]+)", rejoin.output
    )
    assert found is not None, rejoin.output[-2000:]
    assert int(found[1]) >= 1
    assert TOPIC in lab.execute(old, "grep", "-ao", TOPIC, found[2]).stdout
    whole.wait_until_whole()


def releases(fleet: Fleet) -> set[str]:
    """What `current` shows on the hosts."""
    link = ("readlink", "/opt/broker-trio/current")
    return {
        fleet.lab.execute(host.name, *link).stdout.strip().rpartition("/")[2].partition("-")[0]
        for host in fleet.lab.plan.hosts
    }


def test_an_upgrade_and_the_way_back_cost_nothing(whole: Fleet, next_bundle: Path) -> None:
    """Rolling, under load: no send fails; members of two versions serve a pair meanwhile."""
    before = releases(whole)
    with whole.load("upgrade", *AGAIN) as ledger:
        play = whole.play("upgrade", runtime_bundle=str(next_bundle))
    figure("upgrade of a pair and 2 nameservers", seconds=round(play.seconds, 1))
    ledger.must_be_whole("upgrade under load")
    assert releases(whole) == {"0.9.9"}
    assert "4 changed to 0.9.9" in play.output
    whole.wait_until_whole()
    with whole.load("rollback", *AGAIN) as ledger:
        play = whole.play("rollback")
    figure("rollback of a pair and 2 nameservers", seconds=round(play.seconds, 1))
    ledger.must_be_whole("rollback under load")
    assert releases(whole) == before
    assert whole.play("site").changed_tasks == set()


def test_faults_left_nothing(fleet: Fleet) -> None:
    """All hosts are on and healed when others begin."""
    assert all(not state.faults for state in Faults(fleet.lab).states())
