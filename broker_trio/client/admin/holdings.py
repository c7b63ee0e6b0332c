"""What only this broker name still has: whoever takes a pair away must know it is nothing.

    messages in [min, max) of its queues ─┬─ a group that reads the topic stands below ─▶ unread
                                          ├─ dead letters of a group ─────────────────▶ dead letters
                                          └─ no group has ever read the topic ─────────▶ unowned
    delay levels, next to deliver < end ─────────────────────────────────────────────────▶ delayed

A group reads a topic where it subscribes to it now or has a place in it on any broker. One without
a place in a queue of this broker has read nothing of that queue. Groups that broadcast keep their
places at their clients: nobody here sees them.
"""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple, final

import msgspec

from broker_trio.client.admin.asking import ask_each
from broker_trio.client.admin.brokers import Brokers
from broker_trio.client.admin.groups import is_hidden
from broker_trio.client.admin.offsets import Lag, Offsets
from broker_trio.client.admin.statistics import Statistics
from broker_trio.client.admin.topics import Topics
from broker_trio.client.calls import Calls
from broker_trio.client.errors import BrokerRefused
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.names import DLQ_PREFIX, RETRY_PREFIX, is_dlq, is_retry, is_system_topic
from broker_trio.model.route import MessageQueue
from broker_trio.wire.bodies.route import decode_route
from broker_trio.wire.bodies.topic_config import TopicOffset, decode_topic_stats
from broker_trio.wire.headers.admin import GetTopicStatsInfoRequestHeader
from broker_trio.wire.headers.route import GetRouteInfoRequestHeader

DELAYS: Final = "scheduleMessageOffset_"  # of runtime information: "next to deliver,end"

Queues = Mapping[MessageQueue, TopicOffset]


class Unread(msgspec.Struct, frozen=True):
    """Messages that a group has not consumed; `group` is "" where no group reads the topic."""

    group: str
    topic: str
    messages: int


class Holdings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one broker name that would be lost with it.

    `writable`: nameserver to whether producers are shown that they may write there; None where it
    did not answer or does not know the broker. `only_here`: topics of users that no other broker
    has, so that their producers would have nowhere to go; they need not hold a message.
    """

    broker: str
    writable: dict[str, bool | None]
    unread: list[Unread]
    unowned: list[Unread]
    dead_letters: list[Unread]
    delayed: int
    only_here: list[str] = []

    @property
    def is_empty(self) -> bool:
        return not (self.unread or self.unowned or self.dead_letters or self.delayed)


class Parts(NamedTuple):
    """The messages of some queues, by who should still read them."""

    unread: list[Unread]
    unowned: list[Unread]
    dead_letters: list[Unread]


def parted(
    queues: Queues, readers: Mapping[str, Collection[str]], lags: Mapping[str, Lag]
) -> Parts:
    """Sort messages by who has not read them. `readers`: topic to groups."""
    parts = Parts([], [], [])
    for topic in sorted({queue.topic for queue in queues}):
        mine = {queue: bounds for queue, bounds in queues.items() if queue.topic == topic}
        kept = sum(bounds.max_offset - bounds.min_offset for bounds in mine.values())
        groups = readers_of(topic, readers)
        for group in groups:
            waiting = sum(below(lags.get(group), queue, mine[queue]) for queue in mine)
            parts.unread.extend([Unread(group, topic, waiting)] if waiting else [])
        if kept and is_dlq(topic) and not groups:
            parts.dead_letters.append(Unread(topic.removeprefix(DLQ_PREFIX), topic, kept))
        elif kept and not groups:
            parts.unowned.append(Unread("", topic, kept))
    return parts


def readers_of(topic: str, readers: Mapping[str, Collection[str]]) -> list[str]:
    """The groups that read it; a retry topic is its own group's."""
    own = [topic.removeprefix(RETRY_PREFIX)] if is_retry(topic) else []
    return sorted({*own, *(each for each in readers.get(topic, ()) if not is_hidden(each))})


