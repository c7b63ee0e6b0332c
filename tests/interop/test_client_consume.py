"""Our client consumes: the same programs against ours and Apache, on Trio and on asyncio.

Some share their group with a Java consumer, which proves that both compute the same shares, the
same locks and the same retries.
"""

import functools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from broker_trio.client.connect import Client, connect
from broker_trio.client.consumer_events import OffsetMoved
from broker_trio.client.delivered import Delivered
from broker_trio.client.subscribe import Subscription
from tests.interop.clusters import Cluster
from tests.interop.driver import Driver

QUEUES = 4
WITHIN_S = 40.0


class Program:
    """A user's program on one of the two loops, against one of the two clusters."""

    def __init__(self, cluster: Cluster, backend: str) -> None:
        self.cluster, self.backend = cluster, backend

    def run(self, main: Callable[..., Awaitable[Any]], *args: object) -> Any:
        async def bounded() -> Any:
            with anyio.fail_after(WITHIN_S):
                return await main(self, *args)

        return anyio.run(bounded, backend=self.backend)

    def connect(self, **options: Any) -> Client:
        return connect(self.cluster.nameserver, **options)


@pytest.fixture(params=["trio", "asyncio"])
def program(request: pytest.FixtureRequest, cluster: Cluster) -> Program:
    """On both loops in turn."""
    return Program(cluster, request.param)


def make(driver: Driver, cluster: Cluster, topic: str) -> None:
    """An empty topic, before anybody consumes it."""
    words = f"updateTopic -b {cluster.broker} -t {topic} -r {QUEUES} -w {QUEUES}".split()
    assert "success" in driver.ask(cluster, "mqadmin", *words)


async def routed(mq: Client, topic: str) -> None:
    """Until the nameserver has it."""
    while topic not in await mq.session.nameservers.topics():  # noqa: ASYNC110
        await anyio.sleep(0.05)


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 -- conditions of many kinds
        await anyio.sleep(0.02)


def numbered(count: int, word: str = "m") -> list[str]:
    return sorted(f"{word}{number}" for number in range(count))


async def take(sub: Subscription, count: int, got: list[Delivered]) -> None:
    """Handle so many messages and acknowledge them."""
    async for message in sub:
        async with message:
            got.append(message)
        if len(got) >= count:
            return


def bodies(got: list[Delivered]) -> list[str]:
    return sorted(message.body.decode() for message in got)


async def create(mq: Client, topic: str, count: int = 1, word: str = "m", **options: Any) -> None:
    for number in range(count):
        await mq.send(topic, f"{word}{number}", **options)


async def what_is_sent_is_handled_once(program: Program, topic: str, group: str) -> None:
    got: list[Delivered] = []
    async with program.connect() as mq:
        await create(mq, topic, 40, tag="TagA", keys=["k"], properties={"colour": "blue"})
        async with mq.subscribe(topic, group=group, start="first") as sub:
            assert len([queue for queue in sub.queues if queue.topic == topic]) == QUEUES
            await take(sub, 40, got)
        async with mq.subscribe(topic, group=group, start="first") as sub:
            await mq.send(topic, "last")
            await take(sub, 41, got)
    assert bodies(got) == sorted([*numbered(40), "last"])
    first = got[0]
    assert (first.tag, first.keys, first.properties["colour"]) == ("TagA", ["k"], "blue")
    assert (first.topic, first.attempt) == (topic, 1)


def test_what_is_sent_is_handled_once(program: Program, topic: str, group: str) -> None:
    """A member that leaves has committed: the next one gets only what came after."""
    program.run(what_is_sent_is_handled_once, topic, group)


async def failures_come_again(program: Program, topic: str, group: str) -> None:
    tries: list[tuple[str, int, str]] = []
    async with program.connect() as mq:
        await create(mq, topic, 3)
        async with mq.subscribe(topic, group=group, start="first", retries_max=1) as sub:
            async for message in sub:
                async with message:
                    body = message.body.decode()
                    tries.append((body, message.attempt, message.topic))
                    if body == "m0":
                        message.retry(delay=1)
                    if body == "m1":
                        message.reject("no use")
                if len(tries) == 4:
                    break
        await routed(mq, f"%DLQ%{group}")
        dead: list[Delivered] = []
        async with mq.subscribe(f"%DLQ%{group}", group=f"{group}-dead", start="first") as sub:
            await take(sub, 2, dead)
    assert sorted(tries) == [("m0", 1, topic), ("m0", 2, topic), ("m1", 1, topic), ("m2", 1, topic)]
    assert bodies(dead) == ["m0", "m1"]


def test_failures_come_again_and_then_are_dead_letters(
    program: Program, topic: str, group: str
) -> None:
    """A second later by level 1, then dead; a rejected one at once."""
    program.run(failures_come_again, topic, group)


