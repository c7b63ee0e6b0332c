"""The Python client's sends, on both loops, to ours and to Apache: the Java client reads them.

What it says of a message (where it lies, its ids) is compared with the receipts.
"""

import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker_trio.client import blocking
from broker_trio.client.connect import Client, connect
from broker_trio.client.errors import BrokerRefused, Unreachable
from broker_trio.client.message import DelayLevel, Message
from broker_trio.client.receipt import Durability, Receipt
from broker_trio.model.codes import ResponseCode
from tests.interop import cache
from tests.interop.clusters import Cluster, Program, start_broker, start_nameserver
from tests.interop.driver import Driver

Work = Callable[[Client], Awaitable[Any]]
TOLD = {"ours": Durability.MEMORY, "apache": Durability.NOT_TOLD}


@pytest.fixture(params=["trio", "asyncio"])
def backend(request: pytest.FixtureRequest) -> blocking.Backend:
    return request.param


@pytest.fixture
def send(cluster: Cluster, backend: str) -> Iterator[Callable[..., Any]]:
    """Run work with a client, on a loop that ends with it; no socket may be left over."""
    before = sockets()

    def run(work: Work, **options: Any) -> Any:
        async def main() -> Any:
            async with connect(cluster.nameserver, **options) as mq:
                return await work(mq)

        return anyio.run(main, backend=backend)

    yield run
    assert sockets() == before


def sockets() -> int:
    """How many sockets to other processes this one has open."""
    links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if alive(fd)]
    return sum(link.startswith("socket:") for link in links)


