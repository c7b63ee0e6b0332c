"""Every table that strangers can fill, filled over the wire: the refusal names the limit, what is
there goes on working, and what leaves makes room."""

import json

import trio

from broker_trio.broker.config import TopicsSection
from broker_trio.model.codes import RequestCode
from broker_trio.namesrv.config import RoutesSection
from broker_trio.testing.simulate import simulate
from tests.hostile import asks
from tests.hostile.programs import attacked

SYSTEM = 9  # topics that every broker has, and "good"


async def codes(peer, *commands):
    """The answers' codes, and the last remark."""
    answers = [await peer.ask(command) for command in commands]
    return [answer.code for answer in answers], answers[-1].remark


def test_topics():
    """17, 18 (whose list must fit as a whole) and sends stop at topics.topics_max; known topics
    are served, and a deleted one makes room."""
    room = TopicsSection(topics_max=SYSTEM + 3)

    async def scenario(world):
        async with attacked(world, topics=room) as target:
            free = room.topics_max - len(target.parts.topics.table)
            assert free > 0
            peer = await target.peer()
            listed = [{"topicName": f"list{n}"} for n in range(free + 1)]
            refused, remark = await codes(peer, asks.put_topics(*listed))
            assert (refused, f"topics.topics_max={room.topics_max} reached" in remark) == (
                [1],
                True,
            )
            made, _ = await codes(peer, *(asks.create_topic(f"t{n}") for n in range(free)))
            assert made == [0] * free
            for ask, code in ((asks.create_topic("one-more"), 1), (asks.send("one-more"), 17)):
                refused, remark = await codes(peer, ask)
                assert (refused, "topics.topics_max" in remark) == ([code], True)
            assert (await codes(peer, asks.send("t0"), asks.create_topic("t0", perm="4")))[0] == [
                0,
                0,
            ]
            gone = asks.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic="t0")
            assert (await codes(peer, gone, asks.send("one-more")))[0] == [0, 0]
            assert len(target.parts.topics.table) == room.topics_max

    simulate(1, scenario)


def test_groups():
    """Pulls, 200 and 225 stop at topics.groups_max, a heartbeat skips the group; known ones are
    served, and a deleted one makes room."""

    async def scenario(world):
        async with attacked(world, topics=TopicsSection(groups_max=6)) as target:
            free = 6 - len(target.parts.groups.table)
            peer = await target.peer()
            await peer.ask(asks.send())
            made, _ = await codes(peer, *(asks.put_group(f"g{n}") for n in range(free)))
            assert made == [0] * free
            several = json.dumps({"groupConfigList": [{"groupName": "one-more"}]}).encode()
            for ask in (
                asks.pull(group="one-more"),
                asks.put_group("one-more"),
                asks.send_back(0, "one-more"),
                asks.ask(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST, body=several),
                asks.send("%RETRY%one-more"),
            ):
                refused, remark = await codes(peer, ask)
                assert (refused, "topics.groups_max=6 reached" in remark) == ([1], True)
            assert (await codes(peer, asks.heartbeat("one-more")))[0] == [0]
            assert target.parts.topics.get("%RETRY%one-more") is None
            gone = asks.ask(RequestCode.DELETE_SUBSCRIPTIONGROUP, groupName="g0")
            assert (await codes(peer, asks.pull(group="g1"), gone))[0] == [0, 0]
            assert (await codes(peer, asks.pull(group="one-more")))[0] == [0]

    simulate(1, scenario)


def test_a_groups_settings():
    """Free text in a group's settings, and numbers beyond Java's ints, are refused."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            for members in (
                {"attributes": {"a": "x" * 70_000}},
                {"attributes": {f"a{n}": "x" for n in range(10_000)}},
                {"subscriptionDataSet": [{"topic": "x" * 70_000}]},
                {"groupRetryPolicy": {"customizedRetryPolicy": {"next": list(range(20_000))}}},
                {"retryMaxTimes": 2**31},
                {"retryQueueNums": -(2**40)},
                {"retryQueueNums": 1_025},
            ):
                answer = await peer.ask(asks.put_group("hostile", **members))
                assert answer.code == 29, members
            assert target.parts.groups.get("hostile") is None

    simulate(1, scenario)


def test_consumer_offsets():
    """15 and a pull's commit stop at the table's limit; entries that are there still move."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            await codes(peer, *(asks.send() for _ in range(3)))
            target.parts.offsets.entries_max = target.parts.offsets.entries + 2
            for group in ("a", "b", "c", "d"):
                await peer.ask(asks.put_group(group))
            done, _ = await codes(peer, *(asks.commit(group, "hostile", 1) for group in "ab"))
            assert done == [0, 0]
            for ask in (asks.commit("c", "hostile", 1), asks.pull(group="d", commit=1)):
                refused, remark = await codes(peer, ask)
                assert (refused, "consumer offsets in use" in remark) == ([1], True)
            assert (await codes(peer, asks.commit("a", "hostile", 3)))[0] == [0]
            assert target.parts.offsets.query("a", "hostile", 0) == 3

    simulate(1, scenario)


