"""Who is connected: producers and consumers by group, built from nothing but their heartbeats.

    consumer group ─┬─ consume type, message model, where to begin   (last writer wins)
                    ├─ subscriptions  topic -> SubscriptionData      (newer version wins)
                    └─ channels       client id -> Channel(session, language, version, last seen)
    producer group ─── channels       client id -> Channel

One client id is one member of a group. The same id on a new connection replaces the old channel:
otherwise pushes would go to a dead socket until it expires. All brokers must come to the same list
of members (38), because every consumer computes its share of the queues from it; so the list holds
exactly those whose heartbeats came within 120 s and whose connection is open.

A change of members or subscriptions is told to all members with request 40 (rebalance now); without
it they would notice within 20 s. A group that changes more than 16 times in a second is told once a
second: a thousand members that start together would otherwise make half a million notifications.
This module decides and sends at once, it never waits; `run` finds silent clients, and tells what
was put off.
"""

from collections.abc import Iterator
from typing import Any, Final, final

import msgspec
import structlog
import trio

from broker_trio.broker.groups import Groups
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.subscription import SubscriptionData
from broker_trio.remoting.dispatch import Request, Response, Route, Session
from broker_trio.runtime.seams import Clock
from broker_trio.wire.bodies.client import encode_consumer_list
from broker_trio.wire.bodies.heartbeat import ConsumerData, decode_heartbeat
from broker_trio.wire.command import Command
from broker_trio.wire.headers.base import to_ext
from broker_trio.wire.headers.client import (
    GetConsumerListByGroupRequestHeader,
    HeartbeatResponseHeader,
    NotifyConsumerIdsChangedRequestHeader,
    UnregisterClientRequestHeader,
)

log = structlog.get_logger()

EXPIRE_S: Final = 120.0  # without a heartbeat; clients send one every 30 s
SCAN_S: Final = 10.0
CHANNELS_MAX: Final = 200_000  # (client, group) pairs, producers and consumers together
GROUPS_PER_HEARTBEAT_MAX: Final = 1_000
CLIENTS_PER_SESSION_MAX: Final = 64  # client ids of one connection; a client has one
SUBSCRIPTIONS_MAX: Final = 2_000  # topics of one group
SUBSCRIPTION_BYTES_MAX: Final = 256 << 20  # of all groups together, as `weight` estimates it
TOLD_AT_ONCE_MAX: Final = 16  # notifications of one group in `TELL_S`; more are put off
TELL_S: Final = 1.0
CLIENT_ID_MAX: Final = 255  # characters
PRODUCER_GROUP_MAX: Final = 255  # characters; producers' groups are not checked otherwise


class Channel(msgspec.Struct, gc=False):
    """One client's way to us for one group."""

    session: Session
    client_id: str
    language: int
    version: int
    last_seen: float  # monotonic seconds
    last_seen_ms: int  # wall clock, shown to people


Channels = dict[str, Channel]


class ConsumerGroup(msgspec.Struct):
    """A consumer group that has members now."""

    name: str
    consume_type: str
    message_model: str
    consume_from_where: str
    channels: Channels = msgspec.field(default_factory=dict)
    subscriptions: dict[str, SubscriptionData] = msgspec.field(default_factory=dict)
    fingerprint: int = 0
    weight: int = 0  # of the subscriptions, in bytes
    told: int = 0  # notifications since `told_since` (monotonic seconds)
    told_since: float = float("-inf")

    @property
    def is_broadcasting(self) -> bool:
        return self.message_model == "BROADCASTING"


