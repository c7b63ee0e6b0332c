"""The same programs on real sockets and a real disk, attacked over loopback."""

import os
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.config import BrokerConfig, HttpSection
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import HttpSection as NameserverHttp
from broker_trio.namesrv.config import NameserverConfig
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.runtime.clock import RealClock
from broker_trio.runtime.disk import RealDisk
from broker_trio.runtime.network import RealNetwork
from broker_trio.wire.command import Serialize
from broker_trio.wire.serialize import encode
from tests.hostile import asks
from tests.hostile.programs import PROGRAMS, STORE, Peer
from tests.hostile.test_connections import OTHER_PROTOCOLS
from tests.hostile.variants import ILLEGAL_NAMES

LIMITS = RemotingLimits(connections_per_address_max=60, buffered_bytes_max=4 << 20)
PATIENCE_S = 10.0  # real seconds: only a test that fails gets there


class Real:
    """Both programs on free ports, and the connections of a test."""

    def __init__(self, folder: Path) -> None:
        self.stopping = trio.Event()
        self.nameserver = NameserverApp(
            RealClock(),
            RealDisk(str(folder / "ns")),
            RealNetwork(),
            NameserverConfig(
                listen="127.0.0.1:0", http=NameserverHttp(address=""), remoting=LIMITS
            ),
        )
        self.broker: BrokerApp
        self._folder, self._streams = folder, []

    async def start(self, nursery: trio.Nursery) -> None:
        await nursery.start(self.nameserver.run, self.stopping)
        config = BrokerConfig(
            listen="127.0.0.1:0",
            vip_channel=False,
            nameservers=(self.nameserver.address,),
            http=HttpSection(address=""),
            store=STORE,
            remoting=LIMITS,
        )
        disk = RealDisk(str(self._folder / "b"))
        self.broker = BrokerApp(RealClock(), disk, RealNetwork(), random.Random(1), config)
        await nursery.start(self.broker.run, self.stopping)

    async def dial(self, program: str = "broker") -> Peer:
        """A connection by hand."""
        app = self.nameserver if program == "nameserver" else self.broker
        host, _, port = app.address.rpartition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        self._streams.append(stream)
        return Peer(stream)

    async def serves(self) -> None:
        """A client's round over a new connection."""
        peer = await self.dial()
        assert (await peer.ask(asks.send("good", b"good"))).code == 0
        assert (await peer.ask(asks.pull("good"))).code == 0
        await peer.stream.aclose()

    async def close(self) -> None:
        for stream in self._streams:
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Real]:
    """Both programs, served before and after; their stores lie below `folder`."""
    real = Real(folder)
    async with trio.open_nursery() as nursery:
        await real.start(nursery)
        with trio.fail_after(PATIENCE_S):
            await real.serves()
            yield real
            await real.close()
            await until(lambda: real.broker._server.stats.connections == 0)
            await real.serves()
        real.stopping.set()


def children() -> list[str]:
    """Processes that this one started, where the kernel tells."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return path.read_text().split() if path.exists() else []


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 -- a counter has no event
        await trio.sleep(0.005)


async def test_other_protocols_on_the_port(tmp_path):
    """TLS, HTTP and forty kinds of broken frames are closed; a client works between them."""
    async with running(tmp_path) as real:
        for what, data in OTHER_PROTOCOLS.items():
            for program in PROGRAMS:
                peer = await real.dial(program)
                await peer.send(data)
                assert await peer.closed(), what
                await peer.stream.aclose()


async def test_connections_that_are_reset_at_any_byte(tmp_path):
    """Half a frame and then a reset, where the answer is under way, too: nobody notices."""
    question = encode(asks.send("good", b"x" * 1_000))
    async with running(tmp_path) as real:
        for cut in range(0, len(question), 61):
            peer = await real.dial()
            await peer.send(question * 20 + question[:cut])
            linger = (1).to_bytes(4, "little") + bytes(4)
            peer.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            peer.stream.socket.close()


async def test_more_connections_than_allowed(tmp_path):
    """Those past the limit are closed; what was there before goes on, and places come back."""
    async with running(tmp_path) as real:
        first = await real.dial()
        assert (await first.ask(asks.ask(26))).code == 0
        peers = [await real.dial() for _ in range(150)]
        closed = 0
        for peer in peers:
            try:
                await peer.send(asks.ask(26))
                closed += await peer.answer() is None
            except trio.BrokenResourceError:
                closed += 1
        assert len(peers) - closed == LIMITS.connections_per_address_max - 1
        assert (await first.ask(asks.ask(26))).code == 0
        for peer in peers:
            await peer.stream.aclose()
        await until(lambda: real.broker._server.stats.connections == 1)
        assert (await (await real.dial()).ask(asks.ask(26))).code == 0


async def test_ten_thousand_pipelined_requests_over_loopback(tmp_path):
    """In order and complete, while another connection gets its answers."""
    async with running(tmp_path) as real:
        flood, other, seen = await real.dial(), await real.dial(), []
        frames = b"".join(
            encode(asks.ask(30, opaque=n, topic="good", queueId="0", serialize=Serialize.ROCKETMQ))
            for n in range(10_000)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood.stream.send_all, frames)

            async def take():
                while len(seen) < 10_000:
                    seen.append((await flood.answer()).opaque)

            nursery.start_soon(take)
            for _ in range(5):
                assert (await other.ask(asks.ask(30, topic="good", queueId="0"))).code == 0
        assert seen == list(range(10_000))


async def test_no_name_reaches_the_real_disk(tmp_path):
    """Topics and groups with path parts leave nothing: not in the stores, not beside them, and no
    process was started."""
    before = sorted(tmp_path.parent.iterdir())
    others = children()  # a test before this one may have left a tracker of its own
    async with running(tmp_path) as real:
        peer, registrar = await real.dial(), await real.dial("nameserver")
        for name in ILLEGAL_NAMES:
            for ask in (
                asks.send(name),
                asks.create_topic(name),
                asks.put_group(name),
                asks.pull("good", name),
                asks.send("%RETRY%" + name),
            ):
                assert (await peer.ask(ask)).code in {17, 29}
            await peer.ask(asks.heartbeat(name))
            await peer.ask(asks.ask(215, topic=name))
            await registrar.ask(asks.ask(100, namespace=name, key=name, value=name))
    found = {path.relative_to(tmp_path).parts for path in tmp_path.rglob("*")}
    assert {parts[0] for parts in found} == {"b", "ns"}
    topics = {parts[2] for parts in found if parts[:2] == ("b", "consumequeue") and len(parts) > 2}
    assert topics == {"good"}
    assert {parts[1] for parts in found if parts[0] == "ns" and len(parts) > 1} <= {
        "kvConfig.json",
        "lock",
    }
    assert sorted(tmp_path.parent.iterdir()) == before
    assert set(children()) <= set(others)


@pytest.mark.slow
async def test_five_thousand_connections_over_loopback(tmp_path):
    """Each past the limit is closed at once, and the sixty that are kept are served."""
    async with running(tmp_path) as real:
        kept = [await real.dial() for _ in range(50)]
        for peer in kept:
            await peer.ask(asks.ask(26))
        for _ in range(50):
            batch = [await real.dial() for _ in range(100)]
            for peer in batch:
                await peer.stream.aclose()
        for peer in kept:
            assert (await peer.ask(asks.ask(26))).code == 0
