"""Consumers of the real client in a simulated cluster: sharing, order, retries, bad days.

What must hold everywhere: each acknowledged message is handled at least once, and no offset that a
group committed passes a message that nobody handled.
"""

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import pytest
import trio

from broker_trio.client.consumer_events import (
    LockLost,
    MessageDropped,
    MessageFailed,
    MessageOverdue,
    OffsetMoved,
    PullFailed,
    PullRecovered,
    TopicMissing,
)
from broker_trio.client.errors import NoRoute
from broker_trio.client.process_queue import Limits
from broker_trio.model.codes import RequestCode
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from broker_trio.wire.headers.offset import ResetOffsetRequestHeader
from tests.unit.client.cancelling import cancelled_at

from .clients import TOPIC, Member, assert_in_order, client, committed, numbered, send, until

MASTER = "b0"


def test_two_members_share_queues_and_one_takes_over_at_once() -> None:
    """Two queues each, each message once; when one leaves, the other has all within a second."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, ["first"])
        one, two = Member(cluster, "c1"), Member(cluster, "c2")
        await one.joined()
        assert one.queues == [0, 1, 2, 3]
        await two.joined()
        assert await until(lambda: len(one.queues) == len(two.queues) == 2) < 1.0
        assert sorted(one.queues + two.queues) == [0, 1, 2, 3]
        await send(cluster, numbered(40))
        await until(lambda: len(one.got) + len(two.got) == 40)
        await one.stop()
        assert await until(lambda: two.queues == [0, 1, 2, 3]) < 1.0
        await send(cluster, numbered(20, "later"))
        await until(lambda: len(two.got) + len(one.got) == 60)
        await two.stop()
        seen = Counter(one.bodies + two.bodies)
        assert seen == Counter(numbered(40) + numbered(20, "later")), "each of them once"
        ends = await committed(cluster, "g")
        assert sum(ends.values()) == 61

    simulate(1, scenario)


def test_a_member_that_dies_is_replaced_and_nothing_it_held_is_lost() -> None:
    """Killed with messages fetched and not handled: another member gets them."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(30))
        one = Member(cluster, "c1", start="first", handle_s=1.0, concurrency=1)
        two = Member(cluster, "c2", start="first")
        await one.joined()
        await until(lambda: len(one.got) == 5)
        one.node.kill()
        await one.node.stopped()
        await two.joined()
        await until(lambda: set(one.bodies) | set(two.bodies) == set(numbered(30)))
        assert len(two.got) >= 25
        await two.stop()

    simulate(2, scenario)


def test_failures_come_again_and_end_as_dead_letters_with_their_cause() -> None:
    """10 s later by default, counted; past `retries_max` in %DLQ%, and a rejected one at once."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, ["good", "once", "never"])
        member = Member(
            cluster, "c1", start="first", retries_max=2, fail={"once": 1, "never": 99}
        )  # fmt: skip
        await member.joined()
        await until(lambda: len(member.got) == 6, 200)
        await trio.sleep(120)
        tries = sorted((body, attempt) for _, _, _, body, attempt in member.got)
        assert tries == [("good", 1), ("never", 1), ("never", 2), ("never", 3), ("once", 1), ("once", 2)]  # fmt: skip  # noqa: E501
        first, again = (at for at, _, _, body, _ in member.got if body == "once")
        assert 10.0 <= again - first < 12.0
        assert len(member.heard(MessageFailed)) == 4
        await member.stop()
        async with (
            client(cluster, "dead") as mq,
            mq.subscribe("%DLQ%g", group="g-dead", start="first") as dead,
        ):
            async for message in dead:
                async with message:
                    assert (message.body, message.topic) == (b"never", TOPIC)
                    assert message.properties["DLQ_CAUSE"] == "ValueError: never"
                    break

    simulate(3, scenario)


def test_an_ordered_consumer_goes_on_in_order_after_the_broker_was_killed() -> None:
    """Per queue no message is handled for the first time before the one in front of it."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(1), ordering_key="k")
        few = Limits(messages=8)
        member = Member(cluster, "c1", start="first", ordered=True, handle_s=0.2, prefetch=few)
        await member.joined()
        async with client(cluster, "p") as mq:
            for number in range(1, 30):
                await mq.send(TOPIC, f"m{number}", ordering_key=f"k{number % 3}")
        await trio.sleep(1.5)
        cluster.kill(MASTER)
        await trio.sleep(2)
        await cluster.up(MASTER)
        await until(lambda: set(member.bodies) == set(numbered(30)))
        assert_in_order(member)
        assert member.heard(PullFailed)
        assert member.heard(PullRecovered)
        await member.stop()
        assert sum((await committed(cluster, "g")).values()) == 30

    simulate(4, scenario)


