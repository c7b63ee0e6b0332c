"""A cluster taken off its hosts: only by its name; then hosts are as bare as before."""

import pytest

from tests.fleet.plays import figure
from tests.fleet.verbs import CLUSTER, SENT, Saved, Small

pytestmark = pytest.mark.fleet
PATHS = ("/opt/broker-trio", "/etc/broker-trio", "/etc/sysctl.d/60-broker-trio.conf")


def test_without_the_name_nothing_is_destroyed(small: Small) -> None:
    """No name, a wrong one, and a part: refused, each with what to type."""
    before = small.traces()
    for words in ({}, {"cluster": "lap"}):
        refused = small.play("destroy", good=False, **words)
        assert f"-e cluster={CLUSTER}, if that is meant" in refused.said
    part = small.play("destroy", "--limit", small.members[1], good=False, cluster=CLUSTER)
    assert "--limit leaves " in part.said
    assert small.traces() == before


def test_a_host_without_power_does_not_keep_the_others(small: Small) -> None:
    """A look: what the others lose is told, and whom it did not reach."""
    gone = small.slave()
    small.lab.power_off(gone)
    try:
        look = small.play("destroy", "--check", good=False, cluster=CLUSTER)
    finally:
        small.lab.power_on(gone)
    assert look.code == 4  # unreachable, as Ansible has it
    assert f"not reached, left as they are: {gone}" in look.output
    assert {host for host, _ in look.changed_tasks} == set(small.hosts) - {gone}
    small.wait_until_whole()


def test_a_destroyed_cluster_leaves_bare_hosts_and_comes_back_from_its_backup(
    small: Small, saved: Saved
) -> None:
    """A look says all that goes; then nothing of ours is left, and restore begins from there."""
    look, play = small.rehearsed("destroy", cluster=CLUSTER)
    figure("destroy", hosts=len(small.hosts), seconds=round(play.seconds, 1))
    assert f"stores go: {small.members[0]}:/var/lib/broker-trio/broker-a-1" in look.output
    for host in small.hosts:
        assert [path for path in PATHS if small.has(host, path)] == []
        units = ("systemctl", "list-unit-files", "--no-legend", "broker-trio-*")
        assert small.lab.execute(host, *units, check=False).stdout == ""
        data = small.lab.execute(host, "ls", "-A", "/var/lib/broker-trio").stdout.split()
        assert set(data) <= {"lost+found"}
        assert small.lab.execute(host, "id", "broker-trio", check=False).returncode
        assert "broker_trio" not in small.lab.execute(host, "nft", "list", "tables").stdout
    assert small.play("destroy", cluster=CLUSTER).changed_tasks == set()
    small.rehearsed("restore", pair="broker-a", **{"from": str(saved.folder)})
    assert set(small.read("after-destroy", len(SENT))) == set(SENT)
    small.wait_until_whole()
