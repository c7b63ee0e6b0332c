"""What every Network must do. Subclass `NetworkContract` with a fixture `network` and an `address`.

`network` is one process's network; `address` is where it can listen and reach itself, with port 0.
Streams must also pass Trio's own suites: `connected_pair` and `clogged_pair` are made for them.
"""

import errno
import re
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from trio.testing import check_half_closeable_stream, check_two_way_stream

from broker_trio.runtime.seams import Network

Pair = tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]
CHUNK = bytes(1 << 16)


async def connected_pair(network: Network, address: str) -> Pair:
    """Both ends of a new connection: the one that connected, the one accepted."""
    listener = await network.listen(address)
    ends: list[trio.abc.Stream] = []

    async def accept() -> None:
        ends.append(await listener.accept())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        client = await network.connect(listener.address)
    await listener.aclose()
    server = ends[0]
    assert isinstance(client, trio.abc.HalfCloseableStream)
    assert isinstance(server, trio.abc.HalfCloseableStream)
    return client, server


async def clogged_pair(network: Network, address: str) -> Pair:
    """The same, with so much sent both ways that one more send would wait."""
    pair = await connected_pair(network, address)
    for end in pair:
        while True:
            with trio.move_on_after(0.02) as scope:
                await end.send_all(CHUNK)
            if scope.cancelled_caught:
                break
    return pair


def peer_address(stream: trio.abc.Stream) -> str:
    """What the seam promises of every stream, connected or accepted."""
    found: str = stream.peer_address  # type: ignore[attr-defined]
    return found


class NetworkContract:
    """Subclass it; `address` like `127.0.0.1:0`."""

    address: str

    @pytest.fixture
    def maker(self, network: Network) -> Callable[[], Awaitable[Pair]]:
        return lambda: connected_pair(network, self.address)

    @pytest.fixture
    def clogged_maker(self, network: Network) -> Callable[[], Awaitable[Pair]] | None:
        return lambda: clogged_pair(network, self.address)

    async def test_streams_are_trio_streams(
        self,
        maker: Callable[[], Awaitable[Pair]],
        clogged_maker: Callable[[], Awaitable[Pair]] | None,
    ) -> None:
        """Connected streams pass Trio's checks of two-way streams, also with full buffers."""
        await check_two_way_stream(maker, clogged_maker)

    async def test_each_direction_closes_alone(self, maker: Callable[[], Awaitable[Pair]]) -> None:
        """Connected streams pass Trio's checks of half-closing."""
        await check_half_closeable_stream(maker, None)

    async def test_port_zero_becomes_a_real_one(self, network: Network) -> None:
        """Two listeners on port 0 have different addresses, and each can be connected to."""
        one, two = await network.listen(self.address), await network.listen(self.address)
        assert one.address != two.address
        for listener in (one, two):
            assert not listener.address.endswith(":0")
            stream = await network.connect(listener.address)
            assert peer_address(stream) == listener.address
            accepted = await listener.accept()
            assert peer_address(accepted).rpartition(":")[0] == listener.address.rpartition(":")[0]
            await stream.aclose()
            await accepted.aclose()
            await listener.aclose()

    async def test_an_address_in_use_is_named(self, network: Network) -> None:
        """Listening where somebody listens is EADDRINUSE with the address in its text."""
        listener = await network.listen(self.address)
        with pytest.raises(OSError, match=re.escape(listener.address)) as caught:
            await network.listen(listener.address)
        assert caught.value.errno == errno.EADDRINUSE
        await listener.aclose()

    async def test_refusal_is_named(self, network: Network) -> None:
        """Connecting where nobody listens any more is refused, with the address in its text."""
        listener = await network.listen(self.address)
        await listener.aclose()
        with pytest.raises(ConnectionRefusedError, match=re.escape(listener.address)):
            await network.connect(listener.address)

    @pytest.mark.parametrize(
        "wrong", ["", "host", "host:", ":1", "h:x", "h:70000", "h:-1", "::1:5", "h:" + "9" * 5000]
    )
    async def test_bad_addresses_are_os_errors(self, network: Network, wrong: str) -> None:
        """Text that is no address fails as a connection does, never in another way."""
        with pytest.raises(OSError, match=r"address|brackets") as caught:
            await network.connect(wrong)
        assert caught.value.errno == errno.EINVAL
        with pytest.raises(OSError, match=r"address|brackets"):
            await network.listen(wrong)

    async def test_closing_a_listener_ends_its_accept(self, network: Network) -> None:
        """Whoever waits in accept gets ClosedResourceError."""
        listener = await network.listen(self.address)

        async def accept() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            await listener.aclose()

    async def test_bulk_arrives_whole(self, maker: Callable[[], Awaitable[Pair]]) -> None:
        """A megabyte sent at once arrives byte by byte the same, through any chunks."""
        data = bytes(range(256)) * 4096
        client, server = await maker()
        received = bytearray()

        async def receive() -> None:
            while chunk := await server.receive_some():
                received.extend(chunk)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await client.send_all(data)
            await client.send_eof()
        assert received == data
        await client.aclose()
        await server.aclose()
