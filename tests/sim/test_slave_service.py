"""Clients and a slave, whole programs: the master dies, the slave serves, the master returns."""

import trio

from broker_trio.model.codes import RequestCode
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient
from broker_trio.testing.cluster.cluster import SMALL, SYNC
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import Node, World
from broker_trio.wire.command import Command
from tests.sim.test_pair_programs import Programs, started

GROUP = "readers"


class Reader:
    """One client machine that puts single requests to `a` or `b`."""

    def __init__(self, programs: Programs) -> None:
        self.apps = programs.apps
        self.client: RemotingClient | None = None
        self.group = GROUP

    async def run(self, node: Node, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        async with RemotingClient(through(node.network)) as self.client:
            task_status.started()
            await trio.sleep_forever()

    async def ask(self, name: str, code: RequestCode, **fields: object) -> Command:
        ext = {key: str(value) for key, value in fields.items()}
        return await self.client.call(self.apps[name].address, Command(code, ext=ext))

    async def pull(self, name: str, queue_id: int, offset: int, wait_ms: int = 0) -> Command:
        return await self.ask(
            name, RequestCode.PULL_MESSAGE, consumerGroup=self.group, topic="TopicTest",
            queueId=queue_id, queueOffset=offset, maxMsgNums=32, sysFlag=6 if wait_ms else 4,
            commitOffset=0, suspendTimeoutMillis=wait_ms, subscription="*", subVersion=0,
            expressionType="TAG",
        )  # fmt: skip

    async def commit(self, name: str, queue_id: int, offset: int) -> int:
        answer = await self.ask(
            name, RequestCode.UPDATE_CONSUMER_OFFSET, consumerGroup=self.group, topic="TopicTest",
            queueId=queue_id, commitOffset=offset,
        )  # fmt: skip
        return answer.code

    async def committed(self, name: str, queue_id: int) -> int:
        answer = await self.ask(
            name, RequestCode.QUERY_CONSUMER_OFFSET, consumerGroup=self.group, topic="TopicTest",
            queueId=queue_id,
        )  # fmt: skip
        return int(answer.ext["offset"]) if answer.code == 0 else -1


async def reading(world: World) -> None:
    programs = await started(world, SMALL, "sync")
    receipts = await programs.send(40)
    queue_id = receipts[0].queue_id
    reader = Reader(programs)

    async def main(node: Node) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(reader.run, node)
            ready.set()

    ready = trio.Event()
    world.node("reader", main).start()
    await ready.wait()
    end = programs.apps["a"].parts.store.queues.max_offset("TopicTest", queue_id)
    assert end > 2
    found = await reader.pull("a", queue_id, 0)
    assert (found.code, await reader.commit("a", queue_id, 1)) == (0, 0)
    await trio.sleep(1.5)
    assert await reader.committed("b", queue_id) == 1
    sent_away = await reader.pull("b", queue_id, end, wait_ms=10_000)
    assert (sent_away.code, sent_away.ext["suggestWhichBrokerId"]) == (20, "0")
    await _away(world, programs, reader, queue_id, end)
    world.nodes["reader"].kill()
    await world.nodes["reader"].stopped()


async def _away(world: World, programs: Programs, reader: Reader, queue_id: int, end: int) -> None:
    world.nodes["a"].kill()
    await trio.sleep(1)
    assert (await reader.pull("b", queue_id, 1)).code == 0
    held = await reader.pull("b", queue_id, end, wait_ms=2_000)
    assert held.code == 19
    assert await reader.commit("b", queue_id, end) == 0
    reader.group = "late"  # the master never heard of it
    assert (await reader.pull("b", queue_id, 0)).code == 0
    assert await reader.commit("b", queue_id, 2) == 0
    reader.group = GROUP
    refused = await reader.ask(
        "b", RequestCode.UPDATE_AND_CREATE_TOPIC, topic="New", defaultTopic="TBW102",
        readQueueNums=1, writeQueueNums=1, perm=6, topicFilterType="SINGLE_TAG", order="false",
    )  # fmt: skip
    assert (refused.code, "not the master" in refused.remark) == (16, True)
    sent = await reader.ask(
        "b", RequestCode.SEND_MESSAGE, producerGroup="p", topic="TopicTest", defaultTopic="TBW102",
        defaultTopicQueueNums=8, queueId=queue_id, sysFlag=0, bornTimestamp=1, flag=0,
    )  # fmt: skip
    assert (sent.code, "not the master" in sent.remark) == (16, True)
    answers = []
    async with trio.open_nursery() as nursery:

        async def wait_at_the_slave() -> None:
            answers.append(await reader.pull("b", queue_id, end, wait_ms=25_000))

        nursery.start_soon(wait_at_the_slave)
        await programs.up("a")
    assert answers[0].code == 20, "sent back as soon as the master is attached"
    await programs.writable("a")
    await trio.sleep(2)
    assert await reader.committed("a", queue_id) == end, "what the slave took came back"
    assert await reader.committed("b", queue_id) == end
    reader.group = "late"
    assert await reader.committed("a", queue_id) == 2


def test_readers_move_to_the_slave_and_back():
    """Pulls, long polls and commits go on at the slave; nothing goes back when the master does."""
    for seed in (1, 2):
        simulate(seed, reading)


async def reaching(world: World) -> None:
    programs = await started(world, SYNC, "sync")
    await programs.send(1)
    replica = programs.apps["b"].parts.pairing.records.replica
    end = programs.apps["a"].parts.store.log.max_offset + 1_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(programs.send, 20)
        with trio.fail_after(5):
            await replica.reached(end)
    assert programs.apps["b"].parts.store.log.flushed_offset >= end


def test_a_handover_hears_when_the_slave_has_it_all():
    """Of a slave that is a member, too: a switchover under load waited its ten seconds out."""
    simulate(3, reaching)
