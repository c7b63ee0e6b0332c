"""A nameserver and a broker in one simulated world, the peers that attack them, and a good client.

    async with attacked(world, …) as target:       both serve; everything here is in virtual time
        peer = await target.peer("broker")         a connection by hand: any bytes
        await target.good.works()                  send, pull, route: as any client does

Whatever escapes from either program ends the world, and the test with it: that is the judge that
no test has to call. `target.files()` lists what lies on both disks.
"""

import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Final

import msgspec
import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.config import BrokerConfig, HttpSection
from broker_trio.client.connect import connect
from broker_trio.client.group_calls import GroupCalls, readable
from broker_trio.model.codes import RequestCode
from broker_trio.model.route import MessageQueue
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import HttpSection as NameserverHttp
from broker_trio.namesrv.config import NameserverConfig
from broker_trio.remoting.bridge import through
from broker_trio.store.config import StoreConfig
from broker_trio.testing.world import Node, World
from broker_trio.wire.command import ONEWAY, RESPONSE, Command, Serialize
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.serialize import encode

PORTS: Final = {"broker": ("b0", 10_911), "nameserver": ("ns0", 9_876)}
PROGRAMS: Final = tuple(PORTS)
STORE: Final = StoreConfig(
    commit_log_segment_bytes=1 << 20,
    consume_queue_segment_units=256,
    index_slots=64,
    index_items=256,
    message_size_max=64 << 10,
    reserve_bytes=64 << 10,
    unflushed_bytes_max=8 << 20,
)
TESTS: Final = ("tests.", "broker_trio.testing.")
"""Beginnings of the names of tasks that are not the programs'."""
GOOD_EVERY_S: Final = 5.0  # virtual seconds between two rounds of the good client
KNOWN_FILES: Final = re.compile(
    r"commitlog/\d{20}|consumequeue/[%|a-zA-Z0-9_-]{1,255}/\d{1,4}/\d{20}|index/\d{17}|checkpoint"
    r"|abort|lock|broker_trio/[a-z_]+\.(cbor|log)|kvConfig\.json"
    r"|config/(topics|subscriptionGroup|consumerOffset|delayOffset)\.json(\.bak)?"
)
"""Everything that the two programs may ever create."""


