"""Nameservers and the brokers that register with them, in a simulated world.

Brokers here are as small as they can be: every ten virtual seconds each sends the same
REGISTER_BROKER to every nameserver, over the connection that it has or a new one. All else is the
real program.
"""

import random

import pytest
import trio

from broker_trio.model.codes import RequestCode
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import HttpSection, NameserverConfig, RoutesSection
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import Node, World
from broker_trio.wire.bodies.register import RegisterBrokerBody, encode_register_body
from broker_trio.wire.bodies.topic_config import TopicConfigSerializeWrapper
from broker_trio.wire.command import Command, Serialize

INTERVAL_S, RETRY_S, CALL_S, TIMEOUT_S, SCAN_S = 10.0, 1.0, 4.0, 40.0, 5.0
CONFIG = NameserverConfig(
    listen="0.0.0.0:9876",
    allow_insecure_listen=True,
    http=HttpSection(address=""),
    routes=RoutesSection(heartbeat_timeout_s=TIMEOUT_S, scan_interval_s=SCAN_S),
)


class Fleet:
    """Two nameservers and some brokers of one world, and what each nameserver shows."""

    def __init__(self, world: World, brokers: int = 2) -> None:
        self.world = world
        self.apps: dict[str, NameserverApp] = {}
        self.nameservers = [world.node(name, self._nameserver) for name in ("ns1", "ns2")]
        self.brokers = [world.node(f"b{number}", self._broker) for number in range(brokers)]
        for node in (*self.nameservers, *self.brokers):
            node.start()

    async def _nameserver(self, node: Node) -> None:
        app = self.apps[node.name] = NameserverApp(node.clock, node.disk, node.network, CONFIG)
        await app.run(node.stopping)

    async def _broker(self, node: Node) -> None:
        async with RemotingClient(through(node.network)) as client, trio.open_nursery() as nursery:
            for name in ("ns1", "ns2"):
                nursery.start_soon(self._register, node, client, f"{name}:9876")

    async def _register(self, node: Node, client: RemotingClient, nameserver: str) -> None:
        while True:
            pause = RETRY_S
            with trio.move_on_after(CALL_S) as patience:
                try:
                    answer = await client.call(nameserver, registration(node.name))
                    assert answer.code == 0, answer.remark
                    pause = INTERVAL_S
                except Unreachable:
                    """It is down or cut off: tried again."""
            if patience.cancelled_caught:
                await client.drop(nameserver)
            await trio.sleep(pause)

    def shown(self, name: str) -> list[str]:
        """Broker names that this nameserver has, after checking its promises."""
        table = self.apps[name].table
        table.check_invariants()
        return sorted(table.brokers)

    def agree_on(self, *brokers: str) -> bool:
        """Whether both show exactly these brokers, and the same fingerprint."""
        prints = {app.table.fingerprint for app in self.apps.values()}
        return len(prints) == 1 and all(self.shown(n) == sorted(brokers) for n in self.apps)


def registration(name: str) -> Command:
    """The whole topic table of this broker: one topic of its own, one shared by all."""
    table = {topic: TopicConfig(topic) for topic in (name, "shared")}
    body = RegisterBrokerBody(TopicConfigSerializeWrapper(DataVersion(counter=1), table))
    ext = {
        "brokerName": name,
        "brokerAddr": f"{name}:10911",
        "clusterName": "c",
        "haServerAddr": f"{name}:10912",
        "brokerId": "0",
    }
    data = encode_register_body(body, Serialize.CBOR)
    return Command(RequestCode.REGISTER_BROKER, ext=ext, body=data, serialize=Serialize.CBOR)


def test_killed_process_leaves_the_routes_at_once() -> None:
    """A broker whose process dies is gone with its connection, long before any timeout."""

    async def scenario(world: World) -> None:
        fleet = Fleet(world)
        await trio.sleep(INTERVAL_S)
        assert fleet.agree_on("b0", "b1")
        fleet.brokers[0].kill()
        await trio.sleep(0.1)
        assert fleet.agree_on("b1")
        assert fleet.apps["ns1"].stats.expirations == {"b0": 1}
        assert fleet.apps["ns1"].table.topics.names() == ["b1", "shared"]

    simulate(1, scenario)


