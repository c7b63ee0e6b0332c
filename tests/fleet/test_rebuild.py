"""A slave whose disk is empty: rebuilt from the other copy under load, by one word of an operator.

    both count ─▶ the slave's store is gone ─▶ named ─▶ one copy counts, it copies ─▶ both count

What was acknowledged is there once afterwards, both copies count, and their logs are equal byte by
byte. Nothing is rebuilt from a master that is none.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from broker_trio.cli.lab.processes import wait_until
from tests.fleet.plays import TOPIC, Fleet, figure

pytestmark = pytest.mark.fleet
STORES = "/var/lib/broker-trio"
NUMBERS = {"broker-a0": 1, "broker-a1": 2}
UNIT = "broker-trio-broker@broker-a-%d.service"


@pytest.fixture
def whole(fleet: Fleet) -> Iterator[Fleet]:
    """The cluster, both members in force, before and after."""
    fleet.wait_until_whole()
    yield fleet
    for host, number in NUMBERS.items():
        fleet.lab.execute(host, "systemctl", "start", UNIT % number, timeout=180)
    fleet.wait_until_whole()


def slave_of(fleet: Fleet) -> tuple[str, str]:
    """Its host, and what it is called."""
    (host,) = NUMBERS.keys() - {fleet.master()}
    return host, f"broker-a/{NUMBERS[host]}"


def lose_the_store(fleet: Fleet, host: str) -> None:
    """As a replaced disk leaves it: the folder is there, and nothing in it; the unit stands."""
    number = NUMBERS[host]
    fleet.lab.execute(host, "systemctl", "stop", UNIT % number, timeout=180)
    fleet.lab.execute(host, "find", f"{STORES}/broker-a-{number}", "-mindepth", "1", "-delete")


def stores(fleet: Fleet) -> dict[int, dict[str, Any]]:
    """What each replica that answers keeps, by its id."""
    told = fleet.pair()["replicas"].values()
    return {each["replica_id"]: each["kept"] for each in told}


def log_of(fleet: Fleet, host: str, end: int) -> str:
    """sha256 of a member's commit log up to an offset, its first file's name with it."""
    script = f"""
import glob, hashlib, os
files = sorted(glob.glob("{STORES}/broker-a-{NUMBERS[host]}/commitlog/*"))
found, left = hashlib.sha256(), {end} - int(os.path.basename(files[0]))
for path in files:
    with open(path, "rb") as log:
        while left and (block := log.read(min(left, 1 << 20))):
            found.update(block)
            left -= len(block)
print(os.path.basename(files[0]), left, found.hexdigest())
"""
    return fleet.lab.execute(host, "python3", "-c", script).stdout


def equal_end(fleet: Fleet) -> int:
    """Where both logs end, once nobody writes any more."""
    ends: set[int] = set()

    def level() -> bool:
        ends.clear()
        ends.update(each["log_end"] for each in fleet.pair()["replicas"].values())
        return len(ends) == 1

    wait_until(level, "both logs to end at the same byte", 60)
    (end,) = ends
    return end


def test_an_empty_slave_is_rebuilt_under_load(whole: Fleet) -> None:
    """Refused without its name, looked at, rebuilt: nothing lost, both count, equal bytes."""
    host, replica = slave_of(whole)
    number = NUMBERS[host]
    before = stores(whole)
    with whole.load("rebuild") as ledger:
        lose_the_store(whole, host)
        refused = whole.play("rejoin", good=False, pair="broker-a")
        assert f"{replica} has an empty or new store, and the copy that counts is" in refused.said
        assert f"-e rebuild={replica}" in refused.said
        assert refused.changed_tasks == set()
        look = whole.play("rejoin", "--check", pair="broker-a", rebuild=replica)
        assert "plan: let broker-a/" in look.output
        assert {task for _, task in look.changed_tasks} == {
            "Let the other copy count alone, where one is rebuilt",
            "Start what stands still",
        }
        assert len(stores(whole)[3 - number]["settled"]["members"]) == 2
        play = whole.play("rejoin", pair="broker-a", rebuild=replica)
    report = ledger.judge("rebuild of an empty slave under load")
    figure("rebuild", seconds=round(play.seconds, 1), unavailable=report["rto_s"])
    assert report["lost"]["count"] == report["duplicated"]["count"] == 0, report["reasons"]
    whole.wait_until_whole()
    after = stores(whole)
    assert after[number]["store_id"] not in {each["store_id"] for each in before.values()}
    assert set(after[3 - number]["settled"]["members"]) == {
        each["store_id"] for each in after.values()
    }
    end = equal_end(whole)
    logs = {log_of(whole, each, end) for each in NUMBERS}
    assert len(logs) == 1, logs
    assert logs.pop().split()[1] == "0"
    again = whole.play("rejoin", pair="broker-a", rebuild=replica)
    assert again.changed_tasks == set()


def test_nothing_is_rebuilt_from_a_copy_that_does_not_lead(whole: Fleet) -> None:
    """The master down, the slave empty: refused, nothing started. With the master back it works,
    also where the slave's host has started it meanwhile."""
    host, replica = slave_of(whole)
    (other,) = NUMBERS.keys() - {host}
    lose_the_store(whole, host)
    whole.lab.execute(other, "systemctl", "stop", UNIT % NUMBERS[other], timeout=180)
    refused = whole.play("rejoin", good=False, pair="broker-a", rebuild=replica)
    assert f"{replica} is not rebuilt while no whole copy leads the pair" in refused.said
    assert refused.changed_tasks == set()
    whole.lab.execute(other, "systemctl", "start", UNIT % NUMBERS[other], timeout=180)
    whole.lab.execute(host, "systemctl", "start", UNIT % NUMBERS[host], timeout=180)

    def learns() -> bool:
        told = json.loads(whole.program("pair", "status", "broker-a", "--json"))
        return bool(told["instruction"]["verb"] == "degrade" and len(told["replicas"]) == 2)

    wait_until(learns, "the new store to follow without counting", 120)
    whole.play("rejoin", pair="broker-a", rebuild=replica)
    assert whole.pair()["instruction"]["verb"] == "ok"
    assert whole.master() == other
    whole.program("produce", TOPIC, text="after a rebuild\n")