class Peer:
    """One connection by hand."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream, self.frames = stream, FrameBuffer()
        self._outbox: list[bytes] = []
        self._sending = False

    async def send(self, *data: bytes | Command) -> None:
        """Bytes as they are, commands as frames."""
        parts = (encode(one) if isinstance(one, Command) else one for one in data)
        self._outbox += parts
        if self._sending:
            return  # whoever sends takes it along; a reader must not wait for its own sender
        self._sending = True
        try:
            while self._outbox:
                joined, self._outbox = b"".join(self._outbox), []
                await self.stream.send_all(joined)
        finally:
            self._sending = False

    async def next(self) -> Command | None:
        """The next command of the program; None once it closed the connection."""
        while (command := self.frames.next_command()) is None:
            try:
                data = await self.stream.receive_some(1 << 20)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self.frames.receive_data(data)
        return command

    async def answer(self) -> Command | None:
        """The next answer; questions of the program to its clients are answered with nonsense."""
        while (command := await self.next()) is not None and not command.flag & RESPONSE:
            if not command.flag & ONEWAY:
                nonsense = {"": "\0", "../x": "\x1b[2J"}
                answer = Command(-7, command.opaque, RESPONSE, nonsense, b"\xff", "\r\n")
                try:
                    await self.send(answer)
                except trio.BrokenResourceError:
                    return None
        return command

    async def ask(self, command: Command) -> Command:
        """One question, answered."""
        await self.send(command)
        answer = await self.answer()
        assert answer is not None, f"closed instead of answering {command.code}"
        return answer

    async def closed(self) -> bool:
        """Wait until the program closes it; False where it says something instead."""
        return await self.answer() is None


class Good:
    """A client as it should be, on a machine and connections of its own."""

    def __init__(self, node_network: object, host: str = "b0", nameserver: str = "ns0") -> None:
        self.client = connect(
            [f"{nameserver}:9876"],
            group="good-producers",
            connect=through(node_network),  # type: ignore[arg-type]
            wall_ms=lambda: 1_700_000_000_000,
            entropy=Random(0),
        )
        self.address, self.count = f"{host}:10911", 0

    async def works(self) -> None:
        """Send a message, read it back, find the route; each within its usual patience."""
        self.count += 1
        body = b"good %d" % self.count
        receipt = await self.client.send("good", body, keys=[f"k{self.count}"], timeout_s=5.0)
        queue = MessageQueue("good", receipt.broker_name, receipt.queue_id)
        session = self.client.session
        assert queue in readable("good", await session.nameservers.route("good"))
        group = GroupCalls(session.calls, "good-consumers")
        pulled = await group.pull(self.address, queue, receipt.queue_offset, count=1)
        assert [message.body for message in pulled.messages] == [body]
        await session.calls.ask(self.address, RequestCode.GET_BROKER_RUNTIME_INFO)

    async def works_on(self, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        """The same again and again, for as long as somebody attacks."""
        with trio.CancelScope() as scope:
            task_status.started(scope)
            while True:
                await self.works()
                await trio.sleep(GOOD_EVERY_S)


class LongestStep(trio.abc.Instrument):
    """The processor time of the longest step that a task of the programs took without a pause."""

    def __init__(self) -> None:
        self.seconds, self.name = 0.0, ""
        self._began = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = time.thread_time() - self._began
        if took > self.seconds and not task.name.startswith(TESTS):
            self.seconds, self.name = took, task.name


class Target:
    """Both programs, running."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broker: BrokerApp
        self.nameserver: NameserverApp
        self.good: Good
        self.longest = LongestStep()
        self.ready = {name: trio.Event() for name in PROGRAMS}

    async def peer(self, program: str = "broker", host: str = "evil") -> Peer:
        """A new connection from `host` to one of the programs."""
        name, port = PORTS[program]
        return Peer(await self.world.network.host(host).connect(f"{name}:{port}"))

    def dispatcher(self, program: str):
        if program == "nameserver":
            return self.nameserver.dispatcher
        assert self.broker.parts is not None
        return self.broker.parts.dispatcher()

    @property
    def parts(self):
        assert self.broker.parts is not None
        return self.broker.parts

    def server(self, program: str):
        return self.nameserver.server if program == "nameserver" else self.broker._server

    def files(self) -> list[str]:
        """Every file on both disks."""
        return [path for node in ("b0", "ns0") for path in walk(self.world.nodes[node].disk)]

    def check_files(self) -> None:
        """Nothing lies where it should not, and no topic has a name that none may have."""
        paths = [path.removesuffix(".tmp") for path in self.files()]  # some are being replaced
        unknown = [path for path in paths if KNOWN_FILES.fullmatch(path) is None]
        assert unknown == [], unknown
        legal = re.compile(r"[%|a-zA-Z0-9_-]{1,255}")
        tables = (self.parts.topics.table, self.parts.groups.table)
        assert [name for table in tables for name in table if not legal.fullmatch(name)] == []


def walk(disk, folder: str = "") -> Iterable[str]:
    """Every file below a folder of a disk."""
    for name in disk.list(folder):
        path = f"{folder}/{name}" if folder else name
        try:
            disk.stat(path)
        except IsADirectoryError:
            yield from walk(disk, path)
        else:
            yield path