def test_an_ordered_failure_holds_up_its_queue_and_no_other() -> None:
    """It is tried again after its rest, until it goes; with `retries_max` it is a dead letter."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        async with client(cluster, "p") as mq:
            for number in range(9):
                await mq.send(TOPIC, f"m{number}", ordering_key=f"k{number % 3}")
        member = Member(
            cluster, "c1", start="first", ordered=True, fail={"m1": 2, "m2": 99}, retries_max=3
        )  # fmt: skip
        await member.joined()
        await until(lambda: set(member.bodies) == set(numbered(9)))
        assert_in_order(member)
        tries = Counter(member.bodies)
        assert (tries["m1"], tries["m2"], tries["m0"]) == (3, 4, 1)
        at = [when for when, _, _, body, _ in member.got if body == "m1"]
        assert all(0.999 < b - a < 1.1 for a, b in pairwise(at))
        await member.stop()
        async with client(cluster, "reader") as mq:
            puller = mq.pull("reader")
            (queue,) = await puller.queues("%DLQ%g")
            assert [m.body for m in (await puller.pull(queue, 0)).messages] == [b"m2"]

    simulate(5, scenario)


def test_a_lock_that_cannot_be_renewed_is_given_up_before_another_member_gets_it() -> None:
    """Cut off from the broker: 30 s later the member stops; the other one goes on after that."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(40), ordering_key="k")
        one = Member(cluster, "c1", start="first", ordered=True, handle_s=2.5)
        two = Member(cluster, "c2", start="first", ordered=True)
        await one.joined()
        await until(lambda: len(one.got) == 2)
        world.network.isolate("c1")
        cut = trio.current_time()
        await two.joined()
        await until(lambda: bool(one.heard(LockLost)), 40)
        assert trio.current_time() - cut <= 32.0
        await until(lambda: set(one.bodies) | set(two.bodies) == set(numbered(40)), 300)
        assert min(at for at, *_ in two.got) > max(at for at, *_ in one.got)
        world.network.heal_all()
        assert_in_order(one, two)
        await one.stop()
        await two.stop()

    simulate(6, scenario)


def test_consuming_goes_on_while_all_nameservers_are_down() -> None:
    """Routes are kept: messages flow, and offsets are committed."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world, nameservers=2)
        await cluster.start()
        await send(cluster, ["first"])
        member = Member(cluster, "c1", start="first")
        await member.joined()
        async with client(cluster, "p") as mq:
            await mq.send(TOPIC, "second")
            for name in cluster.nameserver_names:
                cluster.kill(name, power=True)
                await trio.sleep(40)
                await mq.send(TOPIC, f"without {name}")
            await trio.sleep(120)
            await mq.send(TOPIC, "without any")
        await until(lambda: len(member.got) == 5, 5)
        assert len(member.queues) == 4
        await member.stop()
        await cluster.start()
        await trio.sleep(30)
        assert sum((await committed(cluster, "g")).values()) == 5

    simulate(7, scenario)


def test_a_broker_that_takes_everything_and_answers_nothing_delays_nobody_for_long() -> None:
    """Told by one event a queue; leaving ends within its limits; healed, everything flows."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, ["first"])
        member, other = Member(cluster, "c1", start="first"), Member(cluster, "c2", group="other")
        await member.joined()
        await other.joined()
        await until(lambda: member.bodies == ["first"])
        world.network.cut_one_way(MASTER, "c1")
        world.network.cut_one_way(MASTER, "c2")
        await until(lambda: len(member.heard(PullFailed)) == 5, 60)
        began = trio.current_time()
        await other.stop()
        assert trio.current_time() - began < 5.0, "leave_timeout_s twice, for group and client"
        await trio.sleep(100)
        assert len(member.heard(PullFailed)) == 5, "told once"
        world.network.heal_all()
        await send(cluster, ["healed"])
        assert await until(lambda: "healed" in member.bodies) < 10.0
        await until(lambda: len(member.heard(PullRecovered)) == 5)
        await member.stop()

    simulate(8, scenario)