async def two_of_ours_share(program: Program, topic: str, group: str) -> None:
    got: list[Delivered] = []
    async with program.connect() as one, program.connect() as two:
        await create(one, topic)
        async with one.subscribe(topic, group=group, start="last") as first:
            async with two.subscribe(topic, group=group, start="last") as second, anyio.create_task_group() as tasks:  # fmt: skip  # noqa: E501
                await until(lambda: len(shares(first, topic)) == len(shares(second, topic)) == 2)
                both = {*shares(first, topic), *shares(second, topic)}
                assert both == {0, 1, 2, 3}
                await create(one, topic, 40)
                tasks.start_soon(take, first, 40, got)
                tasks.start_soon(take, second, 40, got)
                await until(lambda: len(got) >= 40)
                tasks.cancel_scope.cancel()
            await until(lambda: len(shares(first, topic)) == QUEUES)
            await create(one, topic, 8, "later")
            rest: list[Delivered] = []
            await take(first, 8, rest)
    assert Counter(bodies(got)) == Counter(numbered(40))
    assert bodies(rest) == numbered(8, "later")


def shares(sub: Subscription, topic: str) -> list[int]:
    return [queue.queue_id for queue in sub.queues if queue.topic == topic]


def test_two_of_ours_share_and_the_one_that_stays_takes_over(
    program: Program, topic: str, group: str
) -> None:
    """Notified by the broker: long before the next rebalance after 20 s."""
    program.run(two_of_ours_share, topic, group)


@pytest.mark.parametrize("ordered", [False, True], ids=["concurrently", "orderly"])
def test_a_java_consumer_and_ours_share_a_group(
    program: Program, driver: Driver, topic: str, group: str, ordered: bool
) -> None:
    """Two queues each, each message once and orderly ones in order; whoever leaves is replaced."""
    make(driver, program.cluster, topic)
    ask = functools.partial(driver.ask, program.cluster)

    async def main(_program: Program) -> tuple[list[Delivered], list[dict[str, Any]]]:
        got: list[Delivered] = []
        to_thread = anyio.to_thread.run_sync
        async with program.connect() as mq:
            await routed(mq, topic)
            subscribe = functools.partial(
                ask, "subscribe", group, topic, group=group, ordered=str(ordered).lower()
            )
            await to_thread(subscribe)
            await to_thread(functools.partial(ask, "queues", group, count=QUEUES))
            async with mq.subscribe(topic, group=group, ordered=ordered, concurrency=8) as sub, anyio.create_task_group() as tasks:  # fmt: skip  # noqa: E501
                await until(lambda: len(shares(sub, topic)) == 2)
                theirs = await to_thread(functools.partial(ask, "queues", group, count=2))
                assert sorted([*theirs, *shares(sub, topic)]) == list(range(QUEUES))
                await until(lambda: len(sub.positions) >= 2)
                tasks.start_soon(take, sub, 60, got)
                queues = await mq.pull(group).queues(topic)
                for number in range(40):
                    await mq.send(topic, f"m{number}", queue=queues[number % QUEUES])
                java = await to_thread(functools.partial(ask, "got", group, count=20))
                await until(lambda: len(got) == 20)
                await to_thread(functools.partial(ask, "stop", group))
                await until(lambda: len(shares(sub, topic)) == QUEUES)
                await create(mq, topic, 40, "later")
                await until(lambda: len(got) == 60)
        return got, java

    got, java = program.run(main)
    early = [message for message in got if not message.body.startswith(b"later")]
    assert sorted([*bodies(early), *(each["body"] for each in java)]) == numbered(40)
    assert bodies([each for each in got if each not in early]) == numbered(40, "later")
    if ordered:
        places = [(message.queue.queue_id, message.queue_offset) for message in got]
        for queue in range(QUEUES):
            offsets = [offset for at, offset in places if at == queue]
            assert offsets == sorted(offsets)


async def order_by_key(program: Program, topic: str, group: str) -> None:
    handled: list[str] = []
    async with program.connect() as mq:
        for number in range(30):
            await mq.send(topic, f"k{number % 3}-{number:02}", ordering_key=f"k{number % 3}")
        async with mq.subscribe(
            topic, group=group, start="first", ordered=True, suspend_s=0.2
        ) as sub:
            async for message in sub:
                async with message:
                    body = message.body.decode()
                    if body == "k1-04" and message.attempt < 3:
                        raise ValueError("not yet")
                    handled.append(body)
                if len(handled) == 30:
                    break
    for key in ("k0", "k1", "k2"):
        mine = [body for body in handled if body.startswith(key)]
        assert mine == sorted(mine)
        assert len(mine) == 10


def test_messages_of_one_key_are_handled_in_order(program: Program, topic: str, group: str) -> None:
    """Also past one that fails twice: it is tried again before the next."""
    program.run(order_by_key, topic, group)


async def tags_are_filtered(program: Program, topic: str, group: str) -> None:
    got: list[Delivered] = []
    async with program.connect() as mq:
        for number in range(12):
            await mq.send(topic, f"m{number}", tag=("AaAa", "BBBB", "C", "D")[number % 4])
        async with mq.subscribe(topic, group=group, start="first", filter="AaAa || C") as sub:
            await take(sub, 6, got)
            await mq.send(topic, "late", tag="BBBB")
            await mq.send(topic, "later", tag="C")
            await take(sub, 7, got)
    assert bodies(got) == sorted(["m0", "m10", "m2", "m4", "m6", "m8", "later"])


