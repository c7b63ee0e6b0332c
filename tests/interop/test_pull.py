"""Pulling by hand and by the lite consumer, committed offsets, offsets by time."""

from tests.interop.clusters import Cluster
from tests.interop.driver import Driver
from tests.interop.test_push import numbered, numbers


def test_pull_reads_every_queue_from_its_begin_to_its_end(
    cluster: Cluster, any_driver: Driver, topic: str, group: str
) -> None:
    """A hundred messages, more than one answer holds for a queue; a second reader gets the same."""
    any_driver.ask(cluster, "send", "batch", topic, 100)
    any_driver.ask(cluster, "send", "sync", topic, 4, body="single")
    expected = sorted([*numbered(100), *numbered(4, "single")])
    assert numbers(any_driver.ask(cluster, "pull", group, topic)) == expected
    assert numbers(any_driver.ask(cluster, "pull", f"{group}-other", topic)) == expected
    offsets = any_driver.ask(cluster, "offsets", topic)
    assert sum(queue["max"] for queue in offsets) == 104
    assert {queue["min"] for queue in offsets} == {0}


def test_pull_filters_by_tag_in_the_broker(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """The expression comes with each request, without any registration."""
    driver.ask(cluster, "send", "sync", topic, 30, tags="TagA,TagB,TagC")
    messages = driver.ask(cluster, "pull", group, topic, filter="TagB")
    assert {message["tags"] for message in messages} == {"TagB"}
    assert len(messages) == 10


def test_the_lite_consumer_goes_on_where_its_group_committed(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """The group's next member does not see again what was committed; another group sees all."""
    driver.ask(cluster, "send", "sync", topic, 20)
    assert numbers(driver.ask(cluster, "lite", group, topic, count=20)) == numbered(20)
    driver.ask(cluster, "send", "sync", topic, 8, body="later")
    messages = driver.ask(cluster, "lite", group, topic, count=9, ms=3_000)
    assert numbers(messages) == numbered(8, "later")
    other = driver.ask(cluster, "lite", f"{group}-other", topic, count=28)
    assert numbers(other) == sorted([*numbered(20), *numbered(8, "later")])


def test_an_offset_by_time_parts_before_from_after(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Searching for the moment of the fifth message in each queue gives the fifth."""
    driver.ask(cluster, "send", "sync", topic, 16)
    before = driver.ask(cluster, "pull", group, topic)
    moment = max(message["stored"] for message in before) + 1
    while driver.ask(cluster, "send", "sync", topic, 1, body="wait")[0]["status"] == "SEND_OK":
        waited = driver.ask(cluster, "pull", group, topic, time=moment)
        if waited:
            break
    driver.ask(cluster, "send", "sync", topic, 16, body="after")
    found = driver.ask(cluster, "pull", group, topic, time=moment)
    bodies = {message["body"] for message in found}
    assert bodies >= set(numbered(16, "after"))
    assert not bodies & set(numbered(16))
    assert all(message["stored"] >= moment for message in found)
    assert driver.ask(cluster, "pull", group, topic, time=moment + 3_600_000) == []
    assert len(driver.ask(cluster, "pull", group, topic, time=0)) > 32
