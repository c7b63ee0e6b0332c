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
    again       C, D   a degraded master dies, and the slave is told to own,     floor, prev
                       again and again, and to go on alone
    blank       C, D   the slave's disk is empty, its master forgets what that   store id,
                       acked, and dies meanwhile                                 whose acks
    unkept      C, D   a degraded master loses power while it writes that down   announcement
    fenced      all    master and two nameservers are off; the slave writes      --fenced
                       without a lease, until they are back

The script is the seed's, in turns: `SCRIPTS[seed % 10]`.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Final

import trio

from broker_trio.testing.checkers.verdict import Verdict, Violation
from broker_trio.testing.cluster.cluster import Plant, sound
from broker_trio.testing.cluster.pair_operator import RISK
from broker_trio.testing.scenarios.pair import Run, trouble
from broker_trio.testing.sim_network import DELAY_S
from broker_trio.testing.sim_stream import WINDOW_BYTES
from broker_trio.testing.world import World

WAIT_S: Final = 7.2  # until whoever may own after a lone owner writes
BEHIND_S: Final = 3.0  # further: what it does then
LATE_S: Final = (5.0, 8.0)
AGAIN: Final = 3  # orders: each proposal may go back to the one before
NARROW_BYTES: Final = 4 << 10
SLOW: Final = 200.0  # times as long as a disk takes: a record is written down for seconds


async def pair_rules(world: World, *, plant: Plant = sound) -> Verdict:
    """Ten unlucky courses in turns, each of which one rule of the pair is for."""
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
    await trio.sleep(2 * WAIT_S)  # it waits as long, and asks who does not answer


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


async def again(run: Run) -> None:
    """What the master answered alone, nobody else has."""
    master, slave, names = _sides(run)
    _cut(run, master, slave)
    await run.operator.order(master, "degrade")
    await _pause(run, 1.0, 2.0)
    await run.down(master, power=False)
    _cut(run, slave, *names)
    for _ in range(AGAIN):
        run.pair.fault("order", "promote", slave)
        await run.operator.order(slave, "promote")
    run.world.network.heal_all()
    await _pause(run, 1.0, 2.0)
    await run.operator.order(slave, "degrade")
    await trio.sleep(BEHIND_S)
    await run.up(master)


async def blank(run: Run) -> None:
    """The empty disk learns; nobody may count on it meanwhile.

    What a store acked its master remembers for as long as it leads in one epoch without a break,
    and lets it come back with no less: a fence and its end make it forget that.
    """
    master, slave, _ = _sides(run)
    await _put_out(run, slave)
    forgets = run.rng.random() < 0.5
    for verb in ("fence", "rejoin") if forgets else ():
        run.pair.fault("order", verb, master)
        await run.operator.order(master, verb)
    with _learning_slowly(run, master, slave) if forgets else nullcontext():
        await run.pair.up(slave)
        await _pause(run, 0.5, 3.0)
        await _off(run, master)
    await _alone(run, slave)
    await run.up(master)


@contextmanager
def _learning_slowly(run: Run, master: str, slave: str) -> Iterator[None]:
    """A slave that attaches learns for seconds what its master has."""
    network = run.world.network
    network.window_bytes = NARROW_BYTES
    network.set_delay(master, slave, (0.2, 0.4))
    try:
        yield
    finally:
        network.window_bytes = WINDOW_BYTES
        network.set_delay(master, slave, DELAY_S)


async def _off(run: Run, name: str) -> None:
    run.pair.kill(name, power=True)
    await run.pair.node(name).stopped()


async def _alone(run: Run, slave: str) -> None:
    """It is told to own, and to go on alone."""
    run.pair.fault("order", "promote", slave)
    await run.operator.order(slave, "promote")
    await _pause(run)
    await run.operator.order(slave, "degrade")
    await trio.sleep(BEHIND_S)


async def unkept(run: Run) -> None:
    """Whoever acknowledges alone has that on disk; else it starts again as if it did not."""
    master, slave, _ = _sides(run)
    _cut(run, master, slave)
    node = run.pair.node(master)
    run.pair.fault("disk", master)
    node.disk.slow = SLOW
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.operator.order, master, "degrade")
        await _writes_it_down(run, master)
        await _pause(run, 0.1, 1.5)
        run.pair.kill(master, power=run.mode.flushes)
        nursery.cancel_scope.cancel()
    await node.stopped()
    node.disk.slow = 1.0
    run.world.network.heal_all()
    with _learning_slowly(run, master, slave):
        await run.up(master)
        with trio.move_on_after(WAIT_S):
            while not run.pair.is_whole():  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(0.02)
        await _pause(run, 0.0, 0.3)
        await _off(run, master)
    await _alone(run, slave)
    await run.up(master)


async def _writes_it_down(run: Run, name: str) -> None:
    """Return when a record is on its way to this disk; within ten seconds, or not at all."""
    with trio.move_on_after(10.0):
        while (replica := run.pair.replica(name)) is not None:
            if replica.machine.state is not replica.machine.kept:
                return
            await trio.sleep(0.02)


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
    await _put_out(run, name)
    await run.pair.up(name)


async def _put_out(run: Run, name: str) -> None:
    """Its machine is off, with an empty disk."""
    run.pair.fault("emptied", name)
    run.pair.kill(name, power=True)
    await run.pair.node(name).stopped()
    run.pair.node(name).disk.put_in(None)


SCRIPTS: Final[tuple[tuple[Callable[[Run], Awaitable[None]], str], ...]] = (
    (isolated, "BA"),
    (late, "BA"),
    (rivals, "BA"),
    (handover, "BA"),
    (forgotten, "BA"),
    (too_soon, "DC"),
    (again, "DC"),
    (blank, "DC"),
    (unkept, "DC"),
    (fenced, "DCBA"),
)
