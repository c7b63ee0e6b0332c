"""Where answers wait for disks and copies, a burst is told what its messages alone would be told.

The same reads, acks, stalls, roles and times happen to two brokers, one with bursts and one
without. After each step both have said the same bytes and count the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_trio.broker.replication import acks as acks_module
from broker_trio.broker.replication.acks import Acks
from broker_trio.broker.replication.followers import Follower, Followers
from broker_trio.broker.replication.receipts import PairReceipts
from broker_trio.broker.replication.role import Lone
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.pair import Epoch
from broker_trio.model.topic import TopicConfig
from broker_trio.remoting.connection import Connection
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.remoting.stats import RemotingStats
from broker_trio.wire.replication import Ack
from tests.unit.broker.fakes import SMALL, Broker, running
from tests.unit.broker.test_burst import CODECS, frame, learnt

OURS, THEIRS = "0a" * 16, "0b" * 16
SLAVE_S, FLUSH_S = 3.0, 5.0
Step = tuple[Any, ...]


class Role(Lone):  # type: ignore[misc]
    """An owner with one counted slave; a test takes its rights away and gives them back."""

    store_id, min_copies, epoch = OURS, 2, Epoch(1, OURS)
    lease = True

    def counted(self, store_id):
        return store_id == THEIRS

    def may_write(self, now):
        if self.lease and self.owns:
            return None
        return Refused(ResponseCode.SERVICE_NOT_AVAILABLE, "no lease")

    def may_answer_alone(self, now):
        return self.lease


@dataclass
class Told:
    """What was said and counted until each step."""

    steps: list[Any] = field(default_factory=list)
    log: bytes = b""
    bursts: int = 0


class Rig:
    """A broker whose disk and slave do what a test says."""

    def __init__(self, broker: Broker, *, pair: bool, bursts: bool) -> None:
        self.broker, self.store, self.told = broker, broker.store, Told()
        broker.parts.topics.put(TopicConfig("T", 4, 4))
        self.stats = RemotingStats()
        dispatcher = broker.dispatcher
        take = dispatcher.take_burst

        def counted(*asked):
            taken = take(*asked)
            self.told.bursts += taken is not None
            return taken

        dispatcher.take_burst = counted if bursts else None
        self.connection = Connection(
            1, trio.testing.MemorySendStream(), "10.9.9.9:4000", dispatcher, RemotingLimits(),
            self.stats, broker.store.write_out, lambda: None, lambda: None,
        )  # fmt: skip
        self.stall_s = 0.0
        sync = self.store._flusher._sync

        async def slowly():
            await trio.sleep(self.stall_s)
            await sync()

        self.store._flusher._sync = slowly
        self.acks: Acks | None = None
        if pair:
            self.join()

    def join(self) -> None:
        store, clock = self.store, self.broker.clock
        self.role = Role()
        self.followers = Followers(
            self.role, fsynced=store.is_sync, slave_timeout_s=SLAVE_S, gap_bytes_max=1 << 20
        )
        self.acks = Acks(
            store, self.role, self.followers, clock, slave_timeout_s=SLAVE_S,
            flush_timeout_s=FLUSH_S,
        )  # fmt: skip
        self.follower = Follower(THEIRS, 2, "b:1", self.role.epoch, clock.monotonic())
        self.followers.table[THEIRS] = self.follower
        receipts = self.broker.parts.stats.receipts
        store.guard(self.acks.check)
        store.on_progress = self.acks.release
        self.broker.parts.send.join_pair(
            PairReceipts(self.acks, self.role, store, receipts, "DefaultRegion", "true")
        )
        self.role.on_change.append(self.acks.role_changed)
        self.change()

    def change(self, **how: Any) -> None:
        for name, value in how.items():
            setattr(self.role, name, value)
        for tell in self.role.on_change:
            tell()

    def ack(self, share: float) -> None:
        """The slave has this share of the log, in the midst of a record as often as not."""
        end = self.store.log.max_offset
        reached = max(int(end * share), self.follower.written)
        ack = Ack(THEIRS, self.role.epoch, reached, reached, True)
        self.follower.acked(ack, end, self.broker.clock.monotonic())
        self.acks.release()

    def do(self, step: Step) -> None:
        what, *how = step
        if what == "read":
            more = self.connection._feed(how[0])
            while more:
                more = self.connection._feed(b"")
        elif what == "stall":
            self.stall_s = how[0]
        elif self.acks is not None and what == "ack":
            self.ack(how[0])
        elif self.acks is not None and what == "role":
            self.change(**how[0])

    def note(self) -> None:
        """What can be seen from outside now."""
        parts, acks = self.broker.parts, self.acks
        by_code = {
            (int(key[0]), int(key[1]), key[2]): (one.count, round(one.sum_s, 6), sum(one.buckets))
            for key, one in self.stats.by_code.items()
        }
        waiting = None if acks is None else (dict(acks.outcomes), acks.waiting_count)
        seen = (
            b"".join(self.connection._outbox), by_code, self.stats.parked,
            msgspec.to_builtins(parts.stats.receipts), msgspec.to_builtins(parts.stats.totals),
            waiting, self.store.flush_waiting_count, self.store.stats.flush_timeouts,
            self.store.confirm_offset,
        )  # fmt: skip
        self.told.steps.append(msgspec.json.decode(msgspec.json.encode(list(map(repr, seen)))))


async def live(steps: Sequence[Step], *, pair: bool, flush: str, bursts: bool) -> Told:
    """A broker's life, by the step."""
    store = msgspec.structs.replace(SMALL, flush_disk_type=flush)
    async with running(store=store) as broker, trio.open_nursery() as nursery:
        rig = Rig(broker, pair=pair, bursts=bursts)
        if rig.acks is not None:
            await nursery.start(rig.acks.run)
        for step in steps:
            rig.do(step)
            rig.note()
            await trio.sleep(step[1] if step[0] == "sleep" else 0.001)
            rig.note()
        rig.told.log = broker.store.log.read_nowait(0, broker.store.log.max_offset)
        nursery.cancel_scope.cancel()
    return rig.told


