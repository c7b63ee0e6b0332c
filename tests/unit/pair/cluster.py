"""Replicas and witnesses that talk without a network: requests go straight to the handlers.

Bytes of the log are numbers here: `append` grows a log, `pump` copies and acks as a stream would.
Links can be cut one by one (`cut`), programs can be off (`down`).
"""

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from broker_trio.broker.replication.lease import Lease
from broker_trio.broker.replication.machine import Machine, Timing
from broker_trio.broker.replication.replica import PairSettings, Replica
from broker_trio.broker.replication.requests import PairRequests
from broker_trio.broker.replication.role import Claim
from broker_trio.broker.replication.state_file import at_start, load_state, new_store_id
from broker_trio.model.codes import RequestCode
from broker_trio.model.errors import Refused
from broker_trio.model.pair import Status
from broker_trio.namesrv.config import WitnessSection
from broker_trio.namesrv.witnessing import Witnessing
from broker_trio.remoting.client import Unreachable
from broker_trio.remoting.dispatch import Dispatcher, Request, Response, settle
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.command import Command

NAME = "broker-a"


class LoopClock:
    """Trio's own time."""

    def monotonic(self) -> float:
        return trio.current_time()

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + int(trio.current_time() * 1_000)


@dataclass
class FakeLog:
    max_offset: int = 0
    flushed_offset: int = 0


class Session:
    id = 1
    peer_address = "10.9.9.9:1"


class Cluster:
    """`call` is what `RemotingClient.call` is: by address, with cut links and programs down."""

    def __init__(self) -> None:
        self.dispatchers: dict[str, Dispatcher] = {}
        self.cut: set[tuple[str, str]] = set()
        self.down: set[str] = set()
        self.asked: list[tuple[str, str, int]] = []

    def client(self, own: str) -> "Client":
        return Client(self, own)


@dataclass
class Client:
    cluster: Cluster
    own: str

    async def call(self, address: str, command: Command) -> Command:
        cluster = self.cluster
        await trio.sleep(0.001)
        if (self.own, address) in cluster.cut:
            await trio.sleep_forever()
        if address in cluster.down or self.own in cluster.down:
            raise Unreachable(address, "refused", sent=False)
        cluster.asked.append((self.own, address, command.code))
        request = Request(Session(), command, 0.0, lambda *_: None)  # type: ignore[arg-type]
        answer = cluster.dispatchers[address].dispatch(request)
        if callable(answer):
            answer = await settle(answer)
        assert isinstance(answer, Response)
        if (address, self.own) in cluster.cut:
            await trio.sleep_forever()
        await trio.sleep(0.001)
        return Command(answer.code, body=answer.body, remark=answer.remark)

    async def drop(self, address: str) -> None:
        """Nothing is kept."""


class WitnessNode:
    def __init__(self, cluster: Cluster, address: str, others: list[str], **section: Any) -> None:
        self.cluster, self.address = cluster, address
        self.disk = SimDisk(random.Random(address))
        self.section = WitnessSection(others=tuple(others), **section)
        self.scope = trio.CancelScope()
        self.start()

    def start(self) -> None:
        self.service = Witnessing(LoopClock(), self.disk, self.section)
        self.service.load()
        self.cluster.dispatchers[self.address] = Dispatcher(self.service.routes())

    async def run(self) -> None:
        with self.scope:
            await self.service.run(self.cluster.client(self.address))