def test_locks():
    """A request that gets none of its queues because the table is full is told so; held ones are
    renewed; a full table is not searched once for every queue that is asked for."""

    async def scenario(world):
        async with attacked(world) as target:
            locks = target.parts.locks
            locks.locks_max = 3
            peer = await target.peer()
            answer = await peer.ask(asks.lock("g", *(f"t{n}" for n in range(5))))
            assert len(json.loads(answer.body)["lockOKMQSet"]) == 3
            refused, remark = await codes(peer, asks.lock("h", "t0", "t1"))
            assert (refused, "limit 3" in remark) == ([2], True)
            answer = await peer.ask(asks.lock("g", "t0", "t9"))
            assert len(json.loads(answer.body)["lockOKMQSet"]) == 1
            searched = 0
            forget = locks.forget_expired

            def counted(now):
                nonlocal searched
                searched += 1
                forget(now)

            locks.forget_expired = counted
            await peer.ask(asks.lock("h", *(f"t{n}" for n in range(5_000))))
            assert searched <= 1
            await trio.sleep(61)
            assert (await codes(await target.peer(), asks.lock("h", "t0")))[0] == [0]

    simulate(1, scenario)


def test_what_a_lock_may_name():
    """A lock is small: each of its names has a bound, and so has a request."""
    too_long = {
        "client": asks.lock("g", "t", client="x" * 300),
        "broker": asks.lock("g", "t", broker="x" * 300),
        "topic": asks.lock("g", "x" * 300),
        "group": asks.lock("x" * 300, "t"),
        "count": asks.lock("g", *(f"t{n}" for n in range(10_001))),
    }

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            for what, ask in too_long.items():
                assert (await peer.ask(ask)).code == 29, what
            assert target.parts.locks.held == 0

    simulate(1, scenario)


def test_members():
    """Past the limit of (client, group) pairs a heartbeat is refused, known members renew, and a
    connection that ends makes room."""

    async def scenario(world):
        async with attacked(world) as target:
            target.parts.sessions.channels_max = 4
            first, second = await target.peer(), await target.peer()
            assert (await codes(first, asks.heartbeat("a", "b", "c")))[0] == [0]
            refused, remark = await codes(second, asks.heartbeat("a", "b", client="d"))
            assert (refused, "channels_max=4" in remark) == ([2], True)
            assert (await codes(first, asks.heartbeat("a", "b", "c")))[0] == [0]
            await first.stream.aclose()
            await trio.sleep(0.1)
            assert (await codes(second, asks.heartbeat("a", "b", client="d")))[0] == [0]

    simulate(1, scenario)


def test_the_route_table():
    """103 and 217 stop at the limits of brokers, topics and entries, and name them."""
    routes = RoutesSection(brokers_max=3, topics_max=30, topics_per_registration_max=30)

    def register(broker, topics):
        table = {f"{broker}-{n}": {"topicName": f"{broker}-{n}"} for n in range(topics)}
        body = json.dumps({"topicConfigSerializeWrapper": {"topicConfigTable": table}}).encode()
        return asks.ask(
            RequestCode.REGISTER_BROKER,
            body=body,
            brokerName=broker,
            brokerAddr=f"{broker}:1",
            clusterName="c",
            haServerAddr="x:2",
            brokerId="0",
        )

    async def scenario(world):
        async with attacked(world, nameserver={"routes": routes}) as target:
            peer = await target.peer("nameserver")
            for ask, limit in (
                (register("b1", 31), "routes.topics_per_registration_max"),
                (register("b1", 30), "routes.topics_max"),
                (register("b1", 5), ""),
                (register("b2", 5), ""),
                (register("b3", 5), "routes.brokers_max"),
            ):
                answer = await peer.ask(ask)
                assert (answer.code, limit in (answer.remark or "")) == (1 if limit else 0, True)
            await peer.stream.aclose()  # what the connection spoke for goes with it
            await trio.sleep(0.1)
            assert set(target.nameserver.table.brokers) == {"b0"}

    simulate(1, scenario)


def test_key_value_settings():
    """100 has a limit for each length, and answers 0 only for what is kept."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer("nameserver")
            fields = {"namespace": "n", "key": "k", "value": "v"}
            for name, longest in (("namespace", 1_024), ("key", 1_024), ("value", 64 << 10)):
                for size, code in ((longest, 0), (longest + 1, 1)):
                    put = asks.ask(RequestCode.PUT_KV_CONFIG, **{**fields, name: "x" * size})
                    done, remark = await codes(peer, put)
                    assert (done, code == 0 or str(longest) in remark) == ([code], True)
            kept = sum(map(len, target.nameserver.kv._tables.values()))
            assert kept == 3

    simulate(1, scenario)