def test_only_tags_that_were_asked_for_arrive(program: Program, topic: str, group: str) -> None:
    """Exactly: AaAa and BBBB have one hash, which is all that a broker compares."""
    program.run(tags_are_filtered, topic, group)


async def everybody_gets_a_broadcast(program: Program, topic: str, group: str) -> None:
    one_got: list[Delivered] = []
    two_got: list[Delivered] = []
    async with program.connect() as one, program.connect() as two:
        await create(one, topic)
        async with (
            one.subscribe(topic, group=group, mode="broadcast") as first,
            two.subscribe(topic, group=group, mode="broadcast") as second,
            anyio.create_task_group() as tasks,
        ):
            await create(one, topic, 20)
            tasks.start_soon(take, first, 20, one_got)
            tasks.start_soon(take, second, 20, two_got)
    assert bodies(one_got) == bodies(two_got) == numbered(20)


def test_everybody_gets_a_broadcast(program: Program, topic: str, group: str) -> None:
    """Both have all queues."""
    program.run(everybody_gets_a_broadcast, topic, group)


async def pulled_by_hand(program: Program, topic: str, group: str) -> None:
    async with program.connect() as mq:
        receipts = await mq.send_batch(topic, [f"m{number}" for number in range(10)])
        puller = mq.pull(group)
        queues = await puller.queues(topic)
        assert len(queues) == QUEUES
        queue = next(each for each in queues if each.queue_id == receipts[0].queue_id)
        assert await puller.committed(queue) is None
        assert await puller.bounds(queue) == (0, 10)
        assert await puller.begin_offset(queue, "last") == 10
        offset, found = await puller.begin_offset(queue, "first"), []
        while offset < 10:
            pulled = await puller.pull(queue, offset, count=4)
            found += pulled.messages
            offset = pulled.next_offset
        assert [message.body for message in found] == [b"m%d" % number for number in range(10)]
        await puller.commit(queue, 7)
        assert await puller.begin_offset(queue) == 7
        assert await puller.offset_of_time(queue, found[0].stored_at) == 0
        began = anyio.current_time()
        assert (await puller.pull(queue, 10, wait_s=1.0)).at_end
        assert 0.9 <= anyio.current_time() - began < 10
        assert (await puller.pull(queue, 99)).moved


def test_queues_and_offsets_by_hand(program: Program, topic: str, group: str) -> None:
    """Bounds, pulls, commits and times without a heartbeat."""
    program.run(pulled_by_hand, topic, group)


def test_an_operator_sets_the_group_back_while_it_consumes(
    program: Program, driver: Driver, topic: str, group: str
) -> None:
    """`mqadmin resetOffsetByTime`: the messages come again, and the client tells of it."""
    make(driver, program.cluster, topic)

    async def main(_program: Program) -> list[Delivered]:
        got: list[Delivered] = []
        moved: list[OffsetMoved] = []

        def heard(event: object) -> None:
            if isinstance(event, OffsetMoved):
                moved.append(event)

        async with program.connect(on_event=heard) as mq:
            await routed(mq, topic)
            await create(mq, topic, 8)
            async with mq.subscribe(topic, group=group, start="first", commit_s=0.2) as sub:
                await take(sub, 8, got)
                await anyio.sleep(0.5)
                words = f"resetOffsetByTime -g {group} -t {topic} -s 0".split()
                await anyio.to_thread.run_sync(
                    functools.partial(driver.ask, program.cluster, "mqadmin", *words)
                )
                await create(mq, topic, 4, "wake")  # ends the pulls that the broker holds
                async for message in sub:
                    async with message:
                        got.append(message)
                    seen = Counter(bodies(got))
                    if all(seen[body] == 2 for body in numbered(8)):
                        break
                assert moved
        return got

    assert set(bodies(program.run(main))) >= set(numbered(8))


def test_apaches_tools_see_our_consumer(
    program: Program, driver: Driver, topic: str, group: str
) -> None:
    """Connected, with its subscription, its queues, and what it holds."""
    make(driver, program.cluster, topic)

    async def main(_program: Program) -> tuple[str, str]:
        ask = functools.partial(driver.ask, program.cluster, "mqadmin")
        to_thread = anyio.to_thread.run_sync
        async with program.connect() as mq:
            await routed(mq, topic)
            async with mq.subscribe(topic, group=group, filter="TagA"):
                connection = functools.partial(ask, *f"consumerConnection -g {group}".split())
                words = f"consumerStatus -g {group} -i {mq.client_id}".split()
                return await to_thread(connection), await to_thread(functools.partial(ask, *words))

    connection, status = program.run(main)
    assert topic in connection
    assert "TagA" in connection
    assert "CLUSTERING" in connection
    assert topic in status
    assert "PROP_CONSUMEORDERLY" in status
