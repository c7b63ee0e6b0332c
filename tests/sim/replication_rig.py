"""Two replicas on simulated machines: real stores and streams, roles by script.

What a record means is kept here in the plainest form: one `Truth` that everybody is told of when
they attach or when the test says so. The machine that decides has tests of its own.
"""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import trio

from broker_trio.broker.groups import Groups
from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.replication.acks import Outcome
from broker_trio.broker.replication.line import Who
from broker_trio.broker.replication.metadata_sync import Tables
from broker_trio.broker.replication.replication import Replication
from broker_trio.broker.replication.role import Claim
from broker_trio.broker.replication.streaming import Streaming
from broker_trio.broker.schedule import Schedule
from broker_trio.broker.settings import Settings
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.pair import NO_EPOCH, Epoch, EpochStart, cut_lines, with_line
from broker_trio.store.config import StoreConfig
from broker_trio.store.store import Store
from broker_trio.testing.checkers.stored import Journal
from broker_trio.testing.cluster.pair_closing import bytes_of
from broker_trio.testing.world import Node, World
from tests.sim.store_workload import HOST, SYNC, Workload

KEY = b"the key of this pair"
PORT = 10_912
IDS = {"a": "0a" * 16, "b": "0b" * 16, "c": "0c" * 16}
QUICK = Streaming(chunk_bytes=700, catch_up_bytes_per_s=10 << 20, level_bytes=4_000)


class Truth(msgspec.Struct, frozen=True):
    """A record, as far as streams are concerned."""

    counter: int
    owner: str
    members: tuple[str, ...]
    min: int
    start: int

    @property
    def epoch(self) -> Epoch:
        return Epoch(self.counter, self.owner)


NOTHING = Truth(0, "", (), 2, 0)


class Durable:
    """What a replica has on disk about records; it outlives every process."""

    def __init__(self, store_id: str) -> None:
        self.store_id = store_id
        self.settled = NOTHING
        self.promised = NO_EPOCH
        self.epochs: tuple[EpochStart, ...] = ()


class ScriptedRole:
    """Implements `Role` over `Durable`, with nothing but rule 2, 6, 10 and 11."""

    def __init__(self, durable: Durable, store: Store) -> None:
        self.durable, self.store = durable, store
        self.on_change: list[Callable[[], None]] = []
        self.following: Truth | None = None
        self.lease = True
        self.confirmed = 0
        self.seen: dict[str, tuple[int, int]] = {}

    store_id = property(lambda self: self.durable.store_id)
    settled = property(lambda self: self.durable.settled.epoch)
    epoch = property(lambda self: self.durable.promised)
    members = property(lambda self: self.durable.settled.members)
    min_copies = property(lambda self: self.durable.settled.min)
    epochs = property(lambda self: self.durable.epochs)
    record = property(lambda self: msgspec.json.encode(self.durable.settled))

    @property
    def owns(self) -> bool:
        durable = self.durable
        return durable.settled.owner == durable.store_id and self.settled == durable.promised

    leads = owns

    def may_write(self, now: float) -> Refused | None:
        if self.owns and self.lease:
            return None
        return Refused(ResponseCode.SERVICE_NOT_AVAILABLE, "no master, or no lease")

    def may_answer_alone(self, now: float) -> bool:
        return self.owns and self.lease

    def counted(self, store_id: str) -> bool:
        return self.owns and store_id != self.store_id and store_id in self.members

    def refuse_attach(self, claim: Claim) -> str:
        return ""

    def followed(self, now: float, store_id: str, written_end: int, fsynced_end: int) -> None:
        self.seen[store_id] = (written_end, fsynced_end)

    def left(self, now: float, store_id: str) -> None:
        self.seen.pop(store_id, None)

    def confirm(self, offset: int) -> None:
        assert offset >= self.confirmed
        self.confirmed = offset

    async def persisted(self) -> None:
        """All of it always is."""

    async def take(self, record: bytes) -> str:
        await trio.sleep(0.001)
        truth = msgspec.json.decode(record, type=Truth)
        if truth.epoch < self.durable.promised:
            return f"{truth.epoch} is below {self.durable.promised}"
        self.following = truth
        self.promise(truth.epoch)
        return ""

    def promise(self, epoch: Epoch) -> None:
        if epoch > self.durable.promised:
            self.durable.promised = epoch
            self.changed()

    async def cut(self, physical_end: int) -> None:
        await trio.sleep(0.001)
        self.durable.epochs = cut_lines(self.durable.epochs, physical_end)

    async def entered(self, line: EpochStart) -> None:
        await trio.sleep(0.001)
        if line not in self.durable.epochs:
            assert line.start <= self.store.log.max_offset + 100_000
            self.durable.epochs = with_line(self.durable.epochs, line)

    async def level(self, fsynced_end: int) -> None:
        truth = self.following
        if truth is None or self.settled == truth.epoch or truth.epoch != self.epoch:
            return
        if self.store_id in truth.members and fsynced_end >= truth.start:
            await trio.sleep(0.001)
            self.durable.settled = truth
            self.changed()

    def may_ack(self, epoch: Epoch) -> bool:
        return self.settled == epoch == self.epoch

    async def own(self, replication: Replication, members: tuple[str, ...], least: int) -> None:
        """Become, or go on as, the owner: what a command ends in. All is fsynced before."""
        log, self.lease = self.store.log, False
        await replication.make_durable()
        self.lease = True
        assert log.flushed_offset == log.max_offset
        counter = self.durable.promised.counter + 1
        truth = Truth(counter, self.store_id, members, least, log.max_offset)
        self.durable.settled, self.durable.promised = truth, truth.epoch
        line = EpochStart(truth.epoch, truth.start)
        self.durable.epochs = with_line(self.durable.epochs, line)
        self.changed()

    def changed(self) -> None:
        for hook in self.on_change:
            hook()