@dataclass
class Node:
    """One replica; a restart makes a new `Replica` over the same disk and log."""

    cluster: Cluster
    address: str
    peer: str
    witnesses: list[str]
    replica_id: int
    first_role: str
    mode: str
    log: FakeLog = field(default_factory=FakeLog)
    disk: SimDisk = field(default_factory=lambda: SimDisk(random.Random(1)))
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    starts: int = 0

    def start(self, nursery: trio.Nursery) -> None:
        self.starts += 1
        entropy = random.Random(f"{self.address} {self.starts}")
        kept = at_start(
            load_state(self.disk), new_store_id(entropy), cache="", log_end=self.log.max_offset,
            early=False, clean=False,
        )  # fmt: skip
        settings = PairSettings(
            NAME, self.replica_id, self.address, self.peer, tuple(self.witnesses),
            self.first_role, self.mode, restore_after_s=2.0,
        )  # fmt: skip
        clock = LoopClock()
        machine = Machine(kept, Timing(), self.witnesses)
        self.replica = Replica(machine, clock, self.disk, self.log, settings, self.flush)
        client = self.cluster.client(self.address)
        self.lease = Lease(self.replica, client, clock)  # type: ignore[arg-type]
        requests = PairRequests(self.replica, clock, self.log)
        self.cluster.dispatchers[self.address] = Dispatcher(requests.routes())
        self.cluster.down.discard(self.address)
        self.scope = trio.CancelScope()
        nursery.start_soon(self._run)

    async def _run(self) -> None:
        with self.scope:
            await self.lease.run()

    async def flush(self) -> None:
        await trio.sleep(0.002)
        self.log.flushed_offset = self.log.max_offset

    def kill(self) -> None:
        self.cluster.down.add(self.address)
        self.scope.cancel()

    @property
    def state(self) -> str:
        return self.replica.machine.describe(trio.current_time())

    def append(self, size: int = 100) -> None:
        refusal = self.replica.may_write(trio.current_time())
        if refusal is not None:
            raise refusal
        self.log.max_offset += size


class Pair:
    """Two replicas, their witnesses, and a stream from whoever leads to the other."""

    def __init__(self, nursery: trio.Nursery, *, mode: str = "sync", witnesses: int = 3) -> None:
        self.nursery, self.cluster = nursery, Cluster()
        names = [f"ns{n}:9876" for n in range(witnesses)]
        self.witnesses = [
            WitnessNode(self.cluster, name, [n for n in names if n != name], new=True)
            for name in names
        ]
        for witness in self.witnesses:
            nursery.start_soon(witness.run)
        self.a = Node(self.cluster, "a:10911", "b:10911", names, 1, "master", mode)
        self.b = Node(self.cluster, "b:10911", "a:10911", names, 2, "slave", mode)
        self.a.disk, self.b.disk = SimDisk(random.Random(1)), SimDisk(random.Random(2))
        self.streaming = True
        self.a.start(nursery)
        self.b.start(nursery)
        nursery.start_soon(self._stream)

    async def _stream(self) -> None:
        while True:
            await trio.sleep(0.05)
            for owner, slave in ((self.a, self.b), (self.b, self.a)):
                if self.streaming and not {owner.address, slave.address} & self.cluster.down:
                    await self.pump(owner, slave)

    async def pump(self, owner: Node, slave: Node) -> None:
        """Attach, copy, ack: what a stream does, in one go."""
        role, follows = owner.replica, slave.replica
        if not role.leads or follows.machine.leads:
            return
        claim = Claim(
            follows.store_id, follows.settled, follows.epoch,
            slave.log.max_offset, slave.log.flushed_offset,
        )  # fmt: skip
        following = follows.machine.following
        if following is None or following.epoch != role.epoch:
            if role.refuse_attach(claim) or await follows.take(role.record):
                return
            slave.log.max_offset = min(slave.log.max_offset, owner.log.max_offset)
            await follows.cut(slave.log.max_offset)
        for line in role.epochs:
            await follows.entered(line)
        slave.log.max_offset = slave.log.flushed_offset = owner.log.max_offset
        await follows.level(slave.log.flushed_offset)
        end = slave.log.flushed_offset
        role.followed(trio.current_time(), follows.store_id, end, end)

    async def order(self, node: Node, verb: str, **members: Any) -> Status:
        order = bodies.Order(broker_name=NAME, verb=verb, **members)  # type: ignore[arg-type]
        command = Command(RequestCode.PAIR_ORDER, body=bodies.encode(order))
        answer = await self.cluster.client("operator").call(node.address, command)
        if answer.code:
            raise Refused(answer.code, answer.remark or "")  # type: ignore[arg-type]
        return bodies.decode(answer.body, Status)

    async def until(self, node: Node, state: str, seconds: float = 30.0) -> None:
        await wait_for(lambda: node.state == state, seconds)


async def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Look twenty times a (virtual) second; `TooSlowError` after so many."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.05)


@contextlib.asynccontextmanager
async def pair(**how: Any):
    """A pair that is up: A owns, B is a settled slave, both copies count."""
    async with trio.open_nursery() as nursery:
        found = Pair(nursery, **how)
        await found.until(found.a, "owner")
        await wait_for(lambda: len(found.a.replica.members) == 2 and found.b.state == "slave")
        await found.until(found.a, "owner")
        yield found
        nursery.cancel_scope.cancel()
