"""Each checker alone, on records made by hand: the sound one passes, the broken one does not."""

from dataclasses import replace

import pytest

from broker_trio.testing.checkers.acknowledged import AcknowledgedIsReadable, RefusedIsNotStored
from broker_trio.testing.checkers.consumers import (
    EverybodyGotEverything,
    HeldPullsAnswered,
    NeverEarly,
    OffsetsInsideQueue,
)
from broker_trio.testing.checkers.contents import (
    BatchesAreWhole,
    InProducersOrder,
    OneOffsetOneMessage,
    OnlyWhatWasSent,
    StoredOnce,
)
from broker_trio.testing.checkers.retries import RetriesComeBack
from broker_trio.testing.checkers.verdict import Checker, Violation, judge
from broker_trio.testing.cluster.history import (
    Back,
    Got,
    History,
    Life,
    Outcome,
    Placed,
    Sent,
    Stood,
)
from broker_trio.testing.sim_clock import START_MS

Q = ("b", "t", 0)


def sent(number: int, **changes: object) -> Sent:
    """Attempt number n at n seconds, acknowledged a hundredth later, at offset n − 1."""
    made = Sent(
        "p", number, "t", b"m%d" % number, float(number), 0, Outcome.ACKED, number + 0.01,
        "b", 0, number - 1, "disk",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def got(number: int, at: float, *, offset: int | None = None, body: bytes | None = None) -> Got:
    body = b"m%d" % number if body is None else body
    offset = number - 1 if offset is None else offset
    return Got("c", *Q, offset, 100 * number, body, at, START_MS + number * 1000, 0)


def placed(number: int, *, offset: int | None = None, body: bytes | None = None) -> Placed:
    body = b"m%d" % number if body is None else body
    return Placed(*Q, number - 1 if offset is None else offset, body, 0, 0, {})


def three() -> History:
    """Three messages sent, read at once, and in the queue."""
    history = History()
    history.lives["b"] = Life()
    for number in (1, 2, 3):
        history.sent.append(sent(number))
        history.got.append(got(number, number + 0.02))
        history.placed.append(placed(number))
    history.began[Q], history.ended[Q] = 0, 3
    history.stood.append(Stood("g", *Q, 3, 3, 4.0))
    return history


def power(history: History, *times: float) -> History:
    for at in times:
        history.lives["b"].add("power", at)
        history.lives["b"].add("ready", at + 0.1)
    return history


ALL: list[Checker] = [
    AcknowledgedIsReadable(),
    RefusedIsNotStored(),
    OnlyWhatWasSent(),
    StoredOnce(),
    BatchesAreWhole(),
    OneOffsetOneMessage(sync=True),
    InProducersOrder(),
    OffsetsInsideQueue(),
    EverybodyGotEverything(["c"]),
    NeverEarly(),
    HeldPullsAnswered(),
]


def broken(history: History, checker: Checker) -> str:
    """The invariant that the checker finds broken; none of its words matter here."""
    with pytest.raises(Violation) as caught:
        checker.check(history)
    return caught.value.invariant


def test_sound_record_passes() -> None:
    """And the verdict counts it."""
    verdict = judge(three(), ALL)
    assert (verdict.sent, verdict.acked, verdict.delivered, verdict.stored) == (3, 3, 3, 3)


def test_acknowledged_message_that_is_gone() -> None:
    """Durability "disk" survives a power loss, "memory" only what the flusher had time for."""
    history = three()
    del history.placed[2]
    assert broken(history, AcknowledgedIsReadable()) == "I1"
    assert broken(power(history, 3.2), AcknowledgedIsReadable()) == "I1"
    history.sent[2].durability = "memory"
    AcknowledgedIsReadable().check(history)
    history.lives["b"] = Life()
    assert broken(power(history, 3.8), AcknowledgedIsReadable()) == "I1"


def test_kill_keeps_what_the_next_start_makes_durable() -> None:
    """A kill costs nothing by itself; the power may still take it until the broker is ready."""
    history = three()
    del history.placed[2]
    history.sent[2].durability = "memory"
    life = history.lives["b"]
    life.add("kill", 3.1)
    assert broken(history, AcknowledgedIsReadable()) == "I1"
    life.add("power", 9.0)
    life.add("ready", 9.5)
    AcknowledgedIsReadable().check(history)


def test_acknowledged_message_at_another_place() -> None:
    """The answer named the queue and the offset."""
    history = three()
    history.sent[0].queue_offset = 5
    assert broken(history, AcknowledgedIsReadable()) == "I1"


def test_expired_message_may_be_gone() -> None:
    """Only where a scenario lets the broker delete, and only below the queue's first offset."""
    history = three()
    del history.placed[0]
    history.began[Q] = 1
    AcknowledgedIsReadable(expires=True).check(history)
    assert broken(history, AcknowledgedIsReadable()) == "I1"


def test_refused_message_that_is_stored() -> None:
    """The producer sends it again, and there are two."""
    history = three()
    history.sent[1].outcome = Outcome.REFUSED
    assert broken(history, RefusedIsNotStored()) == "I20"


def test_bytes_that_nobody_sent() -> None:
    """In a delivery or in the store; and a delivery before the send."""
    for change in (got(4, 5.0, body=b"x"), placed(4, body=b"x"), got(1, 0.5)):
        history = three()
        where: list[object] = history.got if isinstance(change, Got) else history.placed  # type: ignore[assignment]
        where.append(change)
        assert broken(history, OnlyWhatWasSent()) == "I2"


def test_message_in_another_topic() -> None:
    """Retry topics hold copies, others do not."""
    history = three()
    history.placed.append(placed(1)._replace(topic="other"))
    assert broken(history, OnlyWhatWasSent()) == "I2"
    history.placed[-1] = placed(1)._replace(topic="%RETRY%g")
    OnlyWhatWasSent().check(history)


def test_message_that_is_stored_twice() -> None:
    """Delayed messages are delivered at least once, others exactly."""
    history = three()
    history.placed.append(placed(1, offset=3))
    assert broken(history, StoredOnce()) == "I3"
    history.sent[0].delay_level = 1
    StoredOnce().check(history)


def test_batch_in_pieces() -> None:
    """All of it in one queue, or nothing; a crash soon after may leave the begin of it."""
    history = three()
    history.sent = [replace(one, batch=1) for one in history.sent]
    BatchesAreWhole().check(history)
    del history.placed[2]
    assert broken(history, BatchesAreWhole()) == "I3"
    power(history, 1.3)
    BatchesAreWhole().check(history)
    del history.placed[0]
    assert broken(history, BatchesAreWhole()) == "I3"


def test_hole_in_a_queue() -> None:
    """Offsets are dense from the first to the last."""
    history = three()
    del history.placed[1]
    assert broken(history, OneOffsetOneMessage()) == "I5"


def test_place_that_changes_its_message() -> None:
    """Never under SYNC_FLUSH; under ASYNC_FLUSH only by a power loss soon after."""
    history = three()
    history.sent.append(sent(4, outcome=Outcome.UNKNOWN))
    history.got.append(got(4, 2.5, offset=2))
    history.got[-1] = history.got[-1]._replace(store_ms=START_MS + 2_400)
    assert broken(history, OneOffsetOneMessage()) == "I5"
    power(history, 2.6)
    OneOffsetOneMessage().check(history)
    assert broken(history, OneOffsetOneMessage(sync=True)) == "I5"


def test_messages_out_of_order() -> None:
    """Of one producer in one queue; an unknown outcome may have come late."""
    history = three()
    history.placed[0], history.placed[1] = placed(2, offset=0), placed(1, offset=1)
    assert broken(history, InProducersOrder()) == "I6"
    history.sent[0].outcome = Outcome.UNKNOWN
    InProducersOrder().check(history)


def test_offset_beyond_the_end() -> None:
    """The group would skip what comes next."""
    history = three()
    history.stood.append(Stood("g", *Q, 4, 3, 5.0))
    assert broken(history, OffsetsInsideQueue()) == "I7"


def test_consumer_that_misses_a_message() -> None:
    """Never, or later than 30 s after the last fault."""
    history = three()
    missed = history.got.pop()
    assert broken(history, EverybodyGotEverything(["c"])) == "I19"
    history.got.append(missed._replace(at=40.0))
    assert broken(history, EverybodyGotEverything(["c"])) == "I19"
    history.healed_at = 20.0
    EverybodyGotEverything(["c"]).check(history)


def test_delayed_message_at_the_wrong_time() -> None:
    """Level 1 is one second; a second later is late."""
    history = three()
    history.sent[2].delay_level = 1
    assert broken(history, NeverEarly()) == "I12"
    history.got[2] = got(3, 5.5)
    assert broken(history, NeverEarly()) == "I12"
    NeverEarly(late_s=None).check(history)
    history.got[2] = got(3, 4.1)
    NeverEarly().check(history)


def test_held_pull_that_sleeps_on() -> None:
    """100 ms after the acknowledgement at the latest."""
    history = three()
    history.got[1] = got(2, 2.2)
    assert broken(history, HeldPullsAnswered()) == "I14"
    HeldPullsAnswered(since=2.5).check(history)


def retried(times: int, at: float, *, topic: str = "%RETRY%g") -> Got:
    return got(1, at)._replace(topic=topic, reconsume_times=times)


def test_message_that_is_not_retried() -> None:
    """Sent back at level 1, it comes after a second, once more than before."""
    history = three()
    history.backs.append(Back("c", "g", b"m1", 0, 1, 2.0, 2.1, accepted=True))
    checker = RetriesComeBack(2)
    assert broken(history, checker) == "I4"
    history.got.append(retried(1, 2.5))
    assert broken(history, checker) == "I12"
    history.got[-1] = retried(1, 5.0)
    assert broken(history, checker) == "I12"
    history.got[-1] = retried(1, 3.2)
    checker.check(history)


def test_dead_letters() -> None:
    """Who has used up the retries is there; nobody else is."""
    history = three()
    history.backs.append(Back("c", "g", b"m1", 2, 1, 2.0, 2.1, accepted=True))
    assert broken(history, RetriesComeBack(2)) == "I4"
    history.placed.append(placed(1)._replace(topic="%DLQ%g"))
    RetriesComeBack(2).check(history)
    history.placed.append(placed(2)._replace(topic="%DLQ%g"))
    assert broken(history, RetriesComeBack(2)) == "I4"
