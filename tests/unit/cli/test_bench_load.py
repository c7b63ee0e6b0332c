"""The loads of a bench, in virtual time against a sender made by hand."""

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from broker_trio.cli.bench.load import (
    Consuming,
    Delivering,
    Plan,
    Producing,
    Stamp,
    stamp_of,
    stamped,
)
from broker_trio.cli.bench.meter import Meter
from broker_trio.client.errors import BrokerRefused, NoAnswer


def producing(plan: Plan, took_s: float = 0.01, stall: tuple[float, float] = (0, 0)) -> Producing:
    """Sends take `took_s`; those that begin in the stall last until its end."""
    begun = trio.current_time()

    async def send(body: bytes) -> None:
        at = trio.current_time() - begun
        await trio.sleep(max(took_s, stall[1] - at if stall[0] <= at < stall[1] else 0.0))

    meter = Meter(begun, plan.warm_up_s)
    return Producing(send, plan, meter, lambda _sent, _due: b"." * plan.size)


async def test_a_load_without_a_rate_goes_as_fast_as_it_is_answered(
    autojump_clock: MockClock,
) -> None:
    """10 tasks, 10 ms each: 1,000 a second; the warm-up is not among them."""
    load = producing(Plan(tasks=10, seconds=2.0, warm_up_s=1.0))
    await load.run()
    meter = load.meter
    assert meter.messages == pytest.approx(2_000, abs=20)
    assert meter.warm_messages == pytest.approx(1_000, abs=20)
    assert meter.service.milliseconds()["p99"] == pytest.approx(10, rel=0.01)
    assert meter.bytes == meter.messages * 128
    assert load.missed == 0


async def test_a_rate_is_kept(autojump_clock: MockClock) -> None:
    """And a count ends it."""
    load = producing(Plan(tasks=10, rate=100, seconds=None, count=300, warm_up_s=0.0))
    begun = trio.current_time()
    await load.run()
    assert load.meter.messages == 300
    assert trio.current_time() - begun == pytest.approx(3.0, abs=0.05)


async def test_a_stall_is_seen_by_everyone_who_was_due(autojump_clock: MockClock) -> None:
    """One second of ten without an answer: from sent it is rare, from due a tenth waited."""
    load = producing(
        Plan(tasks=4, rate=100, seconds=10.0, warm_up_s=0.0), took_s=0.001, stall=(5.0, 6.0)
    )
    await load.run()
    sent, due = load.meter.service.milliseconds(), load.meter.due.milliseconds()
    assert sent["p99"] < 2
    assert due["p99"] == pytest.approx(900, rel=0.05)
    assert load.meter.messages == pytest.approx(1_000, abs=2)


async def test_messages_that_never_left_are_told(autojump_clock: MockClock) -> None:
    """A rate beyond what is answered: the rest was due and not sent."""
    load = producing(Plan(tasks=1, rate=100, seconds=10.0, warm_up_s=0.0), took_s=0.1)
    await load.run()
    assert load.meter.messages == pytest.approx(100, abs=2)
    assert load.missed == pytest.approx(900, abs=5)


async def test_a_closed_loop_is_corrected_by_what_was_expected(autojump_clock: MockClock) -> None:
    """Without a rate the correction is HDR's."""
    plan = Plan(tasks=1, seconds=10.0, warm_up_s=0.0, expected_s=0.01)
    load = producing(plan, took_s=0.01, stall=(5.0, 6.0))
    await load.run()
    assert load.meter.service.milliseconds()["p99"] == pytest.approx(10, rel=0.01)
    assert load.meter.due.milliseconds()["p99"] == pytest.approx(900, rel=0.05)


async def test_batches_count_their_messages(autojump_clock: MockClock) -> None:
    """The rate is one of messages too."""
    load = producing(Plan(tasks=4, rate=1_000, batch=10, seconds=2.0, warm_up_s=0.0))
    await load.run()
    assert load.meter.messages == pytest.approx(2_000, abs=20)
    assert load.meter.bytes == load.meter.messages * 128


async def test_errors_are_counted_by_cause_and_do_not_spin(autojump_clock: MockClock) -> None:
    """A broker that refuses at once is asked 20 times a second by each task."""
    answers = [BrokerRefused("b", 2, "busy"), NoAnswer("b", "silent")]

    async def send(body: bytes) -> None:
        await trio.lowlevel.checkpoint()
        answers.reverse()
        raise answers[0]

    meter = Meter(trio.current_time())
    load = Producing(send, Plan(tasks=2, seconds=1.0, warm_up_s=0.0), meter, lambda *_: b"x")
    await load.run()
    assert set(meter.errors) == {"SYSTEM_BUSY", "no answer"}
    assert 38 <= meter.failures <= 42


async def test_a_consumer_is_done_when_nothing_comes_any_more(autojump_clock: MockClock) -> None:
    """Neither joining nor waiting for the end counts as consuming."""
    consuming = Consuming(Meter(trio.current_time()), count=None, idle_s=2.0)

    async def deliver() -> None:
        await trio.sleep(1.5)
        for _ in range(100):
            consuming.arrived(10, 0.5)
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver)
        await consuming.wait(None)
    meter = consuming.meter
    assert meter.ended is not None
    assert (meter.messages, meter.seconds(meter.ended)) == (100, pytest.approx(0.99))


async def test_a_consumer_stops_at_a_count_and_at_a_time(autojump_clock: MockClock) -> None:
    """Whichever comes first; an empty topic ends as well."""
    counted = Consuming(Meter(trio.current_time()), count=5, idle_s=None)
    for _ in range(5):
        counted.arrived(10, 0.0)
    await counted.wait(None)
    begun = trio.current_time()
    await Consuming(Meter(begun), count=None, idle_s=None).wait(3.0)
    assert trio.current_time() - begun == pytest.approx(3.0)
    await Consuming(Meter(trio.current_time()), count=None, idle_s=2.0).wait(None)
    assert trio.current_time() - begun == pytest.approx(5.0)


async def test_deliveries_belong_to_the_second_in_which_they_were_due(
    autojump_clock: MockClock,
) -> None:
    """The slow ones of the end count although the end is over; other runs do not."""
    meter = Meter(trio.current_time(), 1.0)
    begun = meter.begin
    delivering = Delivering("run1", meter)
    await trio.sleep(4.0)
    meter.ended = begun + 3.0
    for due in (0.5, 1.5, 2.9, 3.1):
        delivering.arrived(stamped(Stamp("run1", begun + due + 0.1, begun + due), 64))
    delivering.arrived(stamped(Stamp("run2", begun, begun), 64))
    delivering.arrived(b"an order")
    assert (delivering.delivered, meter.messages) == (4, 2)
    assert meter.due.milliseconds()["max"] == pytest.approx(2_500, rel=0.01)
    assert meter.service.milliseconds()["max"] == pytest.approx(2_400, rel=0.01)
    await delivering.settle(4)
    before = trio.current_time()
    await delivering.settle(5)
    assert trio.current_time() - before == pytest.approx(5.0)


def test_stamps_come_back() -> None:
    """Whatever the size; what is none is None."""
    stamp = Stamp("run1", 12.5, 12.25)
    assert stamp_of(stamped(stamp, 200), "run1") == stamp
    assert stamp_of(stamped(stamp, 200), "run2") is None
    assert stamp_of(b"run1 x y z", "run1") is None
    assert stamp_of(b"", "run1") is None
