"""A nameserver without a network: requests go straight to its dispatcher."""

from dataclasses import dataclass, field

from broker_trio.model.codes import RequestCode
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import HttpSection, NameserverConfig
from broker_trio.remoting.dispatch import Later, Request, Response
from broker_trio.runtime.seams import Stat, Usage
from broker_trio.wire.bodies.register import RegisterBrokerBody, encode_register_body
from broker_trio.wire.bodies.topic_config import TopicConfigSerializeWrapper
from broker_trio.wire.command import OUR_VERSION, Command, Ext, Serialize

MASTER, SLAVE = "10.0.0.1:10911", "10.0.0.2:10911"


@dataclass
class FakeClock:
    """Stands still until told."""

    now: float = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + int(self.now * 1_000)


@dataclass
class MemoryDisk:
    """The few calls that a nameserver makes; `failing` is raised by the next replace."""

    root: str = "data"
    files: dict[str, bytes] = field(default_factory=dict)
    failing: OSError | None = None
    replaced: int = 0

    def lock(self) -> None:
        """Nobody else is here."""

    def usage(self) -> Usage:
        return Usage(100, 40)

    def exists(self, path: str) -> bool:
        return path in self.files

    def stat(self, path: str) -> Stat:
        return Stat(len(self.files[path]), 0)

    def read(self, path: str) -> bytes:
        return self.files[path]

    async def replace(self, path: str, data: bytes) -> None:
        if self.failing is not None:
            raise self.failing
        self.replaced += 1
        self.files[path] = bytes(data)


@dataclass
class FakeSession:
    """A connection as handlers see it."""

    id: int = 1
    peer_address: str = "10.9.9.9:5000"
    closed: bool = False
    parked_full: bool = False

    def send_oneway(self, _command: Command) -> bool:
        return False

    async def call(self, _command: Command) -> Command:
        raise AssertionError("a nameserver asks nobody")


class Nameserver:
    """An app whose dispatcher is asked directly."""

    def __init__(self, config: NameserverConfig | None = None) -> None:
        self.clock, self.disk = FakeClock(), MemoryDisk()
        config = config or NameserverConfig(http=HttpSection(address=""))
        self.app = NameserverApp(self.clock, self.disk, None, config)  # type: ignore[arg-type]

    def start(
        self,
        code: RequestCode,
        ext: Ext | None = None,
        body: bytes = b"",
        *,
        version: int = OUR_VERSION,
        serialize: Serialize = Serialize.JSON,
        session: int = 1,
    ) -> Response | Later:
        """What the handler gives."""
        command = Command(code, ext=ext or {}, body=body, version=version, serialize=serialize)
        received = self.clock.now - 0.002
        request = Request(FakeSession(session), command, received, lambda *_: None)
        return self.app.dispatcher.dispatch(request)  # type: ignore[return-value]

    def ask(self, *args: object, **more: object) -> Response:
        """The same, answered at once."""
        response = self.start(*args, **more)  # type: ignore[arg-type]
        assert isinstance(response, Response)
        return response

    async def ask_later(self, *args: object, **more: object) -> Response:
        """The same, answered by a task."""
        later = self.start(*args, **more)  # type: ignore[arg-type]
        assert not isinstance(later, Response)
        return await later()

    def register(
        self,
        *topics: str,
        name: str = "broker-a",
        addr: str = MASTER,
        broker_id: int = 0,
        ext: Ext | None = None,
        counter: int = 1,
        serialize: Serialize = Serialize.JSON,
        **more: object,
    ) -> Response:
        """A 103 as brokers send it."""
        fields = register_ext(name=name, addr=addr, broker_id=broker_id)
        body = register_body(*topics, counter=counter, serialize=serialize)
        code = RequestCode.REGISTER_BROKER
        return self.ask(code, {**fields, **(ext or {})}, body, serialize=serialize, **more)


def register_ext(*, name: str = "broker-a", addr: str = MASTER, broker_id: int = 0) -> Ext:
    """Header fields of a 103."""
    return {
        "brokerName": name,
        "brokerAddr": addr,
        "clusterName": "c",
        "haServerAddr": addr.replace("10911", "10912"),
        "brokerId": str(broker_id),
    }


def register_body(
    *topics: str, counter: int = 1, serialize: Serialize = Serialize.JSON, compressed: bool = False
) -> bytes:
    """A table of these topics, by default the two of any fresh broker."""
    table = {topic: TopicConfig(topic) for topic in topics or ("TBW102", "T1")}
    wrapper = TopicConfigSerializeWrapper(DataVersion(counter=counter), table)
    return encode_register_body(RegisterBrokerBody(wrapper), serialize, compressed=compressed)
