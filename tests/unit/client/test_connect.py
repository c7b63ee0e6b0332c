"""What `connect` takes, and what a client does while it is entered and when it is left."""

import gc
import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import anyio
import pytest

import broker_trio
from broker_trio.client.connect import addresses_of, connect
from broker_trio.client.errors import ClientError, InvalidArgument, NoRoute
from broker_trio.client.events import (
    Disconnected,
    Event,
    Events,
    EventsDropped,
    HeartbeatFailed,
    Reconnected,
    RouteChanged,
)
from broker_trio.client.options import OptionNames, Options
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.wire.bodies.heartbeat import ConsumerData
from broker_trio.wire.command import ONEWAY, RESPONSE, Command
from tests.unit.client.fake_net import DOWN, SILENT, FakeNet


@pytest.fixture
def net() -> FakeNet:
    made = FakeNet(brokers=2)
    made.topic("t")
    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("rocketmq://ns1:9876,ns2:9877", ("ns1:9876", "ns2:9877")),
        ("rocketmq://ns1", ("ns1:9876",)),
        ("rocketmq://ns1/", ("ns1:9876",)),
        ("ns1:1; ns2:2 ;", ("ns1:1", "ns2:2")),
        ("ns1:1,ns1:1", ("ns1:1",)),
        ("rocketmq://[::1]:5,[::1]", ("[::1]:5", "[::1]:9876")),
        (["a:1", "b"], ("a:1", "b:9876")),
    ],
)
def test_addresses(given: str, expected: tuple[str, ...]):
    """URLs, lists as RocketMQ's tools write them, and sequences; the port may be left out."""
    assert addresses_of(given) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "0 nameservers"),
        ("rocketmq://", "0 nameservers"),
        ("http://a:1", "is not rocketmq://"),
        ("a:0", "is not host:port"),
        ("a:65536", "is not host:port"),
        ("a:b", "is not host:port"),
        ("a b:1", "is not host:port"),
        ("user@a:1", "is not host:port"),
        ("a:1?x=y", "is not host:port"),
        ("::1:9876", r"an IPv6 address is written \["),
    ],
)
def test_addresses_that_are_none(given: str, said: str):
    """Told at once, with the text that is wrong."""
    with pytest.raises(InvalidArgument, match=said):
        connect(given)


def test_options_have_the_same_names_in_both_places():
    """`connect(url, name=…)` knows exactly what `Options` has, with the same types."""
    assert set(OptionNames.__annotations__) == {field.name for field in fields(Options)}
    listed = {name: str(kind) for name, kind in OptionNames.__annotations__.items()}
    assert listed.keys() == get_type_hints(Options, {"Entropy": object}).keys()


@pytest.mark.parametrize("wrong", [{"send_timeout_s": 0}, {"topics_max": -1}, {"group": "a b"}])
def test_senseless_options_are_refused(wrong: dict):
    """Naming the option and its value."""
    with pytest.raises(InvalidArgument, match=next(iter(wrong))):
        connect("a:1", **wrong)
    with pytest.raises(InvalidArgument, match="not both"):
        connect("a:1", options=Options(), group="g")


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_an_exception_of_the_program_comes_out_as_it_is(net: FakeNet, backend: str):
    """Never inside a group: `except NoRoute` around the block works."""

    async def main() -> None:
        net.topics.pop("TBW102", None)
        with pytest.raises(NoRoute):
            async with net.client(send_attempts_max=1) as mq:
                await mq.send("unknown", b"x")
        with pytest.raises(KeyError):  # noqa: PT012
            async with net.client() as mq:
                await mq.send("t", b"x")
                raise KeyError

    anyio.run(main, backend=backend)
    assert net.open == set()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_comes_out_as_it_is(net: FakeNet, backend: str, kind: type[BaseException]):
    """Not in a group: the shell sees an interrupt, or what `sys.exit` was told."""

    async def main() -> None:
        async with net.client() as mq:
            await mq.send("t", b"x")
            raise kind

    with pytest.raises(kind):
        anyio.run(main, backend=backend)
    assert net.open == set()


async def test_nothing_is_asked_before_the_first_use(net: FakeNet):
    """A program starts although nobody is there yet."""
    net.mood = dict.fromkeys([*net.nameservers, *net.brokers.values()], DOWN)
    async with net.client():
        await anyio.lowlevel.checkpoint()
    assert net.opened == 0


async def test_brokers_know_the_client_and_hear_good_bye(net: FakeNet):
    """After the first send each master gets a heartbeat; at the end each is told that it left."""
    async with net.client(group="pg", instance_name="shop") as mq:
        await mq.send("t", b"x")
        await anyio.sleep(0.05)
        assert mq.client_id.startswith("shop@")
    assert {name for name, _ in net.beats} == {"b0", "b1"}
    beat = net.beats[0][1]
    assert (beat.client_id, [p.group_name for p in beat.producer_data_set]) == (
        mq_id(net),
        ["pg"],
    )
    assert sorted(net.left) == [("b0", "pg"), ("b1", "pg")]


def mq_id(net: FakeNet) -> str:
    (found,) = {beat.client_id for _, beat in net.beats}
    return found


async def test_heartbeats_come_at_every_interval(net: FakeNet, autojump_clock: object):
    """Every 30 seconds, from the first group on."""
    async with net.client() as mq:
        await anyio.sleep(100)
        assert net.beats == []
        await mq.send("t", b"x")
        await anyio.sleep(1)
        first = len(net.beats)
        await anyio.sleep(60)
        assert len(net.beats) == first + 4


