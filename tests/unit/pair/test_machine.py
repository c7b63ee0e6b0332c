"""The replica machine by table: what each state of failover.md §4 may do, and what records say."""

from dataclasses import dataclass

import pytest

from broker_trio.broker.replication.machine import Machine, Timing, Wish
from broker_trio.broker.replication.state_file import at_start
from broker_trio.model.errors import Refused
from broker_trio.model.pair import (
    NO_EPOCH,
    Epoch,
    EpochStart,
    Kept,
    Record,
    Risk,
    cut_lines,
    with_line,
)

A, B, C = "a" * 32, "b" * 32, "c" * 32
E1 = Epoch(1, A)
WITNESSES = ("n1", "n2", "n3")
PAIR = Record(epoch=E1, members=(A, B), min=2, floor=E1, prev=NO_EPOCH, start=0)
ALONE = Record(epoch=Epoch(2, A), members=(A,), min=1, floor=Epoch(2, A), prev=E1, start=10)


def machine(store: str, settled: Record = PAIR, **kept: object) -> Machine:
    kept.setdefault("promised", settled.epoch)
    return Machine(Kept(store_id=store, settled=settled, **kept), Timing(), WITNESSES)


def owner(settled: Record = PAIR, now: float = 0.0) -> Machine:
    found = machine(A, settled)
    found.must_renew = False
    lease(found, now)
    return found


def lease(of: Machine, now: float) -> None:
    for witness in WITNESSES[:2]:
        of.witness_confirmed(witness, of.current.epoch, now, now)


def save(of: Machine, now: float = 0.0) -> None:
    while of.unsaved is not None:
        of.saved(of.unsaved)
        of.tick(now)


@dataclass(frozen=True)
class Row:
    """A state, and whether a replica in it writes, confirms and acks."""

    state: str
    replica: Machine
    writes: bool = False
    confirms: bool = False
    acks: bool = False


def following(record: Record, settled: Record, *, store: str = B) -> Machine:
    found = machine(store, settled)
    assert found.follow(record, log_end=0) == ""
    save(found)
    return found


def paused() -> Machine:
    found = owner()
    found.pause(0.0)
    return found


def proposing() -> Machine:
    found = machine(B)
    found.propose(Wish("promote"), log_end=5)
    save(found)
    return found


def fenced() -> Machine:
    found = owner()
    found.fence(fenced=True)
    save(found)
    return found


def taken() -> Machine:
    found = owner()
    record = Record(epoch=Epoch(2, B), members=(A, B), min=2, floor=E1, prev=E1, start=0)
    assert found.take(record, log_end=0) == ""
    save(found)
    return found


NEWER = Record(
    epoch=Epoch(3, A), members=(A, B), min=2, floor=Epoch(3, A), prev=Epoch(2, A), start=9
)
ROWS = [
    Row("owner", owner(), writes=True, confirms=True),
    Row("owner, no lease", owner(now=-7.0), confirms=True),
    Row("owner, paused", paused(), confirms=True),
    Row("restarted owner", machine(A), confirms=True),
    Row("proposing", proposing()),
    Row("slave", following(PAIR, PAIR), confirms=True, acks=True),
    Row("catching up", following(NEWER, PAIR)),
    Row("learner", following(ALONE, PAIR)),
    Row("detached", taken()),
    Row("fenced", fenced(), confirms=True),
    Row("new", Machine(Kept(store_id=C), Timing(), WITNESSES)),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.state)
def test_what_a_state_may_do(row: Row):
    """The columns of the table, at the present epoch."""
    replica, now = row.replica, 0.5
    epoch = replica.state.promised
    assert replica.describe(now) == row.state
    assert (replica.may_write(now) is None) is row.writes
    assert replica.confirms(epoch) is row.confirms
    assert replica.may_ack(epoch) is row.acks


def test_a_lease_counts_from_the_question_and_needs_a_majority():
    """Two of three, or the other member; to the moment; strangers count for nothing."""
    found = machine(A)
    found.must_renew = False
    found.witness_confirmed("n1", E1, 1.0, 3.0)
    found.witness_confirmed("n1", E1, 2.0, 3.0)
    found.witness_confirmed("elsewhere", E1, 2.0, 3.0)
    found.member_confirmed(C, E1, 2.0, 3.0)
    assert found.may_write(3.0) is not None
    found.witness_confirmed("n3", E1, 1.5, 3.0)
    assert found.may_write(7.49) is None
    assert "no lease" in found.may_write(7.5).remark
    found.member_confirmed(B, E1, 4.0, 7.6)
    assert found.may_write(9.9) is None


