"""A deployment that is killed at any point is finished by the next run."""

import os
import subprocess
from pathlib import Path

import pytest

from broker_trio.cli.lab.machines import Lab
from broker_trio.ops.lab.plan import Counts, make_plan
from tests.fleet.plays import ROOT, Fleet

pytestmark = [pytest.mark.fleet, pytest.mark.slow]


@pytest.mark.parametrize("after", [4, 8, 14, 20])
def test_a_killed_run_is_finished_by_the_next(
    lab_can_run: None, bundle: Path, tmp_path: Path, after: int
) -> None:
    """SIGKILL after so many changes of a first deployment, then `site.yml`."""
    name = f"broken-{after}-{os.getpid()}"
    lab = Lab(name)
    lab.up(make_plan(name, Counts(pairs=1, nameservers=1)), tied=True)
    try:
        fleet = Fleet(lab, bundle, tmp_path / "fleet")
        command, environment = fleet.command("site")
        run = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert run.stdout is not None
        with run.stdout:
            seen = 0
            for line in run.stdout:
                seen += line.startswith("changed: ")
                if seen > after:
                    break
            run.kill()
        run.wait()
        fleet.play("site")
        assert fleet.play("site").changed_tasks == set()
        fleet.program("produce", "orders", text="one\n")
    finally:
        lab.down()
