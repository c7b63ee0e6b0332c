"""Consumers of the real client under every fault at once, from a seed."""

import pytest
import trio

from broker_trio.client.errors import ClientError
from broker_trio.runtime.seams import Entropy
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World

from .clients import TOPIC, Member, assert_in_order, client, committed, numbered, send, until


@pytest.mark.parametrize(
    "seed", [100, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(101, 125))]
)
def test_nothing_acknowledged_is_lost_whatever_breaks(seed: int) -> None:
    """Brokers, nameservers and members killed, links cut, in any order: two groups get it all.

    One of them in order; and neither ever commits past a message that it did not handle.
    """

    async def scenario(world: World) -> int:
        rng = world.rng("faults")
        cluster = Cluster(world, brokers=2, nameservers=2)
        await cluster.start()
        await send(cluster, numbered(8, "first"))
        acked = set(numbered(8, "first"))
        plain = [Member(cluster, f"c{n}", group="plain", start="first") for n in range(3)]
        inorder = [
            Member(cluster, f"o{n}", group="inorder", start="first", ordered=True, handle_s=0.02)
            for n in range(2)
        ]
        members = [*plain, *inorder]
        for member in members:
            member.node.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(produce, cluster, acked)
            for _ in range(8):
                await trio.sleep(rng.uniform(0.1, 8))
                await break_something(cluster, rng, members)
            nursery.cancel_scope.cancel()
        cluster.healed()
        await cluster.start()
        for member in members:
            if not member.node.running:
                member.node.start()
        for group in (plain, inorder):
            await until(
                lambda group=group: acked <= {body for member in group for body in member.bodies},
                200,
            )
        assert_in_order(*inorder)
        await trio.sleep(6)
        for name, group in (("plain", plain), ("inorder", inorder)):
            places = {(queue, offset) for member in group for _, queue, offset, _, _ in member.got}
            for queue, end in (await committed(cluster, name)).items():
                assert {(queue, offset) for offset in range(end)} <= places
        for member in members:
            await member.stop()
        return len(acked)

    assert simulate(seed, scenario).value > 20


async def produce(cluster: Cluster, acked: set[str]) -> None:
    """One message after the other; what is acknowledged is owed to both groups."""
    async with client(cluster, "producer") as mq:
        number = 0
        while True:
            number += 1
            try:
                await mq.send(TOPIC, f"m{number}", ordering_key=f"k{number % 5}")
            except ClientError:
                continue
            acked.add(f"m{number}")
            await trio.sleep(0.1)


async def break_something(cluster: Cluster, rng: Entropy, members: list[Member]) -> None:
    """One fault, and its end."""
    kind = rng.choice(("broker", "nameserver", "member", "leave", "cut", "one way"))
    victim = rng.choice(members)
    seconds = rng.choice((0.5, 3.0, 20.0))
    network, broker = cluster.world.network, rng.choice(cluster.broker_names)
    if kind == "broker":
        cluster.kill(broker)
        await trio.sleep(seconds)
        await cluster.up(broker)
    elif kind == "nameserver":
        name = rng.choice(cluster.nameserver_names)
        cluster.kill(name)
        await trio.sleep(seconds)
        await cluster.up(name)
    elif kind in {"member", "leave"}:
        victim.leave.set()
        if kind == "member":
            victim.node.kill()
        await victim.node.stopped()
        await trio.sleep(seconds)
        victim.node.start()
    else:
        cut = network.cut if kind == "cut" else network.cut_one_way
        cut(broker, victim.name)
        await trio.sleep(seconds)
        network.heal(broker, victim.name)
