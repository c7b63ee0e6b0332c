"""More of everything than anybody should send: pipelined requests, large answers that nobody takes,
held pulls, members, names without end."""

import gc
import json
import tracemalloc
import zlib

import msgspec
import pytest
import trio

from broker_trio.broker.config import PullSection
from broker_trio.broker.sessions import CLIENTS_PER_SESSION_MAX
from broker_trio.model.codes import RequestCode
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.testing.simulate import simulate
from broker_trio.wire.command import Serialize
from broker_trio.wire.serialize import encode
from tests.hostile import asks
from tests.hostile.programs import PROGRAMS, attacked

STEP_S = 0.5  # processor time that one step of a program may take: all others wait for so long
QUICK = {"broker": RequestCode.GET_MAX_OFFSET, "nameserver": RequestCode.GET_ROUTEINFO_BY_TOPIC}


async def answers(peer, count):
    """Take so many answers."""
    return [await peer.answer() for _ in range(count)]


@pytest.mark.parametrize("program", PROGRAMS)
def test_ten_thousand_pipelined_requests(program):
    """All are answered in order; another connection is served meanwhile, not afterwards."""

    async def scenario(world):
        world.network.chunked = 0.01
        async with attacked(world) as target:
            flood, other = await target.peer(program), await target.peer(program, "other")
            code = QUICK[program]

            def question(opaque):
                return asks.ask(code, opaque=opaque, topic="good", queueId="0")

            frames = b"".join(encode(question(n)) for n in range(10_000))
            seen, others = [], 0
            async with trio.open_nursery() as nursery:

                async def take():
                    while len(seen) < 10_000:
                        seen.append((await flood.answer()).opaque)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(flood.stream.send_all, frames)
                nursery.start_soon(take)
                while True:
                    assert (await other.ask(question(1))).code == 0
                    others += 1
            assert seen == list(range(10_000))
            assert others > 10
            assert target.longest.seconds < STEP_S, target.longest.name

    simulate(1, scenario)


def test_questions_with_large_answers_stop_being_read():
    """One read of small pulls asks for a hundred times its size: handling stops where the answers
    reach their limit, and goes on as the peer takes them; nothing is lost."""
    limits = RemotingLimits(outbound_bytes_max=256 << 10)

    async def scenario(world):
        world.network.chunked = 0.0
        async with attacked(world, remoting=limits) as target:
            peer = await target.peer()
            for _ in range(4):
                await peer.ask(asks.send(body=bytes(50 << 10)))
            stats, highest = target.server("broker").stats, 0
            await peer.send(*[asks.pull(opaque=n) for n in range(150)])
            for _ in range(20):
                await trio.sleep(0.1)
                highest = max(highest, stats.outbound_bytes)
            assert limits.outbound_bytes_max < highest < 2 * limits.outbound_bytes_max + (400 << 10)
            found = await answers(peer, 150)
            assert sorted(answer.opaque for answer in found) == list(range(150))
            assert {answer.code for answer in found} == {0}
            await trio.sleep(0.1)
            assert stats.outbound_bytes == 0

    simulate(1, scenario)


def test_woken_pulls_are_bounded_by_what_their_peer_takes():
    """A message wakes a thousand pulls of one connection that takes nothing: those past the limit
    are answered "busy" with its name and without the message."""
    limits = RemotingLimits(outbound_bytes_max=1 << 20)

    async def scenario(world):
        world.network.chunked = 0.0
        async with attacked(world, remoting=limits) as target:
            peer, producer = await target.peer(), await target.peer()
            await producer.ask(asks.send())
            await peer.send(*[asks.pull(opaque=n, offset=1, hold_ms=20_000) for n in range(1_000)])
            while target.parts.held.count < 1_000:  # noqa: ASYNC110 -- it has no event
                await trio.sleep(0.01)
            await producer.ask(asks.send(body=bytes(60 << 10)))
            assert target.server("broker").stats.outbound_bytes < limits.outbound_bytes_max + (
                1 << 19
            )
            found = await answers(peer, 1_000)
            codes = [answer.code for answer in found]
            assert set(codes) == {0, 2}
            assert 10 < codes.count(0) < 30
            refused = next(answer for answer in found if answer.code == 2)
            assert "(remoting.outbound_bytes_max)" in refused.remark

    simulate(1, scenario)


