"""A held queue: the offset that may be committed never passes an unresolved message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_trio.client.process_queue import PULL_MAX, Limits, ProcessQueue, Stage
from broker_trio.model.message import MessageExt
from broker_trio.model.route import MessageQueue

QUEUE = MessageQueue("t", "b", 0)


def message(offset: int, size: int = 100) -> MessageExt:
    return MessageExt(topic="t", queue_id=0, queue_offset=offset, physical_offset=0, size=size)


def filled(*offsets: int, ordered: bool = False) -> ProcessQueue:
    held = ProcessQueue(QUEUE, offsets[0], ordered=ordered)
    assert held.arrived(map(message, offsets), offsets[-1] + 1) == len(offsets)
    return held


def taken(held: ProcessQueue, now: float = 0.0) -> int | None:
    found = held.take(now)
    return None if found is None else found.message.queue_offset


def test_the_smallest_unresolved_offset_is_what_may_be_committed() -> None:
    """Later messages that are done wait for the earlier one that is not."""
    held = filled(3, 4, 5)
    assert [taken(held) for _ in range(4)] == [3, 4, 5, None]
    assert held.resolve(4)
    assert held.commit_offset == 3
    assert held.resolve(3)
    assert held.commit_offset == 5
    assert held.resolve(5)
    assert held.commit_offset == held.next_offset == 6
    assert not held.resolve(5), "twice"
    assert (len(held), held.size, held.resolved) == (0, 0, 3)


def test_what_was_filtered_away_counts_as_resolved() -> None:
    """An answer without messages for us moves the commit offset on."""
    held = ProcessQueue(QUEUE, 3)
    assert held.arrived([], 40) == 0
    assert held.commit_offset == 40
    held.arrived([message(45)], 60)
    assert (held.commit_offset, held.next_offset) == (45, 60)


def test_an_answer_that_comes_twice_adds_nothing() -> None:
    """A pull that was given up and asked again may be answered with the same messages."""
    held = filled(3, 4)
    assert held.arrived([message(3), message(4), message(5)], 6) == 1
    assert [taken(held) for _ in range(4)] == [3, 4, 5, None]


def test_a_failed_message_stays_unresolved_until_the_broker_has_it() -> None:
    """Returning: it is neither handed out again nor passed by the commit offset."""
    held = filled(3, 4)
    assert taken(held) == 3
    returning = held.give_back(3)
    assert returning is not None
    assert (returning.stage, returning.failed, held.handed) == (Stage.RETURNING, 1, 0)
    assert held.give_back(3) is None, "once is enough"
    assert taken(held) == 4
    assert held.resolve(4)
    assert held.commit_offset == 3
    assert held.resolve(3)
    assert held.commit_offset == 5


def test_an_ordered_queue_hands_out_one_at_a_time() -> None:
    """The next follows only a resolved one; a failed one comes again first, after its rest."""
    held = filled(3, 4, ordered=True)
    assert (taken(held), taken(held)) == (3, None)
    assert held.put_back(3, resume=7.0)
    assert (taken(held, 6.9), taken(held, 7.0)) == (None, 3)
    held.give_back(3)
    assert taken(held, 8.0) is None, "not before the dead letters have it"
    held.resolve(3)
    assert taken(held, 8.0) == 4


@pytest.mark.parametrize("put", [True, False])
def test_outcomes_of_what_is_not_handed_out_are_ignored(put: bool) -> None:
    """A handler that comes back after its time was over changes nothing."""
    held = filled(3)
    assert (held.put_back(3, 0.0) if put else held.give_back(3)) in (False, None)
    assert taken(held) == 3


def test_room_ends_at_each_limit() -> None:
    """Messages, bytes, and the span behind one that hangs."""
    held = filled(0, 1, 2)
    assert held.room(Limits(10, 1_000, 100)) == 7
    assert held.room(Limits(100, 1_000, 100)) == PULL_MAX
    assert held.room(Limits(3, 1_000, 100)) == 0
    assert held.room(Limits(10, 300, 100)) == 0
    assert held.room(Limits(10, 1_000, 3)) == 0
    assert Limits(10, 1_000, 5).shared(3) == (3, 333, 5)
    assert Limits(2, 1, 5).shared(9) == (1, 1, 5)


def test_overdue_messages_are_those_still_out() -> None:
    """Handed out before the given time, unresolved, not returning."""
    held = filled(0, 1, 2)
    for now in (1.0, 2.0, 3.0):
        held.take(now)
    held.resolve(0)
    assert [each.message.queue_offset for each in held.overdue(2.5)] == [1]


def test_a_dropped_queue_gives_nothing_and_keeps_its_place() -> None:
    """What may be committed at the end is the first message that was not resolved."""
    held = filled(3, 4, 5)
    assert taken(held) == 3
    held.resolve(3)
    held.drop()
    assert (taken(held), held.commit_offset) == (None, 4)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["pull", "skip", "take", "done", "back"]), st.integers(0, 9)),
        max_size=80,
    ),
    ordered=st.booleans(),
)
def test_commit_offset_against_a_model(steps: list[tuple[str, int]], ordered: bool) -> None:
    """It only grows, nothing unresolved lies below it, and hand-outs are in order when asked."""
    held, unresolved, out, last = ProcessQueue(QUEUE, 0, ordered=ordered), set(), [], 0
    for step, number in steps:
        if step == "pull":
            new = range(held.next_offset, held.next_offset + number)
            held.arrived(map(message, new), new.stop)
            unresolved |= set(new)
        elif step == "skip":
            held.arrived([], held.next_offset + number)
        elif step == "take" and (offset := taken(held)) is not None:
            assert not ordered or offset == min(unresolved)
            out.append(offset)
        elif step == "done" and out:
            offset = out.pop(number % len(out))
            assert held.resolve(offset)
            unresolved.discard(offset)
        elif step == "back" and out:
            assert held.put_back(out.pop(number % len(out)), 0.0)
        assert held.commit_offset == min(unresolved, default=held.next_offset) >= last
        assert len(held) == len(unresolved)
        assert held.handed == len(out)
        assert held.size == 100 * len(unresolved)
        last = held.commit_offset
