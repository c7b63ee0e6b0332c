"""The network of a pair breaks, and clocks jump.

pair_cut           the two from each other, from nameservers, or both; both ways or one way
pair_slow          stalls, delays, resets and slow disks: late acks, late confirmations
pair_clock         wall clocks step and drift on every machine, while leases run
pair_nameservers   nameservers die, lose their disks one at a time, or lie cut off
"""

from typing import Final

import trio

from broker_trio.testing.checkers.verdict import Verdict
from broker_trio.testing.cluster.cluster import Plant, sound
from broker_trio.testing.scenarios.pair import Run, chance, trouble
from broker_trio.testing.scenarios.pair_crashes import nameserver_down
from broker_trio.testing.sim_network import DELAY_S
from broker_trio.testing.world import World

ROUNDS: Final = 4
STEPS_MS: Final = (-3_600_000, -1_000, 5_000, 86_400_000)
RELEARN_S: Final = 12.0  # a lease, a heartbeat, and the questions


async def pair_cut(world: World, *, plant: Plant = sound) -> Verdict:
    """Cuts and one-way cuts between the two, from nameservers, or both; promotions meanwhile."""
    async with trouble(world, plant) as run:
        for _ in range(ROUNDS):
            await _cut(run)
            if chance(run.rng, 0.3):
                await run.down(run.master(), power=False)
            if chance(run.rng, 0.3):
                await run.operator.promote(run.rng.choice(run.pair.broker_names))
            await trio.sleep(run.rng.choice((0.5, 3.0, 9.0)))
            if chance(run.rng, 0.8):
                world.network.heal_all()
            for name in run.pair.broker_names:
                await run.up(name)
            await trio.sleep(run.rng.choice((0.1, 2.0, 5.0)))
    return run.verdict


async def _cut(run: Run) -> None:
    """Some links go."""
    pair, rng, network = run.pair, run.rng, run.world.network
    one = run.master() if chance(rng, 0.7) else rng.choice(pair.broker_names)
    others: list[str] = []
    if chance(rng, 0.6):
        others.append(pair.other(one))
    if chance(rng, 0.5) or not others:
        others += rng.sample(pair.nameserver_names, rng.choice((1, 2, 3)))
    for other in others:
        pair.fault("cut", one, other)
        how = rng.choice(("both", "both", "from", "to"))
        if how == "both":
            network.cut(one, other)
        elif how == "from":
            network.cut_one_way(one, other)
        else:
            network.cut_one_way(other, one)


async def pair_slow(world: World, *, plant: Plant = sound) -> Verdict:
    """Stalls, long delays, resets, slow and hung disks: everything comes, but late."""
    async with trouble(world, plant) as run:
        pair, rng = run.pair, run.rng
        machines = [*pair.broker_names, *pair.nameserver_names]
        for _ in range(ROUNDS):
            one, other = rng.sample(machines, 2)
            kind = rng.choice(("stall", "delay", "reset", "disk", "hang"))
            pair.fault(kind, one, other)
            disk = pair.node(one).disk
            if kind == "stall":
                world.network.stall(one, other, rng.choice((0.5, 3.0, 8.0)))
            elif kind == "delay":
                world.network.set_delay(one, other, (0.01, rng.choice((0.3, 2.0))))
            elif kind == "reset":
                world.network.reset(one, other)
            elif kind == "disk":
                disk.slow = rng.choice((20.0, 200.0))
            else:
                disk.hang()
            if chance(rng, 0.4):
                await run.operator.switchover(run.master())
            await trio.sleep(rng.choice((0.5, 2.0, 8.0)))
            world.network.set_delay(one, other, DELAY_S)
            disk.slow = 1.0
            disk.resume()
            await trio.sleep(rng.choice((0.1, 1.0)))
    return run.verdict


async def pair_clock(world: World, *, plant: Plant = sound) -> Verdict:
    """Wall clocks step an hour back or a day on, and drift, while the pair changes hands."""
    async with trouble(world, plant) as run:
        run.delays = False  # what is due follows the wall clock
        pair, rng = run.pair, run.rng
        for _ in range(ROUNDS):
            for name in rng.sample([*pair.broker_names, *pair.nameserver_names], 3):
                steps, clock = chance(rng, 0.5), pair.node(name).clock
                pair.fault("step" if steps else "drift", name)
                if steps:
                    clock.step(rng.choice(STEPS_MS))
                else:
                    clock.drift(rng.choice((-0.02, 0.02, 0.5)))
            if chance(rng, 0.5):
                await run.operator.switchover(run.master())
            elif chance(rng, 0.5):
                name = run.master()
                await run.down(name, power=chance(rng, 0.5))
                await run.operator.promote(pair.other(name))
                await run.up(name)
            await trio.sleep(rng.choice((0.5, 3.0)))
    return run.verdict


async def pair_nameservers(world: World, *, plant: Plant = sound) -> Verdict:
    """Witnesses die, lose a disk, or lie cut off, while brokers die and are promoted."""
    async with trouble(world, plant) as run:
        pair, rng = run.pair, run.rng
        for _ in range(ROUNDS):
            victim = rng.choice(pair.nameserver_names)
            if chance(rng, 0.4):
                pair.fault("emptied", victim)
                pair.kill(victim, power=True)
                await pair.node(victim).stopped()
                pair.node(victim).disk.put_in(None)
                await pair.up(victim)
            elif chance(rng, 0.5):
                await nameserver_down(run, power=True)
            else:
                for name in pair.broker_names:
                    pair.fault("cut", name, victim)
                    world.network.cut(name, victim)
            name = run.master()
            if chance(rng, 0.6):
                await run.down(name, power=chance(rng, 0.5))
                await run.operator.promote(pair.other(name))
                await run.up(name)
            await trio.sleep(RELEARN_S)  # one forgetful witness at a time
            world.network.heal_all()
            await trio.sleep(rng.choice((0.1, 3.0)))
    return run.verdict
