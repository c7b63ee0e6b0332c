"""Administration of consumer offsets: requests 43, 45, 208, 222, 314 and 317.

A reset (222) happens in the broker: the group's offset moves, and the next pull of each queue is
told to go on there. Every client that follows an OFFSET_MOVED answer takes part, and offline groups
are reset in the same way.
"""

from typing import Any, Final, final

import trio

from broker_trio.broker.groups import Groups
from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.registrar import Identity
from broker_trio.broker.schedule import Schedule
from broker_trio.broker.sessions import Sessions
from broker_trio.broker.stats import BrokerStats
from broker_trio.broker.topics import Topics
from broker_trio.model import names
from broker_trio.model.codes import LanguageCode, RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.route import MessageQueue
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.store.store import Store
from broker_trio.wire.bodies.offsets import (
    BrokerConsumeStats,
    ConsumerOffsetTable,
    ConsumeStats,
    DelayOffsetTable,
    OffsetWrapper,
    encode_broker_consume_stats,
    encode_consume_stats,
    encode_consumer_offsets,
    encode_delay_offsets,
    encode_reset_offset,
)
from broker_trio.wire.headers.admin import (
    GetConsumeStatsInBrokerRequestHeader,
    GetConsumeStatsRequestHeader,
)
from broker_trio.wire.headers.offset import CloneGroupOffsetRequestHeader, ResetOffsetRequestHeader

ALL_QUEUES: Final = -1
MINUTE_S: Final = 60.0


