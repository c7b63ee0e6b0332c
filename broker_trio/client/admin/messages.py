"""Stored messages: found by id, key or time, and read from any place.

Nothing here moves a group: reads are done as TOOLS_CONSUMER, which every broker has, and commit
nothing. Bodies that producers compressed are shown as they were before (see unpack.py).
"""

from typing import Final, NamedTuple, Self, final

import msgspec

from broker_trio.client.admin.asking import ask_each
from broker_trio.client.admin.brokers import Brokers
from broker_trio.client.admin.offsets import Offsets
from broker_trio.client.admin.problems import ForeignMessageId, NoSuchMessage
from broker_trio.client.calls import Calls, answered
from broker_trio.client.codecs import BodyUnreadable
from broker_trio.client.errors import BrokerRefused
from broker_trio.client.unpack import unpacked
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.hosts import decode_message_id
from broker_trio.model.message import MessageExt, PullSysFlag, SysFlag
from broker_trio.model.route import MessageQueue
from broker_trio.wire.headers.pull import PullMessageRequestHeader, PullMessageResponseHeader
from broker_trio.wire.headers.query import QueryMessageRequestHeader, ViewMessageRequestHeader
from broker_trio.wire.record import decode_record, decode_records

LATEST_MS: Final = (1 << 63) - 1
TOOL_GROUP: Final = "TOOLS_CONSUMER"  # exists on every broker
PAGE: Final = 32
PULLED: Final = (
    ResponseCode.SUCCESS,
    ResponseCode.PULL_NOT_FOUND,
    ResponseCode.PULL_RETRY_IMMEDIATELY,
    ResponseCode.PULL_OFFSET_MOVED,
)


class Page(NamedTuple):
    """What one read brought, and where the next begins. `at_end`: there is no more right now."""

    messages: list[MessageExt]
    next_offset: int
    at_end: bool


