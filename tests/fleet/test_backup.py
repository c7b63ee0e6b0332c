"""Saved from the slave while the pair serves; the hosts lost; restored onto others, bare ones."""

import json

import pytest

from tests.fleet.plays import figure
from tests.fleet.verbs import KEPT, READER, SENT, Saved, Small, agree, places_now, unharmed

pytestmark = pytest.mark.fleet
OTHERS = ("broker-c0", "broker-c1")


def test_a_look_says_whom_it_would_copy(small: Small, saved: Saved) -> None:
    """The slave; nothing is written anywhere; and that copy is what the run makes."""
    assert f"plan: copy broker-a/{small.members.index(small.slave()) + 1} to " in saved.look.output
    assert "would be covered, broker-a: log 0 to " in saved.look.output
    agree(saved.look, saved.play)
    assert {host for host, _ in saved.play.changed_tasks} == {small.slave()}


def test_what_is_covered_is_said_and_nothing_stays_on_the_host(small: Small, saved: Saved) -> None:
    """The log up to what was confirmed, small files, the pair's own words; hashes of all."""
    manifest = json.loads((saved.folder / "manifest.json").read_text())
    assert f"broker-a: log 0 to {manifest['end']} of broker-a/" in saved.play.output
    names = {each["path"] for each in manifest["files"]}
    assert {"config/topics.json", "config/consumerOffset.json", "about/pair.json"} <= names
    assert manifest["end"] > sum(map(len, SENT))
    found = small.lab.execute(small.slave(), "find", "/var/backups/broker-trio", "-type", "f")
    assert found.stdout == ""


def test_a_part_and_a_pair_that_is_not_whole_are_refused(small: Small, saved: Saved) -> None:
    """`--limit` without the slave's host, a slave that is down; each with what to say instead."""
    slave, master = small.slave(), small.master()
    part = small.play("backup", "--limit", master, good=False, pair="broker-a")
    assert "is to be copied and --limit leaves out its host" in part.said
    unit = f"broker-trio-broker@broker-a-{small.members.index(slave) + 1}"
    small.lab.execute(slave, "systemctl", "stop", unit)
    try:
        sick = small.play("backup", good=False, pair="broker-a")
    finally:
        small.lab.execute(slave, "systemctl", "start", unit)
    assert "broker-a is not whole: " in sick.said
    assert "-e backup_from=broker-a/N copies one replica all the same" in sick.said
    small.wait_until_whole()


def test_a_store_is_never_restored_over(small: Small, saved: Saved) -> None:
    """The hosts have one: refused, also by a look, nothing changed."""
    wanted = {"pair": "broker-a", "from": str(saved.folder)}
    for words in ((), ("--check",)):
        refused = small.play("restore", *words, good=False, **wanted)
        assert "/var/lib/broker-trio/broker-a-1 has a store" in refused.said
        assert refused.changed_tasks == set()
    for limit, text in ((small.master(), "leaves out"), (",".join(small.members), "ns1")):
        part = small.play("restore", "--limit", limit, good=False, **wanted)
        assert "--limit leaves out " in part.said
        assert text in part.said


def test_lost_hosts_come_back_on_others(small: Small, saved: Saved) -> None:
    """The nameserver knows the lost pair; the restored store is a new one to it, with everything
    that was acknowledged before the backup, and the group's places."""
    before = {each["kept"]["store_id"] for each in small.pair()["replicas"].values()}
    for number, host in enumerate(OTHERS):
        small.lab.add(host, "brokers")
        small.host_variables[host] = {"broker_name": "broker-a", "broker_id": number}
    for host in small.members:
        small.lab.power_off(host)
    small.left_out |= set(small.members)
    small.members = OTHERS
    look, play = small.rehearsed("restore", pair="broker-a", **{"from": str(saved.folder)})
    figure("restore of a pair onto other hosts", seconds=round(play.seconds, 1))
    assert "plan: broker-a from " in look.output
    after = {each["kept"]["store_id"] for each in small.pair()["replicas"].values()}
    assert not before & after
    assert small.pair()["instruction"]["verb"] == "ok"
    assert places_now(small) == saved.places
    assert set(small.read("after-restore", len(SENT))) == set(SENT)
    rest = ("consume", KEPT, "--group", READER, "--from-first", "--count", str(len(SENT) - 90))
    assert len(set(small.program(*rest).splitlines()) & set(SENT)) == len(SENT) - 90
    unharmed(saved.ledger.judge("restored"))


def test_a_restored_pair_serves_and_is_not_restored_twice(small: Small, saved: Saved) -> None:
    """The same backup again changes nothing; the firewalls of all hosts learn the new addresses."""
    small.program("produce", KEPT, text="and on\n")
    again = small.play("restore", pair="broker-a", **{"from": str(saved.folder)})
    assert "Make the store" not in {task for _, task in again.changed_tasks}
    small.play("site")
    assert small.play("site").changed_tasks == set()
    small.wait_until_whole()
