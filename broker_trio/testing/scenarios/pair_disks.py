"""Disks of a pair fail, fill up, or are not the ones that were there before.

pair_eio          a write, fsync or rename fails: that broker ends by StoreFailed
pair_full         the disk of master or slave is full, and has space again
pair_other_disk   a broker comes back with an empty disk, or with an old copy of its own: it is
                  another store, or has no pair.cbor, and learns
"""

import errno
from typing import Final

import msgspec
import trio

from broker_trio.broker.replication.state_file import STATE_PATH
from broker_trio.store.config import KIB
from broker_trio.testing.checkers.verdict import Verdict
from broker_trio.testing.cluster.cluster import Plant, sound
from broker_trio.testing.cluster.pair import mode_of
from broker_trio.testing.scenarios.crashes import FAILING
from broker_trio.testing.scenarios.pair import Run, chance, trouble
from broker_trio.testing.scenarios.resources import NEVER_DELETES
from broker_trio.testing.sim_device import CAPACITY_BYTES
from broker_trio.testing.world import World

ROUNDS: Final = 3
LEVEL_S: Final = 60.0


async def pair_eio(world: World, *, plant: Plant = sound) -> Verdict:
    """One EIO ends a broker for good; the other goes on or is promoted."""
    async with trouble(world, plant) as run:
        pair, rng = run.pair, run.rng
        for _ in range(ROUNDS):
            name = run.master() if chance(rng, 0.6) else rng.choice(pair.broker_names)
            kind, path = rng.choice(FAILING)
            pair.fault("eio", name, kind, path)
            disk = pair.node(name).disk
            disk.faults.fail(kind, path=path, number=errno.EIO, skip=rng.randint(0, 3))
            with trio.move_on_after(rng.choice((0.5, 4.0))):
                await pair.node(name).stopped()
            if chance(rng, 0.4):
                await run.operator.promote(pair.other(name))
            if chance(rng, 0.5):
                pair.kill(name, power=True)
            await trio.sleep(rng.choice((0.0, 3.0)))
            disk.faults.clear()
            await run.up(name)
            await trio.sleep(rng.choice((0.5, 4.0)))
    return run.verdict


async def pair_full(world: World, *, plant: Plant = sound) -> Verdict:
    """ENOSPC on master or slave: refused by name, read on, and all well when there is space."""
    store = msgspec.structs.replace(mode_of(world).store, **NEVER_DELETES)
    async with trouble(world, plant, store=store) as run:
        pair, rng = run.pair, run.rng
        for _ in range(ROUNDS):
            name = run.master() if chance(rng, 0.5) else rng.choice(pair.broker_names)
            disk = pair.node(name).disk
            pair.fault("full", name)
            disk.capacity_bytes = disk.used_bytes + rng.choice((512, 4 * KIB, 64 * KIB))
            await trio.sleep(rng.choice((1.0, 5.0)))
            if chance(rng, 0.3):
                await run.down(name, power=False)
                await run.operator.promote(pair.other(name))
            elif chance(rng, 0.3):
                await run.operator.switchover(run.master())
            disk.capacity_bytes = CAPACITY_BYTES
            await run.up(name)
            await trio.sleep(rng.choice((0.5, 4.0)))
    return run.verdict


async def pair_other_disk(world: World, *, plant: Plant = sound) -> Verdict:
    """An emptied or an old disk under the slave, or under a master after its slave was promoted."""
    async with trouble(world, plant) as run:
        pair, rng = run.pair, run.rng
        for _ in range(2):
            if not await _whole(run):
                continue
            name = run.master()
            victim = pair.other(name) if chance(rng, 0.5) else name
            keeper = pair.other(victim)
            await run.down(victim, power=True)
            image = pair.node(victim).disk.image()
            if victim == name:
                await run.operator.promote(keeper)
            elif run.mode.copies == 2:
                await run.operator.follow()
            await _owns(run, keeper)
            if chance(rng, 0.5):
                pair.fault("emptied", victim)
                pair.node(victim).disk.put_in(None)
            else:
                pair.fault("old", victim)
                await run.up(victim)
                await _whole(run)
                await trio.sleep(rng.choice((0.5, 3.0)))
                if pair.owner() != keeper:
                    continue  # its log may be the only one: no old copy in its place
                pair.kill(victim, power=True)
                await pair.node(victim).stopped()
                pair.node(victim).disk.put_in(image)
                pair.node(victim).disk.restart()
                if pair.node(victim).disk.exists(STATE_PATH):  # what the runbook says to do
                    pair.node(victim).disk.unlink(STATE_PATH)
                pair.node(victim).disk.crash(power=False)
            await run.up(victim)
            await _whole(run)
    return run.verdict


async def _whole(run: Run) -> bool:
    """Wait until both copies count; the operator on call sees to it."""
    with trio.move_on_after(LEVEL_S):
        while not run.pair.is_whole():  # noqa: ASYNC110 -- nobody tells
            await trio.sleep(0.1)
    return run.pair.is_whole()


async def _owns(run: Run, name: str) -> None:
    """Wait until this one may write."""
    with trio.move_on_after(LEVEL_S):
        while run.pair.owner() != name:  # noqa: ASYNC110 -- nobody tells
            await trio.sleep(0.1)