def test_only_what_is_on_disk_gives_rights():
    """Between a decision and its fsync nothing is told, confirmed or written."""
    found = machine(B)
    found.propose(Wish("promote"), log_end=5)
    assert not found.may_announce()
    save(found)
    assert found.may_announce()
    lease(found, 0.0)
    assert found.state.settled.epoch == Epoch(2, B)
    assert found.may_write(0.1) is not None  # settled in memory only
    save(found, 0.1)
    assert found.may_write(0.1) is None


@pytest.mark.parametrize(
    ("want", "settled", "members", "least", "wait", "own_floor"),
    [
        ("promote", PAIR, (A, B), 2, False, False),
        ("promote", ALONE, (A,), 1, False, True),
        ("degrade", PAIR, (A,), 1, False, True),
        ("restore", ALONE, (A, B), 2, False, True),
        ("force", PAIR, (A,), 1, True, True),
    ],
)
def test_what_a_record_says(want, settled, members, least, wait, own_floor):
    """Members, copies, floor and wait follow from the command and the settled record."""
    found = owner(settled)
    wish = Wish(want, above=8, follower=B, risk=Risk("me", "why", 0))
    record = found.propose(wish, log_end=77)
    assert (record.members, record.min, record.wait) == (members, least, wait)
    assert record.epoch == Epoch(9, A)
    assert record.floor == (record.epoch if own_floor else settled.floor)
    assert (record.prev, record.start) == (settled.epoch, 77)


def test_a_pair_is_never_changed_to_another_in_one_record():
    """{A, B} to {A, C}: degrade comes first."""
    with pytest.raises(Refused, match="two members already: degrade first"):
        owner().propose(Wish("restore", follower=C), log_end=1)


def test_a_rerun_finishes_the_same_record():
    """The same order gives the same proposal; a higher counter elsewhere gives another."""
    found = proposing()
    first = found.current
    assert found.propose(Wish("promote", above=2), log_end=5) is first
    assert found.propose(Wish("promote", above=7), log_end=5).epoch == Epoch(8, B)


def test_a_store_that_never_made_it_refuses_its_own_record():
    """A rolled back disk under its old id: an epoch of its own that it does not know."""
    alien = Record(epoch=Epoch(9, A), members=(A,), min=1, floor=Epoch(9, A), prev=E1, start=0)
    assert "never made it" in owner().take(alien, log_end=0)


@pytest.mark.parametrize(
    ("early", "clean", "cache", "same"),
    [
        (True, False, "boot-1", True),  # killed: the page cache lived on
        (True, False, "boot-2", False),
        (True, False, "", False),  # nobody can tell
        (True, True, "boot-2", True),
        (False, False, "boot-2", True),  # acks were fsynced
    ],
)
def test_a_lost_tail_is_another_store(early, clean, cache, same):
    """Rule 9: acks before the fsync, no clean stop, another page cache."""
    kept = Kept(store_id=A, settled=PAIR, promised=E1, cache="boot-1")
    found = at_start(kept, C, cache=cache, log_end=5, early=early, clean=clean)
    assert (found.store_id == A) is same
    assert (found.settled, found.promised) == (PAIR, E1)


def test_bytes_from_before_the_pair_are_nobody_elses():
    """A log that was there first has an epoch of its own; an empty one has no line."""
    found = at_start(None, C, cache="x", log_end=5, early=False, clean=True)
    assert found.epochs == (EpochStart(Epoch(0, C), 0),)
    assert at_start(None, C, cache="x", log_end=0, early=False, clean=True).epochs == ()


def test_epoch_lists_hold_what_has_bytes():
    """Lines without bytes go, cut ones too, and the list is bounded."""
    lines = with_line(with_line((), EpochStart(E1, 0)), EpochStart(Epoch(2, A), 50))
    assert with_line(lines, EpochStart(Epoch(3, B), 50)) == (
        EpochStart(E1, 0),
        EpochStart(Epoch(3, B), 50),
    )
    assert cut_lines(lines, 50) == lines[:1]
    for counter in range(3, 3_000):
        lines = with_line(lines, EpochStart(Epoch(counter, A), counter * 100))
    assert len(lines) == 1_024