def test_a_total_of_untaken_answers_spares_who_takes_them():
    """Peers that take nothing fill the limit of all; those that hold most of it go, and a client
    that reads is served as before."""
    limits = RemotingLimits(outbound_bytes_max=512 << 10, outbound_total_bytes_max=2 << 20)

    async def scenario(world):
        async with attacked(world, remoting=limits) as target:
            first = await target.peer()
            for _ in range(4):
                await first.ask(asks.send(body=bytes(50 << 10)))
            stats, highest = target.server("broker").stats, 0
            for number in range(16):
                peer = await target.peer(host=f"evil{number}")
                await peer.send(*[asks.pull(opaque=n) for n in range(30)])
                await trio.sleep(0.1)
                highest = max(highest, stats.outbound_bytes)
                answer = await first.ask(asks.pull())
                assert (answer.code, len(answer.body) > 100_000) == (0, True)
            assert 1 << 20 < highest <= limits.outbound_total_bytes_max
            assert stats.protocol_errors["stalled"] >= 10
            await trio.sleep(60)
            assert stats.outbound_bytes == 0

    simulate(1, scenario)


def test_held_pulls_keep_nothing_that_their_peer_made_long():
    """A pull that waits keeps neither its body nor its expression: 50 of them with 150 KiB each
    cost less than a seventh of that."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            await peer.ask(asks.send())
            pulls = [
                msgspec.structs.replace(
                    asks.pull(
                        opaque=n, offset=1, hold_ms=20_000, tags="a||" * 4_000, body=bytes(100_000)
                    ),
                    remark="r" * 50_000,
                )
                for n in range(50)
            ]
            frames = [encode(one) for one in pulls]
            gc.collect()
            tracemalloc.start()
            for data in frames:
                await peer.send(data)
            while target.parts.held.count < 50:  # noqa: ASYNC110 -- it has no event
                await trio.sleep(0.01)
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            assert held < 1 << 20
            target.parts.held.wake_all()
            assert {answer.code for answer in await answers(peer, 50)} == {19}

    simulate(1, scenario)


def test_held_pulls_past_the_limit_are_refused_by_name():
    """The limit is named; a pull that finds something is served, and an end makes room."""

    async def scenario(world):
        async with attacked(world, pull=PullSection(held_pulls_max=10)) as target:
            peer, other = await target.peer(), await target.peer()
            await peer.ask(asks.send())
            await peer.send(*[asks.pull(opaque=n, offset=1, hold_ms=20_000) for n in range(15)])
            refused = await answers(peer, 5)
            assert {
                (one.code, "limit 10 (pull.held_pulls_max)" in one.remark) for one in refused
            } == {(2, True)}
            assert (await other.ask(asks.pull())).code == 0
            await peer.stream.aclose()
            await trio.sleep(0.1)
            assert (await other.ask(asks.pull(offset=1, hold_ms=1_000))).code == 19

    simulate(1, scenario)


def test_held_pulls_are_bounded_by_their_tags_as_well():
    """A thousand tags weigh more than a pull: their sum has a limit."""

    async def scenario(world):
        async with attacked(world) as target:
            target.parts.held.codes_max = 3_000
            peer = await target.peer()
            await peer.ask(asks.send())
            tags = "||".join(f"t{n}" for n in range(1_000))
            held = [asks.pull(opaque=n, offset=1, hold_ms=9_000, tags=tags) for n in range(5)]
            await peer.send(*held)
            assert [one.code for one in await answers(peer, 2)] == [2, 2]
            assert target.parts.held.codes == 3_000
            assert {one.code for one in await answers(peer, 3)} == {19}
            assert target.parts.held.codes == 0

    simulate(1, scenario)


def test_a_heartbeat_with_a_hundred_thousand_groups():
    """Refused with the number allowed; nothing of it is kept."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            answer = await peer.ask(asks.heartbeat(*(f"g{n}" for n in range(20_000)), topics=()))
            assert (answer.code, "1000 groups" in answer.remark) == (29, True)
            answer = await peer.ask(asks.heartbeat(*(f"g{n}" for n in range(100_000))))
            assert answer.code == 1  # that is more than a body may hold
            assert not target.parts.sessions.consumers
            assert len(target.parts.groups.table) < 10
            assert target.longest.seconds < STEP_S, target.longest.name

    simulate(1, scenario)


