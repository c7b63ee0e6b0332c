"""Faults of the simulated network, each in a world of its own so that time is virtual."""

import errno
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import check_half_closeable_stream, check_two_way_stream

from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.sim_network import CONNECT_TIMEOUT_S, SimHost
from broker_trio.testing.sim_stream import SimStream
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World

Scenario = Callable[[World], Awaitable[None]]
SLOW = (1.0, 1.0)


async def pair(world: World) -> tuple[SimStream, SimStream]:
    """A connection from host a to host b."""
    a, b = world.network.host("a"), world.network.host("b")
    listener = await b.listen("b:0")
    client = await a.connect(listener.address)
    server = await listener.accept()
    await listener.aclose()
    return client, server


async def elapsed(call: Awaitable[object]) -> float:
    began = trio.current_time()
    await call
    return trio.current_time() - began


async def receive_exactly(stream: SimStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = await stream.receive_some(size - len(data))
        assert chunk, "closed early"
        data += chunk
    return data


def run(scenario: Scenario, seed: int = 1) -> None:
    simulate(seed, scenario)


@pytest.mark.slow
def test_delayed_streams_are_trio_streams() -> None:
    """With travel times, too, streams pass Trio's suites for streams."""

    async def scenario(world: World) -> None:
        async def maker() -> tuple[SimStream, SimStream]:
            return await pair(world)

        await check_two_way_stream(maker, None)
        await check_half_closeable_stream(maker, None)

    run(scenario)


def test_names_and_addresses_are_the_same() -> None:
    """Hosts get addresses in order of mention; both forms connect, and peers are addresses."""

    async def scenario(world: World) -> None:
        a, b = world.network.host("a"), world.network.host("b")
        assert (a.ip, b.ip) == ("10.0.0.1", "10.0.0.2")
        listener = await b.listen("0.0.0.0:10911")
        for address in ("b:10911", "10.0.0.2:10911"):
            client = await a.connect(address)
            assert client.peer_address == "10.0.0.2:10911"
            assert (await listener.accept()).peer_address.startswith("10.0.0.1:")
        with pytest.raises(OSError, match="nobody"):
            await a.connect("nobody:1")
        with pytest.raises(OSError, match="b:1"):
            await a.listen("b:1")

    run(scenario)


def test_loopback_is_private_to_its_host() -> None:
    """Who listens on 127.0.0.1 is reached from the same host only."""

    async def scenario(world: World) -> None:
        a, b = world.network.host("a"), world.network.host("b")
        listener = await b.listen("127.0.0.1:9876")
        assert (await b.connect("localhost:9876")).peer_address == listener.address
        for address in ("b:9876", "127.0.0.1:9876"):
            with pytest.raises(ConnectionRefusedError):
                await a.connect(address)

    run(scenario)


def test_bytes_take_their_time() -> None:
    """Over a link of one second connecting takes two, and bytes arrive after one, in order."""

    async def scenario(world: World) -> None:
        world.network.host("a")
        world.network.host("b")
        world.network.set_delay("a", "b", SLOW)
        began = trio.current_time()
        client, server = await pair(world)
        assert trio.current_time() - began == pytest.approx(2)
        began = trio.current_time()
        await client.send_all(b"one")
        await client.send_all(b"two")
        assert trio.current_time() == began
        assert await receive_exactly(server, 6) == b"onetwo"
        assert trio.current_time() - began == pytest.approx(1)

    run(scenario)


def test_chunks_are_random() -> None:
    """What was sent at once arrives in pieces of many sizes, whole in the end."""

    async def scenario(world: World) -> None:
        world.network.chunked = 1.0
        client, server = await pair(world)
        data, sizes = bytes(range(256)) * 40, []
        await client.send_all(data)
        await client.aclose()
        received = b""
        while chunk := await server.receive_some():
            sizes.append(len(chunk))
            received += chunk
        assert received == data
        assert len(set(sizes)) > 3

    run(scenario)


def test_a_slow_reader_stops_its_sender() -> None:
    """Beyond the window a sender waits until the reader has taken something."""

    async def scenario(world: World) -> None:
        world.network.window_bytes = 1000
        client, server = await pair(world)
        await client.send_all(bytes(1000))
        with trio.move_on_after(3600) as scope:
            await client.send_all(b"x")
        assert scope.cancelled_caught
        await server.receive_some(1)
        await client.send_all(b"x")

    run(scenario)


def test_a_cut_loses_nothing() -> None:
    """Bytes sent into a cut arrive after it is healed; nothing arrives before."""

    async def scenario(world: World) -> None:
        client, server = await pair(world)
        world.network.cut("a", "b")
        await client.send_all(b"abc")
        with trio.move_on_after(600) as scope:
            await server.receive_some()
        assert scope.cancelled_caught
        world.nursery.start_soon(heal_later, world, 5.0)
        assert await elapsed(receive_exactly(server, 3)) == pytest.approx(5)

    run(scenario)


async def heal_later(world: World, seconds: float) -> None:
    await trio.sleep(seconds)
    world.network.heal_all()


def test_a_stall_heals_itself() -> None:
    """A link stalled for 30 s delivers then, to who waited from the beginning."""

    async def scenario(world: World) -> None:
        client, server = await pair(world)
        world.network.stall("a", "b", 30)
        await client.send_all(b"abc")
        assert await elapsed(receive_exactly(server, 3)) == pytest.approx(30)

    run(scenario)


def test_a_one_way_cut_lets_the_other_way_through() -> None:
    """With a to b cut, b's bytes arrive at a until the window is full: no acknowledgements."""

    async def scenario(world: World) -> None:
        world.network.window_bytes = 1000
        client, server = await pair(world)
        world.network.cut_one_way("a", "b")
        await client.send_all(b"lost for now")
        await server.send_all(bytes(1000))
        await receive_exactly(client, 1000)
        with trio.move_on_after(600) as scope:
            await server.send_all(b"x")
        assert scope.cancelled_caught
        world.network.heal("a", "b")
        await server.send_all(b"x")
        assert await receive_exactly(server, 12) == b"lost for now"

    run(scenario)


def test_connecting_through_a_cut_waits() -> None:
    """A connect into a cut succeeds once healed, and gives up after two minutes."""

    async def scenario(world: World) -> None:
        a, b = world.network.host("a"), world.network.host("b")
        await b.listen("b:1")
        world.network.isolate("b")
        world.nursery.start_soon(heal_later, world, 50.0)
        assert await elapsed(a.connect("b:1")) == pytest.approx(50, abs=1)
        world.network.cut("a", "b")
        began = trio.current_time()
        with pytest.raises(OSError, match="b:1") as caught:
            await a.connect("b:1")
        assert caught.value.errno == errno.ETIMEDOUT
        assert trio.current_time() - began == pytest.approx(CONNECT_TIMEOUT_S)

    run(scenario)


def test_a_reset_breaks_both_ends() -> None:
    """After a reset both ends' calls are broken, waiting ones too, and one can connect anew."""

    async def scenario(world: World) -> None:
        client, server = await pair(world)

        async def wait() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await server.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            world.network.reset("a", "b")
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"x")
        await pair(world)

    run(scenario)


