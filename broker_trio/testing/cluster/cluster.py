"""A cluster: the real nameserver and broker programs on simulated machines, started and broken.

    cluster = Cluster(world, brokers=1, nameservers=1, store=…)      everything off
    await cluster.start()                                            until all serve
    cluster.kill("b0", power=True); await cluster.up("b0")

Programs are the ones that people run, with all their tasks; only the seams are simulated. HTTP is
off: its server asks for real sockets. Sizes are small, so that a run of a hundred messages rolls
segments, queues and index files.

`plant` is called with each broker as soon as it serves: the place where tests put a bug in, to see
that a checker finds it.
"""

from collections.abc import Callable
from typing import ClassVar, Final

import msgspec
import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.config import BrokerConfig, HttpSection
from broker_trio.model.errors import StoreFailed
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import HttpSection as NameserverHttp
from broker_trio.namesrv.config import NameserverConfig
from broker_trio.store.config import KIB, StoreConfig
from broker_trio.testing.cluster.history import History, Life
from broker_trio.testing.promises import Cells
from broker_trio.testing.world import Node, World

Plant = Callable[[BrokerApp], None]

NAMESERVER_PORT: Final = 9_876
BROKER_PORT: Final = 10_911
LAG_S: Final = 5.0  # between two looks at how late timers run: in virtual time none is
READY_S: Final = 30.0
"""Virtual seconds until a started program must serve: I19."""

SMALL: Final = StoreConfig(
    commit_log_segment_bytes=80 * KIB,
    consume_queue_segment_units=32,
    index_slots=16,
    index_items=64,
    message_size_max=8 * KIB,
    reserve_bytes=8 * KIB,
    unflushed_bytes_max=256 * KIB,
)
"""The smallest segments that a broker accepts: 64 KiB of properties must fit one."""

SYNC: Final = msgspec.structs.replace(SMALL, flush_disk_type="SYNC_FLUSH")


def sound(_: BrokerApp) -> None:
    """The plant of a run that looks for bugs instead of having one."""


