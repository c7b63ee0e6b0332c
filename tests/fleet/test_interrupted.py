"""A run that is killed at any task is finished by the next; the one after it changes nothing.

    bare ─▶ killed ─▶ killed ─▶ … ─▶ to its end ─▶ changed=0        a first deployment
    deployed ─▶ a setting changes ─▶ killed ─▶ … ─▶ changed=0       a rolling change

Each run goes on where the last one died, so that the kills walk through the whole of it. Whoever is
killed is the controller with all that it started, as by a lost terminal or power: the hosts go on
with what they were told last.
"""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from broker_trio.cli.lab.machines import Lab
from broker_trio.ops.lab.plan import Counts
from tests.fleet.plays import PLAY_SECONDS, ROOT, TOPIC, Fleet, Play, figure

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
LAB = Counts(pairs=1, nameservers=1)
RUNS_MAX = 30
SEED = int(os.environ.get("BROKER_TRIO_SEED", "6"))


def killed_after(fleet: Fleet, changes: int, book: str = "site") -> bool:
    """Kill a playbook when so many tasks have changed a host; False: it was over first."""
    command, environment = fleet.command(book)
    run = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    assert run.stdout is not None
    lines: list[str] = []
    with run.stdout:
        for line in run.stdout:
            lines.append(line)
            changes -= line.startswith("changed: ")
            if changes <= 0:
                os.killpg(run.pid, signal.SIGKILL)
                break
    code = run.wait(PLAY_SECONDS)
    if code == -signal.SIGKILL:
        return True
    assert code == 0, "".join(lines)[-6000:]
    return False


def interrupt_until_over(fleet: Fleet, draw: random.Random, most: int) -> int:
    """Kill each run after a few changes more, until one comes to its end; how many were killed."""
    for number in range(RUNS_MAX):
        if not killed_after(fleet, draw.randint(1, most)):
            return number
    raise AssertionError(f"{RUNS_MAX} runs were killed, and the next still had something to change")


def last(fleet: Fleet) -> Play:
    """One more run: it must find nothing to do."""
    play = fleet.play("site")
    assert play.changed_tasks == set()
    fleet.wait_until_whole()
    return play


def test_a_run_that_is_killed_again_and_again_converges(
    lab: Lab, bundle: Path, tmp_path: Path
) -> None:
    """From bare hosts, then a setting that restarts everybody; BROKER_TRIO_SEED draws where."""
    draw = random.Random(SEED)
    fleet = Fleet(lab, bundle, tmp_path / "fleet")
    first = interrupt_until_over(fleet, draw, 7)
    assert first >= 2, "the kills came too late to prove anything"
    last(fleet)
    fleet.program("produce", TOPIC, text="one\n")
    fleet.variables["broker_settings"] = {"store": {"retention_hours": 71}}
    fleet.variables["nameserver_settings"] = {"routes": {"scan_interval_s": 6.0}}
    second = interrupt_until_over(fleet, draw, 2)
    assert second >= 2, "the kills came too late to prove anything"
    last(fleet)
    figure("interrupted", seed=SEED, first_deployment=first, rolling_change=second)
    for host, instance in (("broker-a0", "broker-a-1"), ("broker-a1", "broker-a-2")):
        text = lab.execute(host, "cat", f"/etc/broker-trio/{instance}.toml").stdout
        assert "retention_hours = 71" in text
    assert fleet.program("consume", TOPIC, "--from-first", "--count", "1") != ""
