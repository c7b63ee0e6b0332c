"""Sends against brokers of every mood: which broker, how often, until when, and what is told."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from broker_trio.client.codecs import JSON, Json
from broker_trio.client.errors import (
    BatchFailed,
    BrokerRefused,
    ClientClosed,
    ClientError,
    InvalidArgument,
    MessageIllegal,
    NoAnswer,
    NoPermission,
    NoRoute,
    Unreachable,
)
from broker_trio.client.events import BrokerSuspected, BrokerTrusted, Event
from broker_trio.client.message import DelayLevel, Message
from broker_trio.client.receipt import Durability
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.route import MessageQueue
from tests.unit.client.fake_net import CLOSING, DARK, DOWN, SILENT, FakeNet

SEND = RequestCode.SEND_MESSAGE_V2


@pytest.fixture
def net() -> FakeNet:
    made = FakeNet(brokers=2, nameservers=2)
    made.topic("t")
    return made


def brokers(net: FakeNet) -> list[str]:
    return [broker for broker, *_ in net.stored]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_receipt_says_where_and_how_durably(net: FakeNet, backend: str):
    """The same on both loops: ids, broker, queue, offset, durability, and one attempt."""

    async def main() -> None:
        async with net.client() as mq:
            receipt = await mq.send("t", "grün", tag="a", keys=["k"], properties={"p": "v"})
        ((broker, queue, body, properties),) = net.stored
        assert (receipt.broker_name, receipt.queue_id, receipt.queue_offset) == (broker, queue, 0)
        assert (receipt.topic, receipt.durability, receipt.attempts) == ("t", Durability.DISK, 1)
        assert receipt.complete
        assert body == "grün".encode()
        assert properties == {"p": "v", "UNIQ_KEY": receipt.message_id, "TAGS": "a", "KEYS": "k"}
        assert len(receipt.offset_message_id) == 32

    anyio.run(main, backend=backend)
    assert net.open == set()


async def test_what_an_apache_broker_does_not_tell_is_not_made_up(net: FakeNet):
    """No field, no durability; JSON, found out by one question that it closes the connection on."""
    net.apache = {*net.brokers.values(), *net.nameservers}
    async with net.client() as mq:
        receipts = [await mq.send("t", b"x") for _ in range(4)]
    assert {receipt.durability for receipt in receipts} == {Durability.NOT_TOLD}
    assert {receipt.complete for receipt in receipts} == {True}
    assert Counter(code for address, code in net.asked if address == "b0:10911")[26_000] == 1


async def test_queues_and_brokers_take_turns(net: FakeNet):
    """Forty sends: ten for each of two queues on two brokers."""
    async with net.client() as mq:
        for _ in range(40):
            await mq.send("t", b"x")
    assert Counter(one[:2] for one in net.stored) == {
        (broker, queue): 10 for broker in ("b0", "b1") for queue in (0, 1)
    }


async def test_an_ordering_key_decides_the_queue(net: FakeNet):
    """One queue for each key, offsets in the order of the sends."""
    async with net.client() as mq:
        for key in ("a", "b", "c"):
            receipts = [await mq.send("t", b"x", ordering_key=key) for _ in range(5)]
            assert len({(one.broker_name, one.queue_id) for one in receipts}) == 1
            offsets = [one.queue_offset for one in receipts]
            assert offsets == list(range(offsets[0], offsets[0] + 5))
            assert net.stored[-1][3]["__SHARDINGKEY"] == key


async def test_a_queue_may_be_named(net: FakeNet):
    """Tools and tests say where; an unknown broker is no route, after asking again."""
    async with net.client(send_attempts_max=1) as mq:
        receipt = await mq.send("t", b"x", queue=MessageQueue("t", "b1", 1))
        assert (receipt.broker_name, receipt.queue_id) == ("b1", 1)
        with pytest.raises(NoRoute, match="broker b7 has no master"):
            await mq.send("t", b"x", queue=MessageQueue("t", "b7", 0))


@pytest.mark.parametrize("mood", [DOWN, CLOSING, ResponseCode.SYSTEM_BUSY])
async def test_a_failing_broker_is_passed_over_and_suspected(net: FakeNet, mood: Any):
    """The first send that meets it goes on elsewhere; the following ones do not meet it."""
    net.mood["b0:10911"] = mood
    events: list[Event] = []
    async with net.client(on_event=events.append) as mq:
        receipts = [await mq.send("t", b"x") for _ in range(8)]
    assert brokers(net) == ["b1"] * 8
    assert sorted(receipt.attempts for receipt in receipts) == [1] * 7 + [2]
    (suspected,) = [event for event in events if isinstance(event, BrokerSuspected)]
    assert (suspected.broker_name, suspected.avoided_s) == ("b0", 1.0)


async def test_a_broker_that_recovers_is_used_again(net: FakeNet, autojump_clock: object):
    """After its window one send looks, and its success is an event."""
    net.mood["b0:10911"] = ResponseCode.SYSTEM_BUSY
    events: list[Event] = []
    async with net.client(on_event=events.append) as mq:
        for _ in range(4):
            await mq.send("t", b"x")
        net.mood.clear()
        await anyio.sleep(1.1)
        for _ in range(8):
            await mq.send("t", b"x")
    assert Counter(brokers(net))["b0"] >= 3
    assert BrokerTrusted("b0") in events


async def test_a_broker_that_accepts_and_never_answers(net: FakeNet, autojump_clock: object):
    """Its share of the deadline passes, then the other one stores the same message id."""
    net.mood["b0:10911"] = SILENT
    began = anyio.current_time()
    async with net.client() as mq:
        receipts = [await mq.send("t", b"x") for _ in range(4)]
        assert anyio.current_time() - began <= 6.5  # one attempt of 3 s, one route question
    assert brokers(net) == ["b1"] * 4
    assert [one[3]["UNIQ_KEY"] for one in net.stored] == [one.message_id for one in receipts]


async def test_a_host_that_went_dark_is_left_soon_after_its_successor_is_known(
    autojump_clock: object,
):
    """Sends that wait for it until their deadline learn nothing themselves, and have it asked."""
    net = FakeNet(brokers=1)
    net.topic("t")
    async with net.client(send_attempts_max=1, send_timeout_s=2.0) as mq:
        await mq.send("t", b"x")
        net.mood["b0:10911"] = DARK
        for _ in range(10):
            with pytest.raises((NoAnswer, Unreachable)):
                await mq.send("t", b"x")
        net.brokers["b0"] = "b9:10911"
        began = anyio.current_time()
        with pytest.raises(Unreachable):
            await mq.send("t", b"x")
        await anyio.sleep(1.5)
        await mq.send("t", b"y")
        assert anyio.current_time() - began <= 4


async def test_the_deadline_holds_with_every_broker_silent(net: FakeNet, autojump_clock: object):
    """Whatever it is spent on: a send ends within its timeout."""
    net.mood = dict.fromkeys(net.brokers.values(), SILENT)
    async with net.client() as mq:
        for timeout_s in (0.5, 4.0, 10.0):
            began = anyio.current_time()
            with pytest.raises((Unreachable, NoAnswer)):
                await mq.send("t", b"x", timeout_s=timeout_s)
            assert anyio.current_time() - began <= timeout_s + 0.001


async def test_the_deadline_holds_with_every_nameserver_silent(
    net: FakeNet, autojump_clock: object
):
    """An unknown topic and nobody to ask: told within the timeout, naming who was asked."""
    net.mood = dict.fromkeys(net.nameservers, SILENT)
    async with net.client() as mq:
        began = anyio.current_time()
        with pytest.raises(Unreachable, match="ns0:9876; ns1:9876") as caught:
            await mq.send("t", b"x", timeout_s=3.0)
        assert anyio.current_time() - began <= 3.001
    assert caught.value.retriable


async def test_a_send_that_nobody_answered_is_repeated_only_if_allowed(
    net: FakeNet, autojump_clock: object
):
    """resend_unknown=False: one attempt, an error that says unknown, and the caller decides."""
    net.mood = dict.fromkeys(net.brokers.values(), CLOSING)
    async with net.client(resend_unknown=False) as mq:
        with pytest.raises(NoAnswer) as caught:
            await mq.send("t", b"x")
        assert caught.value.unknown
        assert sum(net.times(where, SEND) for where in net.brokers.values()) == 1
    async with net.client(send_attempts_max=3) as mq:
        with pytest.raises(NoAnswer):
            await mq.send("t", b"x")
        assert sum(net.times(where, SEND) for where in net.brokers.values()) == 4


async def test_an_unknown_attempt_makes_the_whole_send_unknown(
    net: FakeNet, autojump_clock: object
):
    """One broker took it and fell silent, the other refuses: nobody may call that not stored."""
    net.mood = {"b0:10911": CLOSING, "b1:10911": ResponseCode.SYSTEM_BUSY}
    async with net.client(send_attempts_max=2) as mq:
        with pytest.raises(NoAnswer) as caught:
            await mq.send("t", b"x")
    assert caught.value.unknown
    assert "SYSTEM_BUSY" in " ".join(caught.value.__notes__)


@pytest.mark.parametrize("code", [ResponseCode.MESSAGE_ILLEGAL, ResponseCode.INVALID_PARAMETER])
async def test_a_refusal_for_good_is_raised_at_once(net: FakeNet, code: ResponseCode):
    """Another broker would say the same: one attempt."""
    net.mood = dict.fromkeys(net.brokers.values(), code)
    async with net.client() as mq:
        with pytest.raises(BrokerRefused, match="told to refuse") as caught:
            await mq.send("t", b"x")
    assert not caught.value.retriable
    assert sum(net.times(where, SEND) for where in net.brokers.values()) == 1


@pytest.mark.parametrize("code", [ResponseCode.NO_PERMISSION, ResponseCode.TOPIC_NOT_EXIST])
async def test_a_broker_without_the_topic_has_the_route_asked_again(
    net: FakeNet, code: ResponseCode
):
    """The topic moved away from b0: one refusal, a new route, and no broker is blamed."""
    events: list[Event] = []
    async with net.client(on_event=events.append) as mq:
        await mq.send("t", b"x")
        net.mood["b0:10911"] = code
        net.topics["t"] = {"b1": 2}
        net.stored.clear()
        receipts = [await mq.send("t", b"x") for _ in range(6)]
    assert sorted(receipt.attempts for receipt in receipts)[-1] == 2
    assert sum(receipt.attempts for receipt in receipts) == 7
    assert not [event for event in events if isinstance(event, BrokerSuspected)]


async def test_a_master_without_a_lease_has_the_route_asked_again(net: FakeNet):
    """It cannot know whether its slave was promoted: one refusal, and the nameserver is asked."""
    events: list[Event] = []
    net.topics["t"] = {"b0": 2}
    async with net.client(on_event=events.append, send_attempts_max=1) as mq:
        await mq.send("t", b"x")
        net.mood["b0:10911"] = ResponseCode.SERVICE_NOT_AVAILABLE
        net.topics["t"] = {"b1": 2}
        with pytest.raises(BrokerRefused):
            await mq.send("t", b"x")
        assert (await mq.send("t", b"x")).broker_name == "b1"
    assert [event for event in events if isinstance(event, BrokerSuspected)]


@pytest.mark.parametrize("send", ["send", "send_oneway", "send_batch"])
async def test_no_permission_is_told_at_once(net: FakeNet, autojump_clock: object, send: str):
    """The route says that nobody may write: one question, no broker asked, no time lost."""
    net.perm = {("t", "b0"): 4, ("t", "b1"): 4}
    async with net.client() as mq:
        began = anyio.current_time()
        with pytest.raises(ClientError, match="no write permission on b0, b1") as raised:
            await getattr(mq, send)("t", b"x" if send != "send_batch" else [b"x"])
        assert anyio.current_time() == began
        cause = raised.value.cause if isinstance(raised.value, BatchFailed) else raised.value
        assert isinstance(cause, NoPermission)
        assert (cause.want, cause.brokers, cause.retriable) == ("write", ("b0", "b1"), False)
        assert not raised.value.unknown
        asked = sum(net.times(ns, RequestCode.GET_ROUTEINFO_BY_TOPIC) for ns in net.nameservers)
        assert asked == 1
        net.perm.clear()
        assert net.stored == []
        await getattr(mq, send)("t", b"x" if send != "send_batch" else [b"x"])


async def test_a_permission_taken_away_later_is_told_after_one_refusal(
    net: FakeNet, autojump_clock: object
):
    """The kept route is old: the broker refuses, the new route says why; also of a named queue."""
    for queue in (None, MessageQueue("t", "b0", 0)):
        net.perm.clear()
        async with net.client() as mq:
            await mq.send("t", b"x")
            net.perm = {("t", "b0"): 4, ("t", "b1"): 4}
            net.mood = dict.fromkeys(net.brokers.values(), ResponseCode.NO_PERMISSION)
            began = anyio.current_time()
            with pytest.raises(NoPermission, match="no write permission on b0"):
                await mq.send("t", b"x", queue=queue)
            assert anyio.current_time() == began
            net.mood.clear()


@pytest.mark.parametrize("trouble", ["one has no master", "slaves stand in"])
async def test_read_only_for_a_while_is_waited_for(
    net: FakeNet, autojump_clock: object, trouble: str
):
    """Where a master may come back it is no matter of permissions: attempts go on till it does."""
    if trouble == "one has no master":
        net.perm = {("t", "b0"): 4}
        net.headless = {"b1"}
    else:
        net.perm = {("t", "b0"): 4, ("t", "b1"): 4}
        net.acting = {"b1"}

    async with net.client() as mq, anyio.create_task_group() as tasks:

        async def back() -> None:
            await anyio.sleep(0.5)
            net.perm.clear()
            net.headless, net.acting = set(), set()

        tasks.start_soon(back)
        assert (await mq.send("t", b"x")).attempts > 1
    async with net.client(send_attempts_max=3) as mq:
        net.headless = {"b0", "b1"}
        with pytest.raises(NoRoute, match="no master") as raised:
            await mq.send("t", b"x")
        assert not isinstance(raised.value, NoPermission)


async def test_a_new_topic_is_made_by_its_first_message(net: FakeNet):
    """Queues of the template, four at most; without a template it is no route."""
    async with net.client(send_attempts_max=1) as mq:
        for _ in range(8):
            await mq.send("new", b"x")
        assert {one[1] for one in net.stored} == {0, 1, 2, 3}
        del net.topics["TBW102"]
        with pytest.raises(NoRoute, match="unknown to 2 of 2 nameservers, and no broker creates"):
            await mq.send("newer", b"x")


async def test_bad_arguments_are_told_before_anything_is_asked(net: FakeNet):
    """No nameserver and no broker hears of them."""
    async with net.client(body_bytes_max=10) as mq:
        for wrong in (
            mq.send("a b", b"x"),
            mq.send("t", b"x" * 11),
            mq.send("t", b""),
            mq.send("t", b"x", delay=7),
            mq.send("t", b"x", tag="a|b"),
            mq.send("t", b"x", keys=["a b"]),
            mq.send("t", b"x", properties={"KEYS": "a"}),
            mq.send("t", b"x", timeout_s=0),
            mq.send("t", b"x", queue=MessageQueue("other", "b0", 0)),
            mq.send_oneway("t", b"x", queue=MessageQueue("other", "b0", 0)),
            mq.send_batch("t", [b"x"], queue=MessageQueue("other", "b0", 0)),
            mq.send_oneway("a b", b"x"),
            mq.send_batch("t", [b"x", b""]),
            mq.send("t", object(), codec=JSON),
        ):
            with pytest.raises(InvalidArgument):
                await wrong
    assert net.asked == []


async def test_a_delay_travels_as_its_level(net: FakeNet):
    """Ten seconds are level 3."""
    async with net.client() as mq:
        await mq.send("t", b"x", delay=10)
        await mq.send("t", b"x", delay=DelayLevel.H2)
    assert [one[3]["DELAY"] for one in net.stored] == ["3", "18"]


async def test_large_bodies_are_compressed_where_that_is_wanted(net: FakeNet):
    """A tenth of the size on the wire."""
    async with net.client(compress_above_bytes=1_000) as mq:
        await mq.send("t", b"x" * 5_000)
        await mq.send_batch("t", [b"x" * 5_000, b"y"])
    assert len(net.stored[0][2]) < 500
    assert [len(one[2]) for one in net.stored[1:]] == [5_000, 1], "one flag for all of a batch"


async def test_one_way_sends_arrive_and_tell_only_their_id(net: FakeNet):
    """No answer is waited for; a broker that cannot be reached is passed over all the same."""
    net.mood["b0:10911"] = DOWN
    async with net.client() as mq:
        ids = [await mq.send_oneway("t", b"x", tag="a") for _ in range(4)]
        await anyio.sleep(0.01)
    assert [one[3]["UNIQ_KEY"] for one in net.stored] == ids
    assert brokers(net) == ["b1"] * 4


async def test_a_batch_has_a_receipt_for_each_message(net: FakeNet):
    """In order, with consecutive offsets in each piece, and ids of their own."""
    async with net.client(batch_messages_max=4) as mq:
        given = [Message(f"m{n}", tag="a", keys=[f"k{n}"]) for n in range(10)]
        receipts = await mq.send_batch("t", given)
    assert [one[2] for one in net.stored] == [f"m{n}".encode() for n in range(10)]
    assert [one[3]["UNIQ_KEY"] for one in net.stored] == [one.message_id for one in receipts]
    assert [one[3]["KEYS"] for one in net.stored] == [f"k{n}" for n in range(10)]
    assert [one.queue_offset for one in receipts[:4]] == [0, 1, 2, 3]
    assert len({one.offset_message_id for one in receipts}) == 10
    pieces = [(one.broker_name, one.queue_id) for one in receipts]
    assert [len({*pieces[at : at + 4]}) for at in (0, 4, 8)] == [1, 1, 1]


async def test_a_batch_is_cut_by_bytes_and_keeps_its_order_with_a_key(net: FakeNet):
    """With an ordering key every piece goes to the one queue."""
    async with net.client(batch_bytes_max=1_000) as mq:
        receipts = await mq.send_batch("t", [b"x" * 300] * 7, ordering_key="k")
    assert [one.queue_offset for one in receipts] == list(range(7))
    sends = sum(net.times(where, RequestCode.SEND_BATCH_MESSAGE) for where in net.brokers.values())
    assert sends == 4


async def test_a_batch_that_fails_half_way_tells_which_part_was_stored(
    net: FakeNet, autojump_clock: object
):
    """Receipts of what is stored, None for the rest, and the reason."""
    async with net.client(batch_messages_max=2, send_attempts_max=1) as mq:
        store = net._store

        def once(name: str, command: Any) -> Any:
            net.mood = dict.fromkeys(net.brokers.values(), ResponseCode.SERVICE_NOT_AVAILABLE)
            return store(name, command)

        net._store = once  # type: ignore[method-assign]
        with pytest.raises(BatchFailed, match="3 of 5 messages have no receipt") as caught:
            await mq.send_batch("t", [b"a", b"b", b"c", b"d", b"e"])
    assert [one is not None for one in caught.value.receipts] == [True, True, False, False, False]
    assert caught.value.retriable
    assert isinstance(caught.value.cause, BrokerRefused)


async def test_an_empty_batch_is_nothing(net: FakeNet):
    """No request, no receipts."""
    async with net.client() as mq:
        assert await mq.send_batch("t", []) == []
    assert net.asked == []


async def test_values_become_bodies_by_a_codec(net: FakeNet):
    """Typed on the way out; what has no JSON is told with its reason."""

    @dataclass
    class Order:
        number: int

    async with net.client() as mq:
        await mq.send("t", Order(7), codec=Json(Order))
        with pytest.raises(MessageIllegal, match="no JSON for this body"):
            await mq.send("t", {"a": object()}, codec=JSON)
        with pytest.raises(MessageIllegal, match="give bytes or text, or a codec"):
            await mq.send("t", Order(7))  # type: ignore[call-overload]
    assert [one[2] for one in net.stored] == [b'{"number":7}']


async def test_many_tasks_share_one_connection(net: FakeNet):
    """64 sends in flight: every one has its own answer, and each broker one connection."""
    async with net.client() as mq:
        receipts: list[Any] = []

        async def one(number: int) -> None:
            receipts.append(await mq.send("t", str(number)))

        async with anyio.create_task_group() as group:
            for number in range(64):
                group.start_soon(one, number)
    assert len({(each.broker_name, each.queue_id, each.queue_offset) for each in receipts}) == 64
    assert net.opened == 3  # two brokers, one nameserver


async def test_many_first_sends_to_apache_find_its_dialect_once(net: FakeNet):
    """64 tasks at once: one probe a broker, and no send is lost with the probe's connection."""
    net.apache = set(net.brokers.values())
    async with net.client(send_attempts_max=1) as mq, anyio.create_task_group() as group:
        for number in range(64):
            group.start_soon(mq.send, "t", str(number))
    assert len(net.stored) == 64
    assert [net.times(where, 26_000) for where in net.brokers.values()] == [1, 1]


