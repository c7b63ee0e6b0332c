"""Who is connected: producers and consumers of every broker, and what a consumer says of itself.

A client is connected to every broker that it works with, so that its answers are laid together by
client id. What became of one message in each group (`tracks`) is told by the groups' places and by
what their members subscribe to.
"""

from typing import Literal, NamedTuple, final

from broker_trio.client.admin.asking import ask_each
from broker_trio.client.admin.brokers import Brokers
from broker_trio.client.admin.offsets import Lag, Offsets
from broker_trio.client.calls import Calls
from broker_trio.client.errors import BrokerRefused
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.message import MessageExt
from broker_trio.model.subscription import SubscriptionData
from broker_trio.wire.bodies.connection import (
    Connection,
    ConsumerConnection,
    decode_consumer_connection,
    decode_producer_connection,
    decode_producer_table,
)
from broker_trio.wire.bodies.running import RunningInfo, decode_running_info
from broker_trio.wire.command import Serialize
from broker_trio.wire.headers.client import (
    GetConsumerConnectionListRequestHeader,
    GetConsumerRunningInfoRequestHeader,
    GetProducerConnectionListRequestHeader,
)

RELAY_S = 10.0  # what a broker waits for a client that is asked through it
Verdict = Literal["consumed", "waiting", "not started", "other tags", "not subscribed"]


class Member(NamedTuple):
    """One client in one group, and the brokers that it is connected to."""

    group: str
    kind: Literal["producer", "consumer"]
    client_id: str
    address: str
    language: str
    version: int
    brokers: tuple[str, ...]


class ConsumerGroup(NamedTuple):
    """A consumer group that is online. Settings are those that a broker heard last."""

    group: str
    members: list[Member]
    subscriptions: dict[str, SubscriptionData]
    consume_type: str
    message_model: str
    consume_from: str


class Track(NamedTuple):
    """What became of one message in one group. `place` is -1 where the group has none."""

    group: str
    verdict: Verdict
    place: int