class Cluster:
    """All programs of one world, by host name: `ns0`, `ns1`, … and `b0`, `b1`, …"""

    pair_key: ClassVar[bytes] = b""

    def __init__(
        self,
        world: World,
        *,
        brokers: int = 1,
        nameservers: int = 1,
        store: StoreConfig = SMALL,
        cold: float = 0.0,
        tolerates: tuple[type[Exception], ...] = (),
        plant: Plant = sound,
    ) -> None:
        """`cold`: share of reads that have to wait for the device, until the last fault is over.

        `tolerates`: what may end a broker's program, to be looked at by the scenario.
        """
        self.world, self.history = world, History()
        self.nameserver_names = [f"ns{number}" for number in range(nameservers)]
        self.broker_names = [f"b{number}" for number in range(brokers)]
        self.nameserver_apps: dict[str, NameserverApp] = {}
        self.apps: dict[str, BrokerApp] = {}
        self.store, self._plant = store, plant
        self._ready: dict[str, trio.Event] = {}
        for name in self.nameserver_names:
            world.node(name, self._nameserver)
        for name in self.broker_names:
            node = world.node(name, self._broker, tolerates=tolerates)
            node.disk.cold = cold
            self.history.lives[name] = Life()
            self._watch(node)
        world.cells = self.cells = Cells(self, world.network)

    # ---- programs

    async def _nameserver(self, node: Node) -> None:
        app = self.nameserver_apps[node.name] = NameserverApp(
            node.clock, node.disk, node.network, self.nameserver_config(node)
        )
        await self._serve(node, app)

    async def _broker(self, node: Node) -> None:
        app = self.apps[node.name] = BrokerApp(
            node.clock,
            node.disk,
            node.network,
            node.entropy,
            self.broker_config(node),
            pair_key=self.pair_key,
        )
        await self._serve(node, app)

    async def _serve(self, node: Node, app: BrokerApp | NameserverApp) -> None:
        if isinstance(app, NameserverApp):
            app.lag.interval_s = LAG_S
        async with trio.open_nursery() as nursery:
            await nursery.start(app.run, node.stopping)
            if isinstance(app, BrokerApp):
                assert app.parts is not None
                app.parts.lag.interval_s = LAG_S
                self._plant(app)
                self._turn(node.name, "ready")
            self._ready[node.name].set()

    def nameserver_config(self, _node: Node) -> NameserverConfig:
        """The settings of the nameserver on this machine."""
        return NameserverConfig(
            listen=f"0.0.0.0:{NAMESERVER_PORT}",
            allow_insecure_listen=True,
            http=NameserverHttp(address=""),
        )

    def broker_config(self, node: Node) -> BrokerConfig:
        """The settings of the broker on this machine."""
        return BrokerConfig(
            broker_name=node.name,
            listen=f"0.0.0.0:{BROKER_PORT}",
            address=f"{node.network.ip}:{BROKER_PORT}",
            vip_channel=False,
            nameservers=tuple(self.nameserver_addresses),
            allow_insecure_listen=True,
            http=HttpSection(address=""),
            store=self.store,
        )

    @property
    def nameserver_addresses(self) -> list[str]:
        return [f"{name}:{NAMESERVER_PORT}" for name in self.nameserver_names]

    # ---- what happens to them

    def _turn(self, name: str, what: str) -> None:
        self.history.lives[name].add(what, trio.current_time())
        self.world.log("life", name, what)

    def _watch(self, node: Node) -> None:
        """Write down every end of a broker's process, whoever caused it."""
        die = node.disk.on_crash

        def crashed(power: bool) -> None:
            if power or node.running:  # else it is the end of nobody, before a start
                self._turn(node.name, "power" if power else "kill")
            die(power)

        node.disk.on_crash = crashed

    def node(self, name: str) -> Node:
        return self.world.nodes[name]

    def row(self, name: str) -> str:
        """The row of the promises in which this broker acknowledges now; "" where it is down."""
        flush = self.store.flush_disk_type.removesuffix("_FLUSH")
        return flush if self.node(name).alive else ""

    def partner(self, name: str) -> str:
        """A broker alone has none."""
        del name
        return ""

    def follows(self, name: str) -> bool:
        """And copies nobody."""
        del name
        return False

    async def start(self) -> None:
        """Start everything that does not run, and wait until all of it serves."""
        names = [*self.nameserver_names, *self.broker_names]
        for name in names:
            if not self.node(name).running:
                self.begin(name)
        for name in names:
            await self.ready(name)

    def begin(self, name: str) -> None:
        """Start one program; it serves later, or dies before."""
        self._ready[name] = trio.Event()
        self.node(name).start()

    async def ready(self, name: str) -> None:
        """Wait until it serves. Raises `trio.TooSlowError` where that takes over 30 s."""
        with trio.fail_after(READY_S):
            await self._ready[name].wait()

    async def up(self, name: str) -> None:
        """Wait until its last process has ended, start one and wait until it serves."""
        await self.node(name).stopped()
        self.begin(name)
        await self.ready(name)

    async def up_again(self, name: str) -> int:
        """The same where faults may be armed: start until one start comes through; how many."""
        starts = 0
        while True:
            await self.node(name).stopped()
            self.begin(name)
            starts += 1
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_stopped, name, nursery.cancel_scope)
                await self.ready(name)
                nursery.cancel_scope.cancel()
            if self._ready[name].is_set():
                return starts

    async def _until_stopped(self, name: str, scope: trio.CancelScope) -> None:
        await self.node(name).stopped()
        scope.cancel()

    def kill(self, name: str, *, power: bool = False) -> None:
        """kill −9, or with `power` the machine."""
        self.node(name).kill(power=power)

    async def stop(self, name: str) -> None:
        """Ask it to stop and wait until it has."""
        await self.node(name).stop()

    def healed(self) -> None:
        """The last fault is over: from now on everything has to work within its bound."""
        self.world.network.heal_all()
        for node in self.world.nodes.values():
            node.disk.faults.clear()
            node.disk.resume()
            node.disk.slow, node.disk.cold = 1.0, 0.0
        self.history.healed_at = trio.current_time()
        self.world.calm = True
        self.world.log("healed")

    def crash_of(self, name: str) -> BaseException | None:
        """What ended a program whose crash is tolerated."""
        return self.node(name).crash

    def store_failed(self, name: str) -> bool:
        """Whether it ended because its store failed."""
        return _holds(self.crash_of(name), StoreFailed)


def _holds(error: BaseException | None, kind: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_holds(inner, kind) for inner in error.exceptions)
    return isinstance(error, kind)
