"""A whole pair on simulated machines: real records, leases and witnesses over the real stream.

Beside `replication_rig`, whose roles follow a script: here nobody tells a replica what it is but
the machine, its nameservers, and the orders that a test gives as the command line does.
"""

from collections.abc import Callable
from typing import Any

import trio

from broker_trio.broker.replication.instruction import instruction
from broker_trio.broker.replication.line import Who
from broker_trio.broker.replication.machine import Timing
from broker_trio.broker.replication.metadata_sync import Tables
from broker_trio.broker.replication.records import Records
from broker_trio.broker.replication.replica import PairSettings
from broker_trio.broker.replication.replication import Replication
from broker_trio.broker.replication.view import View
from broker_trio.broker.schedule import Schedule
from broker_trio.model.codes import RequestCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.pair import Status
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import HttpSection, NameserverConfig, WitnessSection
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.remoting.dispatch import Dispatcher
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.remoting.server import RemotingServer
from broker_trio.store.config import StoreConfig
from broker_trio.testing.world import Node, World
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.command import Command, Serialize
from tests.sim.replication_rig import KEY, PORT, QUICK, Program, Rig
from tests.sim.store_workload import SYNC

NAME = "pair"
DOOR = 10_911
NAMESERVERS = ("n1", "n2", "n3")


class Replicated(Program):
    """One replica's process, records and all."""

    rig: "RecordsRig"

    async def run(self) -> None:
        rig, node, store = self.rig, self.node, self.store
        client = RemotingClient(through(node.network))
        async with client, trio.open_nursery() as nursery:
            await nursery.start(store.run)
            self.schedule = Schedule(node.disk, store, node.clock, self.topics)
            for table in (self.topics, self.groups, self.offsets, self.schedule):
                table.load(log_is_empty=True)
            (other,) = [name for name in rig.names if name != node.name]
            number = rig.names.index(node.name) + 1
            settings = PairSettings(
                NAME, number, f"{node.name}:{DOOR}", f"{other}:{DOOR}",
                tuple(f"{name}:9876" for name in NAMESERVERS),
                "master" if node.name == "a" else "slave", rig.mode, restore_after_s=2.0,
            )  # fmt: skip
            self.records = await Records.open(
                store, node.clock, node.disk, node.entropy, settings, Timing(),
                early_acks=not store.is_sync,
            )  # fmt: skip
            self.role = self.records.replica
            who = Who("C", NAME, number, self.role.store_id)
            tables = Tables(self.topics, self.groups, self.offsets, self.schedule, store)
            self.replication = Replication(
                store, self.role, tables, self.schedule, node.clock, node.disk,
                node.network, node.entropy, rig.streaming, lambda: who, KEY,
                [f"{other}:{PORT}"], f"0.0.0.0:{PORT}", flush_timeout_s=5.0,
            )  # fmt: skip
            self.role.make_durable = self.replication.make_durable
            await self.replication.open()
            routes = Dispatcher(self.records.routes())
            server = RemotingServer(node.network, routes, RemotingLimits())
            services = (*self.replication.services(), *self.records.services(client))
            for service in (*services, self.schedule.run):
                await nursery.start(service)
            await nursery.start(server.serve, f"0.0.0.0:{DOOR}")
            rig.programs[node.name] = self
            rig.came_up.set()
            await trio.sleep_forever()

    @property
    def state(self) -> str:
        return self.role.machine.describe(trio.current_time())


class RecordsRig(Rig):
    """`a` and `b`, three nameservers, and an operator at `o`."""

    programs: dict[str, Replicated]

    def __init__(self, world: World, config: StoreConfig = SYNC, *, mode: str = "sync") -> None:
        super().__init__(world, config, streaming=QUICK)
        self.mode = mode
        self.nameservers: dict[str, NameserverApp] = {}
        for name in NAMESERVERS:
            world.node(name, self._nameserver)

    async def _main(self, node: Node) -> None:
        await Replicated(self, node).run()

    async def _nameserver(self, node: Node) -> None:
        others = tuple(f"{name}:9876" for name in NAMESERVERS if name != node.name)
        fresh = not self.nameservers.get(node.name)
        config = NameserverConfig(
            listen="0.0.0.0:9876",
            allow_insecure_listen=True,
            http=HttpSection(address=""),
            witness=WitnessSection(others=others, new=fresh),
        )
        app = NameserverApp(node.clock, node.disk, node.network, config)
        self.nameservers[node.name] = app
        await app.run(trio.Event())

    async def whole(self) -> None:
        """Everything up, both copies counted."""
        for name in NAMESERVERS:
            self.world.nodes[name].start()
        await self.up("a")
        await self.up("b")
        await self.until(lambda: self.is_whole("a", "b"))

    def is_whole(self, master: str, slave: str) -> bool:
        """Master owns with both members, and the slave follows, settled."""
        programs = self.programs
        if master not in programs or slave not in programs:
            return False
        one, two = programs[master], programs[slave]
        return one.state == "owner" and len(one.role.members) == 2 and two.state == "slave"

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        with trio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110
                await trio.sleep(0.02)

    async def order(self, name: str, verb: str, **members: Any) -> Status:
        """As the command line does, from a machine of its own."""
        order = bodies.Order(broker_name=NAME, verb=verb, **members)  # type: ignore[arg-type]
        return await self.ask(name, RequestCode.PAIR_ORDER, order)

    async def ask(self, name: str, code: RequestCode, asked: Any) -> Status:
        async with RemotingClient(through(self.world.network.host("o"))) as client:
            command = Command(code, body=bodies.encode(asked), serialize=Serialize.CBOR)
            with trio.fail_after(20):
                answer = await client.call(f"{name}:{DOOR}", command)
        if answer.code:
            raise RemoteProtocolError(f"{answer.code}: {answer.remark}")
        return bodies.decode(answer.body, Status)

    async def try_order(self, name: str, verb: str, **members: Any) -> Status | None:
        """An operator who takes no for an answer."""
        try:
            return await self.order(name, verb, **members)
        except (RemoteProtocolError, Unreachable, trio.TooSlowError):
            return None

    def view(self) -> View:
        """What the command line would see."""
        down = [name for name in (*self.names, *NAMESERVERS) if not self.world.nodes[name].running]
        witnesses = {
            f"{name}:9876": Status(
                broker_name=NAME,
                witness=True,
                forgot=app.witnessing.witness.forgot,
                record=app.witnessing.witness.record(NAME),
            )
            for name, app in self.nameservers.items()
            if name not in down
        }
        replicas = {
            f"{name}:{DOOR}": program.role.status()
            for name, program in self.programs.items()
            if name not in down
        }
        return View(NAME, replicas, witnesses, dict.fromkeys(down, "down"), len(NAMESERVERS))

    async def instructed(self) -> None:
        """Do what `pair status` says, if it says anything."""
        told = instruction(self.view())
        self.world.log("instruction", told.verb, told.command)
        words = told.command.split()
        if len(words) == 3 and words[1] in {"promote", "degrade", "restore"}:
            name = self.names[int(words[2].rpartition("/")[2]) - 1]
            await self.try_order(name, words[1], above=self.view().above)
