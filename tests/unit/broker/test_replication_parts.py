"""The decisions of a pair's streams: common point, who is in sync, who may be answered, counts."""

import pytest

from broker_trio.broker.replication.acks import Acks, Outcome
from broker_trio.broker.replication.common import common_point
from broker_trio.broker.replication.followers import Follower, Followers
from broker_trio.broker.replication.metadata_sync import PART_BYTES_MAX, parts_of
from broker_trio.broker.replication.refusals import Refusals, RefusedPeerError
from broker_trio.broker.replication.role import Lone
from broker_trio.broker.replication.streaming import Counts
from broker_trio.model.errors import Refused
from broker_trio.model.pair import Epoch, EpochStart
from broker_trio.store.replica import NO_BOUND
from broker_trio.wire.replication import FRAME_BYTES_MAX, Ack, ReplicationFrames

A, B = "0a" * 16, "0b" * 16
ONE, TWO, THREE = Epoch(1, A), Epoch(2, B), Epoch(3, A)


def lines(*pairs):
    return [EpochStart(epoch, start) for epoch, start in pairs]


@pytest.mark.parametrize(
    ("mine", "my_end", "theirs", "their_end", "common"),
    [
        ([], 0, [], 0, 0),
        ([(ONE, 0)], 500, [], 0, 0),
        ([(ONE, 0)], 500, [(ONE, 0)], 300, 300),  # behind
        ([(ONE, 0), (TWO, 300)], 500, [(ONE, 0)], 400, 300),  # an old master with a tail
        ([(ONE, 0), (TWO, 300)], 500, [(ONE, 0)], 300, 300),  # level when the new one began
        ([(ONE, 0), (TWO, 300)], 500, [(ONE, 0), (TWO, 300)], 350, 350),
        ([(ONE, 0), (THREE, 300)], 500, [(ONE, 0), (TWO, 200)], 350, 200),
        ([(ONE, 0), (THREE, 300)], 500, [(ONE, 0), (TWO, 400)], 450, 300),
        ([(ONE, 0), (TWO, 300)], 300, [(ONE, 0)], 400, 300),  # a line without a byte
        ([(ONE, 0)], 500, [(TWO, 0)], 500, 0),
        ([(ONE, 100)], 500, [(TWO, 100)], 500, 100),  # a lone broker's bytes before both
        ([(ONE, 100)], 500, [], 80, 80),
        ([(TWO, 300)], 500, [(ONE, 0), (TWO, 300)], 400, 400),  # the oldest lines went
    ],
)
def test_the_common_point(mine, my_end, theirs, their_end, common):
    """Where the newest line that both have ends first; it does not matter who asks."""
    assert common_point(lines(*mine), my_end, lines(*theirs), their_end) == common
    assert common_point(lines(*theirs), their_end, lines(*mine), my_end) == common


class Pair(Lone):  # type: ignore[misc]
    """An owner with one counted slave."""

    store_id, epoch, min_copies = A, ONE, 2
    alone = True

    def counted(self, store_id):
        return store_id == B

    def may_answer_alone(self, now):
        return self.alone


def ack(written, fsynced=None, *, settled=True, epoch=ONE, store_id=B):
    return Ack(store_id, epoch, written, written if fsynced is None else fsynced, settled)


def followers(role=None, **settings):
    fields = {"fsynced": True, "slave_timeout_s": 3.0, "gap_bytes_max": 1_000} | settings
    return Followers(role or Pair(), **fields)


def attached(table, now=0.0, store_id=B, replica_id=2, epoch=ONE):
    follower = Follower(store_id, replica_id, "b:1", epoch, now)
    table.table[store_id] = follower
    return follower


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (ack(501), "ends at 500"),
        (ack(99), "after one of 100"),
        (ack(200, 10), "after one of 100"),
        (ack(200, store_id=A), "of store"),
        (ack(200, epoch=TWO), "in epoch"),
    ],
)
def test_impossible_acks(bad, word):
    """Beyond what was sent, backwards, of another store, in another epoch."""
    follower = attached(followers())
    follower.acked(ack(100), 500, 1.0)
    assert word in follower.problem(bad, 500)
    assert follower.problem(ack(500), 500) == ""


