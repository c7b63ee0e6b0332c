"""What a checker is, what it raises, and how many of them judge one run.

    for checker in checkers: checker.check(history)    raises Violation at the first broken promise

A checker is a few lines over a `History`: it knows no broker, no store and no simulator, so that a
unit test hands it a record made by hand, sound or broken.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from broker_trio.testing.cluster.history import History, Outcome


class Violation(AssertionError):
    """A promise was broken. `invariant` names it as the list of invariants does."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


class Checker(Protocol):
    """One promise."""

    def check(self, history: History) -> None:
        """Raises `Violation`."""
        ...


class Verdict(NamedTuple):
    """A run that passed, in numbers. `faults`: how often something broke or was broken."""

    sent: int
    acked: int
    refused: int
    unknown: int
    delivered: int
    stored: int
    faults: int


def judge(history: History, checkers: Sequence[Checker]) -> Verdict:
    """Run every checker. Raises `Violation`."""
    for checker in checkers:
        checker.check(history)
    return Verdict(
        len(history.sent),
        history.count(Outcome.ACKED),
        history.count(Outcome.REFUSED),
        history.count(Outcome.UNKNOWN),
        len(history.got),
        len(history.placed),
        history.faults
        + sum(
            event.what in {"kill", "power"} and event.at < history.healed_at
            for life in history.lives.values()
            for event in life.events
        ),
    )
