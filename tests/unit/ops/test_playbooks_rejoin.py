"""What bringing a member back means: whom it degrades, what it refuses, what it says before."""

import json
from typing import Any

import pytest

from tests.unit.ops.playbooks import plugin

f = plugin("filter_plugins/rejoin.py")
OLD, MASTER, NEW = "b" * 32, "a" * 32, "c" * 32
MEMBERS = [
    {"replica": "broker-a/1", "host": "a0", "data": "/srv/store"},
    {"replica": "broker-a/2", "host": "a1", "data": "/srv/store"},
]


def replica(number: int, state: str, store: str, members: list[str], **kept: Any) -> dict[str, Any]:
    record = {"epoch": [3, MASTER], "members": members, "min": len(members)}
    whole = {"store_id": store, "settled": record, "proposed": None, "fenced": False, **kept}
    return {"replica_id": number, "state": state, "kept": whole}


def todo(*replicas: dict[str, Any], rebuild: str = "", **stores: bool) -> dict[str, Any]:
    """What is to be done; `stores` says which host has one, all where nothing is said."""
    status = {
        "replicas": {f"h:{each['replica_id']}": each for each in replicas},
        "instruction": {"verb": "wait", "text": "as it says"},
    }
    there = {h: ["/srv/store"] if stores.get(h, True) else [] for h in ("a0", "a1")}
    hostvars = {host: {"rejoin_host": {"facts": {"stores": s}}} for host, s in there.items()}
    found: dict[str, Any] = f.rejoin(json.dumps(status), "broker-a", MEMBERS, hostvars, rebuild)
    return found


TWO, ONE = [MASTER, OLD], [MASTER]
LEADING = replica(1, "owner", MASTER, TWO)
BACK = "start what stands still, wait until both copies of broker-a count"


def test_whoever_comes_back_with_its_store_degrades_nobody() -> None:
    """Answering or not yet started: its copy may count, so nothing but a start is due."""
    for replicas in (
        (LEADING, replica(2, "slave", OLD, TWO)),
        (LEADING,),
        (replica(1, "owner", MASTER, ONE), replica(2, "learner", NEW, ONE)),
        (replica(1, "owner", MASTER, ONE),),
        (),
    ):
        found = todo(*replicas)
        assert (found["problem"], found["degrade"], found["text"]) == ("", "", BACK)


@pytest.mark.parametrize(
    "others", [{"a1": False}, {}], ids=["an empty disk", "a new store that runs"]
)
def test_a_lost_copy_is_named_before_anything_is_done(others: dict[str, bool]) -> None:
    """Without the operator's word it is refused, with it the other copy counts alone first."""
    replicas = (LEADING,) if others else (LEADING, replica(2, "learner", NEW, TWO))
    refused = todo(*replicas, **others)
    assert refused["problem"] == (
        "broker-a/2 has an empty or new store, and the copy that counts is bbbbbbbb: bring that "
        "one back, or, if it is lost for good, -e rebuild=broker-a/2"
    )
    assert refused["degrade"] == ""
    told = todo(*replicas, rebuild="broker-a/2", **others)
    assert (told["problem"], told["degrade"]) == ("", "broker-a/1")
    assert told["text"].startswith(
        "let broker-a/1 count alone without bbbbbbbb, copy everything from it to broker-a/2, wait"
    )


def test_two_stores_under_the_same_path_are_told_apart() -> None:
    """Each member is compared with its own host's folders."""
    assert todo(LEADING, rebuild="broker-a/2", a1=False)["degrade"] == "broker-a/1"
    assert todo(LEADING, rebuild="broker-a/2", a0=False)["degrade"] == ""


def test_a_copy_that_counts_is_not_thrown_away() -> None:
    """Asked to rebuild what counts, or what may: nobody is degraded; nor by a second run."""
    for replicas in ((LEADING, replica(2, "slave", OLD, TWO)), (LEADING,)):
        found = todo(*replicas, rebuild="broker-a/2")
        assert (found["problem"], found["degrade"]) == ("", "")


def test_nothing_is_rebuilt_from_a_copy_that_is_not_whole() -> None:
    """No lease, barred, within another command, or silent: refused, in the pair's own words."""
    proposal = {"epoch": [4, MASTER], "members": [MASTER, NEW]}
    for other in (
        (replica(1, "owner, no lease", MASTER, TWO),),
        (replica(1, "fenced", MASTER, TWO, fenced=True),),
        (replica(1, "proposing", MASTER, TWO, proposed=proposal),),
        (),
    ):
        found = todo(*other, replica(2, "new", NEW, []), rebuild="broker-a/2", a1=False)
        told = "broker-a/2 is not rebuilt while no whole copy leads the pair: as it says"
        assert (found["problem"], found["degrade"]) == (told, "")


def test_the_master_is_not_rebuilt() -> None:
    """It is what others are rebuilt from."""
    assert "broker-a/1 is the master" in todo(LEADING, rebuild="broker-a/1")["problem"]
    assert todo(LEADING, rebuild="broker-b/1")["problem"] == (
        "broker-b/1 is none of broker-a/1, broker-a/2"
    )


def test_a_run_that_ended_while_it_degraded_is_finished() -> None:
    """The owner proposes to count alone: the same order again."""
    proposal = {"epoch": [4, MASTER], "members": [MASTER]}
    half = replica(1, "proposing", MASTER, TWO, proposed=proposal)
    found = todo(half, rebuild="broker-a/2", a1=False)
    assert (found["problem"], found["degrade"]) == ("", "broker-a/1")


def test_an_answer_that_cannot_be_read_is_nobodys() -> None:
    """Then nothing is degraded; the gate at the end says what is wrong."""
    for text in ("", "no json", "[]"):
        found = f.rejoin(text, "broker-a", MEMBERS, {"a0": {}, "a1": {}}, "")
        assert (found["problem"], found["degrade"], found["answered"]) == ("", "", [])
