"""Brokers of a pair end, nameservers too, and somebody careful is on call.

pair_kill     kill −9 of master or slave at a disk operation, or of both; the slave is promoted
              or the master comes back, whichever is first
pair_power    the same without power, also of both machines at once, also while one recovers
"""

import trio

from broker_trio.testing.checkers.verdict import Verdict
from broker_trio.testing.cluster.cluster import Plant, sound
from broker_trio.testing.scenarios.pair import Run, chance, trouble
from broker_trio.testing.world import World

ROUNDS = 4


async def pair_kill(world: World, *, plant: Plant = sound) -> Verdict:
    """kill −9 of either broker or both, and of nameservers; whoever is left is promoted."""
    async with trouble(world, plant) as run:
        for _ in range(ROUNDS):
            await _round(run, power=False)
    return run.verdict


async def pair_power(world: World, *, plant: Plant = sound) -> Verdict:
    """Power loss of either machine or both, torn writes included, also while it recovers."""
    async with trouble(world, plant) as run:
        for _ in range(ROUNDS):
            await _round(run, power=True)
    return run.verdict


async def _round(run: Run, *, power: bool) -> None:
    """One fault, and what people do then."""
    pair, rng = run.pair, run.rng
    first = run.master()
    if chance(rng, 0.3):
        first = pair.other(first)
    await run.down(first, power=power)
    if chance(rng, 0.25):
        await run.down(pair.other(first), power=power)
    if chance(rng, 0.25):
        await nameserver_down(run, power=power)
    if chance(rng, 0.4):
        await run.operator.promote(pair.other(first))
    await trio.sleep(rng.choice((0.0, 0.5, 2.0, 9.0)))
    for name in rng.sample(pair.broker_names, 2):
        if power and chance(rng, 0.3) and not pair.node(name).running:
            pair.node(name).disk.faults.power_off_at(rng.randint(1, 40))
        await run.up(name)
    await trio.sleep(rng.choice((0.1, 1.0, 4.0)))


async def nameserver_down(run: Run, *, power: bool = False) -> None:
    """One nameserver ends and starts again."""
    name = run.rng.choice(run.pair.nameserver_names)
    run.pair.fault("nameserver", name, power)
    run.pair.kill(name, power=power)
    await trio.sleep(run.rng.choice((0.0, 1.0)))
    await run.pair.up(name)