@asynccontextmanager
async def attacked(
    world: World,
    *,
    before: Callable[[BrokerApp], None] = lambda _: None,
    nameserver: dict[str, object] | None = None,
    restart: bool = False,
    **broker: object,
) -> AsyncIterator[Target]:
    """Both programs with small files, and a good client that found everything in order.

    `broker` and `nameserver` are settings of theirs. The good client works during the block, too,
    and at its end; then both programs stop cleanly, which writes all that they hold.
    `restart`: they lose power first, and must come up from whatever got into their files.
    """
    target = Target(world)

    async def run_nameserver(node: Node) -> None:
        config = NameserverConfig(
            listen="0.0.0.0:9876",
            allow_insecure_listen=True,
            http=NameserverHttp(address=""),
            **(nameserver or {}),  # type: ignore[arg-type]
        )
        target.nameserver = NameserverApp(node.clock, node.disk, node.network, config)
        await serve(node, target.nameserver, "nameserver")

    async def run_broker(node: Node) -> None:
        config = BrokerConfig(
            broker_name="b0",
            listen="0.0.0.0:10911",
            address=f"{node.network.ip}:10911",
            vip_channel=False,
            nameservers=("ns0:9876",),
            allow_insecure_listen=True,
            http=HttpSection(address=""),
            store=STORE,
        )
        config = msgspec.structs.replace(config, **broker)
        target.broker = BrokerApp(node.clock, node.disk, node.network, node.entropy, config)
        await serve(node, target.broker, "broker")

    async def serve(node: Node, app: BrokerApp | NameserverApp, name: str) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(app.run, node.stopping)
            target.ready[name].set()

    nodes = [world.node("ns0", run_nameserver), world.node("b0", run_broker)]
    for node, name in zip(nodes, ("nameserver", "broker"), strict=True):
        node.start()
        await target.ready[name].wait()
    before(target.broker)
    target.good = Good(world.network.host("good"))
    assert await create_topic(target, "good")
    async with target.good.client, trio.open_nursery() as nursery:
        await target.good.works()
        during = await nursery.start(target.good.works_on)
        trio.lowlevel.add_instrument(target.longest)
        yield target
        trio.lowlevel.remove_instrument(target.longest)
        during.cancel()
        await target.good.works()
        if restart:
            await lose_power(target)
        await still_registers(target)
        target.check_files()
    for node in reversed(nodes):
        await node.stop()


async def lose_power(target: Target) -> None:
    """Both machines at once; they serve again, with the topic that was there."""
    target.world.power_loss()
    for node, name in (("ns0", "nameserver"), ("b0", "broker")):
        await target.world.nodes[node].stopped()
        target.ready[name] = trio.Event()
        target.world.nodes[node].start()
        await target.ready[name].wait()
    await trio.sleep(1)
    fresh = Good(target.world.network.host("good again"))
    async with fresh.client:
        await fresh.works()


async def still_registers(target: Target) -> None:
    """The broker's table, whatever got into it, is one that the nameserver takes."""
    rejected = target.nameserver.stats.registrations["rejected"]
    if await create_topic(target, "after"):  # else the table is full: some tests see to that
        assert "after" in target.nameserver.table.topics
    assert target.nameserver.stats.registrations["rejected"] == rejected


async def create_topic(target: Target, topic: str) -> bool:
    """As an operator does; once this returns the nameserver has been told."""
    ext = {
        "topic": topic,
        "defaultTopic": "TBW102",
        "readQueueNums": "1",
        "writeQueueNums": "1",
        "perm": "6",
        "topicFilterType": "SINGLE_TAG",
        "order": "false",
    }
    peer = await target.peer(host="operator")
    answer = await peer.ask(Command(RequestCode.UPDATE_AND_CREATE_TOPIC, 1, ext=ext))
    await peer.stream.aclose()
    return answer.code == 0


def frame(serialize: int, header: bytes, body: bytes = b"") -> bytes:
    """A frame around any header."""
    total = 4 + len(header) + len(body)
    return (
        total.to_bytes(4, "big")
        + (serialize << 24 | len(header)).to_bytes(4, "big")
        + header
        + body
    )


SERIALIZES: Final = tuple(Serialize)
