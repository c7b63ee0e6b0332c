"""The small client that commands share, by itself: on both event loops, and when cancelled."""

from random import Random

import anyio
import pytest

from broker_trio.client.calls import Calls
from broker_trio.client.connect import connect
from broker_trio.client.errors import BrokerRefused, NoAnswer, NoRoute
from broker_trio.client.receipt import Receipt
from broker_trio.client.routes import masters, read_queues, write_queues
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.route import BrokerData, MessageQueue, QueueData, TopicRouteData
from broker_trio.remoting.client import RemotingClient, Unreachable

from .fake_cluster import BROKER, NAMESERVER, FakeCluster


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_one_code_sends_and_pulls_on_both_loops(cluster: FakeCluster, backend: str) -> None:
    """Users' programs run on Trio or asyncio: the same calls give the same results."""

    async def main() -> tuple[list[Receipt], list[bytes]]:
        async with connect(NAMESERVER, connect=cluster.connect, entropy=Random(0)) as mq:
            receipts = [await mq.send("t", bytes([65 + n])) for n in range(3)]
            puller, bodies = mq.pull("g"), []
            for queue in await puller.queues("t"):
                begin = await puller.begin_offset(queue, "first")
                pulled = await puller.pull(queue, begin)
                bodies += [message.body for message in pulled.messages]
            return receipts, bodies

    receipts, bodies = anyio.run(main, backend=backend)
    first = receipts[0].queue_id
    assert [(r.queue_id, r.queue_offset, r.durability) for r in receipts] == [
        ((first + n) % 4, 0, "memory") for n in range(3)
    ]
    assert sorted(bodies) == [b"A", b"B", b"C"]


async def test_errors_say_what_may_be_done_next(cluster: FakeCluster) -> None:
    """Retriable, unknown and never sent are told apart by type and attribute."""
    async with connect(
        NAMESERVER, connect=cluster.connect, send_attempts_max=1, resend_unknown=False
    ) as mq:
        cluster.refuse_sends = ResponseCode.SYSTEM_BUSY
        with pytest.raises(BrokerRefused) as busy:
            await mq.send("t", b"x")
        assert (busy.value.retriable, busy.value.unknown) == (True, False)
        cluster.refuse_sends = ResponseCode.MESSAGE_ILLEGAL
        with pytest.raises(BrokerRefused) as illegal:
            await mq.send("t", b"x")
        assert not illegal.value.retriable
        cluster.close_on.add(RequestCode.SEND_MESSAGE_V2)
        with pytest.raises(NoAnswer) as silent:
            await mq.send("t", b"x")
        assert silent.value.unknown
        with pytest.raises(NoRoute):
            await mq.session.nameservers.route("nothing")


async def test_a_broker_that_is_down_is_unreachable_and_nothing_was_sent(
    cluster: FakeCluster, autojump_clock: object
) -> None:
    """Every queue tried is on a dead broker: the last refusal is raised."""
    cluster.down.add(BROKER)
    async with connect(NAMESERVER, connect=cluster.connect) as mq:
        with pytest.raises(Unreachable) as caught:
            await mq.send("t", b"x")
    assert not caught.value.sent
    assert cluster.messages == {}


async def test_a_peer_that_never_answers_ends_at_the_timeout(
    cluster: FakeCluster, autojump_clock: object
) -> None:
    """Not sent while the peer's dialect is not known; unknown once the question has left."""

    class Deaf:
        async def send(self, item: bytes) -> None:
            """Take it, and do nothing."""

        async def receive(self, max_bytes: int = 65536) -> bytes:
            await anyio.sleep_forever()
            raise AssertionError

        async def aclose(self) -> None:
            """Nothing to close."""

    async def connect(_address: str) -> Deaf:
        return Deaf()

    async with RemotingClient(connect) as client:
        with pytest.raises(Unreachable, match="no answer within 2 s") as caught:
            await Calls(client, timeout_s=2.0).ask(BROKER, RequestCode.GET_BROKER_RUNTIME_INFO)
    assert not caught.value.sent


def test_queues_of_a_route() -> None:
    """Writing goes round brokers that have a master; reading goes to whoever is there."""
    route = TopicRouteData(
        [QueueData("a", 2, 1, 6), QueueData("b", 1, 2, 6), QueueData("c", 1, 1, 4)],
        [
            BrokerData("x", "a", {0: "a:1"}),
            BrokerData("x", "b", {1: "b:2"}),
            BrokerData("x", "c", {0: "c:1"}),
        ],
    )
    assert masters(route) == {"a": "a:1", "c": "c:1"}
    assert write_queues("t", route) == [MessageQueue("t", "a", 0)]
    assert [(q.broker_name, q.queue_id) for q in read_queues("t", route)] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("c", 0),
    ]
