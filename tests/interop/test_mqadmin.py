"""Apache's admin tool against both makes: every command ends well and prints what it should.

The commands that only look run in one go, once for each make; each has a test of its own.
"""

import re
from typing import Any

import pytest

from tests.interop.clusters import Cluster
from tests.interop.driver import Driver

TOPIC, GROUP, COUNT = "AdminTopic", "admin-group", 8
DAY = r"\d\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d"

COMMANDS = {
    "clusterList": "clusterList",
    "clusterList -m": "clusterList -m",
    "topicList": "topicList",
    "topicList -c": "topicList -c DefaultCluster",
    "topicRoute": "topicRoute -t {topic}",
    "topicStatus": "topicStatus -t {topic}",
    "topicClusterList": "topicClusterList -t {topic}",
    "consumerProgress -g": "consumerProgress -g {group}",
    "consumerProgress": "consumerProgress",
    "consumerConnection": "consumerConnection -g {group}",
    "consumerStatus": "consumerStatus -g {group}",
    "producerConnection": "producerConnection -g interop_producer -t {topic}",
    "brokerStatus": "brokerStatus -b {broker}",
    "brokerConsumeStats": "brokerConsumeStats -b {broker}",
    "queryMsgById": "queryMsgById -t {topic} -i {offset_id}",
    "queryMsgByUniqueKey": "queryMsgByUniqueKey -t {topic} -i {unique_id}",
    "queryMsgByKey": "queryMsgByKey -t {topic} -k key3",
    "queryMsgByOffset": "queryMsgByOffset -t {topic} -b {name} -i 0 -o 1",
    "printMsg": "printMsg -t {topic}",
    "getBrokerConfig": "getBrokerConfig -b {broker}",
    "getNamesrvConfig": "getNamesrvConfig",
}
EXPECTED = {
    "clusterList": [r"DefaultCluster +{name} +0 +{broker} +V5_\d_\d+ +\d+\.\d\d\(0,0ms\)"],
    "clusterList -m": [r"DefaultCluster +{name}( +\d+)+"],
    "topicList": [r"^{topic}$", r"^TBW102$", r"^%RETRY%{group}$", r"^SCHEDULE_TOPIC_XXXX$"],
    "topicList -c": [r"DefaultCluster +{topic} +{group}"],
    "topicRoute": [r'0:"{broker}"', r'"perm":6', r'"readQueueNums":4', r'"brokerName":"{name}"'],
    "topicStatus": [rf"^{{name}} +{queue} +0 +2 +{DAY},\d\d\d" for queue in range(4)],
    "topicClusterList": [r"^DefaultCluster$"],
    "consumerProgress -g": [
        *[rf"^{{topic}} +{{name}} +{queue} +2 +2 +0 +0 +{DAY}" for queue in range(4)],
        r"Consume Diff Total: 0",
    ],
    "consumerProgress": [r"^{group} +1 +V5_4_0 +PUSH +CLUSTERING +\d+ +0"],
    "consumerConnection": [
        r"127\.0\.0\.1:\d+ +JAVA +V5_4_0",
        r"{topic} +\*",
        r"ConsumeType: CONSUME_PASSIVELY",
        r"ConsumeFromWhere: CONSUME_FROM_FIRST_OFFSET",
    ],
    "consumerStatus": [r"Same subscription in the same group", r"Rebalance OK"],
    "producerConnection": [r"127\.0\.0\.1:\d+ +JAVA +V5_4_0"],
    "brokerStatus": [
        r"^brokerVersionDesc +: V5_",
        r"^commitLogMaxOffset +: [1-9]\d*",
        r"^msgPutTotalTodayNow +: [1-9]\d*",
        r"^runtime +: \[ \d+ days, \d+ hours, \d+ minutes, \d+ seconds \]",
        r"^putTps +: (\d+\.\d+ ?)*",
    ],
    "brokerConsumeStats": [r"{topic} +{group} +{name} +0 +2 +2 +0"],
    "queryMsgById": [
        r"OffsetID: +{offset_id}",
        r"Topic: +{topic}",
        r"Tags: +\[TagA\]",
        r"Keys: +\[key0\]",
        r"Store Host: +{broker}",
        r"consumerGroup={group}, trackType=CONSUMED",
    ],
    "queryMsgByUniqueKey": [r"Keys: +\[key0\]", r"consumerGroup={group}, trackType=CONSUMED"],
    "queryMsgByKey": [r"^[0-9A-F]{{32,}} +\d +0 .*@{topic}@K@key3@"],
    "queryMsgByOffset": [r"Queue ID: +0", r"Queue Offset: +1"],
    "printMsg": [r"minOffset=0, maxOffset=2", r"MSGID: {unique_id}"],
    "getBrokerConfig": [
        r"^brokerName += +{name}",
        r"^brokerClusterName += +DefaultCluster",
        r"^brokerRole += +ASYNC_MASTER",
        r"^flushDiskType += +ASYNC_FLUSH",
        r"^listenPort += +{port}",
        r"^maxMessageSize += +4194304",
        r"^namesrvAddr += +{nameserver}",
    ],
    "getNamesrvConfig": [r"^listenPort += +\d+", r"^supportActingMaster += +false"],
}
WRONG = re.compile(r"Exception|^\s+at org\.|usage: mqadmin", re.MULTILINE)
_printed: dict[str, dict[str, str]] = {}


