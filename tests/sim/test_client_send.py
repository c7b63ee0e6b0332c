"""The client's sends against the real programs, simulated: whatever happens to them.

    Users (tasks that send, one key each) ──▶ Client ──▶ nameservers, brokers ◀── faults

Every send ends within its deadline; every acknowledged message is in a log at the end, where its
receipt says; leaving the client closes every connection. In virtual time.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from broker_trio.client.connect import Client, connect
from broker_trio.client.errors import ClientError, NoRoute, Unreachable
from broker_trio.client.events import (
    BrokerSuspected,
    BrokerTrusted,
    Event,
    NameserversBack,
    NameserversLost,
    Reconnected,
)
from broker_trio.client.message import Message
from broker_trio.client.receipt import Receipt
from broker_trio.remoting.bridge import through
from broker_trio.testing.cluster.cluster import SYNC, Cluster
from broker_trio.testing.cluster.history import Placed
from broker_trio.testing.cluster.reading import drain
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from tests.unit.client.cancelling import cancelled_at

SEND_S = 10.0
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))]
Scenario = Callable[["App"], Awaitable[None]]


class App:
    """A program with a client on a machine of its own."""

    def __init__(self, world: World, cluster: Cluster, mq: Client, events: list[Event]) -> None:
        self.world, self.cluster, self.mq, self.events = world, cluster, mq, events
        self.receipts: list[tuple[str, Receipt]] = []
        self.failures: list[ClientError] = []
        self.slowest = 0.0

    async def user(self, key: str, count: int, pause_s: float = 0.05) -> None:
        """Send `count` messages, one after the other, each until it is acknowledged or given up."""
        for number in range(count):
            began = trio.current_time()
            try:
                receipt = await self.mq.send("t", f"{key}#{number}", ordering_key=key or None)
                self.receipts.append((f"{key}#{number}", receipt))
            except ClientError as error:
                self.failures.append(error)
            self.slowest = max(self.slowest, trio.current_time() - began)
            await trio.sleep(pause_s)

    def seen(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def run(scenario: Scenario, seed: int, *, brokers: int = 2, nameservers: int = 1) -> None:
    """A cluster, an application on a host called app, the scenario, then the books."""

    async def main(world: World) -> None:
        cluster = Cluster(world, brokers=brokers, nameservers=nameservers, store=SYNC)
        await cluster.start()
        await trio.sleep(1)
        host = world.network.host("app")
        events: list[Event] = []
        client = connect(
            cluster.nameserver_addresses,
            connect=through(host),
            wall_ms=SimClock().wall_ms,
            entropy=world.rng("client"),
            send_timeout_s=SEND_S,
            on_event=events.append,
        )
        async with client as mq:
            await mq.send("t", b"first")
            app = App(world, cluster, mq, events)
            await scenario(app)
            assert app.slowest <= SEND_S + 0.001
        assert host.streams == {}, "a connection is left open"
        cluster.healed()
        await trio.sleep(1)
        for name in (*cluster.nameserver_names, *cluster.broker_names):
            if not cluster.node(name).running:
                await cluster.up(name)
        await trio.sleep(31)  # past a registration
        await drain(cluster, ("t",))
        check(app, cluster.history.placed)

    simulate(seed, main)


def check(app: App, placed: list[Placed]) -> None:
    """What was acknowledged lies where its receipt says."""
    found = {(one.broker, one.queue_id, one.offset): one for one in placed}
    for body, receipt in app.receipts:
        one = found[receipt.broker_name, receipt.queue_id, receipt.queue_offset]
        assert one.body == body.encode()
        assert one.properties["UNIQ_KEY"] == receipt.message_id
        assert receipt.durability == "disk"


@pytest.mark.parametrize("seed", SEEDS)
def test_nameservers_down_one_by_one_and_all(seed: int) -> None:
    """Sends go on with the kept route, also to a broker that restarts; a new topic has to wait."""

    async def scenario(app: App) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.user, "", 400, 0.3)
            for name in app.cluster.nameserver_names:
                await trio.sleep(20)
                app.cluster.kill(name)
            assert (await app.mq.session.routes.refresh("t")).queues
            with pytest.raises((Unreachable, NoRoute)):
                await app.mq.send("new", b"x", timeout_s=3.0)
            await trio.sleep(5)
            app.cluster.kill("b0")
            await app.cluster.up("b0")
            await trio.sleep(35)
            assert app.seen(NameserversLost)
            for name in app.cluster.nameserver_names:
                await app.cluster.up(name)
            await trio.sleep(35)
            assert app.seen(NameserversBack)
            assert (await app.mq.send("new", b"x")).queue_offset == 0
        assert app.failures == []
        assert {receipt.broker_name for _, receipt in app.receipts[-20:]} == {"b0", "b1"}

    run(scenario, seed, nameservers=3)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_broker_that_accepts_and_never_answers(seed: int) -> None:
    """The link to b0 goes dead for half a minute: everything goes to b1, and back afterwards."""

    async def scenario(app: App) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(app.user, "", 200, 0.3)
            await trio.sleep(5)
            app.world.network.cut("app", "b0")
            await trio.sleep(10)
            during = len(app.receipts)
            await trio.sleep(20)
            app.world.network.heal("app", "b0")
            assert {receipt.broker_name for _, receipt in app.receipts[during:]} == {"b1"}
            assert app.slowest < 6.0  # one attempt in vain, then the other broker
        assert app.failures == []
        assert app.seen(BrokerSuspected)
        assert app.seen(BrokerTrusted)
        assert {receipt.broker_name for _, receipt in app.receipts[-20:]} == {"b0", "b1"}

    run(scenario, seed)


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_lone_broker_restarts_under_load(seed: int, power: bool) -> None:
    """There is no other one: sends wait for it within their deadline, keyed ones in order."""

    async def scenario(app: App) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(app.user, f"k{number}", 80, 0.1)
            for _ in range(2):
                await trio.sleep(3)
                app.cluster.kill("b0", power=power)
                await trio.sleep(1)
                await app.cluster.up("b0")
        assert len(app.failures) <= 4, app.failures
        assert app.seen(Reconnected)
        for number in range(6):
            mine = [receipt for body, receipt in app.receipts if body.startswith(f"k{number}#")]
            places = [receipt.queue_offset for receipt in mine]
            assert len({receipt.queue_id for receipt in mine}) == 1
            assert places == sorted(places), "acknowledged in the order of the sends"

    run(scenario, seed, brokers=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_connections_that_break_lose_nothing(seed: int) -> None:
    """Every second all connections are reset: answers are lost, and messages are sent again."""

    async def scenario(app: App) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(app.user, "", 50, 0.1)
            for _ in range(5):
                await trio.sleep(1)
                for other in ("b0", "b1", "ns0"):
                    app.world.network.reset("app", other)
        assert app.failures == []
        assert len(app.receipts) == 400

    run(scenario, seed)


async def beat(mq: Client) -> None:
    await mq.session.routes.get("t")
    mq.session.heartbeat.add_producer("pg")
    await mq.session.heartbeat.beat()


METHODS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "send": lambda mq: mq.send("t", b"x"),
    "send_batch": lambda mq: mq.send_batch("t", [Message("a"), Message("b")]),
    "send_oneway": lambda mq: mq.send_oneway("t", b"x"),
    "beat": beat,
    "route": lambda mq: mq.session.routes.refresh("t"),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_life_cancelled_at_each_checkpoint(name: str) -> None:
    """Real brokers, nothing left behind: every connection closed, no send of others disturbed."""

    async def scenario(app: App) -> None:
        host = app.world.network.host("other")

        async def life() -> None:
            client = connect(
                app.cluster.nameserver_addresses,
                connect=through(host),
                wall_ms=SimClock().wall_ms,
                entropy=app.world.rng("other"),
            )
            async with client as mq:
                await METHODS[name](mq)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.user, "", 50)
            at = 1
            while await cancelled_at(at, life):
                await trio.sleep(0.01)
                assert host.streams == {}, f"open after a cancellation at checkpoint {at}"
                at += 1
        assert at > 3
        assert app.failures == []

    run(scenario, 1)
