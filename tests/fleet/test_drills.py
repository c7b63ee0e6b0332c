"""Drills on the fleet that stands: by the playbooks an operator runs, the report judged again here.

The first and the fourth are for CI: `-k "kill_master or disk_full"`. Each leaves the cluster whole.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from broker_trio.cli.drill.folders import write_report
from tests.fleet.plays import Fleet, figure

pytestmark = pytest.mark.fleet
CLUSTER = "lab"


def drilled(fleet: Fleet, name: str) -> dict[str, Any]:
    """Run it; the document of its report, made anew here from what was fetched."""
    keep = fleet.folder / "drills"
    fleet.wait_until_whole()
    before = set(keep.glob("*"))
    play = fleet.play(f"drills/{name}", pair="broker-a", confirm=CLUSTER, drill_keep=str(keep))
    (folder,) = set(keep.glob("*")) - before
    made = write_report(Path(folder))
    figure(f"drill {name}", **{key: made[key] for key in (
        "verdict", "rto_s", "after_heal_s", "gap_s", "lost", "duplicated", "failed", "unknown",
    )})  # fmt: skip
    assert (made["verdict"], made["reasons"]) == ("pass", []), play.output[-3000:]
    assert made["lost"] == made["duplicated"] == made["out_of_order"] == 0
    assert (folder / "report.html").stat().st_size > 10_000
    return made


def left(fleet: Fleet) -> list[str]:
    """What a drill must not leave on any host: its rules, drop-ins, files, timers."""
    look = (
        "ls -d /run/systemd/system/*.d/90-drill.conf /var/lib/broker-trio/*/.drill-fill*"
        " /etc/broker-trio/credentials/*.drill 2>/dev/null;"
        " nft list tables | grep broker_trio_drill;"
        " systemctl list-units --no-legend 'broker-trio-drill*'; true"
    )
    return [
        f"{host.name}: {line}"
        for host in fleet.lab.plan.hosts
        for line in fleet.lab.ssh(host.name, look).stdout.splitlines()
    ]


def test_kill_master(fleet: Fleet) -> None:
    """The other one takes over within 15 s, nothing is lost, and the old one counts again."""
    made = drilled(fleet, "kill_master")
    assert made["rto_s"] <= 15
    assert left(fleet) == []


def test_isolate_master(fleet: Fleet) -> None:
    """No connection is closed; one writer at any time by both stores' epochs; 30 s."""
    made = drilled(fleet, "isolate_master")
    assert made["rto_s"] <= 30
    found = {check["name"]: check["ok"] for check in made["checks"]}
    assert found["owners seen"] is found["writers by epochs"] is True
    assert left(fleet) == []


def test_lose_all_but_one(fleet: Fleet) -> None:
    """No send fails."""
    made = drilled(fleet, "lose_all_but_one")
    assert made["failed"] == made["unknown"] == 0
    assert left(fleet) == []


def test_disk_full(fleet: Fleet) -> None:
    """Refused by name while it is full, back within 10 s after there is room."""
    made = drilled(fleet, "disk_full")
    assert made["after_heal_s"] <= 10
    assert made["failed"] > 0, "the disk was never full"
    assert left(fleet) == []


def test_rolling_restart(fleet: Fleet) -> None:
    """Both replicas restarted, handed over in between; clients that try again lose nothing."""
    drilled(fleet, "rolling_restart")
    assert left(fleet) == []


def test_a_drill_without_the_clusters_name_is_refused(fleet: Fleet) -> None:
    """The guard's words, and nothing is broken or left."""
    play = fleet.play("drills/kill_master", good=False, pair="broker-a", confirm="other")
    assert play.code != 0
    assert "the cluster is named" in play.output
    assert left(fleet) == []
    assert (
        json.loads(fleet.program("pair", "status", "broker-a", "--json"))["instruction"]["verb"]
        == "ok"
    )
