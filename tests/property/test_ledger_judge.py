"""The judge over random drills: sound ones pass, and each planted fault is found, alone and exact.

A drill is made by a model broker: queues that grow, tasks that send one message at a time, outcomes
by lot. What is planted is known, so the counts are compared and not only the verdict.
"""

import random
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from broker_trio.ops.ledger.judge import judge
from broker_trio.ops.ledger.records import Found, Outcome
from broker_trio.ops.ledger.report import Report
from tests.unit.ops.ledgers import Drill, evidence_of

QUEUES = 3


def drawn(chance: random.Random, count: int, tasks: int) -> Drill:
    """A sound drill: a queue's offsets are given out while their messages are in flight."""
    drill, clock, ends = Drill(), 1.0, [0] * QUEUES
    in_flight: list[tuple[int, str, int, int]] = []
    for n in range(1, count + 1):
        clock += 0.1
        drill.attempt(n, at=clock)
        how = chance.choices(("ok", "fail", "unknown", "unknown, stored"), (8, 1, 1, 1))[0]
        queue, offset = chance.randrange(QUEUES), -1
        if how in {"ok", "unknown, stored"}:
            offset = ends[queue]
            ends[queue] += 1
            drill.lies(n, queue, offset)
        in_flight.append((n, how, queue, offset))
        while len(in_flight) >= tasks or (in_flight and n == count):
            clock += 0.1
            m, how, queue, offset = in_flight.pop(chance.randrange(len(in_flight)))
            if how == "ok":
                drill.ends(m, "ok", queue, offset, at=clock)
            elif how == "fail":
                drill.ends(m, "fail", at=clock)
            elif chance.random() < 0.7:  # else its writer never told
                drill.ends(m, "unknown", at=clock)
    for queue in range(QUEUES):
        drill.read_queue(queue, ends[queue] + 10)
    return drill


drills = st.builds(
    drawn, st.randoms(use_true_random=False), st.integers(20, 120), st.integers(1, 6)
)


def acknowledged(drill: Drill) -> list[Outcome]:
    return [o for o in drill.sent if isinstance(o, Outcome) and o.how == "ok"]


def broken(report: Report) -> dict[str, int]:
    return {name: found.count for name, found in report.broken() if found.count}


@settings(max_examples=50, deadline=None)
@given(drills)
def test_a_sound_drill_passes_in_any_order_of_its_files(drill: Drill) -> None:
    """And what it counts adds up."""
    files = drill.writing(), drill.reading()
    report = judge(evidence_of(*files))
    assert (broken(report), report.not_judged.count) == ({}, 0)
    assert report.verdict == ("pass" if report.acknowledged else "inconclusive")
    assert report.attempts == report.acknowledged + report.failed + report.unknown
    assert report.read_back == report.acknowledged + report.unknown_stored
    assert judge(evidence_of(*reversed(files))) == report


def lose(drill: Drill, chance: random.Random) -> dict[str, int]:
    victims = chance.sample(acknowledged(drill), k=min(3, len(acknowledged(drill))))
    gone = {victim.n for victim in victims}
    drill.found = [f for f in drill.found if isinstance(f, Found) and f.n not in gone]
    return {"lost": len(gone)} if gone else {}


def duplicate(drill: Drill, chance: random.Random) -> dict[str, int]:
    victims = chance.sample(drill.found, k=min(2, len(drill.found)))
    for number, found in enumerate(victims):
        assert isinstance(found, Found)
        drill.lies(found.n, found.queue, drill.queues[found.queue].high - 1 - number)
    return {"duplicated": len(victims)} if victims else {}


def invent(drill: Drill, chance: random.Random) -> dict[str, int]:
    drill.lies(10_000 + chance.randrange(9), 0, drill.queues[0].high - 1)
    return {"never sent": 1}


def damage(drill: Drill, chance: random.Random) -> dict[str, int]:
    drill.damaged(chance.randrange(QUEUES), 10_000)
    return {"damaged": 1}


def store_refused(drill: Drill, chance: random.Random) -> dict[str, int]:
    refused = [o for o in drill.sent if isinstance(o, Outcome) and o.how == "fail"]
    if not refused:
        return {}
    drill.lies(chance.choice(refused).n, 1, drill.queues[1].high - 1)
    return {"stored though refused": 1}


PLANTS: list[Callable[[Drill, random.Random], dict[str, int]]] = [
    lose, duplicate, invent, damage, store_refused,
]  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(drills, st.sampled_from(PLANTS), st.randoms(use_true_random=False))
def test_a_planted_fault_is_found_and_nothing_else(
    drill: Drill, plant: Callable[[Drill, random.Random], dict[str, int]], chance: random.Random
) -> None:
    """Exactly as many as were planted, under exactly that name."""
    expected = plant(drill, chance)
    report = drill.report()
    assert broken(report) == expected
    if expected:
        assert report.verdict == "fail"


@settings(max_examples=50, deadline=None)
@given(drills, st.randoms(use_true_random=False))
def test_swapped_neighbours_are_out_of_order_exactly_if_one_was_acknowledged_first(
    drill: Drill, chance: random.Random
) -> None:
    """Two messages of a queue change places: a fault if the first had ended before the second."""
    attempts = {a.n: a.t for a in drill.sent if not isinstance(a, Outcome)}
    ends = {o.n: (o.t, o.how) for o in drill.sent if isinstance(o, Outcome)}
    queue = chance.randrange(QUEUES)
    line = sorted(
        (f for f in drill.found if isinstance(f, Found) and f.queue == queue),
        key=lambda found: found.offset,
    )
    if len(line) < 2:
        return
    at = chance.randrange(len(line) - 1)
    first, second = line[at], line[at + 1]
    drill.found = [f for f in drill.found if f not in {first, second}]
    drill.lies(first.n, queue, second.offset)
    drill.lies(second.n, queue, first.offset)
    ended, how = ends.get(first.n, (0.0, "unknown"))
    expected = int(how == "ok" and ended < attempts[second.n])
    assert drill.report().out_of_order.count == expected
