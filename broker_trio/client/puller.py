"""A small pull consumer: one queue at a time, from where its group stands.

    begin_offset ──▶ pull ──▶ the caller handles the messages ──▶ commit ──▶ pull …

The subscription travels inline with each pull, so no heartbeat is needed and no other member of the
group is told: two of these in one group both read everything. Sharing queues is the full client's.
"""

from enum import Enum
from typing import Final, NamedTuple, final

from broker_trio.client.calls import Calls
from broker_trio.client.routes import Nameservers, read_queues, readable_address
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.message import MessageExt, PullSysFlag
from broker_trio.model.route import MessageQueue
from broker_trio.wire.headers.base import Header, from_ext
from broker_trio.wire.headers.offset import (
    GetMaxOffsetRequestHeader,
    GetMaxOffsetResponseHeader,
    GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader,
    QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
)
from broker_trio.wire.headers.pull import PullMessageRequestHeader, PullMessageResponseHeader
from broker_trio.wire.record import decode_records

COUNT_MAX: Final = 32
PULLED: Final = (
    ResponseCode.SUCCESS,
    ResponseCode.PULL_NOT_FOUND,
    ResponseCode.PULL_RETRY_IMMEDIATELY,
    ResponseCode.PULL_OFFSET_MOVED,
)


class Start(Enum):
    """Where a group begins that has committed nothing."""

    FIRST = "first"
    LAST = "last"


class Pulled(NamedTuple):
    """What one pull brought. `at_end` is False while there may be more right now."""

    messages: list[MessageExt]
    next_offset: int
    max_offset: int
    at_end: bool


@final
class Puller:
    """Reads queues of one cluster for one group."""

    def __init__(self, calls: Calls, nameservers: Nameservers, group: str) -> None:
        self._calls, self._nameservers, self._group = calls, nameservers, group

    async def queues(self, topic: str) -> dict[MessageQueue, str]:
        """The topic's readable queues, and the address to read each from. Raises `NoRoute`."""
        route = await self._nameservers.route(topic)
        addresses = {data.broker_name: readable_address(data) for data in route.broker_datas}
        found = {}
        for queue in read_queues(topic, route):
            address = addresses.get(queue.broker_name)
            if address is not None:
                found[queue] = address
        return found

    async def begin_offset(self, queue: MessageQueue, address: str, start: Start) -> int:
        """Where the group stands in this queue, else the queue's first or next message."""
        header = QueryConsumerOffsetRequestHeader(
            consumer_group=self._group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            set_zero_if_not_found=False,
        )
        answer = await self._calls.ask(
            address,
            RequestCode.QUERY_CONSUMER_OFFSET,
            header,
            accept=(ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND),
        )
        if answer.code == ResponseCode.SUCCESS:
            return from_ext(answer.ext, QueryConsumerOffsetResponseHeader).offset
        low, high = await self.bounds(queue, address)
        return low if start is Start.FIRST else high

    async def bounds(self, queue: MessageQueue, address: str) -> tuple[int, int]:
        """The queue's first offset, and the next one to be written."""
        low_header: Header = GetMinOffsetRequestHeader(topic=queue.topic, queue_id=queue.queue_id)
        low = await self._calls.ask(address, RequestCode.GET_MIN_OFFSET, low_header)
        high_header: Header = GetMaxOffsetRequestHeader(topic=queue.topic, queue_id=queue.queue_id)
        high = await self._calls.ask(address, RequestCode.GET_MAX_OFFSET, high_header)
        return (
            from_ext(low.ext, GetMinOffsetResponseHeader).offset,
            from_ext(high.ext, GetMaxOffsetResponseHeader).offset,
        )

    async def pull(
        self,
        queue: MessageQueue,
        address: str,
        offset: int,
        *,
        tags: str = "*",
        count: int = COUNT_MAX,
        wait_ms: int = 0,
    ) -> Pulled:
        """Messages from `offset` on. With `wait_ms` the broker holds the question at the end."""
        hold = PullSysFlag.SUSPEND if wait_ms else 0
        header = PullMessageRequestHeader(
            consumer_group=self._group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            queue_offset=offset,
            max_msg_nums=count,
            sys_flag=PullSysFlag.SUBSCRIPTION | hold,
            commit_offset=0,
            suspend_timeout_millis=wait_ms,
            subscription=tags,
            sub_version=0,
            expression_type="TAG",
        )
        answer = await self._calls.ask(
            address, RequestCode.PULL_MESSAGE, header, accept=PULLED, longer_s=wait_ms / 1_000
        )
        told = from_ext(answer.ext, PullMessageResponseHeader)
        found = answer.code == ResponseCode.SUCCESS
        messages = decode_records(answer.body) if found else []
        at_end = answer.code == ResponseCode.PULL_NOT_FOUND
        if tags != "*":  # the broker compares hashes of tags; two tags may share one
            wanted = {tag.strip() for tag in tags.split("||")}
            messages = [message for message in messages if message.tags in wanted]
        return Pulled(messages, told.next_begin_offset, told.max_offset, at_end)

    async def commit(self, queue: MessageQueue, address: str, offset: int) -> None:
        """Everything below `offset` is consumed by the group."""
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group=self._group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            commit_offset=offset,
        )
        await self._calls.ask(address, RequestCode.UPDATE_CONSUMER_OFFSET, header)