def test_where_a_new_group_begins() -> None:
    """first, last (sent from now on), a time; what it committed goes before all of them."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(8, "old"))
        await trio.sleep(60)
        moment = datetime.fromtimestamp(cluster.node(MASTER).clock.wall_ms() / 1_000, UTC)
        await trio.sleep(60)
        await send(cluster, numbered(8, "new"))
        starts = {"gf": "first", "gl": "last", "gt": moment}
        members = [
            await Member(cluster, f"c-{group}", group=group, start=start).joined()
            for group, start in starts.items()
        ]
        await send(cluster, numbered(8, "late"))
        expected = [("old", "new", "late"), ("late",), ("new", "late")]
        await trio.sleep(1)
        for member, words in zip(members, expected, strict=True):
            assert sorted(member.bodies) == sorted(b for word in words for b in numbered(8, word))
            await member.stop()
        await send(cluster, numbered(8, "away"))
        again = await Member(cluster, "c-again", group="gl", start="last").joined()
        await until(lambda: sorted(again.bodies) == numbered(8, "away"), 5)
        await again.stop()

    simulate(9, scenario)


def test_a_member_that_handled_nothing_hands_its_start_on() -> None:
    """start="last" is decided once for the group: who takes the queue over misses nothing."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, ["before"])
        stuck = await Member(cluster, "c1", start="last", handle_s=900.0).joined()
        await send(cluster, numbered(20))
        stuck.node.kill()
        await stuck.node.stopped()
        healthy = await Member(cluster, "c2", start="last").joined()
        await until(lambda: sorted(healthy.bodies) == sorted(numbered(20)), 40)
        await healthy.stop()

    simulate(10, scenario)


def test_a_topic_that_comes_later_is_read_from_its_beginning() -> None:
    """Unknown topics are an error, or waited for when asked; new queues lose nothing."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        async with client(cluster, "c0") as mq:
            with pytest.raises(NoRoute, match="unknown to 1 of 1 nameservers"):
                async with mq.subscribe("nothing", group="g"):
                    raise AssertionError("entered")
        member = await Member(cluster, "c1", start="last", wait_for_topic=True).joined()
        assert member.heard(TopicMissing)
        await trio.sleep(30)
        await send(cluster, numbered(8))
        assert await until(lambda: sorted(member.bodies) == numbered(8)) < 21.0
        await member.stop()

    simulate(11, scenario)


def test_broadcast_members_get_everything_and_keep_their_own_place() -> None:
    """Each all messages; what fails is passed by and told; a broker's restart loses nothing."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, ["before"])
        members = [
            await Member(cluster, name, mode="broadcast", fail={"m3": 1}).joined()
            for name in ("c1", "c2")
        ]
        await send(cluster, numbered(10))
        await trio.sleep(1)
        cluster.kill(MASTER)
        await trio.sleep(3)
        await cluster.up(MASTER)
        await send(cluster, numbered(10, "later"))
        expected = sorted(numbered(10) + numbered(10, "later"))
        for member in members:
            await until(lambda member=member: sorted(member.bodies) == expected)
            assert len(member.heard(MessageDropped)) == 1
            await member.stop()
        assert await committed(cluster, "g") == {}

    simulate(12, scenario)


