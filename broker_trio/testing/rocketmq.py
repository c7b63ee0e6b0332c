"""What a test holds in its hands: a running cluster, where it is, and what can be done to it.

    async with rocketmq.connect() as mq: …       the Python client
    rocketmq.url, .nameserver, .address          where any other one connects
    rocketmq.messages("orders")                  what is stored, for assertions
    await rocketmq.create_topic("orders", queues=1)

    await rocketmq.kill_broker(); await rocketmq.restart_broker()
    with rocketmq.partition(): …                 faults last until the block ends, or `end()`
    with rocketmq.disk_full(): …
    with rocketmq.slow(0.2): …
    rocketmq.duplicate()                         the next message is stored twice

The same for programs on real loopback sockets (embedded.py) and in a simulated world
(simulated.py): what differs is behind `Machines`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Unpack, final

import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.parts import Parts
from broker_trio.client.connect import Client, connect
from broker_trio.client.options import OptionNames
from broker_trio.client.received import Received
from broker_trio.model.names import dlq_topic
from broker_trio.model.route import Perm
from broker_trio.model.topic import TopicConfig
from broker_trio.testing.shape import (
    App,
    Duplicates,
    Fault,
    Machines,
    NotRunning,
    Options,
    stored_messages,
)


@final
class RocketMQ:
    """A running cluster. Where a method takes `broker`, None means the first one, `broker-a`."""

    def __init__(self, machines: Machines, options: Options) -> None:
        self.machines, self.options = machines, options
        self._duplicates = {name: Duplicates() for name in options.broker_names}

    # ---- where it is

    @property
    def address(self) -> str:
        """host:port of the first broker; the same after a restart."""
        return self.machines.address(self.options.broker_names[0])

    @property
    def nameserver(self) -> str:
        """host:port of the first nameserver."""
        return self.nameservers[0]

    @property
    def addresses(self) -> dict[str, str]:
        """Every broker's, by name."""
        return {name: self.machines.address(name) for name in self.options.broker_names}

    @property
    def nameservers(self) -> list[str]:
        return [self.machines.address(name) for name in self.options.nameserver_names]

    @property
    def url(self) -> str:
        """For `broker_trio.connect`."""
        return f"rocketmq://{','.join(self.nameservers)}"

    def connect(self, **options: Unpack[OptionNames]) -> Client:
        """`broker_trio.connect(rocketmq.url, …)`, in this cluster's network and time.

        To be entered by `async with`; any number of them. Real clients of embedded clusters may
        also connect by `url`; in a simulated one this is the only way in.
        """
        every: OptionNames = self.machines.client_options()
        every.update(options)
        return connect(self.nameservers, **every)

    # ---- what is in it

    def messages(self, topic: str, *, broker: str | None = None) -> list[Received]:
        """All stored messages of a topic that consumers can see, in the order they were stored.

        Brokers one after the other, or only one. Delayed messages appear when they are due. Raises
        `NotRunning` where a broker is down.
        """
        names = self.options.broker_names if broker is None else [self._broker(broker)]
        return [
            message
            for name in names
            for message in stored_messages(self.parts(name).store, name, topic)
        ]

    def dead_letters(self, group: str) -> list[Received]:
        """What the group's consumers gave up, or rejected."""
        return self.messages(dlq_topic(group))

    async def create_topic(self, topic: str, *, queues: int = 1) -> None:
        """On every broker, with so many queues each; or change it. One queue keeps one order.

        Returns when the nameservers know it. Raises `Refused` for an illegal name or number.
        """
        config = TopicConfig(
            topic,
            read_queue_nums=queues,
            write_queue_nums=queues,
            perm=Perm.READ | Perm.WRITE,
        )
        for name in self.options.broker_names:
            self.parts(name).topics.put(config)
            await self.parts(name).registrar.synced()

    def parts(self, broker: str | None = None) -> Parts:
        """The insides of a running broker, for tests of broker_trio itself. No stable API."""
        name = self._broker(broker)
        app = self.machines.app(name)
        assert isinstance(app, BrokerApp)
        if app.parts is None:
            raise NotRunning(name)
        return app.parts

    def _broker(self, name: str | None) -> str:
        names = self.options.broker_names
        if name is None:
            return names[0]
        if name not in names:
            raise ValueError(f"no broker is called {name!r}, there are {', '.join(names)}")
        return name

    # ---- life

    async def start(self) -> None:
        """Start everything: nameservers first, so that brokers find them."""
        for name in (*self.options.nameserver_names, *self.options.broker_names):
            await self.machines.start(name)

    def serving(self, name: str, app: App) -> None:
        """A program serves from now on; `Machines` calls it."""
        if isinstance(app, BrokerApp):
            assert app.parts is not None
            self._duplicates[name].plant(app.parts.store)

    async def kill_broker(self, broker: str | None = None, *, power: bool = False) -> None:
        """kill -9; with `power` its machine, which loses what was not flushed (in memory only)."""
        await self.machines.kill(self._broker(broker), power=power)

    async def stop_broker(self, broker: str | None = None) -> None:
        """As SIGTERM: it unregisters, answers what waits, and flushes."""
        await self.machines.stop(self._broker(broker))

    async def restart_broker(self, broker: str | None = None) -> None:
        """Kill it if it runs, and start it on the same address and disk; returns when it serves."""
        name = self._broker(broker)
        await self.machines.kill(name, power=False)
        await self.machines.start(name)

    async def kill_nameserver(self, number: int = 0) -> None:
        """kill -9; numbers count from 0, as in `nameservers`."""
        await self.machines.kill(self.options.nameserver_names[number], power=False)

    async def restart_nameserver(self, number: int = 0) -> None:
        """It comes back empty; brokers register again within seconds."""
        await self.kill_nameserver(number)
        await self.machines.start(self.options.nameserver_names[number])

    # ---- faults

    def partition(self, broker: str | None = None) -> Fault:
        """Cut the broker off from clients and nameservers: bytes wait, nobody is told."""
        name = self._broker(broker)
        self.machines.cut(name)
        return Fault(lambda: self.machines.heal(name))

    def slow(self, seconds: float, broker: str | None = None) -> Fault:
        """Everything that the broker sends arrives so much later."""
        if seconds < 0:
            raise ValueError(f"seconds={seconds}, must not be negative")
        name = self._broker(broker)
        self.machines.slow(name, seconds)
        return Fault(lambda: self.machines.slow(name, 0.0))

    def disk_full(self, broker: str | None = None) -> Fault:
        """No space on the broker's disk: sends are refused, reads go on, until it ends."""
        name = self._broker(broker)
        self._fill(name, full=True)
        return Fault(lambda: self._fill(name, full=False))

    def _fill(self, name: str, *, full: bool) -> None:
        self.machines.fill_disk(name, full=full)
        try:
            self.parts(name).store.retention.check_space()  # which it does every ten seconds
        except NotRunning:
            return

    def duplicate(self, times: int = 1, broker: str | None = None) -> None:
        """Store each of the broker's next `times` sends twice.

        That is what a producer leaves that sent again because an answer was lost; retries and
        delayed messages that come due count as sends.
        """
        self._duplicates[self._broker(broker)].left += times


@asynccontextmanager
async def started(machines: Machines, options: Options) -> AsyncIterator[RocketMQ]:
    """The cluster on these machines, serving; all of it is killed at the end of the block."""
    rocketmq = RocketMQ(machines, options)
    machines.serving = rocketmq.serving
    try:
        await rocketmq.start()
        yield rocketmq
    finally:
        with trio.CancelScope(shield=True):
            await machines.close()
