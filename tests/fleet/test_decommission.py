"""A pair taken away: read-only, read to its end, then stopped; refused while anything is left."""

import json

import pytest

from broker_trio.cli.lab.processes import wait_until
from tests.fleet.plays import TOPIC, figure
from tests.fleet.verbs import GROUP, Growth, Small

pytestmark = pytest.mark.fleet
NEW = frozenset({"broker-b0", "broker-b1"})
MEMBERS = (("broker-b0", "broker-b-1"), ("broker-b1", "broker-b-2"))


def fill(small: Small) -> int:
    """Messages at broker-b that a group wants and has not read, and some that are delayed."""
    small.program("produce", TOPIC, text="".join(f"late {n}\n" for n in range(100)))
    small.program("consume", TOPIC, "--group", GROUP, "--from-first", "--count", "1")
    small.program("produce", TOPIC, "--delay", "1m", text="".join(f"later {n}\n" for n in range(8)))
    assert small.holdings("broker-b")["delayed"] > 0
    return sum(each["messages"] for each in small.holdings("broker-b")["unread"])


def read_unread(small: Small) -> None:
    """Each group reads on until nothing waits for it."""

    def nothing() -> bool:
        found = small.holdings("broker-b")
        for group in {each["group"] for each in found["unread"]}:
            small.program("consume", TOPIC, "--group", group, "--from-first")
        return not found["unread"]

    wait_until(nothing, "groups to read everything", 300)


def brokers_b(small: Small) -> list[dict[str, str]]:
    rows = json.loads(small.program("cluster", "list", "--json"))["brokers"]
    return [row for row in rows if row["broker"] == "broker-b"]


def writable(small: Small) -> set[bool]:
    return set(small.holdings("broker-b")["writable"].values())


def test_it_is_refused_while_messages_are_unread(grown: Growth, small: Small) -> None:
    """Said before anything is drained; a part of the pair, too; then drained, and not stopped."""
    assert fill(small) > 0
    look = small.look("decommission", pair="broker-b")
    assert "plan: drain broker-b (broker-b0, broker-b1)" in look.output
    assert f"group {GROUP} has " in look.output
    assert writable(small) == {True}
    part = small.play("decommission", "--limit", "broker-b0", good=False, pair="broker-b")
    assert "--limit leaves out broker-b1 of broker-b" in part.said
    early = small.play("decommission", good=False, pair="broker-b", decommission_timeout=5)
    assert f"group {GROUP} has " in early.said
    assert "It stays drained" in early.said
    assert f"broker-b still has: group {GROUP} has " in early.output
    assert writable(small) == {False}
    for host, instance in MEMBERS:
        active = ("systemctl", "is-active", f"broker-trio-broker@{instance}")
        assert small.lab.execute(host, *active).stdout == "active\n"


def test_one_run_at_a_time_and_a_killed_one_leaves_no_lock(grown: Growth, small: Small) -> None:
    """Whoever changes ends at once with 3 and the other's name; who reads, or looks, does not."""
    waits = {"pair": "broker-b", "decommission_timeout": 1800}
    with small.beside("decommission", "broker-b still has: ", **waits):
        before = small.traces()
        second = small.play("backup", good=False, pair="broker-a")
        assert second.code == 3, second.output
        assert "another run changes this cluster: process " in second.output
        assert "decommission.yml; wait for its end" in second.output
        assert small.play("status").code == 0
        assert small.traces() == before
    given = small.play("decommission", pair="broker-b", decommission_give_back=True)
    assert "plan: give broker-b back to producers" in given.output
    assert writable(small) == {True}


def test_it_is_refused_while_a_delay_is_pending(grown: Growth, small: Small) -> None:
    """Everything read, and messages that come due later: they would be lost."""
    read_unread(small)
    small.program("produce", TOPIC, "--delay", "1m", text="".join(f"due {n}\n" for n in range(8)))
    abandon = [each["topic"] for each in small.holdings("broker-b")["unowned"]]
    waits = {"pair": "broker-b", "decommission_abandon": abandon, "decommission_timeout": 5}
    early = small.play("decommission", good=False, **waits)
    assert "messages wait for their delay" in early.said


def gone(small: Small) -> None:
    """Its members run no more, nothing starts them again, their stores are there."""
    for host, instance in MEMBERS:
        assert not small.has(host, f"/etc/broker-trio/{instance}.toml")
        assert small.has(host, f"/var/lib/broker-trio/{instance}/commitlog")
    rows = json.loads(small.program("cluster", "list", "--json"))["brokers"]
    assert {row["broker"] for row in rows} == {"broker-a"}


def emptied(small: Small) -> dict[str, object]:
    """What to say once everything is read and nothing comes due any more."""
    wait_until(lambda: not small.holdings("broker-b")["delayed"], "delays to come due", 400)
    read_unread(small)
    abandon = [each["topic"] for each in small.holdings("broker-b")["unowned"]]
    return {"pair": "broker-b", "decommission_abandon": abandon}


def test_an_empty_pair_is_stopped_and_its_files_stay(grown: Growth, small: Small) -> None:
    """What a look said is done; a second run finds nothing to do."""
    wanted = emptied(small)
    small.play("decommission", pair="broker-b", decommission_give_back=True)
    _, done = small.rehearsed("decommission", **wanted)
    figure("decommission of an empty pair", seconds=round(done.seconds, 1))
    assert (
        "broker-b is stopped; its stores: broker-b0:/var/lib/broker-trio/broker-b-1" in done.output
    )
    gone(small)
    assert small.play("decommission", **wanted).changed_tasks == set()


def test_killed_while_it_stops_the_next_run_ends_it(grown: Growth, small: Small) -> None:
    """`site.yml` brings the pair back with its stores; then taken away again, by two runs."""
    small.play("site")
    assert {row["role"] for row in brokers_b(small)} == {"master", "slave"}
    wanted = emptied(small)
    with small.beside("decommission", "TASK [Stop its members]", **wanted):
        stopped = ("systemctl", "is-active", "broker-trio-broker@broker-b-1")
        off = lambda: small.lab.execute("broker-b0", *stopped, check=False).returncode != 0  # noqa: E731
        wait_until(off, "broker-b0's broker to stop", 120)
    small.play("decommission", **wanted)
    gone(small)
    small.program("produce", TOPIC, text="afterwards\n")
    small.left_out |= NEW
    small.play("site")
    assert small.play("site").changed_tasks == set()