def compare(steps: Sequence[Step], *, pair: bool, flush: str) -> Told:
    """Both ways, each in a loop of its own; the one with bursts, once they agree."""

    async def main() -> tuple[Told, Told]:
        together = await live(steps, pair=pair, flush=flush, bursts=True)
        return together, await live(steps, pair=pair, flush=flush, bursts=False)

    together, alone = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert together.log == alone.log
    for step, one, other in zip(
        [step for step in steps for _ in range(2)], together.steps, alone.steps, strict=True
    ):
        assert one == other, step
    return together


def read(*numbers: int, **how: Any) -> Step:
    return "read", b"".join(frame(number, **how) for number in numbers)


def burst(begin: int, count: int = 20, how: dict[str, Any] = CODECS[0]) -> Step:
    """Sends that go together."""
    return "read", b"".join(frame(begin + n, queue=str(n % 4), **how) for n in range(count))


LEARN = [("read", learnt()), ("ack", 1.0), ("sleep", 0.5)]


@pytest.mark.parametrize("flush", ["SYNC_FLUSH", "ASYNC_FLUSH"])
@pytest.mark.parametrize("pair", [True, False])
def test_a_burst_that_is_kept(flush: str, *, pair: bool) -> None:
    """One waiter, one moment, twenty answers."""
    told = compare([*LEARN, burst(100), ("sleep", 0.1), ("ack", 1.0)], pair=pair, flush=flush)
    assert told.bursts
    key = "replicated" * pair + "_" * (pair and flush == "SYNC_FLUSH")
    key += {"SYNC_FLUSH": "disk"}.get(flush, "memory" * (not pair))
    assert f"'{key}': 40" in told.steps[-1][3]


@pytest.mark.parametrize("share", [0.01, 0.51, 0.6, 0.99, 1.0])
@pytest.mark.parametrize("flush", ["SYNC_FLUSH", "ASYNC_FLUSH"])
def test_an_ack_in_the_middle_of_a_burst(flush: str, share: float) -> None:
    """What it covers is answered now, the rest by the next ack or in its time."""
    steps = [*LEARN, burst(100), ("sleep", 0.1), ("ack", share), ("ack", 1.0), burst(200)]
    told = compare([*steps, ("sleep", 0.1), ("ack", 0.8), ("sleep", 4.0)], pair=True, flush=flush)
    assert told.bursts > 1


