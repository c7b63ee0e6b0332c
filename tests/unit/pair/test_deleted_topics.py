"""A topic that was deleted at the master leaves nothing at its slave, and may come back at both."""

import pytest
import trio

from broker_trio.model.topic import TopicConfig
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from tests.sim.replication_rig import IDS, Program
from tests.sim.store_workload import SYNC, draft
from tests.sim.test_replication_cases import pair

GONE, STAYS = "gone", "stays"


def put(program: Program, topic: str, count: int = 5) -> None:
    """So many messages into two queues of a topic."""
    for number in range(count):
        program.store.append(draft(f"{topic}{number}", topic, number % 2))
    program.store.write_out()


async def delete(program: Program) -> None:
    """What request 215 does."""
    program.topics.delete(GONE)
    program.offsets.delete_topic(GONE)
    await program.store.queues.delete_topic(GONE, program.store.log.max_offset)


def held(program: Program) -> list[tuple[int, int]]:
    """(min, max) of the topic's queues."""
    queues = program.store.queues.queues_of(GONE)
    return [(queue.min_offset, queue.max_offset) for queue in queues]


async def with_topics(world: World, **settings) -> tuple:
    rig, master, slave = await pair(world, **settings, least=1)
    for topic in (GONE, STAYS):
        master.topics.put(TopicConfig(topic, 2, 2))
    put(master, GONE)
    put(master, STAYS)
    await rig.level()
    await trio.sleep(1.2)
    assert held(slave) == held(master) == [(0, 3), (0, 2)]
    return rig, master, slave


@pytest.mark.parametrize("away", [False, True], ids=["attached", "away"])
def test_the_queues_go_at_the_slave_too(away: bool) -> None:
    """At once, or when it comes back; what comes into the topic anew is served by both."""

    async def scenario(world: World) -> None:
        rig, master, slave = await with_topics(world)
        if away:
            await slave.topics.file.persist_if_dirty()
            rig.kill("b")
        await delete(master)
        if away:
            slave = await rig.up("b")
        await rig.level()
        await trio.sleep(1.2)
        assert GONE not in slave.topics.table
        assert held(slave) == held(master) == [(3, 3), (2, 2)]
        folder = f"consumequeue/{GONE}"
        assert not world.nodes["b"].disk.exists(folder)
        assert slave.store.queues.max_offset(STAYS, 0) == 3
        master.topics.put(TopicConfig(GONE, 2, 2))
        put(master, GONE)
        await rig.level()
        await trio.sleep(1.2)
        assert held(slave) == held(master) == [(3, 6), (2, 4)]

    simulate(21, scenario)


def test_a_topic_that_comes_back_at_once_keeps_its_messages() -> None:
    """Deleted and made again between two looks of the master: nothing new is dropped."""

    async def scenario(world: World) -> None:
        rig, master, slave = await with_topics(world)
        await delete(master)
        master.topics.put(TopicConfig(GONE, 2, 2))
        put(master, GONE)
        await rig.level()
        await trio.sleep(1.2)
        ends = [end for _, end in held(master)]
        assert [end for _, end in held(slave)] == ends == [6, 4]
        rig.kill("a")
        await slave.role.own(slave.replication, (IDS["b"],), 1)
        put(slave, GONE)

    simulate(22, scenario)


def test_a_topic_that_its_master_forgot_begins_at_0_at_the_slave_too() -> None:
    """The master's log expired behind the deletion, the slave's did not yet."""

    async def scenario(world: World) -> None:
        rig, master, slave = await with_topics(world, config=SYNC)
        await delete(master)
        await rig.level()
        await trio.sleep(1.2)
        for topic in (GONE,):  # what retention does once the log begins behind the deletion
            master.store.queues._table.forget(topic)
            master.store.queues._next.pop(topic, None)
        master.topics.put(TopicConfig(GONE, 2, 2))
        put(master, GONE)
        await rig.level()
        await trio.sleep(1.2)
        assert held(slave) == held(master) == [(0, 3), (0, 2)]
        rig.kill("a")
        await slave.role.own(slave.replication, (IDS["b"],), 1)
        put(slave, GONE)
        await trio.sleep(0.5)
        assert held(slave) == [(0, 6), (0, 4)]

    simulate(23, scenario)
