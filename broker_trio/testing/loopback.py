"""Real loopback connections of a program that can be killed, cut off and slowed down.

    host = Loopback()                      one program's Network, over real sockets
    address = host.reserve()               127.0.0.1:54321, ours until `close`
    host.boot()                            a new process: earlier streams and listeners stay dead
    host.kill()                            every socket is closed at once, as the kernel does for -9
    host.cut() … host.heal()               bytes wait, and so does who connects; nothing is lost
    host.slow_s = 0.2                      each answer, and each question of ours, leaves later

What a cut means for a client is what a dropped packet means: nothing comes, and it cannot tell why.
Its connects succeed (the kernel accepts them on loopback), but nobody reads. What was under way
arrives after `heal`, as TCP sends again.
"""

import socket
import sys
from typing import Final, final

import trio

from broker_trio.runtime.network import RealNetwork, TcpListener, TcpStream, join_address
from broker_trio.runtime.seams import Buffer, Listener
from broker_trio.testing.disk_faults import Dead

LOOPBACK: Final = "127.0.0.1"
SHARED_BIND: Final = sys.platform == "linux"
"""Whether a bound socket that does not listen lets us listen there, and nobody else bind."""


@final
class LoopbackStream(trio.abc.HalfCloseableStream):
    """A TCP stream of a program that may be cut off, slowed down or killed."""

    def __init__(self, stream: TcpStream, host: "Loopback") -> None:
        self.peer_address = stream.peer_address
        self._stream, self._host, self._dead = stream, host, False
        host.streams[self] = None

    def die(self) -> None:
        """Its process is gone: the socket closes here and now, every call raises Dead."""
        self._dead = True
        self._stream._stream.socket.close()

    def _check(self) -> None:
        if self._dead:
            raise Dead

    async def _passed(self) -> None:
        """Wait while the host is cut off, and for its slowness."""
        self._check()
        if self._host.slow_s:
            await trio.sleep(self._host.slow_s)
        await self._host.healed()
        self._check()

    async def send_all(self, data: Buffer) -> None:
        await self._passed()
        await self._stream.send_all(data)
        self._check()

    def send_nowait(self, data: bytes) -> int:
        """As TcpStream has it; 0 while the host is slow or cut off, so that `send_all` waits."""
        self._check()
        if self._host.slow_s or self._host.is_cut:
            return 0
        return self._stream.send_nowait(data)

    async def wait_send_all_might_not_block(self) -> None:
        self._check()
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        self._check()
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self._check()
        data = await self._stream.receive_some(max_bytes)
        await self._host.healed()
        self._check()
        return data

    async def aclose(self) -> None:
        self._host.streams.pop(self, None)
        await self._stream.aclose()


@final
class LoopbackListener(Listener):
    """Accepts for one life of a program."""

    def __init__(self, listener: TcpListener, host: "Loopback") -> None:
        self.address = listener.address
        self._listener, self._host, self._dead = listener, host, False
        host.listeners[self] = None

    def die(self) -> None:
        self._dead = True
        self._listener._listener.socket.close()

    async def accept(self) -> LoopbackStream:
        try:
            stream = await self._listener.accept()
        except trio.ClosedResourceError:
            if self._dead:
                raise Dead from None
            raise
        return LoopbackStream(stream, self._host)

    async def aclose(self) -> None:
        self._host.listeners.pop(self, None)
        await self._listener.aclose()


@final
class Loopback:
    """The Network of one program on 127.0.0.1, over all of its lives."""

    def __init__(self) -> None:
        self.slow_s = 0.0
        self.streams: dict[LoopbackStream, None] = {}
        self.listeners: dict[LoopbackListener, None] = {}
        self._network = RealNetwork()
        self._alive = True
        self._cut: trio.Event | None = None
        self._reserved: list[socket.socket] = []

    # ---- the Network seam

    def _check(self) -> None:
        if not self._alive:
            raise Dead

    async def connect(self, address: str) -> LoopbackStream:
        self._check()
        await self.healed()
        stream = await self._network.connect(address)
        return LoopbackStream(stream, self)

    async def listen(self, address: str) -> LoopbackListener:
        self._check()
        return LoopbackListener(await self._network.listen(address), self)

    # ---- the port

    def reserve(self) -> str:
        """A free port on loopback, kept from other programs until `close`."""
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((LOOPBACK, 0))
        address = join_address(*held.getsockname())
        if SHARED_BIND:
            self._reserved.append(held)
        else:
            held.close()
        return address

    def close(self) -> None:
        """Give the ports back. After the last kill."""
        for held in self._reserved:
            held.close()
        self._reserved.clear()

    # ---- life and faults

    def boot(self) -> None:
        """A new process may use it. Kills the one before."""
        self.kill()
        self._alive = True

    def kill(self) -> None:
        """End the process: its sockets close, whoever talks to them is told by the kernel."""
        self._alive = False
        for stream in list(self.streams):
            stream.die()
        for listener in list(self.listeners):
            listener.die()
        self.streams.clear()
        self.listeners.clear()

    @property
    def is_cut(self) -> bool:
        return self._cut is not None

    def cut(self) -> None:
        """Nothing arrives or leaves until `heal`."""
        self._cut = self._cut or trio.Event()

    def heal(self) -> None:
        if self._cut is not None:
            self._cut.set()
            self._cut = None

    async def healed(self) -> None:
        """Return once it is not cut off; at once where it is not."""
        while self._cut is not None:
            await self._cut.wait()
