"""I2, I3, I5, I6: nothing invented, nothing twice, one offset one message for ever, in order."""

from typing import Final, final

from broker_trio.testing.checkers.acknowledged import ASYNC_FLUSH_S, places_of
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.history import Got, History, Outcome, Placed, Sent
from broker_trio.testing.sim_clock import START_MS

Place = tuple[str, str, int, int]
"""Broker, topic, queue id and offset."""
SHOWN: Final = 40  # bytes of a body in a message for people


def check_dense(history: History) -> None:
    """I5: each queue holds every offset from its first to its last, each once."""
    queues: dict[tuple[str, str, int], list[int]] = {}
    for placed in history.placed:
        queues.setdefault(placed[:3], []).append(placed.offset)
    for queue, low in history.began.items():
        found, high = queues.get(queue, []), history.ended[queue]
        if found != list(range(low, high)):
            raise Violation("I5", f"{queue} from {low} to {high} holds {found}")


@final
class OnlyWhatWasSent:
    """I2: every delivery and every stored message is byte for byte an attempt to that topic.

    Topics that are somebody's copy (retry, dead letters) may hold what went to another topic.
    """

    def check(self, history: History) -> None:
        attempts = history.attempts()
        everything: list[Got | Placed] = [*history.got, *history.placed]
        for seen in everything:
            sent = attempts.get(seen.body)
            if sent is None:
                raise Violation("I2", f"nobody sent {seen.body[:SHOWN]!r}… of {seen[:5]}")
            if seen.topic != sent.topic and not seen.topic.startswith("%"):
                raise Violation("I2", f"{sent} turned up in {seen.topic}")
            if isinstance(seen, Got) and seen.at < sent.began:
                raise Violation("I2", f"{sent} was delivered at {seen.at:.4f} s")


@final
class StoredOnce:
    """I3: each attempt is in its topic at most once; delayed ones are delivered at least once."""

    def check(self, history: History) -> None:
        attempts = history.attempts()
        for body, places in places_of(history).items():
            sent = attempts[body]
            own = [place for place in places if place.topic == sent.topic]
            if len(own) > 1 and not sent.delay_level:
                raise Violation("I3", f"{sent} is stored at {[place[:4] for place in own]}")


@final
class OneOffsetOneMessage:
    """I5: queues have no holes, and a place holds the same message for every reader, for ever.

    Under ASYNC_FLUSH a power loss may take a message that somebody has read already, and its place
    may then be another's: the table of promises says so. Nothing else may.
    """

    def __init__(self, *, flush_s: float = ASYNC_FLUSH_S, sync: bool = False) -> None:
        self._flush_s, self._sync = flush_s, sync

    def check(self, history: History) -> None:
        held = {placed[:4]: placed.body for placed in history.placed}
        check_dense(history)
        for got in history.got:
            place = (got.broker, got.topic, got.queue_id, got.offset)
            first = history.began.get(place[:3])
            if first is None or got.offset < first or held.get(place) == got.body:
                continue
            if not self._may_be_gone(history, got):
                now = held.get(place, b"nothing")
                raise Violation(
                    "I5",
                    f"{got.consumer} read {got.body[:SHOWN]!r}… at {place}, {got.at:.4f} s; in the "
                    f"end it is {now[:SHOWN]!r}…",
                )

    def _may_be_gone(self, history: History, got: Got) -> bool:
        if self._sync:
            return False
        stored = (got.store_ms - START_MS) / 1000
        return history.lives[got.broker].may_lose(stored, got.at, self._flush_s)


@final
class InProducersOrder:
    """I6: what one producer was told is stored lies in each queue in the order of its sends.

    Those made at the same time have none among themselves.
    """

    def check(self, history: History) -> None:
        attempts = history.attempts()
        newest: dict[tuple[str, str, int, str], tuple[int, Placed]] = {}
        for placed in sorted(history.placed, key=lambda placed: placed[:4]):
            sent = attempts[placed.body]
            if sent.outcome is not Outcome.ACKED or sent.delay_level or sent.topic != placed.topic:
                continue
            key = (*placed[:3], sent.producer)
            number, before = newest.get(key, (0, placed))
            mine = sent.volley or sent.number
            if mine < number:
                raise Violation("I6", f"{sent} lies behind its #{number} at {before[:4]}")
            newest[key] = (mine, placed)


@final
class BatchesAreWhole:
    """A batch is stored as one: all of it, one behind the other in one queue, or nothing.

    A crash soon after may leave the begin of it, where nobody was promised more.
    """

    def check(self, history: History) -> None:
        places = places_of(history)
        batches: dict[tuple[str, int], list[Sent]] = {}
        for sent in history.sent:
            if sent.batch:
                batches.setdefault((sent.producer, sent.batch), []).append(sent)
        for batch in batches.values():
            found = [places.get(sent.body) for sent in batch]
            stored = [place[0][:4] if place else None for place in found]
            whole = _one_behind_the_other(stored[0], len(stored))
            if history.crashed(batch[0].began, batch[0].ended + ASYNC_FLUSH_S):
                count = len(stored) - stored.count(None)
                whole[count:] = [None] * (len(stored) - count)
            if stored != whole:
                raise Violation("I3", f"the batch of {batch[0]} is stored at {stored}")


def _one_behind_the_other(first: Place | None, count: int) -> list[Place | None]:
    if first is None:
        return [None] * count
    broker, topic, queue_id, offset = first
    return [(broker, topic, queue_id, offset + index) for index in range(count)]
