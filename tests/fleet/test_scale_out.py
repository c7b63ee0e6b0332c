"""A nameserver and a pair more, while a producer sends: nothing lost, no client restarted."""

import json

import pytest

from tests.fleet.plays import TOPIC, figure
from tests.fleet.verbs import Growth, Small, agree, unharmed

pytestmark = pytest.mark.fleet


def shown(small: Small) -> list[list[str]]:
    """What each nameserver lacks of what the others show."""
    rows = json.loads(small.program("cluster", "nameservers", "--json"))["nameservers"]
    return [row["missing"] for row in rows]


def test_site_names_the_verb_and_changes_nothing(grown: Growth) -> None:
    """A nameserver that running brokers were not told of: said by preflight, with what adds it."""
    text = "ns2 is a nameserver that the running broker-a-1 does not know: scale_out.yml adds it"
    assert text in grown.refused.said
    assert grown.refused.code == 2
    assert grown.refused.changed_tasks == set()


def test_the_plan_is_said_and_the_look_is_what_is_done(grown: Growth) -> None:
    """It names what is added and who hears of it; a look changes nothing and says every change."""
    assert "plan: add nameserver ns2, broker broker-b; 3 hosts restarted" in grown.look.output
    assert {host for host, _ in grown.look.changed_tasks} >= {"ns2", "broker-b0", "broker-b1"}
    agree(grown.look, grown.play)


def test_a_producer_notices_nothing(grown: Growth, small: Small) -> None:
    """It knew ns1 only, was not restarted, found the new pair, and every send was acknowledged."""
    figure("scale out", seconds=round(grown.play.seconds, 1))
    unharmed(grown.ledger.judge("scale out under load"))


def test_everybody_shows_everybody(grown: Growth, small: Small) -> None:
    """Both nameservers know both pairs, and running brokers were restarted to register at both."""
    assert grown.starts[0] != grown.starts[1]
    assert shown(small) == [[], []]
    assert "clients go on with the nameservers that they know" in grown.play.output


def test_a_client_that_was_told_before_uses_the_new_one(grown: Growth, small: Small) -> None:
    """Given the longer list at its start, it goes on while the old nameserver is away."""
    with small.load("old-one-away") as ledger:
        small.lab.execute("ns1", "systemctl", "stop", "broker-trio-nameserver")
        try:
            small.told = frozenset({"ns2"})
            small.program("produce", TOPIC, text="by the new one\n")
        finally:
            small.told = None
            small.lab.execute("ns1", "systemctl", "start", "broker-trio-nameserver")
    unharmed(ledger.judge("the old nameserver away"))
    small.wait_until_whole()


def test_the_new_pair_has_the_inventory_s_topics(grown: Growth) -> None:
    """So that it takes its share at once."""
    assert ("ns1", "Keep topics") in grown.play.changed_tasks
    assert TOPIC in grown.play.output


def test_nothing_to_add_is_refused(grown: Growth, small: Small) -> None:
    """A second run would do nothing, and says what to do instead."""
    again = small.play("scale_out", good=False)
    assert "the inventory has nothing that does not run already" in again.said
    assert again.changed_tasks == set()


def test_what_was_cut_short_is_ended_by_the_next_run(grown: Growth, small: Small) -> None:
    """SIGKILL when the nameserver is up and brokers do not know it, and again between restarts."""
    small.lab.add("ns3", "nameservers")
    part = small.play("scale_out", "--limit", "ns3", good=False)
    assert "--limit leaves out broker-a0" in part.said
    with small.beside("scale_out", "TASK [Write what they run with"):
        pass
    assert shown(small)[2] != []
    with small.beside("scale_out", "TASK [Go on only when it is really back]"):
        pass
    small.play("scale_out")
    assert shown(small) == [[], [], []]
    assert small.play("site").changed_tasks == set()
