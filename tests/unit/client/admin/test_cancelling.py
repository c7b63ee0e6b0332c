"""Cancelled wherever it waits, an admin method leaves a client that works, on both event loops."""

from collections.abc import Awaitable, Callable

import anyio
import pytest

from broker_trio import connect
from broker_trio.client.admin.admin import Admin
from broker_trio.client.admin.dead_letters import DeadLetters
from broker_trio.client.admin.route_cause import ask_why
from broker_trio.client.connect import Client
from broker_trio.client.errors import ClientClosed
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.topic import TopicConfig
from tests.unit.cli.live import live
from tests.unit.client.cancelling import at_every_checkpoint

from .cluster import running

Method = Callable[[Admin], Awaitable[object]]


async def send_back(dead_letters: DeadLetters) -> None:
    async for _ in dead_letters.send_back(await dead_letters.of("billing"), per_s=1e6):
        pass


METHODS: dict[str, Method] = {
    "put": lambda admin: admin.topics.put(TopicConfig("orders", 2, 2)),
    "state": lambda admin: admin.topics.state("orders"),
    "groups": lambda admin: admin.groups.put(SubscriptionGroupConfig("billing")),
    "lag": lambda admin: admin.offsets.lag("billing"),
    "plan": lambda admin: admin.offsets.plan_reset("billing", "orders", "first"),
    "newest": lambda admin: admin.messages.newest("orders", 1),
    "by_key": lambda admin: admin.messages.by_key("orders", "k"),
    "consumers": lambda admin: admin.connections.consumers("billing"),
    "send back": lambda admin: send_back(admin.dead_letters),
}


@pytest.mark.parametrize("name", METHODS)
async def test_a_cancelled_method_leaves_a_client_that_works(name: str) -> None:
    """At its first, second, … wait: nothing hangs, and the next call is answered."""
    async with running() as cluster:
        await cluster.topic("orders", 2)
        await cluster.admin.groups.put(SubscriptionGroupConfig("billing"))
        message_id = await cluster.send("orders", b"x", key="k")
        await cluster.kill_off("billing", message_id)

        async def check(_at: int) -> None:
            with anyio.fail_after(2):
                assert "orders" in await cluster.admin.topics.names()

        async def method() -> None:
            await METHODS[name](cluster.admin)

        assert await at_every_checkpoint(method, check) > 0


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_connected_client_administers_on_both_loops(backend: str) -> None:
    """`mq.admin` is the admin client; outside of `async with` there is none."""
    with live() as cluster:

        async def main() -> tuple[list[str], Client]:
            async with connect(cluster.nameservers) as mq:
                await mq.admin.topics.put(TopicConfig("orders", 2, 2))
                await mq.send("orders", b"x")
                state = await mq.admin.topics.state("orders")
                assert state.messages == 1
                why = await ask_why(mq.session.calls, mq.session.nameservers, "no", "read")
                assert why.cause == "unknown topic"
                return await mq.admin.topics.names(), mq

        names, mq = anyio.run(main, backend=backend)
    assert names == ["orders"]
    with pytest.raises(ClientClosed):
        _ = mq.admin
