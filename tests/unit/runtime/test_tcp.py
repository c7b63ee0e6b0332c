import errno

import pytest
import trio

from broker_trio.runtime.network import RealNetwork, join_address, split_address


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("10.0.0.7:10911", "10.0.0.7", 10911),
        ("broker-1:0", "broker-1", 0),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::2]:9876", "fe80::2", 9876),
    ],
)
def test_addresses_round_trip(address: str, host: str, port: int) -> None:
    """Text to host and port and back gives the same text."""
    assert split_address(address) == (host, port)
    assert join_address(host, port) == address


def test_a_scope_is_not_part_of_an_address() -> None:
    """A link-local peer is named without its interface, which means nothing elsewhere."""
    assert join_address("fe80::2%eth0", 9876) == "[fe80::2]:9876"


@pytest.mark.parametrize("address", ["", "a", "a:", ":1", "a:b", "a:65536", "a:٣", "::1:9", "a:1 "])
def test_wrong_addresses_are_einval(address: str) -> None:
    """Whatever is not host:port is OSError(EINVAL), as it may come from a peer's route."""
    with pytest.raises(OSError, match=r"address|brackets") as caught:
        split_address(address)
    assert caught.value.errno == errno.EINVAL


async def test_names_that_cannot_be_asked_are_os_errors() -> None:
    """A label longer than DNS allows fails as a connection does, naming what was tried."""
    address = "x" * 80 + ":1"
    with pytest.raises(OSError, match=address):
        await RealNetwork().connect(address)
    with pytest.raises(OSError, match=address):
        await RealNetwork().listen(address)


async def test_localhost_listens_on_ipv4() -> None:
    """A name with addresses of both families listens on IPv4, as Java clients expect."""
    listener = await RealNetwork().listen("localhost:0")
    assert listener.address.startswith("127.0.0.1:")
    await listener.aclose()


async def test_small_writes_are_not_delayed() -> None:
    """Both ends have TCP_NODELAY: a reply of some bytes leaves at once."""
    network = RealNetwork()
    listener = await network.listen("127.0.0.1:0")
    client = await network.connect(listener.address)
    server = await listener.accept()
    for end in (client, server):
        sock = end._stream.socket
        assert sock.getsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY)
    for resource in (client, server, listener):
        await resource.aclose()
