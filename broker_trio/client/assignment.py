"""Which queues are this member's: the route's queues, shared by the members that brokers list.

    each topic:  route ──▶ queues ─┐
                 38    ──▶ members ┴─ strategy ──▶ mine        (broadcast: all queues are mine)

Brokers list whoever's heartbeat reached them. All members ask the same broker first, the one that
sorts first, so that they count with the same list. What cannot be found out now changes nothing: a
topic without a route, or a broker that does not list us yet, leaves the queues as they are, and the
next look comes soon.
"""

from typing import NamedTuple, final

from broker_trio.client.consumer_events import TopicMissing
from broker_trio.client.errors import NoRoute
from broker_trio.client.membership import TROUBLE, Membership
from broker_trio.client.rebalance import share_of
from broker_trio.client.routes import read_queues, readable_address
from broker_trio.model.names import is_retry
from broker_trio.model.route import MessageQueue, TopicRouteData


class Look(NamedTuple):
    """The queues of each topic that are ours; topics that are missing stay as they are."""

    mine: dict[str, list[MessageQueue]]
    complete: bool


@final
class Assignment:
    """Looks on demand; remembers which queues were there at the beginning."""

    def __init__(self, member: Membership) -> None:
        self._member = member
        self._first: dict[str, frozenset[MessageQueue]] = {}
        self._missing: set[str] = set()

    def is_late(self, queue: MessageQueue) -> bool:
        """Whether the queue came to be after the first look at its topic."""
        return queue not in self._first.get(queue.topic, frozenset())

    async def look(self) -> Look:
        """Ask about all topics. Raises nothing that questions raise."""
        mine: dict[str, list[MessageQueue]] = {}
        complete = True
        for topic in self._member.options.topics:
            found = await self._look_at(topic)
            if found is None:
                complete = False
            else:
                mine[topic] = found
        return Look(mine, complete)

    async def _look_at(self, topic: str) -> list[MessageQueue] | None:
        member = self._member
        try:
            route = await member.session.routes.get(topic)
        except TROUBLE as error:
            self._note_missing(topic, error)
            return None
        self._missing.discard(topic)
        queues = read_queues(topic, route)
        self._first.setdefault(topic, frozenset(queues))
        if member.options.broadcast:
            return queues
        members = await self._members(route)
        if members is None:
            return None
        return share_of(member.options.strategy, member.session.client_id, queues, members)

    def _note_missing(self, topic: str, error: Exception) -> None:
        if isinstance(error, NoRoute):  # it does not exist yet: all its queues will be new
            self._first.setdefault(topic, frozenset())
        if topic not in self._missing and not is_retry(topic):
            self._missing.add(topic)
            self._member.emit(TopicMissing(self._member.group, topic, str(error)))

    async def _members(self, route: TopicRouteData) -> list[str] | None:
        """The list of the first broker that has one with us in it."""
        member = self._member
        for data in sorted(route.broker_datas, key=lambda data: data.broker_name):
            address = readable_address(data)
            if address is None:
                continue
            try:
                members = await member.calls.members(address)
            except TROUBLE:
                continue
            if member.session.client_id in members:
                return members
        member.session.heartbeat.wake()  # nobody knows us: a broker was restarted
        return None
