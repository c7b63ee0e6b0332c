"""A nameserver and a pair more, while a producer sends: nothing lost, no client restarted."""

import json

import pytest

from tests.fleet.plays import TOPIC, figure
from tests.fleet.verbs import Growth, Small

pytestmark = pytest.mark.fleet


def test_the_plan_is_said_before_anything_changes(grown: Growth) -> None:
    """A look names what is added and who hears of it, and changes nothing."""
    assert "plan: add nameserver ns2, broker broker-b; 3 hosts restarted" in grown.look.output
    assert ("ns2", "Bring it up") not in grown.look.changed_tasks
    assert {host for host, _ in grown.look.changed_tasks} >= {"ns2", "broker-b0", "broker-b1"}


def test_a_producer_notices_nothing(grown: Growth) -> None:
    """It knew ns1 only, was not restarted, and every send was acknowledged."""
    figure("scale out", seconds=round(grown.play.seconds, 1))
    report = grown.ledger.judge("scale out under load")
    assert (report["failed"], report["unknown"]) == (0, 0)
    assert report["lost"]["count"] == 0


def test_everybody_shows_everybody(grown: Growth, small: Small) -> None:
    """Both nameservers know both pairs, and running brokers were restarted to register at both."""
    assert grown.starts[0] != grown.starts[1]
    rows = json.loads(small.program("cluster", "nameservers", "--json"))["nameservers"]
    assert [row["missing"] for row in rows] == [[], []]
    assert "clients go on with the nameservers that they know" in grown.play.output


def test_the_new_pair_has_the_inventory_s_topics(grown: Growth) -> None:
    """So that it takes its share at once."""
    assert ("ns1", "Keep topics") in grown.play.changed_tasks
    assert TOPIC in grown.play.output


def test_nothing_to_add_is_refused(grown: Growth, small: Small) -> None:
    """A second run would do nothing, and says what to do instead."""
    again = small.play("scale_out", good=False)
    assert "the inventory has nothing that does not run already" in again.said
    assert again.changed_tasks == set()
