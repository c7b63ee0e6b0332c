"""Held pulls: woken by what they wait for, expired in time, dropped with their connection."""

import itertools

import trio
from trio.testing import MockClock

from broker_trio.broker.held_pulls import Held, HeldPulls, wants
from broker_trio.remoting.dispatch import Request, Response
from broker_trio.store.entry import Entry
from broker_trio.wire.command import Command


class TrioClock:
    """Virtual time as a Clock."""

    def wall_ms(self):
        return int(trio.current_time() * 1000)

    def monotonic(self):
        return trio.current_time()


class FakeSession:
    """A connection that records what it was answered."""

    ids = itertools.count(1)

    def __init__(self):
        self.id = next(self.ids)
        self.peer_address = "127.0.0.1:5"
        self.closed = self.parked_full = False
        self.answers = []

    def request(self):
        return Request(self, Command(11), 0.0, lambda _, response: self.answers.append(response))


def entry(topic="T", queue_id=0, queue_offset=0, tags_code=0):
    return Entry(topic, queue_id, queue_offset, 1000, 100, tags_code, 1, 0, b"")


def hold(table, session, *, offset=0, codes=None, seconds=10.0, queue_id=0, found="FOUND"):
    held = Held(
        session.request(), "T", queue_id, offset, codes, trio.current_time() + seconds,
        lambda: Response(0, found),
    )  # fmt: skip
    table.hold(held)
    return held


async def test_an_arrival_answers_the_pull_that_waits_for_it():
    """The pull is answered inside the call that tells of the arrival: no tick, no task between."""
    table, session = HeldPulls(TrioClock(), 10), FakeSession()
    hold(table, session)
    table.arrived([entry()])
    assert [response.remark for response in session.answers] == ["FOUND"]
    assert table.count == 0


async def test_other_queues_tags_and_older_messages_do_not_wake():
    """A pull stays held until something that it asked for arrives."""
    table, session = HeldPulls(TrioClock(), 10), FakeSession()
    hold(table, session, offset=5, codes=frozenset({7}))
    table.arrived(
        [entry(queue_id=1, queue_offset=5, tags_code=7), entry(queue_offset=5, tags_code=8)]
    )
    table.arrived(
        [entry(queue_offset=4, tags_code=7), entry(topic="U", queue_offset=5, tags_code=7)]
    )
    assert session.answers == []
    table.arrived([entry(queue_offset=5, tags_code=7)])
    assert len(session.answers) == 1


async def test_a_deadline_answers_with_what_is_there(autojump_clock: MockClock):
    """At its deadline a pull runs once more and is answered, a sooner one first."""
    table, session = HeldPulls(TrioClock(), 10), FakeSession()
    async with trio.open_nursery() as nursery:
        await nursery.start(table.run)
        hold(table, session, seconds=20.0, found="late")
        hold(table, session, seconds=5.0, found="soon")
        await trio.sleep(4.9)
        assert session.answers == []
        await trio.sleep(0.2)
        assert [response.remark for response in session.answers] == ["soon"]
        await trio.sleep(15)
        assert [response.remark for response in session.answers] == ["soon", "late"]
        nursery.cancel_scope.cancel()


async def test_a_closed_connection_takes_its_pulls_along():
    """Only the pulls of the connection that ended are dropped, and nobody is answered."""
    table, gone, stays = HeldPulls(TrioClock(), 10), FakeSession(), FakeSession()
    hold(table, gone)
    hold(table, stays)
    table.session_closed(gone)
    table.arrived([entry()])
    assert (len(gone.answers), len(stays.answers), table.count) == (0, 1, 0)


async def test_stopping_answers_everybody():
    """wake_all answers each held pull once, whatever it waits for."""
    table, session = HeldPulls(TrioClock(), 10), FakeSession()
    for queue_id in range(3):
        hold(table, session, queue_id=queue_id)
    table.wake_all()
    assert len(session.answers) == 3
    assert table.count == 0


async def test_a_cold_answer_is_finished_by_a_task(autojump_clock: MockClock):
    """A woken pull whose messages must come from the device is answered when they did."""
    table, session = HeldPulls(TrioClock(), 10), FakeSession()

    async def cold():
        await trio.sleep(1)
        return Response(0, "cold")

    async with trio.open_nursery() as nursery:
        await nursery.start(table.run)
        table.hold(Held(session.request(), "T", 0, 0, None, 100.0, lambda: cold))
        table.arrived([entry()])
        await trio.sleep(0.5)
        assert session.answers == []
        await trio.sleep(1)
        assert [response.remark for response in session.answers] == ["cold"]
        nursery.cancel_scope.cancel()


def test_no_tags_means_any():
    """Codes None takes every tag; a set takes its members only."""
    session = FakeSession()
    any_tag = Held(session.request(), "T", 0, 0, None, 0.0, Response)
    some = Held(session.request(), "T", 0, 0, frozenset({3}), 0.0, Response)
    assert wants(any_tag, entry(tags_code=9))
    assert [wants(some, entry(tags_code=code)) for code in (3, 4)] == [True, False]