@final
class OffsetAdmin:
    """The offset requests of administrators, tools and slaves."""

    def __init__(
        self,
        store: Store,
        topics: Topics,
        groups: Groups,
        offsets: ConsumerOffsets,
        sessions: Sessions,
        schedule: Schedule,
        stats: BrokerStats,
        identity: Identity,
    ) -> None:
        self._store, self._topics, self._groups, self._offsets = store, topics, groups, offsets
        self._sessions, self._schedule, self._stats = sessions, schedule, stats
        self._identity = identity

    def routes(self) -> tuple[Route[Any], ...]:
        code = RequestCode
        return (
            Route(code.GET_CONSUME_STATS, GetConsumeStatsRequestHeader, self.consume_stats),
            Route(
                code.GET_BROKER_CONSUME_STATS,
                GetConsumeStatsInBrokerRequestHeader,
                self.broker_consume_stats,
            ),
            Route(
                code.INVOKE_BROKER_TO_RESET_OFFSET,
                ResetOffsetRequestHeader,
                self.reset,
                note="in the broker; clients follow at their next pull",
            ),
            Route(code.CLONE_GROUP_OFFSET, CloneGroupOffsetRequestHeader, self.clone),
            Route(code.GET_ALL_CONSUMER_OFFSET, None, self.all_offsets),
            Route(code.GET_ALL_DELAY_OFFSET, None, self.all_delay_offsets),
        )

    # -- progress ------------------------------------------------------------------------------

    def consume_stats(self, request: Request, header: GetConsumeStatsRequestHeader) -> Later:
        """208: what is there and what was consumed; an unknown group is an empty table."""
        group, serialize = header.consumer_group, request.command.serialize
        if header.topic:
            topics = [header.topic]
        elif header.topic_list:
            topics = list(dict.fromkeys(filter(None, header.topic_list.split(";"))))
        else:
            topics = self._topics_of(group)

        async def later() -> Response:
            table: dict[MessageQueue, OffsetWrapper] = {}
            for topic in topics:
                await trio.lowlevel.checkpoint()  # a thousand queues each, and others wait
                table.update(await self._progress(group, topic))
            return Response(
                body=encode_consume_stats(ConsumeStats(table, self._tps(group, topics)), serialize)
            )

        return later

    def _topics_of(self, group: str) -> list[str]:
        """Topics with the group's offsets; while it is online only those it subscribes to."""
        topics = self._offsets.topics_of(group)
        online = self._sessions.consumer_group(group)
        if online is None:
            return topics
        return [topic for topic in topics if topic in online.subscriptions]

    def _tps(self, group: str, topics: list[str]) -> float:
        spans = (
            self._stats.span("GROUP_GET_NUMS", f"{topic}@{group}", MINUTE_S) for topic in topics
        )
        return sum(span.rate for span in spans)

    async def _progress(self, group: str, topic: str) -> dict[MessageQueue, OffsetWrapper]:
        config = self._topics.get(topic)
        if config is None:
            return {}
        queues, offsets = self._store.queues, self._offsets
        table: dict[MessageQueue, OffsetWrapper] = {}
        for queue_id in range(config.read_queue_nums):
            consumed = max(offsets.query(group, topic, queue_id), 0)
            at = 0
            if consumed > queues.min_offset(topic, queue_id):
                at = await self._store.reader.store_time_at(topic, queue_id, consumed - 1)
            table[MessageQueue(topic, self._identity.broker_name, queue_id)] = OffsetWrapper(
                broker_offset=max(queues.max_offset(topic, queue_id), 0),
                consumer_offset=consumed,
                pull_offset=max(consumed, offsets.query_pulled(group, topic, queue_id)),
                last_timestamp=max(at, 0),
            )
        return table

    def broker_consume_stats(
        self, request: Request, header: GetConsumeStatsInBrokerRequestHeader
    ) -> Later:
        """317: the same for every group and topic of this broker."""
        serialize = request.command.serialize

        async def later() -> Response:
            groups: list[dict[str, list[ConsumeStats]]] = []
            lag = inflight = 0
            for group in sorted(self._groups.table):
                stats: list[ConsumeStats] = []
                for topic in self._topics_of(group):
                    await trio.lowlevel.checkpoint()
                    config = self._topics.get(topic)
                    if config is None or (header.is_order and not config.order):
                        continue
                    table = await self._progress(group, topic)
                    stats.append(ConsumeStats(table, self._tps(group, [topic])))
                    lag += sum(one.broker_offset - one.consumer_offset for one in table.values())
                    inflight += sum(one.pull_offset - one.consumer_offset for one in table.values())
                if stats:
                    groups.append({group: stats})
            body = BrokerConsumeStats(self._identity.address, groups, lag, inflight)
            return Response(body=encode_broker_consume_stats(body, serialize))

        return later

    # -- changes -------------------------------------------------------------------------------

    def reset(self, request: Request, header: ResetOffsetRequestHeader) -> Later:
        """222: to a time, the end (time -1), or one queue's explicit offset."""
        config = self._topics.require(header.topic)
        self._groups.require(header.group)
        queues = list(range(max(config.read_queue_nums, config.write_queue_nums)))
        if header.queue_id != ALL_QUEUES:
            queues = [queue_id for queue_id in queues if queue_id == header.queue_id]
        if not queues:
            raise Refused(
                ResponseCode.SYSTEM_ERROR,
                f"topic [{header.topic}] has no queue {header.queue_id} to reset",
            )
        command = request.command
        for_c = command.language == LanguageCode.CPP

        async def later() -> Response:
            targets = {queue_id: await self._target(header, queue_id) for queue_id in queues}
            table: dict[MessageQueue, int] = {}
            for queue_id, offset in targets.items():
                self._offsets.reset(header.group, header.topic, queue_id, offset)
                table[MessageQueue(header.topic, self._identity.broker_name, queue_id)] = offset
            return Response(body=encode_reset_offset(table, command.serialize, for_c=for_c))

        return later

    async def _target(self, header: ResetOffsetRequestHeader, queue_id: int) -> int:
        low = self._store.queues.min_offset(header.topic, queue_id)
        high = self._store.queues.max_offset(header.topic, queue_id)
        if header.offset is not None and header.offset != -1:
            if not low <= header.offset <= high:
                raise Refused(
                    ResponseCode.SYSTEM_ERROR,
                    f"offset {header.offset} of queue {queue_id} is outside {low} to {high}",
                )
            return header.offset
        if header.timestamp < 0:
            return high
        found = await self._store.reader.offset_by_time(
            header.topic, queue_id, header.timestamp, upper=False
        )
        return min(max(found, low), high)

    def clone(self, _request: Request, header: CloneGroupOffsetRequestHeader) -> Response:
        """314: give a group the places of another, in one topic or in all that it consumes."""
        self._groups.require(header.dest_group)
        topics = [header.topic] if header.topic else self._offsets.topics_of(header.src_group)
        for topic in topics:
            if topic != names.retry_topic(header.src_group):
                self._topics.require(topic)
                self._offsets.clone(header.src_group, header.dest_group, topic)
        return Response()

    # -- whole tables, for slaves and exports --------------------------------------------------

    def all_offsets(self, request: Request, _header: None) -> Response:
        """43."""
        table = ConsumerOffsetTable(self._offsets.data_version, self._offsets.table)
        return Response(body=encode_consumer_offsets(table, request.command.serialize))

    def all_delay_offsets(self, request: Request, _header: None) -> Response:
        """45."""
        table = DelayOffsetTable(self._schedule.data_version, self._schedule.offsets())
        return Response(body=encode_delay_offsets(table, request.command.serialize))
