"""The Java client's ways to send: each message arrives whole and once, under both headers."""

from collections import defaultdict
from typing import Any

import pytest

from tests.interop.clusters import Cluster
from tests.interop.driver import ClientError, Driver

MIB = 1 << 20
QUEUES = 4  # of a topic that a Java producer creates: its own 4, the template's 8
ZLIB = 0x300  # the bit COMPRESSED itself is gone: the reader has undone it


def by_queue(results: list[dict[str, Any]]) -> dict[int, list[int]]:
    """Queue offsets of results or messages, by queue, in the order of the list."""
    found = defaultdict(list)
    for each in results:
        found[each["queueId"]].append(each["queueOffset"])
    return dict(found)


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    return sorted(message["body"] for message in messages)


def numbered(count: int) -> list[str]:
    return sorted(f"m{number}" for number in range(count))


def test_synchronous_sends_fill_each_queue_densely(
    cluster: Cluster, any_driver: Driver, topic: str, group: str
) -> None:
    """The first send creates the topic; each result tells the offset at which the message lies."""
    results = any_driver.ask(cluster, "send", "sync", topic, 20)
    assert {result["status"] for result in results} == {"SEND_OK"}
    told = by_queue(results)
    assert len(told) == QUEUES, "queues take turns"
    assert len(any_driver.ask(cluster, "offsets", topic)) == QUEUES
    assert all(offsets == list(range(len(offsets))) for offsets in told.values())
    messages = any_driver.ask(cluster, "pull", group, topic)
    assert bodies(messages) == numbered(20)
    assert by_queue(messages) == told


def test_asynchronous_sends_each_call_back_with_success(
    cluster: Cluster, any_driver: Driver, topic: str, group: str
) -> None:
    """Fifty sends in flight on one connection get fifty different answers."""
    results = any_driver.ask(cluster, "send", "async", topic, 50)
    assert [result["status"] for result in results] == ["SEND_OK"] * 50
    assert len({(result["queueId"], result["queueOffset"]) for result in results}) == 50
    assert bodies(any_driver.ask(cluster, "pull", group, topic)) == numbered(50)


def test_one_way_sends_arrive_although_nobody_answers(
    cluster: Cluster, any_driver: Driver, topic: str, group: str
) -> None:
    """A synchronous send behind them on the same connection proves that they were handled."""
    any_driver.ask(cluster, "send", "oneway", topic, 20)
    any_driver.ask(cluster, "send", "sync", topic, 1, body="last")
    messages = any_driver.ask(cluster, "lite", group, topic, count=21)
    assert bodies(messages) == sorted([*numbered(20), "last0"])


def test_a_batch_lies_in_one_queue_without_a_gap(
    cluster: Cluster, any_driver: Driver, topic: str, group: str
) -> None:
    """One request carries ten messages; its result names each of them, and each reads alone."""
    (result,) = any_driver.ask(cluster, "send", "batch", topic, 10, tag="TagA", key="key")
    assert result["status"] == "SEND_OK"
    assert len(result["msgId"].split(",")) == 10
    assert len(set(result["offsetMsgId"].split(","))) == 10
    messages = any_driver.ask(cluster, "pull", group, topic)
    first = result["queueOffset"]
    assert by_queue(messages) == {result["queueId"]: list(range(first, first + 10))}
    assert [message["body"] for message in messages] == [f"m{number}" for number in range(10)]
    assert [message["keys"] for message in messages] == [f"key{number}" for number in range(10)]
    assert [message["offsetMsgId"] for message in messages] == result["offsetMsgId"].split(",")


@pytest.mark.parametrize("options", [{}, {"random": "true"}], ids=["compressible", "random"])
def test_a_mebibyte_comes_back_as_it_was(
    cluster: Cluster, any_driver: Driver, topic: str, group: str, options: dict[str, str]
) -> None:
    """The client compresses and sets the flag; the broker keeps both as they are."""
    (result,) = any_driver.ask(cluster, "send", "sync", topic, 1, size=MIB, **options)
    assert result["status"] == "SEND_OK"
    (message,) = any_driver.ask(cluster, "pull", group, topic)
    assert message["size"] == MIB
    assert message["sysFlag"] & ZLIB == ZLIB
    assert (message["stored_size"] > MIB) is bool(options), "what was stored is the compressed body"


def test_a_body_above_the_limit_is_illegal_and_harms_nobody(
    cluster: Cluster, any_driver: Driver, topic: str, group: str
) -> None:
    """5 MiB against a limit of 4 MiB: code 13, at once; the next send on the connection works."""
    with pytest.raises(ClientError) as caught:
        any_driver.ask(cluster, "send", "sync", topic, 1, size=5 * MIB, random="true")
    assert caught.value.code == 13
    any_driver.ask(cluster, "send", "sync", topic, 1)
    assert bodies(any_driver.ask(cluster, "pull", group, topic)) == ["m0"]


def test_keys_tags_and_properties_travel_with_the_message(
    cluster: Cluster, any_driver: Driver, topic: str, group: str
) -> None:
    """The consumer sees what the producer set, beside what the broker adds."""
    (result,) = any_driver.ask(
        cluster, "send", "sync", topic, 1, tag="TagA", key="order", property="colour:blue-grün"
    )
    (message,) = any_driver.ask(cluster, "pull", group, topic)
    assert (message["tags"], message["keys"]) == ("TagA", "order0")
    assert message["properties"]["colour"] == "blue-grün"
    assert message["properties"]["UNIQ_KEY"] == message["msgId"] == result["msgId"]
    assert message["properties"]["CLUSTER"] == "DefaultCluster"
    assert message["offsetMsgId"] == result["offsetMsgId"]
    assert message["bornHost"] == "127.0.0.1"


def test_a_large_property_set_is_stored_up_to_its_limit(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """30,000 bytes of properties are kept, 33,000 are illegal (13): their length is a short."""
    driver.ask(cluster, "send", "sync", topic, 1, property="long:" + "x" * 30_000)
    (message,) = driver.ask(cluster, "pull", group, topic)
    assert message["properties"]["long"] == "x" * 30_000
    with pytest.raises(ClientError) as caught:
        driver.ask(cluster, "send", "sync", topic, 1, property="long:" + "x" * 33_000)
    assert caught.value.code == 13
