"""A broker's control plane without a network: requests go straight to a dispatcher."""

import itertools
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.groups import Groups
from broker_trio.broker.parts import Parts
from broker_trio.broker.schedule import to_schedule
from broker_trio.broker.sessions import Sessions
from broker_trio.broker.settings import Settings
from broker_trio.broker.topics import Topics
from broker_trio.model.errors import Refused
from broker_trio.model.hashes import tags_code
from broker_trio.model.hosts import encode_host
from broker_trio.remoting.dispatch import Dispatcher, Parked, Request, Response
from broker_trio.store.config import StoreConfig
from broker_trio.store.store import Draft, Store
from broker_trio.testing.sim_clock import ManualClock, SimClock
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.command import OUR_VERSION, Command, Ext, Serialize
from broker_trio.wire.properties import format_properties
from broker_trio.wire.record import decode_records

SMALL = StoreConfig(
    commit_log_segment_bytes=1 << 20,
    consume_queue_segment_units=1024,
    index_slots=64,
    index_items=256,
    message_size_max=64 << 10,
    reserve_bytes=64 << 10,
    unflushed_bytes_max=1 << 20,
)
_ids = itertools.count(1)


@dataclass
class FakeSession:
    """A connection that keeps what is sent to it, and answers calls with `reply`."""

    peer_address: str = "10.9.9.9:5000"
    id: int = field(default_factory=lambda: next(_ids))
    closed: bool = False
    parked_full: bool = False
    sent: list[Command] = field(default_factory=list)
    reply: Command | Exception | None = None

    def send_oneway(self, command: Command) -> bool:
        self.sent.append(command)
        return True

    async def call(self, command: Command) -> Command:
        self.sent.append(command)
        assert self.reply is not None
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    def codes(self) -> list[int]:
        return [command.code for command in self.sent]


def request(
    code: int,
    ext: Ext | None = None,
    body: bytes = b"",
    *,
    session: FakeSession | None = None,
    version: int = OUR_VERSION,
    language: int = 0,
    serialize: Serialize = Serialize.JSON,
) -> Request:
    command = Command(
        code, ext=ext or {}, body=body, version=version, language=language, serialize=serialize
    )
    return Request(session or FakeSession(), command, 0.0, lambda _request, _response: None)


def ask(dispatcher: Dispatcher, code: int, ext: Ext | None = None, body: bytes = b"", **how):
    """The answer of a handler that need not wait."""
    result = dispatcher.dispatch(request(code, ext, body, **how))
    assert isinstance(result, Response), f"{code} wants to wait"
    return result


async def ask_later(
    dispatcher: Dispatcher, code: int, ext: Ext | None = None, body: bytes = b"", **how
):
    """The answer of any handler; a `Refused` of a later one becomes its answer, as in a server."""
    result = dispatcher.dispatch(request(code, ext, body, **how))
    assert not isinstance(result, Parked)
    if isinstance(result, Response):
        return result
    try:
        return await result()
    except Refused as refusal:
        return Response(refusal.code, refusal.remark, dict(refusal.fields or {}))


class Tables:
    """Topics, groups and sessions over one simulated disk, loaded and empty."""

    def __init__(self, disk: SimDisk | None = None, **settings) -> None:
        self.disk = disk or SimDisk(random.Random(1))
        self.clock = ManualClock()
        self.settings = Settings(**settings)
        self.topics = Topics(self.disk, self.clock, self.settings)
        self.groups = Groups(self.disk, self.clock, self.settings)
        self.sessions = Sessions(self.topics, self.groups, self.clock)

    def load(self) -> "Tables":
        self.topics.load(log_is_empty=True)
        self.groups.load(log_is_empty=True)
        return self


class NoNetwork:
    """A client for a broker without nameservers."""


class Broker:
    """A broker's parts over a real store on a simulated disk; `running` starts it."""

    def __init__(self, disk: SimDisk, clock: SimClock, config: BrokerConfig) -> None:
        self.disk, self.clock, self.config = disk, clock, config
        host = encode_host("10.0.0.1:10911")
        self.store = Store(disk, clock, random.Random(2), config.store, host)

    async def start(self, nursery: trio.Nursery, *services: str) -> None:
        """Recover, load the tables, run the named services beside."""
        await nursery.start(self.store.run)
        self.parts = Parts(
            self.clock, self.disk, random.Random(3), self.config, "10.0.0.1:10911", self.store,
            NoNetwork(),
        )  # fmt: skip
        self.parts.load(self.config)
        for name in services:
            await nursery.start(getattr(self.parts, name).run)
        self.dispatcher = self.parts.dispatcher()

    def put(self, topic="T", queue_id=0, body=b"x", *, level=0, times=0, **properties: str):
        """Store a message as a send would, delayed where `level` says so."""
        properties.setdefault("UNIQ_KEY", f"{self.store.log.max_offset:032X}")
        draft = Draft(
            topic, queue_id, body, format_properties(properties), 5, 0, 77,
            encode_host("10.9.9.9:4000"), tags_code(properties.get("TAGS", "")), times,
        )  # fmt: skip
        appended = self.store.append(to_schedule(draft, level) if level else draft)
        self.store.write_out()
        return appended

    def messages(self, topic="T", queue_id=0):
        """What a consumer of one queue can read now."""
        found, offset = [], 0
        while True:
            result = self.store.reader.get_nowait(
                topic, queue_id, offset, count_max=1_000, codes=None
            )
            if not result.records:
                return found
            found += decode_records(b"".join(result.records))
            offset = result.next_begin_offset

    def ask(self, code, ext=None, body=b"", **how):
        return ask(self.dispatcher, code, ext, body, **how)

    async def ask_later(self, code, ext=None, body=b"", **how):
        return await ask_later(self.dispatcher, code, ext, body, **how)


@asynccontextmanager
async def running(*services: str, disk: SimDisk | None = None, store=None, **config):
    """A started broker with store settings of a hundredth of the usual size."""
    clock = SimClock()
    disk = disk or SimDisk(random.Random(1), clock=clock)
    settings = BrokerConfig(store=store or SMALL, **config)
    broker = Broker(disk, clock, settings)
    async with trio.open_nursery() as nursery:
        await broker.start(nursery, *services)
        yield broker
        nursery.cancel_scope.cancel()
    disk.crash(power=False)  # the process has ended: its lock goes, its files stay
    disk.restart()