def test_in_sync_is_level_a_moment_ago():
    """Under load never level with the end, always with where it was; hung: out after the time."""
    table = followers()
    follower = attached(table)
    assert not table.look(0, 0.0)
    follower.acked(ack(0), 100, 1.0)
    follower.acked(ack(100), 200, 2.0)  # level with the end of second 1
    assert table.look(200, 2.0)
    follower.acked(ack(200), 300, 3.0)
    assert table.look(300, 4.9)
    assert not table.look(300, 5.1)
    assert table.missing(300, 6.0) == pytest.approx(1.1)
    follower.acked(ack(300), 300, 7.0)
    assert table.missing(300, 7.0) == 0.0
    assert not table.look(300 + 1_001, 7.0), "too far behind"


def test_it_moves_when_it_holds_more_or_everything():
    """Signs of life alone are none: a slave whose disk hangs acks on, and does not move."""
    table = followers()
    follower = attached(table)
    table.acked(follower, ack(100, 60), 100, 1.0)
    assert follower.moved_at == 1.0
    table.acked(follower, ack(100, 60), 100, 2.0)
    table.acked(follower, ack(200, 60), 300, 3.0)
    assert follower.moved_at == 1.0
    table.acked(follower, ack(200, 61), 300, 4.0)
    assert follower.moved_at == 4.0
    table.acked(follower, ack(300), 300, 5.0)
    table.acked(follower, ack(300), 300, 6.0)
    assert follower.moved_at == 6.0, "it holds everything"


def test_in_memory_it_moves_by_what_is_written():
    """Without SYNC_FLUSH an ack counts as far as it is written."""
    table = followers(fsynced=False)
    follower = attached(table)
    table.acked(follower, ack(100, 60), 200, 1.0)
    table.acked(follower, ack(150, 60), 200, 2.0)
    assert follower.moved_at == 2.0
    assert table.held_by(follower) == 150


def test_only_the_settled_member_in_this_epoch_counts():
    """Not a learner, not a report, not a connection of another epoch."""
    table = followers()
    attached(table, store_id="0c" * 16, replica_id=3).acked(ack(100), 100, 1.0)
    assert table.held() == -1
    member = attached(table)
    member.acked(ack(100, settled=False), 100, 1.0)
    assert table.held() == -1
    member.acked(ack(100, 60), 100, 1.0)
    assert table.held() == 60
    table._role.epoch = TWO
    assert table.held() == -1


def test_ids_are_taken_while_their_slave_lives():
    """The same replica id or store comes in again when the other one has been silent."""
    table = followers()
    attached(table, now=10.0)
    assert "attached as replica id 2" in table.refuse("0c" * 16, 2, 11.0)
    assert "attached as replica id 2" in table.refuse(B, 3, 11.0)
    assert table.refuse("0c" * 16, 3, 11.0) == ""
    assert table.refuse(B, 2, 13.5) == ""


class Copy:
    """A store of which only positions matter."""

    def __init__(self):
        self.log, self.own_end, self.bound, self.is_sync = self, 0, 0, True
        self.max_offset = 0

    @property
    def confirm_offset(self):
        return min(self.own_end, self.bound)

    def raise_bound(self, physical_end):
        self.bound = max(self.bound, physical_end)


class Time:
    now = 100.0

    def monotonic(self):
        return self.now


def rig(role=None):
    role, store, time = role or Pair(), Copy(), Time()
    table = followers(role)
    acks = Acks(store, role, table, time, slave_timeout_s=3.0, flush_timeout_s=5.0)
    acks.role_changed()
    return acks, store, table, time, role


