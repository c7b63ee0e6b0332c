"""The façade for scripts: the same results and errors, from ordinary functions and threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from broker_trio.client import blocking
from broker_trio.client.codecs import JSON
from broker_trio.client.errors import ClientClosed, InvalidArgument, NoRoute
from broker_trio.testing.threaded import ThreadedRocketMQ
from tests.unit.client.fake_net import FakeNet


@pytest.fixture
def net() -> FakeNet:
    made = FakeNet(brokers=2)
    made.topic("t")
    return made


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_script_sends(net: FakeNet, backend: blocking.Backend):
    """One message, a value, a batch, one way; and any awaitable method by `wait`."""
    with blocking.connect(net.nameservers, backend=backend, connect=net.connect) as mq:
        receipt = mq.send("t", "hello", keys=["k"])
        mq.send("t", {"a": 1}, codec=JSON)
        assert len(mq.send_batch("t", [b"a", b"b"])) == 2
        assert len(mq.send_oneway("t", b"c")) == 32
        route = mq.wait(mq.client.session.routes.get, "t")
    assert net.stored[0][3]["UNIQ_KEY"] == receipt.message_id
    assert [one[2] for one in net.stored] == [b"hello", b'{"a":1}', b"a", b"b", b"c"]
    assert len(route.queue_datas) == 2
    assert net.open == set()


def test_errors_arrive_as_they_are(net: FakeNet):
    """The same types as from the awaited client, and the block's own."""
    del net.topics["TBW102"]
    mq = blocking.connect(net.nameservers, connect=net.connect, send_attempts_max=1)
    with pytest.raises(ClientClosed, match="not entered"):
        mq.send("t", b"x")
    with mq, pytest.raises(NoRoute):
        mq.send("unknown", b"x")
    with pytest.raises(InvalidArgument), mq:
        mq.send("t", b"")
    with pytest.raises(KeyError), mq:
        raise KeyError


def test_threads_share_one_client(net: FakeNet):
    """Sixteen threads, one connection a broker."""
    with (
        blocking.connect(net.nameservers, connect=net.connect) as mq,
        ThreadPoolExecutor(16) as pool,
    ):
        receipts = list(pool.map(lambda number: mq.send("t", str(number)), range(100)))
    assert len({receipt.message_id for receipt in receipts}) == 100
    assert net.opened == 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_script_consumes(rocketmq_threaded: ThreadedRocketMQ, backend: blocking.Backend):
    """Acknowledged one by one; the loop ends with `break`, the group keeps its place."""
    rocketmq_threaded.create_topic("orders")
    with blocking.connect(rocketmq_threaded.nameservers, backend=backend) as mq:
        for number in range(6):
            mq.send("orders", f"m{number}", ordering_key="k")
        seen: list[bytes] = []
        for _ in range(2):
            with mq.subscribe("orders", group="shop", start="first", ordered=True) as messages:
                for message in messages:
                    with messages.handling(message):
                        seen.append(message.body)
                    if len(seen) % 3 == 0:
                        break
    assert seen == [b"m%d" % number for number in range(6)]