class Program:
    """One replica's process."""

    def __init__(self, rig: "Rig", node: Node) -> None:
        disk, clock = node.disk, node.clock
        self.store = Store(disk, clock, node.entropy, rig.config, HOST)
        self.role = ScriptedRole(rig.durable[node.name], self.store)
        settings = Settings()
        self.topics = Topics(disk, clock, settings)
        self.groups = Groups(disk, clock, settings)
        self.offsets = ConsumerOffsets(disk, clock)
        self.rig, self.node = rig, node

    async def run(self) -> None:
        rig, node, store = self.rig, self.node, self.store
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            self.schedule = Schedule(node.disk, store, node.clock, self.topics)
            for table in (self.topics, self.groups, self.offsets, self.schedule):
                table.load(log_is_empty=True)
            tables = Tables(self.topics, self.groups, self.offsets, self.schedule, store)
            peers = [f"{name}:{PORT}" for name in rig.names if name != node.name]
            number = rig.names.index(node.name) + 1
            who = Who("C", "pair", rig.replica_ids.get(node.name, number), self.role.store_id)
            self.replication = Replication(
                store, self.role, self.tables_for(tables), self.schedule, node.clock, node.disk,
                node.network, node.entropy, rig.streaming, lambda: who,
                rig.keys.get(node.name, KEY),
                peers, f"0.0.0.0:{PORT}", flush_timeout_s=5.0,
            )  # fmt: skip
            await self.replication.open()
            for service in (*self.replication.services(), self.schedule.run):
                await nursery.start(service)
            rig.programs[node.name] = self
            rig.came_up.set()
            await trio.sleep_forever()

    def tables_for(self, tables: Tables) -> Tables:
        self.tables = tables
        return tables

    def send(self, workload: Workload, told: "Told") -> None:
        """One burst, answered as a send is."""
        store, acks = self.store, self.replication.acks
        try:
            for burst in workload.burst(store):
                for end, tell in burst:
                    acks.wait(end, partial(told.hear, tell))
        except Refused as refusal:
            told.refused.append(refusal.remark)
        store.write_out()


class Told:
    """What senders heard."""

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.refused: list[str] = []

    def hear(self, tell: Callable[[bool], None], outcome: Outcome) -> None:
        self.outcomes[outcome] += 1
        tell(outcome is Outcome.OK)


class Rig:
    """The machines `a`, `b`, … of one pair."""

    def __init__(
        self,
        world: World,
        config: StoreConfig = SYNC,
        *,
        names: str = "ab",
        streaming: Streaming = QUICK,
    ) -> None:
        self.world, self.config, self.streaming = world, config, streaming
        self.names = list(names)
        self.durable = {name: Durable(IDS[name]) for name in names}
        self.programs: dict[str, Program] = {}
        self.keys: dict[str, bytes] = {}
        self.replica_ids: dict[str, int] = {}
        self.journal, self.told = Journal(), Told()
        self.came_up = trio.Event()
        for name in names:
            world.node(name, self._main)

    async def _main(self, node: Node) -> None:
        await Program(self, node).run()

    def first_record(self, least: int = 2, members: str = "ab") -> None:
        """`a` owns the empty log."""
        truth = Truth(1, IDS["a"], tuple(IDS[name] for name in members), least, 0)
        a = self.durable["a"]
        a.settled, a.promised = truth, truth.epoch
        a.epochs = (EpochStart(truth.epoch, 0),)

    async def up(self, name: str) -> Program:
        """Start a program and wait until it serves."""
        node = self.world.nodes[name]
        await node.stopped()
        self.programs.pop(name, None)
        node.start()
        with trio.fail_after(30):
            while name not in self.programs:
                self.came_up = trio.Event()
                await self.came_up.wait()
        return self.programs[name]

    def kill(self, name: str, *, power: bool = False) -> None:
        self.programs.pop(name, None)
        self.world.nodes[name].kill(power=power)

    async def level(self, follower: str = "b", leader: str = "a", within_s: float = 30) -> None:
        """Wait until the slave has all that its master has, on disk, and acked it."""
        with trio.fail_after(within_s):
            while True:
                master, slave = self.programs.get(leader), self.programs.get(follower)
                if master is not None and slave is not None:
                    end = master.store.log.max_offset
                    known = master.replication.followers.table.get(IDS[follower])
                    if known is not None and known.fsynced == end == slave.store.log.max_offset:
                        return
                await trio.sleep(0.05)


async def assert_identical(one: Store, two: Store, end: int) -> None:
    """I8: both logs hold the same bytes up to there."""
    begin = max(one.log.min_offset, two.log.min_offset)
    assert await bytes_of(one, begin, end) == await bytes_of(two, begin, end)


@asynccontextmanager
async def sending(rig: Rig, name: str = "a", seed: int = 1) -> AsyncIterator[Workload]:
    """Somebody sends to one replica as long as the block lasts."""
    workload = Workload(seed, rig.journal, prefix=f"{name}{seed}.")
    rng = random.Random(seed)
    stop = trio.Event()
    stopped = trio.Event()

    async def send() -> None:
        while not stop.is_set():
            program = rig.programs.get(name)
            if program is not None and rig.world.nodes[name].running:
                program.send(workload, rig.told)
            await trio.sleep(rng.choice((0.0, 0.001, 0.01, 0.05)))
        stopped.set()

    rig.world.nursery.start_soon(send)
    try:
        yield workload
    finally:
        stop.set()
    await stopped.wait()
