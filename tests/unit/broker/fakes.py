"""A broker's control plane without a network: requests go straight to a dispatcher."""

import itertools
import random
from dataclasses import dataclass, field

from broker_trio.broker.groups import Groups
from broker_trio.broker.sessions import Sessions
from broker_trio.broker.settings import Settings
from broker_trio.broker.topics import Topics
from broker_trio.remoting.dispatch import Dispatcher, Parked, Request, Response
from broker_trio.testing.sim_clock import ManualClock
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.command import OUR_VERSION, Command, Ext, Serialize

_ids = itertools.count(1)


@dataclass
class FakeSession:
    """A connection that keeps what is sent to it, and answers calls with `reply`."""

    peer_address: str = "10.9.9.9:5000"
    id: int = field(default_factory=lambda: next(_ids))
    closed: bool = False
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
    from broker_trio.model.errors import Refused  # noqa: PLC0415

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
