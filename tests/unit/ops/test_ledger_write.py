"""Writing a ledger, in virtual time against a sender made by hand."""

import random
from collections.abc import Awaitable, Callable, Collection

import pytest
import trio
from trio.testing import MockClock

from broker_trio.ops.ledger.evidence import Evidence, Writer
from broker_trio.ops.ledger.file import load, open_ledger
from broker_trio.ops.ledger.judge import judge
from broker_trio.ops.ledger.payload import Numbered, parse_body
from broker_trio.ops.ledger.report import Demands
from broker_trio.ops.ledger.write import LedgerWriter, Plan, Sent
from broker_trio.ops.pace import Pace
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_disk import SimDisk

from .ledgers import W1

OK = Sent("ok", "broker-a", 0, 0, "disk")
Sender = Callable[[bytes, str], Awaitable[Sent]]


def disk_of(seed: int = 1) -> SimDisk:
    return SimDisk(random.Random(seed))


async def write(
    disk: SimDisk, send: Sender, plan: Plan, *, stop_after: float | None = None
) -> LedgerWriter:
    file = await open_ledger(disk, "w.cbor")
    writer = LedgerWriter(file, send, SimClock(), W1, plan)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        if stop_after is not None:
            await trio.sleep(stop_after)
            writer.stop("SIGTERM")
    file.close()
    return writer


def told(disk: SimDisk) -> Writer:
    evidence = Evidence()
    load(disk, "w.cbor", evidence)
    return evidence.writers[W1]


async def test_each_message_is_on_record_before_and_after(autojump_clock: MockClock) -> None:
    """The attempt's record is in the file while its send runs; the outcome only then follows."""
    disk, seen = disk_of(), []

    async def send(body: bytes, key: str) -> Sent:
        await trio.sleep(0.01)
        now = told(disk)
        n = len(seen) + 1
        seen.append(parse_body(body, [key]))
        assert (n in now.attempts, n in now.outcomes) == (True, False)
        return OK._replace(offset=n)

    writer = await write(disk, send, Plan(topic="orders", rate=10, tasks=1, count=5))
    assert seen == [Numbered(W1, n) for n in range(1, 6)]
    found = told(disk)
    assert [o.offset for o in found.outcomes.values()] == [1, 2, 3, 4, 5]
    assert found.heading.rate == 10
    assert found.ended is not None
    assert found.ended.why == "done"
    assert (writer.tally.ok, writer.tally.attempts) == (5, 5)


async def test_the_rate_is_kept_and_the_time_as_well(autojump_clock: MockClock) -> None:
    """100 a second for two seconds are 200, by however many tasks."""

    async def send(body: bytes, key: str) -> Sent:
        await trio.sleep(0.02)
        return OK

    disk = disk_of()
    begun = trio.current_time()
    writer = await write(disk, send, Plan(topic="orders", rate=100, tasks=8, seconds=2.0))
    assert writer.tally.attempts == 200
    assert trio.current_time() - begun == pytest.approx(2.0, abs=0.1)


async def test_no_more_is_in_flight_than_there_are_tasks(autojump_clock: MockClock) -> None:
    """Also without a rate, and the count is exact."""
    flying, most = 0, 0

    async def send(body: bytes, key: str) -> Sent:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await trio.sleep(0.01)
        flying -= 1
        return OK

    writer = await write(disk_of(), send, Plan(topic="orders", rate=0, tasks=7, count=50))
    assert (most, writer.tally.attempts) == (7, 50)


async def test_a_stop_waits_for_what_is_in_flight(autojump_clock: MockClock) -> None:
    """No attempt stays without its outcome, and the ledger says why it ended."""

    async def send(body: bytes, key: str) -> Sent:
        await trio.sleep(0.4)
        return OK

    disk = disk_of()
    await write(disk, send, Plan(topic="orders", rate=50, tasks=8), stop_after=1.0)
    found = told(disk)
    assert found.attempts.keys() == found.outcomes.keys()
    assert found.ended is not None
    assert found.ended.why == "SIGTERM"


async def test_whoever_is_killed_leaves_attempts_of_unknown_outcome(
    autojump_clock: MockClock,
) -> None:
    """The files up to the kill are read, and the judge counts what was in flight as unknown."""

    async def send(body: bytes, key: str) -> Sent:
        await trio.sleep(0.4)
        return OK

    disk = disk_of()
    file = await open_ledger(disk, "w.cbor")
    writer = LedgerWriter(file, send, SimClock(), W1, Plan(topic="orders", rate=50, tasks=8))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        await trio.sleep(1.0)
        disk.crash(power=False)  # every later write of this process is dead
        nursery.cancel_scope.cancel()
    disk.restart()
    evidence = Evidence()
    load(disk, "w.cbor", evidence)
    found = evidence.writers[W1]
    assert found.ended is None
    assert len(found.attempts.keys() - found.outcomes.keys()) == 8
    report = judge(evidence)
    assert (report.unknown, report.causes) == (8, {"the writer ended first": 8})


