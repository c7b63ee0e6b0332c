"""I7, I12, I14, I19: offsets inside the queue, never early, at once, and everything in the end."""

from collections.abc import Sequence
from typing import Final, final

from broker_trio.model.message import DELAY_LEVELS_S
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.history import Got, History, Outcome

HELD_S: Final = 0.1
"""I14: from the arrival of a message until whoever waits for it has it."""
LIVE_S: Final = 30.0
"""I19: from the last fault until all works."""
LATE_S: Final = 1.0
"""I12: how late a delayed message may be."""
CLOCK_S: Final = 0.002
"""A wall clock counts whole milliseconds, at both ends."""


def first_reads(history: History) -> dict[tuple[str, bytes], Got]:
    """(consumer, body) to the first delivery from the topic it was sent to."""
    first: dict[tuple[str, bytes], Got] = {}
    for got in history.got:
        if not got.topic.startswith("%"):
            first.setdefault((got.consumer, got.body), got)
    return first


@final
class OffsetsInsideQueue:
    """I7: no group stands beyond the end of its queue, where it would skip what comes next."""

    def check(self, history: History) -> None:
        for stood in history.stood:
            if stood.committed > stood.end:
                raise Violation("I7", f"{stood} is beyond its queue's end")


@final
class EverybodyGotEverything:
    """I19: each consumer has read all there is, 30 s after the last fault at the latest.

    A consumer that read messages which a power loss then took (ASYNC_FLUSH only) stands beyond the
    queue's new end, and may miss what is stored at the places that it has read before.
    """

    def __init__(self, consumers: Sequence[str]) -> None:
        self._consumers = consumers

    def check(self, history: History) -> None:
        attempts, first, lost = history.attempts(), first_reads(history), lost_reads(history)
        for placed in history.placed:
            sent = attempts[placed.body]
            if placed.topic != sent.topic:
                continue
            delay = DELAY_LEVELS_S[sent.delay_level - 1] if sent.delay_level else 0
            due = max(history.healed_at, sent.began) + delay + LIVE_S
            for consumer in self._consumers:
                got = first.get((consumer, placed.body))
                skipped = placed.offset <= lost.get((consumer, *placed[:3]), -1)
                if (got is None and not skipped) or (got is not None and got.at > due):
                    when = "never" if got is None else f"at {got.at:.4f} s"
                    raise Violation(
                        "I19", f"{consumer} got {sent} {when}, faults ended {history.healed_at:.4f}"
                    )


def lost_reads(history: History) -> dict[tuple[str, str, str, int], int]:
    """(consumer, queue) to the highest offset at which it read what is not there any more."""
    held = {placed[:4]: placed.body for placed in history.placed}
    lost: dict[tuple[str, str, str, int], int] = {}
    for got in history.got:
        queue = (got.broker, got.topic, got.queue_id)
        if queue in history.ended and held.get((*queue, got.offset)) != got.body:
            lost[got.consumer, *queue] = max(got.offset, lost.get((got.consumer, *queue), -1))
    return lost


@final
class NeverEarly:
    """I12: no delayed message before its time; at most a second late where nothing broke."""

    def __init__(self, *, late_s: float | None = LATE_S) -> None:
        """`late_s` None where faults may hold messages up."""
        self._late_s = late_s

    def check(self, history: History) -> None:
        attempts = history.attempts()
        for got in first_reads(history).values():
            sent = attempts[got.body]
            if not sent.delay_level:
                continue
            delay = DELAY_LEVELS_S[sent.delay_level - 1]
            if got.at < sent.began + delay - CLOCK_S:
                raise Violation("I12", f"{sent} is due after {delay} s, {got.consumer} got it at "
                                f"{got.at:.4f} s")  # fmt: skip
            if self._late_s is not None and got.at > sent.ended + delay + self._late_s:
                raise Violation("I12", f"{sent} was due after {delay} s, {got.consumer} got it at "
                                f"{got.at:.4f} s only")  # fmt: skip


@final
class HeldPullsAnswered:
    """I14: a consumer that waits at the end has an acknowledged message 100 ms later."""

    def __init__(self, *, since: float = 0.0) -> None:
        """`since`: when all consumers wait, in virtual seconds."""
        self._since = since

    def check(self, history: History) -> None:
        first = first_reads(history)
        consumers = sorted({got.consumer for got in history.got})
        for sent in history.sent:
            if sent.outcome is not Outcome.ACKED or sent.delay_level or sent.began < self._since:
                continue
            for consumer in consumers:
                got = first.get((consumer, sent.body))
                if got is None or got.at > sent.ended + HELD_S:
                    when = "never" if got is None else f"at {got.at:.4f} s"
                    raise Violation("I14", f"{consumer} waited, and got {sent} {when}")
