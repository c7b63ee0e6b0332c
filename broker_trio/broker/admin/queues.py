"""Questions about the queues of a topic: 303 (time spans), 308 (corrections), 321 (units).

303 tells how far a group is behind in time, queue by queue. 308 tells where a group stands beside
the slowest of the others, and only tells it: Apache's broker deletes the offsets of the groups that
a question leaves out. 321 shows a consume queue's units as they are, for somebody who looks for a
message that nobody gets.
"""

from typing import Any, Final, final

import trio

from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.registrar import Identity
from broker_trio.broker.sessions import Sessions
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.route import MessageQueue
from broker_trio.model.subscription import SubscriptionData
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.runtime.seams import Clock
from broker_trio.store.store import Store
from broker_trio.store.units import UNIT
from broker_trio.wire.bodies.offsets import QueueTimeSpan, encode_consume_time_span
from broker_trio.wire.bodies.queue import (
    ConsumeQueueBody,
    ConsumeQueueUnit,
    encode_consume_queue,
    encode_correction_offsets,
)
from broker_trio.wire.headers.admin import QueryConsumeTimeSpanRequestHeader
from broker_trio.wire.headers.offset import (
    QueryConsumeQueueRequestHeader,
    QueryCorrectionOffsetRequestHeader,
)

UNITS_MAX: Final = 1_000
"""Units in one answer to 321: some 100 KB."""
NEVER: Final = (1 << 63) - 1
"""What 308 says of a queue in which the compared group is behind all others."""


@final
class QueueAdmin:
    """What tools ask of one topic's queues."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        topics: Topics,
        offsets: ConsumerOffsets,
        sessions: Sessions,
        identity: Identity,
    ) -> None:
        self._store, self._clock, self._topics = store, clock, topics
        self._offsets, self._sessions, self._identity = offsets, sessions, identity

    def routes(self) -> tuple[Route[Any], ...]:
        code = RequestCode
        return (
            Route(code.QUERY_CONSUME_TIME_SPAN, QueryConsumeTimeSpanRequestHeader, self.time_spans),
            Route(
                code.QUERY_CORRECTION_OFFSET,
                QueryCorrectionOffsetRequestHeader,
                self.corrections,
                note="deletes no offsets, as Apache does of the groups that are left out",
            ),
            Route(code.QUERY_CONSUME_QUEUE, QueryConsumeQueueRequestHeader, self.units),
        )

    def time_spans(self, request: Request, header: QueryConsumeTimeSpanRequestHeader) -> Later:
        """303: store times of each queue's first, last and last consumed message, in ms."""
        topic = self._topics.require(header.topic)
        serialize = request.command.serialize

        async def later() -> Response:
            spans = []
            for queue_id in range(topic.write_queue_nums):
                await trio.lowlevel.checkpoint()
                spans.append(await self._span(header.topic, header.group, queue_id))
            return Response(body=encode_consume_time_span(spans, serialize))

        return later

    async def _span(self, topic: str, group: str, queue_id: int) -> QueueTimeSpan:
        queues, time_at = self._store.queues, self._store.reader.store_time_at
        low, high = queues.min_offset(topic, queue_id), queues.max_offset(topic, queue_id)
        first = await time_at(topic, queue_id, low)
        last = await time_at(topic, queue_id, high - 1)
        consumed = self._offsets.query(group, topic, queue_id)
        at, behind = first, 0
        if consumed > 0:
            at = await time_at(topic, queue_id, consumed - 1)
        if consumed < high:
            waiting = await time_at(topic, queue_id, max(consumed, low))
            behind = self._clock.wall_ms() - waiting if waiting >= 0 else 0
        queue = MessageQueue(topic, self._identity.broker_name, queue_id)
        return QueueTimeSpan(queue, first, last, at, behind)

    def corrections(self, request: Request, header: QueryCorrectionOffsetRequestHeader) -> Response:
        """308: per queue the smallest offset of all groups but those left out.

        Where the compared group stands before it, `NEVER`.
        """
        left_out = {group for group in (header.filter_groups or "").split(",") if group}
        slowest: dict[int, int] = {}
        for topic, group, committed in self._offsets.items():
            if topic != header.topic or group in left_out:
                continue
            for queue_id, offset in committed.items():
                if offset >= self._store.queues.min_offset(topic, queue_id):
                    slowest[queue_id] = min(offset, slowest.get(queue_id, NEVER))
        for queue_id, smallest in slowest.items():
            compared = self._offsets.query(header.compare_group, header.topic, queue_id)
            if 0 <= compared < smallest:
                slowest[queue_id] = NEVER
        return Response(body=encode_correction_offsets(slowest, request.command.serialize))

    def units(self, request: Request, header: QueryConsumeQueueRequestHeader) -> Later | Response:
        """321: a queue's units from `index` on, at most `UNITS_MAX`."""
        topic, queue_id = header.topic or "", header.queue_id
        queue = self._store.queues.get(topic, queue_id)
        if queue is None:
            raise Refused(ResponseCode.SYSTEM_ERROR, f"{queue_id}@{topic} is not exist!")
        low, high = queue.min_offset, queue.max_offset
        if not low <= header.index < high:
            remark = f"Index {header.index} of {queue_id}@{topic} is not exist! [{low}, {high})"
            return Response(remark=remark)  # 0, as Apache has it
        wanted = filter_data = None
        if group := header.consumer_group:
            wanted = self._sessions.subscription(group, topic)
            filter_data = f"{group}@{topic} is not online!" if wanted is None else "null"
        serialize, count = request.command.serialize, min(max(header.count, 0), UNITS_MAX)

        async def later() -> Response:
            data = await queue.units(header.index, count)
            body = ConsumeQueueBody(low, high, _rows(data, wanted), wanted, filter_data)
            return Response(body=encode_consume_queue(body, serialize))

        return later


def _rows(data: bytes, wanted: SubscriptionData | None) -> list[ConsumeQueueUnit]:
    """`eval` is false where nobody asked for a group."""
    return [
        ConsumeQueueUnit(position, size, code, wanted is not None and wanted.matches(code))
        for position, size, code in UNIT.iter_unpack(data)
    ]