def test_one_connection_is_not_a_thousand_members():
    """Past a few client ids the connection's further ones are refused; members are told once a
    connection and not once for each of them."""

    async def scenario(world):
        world.network.chunked = 0.0
        async with attacked(world) as target:
            peer = await target.peer()
            beats = [asks.heartbeat("hostile", client=f"c{n}", opaque=n) for n in range(1_000)]
            found, told = {}, 0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(peer.send, *beats)
                while len(found) < 1_000:
                    command = await peer.next()
                    if command.flag & 1:
                        found[command.opaque] = command.code
                    else:
                        told += 1
            assert sum(code == 0 for code in found.values()) == CLIENTS_PER_SESSION_MAX
            assert set(found.values()) == {0, 29}
            assert told <= 40
            assert target.longest.seconds < STEP_S, target.longest.name

    simulate(1, scenario)


def test_a_flapping_subscription_does_not_storm_the_other_members():
    """A member that changes its topics a thousand times in a second costs the others a few
    notifications, and the last change is told."""

    async def scenario(world):
        async with attacked(world) as target:
            good, bad = await target.peer(host="member"), await target.peer()
            await good.ask(asks.heartbeat("shared", client="good"))
            flaps = [
                asks.heartbeat("shared", client="bad", opaque=n, topics=("A", "B")[: 1 + n % 2])
                for n in range(1_000)
            ]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bad.send, *flaps)
                await answers(bad, 1_000)
            await trio.sleep(3)
            told = 0
            with trio.move_on_after(1):
                while True:
                    await good.next()
                    told += 1
            assert 1 < told < 60

    simulate(1, scenario)


def test_long_properties_are_not_remembered():
    """Caches are for what comes again: messages with 30 KiB of properties each leave nothing of
    them behind."""

    async def scenario(world):
        world.network.chunked = 0.0
        async with attacked(world) as target:
            peer = await target.peer()
            gc.collect()
            tracemalloc.start()
            for number in range(60):
                long = f"{number}" + "x" * 30_000
                properties = f"UNIQ_KEY\x01{number:032X}\x02K\x01{long}\x02"
                assert (await peer.ask(asks.send(i=properties))).code == 0
            await trio.sleep(10)
            gc.collect()
            snapshot = tracemalloc.take_snapshot()
            tracemalloc.stop()
            stored = tracemalloc.Filter(False, "*/broker_trio/testing/*")
            statistics = snapshot.filter_traces([stored]).statistics("filename")
            assert sum(one.size for one in statistics) < 2 << 20, statistics[:5]

    simulate(1, scenario)


LONG = "x" * 3_000


def test_long_expressions_in_many_groups_have_a_limit():
    """What subscriptions of all groups take together is bounded; leaving gives it back."""

    async def scenario(world):
        async with attacked(world) as target:
            target.parts.sessions.subscription_bytes_max = 1 << 20
            peer = await target.peer()
            codes = []
            for number in range(12):
                subscriptions = [{"topic": f"t{n}{LONG}"} for n in range(40)]
                data = {"groupName": f"g{number}", "subscriptionDataSet": subscriptions}
                body = json.dumps({"clientID": "c", "consumerDataSet": [data]}).encode()
                answer = await peer.ask(asks.ask(RequestCode.HEART_BEAT, body=body))
                codes.append(answer.code)
            assert codes == [0] * 7 + [2] * 5
            assert "(SUBSCRIPTION_BYTES_MAX)" in answer.remark
            assert target.parts.sessions.subscription_bytes <= 1 << 20
            await peer.stream.aclose()
            await trio.sleep(0.1)
            assert target.parts.sessions.subscription_bytes == 0

    simulate(1, scenario)


