"""What is switched off is refused with Apache's code for that, and never stored as something else.

Apache's broker runs with the same features switched off (clusters.LIKE_OURS).
"""

import pytest

from tests.interop.clusters import Cluster
from tests.interop.driver import ClientError, Driver

NO_PERMISSION = 16
SYSTEM_ERROR = 1
MESSAGE_ILLEGAL = 13
INVALID_PARAMETER = 29


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [("transaction", {}, NO_PERMISSION), ("sync", {"timer": 3}, SYSTEM_ERROR)],
    ids=["transaction", "timer"],
)
def test_a_send_that_needs_what_is_off_is_refused_and_not_stored(
    cluster: Cluster, driver: Driver, topic: str, group: str, kind: str,
    options: dict[str, int], code: int,
) -> None:  # fmt: skip
    """Half messages 16, timer messages 1; an ordinary message behind them is alone in the topic."""
    with pytest.raises(ClientError) as caught:
        driver.ask(cluster, "send", kind, topic, 1, body="refused", **options)
    assert caught.value.code == code
    driver.ask(cluster, "send", "sync", topic, 1)
    messages = driver.ask(cluster, "pull", group, topic)
    assert [message["body"] for message in messages] == ["m0"]


def test_a_subscription_by_sql_is_refused_when_the_consumer_starts(
    cluster: Cluster, driver: Driver, topic: str, group: str
) -> None:
    """Property filters are off: code 1, with a remark that says so."""
    driver.ask(cluster, "send", "sync", topic, 1)
    with pytest.raises(ClientError, match="SQL92") as caught:
        driver.ask(cluster, "subscribe", group, topic, group=group, sql="true")
    assert caught.value.code == SYSTEM_ERROR


@pytest.mark.parametrize("name", ["SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC"])
def test_topics_of_the_broker_itself_take_no_message_from_clients(
    cluster: Cluster, driver: Driver, name: str
) -> None:
    """The client itself refuses some of them, the broker all: code 16 or no route to them."""
    with pytest.raises(ClientError):
        driver.ask(cluster, "send", "sync", name, 1)
