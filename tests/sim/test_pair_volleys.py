"""Sends that come together in a pair wait for what their mode promises, as one and as themselves.

The scenarios of pairs send volleys all the time (`p2`); here it is seen that they go the quick way,
that acks cut them into parts, and that none of them is believed stored when its copy is not there.
"""

from collections.abc import Callable
from typing import Any

import pytest

from broker_trio.broker.replication.acks import Acks, Outcome
from broker_trio.testing.cluster.history import Outcome as Ended
from broker_trio.testing.cluster.pair import MODES, Mode, Pair
from broker_trio.testing.cluster.producer import SimProducer
from broker_trio.testing.scenarios.catalogue import silence
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World

pytestmark = pytest.mark.slow  # a second each
VOLLEY = 16
Parts = list[tuple[Outcome, int, int]]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    """(outcome, messages told it at once, messages of their burst), as they were told."""
    told: Parts = []
    sound = Acks.wait_run

    def wait_run(self: Acks, end: int, size: int, count: int, done: Any) -> None:
        def noted(outcome: Outcome, some: int) -> None:
            told.append((outcome, some, count))
            done(outcome, some)

        sound(self, end, size, count, noted if count > 1 else done)

    monkeypatch.setattr(Acks, "wait_run", wait_run)
    return told


def volleys(mode: Mode, parts: Parts) -> Callable[[World], Any]:
    """Some that are kept; then the copy, or the disk, that one more would need is not there."""

    async def main(world: World) -> None:
        pair = Pair(world, mode)
        await pair.whole()
        producer = SimProducer(pair, "p", "t", pause_s=0.0, volley=VOLLEY)
        producer.go(12)
        await producer.done()
        assert {sent.outcome for sent in pair.history.sent} == {Ended.ACKED}
        assert sum(some for _, some, _ in parts) > VOLLEY
        assert {outcome for outcome, _, _ in parts} == {Outcome.OK}
        parts.clear()
        if mode.copies > 1:
            world.network.cut("b0", "b1")
        else:
            pair.node("b0").disk.hang()
        producer.go(1)
        await producer.done()
        assert {sent.outcome for sent in pair.history.sent[-VOLLEY:]} == {Ended.UNKNOWN}
        assert Outcome.OK not in {outcome for outcome, _, _ in parts}

    return main


@pytest.mark.parametrize("mode", [one for one in MODES if one.letter != "A"])
def test_a_volley_waits_for_what_its_mode_promises(mode: Mode, parts: Parts) -> None:
    """Copies, disks, or both."""
    with silence():
        simulate(3, volleys(mode, parts))


def test_acks_cut_volleys_into_parts(parts: Parts) -> None:
    """The stream's chunks end where they end; what each ack covers is answered at once."""

    async def main(world: World) -> None:
        pair = Pair(world, MODES[1])
        await pair.whole()
        producer = SimProducer(pair, "p", "t", pause_s=0.0, volley=VOLLEY)
        producer.go(40)
        await producer.done()

    with silence():
        simulate(3, main)
    assert any(some < count for _, some, count in parts)
    assert {outcome for outcome, _, _ in parts} == {Outcome.OK}


def test_a_volley_that_waits_for_nobody_is_noticed(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bug that the first test is there for."""

    def wait_run(self: Acks, end: int, size: int, count: int, done: Any) -> None:
        if count > 1:
            parts.append((Outcome.OK, count, count))
            done(Outcome.OK, count)
        else:
            sound(self, end, size, count, done)

    sound = Acks.wait_run
    monkeypatch.setattr(Acks, "wait_run", wait_run)
    with silence(), pytest.raises(AssertionError, match=r"Outcome\.ACKED"):
        simulate(3, volleys(MODES[1], parts))