async def test_a_broker_that_forgot_us_is_told_at_once(net: FakeNet, autojump_clock: object):
    """Its connection closed; the next beat does not wait for the interval, and events tell it."""
    events: list[Event] = []
    async with net.client(on_event=events.append) as mq:
        await mq.send("t", b"x")
        await anyio.sleep(1)
        before = len([name for name, _ in net.beats if name == "b0"])
        next(stream for stream in net.open if stream.address == "b0:10911").cut()
        await anyio.sleep(1)
        assert len([name for name, _ in net.beats if name == "b0"]) == before + 1
    assert events.index(Disconnected("b0:10911")) < events.index(Reconnected("b0:10911"))


async def test_a_broker_that_takes_no_heartbeat_is_asked_again_soon(
    net: FakeNet, autojump_clock: object
):
    """After seconds that double, not after the interval; and it is an event."""
    events: list[Event] = []
    net.mood["b1:10911"] = DOWN
    async with net.client(on_event=events.append) as mq:
        await mq.send("t", b"x", timeout_s=30)
        await anyio.sleep(8)
        failed = [event for event in events if isinstance(event, HeartbeatFailed)]
        assert 2 <= len(failed) <= 8
        net.mood.clear()
        await anyio.sleep(20)
        assert "b1" in {name for name, _ in net.beats}


async def test_a_broker_that_is_taken_away_is_left_alone(net: FakeNet, autojump_clock: object):
    """No route leads there any longer: no heartbeat goes there either, and nothing is reported."""
    events: list[Event] = []
    async with net.client(on_event=events.append) as mq:
        await mq.send("t", b"x")
        await anyio.sleep(1)
        net.topics["t"] = {"b0": 2}
        net.down("b1:10911")
        await anyio.sleep(3)
        events.clear()
        await anyio.sleep(300)
        assert [event for event in events if isinstance(event, HeartbeatFailed)] == []


async def test_consumers_are_told_to_every_replica_and_taken_back(net: FakeNet):
    """`beat` waits for the answers; `remove` unregisters the group."""
    async with net.client() as mq:
        await mq.session.routes.get("t")
        mq.session.heartbeat.add_consumer(ConsumerData("cg"))
        await mq.session.heartbeat.beat()
        told = {name: [c.group_name for c in beat.consumer_data_set] for name, beat in net.beats}
        assert told == {"b0": ["cg"], "b1": ["cg"]}
        await mq.session.heartbeat.remove("cg")
        assert sorted(net.left) == [("b0", "cg"), ("b1", "cg")]
        for number in range(256):
            mq.session.heartbeat.add_consumer(ConsumerData(f"g{number}"))
        with pytest.raises(ClientError, match="256 groups in one client, at most 256"):
            mq.session.heartbeat.add_consumer(ConsumerData("one-more"))
        net.mood = dict.fromkeys(net.brokers.values(), SILENT)
        mq.session.heartbeat._consumers.clear()


async def test_leaving_takes_no_longer_than_it_may(net: FakeNet, autojump_clock: object):
    """Brokers that fell silent are not waited for."""
    async with net.client(leave_timeout_s=1.5) as mq:
        await mq.send("t", b"x")
        await anyio.sleep(1)
        net.mood = dict.fromkeys(net.brokers.values(), SILENT)
        began = anyio.current_time()
    assert anyio.current_time() - began == pytest.approx(1.5)
    assert net.open == set()


async def test_requests_of_brokers_reach_their_hooks(net: FakeNet):
    """By code; what nobody asked for is answered as unsupported, one-way ones not at all."""
    heard: list[tuple[str, int]] = []
    async with net.client(leave_timeout_s=0.01) as mq:

        def hook(address: str, command: Command) -> None:
            heard.append((address, command.code))

        mq.session.on_request(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, hook)
        await mq.send("t", b"x")
        stream = next(stream for stream in net.open if stream.address.startswith("b"))
        answers: list[Command] = []
        stream._arrived = answers.append  # type: ignore[method-assign]
        stream.request(Command(40, 1, flag=ONEWAY))
        stream.request(Command(307, 2))
        stream.request(Command(309, 3, flag=ONEWAY))
        await anyio.sleep(0.01)
    assert heard == [(stream.address, 40)]
    assert [(one.code, one.opaque) for one in answers if one.flag & RESPONSE] == [
        (ResponseCode.REQUEST_CODE_NOT_SUPPORTED, 2)
    ]


async def test_events_reach_every_listener_and_end_with_the_client(net: FakeNet):
    """From its making on; the loop ends by itself."""
    async with net.client() as mq:
        listener = mq.events()
        await mq.send("t", b"x")
    assert RouteChanged("t") in [event async for event in listener]


async def test_a_slow_listener_loses_the_oldest_and_is_told(autojump_clock: object):
    """Bounded: 3 are kept, 2 are reported missing, and nobody waits for a listener."""
    events = Events(3)
    listener = events.listen()
    for number in range(5):
        events.emit(RouteChanged(str(number)))
    events.close()
    assert [event async for event in listener] == [
        EventsDropped(2),
        RouteChanged("2"),
        RouteChanged("3"),
        RouteChanged("4"),
    ]
    del listener
    gc.collect()
    assert len(events._streams) == 0


def test_the_package_costs_nothing_until_it_is_used():
    """`import broker_trio` loads no client, no loop; `connect` on asyncio loads no Trio."""
    code = (
        "import sys, broker_trio\n"
        "assert not [m for m in sys.modules if m.startswith(('broker_trio.', 'anyio', 'trio'))]\n"
        "import broker_trio.client.connect, broker_trio.client.producer\n"
        "assert 'trio' not in sys.modules\n"
        "assert set(dir(broker_trio)) >= {'connect', 'Message', 'Receipt', '__version__'}\n"
        "for name in broker_trio._HOME_OF: assert getattr(broker_trio, name) is not None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = broker_trio.nothing
