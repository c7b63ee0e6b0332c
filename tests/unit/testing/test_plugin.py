"""The pytest fixture on a Trio loop: real programs over loopback, and what may be done to them."""

from contextlib import suppress
from pathlib import Path

import pytest
import trio

from broker_trio.client.errors import BrokerRefused, ClientError, NoAnswer
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, StoreFailed
from broker_trio.remoting.client import Unreachable
from broker_trio.testing.embedded import LoopbackMachines, open_embedded
from broker_trio.testing.rocketmq import RocketMQ
from broker_trio.testing.shape import NotRunning, Options
from broker_trio.testing.sim_disk import SimDisk
from tests.unit.testing.talk import talk_to


def bodies(rocketmq: RocketMQ, topic: str) -> list[bytes]:
    return [message.body for message in rocketmq.messages(topic)]


async def test_what_is_sent_over_loopback_is_stored_and_read(rocketmq: RocketMQ) -> None:
    """A client sends and reads by the real protocol, and the test sees what is stored."""
    async with talk_to(rocketmq.nameservers) as talk:
        assert await talk.send("orders", b"one", b"two", b"three") == [0, 0, 0]
        assert sorted(await talk.read("orders")) == [b"one", b"three", b"two"]
    assert bodies(rocketmq, "orders") == [b"one", b"two", b"three"]
    assert rocketmq.messages("nobody-sent-here") == []


async def test_addresses_are_real_and_told_to_clients(rocketmq: RocketMQ) -> None:
    """`url` leads to the nameserver, whose routes lead to `address`."""
    assert rocketmq.url == f"rocketmq://{rocketmq.nameserver}"
    async with talk_to([rocketmq.nameserver]) as talk:
        info = await talk.nameservers.cluster_info()
    (broker,) = info.broker_addr_table.values()
    assert broker.broker_addrs == {0: rocketmq.address}


@pytest.mark.rocketmq(brokers=2, nameservers=2, queues=1)
async def test_more_brokers_and_nameservers(rocketmq: RocketMQ) -> None:
    """A topic is on every broker, and each nameserver knows all of it."""
    await rocketmq.create_topic("orders", queues=2)
    for nameserver in rocketmq.nameservers:
        async with talk_to([nameserver]) as talk:
            queues = await talk.queues("orders")
            names = [(queue.broker_name, queue.queue_id) for queue in queues]
            assert names == [("broker-a", 0), ("broker-a", 1), ("broker-b", 0), ("broker-b", 1)]
            await talk.send("orders", b"1", b"2")
    assert sorted(bodies(rocketmq, "orders")) == [b"1", b"1", b"2", b"2"]
    assert len(rocketmq.messages("orders", broker="broker-b")) == 2
    with pytest.raises(ValueError, match="no broker is called 'b', there are broker-a, broker-b"):
        rocketmq.messages("orders", broker="b")


async def test_a_topic_is_known_when_create_topic_returns(rocketmq: RocketMQ) -> None:
    """No client has to ask twice, and a wrong name is refused by name."""
    await rocketmq.create_topic("orders")
    async with talk_to(rocketmq.nameservers) as talk:
        assert len(await talk.queues("orders")) == 1
    with pytest.raises(Refused, match="or ders"):
        await rocketmq.create_topic("or ders")


@pytest.mark.rocketmq(auto_create=False)
async def test_topics_that_nobody_created_are_refused(rocketmq: RocketMQ) -> None:
    """`auto_create=False` is how most brokers run in production."""
    async with talk_to(rocketmq.nameservers) as talk:
        with pytest.raises(Exception, match="orders"):
            await talk.send("orders", b"x")


# ---- life and death


async def test_killed_means_gone_at_once(rocketmq: RocketMQ) -> None:
    """Its connections break, it cannot be asked, and its address is not given away."""
    async with talk_to(rocketmq.nameservers) as talk:
        await talk.send("orders", b"one")
        await rocketmq.kill_broker()
        with pytest.raises(NotRunning, match="broker-a is down: restart it"):
            rocketmq.messages("orders")
        with pytest.raises(Unreachable):
            await talk.calls.ask(rocketmq.address, 105)  # type: ignore[arg-type]
        await rocketmq.kill_broker()  # dead twice is dead


@pytest.mark.parametrize("storage", ["memory", "folder"])
async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path, storage: str) -> None:
    """kill -9 loses nothing that was acknowledged, and the address stays."""
    folder = tmp_path if storage == "folder" else None
    async with open_embedded(Options(folder=folder)) as rocketmq:
        before = rocketmq.address
        for number in range(3):
            async with talk_to(rocketmq.nameservers) as talk:
                await talk.send("orders", b"%d" % number)
            await rocketmq.restart_broker()
        assert rocketmq.address == before
        assert bodies(rocketmq, "orders") == [b"0", b"1", b"2"]
        async with talk_to(rocketmq.nameservers) as talk:
            assert sorted(await talk.read("orders")) == [b"0", b"1", b"2"]


async def test_a_store_in_a_folder_can_be_opened_again(tmp_path: Path) -> None:
    """What one cluster left in a folder, the next one finds."""
    async with open_embedded(Options(folder=tmp_path)) as rocketmq:
        async with talk_to(rocketmq.nameservers) as talk:
            await talk.send("orders", b"kept")
        await rocketmq.stop_broker()
    async with open_embedded(Options(folder=tmp_path)) as rocketmq:
        assert bodies(rocketmq, "orders") == [b"kept"]


