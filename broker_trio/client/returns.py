"""Failed messages on their way back: to the broker that stores them, until it has them.

    settled with an error ──▶ put ──▶ 36 to the broker of the queue ── yes ──▶ resolved
                                        │ refused, or not reachable
                                        ▼
                                      a send to %RETRY%<group> on any broker ── yes ──▶ resolved
                                        │ no
                                        └──▶ again after a pause; told once by an event

Until a broker has it the message stays unresolved, so that the committed offset does not pass it:
were this process to end now, another member would get it again. What waits here is bounded by the
prefetch, because unresolved messages take its places.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, final

import anyio

from broker_trio.client.consumer_events import ReturnFailed
from broker_trio.client.errors import NoAnswer, NoRoute, Unreachable
from broker_trio.client.group_calls import REJECT
from broker_trio.client.membership import TROUBLE, Backoff, Membership
from broker_trio.client.process_queue import Held, ProcessQueue
from broker_trio.client.routes import masters, write_queues
from broker_trio.model.codes import RequestCode
from broker_trio.model.message import (
    PROPERTY_DELAY,
    PROPERTY_MAX_RECONSUME_TIMES,
    PROPERTY_ORIGIN_MESSAGE_ID,
    PROPERTY_RECONSUME_TIME,
    PROPERTY_RETRY_TOPIC,
    PROPERTY_TRAN_MSG,
    MessageExt,
    SysFlag,
)
from broker_trio.model.names import TBW102, retry_topic
from broker_trio.wire.headers.send import SendMessageV2RequestHeader
from broker_trio.wire.properties import format_properties

WORKERS: Final = 4
FIRST_RETRY_LEVEL: Final = 3
SILENT_S: Final = 5.0  # how long a broker that did not answer is left alone
KEPT_FLAGS: Final = SysFlag.COMPRESSED | SysFlag.COMPRESSION_MASK | SysFlag.MULTI_TAGS

Resolved = Callable[[ProcessQueue, int], None]
"""Told of each message that a broker took: its queue and offset."""


class Return(NamedTuple):
    """One message to give back; `level` and `cause` as in `GroupCalls.send_back`."""

    source: ProcessQueue
    held: Held
    level: int
    cause: str = ""


@final
class Returns:
    """What waits, and the tasks that work it off."""

    def __init__(self, member: Membership, resolved: Resolved) -> None:
        self._member, self._resolved = member, resolved
        self._waiting: deque[Return] = deque()
        self._busy = 0
        self._told = False
        self._silent: dict[str, float] = {}  # brokers that did not answer, and until when to wait
        self._news = anyio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + self._busy

    def put(self, one: Return) -> None:
        self._waiting.append(one)
        self._news.set()

    async def keep(self) -> None:
        """Work, until cancelled."""
        async with anyio.create_task_group() as tasks:
            for _ in range(WORKERS):
                tasks.start_soon(self._work)

    async def _work(self) -> None:
        backoff = Backoff(self._member.session)
        while True:
            while not self._waiting:
                self._news = anyio.Event()
                await self._news.wait()
            one = self._waiting.popleft()
            self._busy += 1
            try:
                given = await self._until_given(one, backoff)
            finally:
                self._busy -= 1
            backoff.reset()
            if given:
                self._resolved(one.source, one.held.message.queue_offset)

    async def _until_given(self, one: Return, backoff: Backoff) -> bool:
        """False: its queue went to another member meanwhile, who gets the message too."""
        while not one.source.dropped:
            if await self._give(one):
                return True
            await backoff.pause()
        return False

    async def _give(self, one: Return) -> bool:
        """Whether a broker has it now."""
        member, message, broker = self._member, one.held.message, one.source.queue.broker_name
        if one.level != REJECT and anyio.current_time() < self._silent.get(broker, 0.0):
            return await self._send_instead(one)  # others need not find out what one has found out
        try:
            address = await member.session.broker_address(broker)
            await member.calls.send_back(
                address,
                message,
                one.level,
                retries_max=member.options.retries_max,
                cause=one.cause or None,
            )
        except TROUBLE as error:
            if isinstance(error, NoAnswer | Unreachable):
                self._silent[broker] = anyio.current_time() + SILENT_S
            if one.level == REJECT or isinstance(error, NoAnswer):
                self._note(message, error)  # a plain send cannot name the dead letters; and what
                return False  # nobody answered was perhaps done: it is asked for again
            return await self._send_instead(one)
        self._silent.pop(broker, None)
        self._told = False
        return True

    async def _send_instead(self, one: Return) -> bool:
        try:
            await self._send(one.held.message, one)
        except TROUBLE as error:
            self._note(one.held.message, error)
            return False
        return True

    async def _send(self, message: MessageExt, one: Return) -> None:
        member = self._member
        topic = retry_topic(member.group)
        route = await member.session.routes.get(topic)
        queues, addresses = write_queues(topic, route), masters(route)
        if not queues:
            raise NoRoute(topic, "none of its brokers takes messages")
        others = [queue for queue in queues if queue.broker_name not in self._silent] or queues
        queue = others[member.session.entropy.randrange(len(others))]
        header = SendMessageV2RequestHeader(
            producer_group=member.group,
            topic=topic,
            default_topic=TBW102,
            default_topic_queue_nums=1,
            queue_id=queue.queue_id,
            sys_flag=message.sys_flag & KEPT_FLAGS,
            born_timestamp=message.born_timestamp_ms,
            flag=message.flag,
            properties=self._properties(message, one.level),
            reconsume_times=message.reconsume_times + 1,
            max_reconsume_times=member.options.retries_max,
            bname=queue.broker_name,
        )
        code = RequestCode.SEND_MESSAGE_V2
        await member.session.calls.ask(addresses[queue.broker_name], code, header, message.body)

    def _properties(self, message: MessageExt, level: int) -> str:
        """The original's, and where it came from."""
        kept = dict(message.properties)
        kept.pop(PROPERTY_TRAN_MSG, None)
        kept.setdefault(PROPERTY_RETRY_TOPIC, message.topic)
        kept.setdefault(PROPERTY_ORIGIN_MESSAGE_ID, message.message_id)
        kept[PROPERTY_RECONSUME_TIME] = str(message.reconsume_times + 1)
        if self._member.options.retries_max is not None:
            kept[PROPERTY_MAX_RECONSUME_TIMES] = str(self._member.options.retries_max)
        kept[PROPERTY_DELAY] = str(level or FIRST_RETRY_LEVEL + message.reconsume_times)
        return format_properties(kept).decode()

    def _note(self, message: MessageExt, error: Exception) -> None:
        if not self._told:
            self._told = True
            name = message.uniq_key or message.message_id
            self._member.emit(ReturnFailed(self._member.group, message.topic, name, str(error)))