def test_lost_power_expires_within_timeout_and_scan() -> None:
    """A machine that is gone without a word keeps its route for the timeout, and no scan longer."""

    async def scenario(world: World) -> None:
        fleet = Fleet(world)
        await trio.sleep(INTERVAL_S * 2.5)
        fleet.brokers[0].kill(power=True)
        await trio.sleep(TIMEOUT_S - INTERVAL_S - 1)
        assert fleet.agree_on("b0", "b1")
        await trio.sleep(INTERVAL_S + SCAN_S + 1)
        assert fleet.agree_on("b1")

    simulate(2, scenario)


def test_restarted_broker_outlives_its_old_connection() -> None:
    """The old connection's late end does not take a broker that registered over a new one."""

    async def scenario(world: World) -> None:
        fleet = Fleet(world)
        await trio.sleep(2 * RETRY_S)
        await fleet.brokers[0].restart(power=True)  # the old connections never hear of it
        await trio.sleep(CALL_S)
        assert fleet.agree_on("b0", "b1")
        table = fleet.apps["ns1"].table
        (live,) = [live for live in table.live if live.broker_name == "b0"]
        assert live.session_id == max(fleet.apps["ns1"].server.connections)
        while len(fleet.apps["ns1"].server.connections) > 2:  # until idleness ends the old one
            await trio.sleep(1)
            assert fleet.agree_on("b0", "b1")

    simulate(3, scenario)


def test_restarted_nameserver_is_whole_after_one_interval() -> None:
    """A nameserver starts with nothing but its key-value settings and learns the rest again."""

    async def scenario(world: World) -> None:
        fleet = Fleet(world)
        await trio.sleep(2 * RETRY_S)
        await fleet.apps["ns1"].kv.put("n", "k", "v")
        await fleet.nameservers[0].restart(power=True)
        await trio.sleep(INTERVAL_S + 2 * CALL_S)
        assert fleet.agree_on("b0", "b1")
        assert fleet.apps["ns1"].kv.get("n", "k") == "v"

    simulate(4, scenario)


def test_clean_stop_ends_the_program() -> None:
    """Asked to stop, a nameserver says goodbye to its brokers and counts nobody as lost."""

    async def scenario(world: World) -> None:
        fleet = Fleet(world)
        await trio.sleep(2 * RETRY_S)
        with trio.fail_after(CONFIG.remoting.stop_grace_s + 1):
            await fleet.nameservers[0].stop()
        assert fleet.apps["ns1"].stats.expirations == {}
        assert fleet.shown("ns2") == ["b0", "b1"]

    simulate(5, scenario)


async def one_fault(fleet: Fleet, rng: random.Random) -> None:
    """Something breaks, for a while or for good."""
    nodes = [*fleet.brokers, *fleet.nameservers]
    node, network = rng.choice(nodes), fleet.world.network
    nameserver = rng.choice(fleet.nameservers)
    fault = rng.randint(0, 4)
    if fault == 0:
        await node.restart(power=rng.random() < 0.5)
    elif fault == 1 and node.running:
        node.kill(power=rng.random() < 0.5)
        await node.stopped()
    elif fault == 2 and node is not nameserver:
        network.cut(node.name, nameserver.name)
    elif fault == 3 and node is not nameserver:
        network.cut_one_way(node.name, nameserver.name)
    elif fault == 4:
        network.isolate(node.name)


@pytest.mark.parametrize("seed", range(8))
def test_nameservers_agree_after_any_faults(seed: int) -> None:
    """Whatever broke, once all is well for a timeout both show the same routes, and never more
    than the brokers that exist."""

    async def scenario(world: World) -> None:
        fleet, rng = Fleet(world, brokers=4), world.rng("faults")
        names = [node.name for node in fleet.brokers]
        for _ in range(12):
            await trio.sleep(rng.random() * 2 * INTERVAL_S)
            await one_fault(fleet, rng)
            for name in fleet.apps:
                assert set(fleet.shown(name)) <= set(names)
        world.network.heal_all()
        for node in (*fleet.brokers, *fleet.nameservers):
            if not node.running:
                node.start()
        await trio.sleep(TIMEOUT_S + SCAN_S + INTERVAL_S)
        assert fleet.agree_on(*names)

    simulate(seed, scenario)


def test_equal_seeds_give_equal_runs() -> None:
    """A nameserver draws no chance and reads no clock of its own."""

    async def scenario(world: World) -> int:
        fleet, rng = Fleet(world, brokers=3), world.rng("faults")
        for _ in range(4):
            await trio.sleep(INTERVAL_S)
            await one_fault(fleet, rng)
        return fleet.apps["ns1"].table.fingerprint

    first, second = simulate(9, scenario), simulate(9, scenario)
    assert (first.value, first.trace) == (second.value, second.trace)