def test_what_nobody_settles_is_given_back_when_its_time_is_over() -> None:
    """A handler that hangs: its messages come again, and its late outcome changes nothing."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, ["m0"])
        member = await Member(
            cluster, "c1", start="first", handle_s=40.0, handle_timeout_s=30.0, concurrency=2
        ).joined()
        await until(lambda: bool(member.heard(MessageOverdue)), 40)
        member.handle_s = 0.0
        await until(lambda: len(member.got) == 2, 60)
        assert sorted(attempt for *_, attempt in member.got) == [1, 2]
        await trio.sleep(30)
        assert len(member.got) == 2
        await member.stop()

    simulate(13, scenario)


def test_an_operator_sets_a_group_back() -> None:
    """The next pull is told where to go on: messages come again, from there."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(8))
        member = await Member(cluster, "c1", start="first").joined()
        await until(lambda: len(member.got) == 8)
        await trio.sleep(6)
        async with client(cluster, "operator") as mq:
            await mq.session.routes.get(TOPIC)
            header = ResetOffsetRequestHeader(topic=TOPIC, group="g", timestamp=0, is_force=True)
            address = await mq.session.broker_address(MASTER)
            code = RequestCode.INVOKE_BROKER_TO_RESET_OFFSET
            await mq.session.calls.ask(address, code, header)
        await until(lambda: len(member.got) == 16, 30)
        assert len(member.heard(OffsetMoved)) == 4
        await member.stop()
        assert sum((await committed(cluster, "g")).values()) == 8

    simulate(14, scenario)


def test_a_slow_consumer_fetches_no_more_than_its_prefetch() -> None:
    """Bounded in messages and in bytes, over all queues together."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, [f"{n}" * 700 for n in range(200)])
        for limits, most, size in (
            (Limits(messages=16), 16, 1 << 30),
            (Limits(size=20_000), 200, 20_000 + 4 * 32 * 3_000),
        ):
            member = Member(
                cluster, "c1", group=f"g{most}", start="first", prefetch=limits, handle_s=0.1
            )
            await member.joined()
            for _ in range(20):
                assert member.sub is not None
                held = list(member.sub._member.inbox)
                assert sum(map(len, held)) <= most
                assert sum(each.size for each in held) <= size
                await trio.sleep(0.1)
            await member.stop()
            member.node.kill()
            del world.nodes["c1"]

    simulate(15, scenario)


@pytest.mark.parametrize("ordered", [False, True])
def test_cancelled_anywhere_it_leaves_nothing_and_loses_nothing(ordered: bool) -> None:
    """Each wait from connecting to leaving in turn: no connection, no task, no lock stays.

    What a cancelled member held comes to the next one, long before any lock or lease runs out.
    """

    async def scenario(world: World) -> int:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(6))
        handled: list[bytes] = []

        async def whole_life(name: str, group: str) -> None:
            async with (
                client(cluster, name) as mq,
                mq.subscribe(TOPIC, group=group, start="first", ordered=ordered) as sub,
            ):
                count = 0
                async for message in sub:
                    async with message:
                        await trio.sleep(0.01)
                        handled.append(message.body)
                        count += 1
                        if count == 2:
                            message.reject()
                    if count == 4:
                        break

        at, going_on = 0, True
        while going_on:
            at += 1
            group = f"g{at}"
            handled.clear()
            await trio.sleep(0.1)
            before = trio.lowlevel.current_statistics().tasks_living
            going_on = await cancelled_at(at, lambda group=group: whole_life("c1", group))
            await trio.sleep(0.1)  # until the broker heard that the connections are closed
            assert trio.lowlevel.current_statistics().tasks_living == before, at
            next_one = await Member(
                cluster, f"n{at}", group=group, start="first", ordered=ordered
            ).joined()
            rest = set(numbered(6)) - {body.decode() for body in handled}
            assert await until(lambda rest=rest, one=next_one: rest <= set(one.bodies)) < 5.0
            await next_one.stop()
        return at

    assert simulate(16, scenario).value > 25


def test_a_broker_that_forgot_an_offset_is_told_again() -> None:
    """Killed before it wrote the group's offset down, it comes back with an older one."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await send(cluster, numbered(8))
        await trio.sleep(7)  # it writes offsets down every 5 s
        member = await Member(cluster, "c1", start="first", commit_s=0.1).joined()
        await until(lambda: len(member.got) == 8)
        await trio.sleep(0.5)
        cluster.kill(MASTER, power=True)
        await cluster.up(MASTER)
        await until(lambda: len(member.heard(PullRecovered)) == 5)
        await trio.sleep(1)
        assert sum((await committed(cluster, "g")).values()) == 8
        assert len(member.got) == 8
        await member.stop()

    simulate(17, scenario)
