"""What a consumer group asks brokers: one method for each question, the address always first.

Nothing here is remembered, retried or shared; who asks when is decided elsewhere (the pull API, a
subscription, a simulated consumer). Each method raises `BrokerRefused`, `Unreachable` or
`NoAnswer`, and `RemoteProtocolError` for bytes that are no answer.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple, final

from broker_trio.client.calls import BodyOf, Calls, answered
from broker_trio.client.process_queue import PULL_MAX
from broker_trio.client.routes import read_queues, readable_address
from broker_trio.client.tag_filter import EVERYTHING, TagFilter
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.message import MessageExt, PullSysFlag
from broker_trio.model.route import MessageQueue, TopicRouteData
from broker_trio.wire.bodies.client import decode_consumer_list
from broker_trio.wire.bodies.lock import LockRequest, decode_lock_result, encode_lock_request
from broker_trio.wire.headers.client import GetConsumerListByGroupRequestHeader
from broker_trio.wire.headers.offset import (
    GetMaxOffsetRequestHeader,
    GetMaxOffsetResponseHeader,
    GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader,
    QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader,
    SearchOffsetRequestHeader,
    SearchOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
)
from broker_trio.wire.headers.pull import PullMessageRequestHeader, PullMessageResponseHeader
from broker_trio.wire.headers.send import ConsumerSendMsgBackRequestHeader
from broker_trio.wire.record import decode_records

PULLED: Final = (
    ResponseCode.SUCCESS,
    ResponseCode.PULL_NOT_FOUND,
    ResponseCode.PULL_RETRY_IMMEDIATELY,
    ResponseCode.PULL_OFFSET_MOVED,
)
REJECT: Final = -1
"""The delay level that makes a message a dead letter at once."""


class Pulled(NamedTuple):
    """What one pull brought, filtered.

    `at_end`: there is nothing more right now. `moved`: the offset asked for is none of the queue's
    (deleted, beyond the end, or an operator set the group back); `next_offset` is where to go on.
    """

    messages: list[MessageExt]
    next_offset: int
    min_offset: int
    max_offset: int
    at_end: bool = False
    moved: bool = False
    suggested_id: int = 0


def readable(topic: str, route: TopicRouteData) -> dict[MessageQueue, str]:
    """The topic's readable queues, and the address to read each from."""
    addresses = {data.broker_name: readable_address(data) for data in route.broker_datas}
    found = {queue: addresses.get(queue.broker_name) for queue in read_queues(topic, route)}
    return {queue: address for queue, address in found.items() if address is not None}


