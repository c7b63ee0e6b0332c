"""Locks of an ordered consumer: trusted for 30 s from the asking, lost without an answer."""

from broker_trio.client.locks import TRUST_S, LockTable
from broker_trio.model.route import MessageQueue

A0, A1, B0 = (
    MessageQueue("t", broker, number) for broker, number in (("a", 0), ("a", 1), ("b", 0))
)


def test_trust_ends_30_s_after_the_question_left() -> None:
    """Not after its answer came: the broker counted from before that."""
    table = LockTable()
    table.granted([A0], asked=100.0)
    assert table.holds(A0, 129.9)
    assert not table.holds(A0, 100.0 + TRUST_S)
    assert table.expired(129.9) == []
    assert table.expired(130.0) == [A0]
    assert table.expired(130.0) == [], "told once"


def test_an_answer_that_overtook_another_does_not_shorten_trust() -> None:
    """Two questions in flight: the later asking counts."""
    table = LockTable()
    table.granted([A0], asked=120.0)
    table.granted([A0], asked=100.0)
    assert table.holds(A0, 149.0)


def test_a_denied_lock_is_lost_at_once() -> None:
    """Only those that were ours are news."""
    table = LockTable()
    table.granted([A0], asked=0.0)
    assert table.denied([A0, A1]) == [A0]
    assert not table.holds(A0, 1.0)


def test_renewal_asks_each_broker_once() -> None:
    """By name and in order; what was given back is not asked for."""
    table = LockTable()
    table.granted([B0, A1, A0], asked=0.0)
    assert table.by_broker() == {"a": [A0, A1], "b": [B0]}
    table.forget(B0)
    assert table.by_broker() == {"a": [A0, A1]}