def alive(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def places(receipts: list[Receipt]) -> list[tuple[int, int]]:
    return sorted((one.queue_id, one.queue_offset) for one in receipts)


def test_receipts_are_what_a_java_consumer_finds(
    cluster: Cluster, send: Any, driver: Driver, topic: str, group: str
) -> None:
    """Ids, place, tag, keys and properties of each message; the durability as far as it is told."""

    async def work(mq: Client) -> list[Receipt]:
        return [
            await mq.send(topic, f"m{n}", tag="TagA", keys=[f"k{n}"], properties={"p": "grün"})
            for n in range(20)
        ]

    receipts = {one.message_id: one for one in send(work)}
    messages = driver.ask(cluster, "pull", group, topic)
    assert len(messages) == len(receipts) == 20
    for message in messages:
        receipt = receipts[message["msgId"]]
        assert message["offsetMsgId"] == receipt.offset_message_id
        assert (message["queueId"], message["queueOffset"]) == (
            receipt.queue_id,
            receipt.queue_offset,
        )
        assert (message["tags"], message["keys"]) == ("TagA", "k" + message["body"][1:])
        assert message["properties"]["p"] == "grün"
    assert Counter(one.queue_id for one in receipts.values()) == dict.fromkeys(range(4), 5)
    assert {one.durability for one in receipts.values()} == {TOLD[cluster.name]}
    assert all(one.complete and one.attempts == 1 for one in receipts.values())


def test_many_tasks_at_once(
    cluster: Cluster, send: Any, driver: Driver, topic: str, group: str
) -> None:
    """64 tasks with one client, from its very first question on: each message once."""

    async def work(mq: Client) -> list[Receipt]:
        receipts: list[Receipt] = []

        async def one(task: int) -> None:
            for number in range(5):
                receipts.append(await mq.send(topic, f"{task}-{number}"))  # noqa: PERF401

        async with anyio.create_task_group() as tasks:
            for task in range(64):
                tasks.start_soon(one, task)
        return receipts

    receipts = send(work)
    messages = driver.ask(cluster, "pull", group, topic)
    assert len(messages) == 320
    assert sorted((m["queueId"], m["queueOffset"]) for m in messages) == places(receipts)
    assert {m["body"] for m in messages} == {f"{a}-{b}" for a in range(64) for b in range(5)}


def test_a_batch_and_an_ordering_key_keep_their_order(
    cluster: Cluster, send: Any, driver: Driver, topic: str, group: str
) -> None:
    """Pieces of a batch behind one another in one queue, in the order given."""

    async def work(mq: Client) -> list[Receipt]:
        batch = [Message(f"m{n}", keys=[f"k{n}"]) for n in range(100)]
        first = await mq.send_batch(topic, batch, ordering_key="k")
        return [*first, await mq.send(topic, "m100", ordering_key="k")]

    receipts = send(work, batch_messages_max=30)
    assert [one.queue_offset for one in receipts] == list(range(101))
    messages = driver.ask(cluster, "pull", group, topic)
    assert [message["body"] for message in messages] == [f"m{n}" for n in range(101)]
    assert [m["offsetMsgId"] for m in messages] == [one.offset_message_id for one in receipts]
    assert [m["msgId"] for m in messages] == [one.message_id for one in receipts]


def test_one_way_sends_arrive(
    cluster: Cluster, send: Any, driver: Driver, topic: str, group: str
) -> None:
    """All of them; in order at ours. Apache's threads overtake each other where nobody waits."""

    async def work(mq: Client) -> list[str]:
        ids = [await mq.send_oneway(topic, f"m{n}", ordering_key="k") for n in range(20)]
        return [*ids, (await mq.send(topic, "last", ordering_key="k")).message_id]

    ids = send(work)
    messages = driver.ask(cluster, "lite", group, topic, count=21)
    assert sorted(message["msgId"] for message in messages) == sorted(ids)
    if cluster.name == "ours":
        messages = driver.ask(cluster, "pull", group + "-again", topic)
        assert [message["msgId"] for message in messages] == ids


def test_a_delayed_message_comes_later_and_is_the_same(
    cluster: Cluster, send: Any, driver: Driver, topic: str, group: str
) -> None:
    """One second: not there at once, then there under the id of its receipt."""

    async def work(mq: Client) -> Receipt:
        await mq.send(topic, "now", ordering_key="k")
        receipt = await mq.send(topic, "later", ordering_key="k", delay=DelayLevel.S1)
        await anyio.sleep(2.5)
        return receipt

    receipt = send(work)
    messages = driver.ask(cluster, "pull", group, topic)
    assert [message["body"] for message in messages] == ["now", "later"]
    assert messages[1]["msgId"] == receipt.message_id
    assert messages[1]["stored"] - messages[0]["stored"] >= 950


def test_large_bodies(cluster: Cluster, send: Any, driver: Driver, topic: str, group: str) -> None:
    """A compressed mebibyte is whole at the consumer; above the broker's limit it is illegal."""

    async def work(mq: Client) -> None:
        await mq.send(topic, b"x" * (1 << 20))
        with pytest.raises(BrokerRefused) as caught:
            await mq.send(topic, os.urandom(5 << 20))
        assert caught.value.code == ResponseCode.MESSAGE_ILLEGAL
        assert not caught.value.retriable

    send(work, compress_above_bytes=4_096, body_bytes_max=8 << 20)
    (message,) = driver.ask(cluster, "pull", group, topic)
    assert message["size"] == 1 << 20
    assert message["stored_size"] < 10_000


def test_a_script_without_a_loop(
    cluster: Cluster, backend: blocking.Backend, driver: Driver, topic: str, group: str
) -> None:
    """The façade, on either loop in its thread."""
    with blocking.connect(f"rocketmq://{cluster.nameserver}", backend=backend) as mq:
        receipt = mq.send(topic, "hello")
    (message,) = driver.ask(cluster, "pull", group, topic)
    assert message["msgId"] == receipt.message_id


@pytest.fixture(scope="module", params=["ours", "apache"])
def lone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Program, Program]]:
    """A nameserver and a broker of their own, to be killed."""
    script = cache.apache() if request.param == "apache" else None
    folder = tmp_path_factory.mktemp("lone")
    programs = [start_nameserver(request.param, folder / "ns", script)]
    try:
        address = programs[0].address
        programs.append(start_broker(request.param, folder / "b", address, script))
        yield programs[0], programs[1]
    finally:
        for program in reversed(programs):
            program.stop(kill=True)


def test_killed_programs_come_back(
    lone: tuple[Program, Program], backend: str, topic: str, tmp_path: Path
) -> None:
    """The broker killed and started again, then the nameserver killed: sends just go on."""
    nameserver, broker = lone

    async def main() -> None:
        async with connect(nameserver.address, send_attempts_max=50, group="lone") as mq:
            first = await mq.send(topic, "1", ordering_key="k", timeout_s=30.0)
            await anyio.to_thread.run_sync(lambda: broker.restart(kill=True))
            second = await mq.send(topic, "2", ordering_key="k", timeout_s=60.0)
            assert (second.queue_id, second.queue_offset) == (first.queue_id, 1)
            nameserver.stop(kill=True)
            assert (await mq.send(topic, "3", ordering_key="k")).queue_offset == 2
            with pytest.raises(Unreachable):
                await mq.send(topic + "-new", "x", timeout_s=2.0)
            await anyio.to_thread.run_sync(nameserver.start)

    anyio.run(main, backend=backend)