async def test_a_client_outside_of_its_block_says_so(net: FakeNet):
    """Before, after, and entered twice."""
    mq = net.client()
    with pytest.raises(ClientClosed, match="async with connect"):
        await mq.send("t", b"x")
    async with mq:
        await mq.send("t", b"x")
        with pytest.raises(ClientClosed, match="entered already"):
            await mq.__aenter__()
    with pytest.raises(ClientClosed):
        await mq.send("t", b"x")
    async with mq:
        await mq.send("t", b"x")
    assert len(net.stored) == 2


async def test_an_unknown_topic_is_waited_for(net: FakeNet, autojump_clock: object):
    """Nameservers that were restarted know nothing until brokers register: no attempt is lost."""
    del net.topics["t"], net.topics["TBW102"]
    async with net.client(send_attempts_max=2) as mq, anyio.create_task_group() as tasks:

        async def register() -> None:
            await anyio.sleep(8.0)
            net.topic("t")

        tasks.start_soon(register)
        receipt = await mq.send("t", b"x", timeout_s=12.0)
        assert receipt.attempts == 1
        assert anyio.current_time() < 11


async def test_a_topic_that_stays_unknown_is_told_at_the_deadline(
    net: FakeNet, autojump_clock: object
):
    """Its own error, once, and no later; with one attempt it is told at once."""
    del net.topics["TBW102"]
    for options, seconds in (({}, 10.0), ({"send_attempts_max": 1}, 0.0)):
        began = anyio.current_time()
        async with net.client(**options) as mq:
            with pytest.raises(NoRoute, match="topic typo has no route: unknown to") as raised:
                await mq.send("typo", b"x")
            assert anyio.current_time() - began == pytest.approx(seconds, abs=0.01)
        assert not getattr(raised.value, "__notes__", [])


async def test_a_pairs_receipt_names_its_epoch(net: FakeNet):
    """As the broker tells it; None of a broker without a pair."""
    net.epoch["b0"] = "7"
    async with net.client() as mq:
        receipts = [await mq.send("t", b"x") for _ in range(4)]
        receipts += await mq.send_batch("t", [b"x", b"y"])
    assert {(one.broker_name, one.epoch) for one in receipts} <= {("b0", 7), ("b1", None)}
    assert {one.epoch for one in receipts} == {7, None}
