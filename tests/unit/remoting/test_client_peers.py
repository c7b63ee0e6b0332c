"""What a client finds out about its peers: what they read, and whether they are still there."""

import anyio
import pytest

from broker_trio.client.calls import Calls
from broker_trio.client.errors import NoAnswer, Unreachable
from broker_trio.model.codes import RequestCode
from broker_trio.remoting.client import RemotingClient
from broker_trio.wire.command import Serialize
from tests.unit.client.fake_net import SILENT, FakeNet

BROKER = "b0:10911"
BEAT = RequestCode.UNREGISTER_CLIENT
PROBE = 26_000


async def asked_again(net: FakeNet, client: RemotingClient) -> Serialize:
    """The connection breaks; what is spoken on the next one."""
    for stream in list(net.open):
        stream.cut()
    await anyio.sleep(0.01)
    return await client.serialize_of(BROKER)


async def test_what_is_spoken_is_found_out_once_a_connection():
    """An operator may put another make in a broker's place, either way."""
    net = FakeNet()
    async with RemotingClient(net.connect) as client:
        for _ in range(3):
            assert await client.serialize_of(BROKER) is Serialize.CBOR
        assert net.times(BROKER, PROBE) == 1
        net.apache.add(BROKER)
        assert await asked_again(net, client) is Serialize.JSON
        await Calls(client).ask(BROKER, BEAT)
        net.apache.clear()
        assert await asked_again(net, client) is Serialize.CBOR
        await Calls(client).ask(BROKER, BEAT)
    assert net.open == set()


async def test_the_probe_of_another_make_is_no_lost_connection():
    """Nobody is told that Apache closed the connection on it; a real loss is told once."""
    net = FakeNet()
    net.apache.add(BROKER)
    lost: list[str] = []
    async with RemotingClient(net.connect, on_disconnect=lost.append) as client:
        await Calls(client).ask(BROKER, BEAT)
        assert lost == []
        for stream in list(net.open):
            stream.cut()
        await anyio.sleep(0.01)
        assert lost == [BROKER]


async def test_a_silent_connection_is_given_up(autojump_clock: object):
    """The first question that times out on it closes it, and the next one connects anew."""
    net = FakeNet()
    async with RemotingClient(net.connect) as client:
        calls = Calls(client, timeout_s=2.0)
        await calls.ask(BROKER, BEAT)
        net.mood[BROKER] = SILENT
        with pytest.raises(NoAnswer, match="no answer within 2 s"):
            await calls.ask(BROKER, BEAT)
        await anyio.sleep(0.01)
        assert net.open == set()
        net.mood.clear()
        await calls.ask(BROKER, BEAT)
    assert net.opened == 2


async def test_a_slow_question_does_not_cost_the_others_their_connection(autojump_clock: object):
    """One answer came meanwhile, so the peer is alive: only the one question is given up."""
    net = FakeNet()
    async with RemotingClient(net.connect) as client, anyio.create_task_group() as group:
        calls = Calls(client, timeout_s=2.0)
        await calls.ask(BROKER, BEAT)

        async def slow() -> None:
            with pytest.raises(NoAnswer):
                await calls.ask(BROKER, BEAT)

        net.mood[BROKER] = SILENT
        group.start_soon(slow)
        await anyio.sleep(1)
        net.mood.clear()
        await calls.ask(BROKER, BEAT)
        await anyio.sleep(2)
        await calls.ask(BROKER, BEAT)
    assert net.opened == 1


async def test_a_peer_whose_language_is_not_known_yet_was_not_asked(autojump_clock: object):
    """Nothing was sent but the harmless question: not reached, and safe to try elsewhere."""
    net = FakeNet()
    net.mood[BROKER] = SILENT
    async with RemotingClient(net.connect) as client:
        with pytest.raises(Unreachable) as caught:
            await Calls(client, timeout_s=2.0).ask(BROKER, BEAT)
    assert (caught.value.retriable, caught.value.unknown) == (True, False)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1"])
def test_a_refused_connection_is_told_in_the_system_s_words(backend: str, address: str) -> None:
    """Not in those of the library: whoever reads it looks for the cause."""

    async def main() -> str:
        async with RemotingClient() as client:
            with pytest.raises(Unreachable) as caught:
                await client.serialize_of(address)
            return caught.value.cause

    assert anyio.run(main, backend=backend) == "Connection refused"