def test_a_killed_process_resets_its_peers() -> None:
    """kill -9: own calls raise Dead, the peer's are broken, new connections are refused."""

    async def scenario(world: World) -> None:
        client, server = await pair(world)
        a, b = world.network.host("a"), world.network.host("b")
        listener = await b.listen("b:1")
        world.network.kill("b")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        for dead in (
            server.receive_some(),
            server.send_all(b"x"),
            listener.accept(),
            b.connect("a:1"),
            b.listen("b:2"),
        ):
            with pytest.raises(Dead):
                await dead
        with pytest.raises(ConnectionRefusedError):
            await a.connect("b:1")

    run(scenario)


def test_a_machine_without_power_is_silent() -> None:
    """Its peer learns nothing until it sends to the machine after its restart."""

    async def scenario(world: World) -> None:
        client, _ = await pair(world)
        world.network.kill("b", power=True)
        with trio.move_on_after(3600) as scope:
            await client.receive_some()
        assert scope.cancelled_caught
        world.network.boot("b")
        with trio.move_on_after(3600) as scope:
            await client.receive_some()
        assert scope.cancelled_caught, "who only listens never learns"
        await client.send_all(b"x")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()

    run(scenario)


def test_bytes_sent_to_a_machine_without_power_provoke_a_reset_when_it_is_back() -> None:
    """What waits to be sent again tells the peer as soon as the machine answers."""

    async def scenario(world: World) -> None:
        client, _ = await pair(world)
        world.network.kill("b", power=True)
        await client.send_all(b"x")
        await trio.sleep(60)
        world.network.boot("b")
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()

    run(scenario)


def test_a_machine_that_comes_up_answers_a_waiting_connect() -> None:
    """Connecting to a machine that is off succeeds once it is on and listens."""

    async def scenario(world: World) -> None:
        a = world.network.host("a")
        world.network.host("b")
        world.network.kill("b", power=True)

        async def power_on() -> None:
            await trio.sleep(20)
            await world.network.boot("b").listen("b:1")

        world.nursery.start_soon(power_on)
        assert await elapsed(a.connect("b:1")) == pytest.approx(20, abs=2)

    run(scenario)


def test_data_before_the_end_arrives() -> None:
    """What was sent before closing is received before the end of the stream."""

    async def scenario(world: World) -> None:
        client, server = await pair(world)
        world.network.set_delay("a", "b", SLOW)
        await client.send_all(b"last words")
        await client.aclose()
        assert await receive_exactly(server, 10) == b"last words"
        assert await server.receive_some() == b""

    run(scenario)


def test_ended_connections_are_forgotten() -> None:
    """Closed, reset and killed connections leave nothing on hosts and links."""

    async def scenario(world: World) -> None:
        hosts: list[SimHost] = [world.network.host("a"), world.network.host("b")]
        for _ in range(5):
            client, server = await pair(world)
            await client.aclose()
            await server.aclose()
        await pair(world)
        world.network.kill("b")
        world.network.kill("a")
        assert [len(host.streams) for host in hosts] == [0, 0]
        links = world.network._links.values()
        assert [len(link._waiting) for link in links] == [0, 0]

    run(scenario)