def test_a_list_of_one_topic_many_times_is_looked_up_once():
    """208 names its topics in a text: four thousand times a topic of a thousand queues."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            many = asks.ask(
                RequestCode.GET_CONSUME_STATS,
                serialize=Serialize.ROCKETMQ,
                consumerGroup="hostile",
                topicList="BenchmarkTest;" * 4_000,
            )
            assert (await peer.ask(many)).code == 0
            assert target.longest.seconds < STEP_S, target.longest.name

    simulate(1, scenario)


BOMBS = {
    "empty lists": (b"[" + b"[]," * 1_500_000 + b"[]]", Serialize.JSON),
    "a list of numbers in a member": (
        b"{'producerDataSet':[" + b"1," * 1_000_000 + b"1]}",
        Serialize.JSON,
    ),
    "empty CBOR lists": (b"\x9a\x00\x4c\x4b\x40" + b"\x80" * 5_000_000, Serialize.CBOR),
    "fewer CBOR lists": (b"\x9a\x00\x0f\x42\x40" + b"\x80" * 1_000_000, Serialize.CBOR),
    "one name many times": (b"{" + b'"a":1,' * 600_000 + b'"a":1}', Serialize.JSON),
}


def test_bodies_that_are_short_for_what_they_say():
    """Counted before anything is built of them: answered 1, in a few times their own memory."""
    fields = {"brokerName": "b", "brokerAddr": "a:1", "clusterName": "c", "brokerId": "0"}

    async def scenario(world):
        world.network.chunked = 0.0
        async with attacked(world) as target:
            for program, code in (
                ("broker", RequestCode.HEART_BEAT),
                ("nameserver", RequestCode.QUERY_DATA_VERSION),
            ):
                peer = await target.peer(program)
                for bomb, (body, serialize) in BOMBS.items():
                    asked = asks.ask(code, body=body, serialize=serialize, **fields)
                    gc.collect()
                    tracemalloc.start()
                    answer = await peer.ask(asked)
                    peak = tracemalloc.get_traced_memory()[1]
                    tracemalloc.stop()
                    assert answer.code == 1 or bomb == "one name many times"  # it is read over
                    assert peak < 5 * len(body) + (8 << 20), bomb
                    assert target.longest.seconds < STEP_S, target.longest.name

    simulate(1, scenario)


def test_a_compressed_registration_is_bounded_before_it_is_read():
    """Sixty KiB that inflate past the limit, and three million topics that are a few bytes each
    once inflated: refused, in no time."""
    topics = 3_000_000
    head = b"".join(len(one).to_bytes(4, "big") + one for one in (b"{}",))
    many = head + topics.to_bytes(4, "big") + (b"\0\0\0\x09t 1 1 1 x" * topics)
    fields = {"brokerName": "b", "brokerAddr": "a:1", "clusterName": "c", "haServerAddr": "a:2"}

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer("nameserver")
            for body in (zlib.compress(bytes(65 << 20), 1), zlib.compress(many, 1)):
                asked = asks.ask(
                    RequestCode.REGISTER_BROKER,
                    body=body,
                    brokerId="0",
                    compressed="true",
                    **fields,
                )
                answer = await peer.ask(asked)
                assert (answer.code, "limit" in answer.remark or "inflates" in answer.remark) == (
                    1,
                    True,
                )
            assert target.longest.seconds < STEP_S, target.longest.name

    simulate(1, scenario)


def test_a_header_that_only_the_tolerant_reader_takes_is_short():
    """It costs a microsecond a value: past a few thousand of them the connection is closed."""

    async def scenario(world):
        async with attacked(world) as target:
            for count, closed in ((1_000, False), (30_000, True)):
                peer = await target.peer()
                fields = ",".join(f"a{n}:1" for n in range(count))
                header = b"{code:26,opaque:1,extFields:{%s}}" % fields.encode()
                total = (4 + len(header)).to_bytes(4, "big") + len(header).to_bytes(4, "big")
                await peer.send(total + header)
                assert (await peer.answer() is None) == closed

    simulate(1, scenario)
