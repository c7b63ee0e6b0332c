"""What programs of ours say of their hosts, and how far their clocks are from ours.

    our clock    a ──────────── b          skew = theirs − (a + b) / 2, ± (b − a) / 2
    theirs            wall_ms

Apache's programs do not know the question; their brokers' clocks are told by runtime information,
where boot time and uptime add up to now, to the second.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple, final

from broker_trio.client.calls import Calls
from broker_trio.client.errors import BrokerRefused
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.wire.bodies.facts import HostFacts, decode_host_facts
from broker_trio.wire.bodies.route import (
    ClusterInfo,
    decode_cluster_info,
    decode_kv_table,
    decode_topic_list,
)

WallMs = Callable[[], int]
UPTIME: Final = re.compile(r"(\d+) days, (\d+) hours, (\d+) minutes, (\d+) seconds")


class Clock(NamedTuple):
    """A program's clock minus ours, in ms, and how wrong that may be."""

    skew_ms: int
    error_ms: int


class NameserverTable(NamedTuple):
    """Everything that one nameserver shows: broker replicas as (name, id, address), and topics."""

    replicas: frozenset[tuple[str, int, str]]
    topics: frozenset[str]


@final
class Hosts:
    """Questions to one program at a time, by address."""

    def __init__(self, calls: Calls, nameservers: Nameservers) -> None:
        self._calls = calls
        self.nameservers = nameservers.addresses

    async def facts(self, address: str, wall_ms: WallMs) -> tuple[HostFacts, Clock] | None:
        """None where the program is none of ours."""
        asked = wall_ms()
        try:
            answer = await self._calls.ask(address, RequestCode.HOST_FACTS)
        except BrokerRefused as refusal:
            if refusal.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED:
                return None
            raise
        facts = decode_host_facts(answer.body, answer.serialize)
        return facts, clock_of(asked, facts.wall_ms, wall_ms())

    async def runtime(self, address: str, wall_ms: WallMs) -> tuple[dict[str, str], Clock | None]:
        """A broker's runtime information, and its clock where boot time and uptime tell it."""
        asked = wall_ms()
        answer = await self._calls.ask(address, RequestCode.GET_BROKER_RUNTIME_INFO)
        info = decode_kv_table(answer.body, answer.serialize)
        uptime, boot = UPTIME.search(info.get("runtime", "")), info.get("bootTimestamp", "")
        if uptime is None or not boot.isdecimal():
            return info, None
        days, hours, minutes, seconds = map(int, uptime.groups())
        up_ms = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000
        clock = clock_of(
            asked, int(boot) + up_ms + 500, wall_ms()
        )  # whole seconds: half on average
        return info, clock._replace(error_ms=clock.error_ms + 500)

    async def table(self, address: str) -> NameserverTable:
        """What one nameserver shows."""
        answer = await self._calls.ask(address, RequestCode.GET_BROKER_CLUSTER_INFO)
        info: ClusterInfo = decode_cluster_info(answer.body, answer.serialize)
        listed = await self._calls.ask(address, RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER)
        topics = decode_topic_list(listed.body, listed.serialize).topic_list
        return NameserverTable(
            frozenset(
                (name, broker_id, broker)
                for name, data in info.broker_addr_table.items()
                for broker_id, broker in data.broker_addrs.items()
            ),
            frozenset(topics),
        )


def clock_of(asked_ms: int, theirs_ms: int, answered_ms: int) -> Clock:
    """Their clock against ours, when the question left and when the answer was there."""
    middle = (asked_ms + answered_ms) // 2
    return Clock(theirs_ms - middle, (answered_ms - asked_ms + 1) // 2)