def below(lag: Lag | None, queue: MessageQueue, bounds: TopicOffset) -> int:
    """Messages of one queue that a group has not consumed."""
    place = None if lag is None else lag.queues.get(queue)
    stands = bounds.min_offset if place is None else place.consumer_offset
    return max(bounds.max_offset - max(stands, bounds.min_offset), 0)


def delayed(info: Mapping[str, str]) -> int:
    """Messages that wait in the delay levels, out of runtime information."""
    waiting = 0
    for name, value in info.items():
        at, _, end = value.partition(",")
        if name.startswith(DELAYS) and at.isdecimal() and end.isdecimal():
            waiting += max(int(end) - int(at), 0)
    return waiting


@final
class AllHoldings:
    """The question, for any broker name of one cluster."""

    def __init__(self, calls: Calls, nameservers: Nameservers) -> None:
        self._calls, self._nameservers = calls, nameservers
        self._brokers = Brokers(nameservers)
        self._topics = Topics(calls, nameservers, self._brokers)
        self._offsets = Offsets(calls, nameservers, self._brokers)
        self._statistics = Statistics(calls, nameservers, self._brokers)

    async def of(self, broker: str) -> Holdings:
        """Asked of its master. Raises `NoSuchBroker`, and what its master answers."""
        address = (await self._brokers.masters(broker=broker))[broker]
        info = await self._statistics.runtime(address)
        tables = (await self._topics.tables()).all()
        topics = [name for name in tables.get(broker, {}) if not is_system_topic(name)]
        queues = await self._bounds(address, topics)
        full = {q: at for q, at in queues.items() if at.max_offset > at.min_offset}
        lags = await self._offsets.everything()
        parts = parted(full, await self._readers({queue.topic for queue in full}, lags), lags)
        elsewhere = {name for other, table in tables.items() if other != broker for name in table}
        users = set(await self._topics.names())
        return Holdings(
            broker=broker,
            writable=await self.writable(broker),
            unread=parts.unread,
            unowned=parts.unowned,
            dead_letters=parts.dead_letters,
            delayed=delayed(info),
            only_here=sorted(users.intersection(topics) - elsewhere),
        )

    async def _readers(self, topics: set[str], lags: Mapping[str, Lag]) -> dict[str, list[str]]:
        """The groups of each topic: those that brokers name, and those that have a place in it."""
        found = {topic: await self._topics.groups_of(topic) for topic in sorted(topics)}
        for group, lag in lags.items():
            for topic in {queue.topic for queue in lag.queues} & topics:
                found[topic].append(group)
        return found

    async def _bounds(self, address: str, topics: list[str]) -> dict[MessageQueue, TopicOffset]:
        async def one(topic: str) -> dict[MessageQueue, TopicOffset]:
            header = GetTopicStatsInfoRequestHeader(topic=topic)
            answer = await self._calls.ask(address, RequestCode.GET_TOPIC_STATS_INFO, header)
            return decode_topic_stats(answer.body, answer.serialize).offset_table

        asked = await ask_each({topic: topic for topic in topics}, one)
        return {queue: at for table in asked.all().values() for queue, at in table.items()}

    async def writable(self, broker: str) -> dict[str, bool | None]:
        """What each nameserver shows of the topic that is called like the broker.

        Every broker has that one, nobody else does, and an order to drain changes it with the rest.
        """
        header = GetRouteInfoRequestHeader(topic=broker, accept_standard_json_only=True)

        async def one(address: str) -> bool | None:
            try:
                answer = await self._calls.ask(address, RequestCode.GET_ROUTEINFO_BY_TOPIC, header)
            except BrokerRefused as refusal:
                if refusal.code == ResponseCode.TOPIC_NOT_EXIST:
                    return None
                raise
            datas = decode_route(answer.body, answer.serialize).queue_datas
            told = [data.writable for data in datas if data.broker_name == broker]
            return any(told) if told else None

        every = self._nameservers.addresses
        asked = await ask_each({address: address for address in every}, one)
        return {address: asked.answers.get(address) for address in every}
