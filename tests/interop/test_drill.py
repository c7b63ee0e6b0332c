"""Drills on a laptop cluster of real processes: carried out by the command, judged, kept."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = [sys.executable, "-m", "broker_trio"]
READY_S = 120.0
DRILL_S = 600.0
pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A pair and two nameservers by `up`; the folder of it."""
    folder = tmp_path_factory.mktemp("drill")
    command = [
        *PROGRAM, "up", "--dir", str(folder / "up"), "--nameservers", "2", "--json",
        "--nameserver-port", "0", "--broker-port", "0", "--restart-after", "10",
    ]  # fmt: skip
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        ) as up,
    ):
        assert up.stdout is not None
        assert up.stdout.readline(), (folder / "log").read_text()
        try:
            yield folder / "up"
        finally:
            up.send_signal(signal.SIGINT)
            up.stdout.read()
            assert up.wait(60) == 0


def drill(home: Path, *words: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """`broker-trio drill …`: what it printed as JSON, and what it said."""
    done = subprocess.run(
        [*PROGRAM, "drill", *words, "--dir", str(home), "--json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DRILL_S, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout[-2000:] + done.stderr
    return (json.loads(done.stdout) if done.stdout else {}), done.stderr


def test_a_drill_without_the_clusters_name_touches_nothing(home: Path, tmp_path: Path) -> None:
    """Exit code 3, no folder is made; the plan says the harm and the revert."""
    _, said = drill(home, "run", "kill-master", "--keep", str(tmp_path / "kept"), code=3)
    assert "the cluster is named: no --confirm" in said
    assert not (tmp_path / "kept").exists()
    planned, _ = drill(home, "plan", "kill-master", code=3)
    assert planned["drill"]["revert"]
    assert [guard["name"] for guard in planned["guards"] if not guard["ok"]] == [
        "the cluster is named"
    ]


def test_a_drill_that_takes_root_says_where_it_can_be_done(home: Path) -> None:
    """Exit code 3 and the playbook's name."""
    _, said = drill(home, "run", "disk-full", "--confirm", "DefaultCluster", code=3)
    assert "playbooks/drills/disk_full.yml" in said


def test_kill_master_passes_and_is_kept(home: Path, tmp_path: Path) -> None:
    """Nothing acknowledged is lost, the RTO is within 15 s, restoration is proved."""
    words = ("run", "kill-master", "--confirm", "DefaultCluster", "--keep", str(tmp_path))
    made, said = drill(home, *words, "--steady", "5", "--textfile", str(tmp_path))
    assert (made["verdict"], made["lost"], made["duplicated"]) == ("pass", 0, 0), said
    assert made["rto_s"] <= 15
    assert [m["label"] for m in made["moments"] if m["at_ms"] is None] == []
    folder = Path(made["folder"])
    for name in ("report.html", "report.md", "report.json", "written.cbor", "read.cbor"):
        assert (folder / name).stat().st_size > 1_000, name
    metrics = (tmp_path / "broker-trio-drills.prom").read_text()
    assert (
        'brokertrio_drill_rpo_messages{cluster="DefaultCluster",drill="kill_master"} 0' in metrics
    )
    again = subprocess.run(
        [*PROGRAM, "drill", "report", str(folder), "--json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (again.returncode, json.loads(again.stdout)["rto_s"]) == (0, made["rto_s"])


def test_a_drill_that_is_interrupted_heals_and_says_so(home: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a stalled nameserver: it goes on, and nothing is proved."""
    command = [
        *PROGRAM, "drill", "run", "lose-all-nameservers", "--confirm", "DefaultCluster",
        "--dir", str(home), "--keep", str(tmp_path), "--steady", "2", "--json",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    ) as running:  # fmt: skip
        assert running.stderr is not None
        deadline = time.monotonic() + READY_S
        while "kill all: " not in (line := running.stderr.readline()):
            assert line, "it ended by itself"
            assert time.monotonic() < deadline
        os.kill(running.pid, signal.SIGINT)
        running.stderr.read()
        assert running.wait(60) != 0
    (report,) = tmp_path.glob("*/report.json")
    told = json.loads(report.read_text())
    assert told["verdict"] == "inconclusive"
    assert "interrupted" in " ".join(told["reasons"])
    planned, _ = drill(home, "plan", "kill-master", "--confirm", "DefaultCluster")
    assert all(guard["ok"] for guard in planned["guards"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["stall-master", "lose-all-but-one", "forget-nameserver", "slave-behind", "wrong-key",
     "rolling-restart"],
)  # fmt: skip
def test_the_other_drills_of_a_laptop(home: Path, tmp_path: Path, name: str) -> None:
    """Each passes, one after the other, on the same cluster."""
    words = ("run", name, "--confirm", "DefaultCluster", "--keep", str(tmp_path), "--steady", "5")
    made, said = drill(home, *words)
    assert (made["verdict"], made["lost"]) == ("pass", 0), said
