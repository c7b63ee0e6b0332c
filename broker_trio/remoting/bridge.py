"""A Network's Trio streams in the shape that the outgoing side asks for.

Brokers and simulated clusters connect through the Network seam; programs of users through AnyIO's
own sockets. This adapter is all the difference between the two.
"""

from typing import final

import anyio
import trio

from broker_trio.remoting.client import ByteStream, Connect
from broker_trio.runtime.seams import Network


@final
class TrioByteStream:
    """A connected Trio stream with AnyIO's verbs and errors."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            raise anyio.BrokenResourceError from error
        except trio.ClosedResourceError as error:
            raise anyio.ClosedResourceError from error
        if not data:
            raise anyio.EndOfStream
        return bytes(data)

    async def send(self, item: bytes) -> None:
        try:
            await self._stream.send_all(item)
        except trio.BrokenResourceError as error:
            raise anyio.BrokenResourceError from error
        except trio.ClosedResourceError as error:
            raise anyio.ClosedResourceError from error

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)


def through(network: Network) -> Connect:
    """How `RemotingClient` connects inside a program that was given a Network."""

    async def connect(address: str) -> ByteStream:
        return TrioByteStream(await network.connect(address))

    return connect