@pytest.fixture
def printed(cluster: Cluster, driver: Driver) -> dict[str, str]:
    """What each command printed, with the facts that the expectations name beside it."""
    if cluster.name not in _printed:
        made = f"updateTopic -b {cluster.broker} -t {TOPIC} -r 4 -w 4".split()
        assert "success" in driver.ask(cluster, "mqadmin", *made)
        result = driver.ask(cluster, "send", "sync", TOPIC, COUNT, tag="TagA", key="key")[0]
        driver.ask(cluster, "subscribe", GROUP, TOPIC, group=GROUP)
        driver.ask(cluster, "got", GROUP, count=COUNT)
        while "Diff Total: 0" not in driver.ask(
            cluster, "mqadmin", "consumerProgress", "-g", GROUP
        ):
            """Offsets are told every 5 s."""
        names = facts(cluster) | {
            "offset_id": result["offsetMsgId"],
            "unique_id": result["msgId"],
        }
        _printed[cluster.name] = names | {
            name: driver.ask(cluster, "mqadmin", *command.format(**names).split())
            for name, command in COMMANDS.items()
        }
        driver.ask(cluster, "stop", GROUP)
    return _printed[cluster.name]


def facts(cluster: Cluster) -> dict[str, str]:
    return {
        "topic": TOPIC,
        "group": GROUP,
        "broker": cluster.broker,
        "port": cluster.broker.rpartition(":")[2],
        "name": cluster.broker_name,
        "nameserver": cluster.nameserver,
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_looks_prints_what_is_there(printed: dict[str, Any], command: str) -> None:
    """No exception, no stack trace, and every fact in the place where operators read it."""
    text = printed[command]
    assert not WRONG.search(text), text
    names = {name: re.escape(value) for name, value in printed.items() if name not in COMMANDS}
    for pattern in EXPECTED[command]:
        assert re.search(pattern.format(**names), text, re.MULTILINE), (pattern, text)


def test_a_topic_is_created_changed_and_routed_at_once(
    cluster: Cluster, driver: Driver, topic: str
) -> None:
    """Registration comes before the reply, so the route is there when the command ends."""
    for queues in (3, 5):
        words = f"updateTopic -c DefaultCluster -t {topic} -r {queues} -w {queues} -p 6".split()
        text = driver.ask(cluster, "mqadmin", *words)
        assert f"create topic to {cluster.broker} success" in text
        assert f"readQueueNums={queues}" in text
        route = driver.ask(cluster, "mqadmin", "topicRoute", "-t", topic)
        assert f'"readQueueNums":{queues}' in route
        assert f'"writeQueueNums":{queues}' in route


def test_a_reset_by_time_makes_a_group_read_again(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Offsets of a group that is not there now go back to the start; its next member sees all."""
    driver.ask(cluster, "send", "sync", topic, 12)
    driver.ask(cluster, "subscribe", group, topic, group=group)
    driver.ask(cluster, "got", group, count=12)
    driver.ask(cluster, "stop", group)
    reset = ["resetOffsetByTime", "-g", group, "-t", topic, "-s", "0"]
    text = driver.ask(cluster, "mqadmin", *reset)
    assert not WRONG.search(text), text
    for queue in range(4):
        assert re.search(rf"^{cluster.broker_name} +{queue} +0 *$", text, re.MULTILINE), text
    driver.ask(cluster, "subscribe", group, topic, group=group)
    assert len(driver.ask(cluster, "got", group, count=12)) == 12
    driver.ask(cluster, "stop", group)


def test_a_reset_reaches_a_group_that_is_there(
    ours: Cluster, apache: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Its pulls are told to go back; the client itself then waits ten seconds, so both at once."""
    both = (ours, apache)
    for cluster in both:
        name = f"{group}-{cluster.name}"
        driver.ask(cluster, "send", "sync", topic, 8)
        driver.ask(cluster, "subscribe", name, topic, group=group)
        driver.ask(cluster, "got", name, count=8)
        reset = ["resetOffsetByTime", "-g", group, "-t", topic, "-s", "0"]
        assert not WRONG.search(driver.ask(cluster, "mqadmin", *reset))
    jobs = [
        driver.start(cluster, "got", f"{group}-{cluster.name}", count=16, ms=40_000)
        for cluster in both
    ]
    for job in jobs:
        bodies = [message["body"] for message in job.result(45)]
        assert sorted(set(bodies)) == [f"m{number}" for number in range(8)]
        assert len(bodies) == 16
    for cluster in both:
        driver.ask(cluster, "stop", f"{group}-{cluster.name}")


def test_a_subscription_group_is_created_with_what_was_asked(
    cluster: Cluster, driver: Driver, group: str
) -> None:
    """The broker answers with the group's settings afterwards."""
    words = f"updateSubGroup -b {cluster.broker} -g {group} -r 3 -q 2 -d true".split()
    text = driver.ask(cluster, "mqadmin", *words)
    assert f"create subscription group to {cluster.broker} success" in text
    for setting in (f"groupName={group}", "retryMaxTimes=3", "retryQueueNums=2"):
        assert setting in text
