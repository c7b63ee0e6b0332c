"""The fixture in a simulated world: hours at once, faults in virtual time, equal runs by a seed."""

import pytest
import trio
from trio.testing import MockClock

from broker_trio.client.errors import BrokerRefused, NoAnswer
from broker_trio.remoting.client import Unreachable
from broker_trio.testing.rocketmq import RocketMQ
from broker_trio.testing.shape import NotRunning, Options
from broker_trio.testing.simulated import SimulatedMachines, open_simulated, run_in_virtual_time
from tests.unit.testing.talk import talk_to

TWO_HOURS = 18  # the last of the 18 delay levels


def bodies(rocketmq: RocketMQ, topic: str) -> list[bytes]:
    return [message.body for message in rocketmq.messages(topic)]


@pytest.mark.parametrize(
    ("delay_level", "seconds"),
    [(10, 360), pytest.param(TWO_HOURS, 7_200, marks=pytest.mark.slow)],
)
async def test_a_long_delay_passes_at_once(
    rocketmq_simulated: RocketMQ, delay_level: int, seconds: int
) -> None:
    """The message is not there a minute before it is due, and is there a minute after."""
    rocketmq = rocketmq_simulated
    async with talk_to(rocketmq.nameservers, rocketmq.machines.connect) as talk:
        await talk.send("reminders", b"later", delay_level=delay_level)
    await trio.sleep(seconds - 60)
    assert bodies(rocketmq, "reminders") == []
    await trio.sleep(120)
    assert bodies(rocketmq, "reminders") == [b"later"]


async def test_a_silent_broker_is_forgotten_after_two_minutes(rocketmq_simulated: RocketMQ) -> None:
    """A partition that a real test could not wait for: the nameserver drops who says nothing."""
    rocketmq = rocketmq_simulated
    async with talk_to(rocketmq.nameservers, rocketmq.machines.connect) as talk:
        with rocketmq.partition():
            await trio.sleep(60)
            assert list((await talk.nameservers.cluster_info()).broker_addr_table) == ["broker-a"]
            await trio.sleep(90)
            assert (await talk.nameservers.cluster_info()).broker_addr_table == {}
        await trio.sleep(60)
        assert list((await talk.nameservers.cluster_info()).broker_addr_table) == ["broker-a"]


@pytest.mark.rocketmq(brokers=2, nameservers=2)
async def test_faults_are_those_of_the_embedded_cluster(rocketmq_simulated: RocketMQ) -> None:
    """Kill, power, full disk, partition, slowness and duplicates, by the same names."""
    rocketmq = rocketmq_simulated
    await rocketmq.create_topic("orders")
    await rocketmq.kill_broker("broker-b")
    with pytest.raises(NotRunning):
        rocketmq.messages("orders")
    await rocketmq.kill_nameserver(1)
    async with talk_to(rocketmq.nameservers[:1], rocketmq.machines.connect) as talk:
        rocketmq.duplicate()
        await talk.send("orders", b"twice")
        with rocketmq.disk_full(), pytest.raises(BrokerRefused, match="the disk is full"):
            await talk.send("orders", b"refused")
        with rocketmq.partition(), pytest.raises((NoAnswer, Unreachable)):
            await talk.send("orders", b"unheard")
        with rocketmq.slow(0.3):
            began = trio.current_time()
            await talk.send("orders", b"slow")
            assert 0.3 < trio.current_time() - began < 1.5  # it may connect first
    await rocketmq.restart_nameserver(1)
    await rocketmq.restart_broker("broker-b")
    await rocketmq.stop_broker("broker-b")
    found = [message.body for message in rocketmq.messages("orders", broker="broker-a")]
    assert found[:2] == [b"twice", b"twice"]
    assert found[-1] == b"slow"
    await rocketmq.kill_broker(power=True)
    await rocketmq.restart_broker()


def trace_of(seed: int) -> str:
    async def main() -> str:
        async with open_simulated(seed=seed) as rocketmq:
            async with rocketmq.connect() as mq:
                await mq.send("orders", "1")
                await rocketmq.kill_broker(power=True)
                await rocketmq.restart_broker()
                receipt = await mq.send("orders", "2")
                assert receipt.message_id in {one.message_id for one in rocketmq.messages("orders")}
            assert isinstance(rocketmq.machines, SimulatedMachines)
            return rocketmq.machines.world.trace

    return run_in_virtual_time(main, seed=seed)


def test_equal_seeds_give_equal_runs() -> None:
    """What was lost with the power is a function of the seed, as is what the client chose."""
    traces = [trace_of(seed) for seed in (1, 2, 1)]
    assert traces[0] == traces[2] != traces[1]


def test_a_clock_that_does_not_jump_is_refused() -> None:
    """Else a delay of two hours would take two hours; the text says what to do."""

    async def main() -> None:
        async with open_simulated():
            pass

    for clock in (None, MockClock()):
        with pytest.raises(RuntimeError, match="needs a clock that jumps"):
            trio.run(main, clock=clock)


def test_a_folder_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Real files have no place in a simulated world."""

    async def main() -> None:
        async with open_simulated(Options(folder=tmp_path)):
            pass

    with pytest.raises(ValueError, match="simulated"):
        run_in_virtual_time(main, seed=0)
