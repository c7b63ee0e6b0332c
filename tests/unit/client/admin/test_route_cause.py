"""Why a topic has no route, decided from what nameservers say."""

import pytest

from broker_trio.client.admin.route_cause import Heard, Want, ask_why, explain
from broker_trio.model.route import BrokerData, QueueData, TopicRouteData

from .cluster import running

SILENT = Heard("ns1:9876", error="ns1:9876: Connection refused")
STRANGER = Heard("ns2:9876")


def heard(
    perm: int = 6, addresses: dict[int, str] | None = None, *, registered: bool = True
) -> Heard:
    brokers = [BrokerData("C", "broker-a", {0: "h:1"} if addresses is None else addresses)]
    route = TopicRouteData([QueueData("broker-a", 4, 4, perm)], brokers if registered else [])
    return Heard("ns1:9876", route, listed=True)


@pytest.mark.parametrize(
    ("want", "words", "cause", "text"),
    [
        ("read", [SILENT], "no nameserver", "no nameserver answered: ns1:9876: Connection refused"),
        ("read", [STRANGER], "unknown topic", "topic unknown to 1 of 1 nameservers"),
        (
            "read",
            [SILENT, STRANGER],
            "unknown topic",
            "topic unknown to 1 of 2 nameservers; no answer of the others: ns1:9876: Connection "
            "refused",
        ),
        (
            "read",
            [Heard("ns1:9876", listed=True), STRANGER],
            "broker gone",
            "no broker that has it is registered; the topic is in the list of ns1:9876",
        ),
        (
            "write",
            [heard(registered=False)],
            "broker gone",
            "its broker is not registered: broker-a",
        ),
        (
            "write",
            [heard(addresses={1: "h:2"})],
            "no master",
            "no master is registered for broker-a, only slaves",
        ),
        (
            "write",
            [STRANGER._replace(brokers=0)],
            "no broker",
            "no broker is registered at ns2:9876",
        ),
        ("read", [heard(addresses={1: "h:2"})], "none", ""),
        ("write", [heard(perm=4)], "no permission", "no write permission on broker-a"),
        ("read", [heard(perm=2)], "no permission", "no read permission on broker-a"),
        ("write", [heard()], "none", ""),
    ],
)
def test_the_first_cause_that_fits_is_told(
    want: Want, words: list[Heard], cause: str, text: str
) -> None:
    """From nobody answering to no permission; with the names and counts that a person needs."""
    why = explain("orders", want, words)
    assert why.cause == cause
    assert text in why.text


def test_each_cause_has_a_next_command() -> None:
    """A topic is made by its user, a dead-letter topic is not; a permission is given back."""
    assert explain("orders", "write", [STRANGER]).advice == "broker-trio topic create orders"
    assert explain("orders", "read", [STRANGER]).advice == "broker-trio topic list"
    assert explain("%DLQ%g", "read", [STRANGER]).advice == "broker-trio group list"
    assert (
        explain("orders", "write", [heard(perm=4)]).advice
        == "broker-trio topic change orders --perm rw"
    )


async def test_every_nameserver_is_asked() -> None:
    """Real ones: both do not know the topic; then it is there, and read-only."""
    async with running(nameservers=2) as cluster:
        why = await ask_why(cluster.calls, cluster.nameservers, "orders", "write")
        assert why.text == "topic unknown to 2 of 2 nameservers"
        await cluster.topic("orders")
        await cluster.admin.topics.change("orders", {"perm": 4})
        why = await ask_why(cluster.calls, cluster.nameservers, "orders", "write")
        assert why.cause == "no permission"
