"""A cluster taken off its hosts: only by its name; then hosts are as bare as before."""

from pathlib import Path

import pytest

from tests.fleet.plays import Play
from tests.fleet.verbs import CLUSTER, SENT, Small

pytestmark = pytest.mark.fleet
PATHS = ("/opt/broker-trio", "/etc/broker-trio", "/etc/sysctl.d/60-broker-trio.conf")


def test_without_the_name_nothing_is_destroyed(small: Small) -> None:
    """No name, a wrong one, and a part: refused, each with what to type."""
    for words in ({}, {"cluster": "lap"}):
        refused = small.play("destroy", good=False, **words)
        assert f"-e cluster={CLUSTER}, if that is meant" in refused.said
    part = small.play("destroy", "--limit", "broker-a1", good=False, cluster=CLUSTER)
    assert "--limit leaves " in part.said
    look = small.play("destroy", "--check", cluster=CLUSTER)
    assert "stores go: " in look.output
    assert small.pair()["instruction"]["verb"] == "ok"


def test_a_destroyed_cluster_leaves_bare_hosts_and_comes_back_from_its_backup(
    small: Small, saved: tuple[Play, Path]
) -> None:
    """Nothing of ours is left, a second run changes nothing, and restore begins from there."""
    small.play("destroy", cluster=CLUSTER)
    for host in ("ns1", "broker-a0", "broker-a1"):
        assert [path for path in PATHS if small.has(host, path)] == []
        units = ("systemctl", "list-unit-files", "--no-legend", "broker-trio-*")
        assert small.lab.execute(host, *units, check=False).stdout == ""
        data = small.lab.execute(host, "ls", "-A", "/var/lib/broker-trio").stdout.split()
        assert set(data) <= {"lost+found"}
        assert small.lab.execute(host, "id", "broker-trio", check=False).returncode
    assert small.play("destroy", cluster=CLUSTER).changed_tasks == set()
    small.play("restore", pair="broker-a", **{"from": str(saved[1])})
    assert set(SENT) <= set(small.read("after-destroy", len(SENT)))
