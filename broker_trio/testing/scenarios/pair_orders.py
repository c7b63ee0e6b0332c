"""Whoever gives orders to a pair, well and badly.

pair_switchover   planned switchovers again and again, some of them interrupted by a fault
pair_mistakes     nobody looks: promotes of the wrong one, twice or both, degrades, handovers
                  that are left half way, fences; machines die meanwhile
pair_loss         the last resort: losses are accepted, and are no larger than what was told
"""

from typing import Final

import trio

from broker_trio.testing.checkers.verdict import Verdict
from broker_trio.testing.cluster.cluster import Plant, sound
from broker_trio.testing.cluster.pair_operator import RISK
from broker_trio.testing.scenarios.pair import Run, chance, trouble
from broker_trio.testing.world import World

ROUNDS: Final = 5
MISTAKES: Final = (
    "promote", "promote", "twice", "both", "degrade", "restore", "half", "handover", "fence",
)  # fmt: skip


async def pair_switchover(world: World, *, plant: Plant = sound) -> Verdict:
    """Switchovers under load; in some the old or the new master dies, or the cable goes."""
    async with trouble(world, plant) as run:
        pair, rng = run.pair, run.rng
        for _ in range(ROUNDS):
            name = run.master()
            pair.fault("switchover", name)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run.operator.switchover, name)
                if chance(rng, 0.4):
                    await trio.sleep(rng.uniform(0, 0.1))
                    await _interrupt(run, rng.choice((name, pair.other(name))))
            world.network.heal_all()
            for each in pair.broker_names:
                await run.up(each)
            await trio.sleep(rng.choice((0.2, 2.0, 5.0)))
    return run.verdict


async def _interrupt(run: Run, victim: str) -> None:
    if chance(run.rng, 0.5):
        run.pair.kill(victim, power=chance(run.rng, 0.5))
        await run.pair.node(victim).stopped()
    else:
        run.pair.fault("cut", *run.pair.broker_names)
        run.world.network.cut(*run.pair.broker_names)


async def pair_mistakes(world: World, *, plant: Plant = sound) -> Verdict:
    """Orders without a look, to anybody at any moment; no guard of any command holds them."""
    async with trouble(world, plant, on_call=False) as run:
        for _ in range(ROUNDS):
            await _mistake(run, run.rng.choice(MISTAKES))
            if chance(run.rng, 0.35):
                name = run.rng.choice(run.pair.broker_names)
                await run.down(name, power=chance(run.rng, 0.5))
                await trio.sleep(run.rng.choice((0.0, 1.0)))
            await trio.sleep(run.rng.choice((0.0, 0.3, 2.0, 8.0)))
            for name in run.pair.broker_names:
                await run.up(name)
            if chance(run.rng, 0.4):
                await run.operator.follow()
        for name in run.pair.broker_names:
            await run.operator.order(name, "rejoin")
    return run.verdict


async def _mistake(run: Run, what: str) -> None:
    pair, rng, order = run.pair, run.rng, run.operator.order
    one = rng.choice(pair.broker_names)
    other = pair.other(one)
    pair.fault("order", what, one)
    if what == "both":
        async with trio.open_nursery() as nursery:
            for name in (one, other):
                nursery.start_soon(order, name, "promote")
    elif what in {"half", "handover"}:
        await run.operator.switch(one, other, give_up=what == "half")
    elif what == "twice":
        await order(one, "promote")
        await order(one, "promote")
    elif what == "fence":
        await order(one, "fence")
        await trio.sleep(rng.choice((0.1, 3.0)))
        await order(one, "rejoin")
    elif what == "degrade":
        await order(one, "degrade")
    elif what == "restore":
        await order(one, "restore")
    else:
        await order(one, "promote")


async def pair_loss(world: World, *, plant: Plant = sound) -> Verdict:
    """A degraded master dies, and the other is made to own: only what was accepted is lost."""
    async with trouble(world, plant) as run:
        pair, rng = run.pair, run.rng
        name = run.master()
        await run.down(pair.other(name), power=chance(rng, 0.5))
        await trio.sleep(rng.choice((0.5, 8.0)))
        await run.operator.follow()
        await trio.sleep(rng.choice((0.5, 8.0)))
        await run.down(name, power=chance(rng, 0.5))
        await run.up(pair.other(name))
        await trio.sleep(rng.choice((0.0, 3.0)))
        world.log("accepted", pair.other(name))
        pair.fault("accept-loss", pair.other(name))
        await run.operator.order(pair.other(name), "force", risk=RISK)
        await trio.sleep(rng.choice((1.0, 9.0)))
        await run.up(name)
        await trio.sleep(rng.choice((0.1, 3.0)))
    return run.verdict
