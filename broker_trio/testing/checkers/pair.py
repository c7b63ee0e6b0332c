"""What a pair promised: nothing acknowledged lost beyond its mode, one offset one message.

    mode    SEND_OK     a message that was acknowledged, or read, may be gone
    C, D    two copies  only if an operator accepted a loss (a forced record)
    A, B    one copy    the same; or a later record of another owner begins at or before it: the lag
                        that was printed in front of the promotion; not by a switchover
    A                   the same; or the power went within the flusher's time

Offsets are those of the log, so that the lag is a place and no guess about time. A record excuses
only what was sent before it came into force: an old owner that goes on alone is found by what it
acknowledged after that (I9).
"""

from typing import final

from broker_trio.model.pair import Record
from broker_trio.testing.checkers.acknowledged import ASYNC_FLUSH_S, places_of
from broker_trio.testing.checkers.contents import SHOWN, check_dense
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.history import History, Outcome, Sent
from broker_trio.testing.cluster.pair import Mode
from broker_trio.testing.cluster.pair_watch import Watch
from broker_trio.testing.sim_clock import START_MS


@final
class Promised:
    """What may be gone, by the table above."""

    def __init__(self, mode: Mode, watch: Watch) -> None:
        self._mode, self._watch = mode, watch

    def may_be_gone(
        self, history: History, physical_offset: int, began: float, ended: float, durability: str
    ) -> bool:
        """Whether the table allows that a message, seen between two times, is there no more."""
        if self._watch.accepted_at >= began:
            return True
        if durability in {"replicated", "replicated_disk"}:
            return False
        later = [one.record for one in self._watch.records.values() if one.at >= began]
        if self._was_left_behind(later, physical_offset):
            return True
        lives = history.lives.values()
        return durability == "memory" and any(
            life.may_lose(began, ended, ASYNC_FLUSH_S) for life in lives
        )

    def _was_left_behind(self, later: list[Record], physical_offset: int) -> bool:
        """An async pair: another owner began before it."""
        if self._mode.copies == 2:
            return False
        return any(record.start <= physical_offset for record in later if not record.handover)

    def of_readers(self) -> str:
        """What was read is as safe as what this mode acknowledges with."""
        if self._mode.copies == 2:
            return "replicated_disk" if self._mode.flushes else "replicated"
        return "disk" if self._mode.flushes else "memory"


@final
class PairKeepsAcknowledged:
    """I1 for pairs. Delayed messages count as soon as they are in their own topic."""

    def __init__(self, promised: Promised) -> None:
        self._promised = promised

    def check(self, history: History) -> None:
        places = places_of(history)
        for sent in history.sent:
            if sent.outcome is not Outcome.ACKED:
                continue
            found = [place[:4] for place in places.get(sent.body, [])]
            told = (sent.broker, sent.topic, sent.queue_id, sent.queue_offset)
            if told in found or (found and sent.delay_level):
                continue
            if not self._may_be_gone(history, sent):
                where = f"is at {found}" if found else "is gone"
                raise Violation(
                    "I1", f"acknowledged as {sent.durability}, {sent} (log {sent.physical_offset}) "
                    f"{where}"
                )  # fmt: skip

    def _may_be_gone(self, history: History, sent: Sent) -> bool:
        return self._promised.may_be_gone(
            history, sent.physical_offset, sent.began, sent.ended, sent.durability
        )


@final
class PairOneOffsetOneMessage:
    """I5, I10: a place holds the same message for every reader, for ever; queues have no holes."""

    def __init__(self, promised: Promised) -> None:
        self._promised = promised

    def check(self, history: History) -> None:
        check_dense(history)
        held = {placed[:4]: placed.body for placed in history.placed}
        for got in history.got:
            place = (got.broker, got.topic, got.queue_id, got.offset)
            if place[:3] not in history.began or held.get(place) == got.body:
                continue
            stored = min((got.store_ms - START_MS) / 1000, got.at)
            durability = self._promised.of_readers()
            if not self._promised.may_be_gone(
                history, got.physical_offset, stored, got.at, durability
            ):
                now = held.get(place, b"nothing")[:SHOWN]
                raise Violation(
                    "I5",
                    f"{got.consumer} read {got.body[:SHOWN]!r}… at {place} (log "
                    f"{got.physical_offset}), {got.at:.4f} s; in the end it is {now!r}…",
                )


@final
class CopiesAreOne:
    """I8: both logs hold the same bytes; filled in by the closing, which reads them."""

    def __init__(self) -> None:
        self.compared = 0
        self.difference = ""

    def check(self, history: History) -> None:
        del history
        if self.difference or not self.compared:
            raise Violation("I8", self.difference or "no byte of the two logs was compared")
