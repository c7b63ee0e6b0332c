"""A blocking connection that asks raw requests: for what no client would send."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from broker_trio.wire.command import RESPONSE, Command, Ext, Serialize
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.serialize import encode

SECONDS: Final = 10.0
JAVA_VERSION: Final = 501  # above every rule on old clients


class Connection:
    """One TCP connection, one question at a time; requests that the peer makes are dropped."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket, self._frames, self._opaque = sock, FrameBuffer(), 0

    def ask(
        self, code: int, ext: Ext | None = None, body: bytes = b"", version: int = JAVA_VERSION
    ) -> Command:
        """The answer. Raises `ConnectionError` where the peer closes, `TimeoutError` past 10 s."""
        self._opaque += 1
        command = Command(
            code, self._opaque, 0, ext or {}, body, version=version, serialize=Serialize.JSON
        )
        self._socket.sendall(encode(command))
        while True:
            answer = self._frames.next_command()
            if answer is None:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise ConnectionError(f"closed on request {code}")
                self._frames.receive_data(data)
            elif answer.flag & RESPONSE and answer.opaque == self._opaque:
                return answer


@contextmanager
def connected(address: str) -> Iterator[Connection]:
    """A connection to `host:port` for the time of a block."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), SECONDS) as sock:
        yield Connection(sock)


def ask(address: str, code: int, ext: Ext | None = None, body: bytes = b"") -> Command:
    """One question on a connection of its own."""
    with connected(address) as connection:
        return connection.ask(code, ext, body)