def test_answers_leave_in_the_log_s_order_as_both_copies_come():
    """Nobody waits behind another: each goes when its own end is held twice."""
    acks, store, table, time, _ = rig()
    told = []
    for end in (100, 200, 300):
        acks.wait(end, lambda outcome, end=end: told.append((end, outcome)))
    store.own_end = store.max_offset = 300
    acks.release()
    follower = attached(table, now=time.now)
    follower.acked(ack(300, 150), 300, time.now)
    acks.release()
    assert told == [(100, Outcome.OK)]
    assert store.confirm_offset == 150
    follower.acked(ack(300, 300), 300, time.now)
    store.own_end = 250
    acks.release()
    assert told == [(100, Outcome.OK), (200, Outcome.OK)]
    time.now += 3.0
    acks.expire()
    assert told[2:] == [(300, Outcome.NOT_FLUSHED)]
    assert acks.durability == "replicated_disk"


def test_late_answers_tell_the_reason():
    """11 where nobody is in sync, 12 where the slave is just late."""
    acks, store, table, time, _ = rig()
    told = []
    acks.wait(100, told.append)
    store.own_end = store.max_offset = 100
    time.now += 2.9
    acks.expire()
    assert told == []
    time.now += 0.2
    acks.expire()
    acks.wait(200, told.append)
    attached(table, now=time.now).acked(ack(150, 150), 150, time.now)
    store.own_end = store.max_offset = 200
    time.now += 3.0
    acks.expire()
    assert told == [Outcome.NO_SLAVE, Outcome.SLAVE_LATE]


def test_a_lone_answer_is_12_without_the_lease():
    """And readers of one copy see all of it."""
    role = Pair()
    role.min_copies = 1
    acks, store, _, _, _ = rig(role)
    assert store.bound == NO_BOUND
    told = []
    acks.wait(100, told.append)
    store.own_end = 100
    acks.release()
    role.alone = False
    acks.wait(200, told.append)
    store.own_end = 200
    acks.release()
    assert told == [Outcome.OK, Outcome.SLAVE_LATE]
    assert acks.durability == "disk"


def test_whoever_leads_no_more_answers_nobody_ok():
    """All that waits is told at once: stored, and no more is known."""
    acks, _, _, _, role = rig()
    told = []
    acks.wait(100, told.append)
    role.owns = role.leads = False
    acks.role_changed()
    assert told == [Outcome.SLAVE_LATE]


def test_no_append_without_a_slave_for_too_long():
    """The refusal names the cause, how long, and what to do."""
    acks, _, _, time, _ = rig()
    acks.check()
    time.now += 3.1
    with pytest.raises(Refused, match=r"3.1 s .none is attached.*broker-trio degrade"):
        acks.check()
    assert acks.refused_no_slave == 1


def test_counts_are_exact_near_the_end_and_about_right_before():
    """For lags that people read."""
    counts = Counts(samples_max=16, step_bytes=1_000)
    for number in range(1, 2_001):
        counts.note(number * 100, number)
    assert counts.between(200_000, 200_000) == 0
    assert counts.between(199_000, 200_000) == pytest.approx(10, abs=2)
    assert counts.between(100_000, 200_000) == pytest.approx(1_000, rel=0.1)
    assert counts.between(0, 200_000) == pytest.approx(2_000, rel=0.1)
    assert len(counts._samples) <= 17


def test_large_tables_leave_in_small_parts():
    """Each fits a frame, together they are all of it, and only the last one says that it is."""
    put = {f"topic{number}": {"a": "x" * 4_000} for number in range(1_200)}
    found, last = {}, []
    for frame in parts_of("topics", put, ["gone"], (1, 2, 3), 9, full=True):
        assert len(frame) <= PART_BYTES_MAX
        frames = ReplicationFrames(FRAME_BYTES_MAX)
        frames.receive_data(frame)
        part = frames.next_message()
        found |= part.put
        last.append(part.last)
    assert found == put
    assert last[-1]
    assert not any(last[:-1])
    assert part.delete == ["gone"]


def test_a_refusal_is_news_once():
    """Counted each time; told again only after the peer was well."""
    refusals = Refusals()
    for _ in range(3):
        refusals.note(RefusedPeerError("key", "no"), "10.0.0.1:5")
    assert refusals.counts["key"] == 3
    assert refusals._logged == {("key", "10.0.0.1")}
    refusals.forget("10.0.0.1:9")
    assert refusals._logged == set()
