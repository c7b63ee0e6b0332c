"""Saved from the slave while the pair serves; the hosts lost; restored onto bare ones."""

import json
from pathlib import Path

import pytest

from tests.fleet.plays import Play
from tests.fleet.verbs import CLUSTER, SENT, Small

pytestmark = pytest.mark.fleet


def test_a_look_says_whom_it_would_copy(small: Small) -> None:
    """The slave, and nothing is written anywhere."""
    look = small.play("backup", "--check", pair="broker-a")
    slave = "broker-a/2" if small.master() == "broker-a0" else "broker-a/1"
    assert f"plan: copy {slave} to " in look.output
    assert not small.has("broker-a1", "/var/backups/broker-trio")


def test_what_is_covered_is_said_and_nothing_stays_on_the_host(
    small: Small, saved: tuple[Play, Path]
) -> None:
    """The log up to what was confirmed, small files, the pair's own words; hashes of all."""
    play, folder = saved
    manifest = json.loads((folder / "manifest.json").read_text())
    assert f"broker-a: log 0 to {manifest['end']} of broker-a/" in play.output
    names = {each["path"] for each in manifest["files"]}
    assert {"config/topics.json", "config/consumerOffset.json", "about/pair.json"} <= names
    assert manifest["end"] > sum(map(len, SENT))
    found = small.lab.execute("broker-a1", "find", "/var/backups/broker-trio", "-type", "f")
    assert found.stdout == ""


def test_a_store_is_never_restored_over(small: Small, saved: tuple[Play, Path]) -> None:
    """The hosts have one: refused, nothing changed."""
    refused = small.play("restore", good=False, pair="broker-a", **{"from": str(saved[1])})
    assert "/var/lib/broker-trio/broker-a-1 has a store" in refused.said


def test_lost_hosts_come_back_from_the_backup(small: Small, saved: tuple[Play, Path]) -> None:
    """The nameserver still knows the lost pair; the restored store is a new one to it."""
    before = {each["kept"]["store_id"] for each in small.pair()["replicas"].values()}
    brokers = ("--limit", "broker-a0,broker-a1")
    small.play("destroy", *brokers, cluster=CLUSTER, destroy_part=True)
    assert not small.has("broker-a0", "/opt/broker-trio")
    small.play("restore", pair="broker-a", **{"from": str(saved[1])})
    after = {each["kept"]["store_id"] for each in small.pair()["replicas"].values()}
    assert not before & after
    assert small.pair()["instruction"]["verb"] == "ok"
    assert set(SENT) <= set(small.read("after-restore", len(SENT)))
    again = small.play("restore", pair="broker-a", **{"from": str(saved[1])})
    assert "Make the store" not in {task for _, task in again.changed_tasks}
    small.program("produce", "orders", text="and on\n")
