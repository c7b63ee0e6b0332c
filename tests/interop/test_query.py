"""Finding a message by its key, its unique key and its offset id."""

import pytest

from tests.interop.clusters import Cluster
from tests.interop.driver import ClientError, Driver


def test_a_key_finds_exactly_the_messages_that_carry_it(
    cluster: Cluster, any_driver: Driver, topic: str
) -> None:
    """Of ten keyed messages the one asked for; a key sent twice finds both, another topic none."""
    any_driver.ask(cluster, "send", "sync", topic, 10, key="order", tag="TagA")
    any_driver.ask(cluster, "send", "sync", topic, 4, key="order", body="again")
    found = any_driver.ask(cluster, "query", topic, key="order7")
    assert [(message["body"], message["keys"]) for message in found] == [("m7", "order7")]
    twice = any_driver.ask(cluster, "query", topic, key="order3")
    assert sorted(message["body"] for message in twice) == ["again3", "m3"]
    with pytest.raises(ClientError, match="no message"):
        any_driver.ask(cluster, "query", topic, key="order99")


def test_each_message_of_a_batch_is_found_by_its_own_key(
    cluster: Cluster, driver: Driver, topic: str
) -> None:
    """A batch is indexed message by message."""
    driver.ask(cluster, "send", "batch", topic, 10, key="item")
    for number in (0, 9):
        (message,) = driver.ask(cluster, "query", topic, key=f"item{number}")
        assert message["body"] == f"m{number}"


def test_both_ids_of_a_message_find_it(cluster: Cluster, any_driver: Driver, topic: str) -> None:
    """The client's unique key goes through the index, the offset id straight to the log."""
    results = any_driver.ask(cluster, "send", "sync", topic, 3, size=5_000)
    for number, result in enumerate(results):
        for kind in ("msgId", "offsetMsgId"):
            message = any_driver.ask(cluster, "query", topic, id=result[kind])
            assert message["body"] == f"m{number}"
            assert message["size"] == 5_000
            assert message["msgId"] == result["msgId"]


def test_an_offset_id_that_points_nowhere_is_an_error(
    cluster: Cluster, driver: Driver, topic: str
) -> None:
    """An offset in the middle of a message, and one past the end of the log, find nothing."""
    (result,) = driver.ask(cluster, "send", "sync", topic, 1)
    head, offset = result["offsetMsgId"][:16], int(result["offsetMsgId"][16:], 16)
    for wrong in (offset + 1, offset + (1 << 40)):
        with pytest.raises(ClientError):
            driver.ask(cluster, "query", topic, id=f"{head}{wrong:016X}")
