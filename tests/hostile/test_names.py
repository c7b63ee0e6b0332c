"""Names with path parts, control characters and everything else that no name may have, on every
request that could create or delete something by them."""

import json

from broker_trio.model.codes import RequestCode
from broker_trio.testing.simulate import simulate
from tests.hostile import asks
from tests.hostile.programs import attacked
from tests.hostile.variants import ILLEGAL_NAMES

TOPICS = {
    "a send": asks.send,
    "a send in V1": lambda name: asks.ask(
        RequestCode.SEND_MESSAGE,
        body=b"x",
        producerGroup="p",
        topic=name,
        defaultTopic="TBW102",
        defaultTopicQueueNums="1",
        queueId="0",
        sysFlag="0",
        bornTimestamp="0",
        flag="0",
    ),
    "a batch": lambda name: asks.send(name, m="true"),
    "a send by a template of that name": lambda name: asks.send("hostile2", c=name),
    "17": asks.create_topic,
    "18": lambda name: asks.put_topics({"topicName": name}),
    "215": lambda name: asks.ask(RequestCode.DELETE_TOPIC_IN_BROKER, topic=name),
    "15": lambda name: asks.commit("hostile", name, 1),
    "a pull": lambda name: asks.pull(name, commit=1),
    "222": lambda name: asks.ask(
        RequestCode.INVOKE_BROKER_TO_RESET_OFFSET,
        topic=name,
        group="hostile",
        timestamp="0",
        isForce="true",
    ),
    "353": lambda name: asks.ask(
        RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN, topic=name, group="hostile", readable="false"
    ),
    "314, a topic": lambda name: asks.ask(
        RequestCode.CLONE_GROUP_OFFSET, srcGroup="hostile", destGroup="hostile", topic=name
    ),
    "41": lambda name: asks.lock("hostile", name),
}
GROUPS = {
    "a heartbeat": asks.heartbeat,
    "a pull": lambda name: asks.pull("hostile", name, commit=1),
    "36": lambda name: asks.send_back(0, name),
    "15": lambda name: asks.commit(name, "hostile", 1),
    "200": asks.put_group,
    "225": lambda name: asks.ask(
        RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
        body=json.dumps({"groupConfigList": [{"groupName": name}]}).encode(),
    ),
    "207": lambda name: asks.ask(
        RequestCode.DELETE_SUBSCRIPTIONGROUP, groupName=name, cleanOffset="true"
    ),
    "222": lambda name: asks.ask(
        RequestCode.INVOKE_BROKER_TO_RESET_OFFSET,
        topic="hostile",
        group=name,
        timestamp="0",
        isForce="true",
    ),
    "314": lambda name: asks.ask(
        RequestCode.CLONE_GROUP_OFFSET, srcGroup="hostile", destGroup=name, topic="hostile"
    ),
    "353": lambda name: asks.ask(
        RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN, topic="hostile", group=name, readable="false"
    ),
    "41": lambda name: asks.lock(name, "hostile"),
    "a send to its retry topic": lambda name: asks.send("%RETRY%" + name),
}
DELETES = {"215", "207", "a heartbeat"}
"""Answered 0 whatever the name: there is nothing of it (and a heartbeat skips such a group)."""
REFUSALS = {1, 16, 17, 24, 26, 29}


def tables(parts):
    """What a request may have made: topics, groups, offsets, queues, locks."""
    queues = {(queue.topic, queue.queue_id) for queue in parts.store.queues}
    locked = sum(map(len, parts.locks._groups.values()))
    offsets = dict(parts.offsets.table)
    return set(parts.topics.table), set(parts.groups.table), offsets, queues, locked


async def check(world, ways):
    """Each name is refused by each of these requests, and nothing anywhere has it."""
    async with attacked(world) as target:
        peer = await target.peer()
        for setup in (asks.send(), asks.put_group("hostile"), asks.commit("hostile", "hostile", 0)):
            assert (await peer.ask(setup)).code == 0
        for way, make in ways.items():
            before = tables(target.parts)
            for name in ILLEGAL_NAMES:
                if not name and way == "314, a topic":
                    continue  # there it means all topics
                answer = await peer.ask(make(name))
                allowed = {0} if way in DELETES else REFUSALS
                assert answer.code in allowed, f"{way} {name[:40]!r}: {answer.remark}"
                assert len(answer.remark or "") < 2_000
            assert tables(target.parts) == before, way
        await target.parts.store.queues.flush()  # a good client's queues get their files, too
        folders = {path.split("/")[1] for path in target.files() if "consumequeue/" in path}
        assert folders <= {"hostile", "good"}


def test_no_request_takes_an_illegal_topic():
    """Path parts, control characters, blanks, other alphabets, 60 KiB: refused, nothing made."""
    simulate(1, lambda world: check(world, TOPICS))


def test_no_request_takes_an_illegal_group():
    """The same for groups, from which topics are made."""
    simulate(1, lambda world: check(world, GROUPS))


def test_a_poisoned_topic_does_not_unregister_the_broker():
    """A topic that a nameserver would refuse is refused by the broker: its whole registration,
    and with it every topic's route, hangs on each single one."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer()
            for flag in ("-1", "2147483648", "-2147483648"):
                answer = await peer.ask(asks.create_topic("poison", topicSysFlag=flag))
                assert answer.code in {1, 29}
            for members in (
                {"topicSysFlag": -1},
                {"topicSysFlag": 2**40},
                {"perm": 16},
                {"perm": -1},
                {"readQueueNums": 70_000},
                {"writeQueueNums": -1},
                {"topicFilterType": "x" * 1_000},
                {"attributes": {"+a": "b"}},
            ):
                answer = await peer.ask(asks.put_topics({"topicName": "poison", **members}))
                assert answer.code in {1, 29}, members
            assert target.parts.topics.get("poison") is None

    simulate(1, scenario)


def test_a_nameserver_takes_no_control_characters():
    """What brokers register is shown to every client; 217 and 103 refuse what is not printable."""

    async def scenario(world):
        async with attacked(world) as target:
            peer = await target.peer("nameserver")

            def register(topic="T", **more):
                fields = {
                    "brokerName": "evil",
                    "brokerAddr": "10.9.9.9:1",
                    "clusterName": "c",
                    "haServerAddr": "10.9.9.9:2",
                    "brokerId": "0",
                }
                table = {name: {"topicName": name} for name in (topic, "U")}
                body = {"topicConfigSerializeWrapper": {"topicConfigTable": table}}
                data = json.dumps(body).encode()
                return asks.ask(RequestCode.REGISTER_BROKER, body=data, **{**fields, **more})

            assert (await peer.ask(register())).code == 0
            before = target.nameserver.table.fingerprint
            for bad in ("\0", "a\nb", "\x1b[2J", "\x01\x02", "\u202egnp", " ", "x" * 256):
                for refused in (
                    register(bad),
                    register(brokerName=bad),
                    register(clusterName=bad),
                    register(brokerAddr=bad),
                    asks.ask(
                        RequestCode.REGISTER_TOPIC_IN_NAMESRV,
                        topic=bad,
                        body=b'{"queueDatas":[{"brokerName":"evil"}]}',
                    ),
                ):
                    answer = await peer.ask(refused)
                    assert answer.code == 1, f"{bad[:20]!r} {refused.ext}"
            assert target.nameserver.table.fingerprint == before
            assert (await peer.ask(asks.ask(RequestCode.GET_BROKER_CLUSTER_INFO))).code == 0

    simulate(1, scenario)
