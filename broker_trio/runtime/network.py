"""The Network seam on TCP: byte streams between `host:port` addresses.

An address is text everywhere above this folder: `10.0.0.7:10911`, `broker-1:10911`, `[::1]:10911`.
It may come from a peer (a route, a registration), so whatever is wrong with one is an `OSError`
like any connection that fails, never another exception. Each error names the address: the reader of
a log line knows which of forty brokers it was.

`TcpStream` and `TcpListener` wrap Trio's own, which are final, to carry addresses.
"""

import errno
import os
import socket
from typing import Final, final

import trio

from broker_trio.runtime.seams import Listener

BACKLOG: Final = 1024  # a fleet of clients reconnects at once; the kernel caps it at somaxconn
UNKNOWN_PEER: Final = "0.0.0.0:0"  # a peer that was gone before anybody asked for its name


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[IPv6]:port`. Raises `OSError(EINVAL)`."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise OSError(errno.EINVAL, f"an IPv6 host needs brackets: {address!r}")
    plain = port.isascii() and port.isdigit() and len(port) <= 5  # int() of longer text may raise
    if not colon or not host or not plain or int(port) > 0xFFFF:
        raise OSError(errno.EINVAL, f"not an address host:port: {address[:300]!r}")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The text form; IPv6 in brackets, without a scope's `%…`."""
    return f"[{host.partition('%')[0]}]:{port}" if ":" in host else f"{host}:{port}"


def _peer_address(sock: trio.socket.SocketType) -> str:
    try:
        name = sock.getpeername()
    except OSError:
        return UNKNOWN_PEER
    return join_address(name[0], name[1])


def _named(error: BaseException, what: str) -> OSError:
    """The same failure with what was tried in its text; keeps errno and so the subclass.

    Trio gives one OSError without errno for all addresses that a name stood for, with the first
    real reason below it.
    """
    reason: BaseException | None = error
    while reason is not None and not (isinstance(reason, OSError) and reason.errno is not None):
        if isinstance(reason, BaseExceptionGroup):
            reason = reason.exceptions[0]
        else:
            reason = reason.__cause__
    if not isinstance(reason, OSError) or reason.errno is None:
        return OSError(errno.EADDRNOTAVAIL, f"{what}: {error}")
    if isinstance(reason, socket.gaierror):  # its errno counts differently: no subclass by it
        return OSError(errno.EADDRNOTAVAIL, f"{what}: {reason.strerror}")
    return OSError(reason.errno, f"{what}: {os.strerror(reason.errno)}")


@final
class TcpStream(trio.abc.HalfCloseableStream):
    """A connection: Trio's socket stream (TCP_NODELAY) and the other end's address.

    `send_nowait` is what Trio's streams lack: a server that answers a read at once need not go
    through the scheduler to hand the kernel a few kilobytes (10 µs a read).
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.peer_address = _peer_address(stream.socket)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    def send_nowait(self, data: bytes) -> int:
        """Give the kernel what it takes now; how many bytes that was, 0 where it is full.

        Not while a `send_all` is under way. Raises `BrokenResourceError`, `ClosedResourceError`.
        """
        number = self._stream.socket.fileno()
        if number < 0:
            raise trio.ClosedResourceError("this stream was closed")
        try:
            return os.write(number, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


@final
class TcpListener(Listener):
    """A bound, listening socket; `address` has the real port."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self._listener = trio.SocketListener(sock)
        name = sock.getsockname()
        self.address = join_address(name[0], name[1])

    async def accept(self) -> TcpStream:
        """The next connection. `OSError` with EMFILE and its kin: wait a little and go on."""
        return TcpStream(await self._listener.accept())

    async def aclose(self) -> None:
        await self._listener.aclose()


@final
class RealNetwork:
    """TCP of this host."""

    async def connect(self, address: str) -> TcpStream:
        host, port = split_address(address)
        try:
            stream = await trio.open_tcp_stream(host, port)
        except (OSError, ValueError) as error:  # ValueError: names that no resolver can be asked
            raise _named(error, f"connect to {address}") from error
        return TcpStream(stream)

    async def listen(self, address: str) -> TcpListener:
        """As the seam says. A name that stands for several addresses listens on one, IPv4 first."""
        host, port = split_address(address)
        try:
            found = await trio.socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, protocol, _, name = min(found, key=lambda one: one[0] != socket.AF_INET)
            sock = trio.socket.socket(family, kind, protocol)
        except (OSError, ValueError) as error:
            raise _named(error, f"listen on {address}") from error
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # the same on every host, whatever bindv6only says
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            await sock.bind(name)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise _named(error, f"listen on {address}") from error
        except BaseException:  # cancelled while it waited for its address
            sock.close()
            raise
        return TcpListener(sock)
