"""Our command line against both makes, with Java clients online: it shows what mqadmin shows.

Everything goes through the commands that people type; the Java driver produces, consumes and, for
comparison, runs Apache's own tool.
"""

import json
import re
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from broker_trio import connect
from broker_trio.cli.main import cli
from broker_trio.client.admin.admin import Admin
from broker_trio.model.codes import RequestCode
from broker_trio.wire.headers.send import ConsumerSendMsgBackRequestHeader
from tests.interop.clusters import Cluster
from tests.interop.driver import Driver

COUNT = 8


class Commands:
    """Commands against one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._environment = {"BROKER_TRIO_NAMESERVER": cluster.nameserver}

    def run(self, *words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, list(words), env=self._environment)
        assert result.exit_code == code, result.output
        return result

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code).stdout)


@pytest.fixture
def commands(cluster: Cluster) -> Commands:
    return Commands(cluster)


@pytest.fixture
def consumed(cluster: Cluster, driver: Driver, topic: str, group: str) -> dict[str, Any]:
    """A topic of four queues with eight messages, consumed by a Java member that stays online."""
    Commands(cluster).run("topic", "create", topic, "--queues", "4")
    sent = driver.ask(cluster, "send", "sync", topic, COUNT, tag="TagA", key="key")
    driver.ask(cluster, "subscribe", group, topic, group=group)
    driver.ask(cluster, "got", group, count=COUNT)
    yield {"first": sent[0]}
    driver.ask(cluster, "stop", group)


def until(commands: Commands, group: str, lag: int) -> dict[str, Any]:
    """The group's lag as soon as it is this much: a Java client tells its offsets every 5 s."""
    while True:
        (found,) = commands.json("group", "lag", group)["groups"]
        if found["queues"] and found["lag"] == lag:
            return found


def test_a_topic_and_a_group_are_made_and_seen_by_mqadmin(
    cluster: Cluster, driver: Driver, commands: Commands, topic: str, group: str
) -> None:
    """What we create, Apache's tool shows; what we change, it shows changed."""
    commands.run("topic", "create", topic, "--queues", "3")
    assert '"readQueueNums":3' in driver.ask(cluster, "mqadmin", "topicRoute", "-t", topic)
    commands.run("topic", "change", topic, "--perm", "r")
    assert '"perm":4' in driver.ask(cluster, "mqadmin", "topicRoute", "-t", topic)
    commands.run("group", "create", group, "--retries", "5")
    text = driver.ask(cluster, "mqadmin", "getConsumerConfig", "-g", group)
    assert re.search(r"retryMaxTimes +=  5", text), text
    assert commands.json("group", "describe", group)["brokers"][0]["retries"] == 5
    commands.run("group", "delete", group)
    if cluster.name == "ours":  # Apache's makes a group when asked, and needs timers to delete
        assert "no consumer group" in commands.run("group", "describe", group, code=1).stderr
        commands.run("topic", "delete", topic)
        assert "topic unknown to 1 of 1" in commands.run("topic", "route", topic, code=1).stderr


def test_topics_groups_and_members_are_shown(
    cluster: Cluster, commands: Commands, consumed: dict[str, Any], topic: str, group: str
) -> None:
    """State, counters, lag and the Java member with its subscription and its queues."""
    state = commands.json("topic", "describe", topic)
    assert (state["messages"], len(state["queues"])) == (COUNT, 4)
    assert topic in commands.run("topic", "list").stdout.split()
    assert commands.json("topic", "groups", topic)["groups"] == [group]
    lag = until(commands, group, 0)
    assert (
        sum(queue["consumer_offset"] for queue in lag["queues"] if queue["topic"] == topic) == COUNT
    )
    groups = {each["group"]: each for each in commands.json("group", "lag")["groups"]}
    assert groups[group]["lag"] == 0
    members = commands.json("client", "consumers", group)
    assert [each["language"] for each in members["clients"]] == ["JAVA"]
    assert {"topic": topic, "type": "TAG", "expression": "*"} in members["subscriptions"]
    info = commands.json("client", "info", group)
    assert sorted(q["queue"] for q in info["queues"] if q["topic"] == topic) == [0, 1, 2, 3]
    assert info["properties"]["PROP_CONSUME_TYPE"] == "CONSUME_PASSIVELY"
    clients = commands.json("client", "list")["clients"]
    assert {each["kind"] for each in clients if each["language"] == "JAVA"} == {
        "producer", "consumer",
    }  # fmt: skip


