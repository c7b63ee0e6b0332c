"""A master and a slave under cuts, kills and power loss: equal bytes, and nothing that was OK lost.

Roles follow a script (`replication_rig`); what moves bytes, acks and tables is the real thing.
"""

import random

import pytest
import trio

from broker_trio.broker.replication.acks import Outcome
from broker_trio.broker.replication.followers import Followers
from broker_trio.store.config import StoreConfig
from broker_trio.testing.checkers.stored import check_all
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from tests.sim.replication_rig import IDS, Rig, assert_identical, sending
from tests.sim.store_workload import ASYNC, SYNC


async def quiet(world: World, config: StoreConfig, least: int) -> None:
    rig = Rig(world, config)
    rig.first_record(least)
    master, slave = await rig.up("a"), await rig.up("b")
    await rig.level()
    async with sending(rig):
        await trio.sleep(1.0)
    await rig.level()
    await trio.sleep(1.1)  # a heartbeat: the last confirm offset
    assert rig.told.outcomes[Outcome.OK] == len(rig.journal.sent) > 50
    assert not rig.told.refused
    await assert_identical(master.store, slave.store, master.store.log.max_offset)
    assert slave.store.confirm_offset == master.store.confirm_offset == slave.store.log.max_offset
    await check_all(slave.store, rig.journal)


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("config", [ASYNC, SYNC], ids=["memory", "disk"])
def test_a_slave_has_what_its_master_has(config, least):
    """Without a fault: every send OK, same log, same queues and keys, same confirm offset."""
    simulate(1, lambda world: quiet(world, config, least))


async def storm(world: World, seed: int, *, power: bool) -> int:
    """Faults all the time, then the master dies for ever and the slave's log is all there is."""
    rng, rig = world.rng("storm"), Rig(world, SYNC)
    rig.first_record()
    await rig.up("a")
    await rig.up("b")
    await rig.level()
    async with sending(rig, seed=seed):
        for _ in range(rng.randrange(3, 9)):
            await trio.sleep(rng.choice((0.0, 0.01, 0.1, 0.5)))
            match rng.randrange(6):
                case 0:
                    world.network.stall("a", "b", rng.choice((0.05, 1.0, 4.0)))
                case 1:
                    world.network.reset("a", "b")
                case 2:
                    world.network.cut_one_way(*rng.choice((("a", "b"), ("b", "a"))))
                    await trio.sleep(rng.choice((0.1, 5.0)))
                    world.network.heal("a", "b")
                case 3:
                    world.network.set_delay("a", "b", (0.0, rng.choice((0.001, 0.2))))
                case _:
                    rig.kill("b", power=power and rng.random() < 0.7)
                    await trio.sleep(rng.choice((0.0, 0.3, 4.0)))
                    await rig.up("b")
        world.network.heal_all()
    if rng.random() < 0.5:
        await rig.level(within_s=60)
        await trio.sleep(rng.choice((0.0, 0.2)))
    rig.kill("a", power=power)
    slave = rig.programs["b"]
    if rng.random() < 0.5:
        rig.kill("b", power=power)
        slave = await rig.up("b")
    await slave.role.own(slave.replication, (IDS["b"],), 1)
    await check_all(slave.store, rig.journal)
    return rig.told.outcomes[Outcome.OK]


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_nothing_ok_is_lost_with_the_master(power):
    """Mode D: whatever was answered OK is in the slave's log when the master's is gone."""
    begin = random.randrange(100_000)
    total = sum(
        simulate(seed, lambda world, seed=seed: storm(world, seed, power=power)).value
        for seed in range(begin, begin + 4)
    )
    assert total > 50


@pytest.mark.slow
@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
@pytest.mark.parametrize("seed", range(60))
def test_many_storms(seed, power):
    """The same for many seeds."""
    simulate(seed, lambda world: storm(world, seed, power=power))


def found(monkeypatch: pytest.MonkeyPatch, place: type, name: str, bug: object) -> int:
    """The first seed whose storm with power loss finds a planted bug."""
    monkeypatch.setattr(place, name, bug)
    for seed in range(25):
        try:
            simulate(seed, lambda world, seed=seed: storm(world, seed, power=True))
        except AssertionError:
            return seed
    raise AssertionError("the bug was not found")


def test_planted_ack_of_what_is_only_written(monkeypatch):
    """A master that counts what a slave has in memory is found out by a power loss of both."""

    def held(self: Followers) -> int:
        follower = self.counted()
        return -1 if follower is None else follower.written

    assert found(monkeypatch, Followers, "held", held) < 25


def test_planted_answer_without_the_slave(monkeypatch):
    """So is one that does not wait for its slave at all."""
    assert found(monkeypatch, Followers, "held", lambda self: 1 << 60) < 5
