"""Everything once, one at a time; what status and health say while it is whole, and while not."""

import pytest

from tests.fleet.plays import figure
from tests.fleet.verbs import Small, started, unharmed

pytestmark = pytest.mark.fleet


def test_a_restart_costs_no_client_anything(small: Small) -> None:
    """A look says who; then nameserver, slave, master, each by itself, and no send fails."""
    small.wait_until_whole()
    before, slave = small.master(), small.slave()
    with small.load("restart") as ledger:
        look, play = small.rehearsed("restart")
    figure("restart of everything", hosts=len(small.hosts), seconds=round(play.seconds, 1))
    last = [host for host in small.hosts if host.startswith("ns")]
    assert f"plan: restart {', '.join([*last, slave, before])}, one at a time" in look.output
    unharmed(ledger.judge("restart under load"))
    assert small.master() == slave
    part = small.play("restart", "--limit", before)
    assert {host for host, _ in part.changed_tasks} == {before}


def test_it_stops_at_the_first_host_that_is_not_well(small: Small) -> None:
    """A slave is down: the other member is not restarted; health says why, status only says it."""
    slave, number = small.slave(), small.members.index(small.slave()) + 1
    unit = f"broker-trio-broker@broker-a-{number}"
    small.lab.execute(slave, "systemctl", "stop", unit)
    try:
        before = started(small)
        refused = small.play("restart", "--tags", "restart_brokers", good=False)
        assert started(small) == before
        assert "pair broker-a: " in refused.said
        assert refused.changed_tasks == set()
        for words in ((), ("--check",)):
            sick = small.play("health", *words, good=False)
            assert sick.code == 2
            assert f"{small.address(slave)}:10913 does not answer" in sick.said
        assert "pair broker-a: " in small.play("health", "--limit", small.master(), good=False).said
        assert small.play("status").code == 0
    finally:
        small.lab.execute(slave, "systemctl", "start", unit)
    small.wait_until_whole()
    assert small.play("health").changed_tasks == set()


def test_a_host_without_power_is_named(small: Small) -> None:
    """status goes on without it, and health ends with 2, as for everything that is not well."""
    gone = small.slave()
    small.lab.power_off(gone)
    try:
        told = small.play("status")
        sick = small.play("health", good=False)
    finally:
        small.lab.power_on(gone)
    assert gone in told.output.rpartition("silent")[2]
    assert sick.code == 2
    assert f"{gone}: ['cannot be asked: " in sick.said
    small.wait_until_whole()
