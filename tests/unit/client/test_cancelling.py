"""Cancelled wherever it waits, a call of the client leaves nothing behind and breaks nothing.

for n in 1, 2, 3 …:  run the method, cancel at its n-th checkpoint
                     then the same client works, and leaving it closes every connection
"""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from broker_trio.client.connect import Client
from broker_trio.client.errors import ClientError
from tests.unit.client.cancelling import at_every_checkpoint, cancelled_at
from tests.unit.client.fake_net import CLOSING, SILENT, FakeNet

Method = Callable[[Client], Awaitable[object]]


async def beat(mq: Client) -> None:
    await mq.session.routes.get("t")
    mq.session.heartbeat.add_producer("pg")
    await mq.session.heartbeat.beat()


METHODS: dict[str, Method] = {
    "send": lambda mq: mq.send("t", b"x"),
    "send to a key": lambda mq: mq.send("t", b"x", ordering_key="k"),
    "send to a new topic": lambda mq: mq.send("new", b"x"),
    "send_batch": lambda mq: mq.send_batch("t", [b"a", b"b", b"c"]),
    "send_oneway": lambda mq: mq.send_oneway("t", b"x"),
    "route": lambda mq: mq.session.routes.get("t"),
    "broker_address": lambda mq: mq.session.broker_address("b0"),
    "beat": beat,
}


def cluster() -> FakeNet:
    net = FakeNet(brokers=2, nameservers=2)
    net.topic("t")
    return net


async def whole_life(net: FakeNet, method: Method) -> None:
    async with net.client(batch_messages_max=2) as mq:
        mq.session.heartbeat.add_producer("pg")
        await method(mq)


def works_everywhere(method: Method, spoil: Callable[[FakeNet], None], backend: str) -> int:
    """Cancel at each checkpoint of a client's whole life; how many there were."""

    async def main() -> int:
        nets: list[FakeNet] = []

        def make():
            nets.append(cluster())
            spoil(nets[-1])
            return whole_life(nets[-1], method)

        async def check(_at: int) -> None:
            await anyio.sleep(0.001)
            assert nets[-1].open == set(), "a connection is left open"
            assert len(anyio.get_running_tasks()) == 1 + before, "a task is left behind"

        before = len(anyio.get_running_tasks()) - 1
        return await at_every_checkpoint(make, check)

    return anyio.run(main, backend=backend)


def sound(_net: FakeNet) -> None:
    """Everything works."""


def one_closes(net: FakeNet) -> None:
    """One broker takes sends and closes: retries are on the way, too."""
    net.mood["b0:10911"] = CLOSING


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize(
    ("name", "spoil"),
    [*((name, sound) for name in METHODS), ("send", one_closes), ("send_batch", one_closes)],
)
def test_a_whole_life_cancelled_anywhere_leaves_nothing(
    name: str, spoil: Callable[[FakeNet], None], backend: str
):
    """From entering to leaving: no open connection, no running task."""
    assert works_everywhere(METHODS[name], spoil, backend) >= 4


@pytest.mark.parametrize("name", METHODS)
async def test_the_client_works_on_after_a_cancelled_call(name: str, autojump_clock: object):
    """Whatever the call held (a lock, a frame half sent, a question asked) others are not hurt."""
    net = cluster()
    at, going_on = 0, True
    while going_on:
        at += 1
        async with net.client() as mq:
            going_on = await cancelled_at(at, lambda mq=mq: METHODS[name](mq))  # type: ignore[misc]
            began = anyio.current_time()
            await mq.send("t", b"after")
            assert anyio.current_time() == began, "nothing had to be waited for or tried again"
        assert net.open == set()
    assert at >= 3


async def test_cancelling_with_silent_peers_needs_nobody(autojump_clock: object):
    """A broker that never answers cannot keep a cancelled program from ending."""
    net = cluster()
    net.mood = dict.fromkeys(net.brokers.values(), SILENT)
    for after_s in (0.5, 2.5, 4.0, 9.0):
        began = anyio.current_time()
        with anyio.move_on_after(after_s):
            async with net.client(leave_timeout_s=1.0) as mq:
                with pytest.raises(ClientError):
                    await mq.send("t", b"x")
                await anyio.sleep_forever()
        assert anyio.current_time() - began <= after_s + 1.0
        assert net.open == set()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_cancelled_program_still_says_good_bye(backend: str):
    """SIGTERM becomes a cancellation in most programs: brokers hear of it all the same."""

    async def main() -> None:
        net = cluster()
        with anyio.CancelScope() as scope:
            async with net.client(group="pg") as mq:
                await mq.send("t", b"x")
                await mq.session.heartbeat.beat()
                scope.cancel()
                await anyio.sleep_forever()
        assert sorted(net.left) == [("b0", "pg"), ("b1", "pg")]
        assert net.open == set()

    anyio.run(main, backend=backend)
