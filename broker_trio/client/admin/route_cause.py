"""Why there is no route: what every nameserver and broker knows of a topic, and what that means.

    asked of each nameserver          105 route?  106 brokers?  206 is the topic in the list?
                                          │
    nobody answered ──────────────────────┤
    no broker at all is registered ───────┤
    unknown to n of n ────────────────────┤   first that fits, from top to bottom
    its broker is not registered ─────────┤
    no master among its brokers ──────────┤   (to write)
    no write / read permission ───────────┘

Nameservers do not know each other, so that two may tell different things; the text counts them.
`explain` decides, `ask_why` asks.
"""

from typing import Final, Literal, NamedTuple

from broker_trio.client.admin.asking import ask_each
from broker_trio.client.calls import Calls
from broker_trio.client.errors import BrokerRefused
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.names import is_dlq, is_retry
from broker_trio.model.route import TopicRouteData
from broker_trio.wire.bodies.route import decode_cluster_info, decode_route, decode_topic_list
from broker_trio.wire.headers.route import GetRouteInfoRequestHeader

Want = Literal["read", "write"]
Cause = Literal[
    "no nameserver",
    "no broker",
    "unknown topic",
    "broker gone",
    "no master",
    "no permission",
    "none",
]
NAMED_MAX: Final = 4


class Heard(NamedTuple):
    """One nameserver's word. `error`: it did not answer. `listed`: the topic is in its list.

    `brokers`: how many are registered there, 0 only where that was asked.
    """

    address: str
    route: TopicRouteData | None = None
    listed: bool = False
    error: str = ""
    brokers: int = 1


class Why(NamedTuple):
    """The cause as a word for programs, a sentence for people, and the next command."""

    cause: Cause
    text: str
    advice: str


def explain(topic: str, want: Want, heard: list[Heard]) -> Why:
    """What keeps a client from the topic, as far as nameservers know."""
    answered = [each for each in heard if not each.error]
    if not answered:
        errors = "; ".join(each.error for each in heard)
        return Why("no nameserver", f"no nameserver answered: {errors}", "broker-trio doctor")
    routes = [each.route for each in answered if each.route is not None]
    if not any(each.brokers for each in answered):
        where = _named([each.address for each in answered])
        return Why("no broker", f"no broker is registered at {where}", "broker-trio doctor")
    if not routes:
        return _unknown(topic, want, heard, answered)
    return _unusable(topic, want, routes)


def _unknown(topic: str, want: Want, heard: list[Heard], answered: list[Heard]) -> Why:
    listed = [each.address for each in answered if each.listed]
    if listed:
        return Why(
            "broker gone",
            f"no broker that has it is registered; the topic is in the list of {_named(listed)}",
            "broker-trio cluster list",
        )
    text = f"topic unknown to {len(answered)} of {len(heard)} nameservers"
    silent = [each.error for each in heard if each.error]
    if silent:
        text += f"; no answer of the others: {'; '.join(silent)}"
    if is_retry(topic) or is_dlq(topic):
        advice = "broker-trio group list"
    elif want == "write":
        advice = f"broker-trio topic create {topic}"
    else:
        advice = "broker-trio topic list"
    return Why("unknown topic", text, advice)


def _unusable(topic: str, want: Want, routes: list[TopicRouteData]) -> Why:
    queues = {queue.broker_name: queue for route in routes for queue in route.queue_datas}
    brokers = {broker.broker_name: broker for route in routes for broker in route.broker_datas}
    allowed = [
        name for name, q in queues.items() if (q.writable if want == "write" else q.readable)
    ]
    if not allowed:
        return Why(
            "no permission",
            f"no {want} permission on {_named(sorted(queues))}",
            f"broker-trio topic change {topic} --perm rw",
        )
    here = [name for name in allowed if name in brokers and brokers[name].broker_addrs]
    if not here:
        return Why(
            "broker gone",
            f"its broker is not registered: {_named(sorted(allowed))}",
            "broker-trio cluster list",
        )
    if want == "write" and not any(brokers[name].master for name in here):
        return Why(
            "no master",
            f"no master is registered for {_named(sorted(here))}, only slaves",
            f"broker-trio pair status {here[0]}",
        )
    return Why("none", "it has a route now; its brokers were not there a moment ago", "try again")


def _named(names: list[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


async def ask_why(calls: Calls, nameservers: Nameservers, topic: str, want: Want) -> Why:
    """Ask every nameserver what it knows of the topic, and say what that means."""

    async def one(address: str) -> Heard:
        header = GetRouteInfoRequestHeader(topic=topic, accept_standard_json_only=True)
        answer = await calls.ask(
            address,
            RequestCode.GET_ROUTEINFO_BY_TOPIC,
            header,
            accept=(ResponseCode.SUCCESS, ResponseCode.TOPIC_NOT_EXIST),
        )
        if answer.code == ResponseCode.SUCCESS:
            return Heard(address, decode_route(answer.body, answer.serialize), listed=True)
        brokers = await _brokers_at(calls, address)
        return Heard(address, listed=await _is_listed(calls, address, topic), brokers=brokers)

    asked = await ask_each({address: address for address in nameservers.addresses}, one)
    heard = [
        asked.answers.get(address) or Heard(address, error=str(asked.problems[address]))
        for address in nameservers.addresses
    ]
    return explain(topic, want, heard)


async def _brokers_at(calls: Calls, address: str) -> int:
    answer = await calls.ask(address, RequestCode.GET_BROKER_CLUSTER_INFO)
    return len(decode_cluster_info(answer.body, answer.serialize).broker_addr_table)


async def _is_listed(calls: Calls, address: str, topic: str) -> bool:
    try:
        answer = await calls.ask(address, RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER)
    except BrokerRefused:  # the list can be switched off
        return False
    return topic in decode_topic_list(answer.body, answer.serialize).topic_list
