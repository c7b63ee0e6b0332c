"""Records, leases, witnesses and the stream together: a pair changes hands under faults.

Whatever operators order and machines suffer: no answered message is lost, both logs end equal.
"""

import pytest
import trio

from broker_trio.broker.replication.acks import Outcome
from broker_trio.testing.checkers.stored import check_all
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from tests.sim.records_rig import NAMESERVERS, RecordsRig
from tests.sim.replication_rig import assert_identical, sending
from tests.sim.store_workload import SYNC


async def same_logs(rig: RecordsRig, master: str, slave: str) -> None:
    """In the end the master and its slave hold the same bytes and every answered message."""
    one, two = rig.programs[master], rig.programs[slave]
    await rig.until(lambda: two.store.log.flushed_offset == one.store.log.max_offset)
    await trio.sleep(1.5)  # a heartbeat: the last confirm offset
    await assert_identical(one.store, two.store, one.store.log.max_offset)
    await check_all(one.store, rig.journal)
    await check_all(two.store, rig.journal)


async def comes_up(world: World) -> None:
    rig = RecordsRig(world, SYNC)
    await rig.whole()
    async with sending(rig):
        await trio.sleep(1.0)
    assert rig.told.outcomes[Outcome.OK] == len(rig.journal.sent) > 50
    assert not rig.told.refused
    await same_logs(rig, "a", "b")


def test_a_pair_comes_up_by_itself_and_replicates():
    """Two empty stores and three nameservers: the first record, the second, then every send OK."""
    simulate(1, comes_up)


async def promoted(world: World, power: bool) -> float:
    rig = RecordsRig(world, SYNC)
    await rig.whole()
    async with sending(rig):
        await trio.sleep(0.7)
        rig.kill("a", power=power)
    began = trio.current_time()
    await rig.order("b", "promote")
    await rig.until(lambda: rig.programs["b"].state == "owner")
    await rig.order("b", "degrade")
    await rig.until(lambda: rig.programs["b"].role.may_answer_alone(trio.current_time()))
    took = trio.current_time() - began
    async with sending(rig, "b", 2):
        await trio.sleep(0.5)
        await rig.up("a")
        await trio.sleep(0.5)
    await rig.until(lambda: rig.is_whole("b", "a"))
    await same_logs(rig, "b", "a")
    return took


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_the_slave_takes_over_and_the_old_master_comes_back(power):
    """promote, one copy, the old master cut back and restored by itself; in virtual time < 1 s."""
    assert simulate(1, lambda world: promoted(world, power)).value < 1.0


async def switched(world: World) -> None:
    rig = RecordsRig(world, SYNC)
    await rig.whole()
    async with sending(rig):
        await trio.sleep(0.5)
        paused = await rig.order("a", "pause")
        await rig.order("b", "handover", end=paused.log_end)
        await rig.until(lambda: rig.programs["b"].state == "owner")
    await rig.until(lambda: rig.is_whole("b", "a"))
    async with sending(rig, "b", 2):
        await trio.sleep(0.3)
    await same_logs(rig, "b", "a")
    assert rig.told.outcomes[Outcome.SLAVE_LATE] == 0


def test_a_switchover_under_load_loses_nothing():
    """Senders run on while the pair changes hands."""
    simulate(1, switched)


FAULTS = ("kill", "power", "nameserver", "cut", "heal", "promote", "degrade", "switchover", "rest")


async def storm(world: World, rounds: int) -> int:
    """Faults and careless operators; then everything is well again and must be whole."""
    rng, rig = world.rng("storm"), RecordsRig(world, SYNC)
    await rig.whole()
    async with sending(rig, "a", 1), sending(rig, "b", 2):
        for _ in range(rounds):
            await fault(rig, world, rng.choice(FAULTS), rng)
            await trio.sleep(rng.choice((0.01, 0.2, 1.0, 4.0)))
    world.network.heal_all()
    for name in NAMESERVERS:
        if not world.nodes[name].running:
            await world.nodes[name].stopped()
            world.nodes[name].start()
    for name in ("a", "b"):
        if not world.nodes[name].running:
            await rig.up(name)
    master, slave = await settled(rig)
    async with sending(rig, master, 3):
        await trio.sleep(0.3)
    await rig.until(lambda: rig.is_whole(master, slave))
    await same_logs(rig, master, slave)
    return rig.told.outcomes[Outcome.OK]


async def fault(rig: RecordsRig, world: World, what: str, rng) -> None:
    name = rng.choice("ab")
    running = world.nodes[name].running
    match what:
        case "kill" | "power" if running:
            rig.kill(name, power=what == "power")
            await trio.sleep(rng.choice((0.1, 1.0, 8.0)))
            await rig.up(name)
        case "nameserver":
            node = world.nodes[rng.choice(NAMESERVERS)]
            node.kill(power=rng.random() < 0.5)
            await node.stopped()
            node.start()
        case "cut":
            world.network.cut(name, rng.choice(("a", "b", *NAMESERVERS)))
        case "heal":
            world.network.heal_all()
        case "promote" | "degrade" if running:
            await rig.try_order(name, what)
        case "switchover" if running:
            paused = await rig.try_order(name, "pause")
            if paused is not None:
                await rig.try_order("b" if name == "a" else "a", "handover", end=paused.log_end)


async def settled(rig: RecordsRig) -> tuple[str, str]:
    """An operator follows the instruction until both copies count. Gives master and slave."""
    for _ in range(20):
        await trio.sleep(15.0)
        for master, slave in (("a", "b"), ("b", "a")):
            if rig.is_whole(master, slave):
                return master, slave
        await rig.instructed()
    raise AssertionError({name: one.role.status() for name, one in rig.programs.items()})


@pytest.mark.parametrize("seed", [2])
def test_storms_lose_nothing_answered_and_mend(seed):
    """Random faults and orders; whoever owns in the end has every answered message."""
    simulate(seed, lambda world: storm(world, 5))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_longer_storms_lose_nothing_answered_and_mend(seed):
    """The same, for longer."""
    simulate(seed, lambda world: storm(world, 25))