@final
class Sessions:
    """The tables and requests 34, 35 and 38. All methods are transactions."""

    def __init__(
        self, topics: Topics, groups: Groups, clock: Clock, *, channels_max: int = CHANNELS_MAX
    ) -> None:
        self.consumers: dict[str, ConsumerGroup] = {}
        self.producers: dict[str, Channels] = {}
        self.channels_max, self.subscription_bytes_max = channels_max, SUBSCRIPTION_BYTES_MAX
        self.channels = 0
        self.expired = 0
        self.subscription_bytes = 0
        self._behind: dict[str, None] = {}  # groups to be told of a change that was put off
        self._clients: dict[int, set[str]] = {}  # client ids of each connection
        self._of_session: dict[int, set[tuple[bool, str, str]]] = {}
        self._topics, self._groups, self._clock = topics, groups, clock

    def routes(self) -> tuple[Route[Any], ...]:
        return (
            Route(RequestCode.HEART_BEAT, None, self.heartbeat, processor="heartbeat"),
            Route(
                RequestCode.UNREGISTER_CLIENT,
                UnregisterClientRequestHeader,
                self.unregister,
                processor="heartbeat",
            ),
            Route(
                RequestCode.GET_CONSUMER_LIST_BY_GROUP,
                GetConsumerListByGroupRequestHeader,
                self.consumer_list,
                processor="heartbeat",
            ),
        )

    # -- requests ------------------------------------------------------------------------------

    def heartbeat(self, request: Request, _header: None) -> Response:
        """34: register the connection under every group that the client names."""
        data = decode_heartbeat(request.command.body, request.command.serialize)
        if not 0 < len(data.client_id) <= CLIENT_ID_MAX:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"client id of {len(data.client_id)} characters, allowed 1..{CLIENT_ID_MAX}",
            )
        if len(data.consumer_data_set) + len(data.producer_data_set) > GROUPS_PER_HEARTBEAT_MAX:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"a heartbeat may name {GROUPS_PER_HEARTBEAT_MAX} groups",
            )
        self._check_client(request.session, data.client_id)
        changed = not data.heartbeat_fingerprint
        for consumer in data.consumer_data_set:
            channel = self._channel(request, data.client_id)
            if not data.without_sub:
                self._register_consumer(consumer, channel, data.heartbeat_fingerprint)
            elif not self._touch_consumer(consumer, channel, data.heartbeat_fingerprint):
                changed = True
        for producer in data.producer_data_set:
            if 0 < len(producer.group_name) <= PRODUCER_GROUP_MAX:
                self._register_producer(producer.group_name, self._channel(request, data.client_id))
        header = HeartbeatResponseHeader(is_support_heart_beat_v2=True, is_sub_change=changed)
        return Response(ext=to_ext(header))

    def unregister(self, request: Request, header: UnregisterClientRequestHeader) -> Response:
        """35: the client leaves; 0 whatever was there."""
        if header.producer_group:
            self._leave((False, header.producer_group, header.client_id), request.session)
        if header.consumer_group:
            self._leave((True, header.consumer_group, header.client_id), request.session)
        return Response()

    def consumer_list(
        self, request: Request, header: GetConsumerListByGroupRequestHeader
    ) -> Response:
        """38: the client ids of all members."""
        group = self.consumers.get(header.consumer_group)
        if group is None:
            raise Refused(
                ResponseCode.SYSTEM_ERROR, f"no consumer for this group, {header.consumer_group}"
            )
        body = encode_consumer_list(list(group.channels), request.command.serialize)
        return Response(body=body)

    # -- what others ask -----------------------------------------------------------------------

    def consumer_group(self, group: str) -> ConsumerGroup | None:
        """The group, where it has at least one member."""
        return self.consumers.get(group)

    def subscription(self, group: str, topic: str) -> SubscriptionData | None:
        """What the group's heartbeats say of the topic."""
        consumers = self.consumers.get(group)
        return None if consumers is None else consumers.subscriptions.get(topic)

    def consumer_channel(self, group: str, client_id: str) -> Channel | None:
        consumers = self.consumers.get(group)
        return None if consumers is None else consumers.channels.get(client_id)

    def producer_channels(self, group: str) -> list[Channel]:
        """Open channels of a producer group."""
        return list(self.producers.get(group, {}).values())

    def groups_subscribed(self, topic: str) -> list[str]:
        return sorted(
            name for name, group in self.consumers.items() if topic in group.subscriptions
        )

    # -- joining and leaving -------------------------------------------------------------------

    def _channel(self, request: Request, client_id: str) -> Channel:
        command = request.command
        return Channel(
            session=request.session,
            client_id=client_id,
            language=command.language,
            version=command.version,
            last_seen=self._clock.monotonic(),
            last_seen_ms=self._clock.wall_ms(),
        )

    def _check_client(self, session: Session, client_id: str) -> None:
        """Each member of a group costs its other members; one connection shall not be thousands."""
        clients = self._clients.setdefault(session.id, set())
        if client_id not in clients and len(clients) >= CLIENTS_PER_SESSION_MAX:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"{len(clients)} client ids came over this connection, "
                f"limit {CLIENTS_PER_SESSION_MAX} (CLIENTS_PER_SESSION_MAX)",
            )
        clients.add(client_id)

    def _register_consumer(self, data: ConsumerData, channel: Channel, fingerprint: int) -> None:
        """A heartbeat with subscriptions. A group that nobody may make is skipped, as by Apache."""
        try:
            config = self._groups.find_or_create(data.group_name)
        except Refused as refusal:
            log.info("heartbeat.group_refused", group=data.group_name, reason=refusal.remark)
            return
        if config is None:
            return
        self._topics.ensure_retry(
            data.group_name, config.retry_queue_nums, order=self._is_ordered(data)
        )
        group = self.consumers.get(data.group_name)
        self._admit_subscriptions(group, data)
        if group is None:
            self._admit(channel)
            group = self.consumers[data.group_name] = ConsumerGroup(
                data.group_name, data.consume_type, data.message_model, data.consume_from_where
            )
        group.consume_type, group.message_model = data.consume_type, data.message_model
        group.consume_from_where = data.consume_from_where
        group.fingerprint = fingerprint
        joined = self._join(True, data.group_name, group.channels, channel)
        resubscribed = self._subscribe(group, data)
        if (joined or resubscribed) and config.notify_consumer_ids_changed_enable:
            self._notify(group)

    def _touch_consumer(self, data: ConsumerData, channel: Channel, fingerprint: int) -> bool:
        """A heartbeat without subscriptions; False where the client must send them again."""
        group = self.consumers.get(data.group_name)
        if group is None:
            return False
        same = group.fingerprint == fingerprint
        if same and self._join(True, data.group_name, group.channels, channel):
            config = self._groups.get(data.group_name)
            if config is not None and config.notify_consumer_ids_changed_enable:
                self._notify(group)
        return same

    def _register_producer(self, group: str, channel: Channel) -> None:
        channels = self.producers.get(group)
        if channels is None:
            self._admit(channel)
            channels = self.producers[group] = {}
        self._join(False, group, channels, channel)

    def _is_ordered(self, data: ConsumerData) -> bool:
        configs = (self._topics.get(sub.topic) for sub in data.subscription_data_set)
        return any(config is not None and config.order for config in configs)

    def _admit(self, channel: Channel) -> None:
        if self.channels >= self.channels_max:
            raise Refused(
                ResponseCode.SYSTEM_BUSY,
                f"client {channel.client_id} refused: channels_max={self.channels_max} reached "
                f"({len(self.consumers)} consumer and {len(self.producers)} producer groups)",
            )

    def _admit_subscriptions(self, group: ConsumerGroup | None, data: ConsumerData) -> None:
        """Long expressions in many groups are bounded by their bytes; their count says little."""
        more = weight_of(data) - (group.weight if group is not None else 0)
        if more > 0 and self.subscription_bytes + more > self.subscription_bytes_max:
            raise Refused(
                ResponseCode.SYSTEM_BUSY,
                f"group {data.group_name}: subscriptions take {self.subscription_bytes} bytes, "
                f"limit {self.subscription_bytes_max} (SUBSCRIPTION_BYTES_MAX)",
            )

    def _join(self, consumer: bool, group: str, channels: Channels, channel: Channel) -> bool:
        """Add or renew a member; whether it is new or came on another connection."""
        client_id = channel.client_id
        known = channels.get(client_id)
        if known is not None and known.session.id == channel.session.id:
            channels[client_id] = channel
            return False
        key = (consumer, group, client_id)
        if known is None:
            self._admit(channel)
            self.channels += 1
        else:
            self._of_session.get(known.session.id, set()).discard(key)
        channels[client_id] = channel
        self._of_session.setdefault(channel.session.id, set()).add(key)
        return True

    def _subscribe(self, group: ConsumerGroup, data: ConsumerData) -> bool:
        """Take newer subscriptions, drop those that are gone; whether the set of topics changed."""
        wanted = {sub.topic: sub for sub in data.subscription_data_set[:SUBSCRIPTIONS_MAX]}
        changed = False
        weight = weight_of(data)
        self.subscription_bytes += weight - group.weight
        group.weight = weight
        for topic, sub in wanted.items():
            known = group.subscriptions.get(topic)
            if known is not None and sub.sub_version <= known.sub_version:
                continue
            changed = changed or known is None
            group.subscriptions[topic] = sub
        for topic in [topic for topic in group.subscriptions if topic not in wanted]:
            del group.subscriptions[topic]
            changed = True
        return changed

    def _leave(self, key: tuple[bool, str, str], session: Session | None) -> None:
        """Take a member out, if `session` (None = any) is still its connection."""
        consumer, name, client_id = key
        group = self.consumers.get(name) if consumer else None
        channels = group.channels if group else {} if consumer else self.producers.get(name, {})
        channel = channels.get(client_id)
        if channel is None or (session is not None and channel.session.id != session.id):
            return
        del channels[client_id]
        self.channels -= 1
        keys = self._of_session.get(channel.session.id)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._of_session[channel.session.id]
        if channels:
            config = self._groups.get(name)
            if group and (config is None or config.notify_consumer_ids_changed_enable):
                self._notify(group)
        elif group is not None:
            self.subscription_bytes -= group.weight
            del self.consumers[name]
        else:
            del self.producers[name]

    def closed(self, session: Session) -> None:
        """The connection has gone: its members leave at once."""
        self._clients.pop(session.id, None)
        for key in sorted(self._of_session.pop(session.id, ())):
            self._leave(key, session)

    def _notify(self, group: ConsumerGroup) -> None:
        """40 to every member, now or within `TELL_S`."""
        if group.is_broadcasting:
            return
        now = self._clock.monotonic()
        if now - group.told_since >= TELL_S:
            group.told, group.told_since = 0, now
        group.told += 1
        if group.told <= TOLD_AT_ONCE_MAX:
            _tell(group)
        else:
            self._behind[group.name] = None

    def tell_behind(self) -> None:
        """Notify the groups whose last changes were put off."""
        behind, self._behind = self._behind, {}
        for name in behind:
            group = self.consumers.get(name)
            if group is not None:
                _tell(group)

    # -- silence -------------------------------------------------------------------------------

    def expire(self, now: float) -> int:
        """Members that were silent for 120 s leave; how many. `now` in monotonic seconds."""
        silent = [
            (consumer, name, channel.client_id)
            for consumer, name, channel in self._all()
            if now - channel.last_seen > EXPIRE_S
        ]
        for key in silent:
            log.info("client.expired", group=key[1], client_id=key[2], silent_s=EXPIRE_S)
            self._leave(key, None)
        self.expired += len(silent)
        return len(silent)

    def _all(self) -> Iterator[tuple[bool, str, Channel]]:
        for name, group in self.consumers.items():
            for channel in group.channels.values():
                yield True, name, channel
        for name, channels in self.producers.items():
            for channel in channels.values():
                yield False, name, channel

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look for silent clients every 10 s, and for what was put off, until cancelled."""
        task_status.started()
        scanned = self._clock.monotonic()
        while True:
            await trio.sleep(TELL_S)
            self.tell_behind()
            now = self._clock.monotonic()
            if now - scanned >= SCAN_S:
                scanned = now
                self.expire(now)


def _tell(group: ConsumerGroup) -> None:
    """One 40 a connection. One whose queue is full rebalances by itself within 20 s."""
    ext = to_ext(NotifyConsumerIdsChangedRequestHeader(consumer_group=group.name))
    sessions = {channel.session.id: channel.session for channel in group.channels.values()}
    for session in sessions.values():
        session.send_oneway(Command(RequestCode.NOTIFY_CONSUMER_IDS_CHANGED, ext=ext))


def weight_of(data: ConsumerData) -> int:
    """About the bytes that a group's names and subscriptions take."""
    names = (data.group_name, data.consume_type, data.message_model, data.consume_from_where)
    return 500 + sum(map(len, names)) + sum(map(_weight, data.subscription_data_set))


def _weight(sub: SubscriptionData) -> int:
    tags = sum(map(len, sub.tags_set)) + 150 * len(sub.tags_set)
    return 500 + len(sub.topic) + len(sub.sub_string) + len(sub.expression_type) + tags
