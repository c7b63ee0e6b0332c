"""The same cluster on a simulated network, disk and clock: hours pass at once, by a seed.

    async with open_simulated(seed=7) as rocketmq:       inside `run_in_virtual_time`, or any
        await trio.sleep(7_200)                          loop on a MockClock that jumps by itself

Every program runs on a machine of its own in a `World`; the test is a machine as well, called
`test`. Nothing of the process's network, disk or clock is touched, so clients must be given the
simulated network: `rocketmq.connect()` does that. Threads and real sockets do not belong in here:
the clock jumps while they work.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Final, TypeVar, final

import msgspec
import trio
from trio.testing import MockClock

from broker_trio.broker.app import BrokerApp
from broker_trio.client.options import OptionNames
from broker_trio.namesrv.app import NameserverApp
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import ByteStream
from broker_trio.runtime.loop_lag import LoopLag
from broker_trio.testing.logs import to_logging
from broker_trio.testing.rocketmq import RocketMQ, started
from broker_trio.testing.shape import App, NotRunning, Options, Serving, nobody, ungrouped
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_device import CAPACITY_BYTES
from broker_trio.testing.sim_network import DELAY_S
from broker_trio.testing.simulate import seeded_scheduler
from broker_trio.testing.world import Node, World

NAMESERVER_PORT: Final = 9_876
BROKER_PORT: Final = 10_911
READY_S: Final = 30.0
SELDOM_S: Final = 3_600.0
UNHURRIED: Final = {
    "flush_interval_ms": 2_000,
    "queue_flush_interval_ms": 10_000,
    "checkpoint_interval_ms": 10_000,
}
"""What an idle broker does twice a second makes most of the work of a virtual hour."""
TEST: Final = "test"
"""The name of the test's own machine."""
WRONG_CLOCK: Final = (
    "a simulated cluster needs a clock that jumps, or a delay of two hours would take two hours. "
    "pytest-trio: install it, and ask for the fixture rocketmq_simulated as an argument of the "
    'test. anyio: let anyio_backend be ("trio", {"clock": trio.testing.MockClock('
    "autojump_threshold=0)}). Elsewhere: run_in_virtual_time(main, seed=1)"
)

T = TypeVar("T")


def run_in_virtual_time(
    main: Callable[[], Awaitable[T]],
    *,
    seed: int,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> T:
    """`trio.run` whose time jumps to the next deadline and whose task order is the seed's."""
    clock = MockClock(autojump_threshold=0) if clock is None else clock
    with seeded_scheduler(seed):
        return trio.run(main, clock=clock, instruments=instruments)


@asynccontextmanager
async def open_simulated(
    options: Options | None = None, *, seed: int = 0
) -> AsyncIterator[RocketMQ]:
    """A cluster in a world of its own, killed at the end of the block.

    Raises `RuntimeError` where time does not jump, `ValueError` for a folder: disks are simulated.
    """
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock) or clock.autojump_threshold == inf:
        raise RuntimeError(WRONG_CLOCK)
    options = options or Options()
    if options.folder is not None:
        raise ValueError(f"folder={options.folder}: the disks of a simulated cluster are simulated")
    with to_logging(), ungrouped():
        async with (
            trio.open_nursery() as nursery,
            started(SimulatedMachines(World(seed, nursery), options), options) as rocketmq,
        ):
            yield rocketmq


@final
class SimulatedMachines:
    """Each program on a node of a world. Faults hit all of a node's links."""

    def __init__(self, world: World, options: Options) -> None:
        self.world, self.options = world, options
        self.serving: Serving = nobody
        self._apps: dict[str, App] = {}
        self._ready: dict[str, trio.Event] = {}
        self._client, self._clients = through(world.network.host(TEST)), 0
        self._clock = SimClock()
        for name in options.nameserver_names:
            world.node(name, partial(self._live, self._nameserver))
        for name in options.broker_names:
            world.node(name, partial(self._live, self._broker))

    async def _live(self, build: Callable[[Node], App], node: Node) -> None:
        app = build(node)
        async with trio.open_nursery() as nursery:
            await nursery.start(app.run, node.stopping)
            self._apps[node.name] = app
            _lag_of(app).interval_s = SELDOM_S
            self.serving(node.name, app)
            self._ready[node.name].set()

    async def close(self) -> None:
        """Kill everything."""
        for node in reversed(self.world.nodes.values()):  # brokers first
            node.kill()
            await node.stopped()

    def _nameserver(self, node: Node) -> App:
        config = self.options.nameserver_config(f"0.0.0.0:{NAMESERVER_PORT}")
        return NameserverApp(node.clock, node.disk, node.network, config)

    def _broker(self, node: Node) -> App:
        listen, nameservers = f"0.0.0.0:{BROKER_PORT}", self.options.nameserver_names
        config = self.options.broker_config(
            node.name,
            listen,
            self.address(node.name),
            tuple(map(self.address, nameservers)),
            msgspec.structs.replace(self.options.store_config(), **UNHURRIED),
        )
        return BrokerApp(node.clock, node.disk, node.network, node.entropy, config)

    # ---- Machines

    def address(self, name: str) -> str:
        port = BROKER_PORT if name in self.options.broker_names else NAMESERVER_PORT
        return f"{self.world.nodes[name].network.ip}:{port}"

    def app(self, name: str) -> App:
        if not self.world.nodes[name].running or not self._ready[name].is_set():
            raise NotRunning(name)
        return self._apps[name]

    async def start(self, name: str) -> None:
        node = self.world.nodes[name]
        if node.running:
            raise RuntimeError(f"{name} runs already")
        self._ready[name] = trio.Event()
        node.start()
        with trio.fail_after(READY_S):
            await self._ready[name].wait()

    async def stop(self, name: str) -> None:
        await self.world.nodes[name].stop()

    async def kill(self, name: str, *, power: bool) -> None:
        node = self.world.nodes[name]
        node.kill(power=power)
        await node.stopped()

    def cut(self, name: str) -> None:
        self.world.network.isolate(name)

    def heal(self, name: str) -> None:
        for other in (TEST, *self.world.nodes):
            if other != name:
                self.world.network.heal(name, other)

    def slow(self, name: str, seconds: float) -> None:
        bounds = (DELAY_S[0] + seconds, DELAY_S[1] + seconds)
        for other in (TEST, *self.world.nodes):
            if other != name:
                self.world.network.set_delay_one_way(name, other, bounds)

    def fill_disk(self, name: str, *, full: bool) -> None:
        disk = self.world.nodes[name].disk
        disk.capacity_bytes = disk.used_bytes if full else CAPACITY_BYTES

    async def connect(self, address: str) -> ByteStream:
        return await self._client(address)

    def client_options(self) -> OptionNames:
        self._clients += 1
        return {
            "connect": self._client,
            "wall_ms": self._clock.wall_ms,
            "entropy": self.world.rng(f"client/{self._clients}"),
        }


def _lag_of(app: App) -> LoopLag:
    """What measures how late timers run: never, in virtual time, and ten times a second."""
    if isinstance(app, NameserverApp):
        return app.lag
    assert app.parts is not None
    return app.parts.lag