@pytest.mark.parametrize("seed", range(8))
async def test_after_a_power_cut_the_ledger_is_short_and_never_wrong(
    autojump_clock: MockClock, seed: int
) -> None:
    """Records of a second ago and older are there; what the cut tore is not taken for any."""

    async def send(body: bytes, key: str) -> Sent:
        await trio.sleep(0.01)
        return OK

    disk = disk_of(seed)
    file = await open_ledger(disk, "w.cbor")
    writer = LedgerWriter(file, send, SimClock(), W1, Plan(topic="orders", rate=100, tasks=4))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        await trio.sleep(3.6)
        disk.crash(power=True)
        nursery.cancel_scope.cancel()
    disk.restart()
    found = told(disk)
    assert 240 <= len(found.attempts) <= 362
    assert sorted(found.attempts) == list(range(1, len(found.attempts) + 1))


async def test_what_cannot_be_put_on_record_is_not_sent(autojump_clock: MockClock) -> None:
    """A full disk ends the run by its error."""
    sent = 0

    async def send(body: bytes, key: str) -> Sent:
        nonlocal sent
        sent += 1
        return OK

    disk = disk_of()
    disk.capacity_bytes = 8_192
    with pytest.RaisesGroup(pytest.RaisesGroup(OSError, flatten_subgroups=True)):
        await write(disk, send, Plan(topic="orders", rate=100, tasks=1))
    assert sent == len(told(disk).attempts)


async def test_failures_are_counted_by_cause(autojump_clock: MockClock) -> None:
    """And the longest gap grows while nothing is acknowledged."""
    answers = [OK, Sent("fail", cause="SYSTEM_BUSY", why="busy " * 200), Sent("unknown", cause="x")]

    async def send(body: bytes, key: str) -> Sent:
        await trio.sleep(0.001)
        n = int(key.rpartition("-")[2])
        return answers[0] if n in {1, 10} else answers[1 + n % 2]

    disk = disk_of()
    writer = await write(disk, send, Plan(topic="orders", rate=10, tasks=1, count=10))
    tally = writer.tally
    assert (tally.ok, tally.fail, tally.unknown) == (2, 4, 4)
    assert tally.causes == {"SYSTEM_BUSY": 4, "x": 4}
    assert tally.longest_gap_s == pytest.approx(0.9, abs=0.01)
    assert max(len(o.why) for o in told(disk).outcomes.values()) == 512


def test_turns_that_are_skipped_or_caught_up() -> None:
    """After a stall of one second at 10 a second."""
    skips, keeps = Pace(10, 0.0, catch_up=False), Pace(10, 0.0, catch_up=True)
    for pace in (skips, keeps):
        assert [pace.take(0.0), pace.take(0.0)] == [0.0, pytest.approx(0.1)]
    assert keeps.missed(1.2) == 10
    assert [keeps.take(1.2), keeps.take(1.2)] == [pytest.approx(0.2), pytest.approx(0.3)]
    assert [skips.take(1.2), skips.take(1.2)] == [1.2, pytest.approx(1.3)]
    assert Pace(0, 0.0, catch_up=True).take(7.0) == 7.0
    assert Pace(0, 0.0, catch_up=True).missed(7.0) == 0


async def test_the_longest_gap_is_the_one_that_the_judge_finds(autojump_clock: MockClock) -> None:
    """One definition: from the first attempt, between acknowledgements, and to the end."""
    for good in (range(30, 60), range(10), (*range(5), *range(45, 60))):
        disk, sent = disk_of(), 0

        async def send(_body: bytes, _key: str, good: Collection[int] = good) -> Sent:
            nonlocal sent
            await trio.sleep(0.03)
            sent += 1
            return OK._replace(offset=sent) if sent in good else Sent("fail", cause="refused")

        writer = await write(disk, send, Plan(topic="t", rate=10.0, tasks=1, count=60))
        evidence = Evidence()
        load(disk, "w.cbor", evidence)
        assert writer.tally.longest_gap_s == judge(evidence, Demands()).rto_s
        assert writer.tally.longest_gap_s > 2.9
