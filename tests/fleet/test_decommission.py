"""A pair taken away: read-only, read to its end, then stopped; refused while anything is left."""

import json

import pytest

from broker_trio.cli.lab.processes import wait_until
from tests.fleet.plays import TOPIC
from tests.fleet.verbs import GROUP, Growth, Small

pytestmark = pytest.mark.fleet
NEW = frozenset({"broker-b0", "broker-b1"})


def fill(small: Small) -> int:
    """Messages at broker-b that a group wants and has not read, and some that are delayed."""
    small.program("produce", TOPIC, text="".join(f"late {n}\n" for n in range(100)))
    small.program("consume", TOPIC, "--group", GROUP, "--from-first", "--count", "1")
    small.program("produce", TOPIC, "--delay", "1m", text="".join(f"later {n}\n" for n in range(8)))
    assert small.holdings("broker-b")["delayed"] > 0
    return sum(each["messages"] for each in small.holdings("broker-b")["unread"])


def read_all(small: Small) -> None:
    """Each group reads on until nothing waits for it, with what is delayed."""

    def nothing() -> bool:
        found = small.holdings("broker-b")
        for group in {each["group"] for each in found["unread"]}:
            small.program("consume", TOPIC, "--group", group, "--from-first")
        return not found["unread"] and not found["delayed"]

    wait_until(nothing, "groups to read everything", 180)


def test_a_pair_is_drained_refused_read_and_stopped(grown: Growth, small: Small) -> None:
    """In one go, as an operator lives through it."""
    unread = fill(small)
    assert unread > 0
    look = small.play("decommission", "--check", pair="broker-b")
    assert "plan: drain broker-b (broker-b0, broker-b1)" in look.output
    assert set(small.holdings("broker-b")["writable"].values()) == {True}

    part = small.play("decommission", "--limit", "broker-b0", good=False, pair="broker-b")
    assert "--limit leaves out broker-b1 of broker-b" in part.said

    early = small.play("decommission", good=False, pair="broker-b", decommission_timeout=5)
    assert f"group {GROUP} has " in early.said
    assert "It stays drained" in early.said
    assert f"broker-b still has: group {GROUP} has " in early.output
    assert set(small.holdings("broker-b")["writable"].values()) == {False}
    running = ("systemctl", "is-active", "broker-trio-broker@broker-b-1")
    assert small.lab.execute("broker-b0", *running).stdout == "active\n"

    read_all(small)
    abandon = [each["topic"] for each in small.holdings("broker-b")["unowned"]]
    done = small.play("decommission", pair="broker-b", decommission_abandon=abandon)
    assert (
        "broker-b is stopped; its stores: broker-b0:/var/lib/broker-trio/broker-b-1" in done.output
    )
    for host, instance in (("broker-b0", "broker-b-1"), ("broker-b1", "broker-b-2")):
        assert not small.has(host, f"/etc/broker-trio/{instance}.toml")
        assert small.has(host, f"/var/lib/broker-trio/{instance}/commitlog")
    rows = json.loads(small.program("cluster", "list", "--json"))["brokers"]
    assert {row["broker"] for row in rows} == {"broker-a"}
    small.program("produce", TOPIC, text="afterwards\n")
    small.left_out = NEW
    assert small.play("site").code == 0