@final
class GroupCalls:
    """Questions in the name of one group, by the member `client_id`."""

    def __init__(self, calls: Calls, group: str, client_id: str = "") -> None:
        self._calls, self.group, self._client_id = calls, group, client_id

    # ---- offsets

    async def committed(self, address: str, queue: MessageQueue) -> int | None:
        """Where the group stands in this queue; None where it never committed."""
        header = QueryConsumerOffsetRequestHeader(
            consumer_group=self.group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            set_zero_if_not_found=False,
        )
        accept = (ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND)
        code = RequestCode.QUERY_CONSUMER_OFFSET
        answer = await self._calls.ask(address, code, header, accept=accept)
        if answer.code == ResponseCode.QUERY_NOT_FOUND:
            return None
        return answered(answer, QueryConsumerOffsetResponseHeader).offset

    async def commit(self, address: str, queue: MessageQueue, offset: int) -> None:
        """Everything below `offset` is consumed by the group."""
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group=self.group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            commit_offset=offset,
        )
        await self._calls.ask(address, RequestCode.UPDATE_CONSUMER_OFFSET, header)

    async def begin(self, address: str, queue: MessageQueue) -> int:
        """The queue's first offset."""
        header = GetMinOffsetRequestHeader(topic=queue.topic, queue_id=queue.queue_id)
        answer = await self._calls.ask(address, RequestCode.GET_MIN_OFFSET, header)
        return answered(answer, GetMinOffsetResponseHeader).offset

    async def bounds(self, address: str, queue: MessageQueue) -> tuple[int, int]:
        """Both: what the queue holds now."""
        return await self.begin(address, queue), await self.end(address, queue)

    async def end(self, address: str, queue: MessageQueue) -> int:
        """The offset that the queue's next message will get."""
        header = GetMaxOffsetRequestHeader(topic=queue.topic, queue_id=queue.queue_id)
        answer = await self._calls.ask(address, RequestCode.GET_MAX_OFFSET, header)
        return answered(answer, GetMaxOffsetResponseHeader).offset

    async def offset_of_time(self, address: str, queue: MessageQueue, timestamp_ms: int) -> int:
        """The first message stored at that time (ms since 1970) or later; the end where none is."""
        header = SearchOffsetRequestHeader(
            topic=queue.topic, queue_id=queue.queue_id, timestamp=timestamp_ms
        )
        code = RequestCode.SEARCH_OFFSET_BY_TIMESTAMP
        answer = await self._calls.ask(address, code, header)
        return answered(answer, SearchOffsetResponseHeader).offset

    # ---- messages

    async def pull(
        self,
        address: str,
        queue: MessageQueue,
        offset: int,
        *,
        filter: TagFilter = EVERYTHING,  # noqa: A002 -- what RocketMQ and our API call it
        count: int = PULL_MAX,
        wait_ms: int = 0,
        commit_offset: int | None = None,
    ) -> Pulled:
        """Messages from `offset` on. With `wait_ms` the broker holds the question at the end.

        `commit_offset` commits on the way, as `commit` does. The filter travels with the question,
        so no heartbeat is needed; messages whose tags only share a hash with it are left out here.
        """
        flags = PullSysFlag.SUBSCRIPTION
        if wait_ms:
            flags |= PullSysFlag.SUSPEND
        if commit_offset is not None:
            flags |= PullSysFlag.COMMIT_OFFSET
        header = PullMessageRequestHeader(
            consumer_group=self.group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            queue_offset=offset,
            max_msg_nums=count,
            sys_flag=flags,
            commit_offset=commit_offset or 0,
            suspend_timeout_millis=wait_ms,
            subscription=filter.expression,
            sub_version=0,
            expression_type="TAG",
        )
        answer = await self._calls.ask(
            address, RequestCode.PULL_MESSAGE, header, accept=PULLED, longer_s=wait_ms / 1_000
        )
        told = answered(answer, PullMessageResponseHeader)
        found = decode_records(answer.body) if answer.code == ResponseCode.SUCCESS else []
        return Pulled(
            filter.only(found),
            told.next_begin_offset,
            told.min_offset,
            told.max_offset,
            at_end=answer.code == ResponseCode.PULL_NOT_FOUND,
            moved=answer.code == ResponseCode.PULL_OFFSET_MOVED,
            suggested_id=told.suggest_which_broker_id,
        )

    async def send_back(
        self,
        address: str,
        message: MessageExt,
        level: int,
        *,
        retries_max: int | None = None,
        cause: str | None = None,
    ) -> None:
        """The broker that stores the message keeps it for later: delay `level`, 0 = by the number
        of attempts so far, `REJECT` = to the dead letters now. `retries_max`: the group's if None.
        `cause` is kept with it, by brokers of ours.
        """
        header = ConsumerSendMsgBackRequestHeader(
            offset=message.physical_offset,
            group=self.group,
            delay_level=level,
            origin_msg_id=message.message_id,
            origin_topic=message.topic,
            max_reconsume_times=retries_max,
            cause=cause,
        )
        await self._calls.ask(address, RequestCode.CONSUMER_SEND_MSG_BACK, header)

    # ---- the group itself

    async def members(self, address: str) -> list[str]:
        """Client ids of all members that this broker knows; it refuses where it knows none."""
        header = GetConsumerListByGroupRequestHeader(consumer_group=self.group)
        code = RequestCode.GET_CONSUMER_LIST_BY_GROUP
        answer = await self._calls.ask(address, code, header)
        return decode_consumer_list(answer.body, answer.serialize)

    async def lock(self, address: str, queues: Sequence[MessageQueue]) -> frozenset[MessageQueue]:
        """Take or renew the locks of one broker's queues; those that are ours for 60 s now."""
        code = RequestCode.LOCK_BATCH_MQ
        answer = await self._calls.ask(address, code, body=self._locking(queues))
        return frozenset(decode_lock_result(answer.body, answer.serialize))

    async def unlock(self, address: str, queues: Sequence[MessageQueue]) -> None:
        """Give the locks back."""
        code = RequestCode.UNLOCK_BATCH_MQ
        await self._calls.ask(address, code, body=self._locking(queues))

    def _locking(self, queues: Sequence[MessageQueue]) -> BodyOf:
        """In the serialisation that the broker turns out to speak."""
        return partial(encode_lock_request, LockRequest(self.group, self._client_id, list(queues)))