def test_messages_are_found_and_followed(
    commands: Commands, consumed: dict[str, Any], topic: str, group: str
) -> None:
    """By both ids, by key, by time, by place; and who consumed them."""
    first = consumed["first"]
    by_id = commands.json("message", "get", first["offsetMsgId"])
    assert (by_id["message_id"], by_id["properties"]["TAGS"]) == (first["msgId"], "TagA")
    assert commands.json("message", "get", first["msgId"], "--topic", topic) == by_id
    assert commands.json("message", "query", topic, "key0")["message_id"] == by_id["message_id"]
    found = commands.run("message", "query", topic, "--since", "10m", "--json").stdout
    assert len(found.splitlines()) == COUNT
    peeked = commands.run("message", "peek", topic, "--count", "1", "--json").stdout
    assert len(peeked.splitlines()) == 4
    until(commands, group, 0)
    (track,) = commands.json("message", "track", first["offsetMsgId"])["groups"]
    assert (track["group"], track["verdict"]) == (group, "consumed")


def test_a_reset_reaches_a_group_that_was_there(
    cluster: Cluster, driver: Driver, commands: Commands, topic: str, group: str
) -> None:
    """Shown first, done with --yes; the next member reads everything again."""
    commands.run("topic", "create", topic, "--queues", "4")
    driver.ask(cluster, "send", "sync", topic, COUNT)
    driver.ask(cluster, "subscribe", group, topic, group=group)
    driver.ask(cluster, "got", group, count=COUNT)
    driver.ask(cluster, "stop", group)
    reset = ("offset", "reset", group, topic, "--to", "first")
    assert f"{COUNT} messages to be consumed again" in commands.run(*reset, code=3).stderr
    assert sum(move["again"] for move in commands.json(*reset, "--yes")["queues"]) == COUNT
    assert commands.json("offset", "show", group)["lag"] == COUNT
    driver.ask(cluster, "subscribe", group, topic, group=group)
    assert len(driver.ask(cluster, "got", group, count=COUNT)) == COUNT
    driver.ask(cluster, "stop", group)


def test_dead_letters_are_counted_and_come_back_to_a_java_consumer(
    cluster: Cluster,
    driver: Driver,
    commands: Commands,
    consumed: dict[str, Any],
    topic: str,
    group: str,
) -> None:
    """The Java client gets the message once more, under the topic that it subscribed to."""
    message_id = consumed["first"]["offsetMsgId"]

    async def give_up() -> None:
        async with connect(cluster.nameserver) as mq:
            admin: Admin = mq.admin
            message = await admin.messages.by_id(message_id)
            header = ConsumerSendMsgBackRequestHeader(
                offset=message.physical_offset,
                group=group,
                delay_level=-1,
                origin_topic=topic,
                cause="no stock",
            )
            await mq.session.calls.ask(
                message.store_host, RequestCode.CONSUMER_SEND_MSG_BACK, header
            )

    anyio.run(give_up)
    groups = {each["group"]: each for each in commands.json("dlq", "list")["groups"]}
    assert (groups[group]["waiting"], groups[group]["total"]) == (1, 1)
    cause = "no stock" if cluster.name == "ours" else "given up by the consumer"
    assert commands.json("dlq", "count", group)["counts"] == [{"cause": cause, "messages": 1}]
    assert commands.json("dlq", "peek", group)["origin_topic"] == topic
    assert "up to 1 dead letters" in commands.run("dlq", "send-back", group, code=3).stderr
    assert commands.json("dlq", "send-back", group, "--yes")["sent"] == 1
    got = driver.ask(cluster, "got", group, count=COUNT + 1)
    again = [each for each in got if each["body"] == "m0"]
    assert len(again) == 2
    assert {each["topic"] for each in again} == {topic}
    assert commands.json("dlq", "send-back", group, "--yes")["sent"] == 0


def test_the_cluster_is_shown_set_and_drained(cluster: Cluster, commands: Commands) -> None:
    """Brokers with their rates, nameservers compared, settings, and no writes for a while."""
    (row,) = commands.json("cluster", "list")["brokers"]
    assert (row["broker"], row["address"]) == (cluster.broker_name, cluster.broker)
    assert 0 < row["disk_used_ratio"] < 1
    (nameserver,) = commands.json("cluster", "nameservers")["nameservers"]
    assert (nameserver["brokers"], nameserver["missing"]) == (1, [])
    assert (
        commands.json("cluster", "config", cluster.broker_name)["brokerName"] == cluster.broker_name
    )
    assert commands.json("cluster", "drain", cluster.broker_name)["topics"][cluster.nameserver] > 0
    commands.run("cluster", "undrain", cluster.broker_name)


def test_doctor_looks_at_both_makes(cluster: Cluster, commands: Commands) -> None:
    """Clock and disk of Apache's broker as well; the rest where the program is ours."""
    tree = commands.json("doctor")
    assert tree["verdict"]["fail"] == 0, tree
    fine = {(f["check"], f["subject"]) for f in tree["findings"] if f["level"] == "ok"}
    alone = cluster.broker_name  # one of two would be broker-a-0
    assert {("broker", alone), ("clock", alone), ("master", alone)} <= fine
    both_ways = {check for check, _ in fine} & {"way to nameserver"}
    assert both_ways == ({"way to nameserver"} if cluster.name == "ours" else set())