@pytest.mark.parametrize("how", CODECS)
@pytest.mark.parametrize("pair", [True, False])
def test_a_disk_that_takes_too_long(how: dict[str, Any], *, pair: bool) -> None:
    """10 for each, in time; in a pair each learns which copy it lacks."""
    steps = [("read", learnt(**how)), *LEARN[1:], ("stall", 20.0), burst(100, 20, how)]
    steps += [("ack", 0.7), ("sleep", 3.5), burst(200, 20, how)]
    told = compare([*steps, ("sleep", 30.0)], pair=pair, flush="SYNC_FLUSH")
    assert told.bursts > 1
    assert f"'flush_timeouts': {20 if not pair else 0}" not in told.steps[-1][3]


@pytest.mark.parametrize(
    "role", [{"lease": False}, {"owns": False, "leads": False}, {"min_copies": 1}]
)
@pytest.mark.parametrize("flush", ["SYNC_FLUSH", "ASYNC_FLUSH"])
def test_a_right_that_is_lost_meanwhile(flush: str, role: dict[str, Any]) -> None:
    """Who waits is told so, later sends are refused, and the epoch in answers is the new one."""
    steps = [*LEARN, burst(100), ("ack", 0.7), ("role", role), burst(200), ("sleep", 0.1)]
    back = {"lease": True, "owns": True, "leads": True, "epoch": Epoch(2, OURS)}
    steps += [("role", back), burst(300), ("ack", 1.0), ("sleep", 4.0)]
    assert compare(steps, pair=True, flush=flush).bursts > 1


def test_no_more_wait_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one beyond the limit is refused, not the burst that it came with."""
    monkeypatch.setattr(acks_module, "WAITERS_MAX", 30)
    told = compare([*LEARN, burst(100), burst(200), ("ack", 1.0)], pair=True, flush="ASYNC_FLUSH")
    assert told.bursts
    assert "limit 30" in told.steps[-1][0]


def test_one_waiter_for_a_burst() -> None:
    """What was the point of it."""

    async def main() -> list[int]:
        store = msgspec.structs.replace(SMALL, flush_disk_type="SYNC_FLUSH")
        counts = []
        for pair in (True, False):
            async with running(store=store) as broker:
                rig = Rig(broker, pair=pair, bursts=True)
                rig.do(("read", learnt()))
                await trio.sleep(0.5)
                if pair:
                    rig.ack(1.0)
                rig.do(burst(100, 50))
                waiters = rig.acks._waiters if pair else broker.store._flusher._waiters
                counts.append((len(waiters), sum(one.messages for one in waiters)))
        return counts

    clock = trio.testing.MockClock(autojump_threshold=0)
    assert trio.run(main, clock=clock) == [(1, 50), (1, 50)]


steps = st.one_of(
    st.builds(burst, st.integers(100, 60_000), st.integers(1, 40), st.sampled_from(CODECS)),
    st.builds(read, st.integers(100, 60_000), queue=st.sampled_from(["0", "9", "1"])),
    st.builds(
        read, st.integers(100, 60_000), properties=st.just("UNIQ_KEY\x01{key}\x02WAIT\x01false\x02")
    ),
    st.tuples(st.just("ack"), st.floats(0.0, 1.0)),
    st.tuples(st.just("sleep"), st.sampled_from([0.01, 1.0, 2.9, 3.1, 6.0])),
    st.tuples(st.just("stall"), st.sampled_from([0.0, 0.01, 2.0, 8.0])),
    st.tuples(
        st.just("role"),
        st.sampled_from(
            [
                {"lease": False}, {"lease": True}, {"min_copies": 1}, {"min_copies": 2},
                {"owns": False, "leads": False}, {"owns": True, "leads": True},
                {"epoch": Epoch(2, OURS)},
            ]
        ),
    ),
)  # fmt: skip


@pytest.mark.slow
@given(st.lists(steps, max_size=30), st.booleans(), st.sampled_from(["SYNC_FLUSH", "ASYNC_FLUSH"]))
@settings(max_examples=60, deadline=None)
def test_whatever_happens(drawn: list[Step], pair: bool, flush: str) -> None:
    """Any reads, acks, stalls, rights and times, in any order."""
    compare([*LEARN, *drawn, ("stall", 0.0), ("sleep", 10.0)], pair=pair, flush=flush)
