"""A real nameserver and a real broker inside the test's own process, on its own Trio loop.

    async with open_embedded() as rocketmq:          about 10 ms
        rocketmq.url                                 rocketmq://127.0.0.1:40311
        rocketmq.address, rocketmq.nameserver        127.0.0.1:40313, 127.0.0.1:40311

        ┌──────────────── one Trio loop ────────────────┐
        │  test ──── loopback ────▶ broker ──▶ disk     │      disk: in memory, or a folder
        │    └────── loopback ────▶ nameserver          │ ◀─── any other process may connect, too
        └───────────────────────────────────────────────┘

The programs are the ones that people run, with all their tasks and the protocol on real sockets.
Below them stand the seams that the simulator has: a disk that can be full or lose power, and
loopback sockets that can be killed, cut off and slowed down. Time is real; for delays of hours see
simulated.py, for asyncio and plain tests threaded.py.
"""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, final

import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.client.options import OptionNames
from broker_trio.namesrv.app import NameserverApp
from broker_trio.remoting.client import ByteStream, connect_tcp
from broker_trio.runtime.clock import RealClock
from broker_trio.testing.folder_disk import FolderDisk
from broker_trio.testing.logs import to_logging
from broker_trio.testing.program import Program
from broker_trio.testing.rocketmq import RocketMQ, started
from broker_trio.testing.shape import App, Options, Serving, nobody, ungrouped
from broker_trio.testing.sim_device import CAPACITY_BYTES
from broker_trio.testing.sim_disk import SimDisk

SEED: Final = "rocketmq"
"""Of what the broker chooses by chance: the same in each run of a test."""

Build = Callable[[Program], App]


@asynccontextmanager
async def open_embedded(options: Options | None = None) -> AsyncIterator[RocketMQ]:
    """A cluster that runs inside the block. At its end everything is killed, within milliseconds.

    An exception of a program that nobody killed ends the block with it.
    """
    options = options or Options()
    with to_logging(), ungrouped():
        async with (
            trio.open_nursery() as nursery,
            started(LoopbackMachines(nursery, options), options) as rocketmq,
        ):
            yield rocketmq


@final
class LoopbackMachines:
    """All programs on one loop, each with a disk and a loopback card of its own."""

    def __init__(self, nursery: trio.Nursery, options: Options) -> None:
        self.options = options
        self.serving: Serving = nobody
        self._nursery = nursery
        self._programs: dict[str, Program] = {}
        for name in options.nameserver_names:
            self._add(name, self._nameserver)
        for name in options.broker_names:
            self._add(name, self._broker)

    def _add(self, name: str, build: Build) -> None:
        def serving(app: App) -> None:
            self.serving(name, app)

        self._programs[name] = Program(name, self._new_disk(name), build, serving)

    def _new_disk(self, name: str) -> SimDisk | FolderDisk:
        if self.options.folder is not None:
            return FolderDisk(str(self.options.folder / name))
        disk = SimDisk(random.Random(f"{SEED}/disk/{name}"), clock=RealClock(), name=name)
        disk.slow = 0.0  # an fsync takes no time, and still decides what survives
        return disk

    def _nameserver(self, program: Program) -> App:
        config = self.options.nameserver_config(program.address)
        return NameserverApp(RealClock(), program.disk, program.network, config)

    def _broker(self, program: Program) -> App:
        nameservers = tuple(map(self.address, self.options.nameserver_names))
        where = program.address
        config = self.options.broker_config(program.name, where, where, nameservers)
        entropy = random.Random(f"{SEED}/{program.name}")
        return BrokerApp(RealClock(), program.disk, program.network, entropy, config)

    async def close(self) -> None:
        """Kill everything and give the ports back."""
        for program in reversed(self._programs.values()):  # brokers first: they notice nothing
            await program.kill()
            program.network.close()

    def disk(self, name: str) -> SimDisk | FolderDisk:
        """The disk of a program, for faults that `RocketMQ` has no word for."""
        return self._programs[name].disk

    # ---- Machines

    def address(self, name: str) -> str:
        return self._programs[name].address

    def app(self, name: str) -> App:
        return self._programs[name].app

    async def start(self, name: str) -> None:
        await self._programs[name].start(self._nursery)

    async def stop(self, name: str) -> None:
        await self._programs[name].stop()

    async def kill(self, name: str, *, power: bool) -> None:
        await self._programs[name].kill(power=power)

    def cut(self, name: str) -> None:
        self._programs[name].network.cut()

    def heal(self, name: str) -> None:
        self._programs[name].network.heal()

    def slow(self, name: str, seconds: float) -> None:
        self._programs[name].network.slow_s = seconds

    def fill_disk(self, name: str, *, full: bool) -> None:
        disk = self._programs[name].disk
        if isinstance(disk, FolderDisk):
            disk.full = full
        else:
            disk.capacity_bytes = disk.used_bytes if full else CAPACITY_BYTES

    async def connect(self, address: str) -> ByteStream:
        return await connect_tcp(address)

    def client_options(self) -> OptionNames:
        return {}  # real sockets and the real clock are what clients have anyway
