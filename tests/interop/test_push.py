"""The push consumer: balance, broadcast, order, filters, second tries, delays."""

from collections import Counter, defaultdict
from typing import Any

from tests.interop.clusters import Cluster
from tests.interop.driver import Driver

QUEUES = 4  # of a topic that a Java producer creates by sending


def numbers(messages: list[dict[str, Any]]) -> list[str]:
    return sorted(message["body"] for message in messages)


def numbered(count: int, word: str = "m") -> list[str]:
    return sorted(f"{word}{number}" for number in range(count))


def make(driver: Driver, cluster: Cluster, topic: str) -> None:
    """An empty topic, so that consumers can settle before the first message."""
    words = f"updateTopic -b {cluster.broker} -t {topic} -r {QUEUES} -w {QUEUES}".split()
    assert "success" in driver.ask(cluster, "mqadmin", *words)


def name_of(group: str, number: int) -> str:
    """A consumer's name in the driver."""
    return f"{group}-{number}"


def test_two_instances_share_a_topic_and_the_one_that_stays_takes_over(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Clustering: two queues each, each message once; when one leaves, the other has all four."""
    make(driver, cluster, topic)
    one, two = name_of(group, 1), name_of(group, 2)
    driver.ask(cluster, "subscribe", one, topic, group=group)
    assert len(driver.ask(cluster, "queues", one, count=QUEUES)) == QUEUES
    driver.ask(cluster, "subscribe", two, topic, group=group)
    held = [driver.ask(cluster, "queues", name, count=QUEUES // 2) for name in (one, two)]
    assert sorted(held[0] + held[1]) == list(range(QUEUES))

    driver.ask(cluster, "send", "sync", topic, 40)  # one thread: ten for each queue
    seen = [driver.ask(cluster, "got", name, count=20) for name in (one, two)]
    assert numbers(seen[0] + seen[1]) == numbered(40)
    for messages, queues in zip(seen, held, strict=True):
        assert {message["queueId"] for message in messages} == set(queues)

    driver.ask(cluster, "stop", one)
    assert driver.ask(cluster, "queues", two, count=QUEUES) == list(range(QUEUES))
    driver.ask(cluster, "send", "sync", topic, 20, body="last")
    driver.ask(cluster, "got", two, count=40)
    messages = driver.ask(cluster, "stop", two)
    assert numbers([each for each in messages if each["body"].startswith("last")]) == numbered(
        20, "last"
    )


def test_broadcasting_gives_every_instance_every_message(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Both instances hold all queues at the same time."""
    driver.ask(cluster, "send", "sync", topic, 20)
    names = [name_of(group, number) for number in (1, 2)]
    for name in names:
        driver.ask(cluster, "subscribe", name, topic, group=group, model="BROADCASTING")
    for name in names:
        assert len(driver.ask(cluster, "queues", name, count=QUEUES)) == QUEUES
        assert numbers(driver.ask(cluster, "got", name, count=20)) == numbered(20)
    for name in names:
        assert len(driver.ask(cluster, "stop", name)) == 20


def test_orderly_consumers_keep_each_queue_in_order_and_share_none(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """The broker's locks give each queue to one instance, which sees it in the order sent."""
    make(driver, cluster, topic)
    names = [name_of(group, number) for number in (1, 2)]
    for name in names:
        driver.ask(cluster, "subscribe", name, topic, group=group, ordered="true")
    held = [driver.ask(cluster, "queues", name, count=QUEUES // 2) for name in names]
    assert sorted(held[0] + held[1]) == list(range(QUEUES))
    driver.ask(cluster, "send", "ordered", topic, 60)
    seen: dict[int, list[int]] = defaultdict(list)
    for name, queues in zip(names, held, strict=True):
        mine = [queue for queue in queues if queue < 3]  # `ordered` sends to queues 0, 1 and 2
        for message in driver.ask(cluster, "got", name, count=20 * len(mine)):
            assert message["queueId"] in mine
            seen[message["queueId"]].append(int(message["body"][1:]))
    for name in names:
        driver.ask(cluster, "stop", name)
    assert {queue: len(order) for queue, order in seen.items()} == {0: 20, 1: 20, 2: 20}
    assert all(order == sorted(order) for order in seen.values())


def test_a_tag_expression_lets_through_what_it_names(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Of three tags sent alike often, two are subscribed to; the third never arrives."""
    driver.ask(cluster, "send", "sync", topic, 30, tags="TagA,TagB,TagC")
    driver.ask(cluster, "subscribe", group, topic, group=group, filter="TagA||TagC")
    driver.ask(cluster, "got", group, count=20)
    driver.ask(cluster, "send", "sync", topic, 3, tags="TagA,TagB,TagC", body="late")
    driver.ask(cluster, "got", group, count=22)
    tags = Counter(message["tags"] for message in driver.ask(cluster, "stop", group))
    assert tags == {"TagA": 11, "TagC": 11}


def test_what_is_consumed_later_comes_again_then_goes_to_the_dead_letters(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Level 1: again after a second, counted; past one retry it lies in %DLQ% and not before."""
    driver.ask(cluster, "send", "sync", topic, 2, tag="TagA", key="key")
    driver.ask(cluster, "subscribe", group, topic, group=group, fail=9, level=1, max=1)
    messages = driver.ask(cluster, "got", group, count=4)
    tries = sorted((message["body"], message["reconsumeTimes"]) for message in messages)
    assert tries == [("m0", 0), ("m0", 1), ("m1", 0), ("m1", 1)]
    assert {message["topic"] for message in messages} == {topic}, "the real topic, both times"
    assert len({(message["msgId"]) for message in messages}) == 2, "the same unique key, both times"
    for body in ("m0", "m1"):
        first, again = (m["at"] for m in messages if m["body"] == body)
        assert again - first >= 900
    dead = driver.ask(cluster, "lite", f"{group}-dead", f"%DLQ%{group}", count=2)
    assert numbers(dead) == ["m0", "m1"]
    assert {message["properties"]["RETRY_TOPIC"] for message in dead} == {topic}
    assert {message["properties"]["KEYS"] for message in dead} == {"key0", "key1"}
    assert len(driver.ask(cluster, "stop", group)) == 4, "the dead stay dead"


def test_a_message_that_succeeds_on_its_second_try_does_not_come_a_third_time(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Ten messages fail once each: twenty deliveries, and none follows within a second."""
    driver.ask(cluster, "send", "sync", topic, 10)
    driver.ask(cluster, "subscribe", group, topic, group=group, fail=1, level=1)
    driver.ask(cluster, "got", group, count=20)
    messages = driver.ask(cluster, "got", group, count=21, ms=1_500)
    tries = Counter((message["body"], message["reconsumeTimes"]) for message in messages)
    assert tries == {(f"m{number}", again): 1 for number in range(10) for again in (0, 1)}
    driver.ask(cluster, "stop", group)


def test_a_delayed_message_arrives_when_it_is_due(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Level 1 is a second: not sooner, hardly later, under its own topic and its own key."""
    driver.ask(cluster, "send", "sync", topic, 1, body="create")
    driver.ask(cluster, "subscribe", group, topic, group=group)
    driver.ask(cluster, "got", group, count=1)
    (result,) = driver.ask(cluster, "send", "sync", topic, 1, delay=1)
    assert result["status"] == "SEND_OK"
    message = driver.ask(cluster, "got", group, count=2)[1]
    assert (message["body"], message["topic"]) == ("m0", topic)
    assert message["msgId"] == result["msgId"]
    assert 900 <= message["at"] - message["born"] < 5_000
    driver.ask(cluster, "stop", group)


def test_a_new_message_wakes_a_waiting_consumer(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Long polling: each of ten messages, sent one by one, is there well before the next poll."""
    driver.ask(cluster, "send", "sync", topic, 1, body="create")
    driver.ask(cluster, "subscribe", group, topic, group=group)
    driver.ask(cluster, "got", group, count=1)
    for number in range(10):
        driver.ask(cluster, "send", "sync", topic, 1, body=f"{number}-")
        driver.ask(cluster, "got", group, count=number + 2)
    delays = [message["at"] - message["stored"] for message in driver.ask(cluster, "stop", group)]
    assert sorted(delays[1:])[4] < 500, delays
