"""The pull API: arguments, bounds and deadlines, and a cancellation at every wait."""

from datetime import UTC, datetime

import pytest
import trio

from broker_trio.client.errors import InvalidArgument, InvalidName, NoAnswer, NoRoute, Unreachable
from broker_trio.model.route import MessageQueue
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from tests.unit.client.cancelling import cancelled_at

from .clients import TOPIC, client, numbered, send


def test_nonsense_is_refused_before_the_network() -> None:
    """Names, offsets, counts, waits, filters, times without a zone."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        queue = MessageQueue(TOPIC, "b0", 0)
        async with client(cluster, "c1") as mq:
            with pytest.raises(InvalidName):
                mq.pull("no blanks")
            puller = mq.pull("g")
            with pytest.raises(InvalidName):
                await puller.queues("a/b")
            for call in (
                lambda: puller.pull(queue, -1),
                lambda: puller.pull(queue, 0, count=0),
                lambda: puller.pull(queue, 0, wait_s=61.0),
                lambda: puller.pull(queue, 0, filter="||"),
                lambda: puller.commit(queue, -1),
                lambda: puller.offset_of_time(queue, datetime(2026, 1, 1)),  # noqa: DTZ001
            ):
                with pytest.raises(InvalidArgument):
                    await call()
        assert trio.current_time() == 0.0

    simulate(30, scenario)


def test_every_question_ends_at_its_deadline() -> None:
    """Unknown queues, silent nameservers, a broker that answers nothing."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(4))
        async with client(cluster, "c1") as mq:
            puller = mq.pull("g")
            with pytest.raises(NoRoute):
                await puller.queues("nothing")
            with pytest.raises(NoRoute):
                await puller.pull(MessageQueue(TOPIC, "nobody", 0), 0)
            queue = (await puller.queues(TOPIC))[0]
            assert await puller.bounds(queue) == (0, 1)
            moment = datetime.fromtimestamp(0, UTC)
            assert await puller.offset_of_time(queue, moment) == 0
            world.network.cut_one_way("b0", "c1")
            for call, limit_s in (
                (lambda: puller.committed(queue), 5.0),
                (lambda: puller.bounds(queue), 5.0),
                (lambda: puller.commit(queue, 1), 5.0),
                (lambda: puller.pull(queue, 1, wait_s=3.0), 8.0),
            ):
                began = trio.current_time()
                with pytest.raises((NoAnswer, Unreachable)):
                    await call()
                assert trio.current_time() - began <= limit_s + 0.001

    simulate(31, scenario)


def test_cancelled_at_every_wait_the_next_call_works() -> None:
    """Whatever was asked when it was cancelled, the same client goes on at once."""

    async def scenario(world: World) -> int:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(4))
        waits = 0
        async with client(cluster, "c1") as mq:
            puller = mq.pull("g")
            queue = (await puller.queues(TOPIC))[0]
            for call in (
                lambda: puller.queues(TOPIC),
                lambda: puller.begin_offset(queue, "first"),
                lambda: puller.pull(queue, 0),
                lambda: puller.pull(queue, 1, wait_s=2.0),
                lambda: puller.commit(queue, 1),
            ):
                at, going_on = 0, True
                while going_on:
                    at += 1
                    going_on = await cancelled_at(at, call)
                    began = trio.current_time()
                    assert len((await puller.pull(queue, 0)).messages) == 1
                    assert trio.current_time() - began < 0.1
                waits += at
        return waits

    assert simulate(32, scenario).value >= 9
