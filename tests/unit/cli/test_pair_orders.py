"""Every order to a pair: planned first, dry, for programs, refused with a way on, done once."""

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest

from broker_trio.broker.replication.machine import Wish

from .test_pair import ADDRESSES, A, B, FakePair, pair, run

__all__ = ["pair", "run"]  # fixtures


def healthy(_pair: FakePair) -> None:
    """Both are there."""


def master_down(pair: FakePair) -> None:
    pair.down.add(ADDRESSES[A])


def slave_down(pair: FakePair) -> None:
    pair.down.add(ADDRESSES[B])


def alone(pair: FakePair) -> None:
    """Master and most nameservers are off."""
    master_down(pair)
    pair.down |= {*list(pair.witnesses)[:2]}


def degraded(pair: FakePair) -> None:
    """One copy counts, and the slave is back."""
    machine = pair.machines[A]
    machine.propose(Wish("degrade"), log_end=100)
    pair.settle(A)


def slave_fenced(pair: FakePair) -> None:
    pair.machines[B].fence(fenced=True)
    pair.machines[B].saved(pair.machines[B].state)


def slave_not_level(pair: FakePair) -> None:
    pair.machines[B].following = None


RISK = ("--reason", "a burnt")
World = Callable[[FakePair], None]


class Order(NamedTuple):
    """`orders`: what leaves. `refused`: where a guard says no, which, and what to type then."""

    words: tuple[str, ...]
    before: World
    orders: list[str]
    refused: World | None
    guard: str = ""
    next: str = ""


ORDERS = (
    Order(("promote", "broker-a/2"), master_down, ["promote"],
          healthy, "the master is gone", "broker-trio switchover broker-a/1 broker-a/2"),
    Order(("promote", "broker-a/2", "--one-copy"), master_down, ["promote", "degrade"],
          slave_fenced, "it is not fenced", "broker-trio pair rejoin broker-a/2"),
    Order(("promote", "broker-a/2", "--accept-loss", *RISK), master_down, ["force"],
          alone, "a majority of the nameservers", "broker-trio pair status broker-a"),
    Order(("promote", "broker-a/2", "--fenced", "hostA", *RISK), alone, ["force"],
          master_down, "no majority can be had", "broker-trio pair status broker-a"),
    Order(("switchover", "broker-a/1", "broker-a/2"), healthy, ["pause", "handover"],
          slave_not_level, "the slave follows it", "broker-trio pair status broker-a"),
    Order(("degrade", "broker-a/1"), slave_down, ["degrade"],
          alone, "no status of broker-a/1", "--replica HOST:PORT"),
    Order(("restore", "broker-a/1"), degraded, ["restore"],
          lambda pair: (degraded(pair), slave_down(pair))[0],
          "a slave follows and is level", "broker-trio pair status broker-a"),
    Order(("fence", "broker-a/2"), healthy, ["fence"], None),
    Order(("pair", "rejoin", "broker-a/2"), slave_fenced, ["rejoin"], None),
)  # fmt: skip
NAMES = [" ".join(order.words[:3]) for order in ORDERS]


@pytest.mark.parametrize("order", ORDERS, ids=NAMES)
def test_a_dry_run_shows_the_plan_and_orders_nothing(run, pair: FakePair, order: Order):
    """For people and for programs."""
    order.before(pair)
    shown = run(*order.words, "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "step 1" in shown.stdout
    assert "lost " in shown.stdout
    told = json.loads(run(*order.words, "--dry-run", "--json").stdout)
    assert told["verdict"] == "planned"
    assert [step["order"]["verb"] for step in told["plan"]["steps"]] == order.orders
    assert pair.orders == []


@pytest.mark.parametrize("order", ORDERS, ids=NAMES)
def test_the_plan_comes_before_the_question(run, pair: FakePair, order: Order):
    """A no changes nothing; a yes does it."""
    order.before(pair)
    no = run(*order.words, stdin="n\n")
    assert no.exit_code == 1
    assert no.stdout.index("step 1") < no.stdout.index("Do it?")
    assert pair.orders == []
    assert run(*order.words, stdin="y\n").exit_code == 0
    assert pair.orders == order.orders


@pytest.mark.parametrize("order", ORDERS, ids=NAMES)
def test_once_done_it_is_done(run, pair: FakePair, order: Order):
    """A program is told the state; the same words again order nothing."""
    order.before(pair)
    done = run(*order.words, "--yes", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["verdict"], bool(told["status"]["state"])) == ("done", True)
    again = run(*order.words, "--yes", "--json")
    assert (again.exit_code, json.loads(again.stdout)["verdict"]) == (0, "already")
    assert pair.orders == order.orders


@pytest.mark.parametrize(
    "order", [order for order in ORDERS if order.refused], ids=lambda order: " ".join(order.words)
)
def test_a_guard_refuses_with_the_reason_and_the_next_step(run, pair: FakePair, order: Order):
    """Nothing is ordered; a program gets the plan with the guard that said no."""
    assert order.refused is not None
    order.refused(pair)
    result = run(*order.words, "--yes")
    assert result.exit_code in {3, 4}, result.output
    assert order.guard in result.stderr
    assert order.next in result.stderr
    if result.exit_code == 3:
        told = json.loads(run(*order.words, "--yes", "--json").stdout)
        assert told["verdict"] == "refused"
        assert [one for one in told["plan"]["guards"] if not one["ok"]]
        assert told["plan"]["steps"] == []
    assert pair.orders == []


def test_degrade_is_the_master_s(run, pair: FakePair):
    """A slave has nothing to give up."""
    result = run("degrade", "broker-a/2", "--yes")
    assert (result.exit_code, pair.orders) == (3, [])
    assert "refused  it is the master" in result.stdout


def test_a_fence_says_what_it_stops_and_how_it_ends(run, pair: FakePair):
    """The master's is a stop of writes; status and a refused promotion know the way back."""
    shown = run("fence", "broker-a/1", "--dry-run").stdout
    assert "nobody writes broker-a until another is promoted" in shown
    assert "until broker-trio pair rejoin broker-a/1" in shown
    assert run("fence", "broker-a/2", "--yes").exit_code == 0
    assert "next: broker-trio pair rejoin broker-a/2" in run("pair", "status", "broker-a").stdout
    assert run("fence", "broker-a/1", "--yes").exit_code == 0
    told = json.loads(run("pair", "status", "broker-a", "--json").stdout)["instruction"]
    assert told["verb"] == "rejoin", "no loss has to be accepted for a fence"
    assert told["command"].startswith("broker-trio pair rejoin broker-a/")