@final
class Messages:
    """The stored messages of one cluster."""

    def __init__(self, calls: Calls, brokers: Brokers, offsets: Offsets) -> None:
        self._calls, self._brokers, self._offsets = calls, brokers, offsets

    # -- by id and key -------------------------------------------------------------------------

    async def by_id(self, message_id: str) -> MessageExt:
        """The message that an offset message id points to, from the broker that the id names.

        Only a broker of this cluster is asked: other ids are hex digits, too, and spell an address
        of anybody. Raises `ForeignMessageId` for those and for what is no such id, `NoSuchMessage`
        where that place holds none.
        """
        address, offset = await self.place_of(message_id)
        header = ViewMessageRequestHeader(offset=offset)
        try:
            answer = await self._calls.ask(address, RequestCode.VIEW_MESSAGE_BY_ID, header)
        except BrokerRefused as refusal:
            if refusal.code == ResponseCode.SYSTEM_ERROR:
                raise NoSuchMessage(
                    f"no message {message_id}: {address} has none at {offset} of its log "
                    f"({refusal.remark or 'no reason given'})"
                ) from refusal
            raise
        return inflated(decode_record(answer.body))

    async def place_of(self, message_id: str) -> tuple[str, int]:
        """("ip:port", physical offset) of an offset message id of this cluster.

        Raises `ForeignMessageId`.
        """
        try:
            address, offset = decode_message_id(message_id)
        except RemoteProtocolError as error:
            raise ForeignMessageId(message_id, str(error)) from error
        if address not in {each.address for each in await self._brokers.replicas()}:
            raise ForeignMessageId(message_id, f"no broker is registered at {address}")
        return address, offset

    async def by_key(
        self,
        topic: str,
        key: str,
        *,
        unique: bool = False,
        begin_ms: int = 0,
        end_ms: int = LATEST_MS,
        count_max: int = 64,
    ) -> list[MessageExt]:
        """Messages with that key from every broker of the topic, oldest first.

        `unique`: the key is a message's own id (UNIQ_KEY). Raises `NoRoute`.
        """
        header = QueryMessageRequestHeader(
            topic=topic,
            key=key,
            max_num=count_max,
            begin_timestamp=begin_ms,
            end_timestamp=end_ms,
            unique_key_query=unique,
        )

        async def one(address: str) -> list[MessageExt]:
            answer = await self._calls.ask(
                address,
                RequestCode.QUERY_MESSAGE,
                header,
                accept=(ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND),
            )
            return decode_records(answer.body) if answer.code == ResponseCode.SUCCESS else []

        asked = await ask_each(await self._brokers.readable_of_topic(topic), one)
        found = [inflated(each) for messages in asked.some().values() for each in messages]
        return sorted(found, key=lambda each: each.store_timestamp_ms)[:count_max]

    # -- by place and time ---------------------------------------------------------------------

    async def read(
        self,
        queue: MessageQueue,
        address: str,
        offset: int,
        count: int = PAGE,
        *,
        raw: bool = False,
    ) -> Page:
        """Messages of one queue from `offset` on; `raw` leaves bodies as they are stored.

        Raises `BrokerRefused` 16 where the topic may not be read.
        """
        header = PullMessageRequestHeader(
            consumer_group=TOOL_GROUP,
            topic=queue.topic,
            queue_id=queue.queue_id,
            queue_offset=offset,
            max_msg_nums=min(count, PAGE),
            sys_flag=PullSysFlag.SUBSCRIPTION,
            commit_offset=0,
            suspend_timeout_millis=0,
            subscription="*",
            sub_version=0,
            expression_type="TAG",
        )
        answer = await self._calls.ask(address, RequestCode.PULL_MESSAGE, header, accept=PULLED)
        told = answered(answer, PullMessageResponseHeader)
        found = decode_records(answer.body) if answer.code == ResponseCode.SUCCESS else []
        at_end = answer.code == ResponseCode.PULL_NOT_FOUND
        shown = found if raw else [inflated(each) for each in found]
        return Page(shown, told.next_begin_offset, at_end)

    def walk(
        self, queue: MessageQueue, address: str, offset: int, end: int, *, raw: bool = False
    ) -> "Walk":
        """Messages of one queue from `offset` to below `end`, page by page."""
        return Walk(self, queue, address, offset, end, raw=raw)

    async def newest(
        self, topic: str, count: int, *, queue_id: int | None = None, offset: int | None = None
    ) -> list[MessageExt]:
        """The last `count` of each queue, or those from `offset` on. Raises `NoRoute`."""
        found: list[MessageExt] = []
        for queue, address in (await self._offsets.queues(topic, queue_id)).items():
            low, high = await self._offsets.bounds(queue, address)
            begin = max(low, high - count) if offset is None else offset
            if low <= begin < high:
                found += (await self.read(queue, address, begin, count)).messages[:count]
        return found

    async def by_time(
        self, topic: str, begin_ms: int, end_ms: int, count_max: int
    ) -> list[MessageExt]:
        """The first messages stored from `begin_ms` to `end_ms`, oldest first. Raises `NoRoute`."""
        found: list[MessageExt] = []
        for queue, address in (await self._offsets.queues(topic)).items():
            begin = await self._offsets.at_time(queue, address, begin_ms)
            _, high = await self._offsets.bounds(queue, address)
            taken = 0
            async for message in self.walk(queue, address, begin, high):
                if message.store_timestamp_ms > end_ms or taken == count_max:
                    break
                if message.store_timestamp_ms >= begin_ms:
                    found.append(message)
                    taken += 1
        return sorted(found, key=lambda each: each.store_timestamp_ms)[:count_max]


@final
class Walk:
    """`async for message in walk`: it may be left at any time, and holds at most one page."""

    def __init__(
        self,
        messages: Messages,
        queue: MessageQueue,
        address: str,
        offset: int,
        end: int,
        *,
        raw: bool,
    ) -> None:
        self._messages, self._queue, self._address = messages, queue, address
        self._offset, self._end, self._raw = offset, end, raw
        self._page: list[MessageExt] = []  # newest first

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageExt:
        while not self._page:
            if self._offset >= self._end:
                raise StopAsyncIteration
            page = await self._messages.read(
                self._queue, self._address, self._offset, raw=self._raw
            )
            self._page = [m for m in reversed(page.messages) if m.queue_offset < self._end]
            moved = page.next_offset > self._offset
            self._offset = page.next_offset if moved and not page.at_end else self._end
        return self._page.pop()


def inflated(message: MessageExt) -> MessageExt:
    """The message with its body as its producer gave it; as it is stored where nobody can tell."""
    if not message.sys_flag & SysFlag.COMPRESSED:
        return message
    try:
        return msgspec.structs.replace(message, body=unpacked(message))
    except BodyUnreadable:  # an administrator wants to see what is there
        return message