@final
class Connections:
    """The clients of one cluster, as its masters know them now."""

    def __init__(self, calls: Calls, brokers: Brokers, offsets: Offsets) -> None:
        self._calls, self._brokers, self._offsets = calls, brokers, offsets

    async def consumers(self, group: str) -> ConsumerGroup | None:
        """The group's members on all masters; None where nobody of it is online."""
        header = GetConsumerConnectionListRequestHeader(consumer_group=group)

        async def one(address: str) -> ConsumerConnection | None:
            try:
                answer = await self._calls.ask(
                    address, RequestCode.GET_CONSUMER_CONNECTION_LIST, header
                )
            except BrokerRefused as refusal:
                if refusal.code == ResponseCode.CONSUMER_NOT_ONLINE:
                    return None
                raise
            return decode_consumer_connection(answer.body, answer.serialize)

        asked = (await ask_each(await self._brokers.masters(), one)).some()
        online = {name: found for name, found in asked.items() if found is not None}
        if not online:
            return None
        last = next(reversed(online.values()))
        subscriptions = {
            topic: data
            for each in online.values()
            for topic, data in each.subscription_table.items()
        }
        return ConsumerGroup(
            group,
            _members(group, "consumer", {name: o.connection_set for name, o in online.items()}),
            dict(sorted(subscriptions.items())),
            last.consume_type or "",
            last.message_model or "",
            last.consume_from_where or "",
        )

    async def producers(self, group: str = "") -> list[Member]:
        """The producers of one group, or of all, on all masters."""
        if not group:
            return await self._all_producers()
        header = GetProducerConnectionListRequestHeader(producer_group=group)

        async def one(address: str) -> list[Connection]:
            try:
                answer = await self._calls.ask(
                    address, RequestCode.GET_PRODUCER_CONNECTION_LIST, header
                )
            except BrokerRefused as refusal:
                if refusal.code == ResponseCode.SYSTEM_ERROR:  # nobody of it is online
                    return []
                raise
            return decode_producer_connection(answer.body, answer.serialize)

        asked = await ask_each(await self._brokers.masters(), one)
        return _members(group, "producer", asked.some())

    async def _all_producers(self) -> list[Member]:
        async def one(address: str) -> dict[str, list[Connection]]:
            answer = await self._calls.ask(address, RequestCode.GET_ALL_PRODUCER_INFO)
            table = decode_producer_table(answer.body, answer.serialize)
            return {
                group: [
                    Connection(each.client_id, each.remote_ip, each.language, each.version)
                    for each in producers
                ]
                for group, producers in table.items()
            }

        asked = (await ask_each(await self._brokers.masters(), one)).some()
        groups = sorted({group for table in asked.values() for group in table})
        return [
            member
            for group in groups
            for member in _members(
                group, "producer", {name: table.get(group, []) for name, table in asked.items()}
            )
        ]

    async def running_info(
        self, group: str, client_id: str, *, stacks: bool = False
    ) -> RunningInfo | None:
        """What a consumer says of itself, through the first master that it is connected to.

        None where it is connected to none. Raises `BrokerRefused` 207 where it does not answer.
        """
        found = await self.consumers(group)
        member = (
            next((m for m in found.members if m.client_id == client_id), None) if found else None
        )
        if member is None:
            return None
        masters = await self._brokers.masters()
        header = GetConsumerRunningInfoRequestHeader(
            consumer_group=group, client_id=client_id, jstack_enable=stacks
        )
        answer = await self._calls.ask(
            masters[member.brokers[0]],
            RequestCode.GET_CONSUMER_RUNNING_INFO,
            header,
            longer_s=RELAY_S,
        )
        # The body is the consumer's own, handed on as it is: JSON, whatever we speak.
        written = Serialize.JSON if answer.body[:1] == b"{" else answer.serialize
        return decode_running_info(answer.body, written)

    async def tracks(self, message: MessageExt, groups: list[str]) -> list[Track]:
        """What became of a message in each group, by the group's place in its queue."""
        replicas = await self._brokers.replicas()
        names = {each.broker_name for each in replicas if each.address == message.store_host}
        return [
            judge(
                message,
                await self._offsets.lag(group, message.topic),
                await self.consumers(group),
                names,
            )
            for group in groups
        ]


def judge(
    message: MessageExt, lag: Lag, online: ConsumerGroup | None, broker_names: set[str]
) -> Track:
    """A group behind the message waits for it, a group before it has consumed it, or did not want
    its tag. Places are counted on the message's broker, on all where that is not registered."""
    places = [
        place.consumer_offset
        for queue, place in lag.queues.items()
        if queue.queue_id == message.queue_id
        and (not broker_names or queue.broker_name in broker_names)
    ]
    place = max(places, default=-1)
    wanted = None if online is None else online.subscriptions.get(message.topic)
    if online is not None and wanted is None:
        return Track(lag.group, "not subscribed", place)
    if wanted is not None and wanted.tags_set and message.tags not in wanted.tags_set:
        return Track(lag.group, "other tags", place)
    if place < 0 or (place == 0 and online is None):
        return Track(lag.group, "not started", place)
    return Track(lag.group, "consumed" if place > message.queue_offset else "waiting", place)


def _members(
    group: str, kind: Literal["producer", "consumer"], by_broker: dict[str, list[Connection]]
) -> list[Member]:
    """One for each client id, with all of its brokers."""
    found: dict[str, Member] = {}
    for broker, connections in by_broker.items():
        for each in connections:
            known = found.get(each.client_id)
            found[each.client_id] = Member(
                group,
                kind,
                each.client_id,
                each.client_addr,
                each.language or "",
                each.version,
                (*(known.brokers if known else ()), broker),
            )
    return [found[client_id] for client_id in sorted(found)]
