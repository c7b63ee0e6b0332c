"""The fixture for asyncio and plain tests: the broker's loop is in a thread, calls are plain."""

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from broker_trio.client.errors import NoAnswer
from broker_trio.model.errors import StoreFailed
from broker_trio.remoting.client import Unreachable
from broker_trio.testing.embedded import LoopbackMachines
from broker_trio.testing.rocketmq import RocketMQ
from broker_trio.testing.shape import NotRunning, Options
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.testing.threaded import ThreadedRocketMQ, open_threaded
from tests.unit.testing.talk import talk_to


def bodies(rocketmq: ThreadedRocketMQ, topic: str) -> list[bytes]:
    return [message.body for message in rocketmq.messages(topic)]


def test_a_client_on_asyncio_sends_and_reads(rocketmq_threaded: ThreadedRocketMQ) -> None:
    """The client knows nothing of the broker's loop: it talks over loopback."""
    rocketmq = rocketmq_threaded

    async def main() -> list[bytes]:
        async with talk_to(rocketmq.nameservers) as talk:
            await talk.send("orders", b"one", b"two")
            return await talk.read("orders")

    assert sorted(asyncio.run(main())) == [b"one", b"two"]
    assert bodies(rocketmq, "orders") == [b"one", b"two"]


@pytest.mark.rocketmq(brokers=2)
def test_every_fault_is_a_plain_call(rocketmq_threaded: ThreadedRocketMQ) -> None:
    """Each returns when it is done, also while an asyncio loop runs in the test's thread."""
    rocketmq = rocketmq_threaded
    rocketmq.create_topic("orders")

    async def main() -> None:
        async with talk_to(rocketmq.nameservers, timeout_s=0.1) as talk:
            rocketmq.stop_broker("broker-b")
            rocketmq.duplicate()
            await talk.send("orders", b"twice")
            with rocketmq.disk_full(), pytest.raises(Exception, match="the disk is full"):
                await talk.send("orders", b"refused")
            with rocketmq.slow(0.01):
                await talk.send("orders", b"slow")
            with rocketmq.partition(), pytest.raises((NoAnswer, Unreachable)):
                await talk.send("orders", b"unheard")
            rocketmq.kill_broker()
            with pytest.raises(NotRunning):
                rocketmq.messages("orders", broker="broker-a")
            rocketmq.restart_broker()
            rocketmq.restart_broker("broker-b")

    asyncio.run(main())
    found = [message.body for message in rocketmq.messages("orders", broker="broker-a")]
    assert found[:3] == [b"twice", b"twice", b"slow"]  # the fourth may have arrived
    assert rocketmq.dead_letters("nobody") == []


def test_raw_frames_are_answered(rocketmq_threaded: ThreadedRocketMQ) -> None:
    """Anything that speaks the protocol may connect: here a socket and a JSON header by hand."""
    host, _, port = rocketmq_threaded.nameserver.rpartition(":")
    header = b'{"code":206,"language":"JAVA","version":453,"opaque":7,"flag":0}'
    frame = struct.pack(">II", 4 + len(header), len(header)) + header
    with socket.create_connection((host, int(port)), timeout=5) as client:
        client.sendall(frame)
        (length,) = struct.unpack(">I", client.recv(4, socket.MSG_WAITALL))
        answer = client.recv(length, socket.MSG_WAITALL)
    assert b'"opaque":7' in answer
    assert b'"code":0' in answer


def test_power_and_folders(tmp_path: Path) -> None:
    """Options are those of the other fixtures, and errors cross the threads as themselves."""
    with open_threaded(Options(folder=tmp_path)) as rocketmq:
        with pytest.raises(ValueError, match="power=True needs a disk in memory"):
            rocketmq.kill_broker(power=True)
        assert (tmp_path / "broker-a" / "commitlog").exists() or not rocketmq.messages("x")


def test_a_broker_that_dies_by_itself_is_told() -> None:
    """Whatever ends the loop is raised at the next call, or at the end."""
    with pytest.raises(BaseExceptionGroup) as caught, open_threaded() as rocketmq:  # noqa: PT012
        rocketmq._loop.call(lambda: fail_fsyncs(rocketmq._rocketmq))
        rocketmq.restart_broker()
    assert caught.group_contains(StoreFailed)


def fail_fsyncs(rocketmq: RocketMQ) -> None:
    assert isinstance(rocketmq.machines, LoopbackMachines)
    disk = rocketmq.machines.disk("broker-a")
    assert isinstance(disk, SimDisk)
    disk.faults.fail("create")


async def test_a_test_may_have_a_trio_loop_of_its_own() -> None:
    """Tests that run on both of AnyIO's backends use the same fixture for both."""
    with open_threaded() as rocketmq:
        async with talk_to(rocketmq.nameservers) as talk:
            await talk.send("orders", b"one")
        rocketmq.restart_broker()
        assert bodies(rocketmq, "orders") == [b"one"]
