"""Two pairs on two hosts, each broker with a disk of its own; and our modules called by hand.

broker-a0   broker-a-1 on the data volume, broker-a-2-1 on a second disk
broker-a1   broker-a-2                   , broker-a-2-2
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker_trio.cli.lab.machines import Lab
from broker_trio.cli.lab.processes import wait_until
from broker_trio.ops.lab.plan import Counts
from tests.fleet.plays import COMMAND_SECONDS, ROOT, TOPIC, Fleet, figure
from tests.fleet.verbs import unharmed

pytestmark = pytest.mark.fleet
LAB = Counts(pairs=1, nameservers=1)
HOSTS = ("broker-a0", "broker-a1")
PAIRS = ("broker-a", "broker-a-2")
SECOND = "/srv/second"
MOUNT = f"mkdir -p {SECOND} && mount -t tmpfs -o size=2g tmpfs {SECOND}"


@pytest.fixture(scope="module")
def crowded(lab: Lab, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Deployed by `brokers_per_host` and `broker_disks` alone."""
    for host in HOSTS:
        lab.execute(host, "sh", "-c", MOUNT)
    fleet = Fleet(lab, bundle, tmp_path_factory.mktemp("crowded"))
    fleet.variables |= {"brokers_per_host": 2, "broker_disks": ["/var/lib/broker-trio", SECOND]}
    figure("deploy two brokers a host", seconds=round(fleet.play("site").seconds, 1))
    return fleet


def wait_whole(fleet: Fleet, pair: str) -> None:
    """Until `pair status` tells the operator to do nothing."""

    def whole() -> bool:
        told = fleet.program("pair", "status", pair, "--json", code=None)
        return bool(told) and json.loads(told)["instruction"]["verb"] == "ok"

    wait_until(whole, f"{pair} to be whole", 120)


def by_hand(fleet: Fleet, module: str, *words: str, **values: object) -> tuple[dict[str, Any], str]:
    """`ansible ns1 -m MODULE -a …`, as the module's page shows it; its result, and all it said."""
    program = str(Path(sys.executable).with_name("ansible"))
    given = json.dumps({"nameservers": fleet.nameservers.split(";"), **values})
    command = [program, "ns1", "-i", str(fleet.inventory() / "hosts.yml"), "-b", *words]
    done = subprocess.run(
        [*command, "-m", module, "-a", given], cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "playbooks/ansible.cfg"),
            "ANSIBLE_HOME": str(fleet.folder / "ansible"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any]
    result, _ = json.JSONDecoder().raw_decode(done.stdout.partition(" => ")[2])
    return result, done.stdout


def test_each_broker_has_its_name_its_doors_and_its_disk(crowded: Fleet) -> None:
    """Four brokers of two pairs; each store on the disk that its turn gives it."""
    rows = json.loads(crowded.program("cluster", "list", "--json"))["brokers"]
    ports = {(row["broker"], row["address"].rpartition(":")[2]) for row in rows}
    assert ports == {("broker-a", "10911"), ("broker-a-2", "10921")}
    assert len(rows) == 4
    for number, host in enumerate(HOSTS, 1):
        for folder in (f"/var/lib/broker-trio/broker-a-{number}", f"{SECOND}/broker-a-2-{number}"):
            kind = crowded.lab.execute(host, "findmnt", "-n", "-o", "FSTYPE", "-T", folder).stdout
            assert ("tmpfs" in kind) == folder.startswith(SECOND), (folder, kind)
            assert "config" in crowded.lab.execute(host, "ls", folder).stdout
    for pair in PAIRS:
        wait_whole(crowded, pair)


def test_a_second_run_changes_nothing(crowded: Fleet) -> None:
    """What the first made is what the inventory says."""
    assert crowded.play("site").changed_tasks == set()


def test_both_take_messages_and_a_restart_of_all_harms_none(crowded: Fleet) -> None:
    """Each broker is restarted by itself, also beside its neighbour on the same host."""
    with crowded.load("restart") as ledger:
        play = crowded.play("restart")
    figure("restart of two pairs on two hosts", seconds=round(play.seconds, 1))
    unharmed(ledger.judge("two brokers a host restarted under load"))
    rows = json.loads(crowded.program("topic", "describe", TOPIC, "--json"))["queues"]
    assert {row["broker"] for row in rows if row["messages"]} == set(PAIRS)


def test_a_broker_that_is_killed_takes_no_neighbour_with_it(crowded: Fleet) -> None:
    """systemd brings it back; the other one of that host did not notice."""

    def process(instance: str) -> str:
        unit = f"broker-trio-broker@{instance}"
        words = ("systemctl", "show", "-p", "MainPID", "--value", unit)
        return crowded.lab.execute("broker-a0", *words).stdout.strip()

    killed, spared = process("broker-a-2-1"), process("broker-a-1")
    crowded.lab.execute("broker-a0", "kill", "-KILL", killed)
    wait_until(lambda: process("broker-a-2-1") not in {killed, "0"}, "it to come back", 120)
    wait_whole(crowded, "broker-a-2")
    assert process("broker-a-1") == spared


@pytest.mark.parametrize(
    ("module", "first", "then"),
    [
        ("rmq_topic", {"name": "parcels", "queues": 4}, {"name": "parcels", "queues": 6}),
        ("rmq_group", {"name": "porters", "retries": 5}, {"name": "porters", "retries": 7}),
        (
            "rmq_write_perm",
            {"broker_name": "broker-a-2", "state": "drained", "quiet_for": 1},
            {"broker_name": "broker-a-2", "state": "open"},
        ),
    ],
)
def test_modules_by_hand(
    crowded: Fleet, module: str, first: dict[str, Any], then: dict[str, Any]
) -> None:
    """A look says the change and makes none; a run makes it once; a diff shows before and after."""
    for wanted in (first, then):
        look, said = by_hand(crowded, module, "--check", "--diff", **wanted)
        assert look["changed"], said
        assert "--- before" in said
        assert by_hand(crowded, module, **wanted)[0]["changed"]
        again, said = by_hand(crowded, module, **wanted)
        assert not again["changed"], said
