"""Each rule of a pair where it is needed: what an unlucky pair does, at random moments.

Taken out of the model of the rules, each of them gave a counterexample of a dozen steps. Random
faults hardly ever come in that order; so here they do, and the moments and sides are drawn.

    script      mode   what happens                                              needs
    isolated    A, B   the master has one nameserver for itself or none; clients lease, wait,
                       reach it; the slave is promoted at once                   majority
    late        A, B   answers of nameservers take longer than a lease           send time
    rivals      A, B   both are told to own, in the same moment                  owner in the epoch
    handover    A, B   a switchover loses its cable before the master agreed     handover first
    forgotten   A, B   a nameserver loses its disk and moves to the old side     re-learning
    too_soon    C, D   it does so between two answers to a degraded master       waiting
    twice       C, D   a degraded master dies, and the slave is told to own,     floor, prev
                       twice, and to go on alone
    blank       C, D   the slave's disk is empty, and the master dies meanwhile  store id
    fenced      all    master and two nameservers are off; the slave writes      --fenced
                       without a lease, until they are back

The script is the seed's, in turns: `SCRIPTS[seed % 9]`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from broker_trio.testing.checkers.verdict import Verdict, Violation
from broker_trio.testing.cluster.cluster import Plant, sound
from broker_trio.testing.cluster.pair_operator import RISK
from broker_trio.testing.scenarios.pair import Run, trouble
from broker_trio.testing.sim_network import DELAY_S
from broker_trio.testing.world import World

WAIT_S: Final = 7.2  # until whoever may own after a lone owner writes
BEHIND_S: Final = 3.0  # further: what it does then
LATE_S: Final = (5.0, 8.0)


async def pair_rules(world: World, *, plant: Plant = sound) -> Verdict:
    """Nine unlucky courses in turns, each of which one rule of the pair is for."""
    script, letters = SCRIPTS[world.seed % len(SCRIPTS)]
    world.log("script", script.__name__)
    async with trouble(world, plant, letters=letters, on_call=False, shift=len(SCRIPTS)) as run:
        await script(run)
    return run.verdict


def _sides(run: Run) -> tuple[str, str, list[str]]:
    """The master, its slave, and the nameservers in any order."""
    master = run.master()
    names = run.pair.nameserver_names
    return master, run.pair.other(master), run.rng.sample(names, len(names))


def _cut(run: Run, one: str, *others: str) -> None:
    for other in others:
        run.pair.fault("cut", one, other)
        run.world.network.cut(one, other)


async def _pause(run: Run, low_s: float = 0.05, high_s: float = 0.4) -> None:
    await trio.sleep(run.rng.uniform(low_s, high_s))


async def isolated(run: Run) -> None:
    """Its clients reach the old master all the time."""
    master, slave, names = _sides(run)
    _cut(run, master, slave, *names[1:])
    _cut(run, names[0], run.rng.choice((master, slave)))
    await _pause(run)
    await run.operator.order(slave, "promote")
    await trio.sleep(WAIT_S + BEHIND_S)


async def late(run: Run) -> None:
    """What a nameserver confirmed long ago arrives only now."""
    master, slave, names = _sides(run)
    for name in names:
        run.pair.fault("delay", name, master)
        run.world.network.set_delay_one_way(name, master, LATE_S)
    await _pause(run, 1.0, 2.0)
    _cut(run, master, slave)
    await _pause(run)
    await run.operator.order(slave, "promote")
    await trio.sleep(WAIT_S + BEHIND_S)
    for name in names:
        run.world.network.set_delay_one_way(name, master, DELAY_S)


async def rivals(run: Run) -> None:
    """Two operators, who do not know of each other and looked at the same time."""
    master, slave, _ = _sides(run)
    kept = run.pair.kept(master)
    above = 0 if kept is None else kept.promised.counter
    for name in (master, slave):
        run.pair.fault("order", "promote", name)
    _cut(run, master, slave)
    async with trio.open_nursery() as nursery:
        for name in (master, slave):
            nursery.start_soon(partial(run.operator.order, name, "promote", above=above))
    await trio.sleep(WAIT_S + BEHIND_S)


async def handover(run: Run) -> None:
    """The old master goes on after its pause, alone, and then the new one begins."""
    master, slave, _ = _sides(run)
    run.pair.fault("switchover", master)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.operator.switch, master, slave)
        await trio.sleep(run.rng.uniform(0.003, 0.03))
        _cut(run, master, slave)
        await _pause(run)
        await run.operator.order(master, "resume")
        nursery.cancel_scope.cancel()
    await trio.sleep(WAIT_S + BEHIND_S)


async def forgotten(run: Run) -> None:
    """The majority that knew of the new master is none without its disk."""
    master, slave, (first, second, third) = _sides(run)
    _cut(run, master, slave, first, second)
    _cut(run, slave, third)
    _cut(run, third, first, second)
    await run.operator.order(slave, "promote")
    await trio.sleep(WAIT_S + BEHIND_S)
    await _emptied(run, first)
    _cut(run, first, slave, second)
    run.world.network.heal(first, master)
    run.world.network.heal(first, third)
    await trio.sleep(WAIT_S + BEHIND_S)


async def too_soon(run: Run) -> None:
    """It said yes, forgot, and would say yes to the other one."""
    master, slave, (first, second, third) = _sides(run)
    _cut(run, master, slave, second, third)
    await _pause(run)
    await run.operator.order(master, "degrade")
    await _pause(run)
    await _emptied(run, first)
    await _pause(run)
    run.world.network.heal(master, second)
    await _pause(run)
    _cut(run, master, first, second)
    _cut(run, slave, second)
    await run.operator.order(slave, "promote")
    await _pause(run)
    await run.operator.order(slave, "degrade")
    await trio.sleep(WAIT_S + BEHIND_S)


async def twice(run: Run) -> None:
    """What the master answered alone, nobody else has."""
    master, slave, names = _sides(run)
    _cut(run, master, slave)
    await run.operator.order(master, "degrade")
    await _pause(run, 1.0, 2.0)
    await run.down(master, power=False)
    _cut(run, slave, *names)
    for _ in range(2):
        run.pair.fault("order", "promote", slave)
        await run.operator.order(slave, "promote")
    run.world.network.heal_all()
    await _pause(run, 1.0, 2.0)
    await run.operator.order(slave, "degrade")
    await trio.sleep(BEHIND_S)
    await run.up(master)


async def blank(run: Run) -> None:
    """The empty disk learns; nobody may count on it meanwhile."""
    master, slave, _ = _sides(run)
    await _emptied(run, slave)
    run.world.network.set_delay(master, slave, (0.2, 0.4))
    await trio.sleep(run.rng.uniform(0.5, 2.0))
    await run.down(master, power=True)
    run.world.network.set_delay(master, slave, DELAY_S)
    run.pair.fault("order", "promote", slave)
    await run.operator.order(slave, "promote")
    await _pause(run)
    await run.operator.order(slave, "degrade")
    await trio.sleep(BEHIND_S)
    await run.up(master)


async def fenced(run: Run) -> None:
    """`promote SLAVE --fenced MASTER`: no lease can be had, and an operator answers for it."""
    master, slave, names = _sides(run)
    await run.down(master, power=True)
    for name in names[:2]:
        run.pair.fault("nameserver", name)
        run.pair.kill(name, power=run.rng.random() < 0.5)
        await run.pair.node(name).stopped()
    run.pair.fault("fenced", slave)
    run.world.log("accepted", slave)
    await run.operator.order(slave, "force", risk=RISK, unleased=True)
    with trio.move_on_after(BEHIND_S):
        while run.pair.owner() != slave:  # noqa: ASYNC110 -- nobody tells
            await trio.sleep(0.05)
    if run.pair.owner() != slave:
        raise Violation("I19", f"{slave} does not write although {master} is fenced")
    await trio.sleep(BEHIND_S)
    for name in names[:2]:
        await run.pair.up(name)
    await _pause(run)
    await run.up(master)
    await trio.sleep(BEHIND_S)


async def _emptied(run: Run, name: str) -> None:
    run.pair.fault("emptied", name)
    run.pair.kill(name, power=True)
    await run.pair.node(name).stopped()
    run.pair.node(name).disk.put_in(None)
    await run.pair.up(name)


SCRIPTS: Final[tuple[tuple[Callable[[Run], Awaitable[None]], str], ...]] = (
    (isolated, "BA"),
    (late, "BA"),
    (rivals, "BA"),
    (handover, "BA"),
    (forgotten, "BA"),
    (too_soon, "DC"),
    (twice, "DC"),
    (blank, "DC"),
    (fenced, "DCBA"),
)
