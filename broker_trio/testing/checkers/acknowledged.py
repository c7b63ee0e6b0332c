"""I1 and I20: what was acknowledged is there in the end, what was refused never is.

    SEND_OK with durability "disk"      survives everything
    SEND_OK with durability "memory"    survives kill −9; a power loss may take what the flusher had
                                        no time for: `flush_s` since it was acknowledged

A refused message that is stored would be doubled by the producer that sends it again.
"""

from typing import Final, final

from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.history import History, Outcome, Placed, Sent

ASYNC_FLUSH_S: Final = 0.6
"""An interval of 500 ms, then the fsyncs of two segments and their folder at 8 ms each at most."""


def places_of(history: History) -> dict[bytes, list[Placed]]:
    """Body to everywhere it is stored in the end."""
    found: dict[bytes, list[Placed]] = {}
    for placed in history.placed:
        found.setdefault(placed.body, []).append(placed)
    return found


@final
class AcknowledgedIsReadable:
    """I1. Delayed messages count as soon as they are in their own topic, once or more."""

    def __init__(self, *, flush_s: float = ASYNC_FLUSH_S, expires: bool = False) -> None:
        """`expires`: the oldest messages of a queue may have been deleted for space."""
        self._flush_s, self._expires = flush_s, expires

    def check(self, history: History) -> None:
        places = places_of(history)
        for sent in history.sent:
            if sent.outcome is Outcome.ACKED and not self._may_be_gone(history, sent):
                self._check_one(sent, places.get(sent.body, []))

    def _check_one(self, sent: Sent, places: list[Placed]) -> None:
        if not places:
            raise Violation("I1", f"an acknowledged message is gone: {sent}")
        if sent.delay_level:
            return
        told = (sent.broker, sent.topic, sent.queue_id, sent.queue_offset)
        found = [place[:4] for place in places]
        if told not in found:
            raise Violation("I1", f"{sent} is not where the answer said, but at {found}")

    def _may_be_gone(self, history: History, sent: Sent) -> bool:
        first = history.began.get((sent.broker, sent.topic, sent.queue_id), 0)
        if self._expires and sent.queue_offset < first:
            return True
        life = history.lives[sent.broker]
        if sent.durability == "disk":
            return False
        return life.may_lose(sent.began, sent.ended, self._flush_s)


@final
class RefusedIsNotStored:
    """I20: a refusal means that the message is not there."""

    def check(self, history: History) -> None:
        places = places_of(history)
        for sent in history.sent:
            if sent.outcome in {Outcome.REFUSED, Outcome.NOT_SENT} and sent.body in places:
                raise Violation("I20", f"{sent} is stored: {places[sent.body][0][:4]}")