async def test_power_loss_spares_what_was_flushed() -> None:
    """SYNC_FLUSH acknowledges after the fsync: no seed of the disk may lose the message."""
    async with open_embedded(Options(sync_flush=True)) as rocketmq:
        for number in range(5):
            async with talk_to(rocketmq.nameservers) as talk:
                await talk.send("orders", b"%d" % number)
            await rocketmq.kill_broker(power=True)
            await rocketmq.restart_broker()
        assert bodies(rocketmq, "orders") == [b"0", b"1", b"2", b"3", b"4"]


async def test_power_loss_needs_a_disk_in_memory(tmp_path: Path) -> None:
    """The kernel keeps what was written to a real folder, so the wish is refused."""
    async with open_embedded(Options(folder=tmp_path)) as rocketmq:
        with pytest.raises(ValueError, match="power=True needs a disk in memory"):
            await rocketmq.kill_broker(power=True)
        assert rocketmq.messages("orders") == []


async def test_a_clean_stop_says_goodbye(rocketmq: RocketMQ) -> None:
    """After `stop_broker` the nameserver has no route; after a restart it has one again."""
    async with talk_to(rocketmq.nameservers) as talk:
        await rocketmq.stop_broker()
        assert (await talk.nameservers.cluster_info()).broker_addr_table == {}
        await rocketmq.restart_broker()
        assert list((await talk.nameservers.cluster_info()).broker_addr_table) == ["broker-a"]


@pytest.mark.slow  # a broker waits a second before it tries again
async def test_a_nameserver_comes_back_empty_and_learns(rocketmq: RocketMQ) -> None:
    """Its broker notices the broken connection and registers again, within seconds."""
    await rocketmq.kill_nameserver()
    async with talk_to(rocketmq.nameservers) as talk:
        with pytest.raises(Unreachable):
            await talk.nameservers.cluster_info()
        await rocketmq.restart_nameserver()
        with trio.fail_after(5):
            while not (await talk.nameservers.cluster_info()).broker_addr_table:  # noqa: ASYNC110
                await trio.sleep(0.02)


async def test_a_broker_that_dies_by_itself_ends_the_block() -> None:
    """Nobody killed it, so its error is the test's: here its disk fails an fsync."""
    options = Options(sync_flush=True)
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012
        async with open_embedded(options) as rocketmq, talk_to(rocketmq.nameservers) as talk:
            assert isinstance(rocketmq.machines, LoopbackMachines)
            disk = rocketmq.machines.disk("broker-a")
            assert isinstance(disk, SimDisk)
            disk.faults.fail("flush", path="commitlog")
            with suppress(ClientError):  # it may still say that it does not know
                await talk.send("orders", b"x")
            await trio.sleep_forever()
    assert caught.group_contains(StoreFailed)


async def test_an_error_of_the_body_leaves_as_itself() -> None:
    """No group of one around a failed assertion, and its cause stays with it."""
    with pytest.raises(KeyError) as caught:
        async with open_embedded():
            raise KeyError("mine") from ValueError("why")
    assert isinstance(caught.value.__cause__, ValueError)


# ---- faults


async def test_a_partition_gives_no_answer_and_loses_nothing(rocketmq: RocketMQ) -> None:
    """Inside it sends time out with an unknown outcome; after it everything works again."""
    async with talk_to(rocketmq.nameservers, timeout_s=0.1) as talk:
        await talk.send("orders", b"before")
        with rocketmq.partition(), pytest.raises((NoAnswer, Unreachable)):
            await talk.send("orders", b"inside")
        await talk.send("orders", b"after")
    assert bodies(rocketmq, "orders") == [b"before", b"inside", b"after"]


@pytest.mark.parametrize("storage", ["memory", "folder"])
async def test_a_full_disk_refuses_by_name_and_ends(tmp_path: Path, storage: str) -> None:
    """Sends are refused with the reason, reads go on, and the end of it needs no restart."""
    folder = tmp_path if storage == "folder" else None
    async with (
        open_embedded(Options(folder=folder)) as rocketmq,
        talk_to(rocketmq.nameservers) as talk,
    ):
        await talk.send("orders", b"before")
        with rocketmq.disk_full():
            with pytest.raises(BrokerRefused, match="the disk is full") as caught:
                await talk.send("orders", b"inside")
            assert caught.value.code == ResponseCode.SERVICE_NOT_AVAILABLE
            assert await talk.read("orders") == [b"before"]
        await talk.send("orders", b"after")
        assert bodies(rocketmq, "orders") == [b"before", b"after"]


async def test_a_slow_broker_answers_later(rocketmq: RocketMQ) -> None:
    """Each answer waits at least so long, until the fault ends."""
    async with talk_to(rocketmq.nameservers) as talk:
        await talk.send("orders", b"before")
        with rocketmq.slow(0.03):
            began = trio.current_time()
            await talk.send("orders", b"inside")
            assert trio.current_time() - began >= 0.03
        with pytest.raises(ValueError, match="seconds=-1"):
            rocketmq.slow(-1)


async def test_duplicates_are_what_a_resent_message_leaves(rocketmq: RocketMQ) -> None:
    """The next send is stored twice, its receipt names the second copy, the one after it is not."""
    await rocketmq.create_topic("orders")
    async with talk_to(rocketmq.nameservers) as talk:
        rocketmq.duplicate()
        assert await talk.send("orders", b"twice", b"once") == [1, 2]
    assert bodies(rocketmq, "orders") == [b"twice", b"twice", b"once"]


async def test_a_fault_may_be_ended_twice(rocketmq: RocketMQ) -> None:
    """`end()` inside a `with` block is no error, and faults end with a kill, too."""
    with rocketmq.partition() as fault:
        fault.end()
        fault.end()
    rocketmq.partition()
    await rocketmq.restart_broker()
    async with talk_to(rocketmq.nameservers) as talk:
        await talk.send("orders", b"x")
