"""Dead letters: which groups have some, why they died, and the way back into consumption.

    %DLQ%<group>   ──────────────┬────────────────────┬──────────────▶ newest
                   sent back     ▲ place              ▲ end when a send-back began
                   or passed     └── of TOOLS_CONSUMER in this queue, moved after each message

What waits is what lies behind the place. A message is sent back first and the place moved after
it, so that an interrupted run repeats at most one message and loses none. It goes to the group's
own retry topic, with its attempts counted from 0, so that no other group sees it twice; or to the
topic that it came from, which every group of that topic then consumes.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Self, final

import anyio

from broker_trio.client.admin.asking import ask_each
from broker_trio.client.admin.brokers import Brokers
from broker_trio.client.admin.groups import Groups
from broker_trio.client.admin.messages import TOOL_GROUP, Messages, Walk
from broker_trio.client.admin.offsets import Offsets
from broker_trio.client.admin.problems import NoSuchGroup
from broker_trio.client.admin.topics import Topics
from broker_trio.client.calls import Calls
from broker_trio.client.errors import ClientError
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.message import (
    OUR_DLQ_CAUSE,
    PROPERTY_DELAY,
    PROPERTY_MAX_OFFSET,
    PROPERTY_MIN_OFFSET,
    PROPERTY_ORIGIN_MESSAGE_ID,
    PROPERTY_RETRY_TOPIC,
    PROPERTY_WAIT,
    MessageExt,
    SysFlag,
)
from broker_trio.model.names import DLQ_PREFIX, TBW102, dlq_topic, is_dlq, retry_topic
from broker_trio.model.route import MessageQueue
from broker_trio.wire.headers.send import SendMessageRequestHeader, SendMessageV2RequestHeader
from broker_trio.wire.properties import format_properties

PRODUCER: Final = "CLIENT_INNER_PRODUCER"
ATTEMPTS_DEFAULT: Final = 16
STORED: Final = (
    ResponseCode.SUCCESS,
    ResponseCode.FLUSH_DISK_TIMEOUT,
    ResponseCode.SLAVE_NOT_AVAILABLE,
    ResponseCode.FLUSH_SLAVE_TIMEOUT,
)
KEPT_FLAGS: Final = SysFlag.COMPRESSED | SysFlag.COMPRESSION_MASK | SysFlag.MULTI_TAGS
_NOT_SENT: Final = (
    PROPERTY_DELAY,
    PROPERTY_WAIT,
    PROPERTY_MIN_OFFSET,
    PROPERTY_MAX_OFFSET,
    OUR_DLQ_CAUSE,
)

By = Literal["cause", "topic", "tag", "attempts"]
Where = Literal["retry", "origin"]
Filter = Callable[[MessageExt], bool]


class OrderedGroup(ClientError):
    """The broker put a message that was sent back among the dead letters again, at once."""

    def __init__(self, group: str) -> None:
        super().__init__(
            f"group {group} consumes in order and holds queue locks: its broker makes "
            "every message to its retry topic a dead letter at once"
        )


class DeadQueue(NamedTuple):
    """One broker's dead letters of a group. `place`: everything below it was sent back."""

    queue: MessageQueue
    address: str
    low: int
    high: int
    place: int

    @property
    def waiting(self) -> int:
        return self.high - self.place

    @property
    def total(self) -> int:
        return self.high - self.low


class DeadGroup(NamedTuple):
    """All dead letters of a group. `newest_ms`: when the last one died, 0 where there is none."""

    group: str
    queues: list[DeadQueue]
    newest_ms: int

    @property
    def waiting(self) -> int:
        return sum(each.waiting for each in self.queues)

    @property
    def total(self) -> int:
        return sum(each.total for each in self.queues)

    @property
    def ever(self) -> int:
        return sum(each.high for each in self.queues)


class SentBack(NamedTuple):
    """One message that was looked at: sent to `topic`, or passed over by the filter ("")."""

    message: MessageExt
    topic: str


def origin_topic(message: MessageExt) -> str:
    """Where the message was first; "" where it does not say so."""
    return message.properties.get(PROPERTY_RETRY_TOPIC, "")


def cause_of(message: MessageExt, attempts_max: int = ATTEMPTS_DEFAULT) -> str:
    """Why it died: in the consumer's own words where it told, else what its attempts tell."""
    told = message.properties.get(OUR_DLQ_CAUSE)
    if told:
        return told
    if message.reconsume_times >= attempts_max:
        return f"{attempts_max} attempts used up"
    return "given up by the consumer"


@final
class DeadLetters:
    """The dead letters of one cluster."""

    def __init__(
        self,
        calls: Calls,
        nameservers: Nameservers,
        brokers: Brokers,
        topics: Topics,
        groups: Groups,
        offsets: Offsets,
        messages: Messages,
    ) -> None:
        self._calls, self._nameservers, self._brokers = calls, nameservers, brokers
        self._topics, self._groups = topics, groups
        self._offsets, self._messages = offsets, messages

    # -- looking -------------------------------------------------------------------------------

    async def groups(self) -> list[DeadGroup]:
        """Every group that ever had a dead letter which is still there."""
        names = [name for name in await self._nameservers.topics() if is_dlq(name)]
        found = await ask_each(
            {name.removeprefix(DLQ_PREFIX): name for name in names}, self._of_topic
        )
        return [each for each in found.some().values() if each.total] if names else []

    async def of(self, group: str) -> DeadGroup:
        """One group's dead letters. A group that never had any has none. Raises `NoSuchGroup`."""
        topic = dlq_topic(group)
        if topic not in await self._nameservers.topics():
            await self._groups.configs(group)
            return DeadGroup(group, [], 0)
        return await self._of_topic(topic)

    async def _of_topic(self, topic: str) -> DeadGroup:
        queues = []
        for queue, address in (await self._offsets.queues(topic)).items():
            low, high = await self._offsets.bounds(queue, address)
            place = await self._offsets.committed(TOOL_GROUP, queue, address)
            queues.append(DeadQueue(queue, address, low, high, min(max(place, low), high)))
        state = await self._topics.state(topic)
        newest = max((each.last_update_timestamp for each in state.queues.values()), default=0)
        return DeadGroup(topic.removeprefix(DLQ_PREFIX), queues, newest)

    async def peek(
        self, group: str, count: int, *, first: bool = False, everything: bool = False
    ) -> list[MessageExt]:
        """The newest that wait, of each broker, or the oldest (`first`); `everything` begins with
        those that were sent back."""
        found: list[MessageExt] = []
        for each in (await self.of(group)).queues:
            begin = each.low if everything else each.place
            if not first:
                begin = max(begin, each.high - count)
            if begin < each.high:
                page = await self._messages.read(each.queue, each.address, begin, count)
                found += page.messages[:count]
        return sorted(found, key=lambda message: message.store_timestamp_ms)

    async def count(self, dead: DeadGroup, by: By, *, everything: bool = False) -> Counter[str]:
        """How many died of what, of which topic, with which tag, after how many attempts."""
        attempts = await self.attempts_max(dead.group)
        key: dict[By, Callable[[MessageExt], str]] = {
            "cause": lambda message: cause_of(message, attempts),
            "topic": origin_topic,
            "tag": lambda message: message.tags or "",
            "attempts": lambda message: str(message.reconsume_times),
        }
        counts: Counter[str] = Counter()
        for each in dead.queues:
            begin = each.low if everything else each.place
            async for message in self._messages.walk(each.queue, each.address, begin, each.high):
                counts[key[by](message)] += 1
        return counts

    async def attempts_max(self, group: str) -> int:
        """How often the group tries, by the first broker that knows it."""
        try:
            configs = await self._groups.configs(group)
        except NoSuchGroup:
            return ATTEMPTS_DEFAULT
        return next(iter(configs.values())).retry_max_times

    # -- the way back --------------------------------------------------------------------------

    def send_back(
        self,
        dead: DeadGroup,
        *,
        per_s: float,
        to: Where = "retry",
        wanted: Filter | None = None,
        everything: bool = False,
    ) -> "SendBack":
        """Send what waits back, at most `per_s` a second: `async for sent in …`, see `SendBack`."""
        return SendBack(self, dead, per_s, to, wanted, everything=everything)

    def of_queue(self, queue: DeadQueue, *, everything: bool) -> Walk:
        """The messages of one broker as they are stored."""
        begin = queue.low if everything else queue.place
        return self._messages.walk(queue.queue, queue.address, begin, queue.high, raw=True)

    async def done_with(self, queue: DeadQueue, message: MessageExt) -> None:
        """Move the place behind the message."""
        if message.queue_offset >= queue.place:
            await self._offsets.commit(
                TOOL_GROUP, queue.queue, queue.address, message.queue_offset + 1
            )

    async def send(self, dead: DeadQueue, message: MessageExt, group: str, to: Where) -> str:
        """Store the message again, with its attempts counted from 0; the topic that it went to."""
        properties = {
            name: value for name, value in message.properties.items() if name not in _NOT_SENT
        }
        topic = retry_topic(group)
        if to == "origin":
            topic = origin_topic(message)
            if not topic:
                raise ClientError(
                    f"message {message.message_id} does not say which topic it came from"
                )
            properties.pop(PROPERTY_RETRY_TOPIC, None)
            properties.pop(PROPERTY_ORIGIN_MESSAGE_ID, None)
        header: SendMessageRequestHeader = SendMessageV2RequestHeader(
            producer_group=PRODUCER,
            topic=topic,
            default_topic=TBW102,
            default_topic_queue_nums=1,
            queue_id=-1,  # any
            sys_flag=message.sys_flag & KEPT_FLAGS,
            born_timestamp=message.born_timestamp_ms,
            flag=message.flag,
            properties=format_properties(properties).decode() or None,
            reconsume_times=0,
            bname=dead.queue.broker_name,
        )
        await self._calls.ask(
            dead.address, RequestCode.SEND_MESSAGE_V2, header, message.body, accept=STORED
        )
        return topic

    async def check_not_dead_again(self, dead: DeadQueue, message: MessageExt, group: str) -> None:
        """A group that holds queue locks has no use for its retry topic; see the broker's retry."""
        _, high = await self._offsets.bounds(dead.queue, dead.address)
        if high == dead.high:
            return
        page = await self._messages.read(dead.queue, dead.address, dead.high, raw=True)
        if any(again.uniq_key == message.uniq_key for again in page.messages):
            raise OrderedGroup(group)


@final
class SendBack:
    """One item for each message that was looked at; it may be left at any time.

    What the filter refuses is passed over, and counts as handled. What was told is done; after an
    error or a cancellation at most one message more. Raises `OrderedGroup`, `BrokerRefused`,
    `NoAnswer` where one message's outcome is unknown.
    """

    def __init__(
        self,
        dead_letters: DeadLetters,
        dead: DeadGroup,
        per_s: float,
        to: Where,
        wanted: Filter | None,
        *,
        everything: bool,
    ) -> None:
        assert per_s > 0, "a rate is above 0"
        self._dead_letters, self._group, self._to, self._wanted = (
            dead_letters,
            dead.group,
            to,
            wanted,
        )
        self._pause_s = 1 / per_s
        self._next_at = 0.0
        self._left = [
            (each, dead_letters.of_queue(each, everything=everything)) for each in dead.queues
        ]
        self._checked: set[str] = set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SentBack:
        while self._left:
            queue, walk = self._left[0]
            try:
                message = await anext(walk)
            except StopAsyncIteration:
                self._left.pop(0)
                continue
            topic = ""
            if self._wanted is None or self._wanted(message):
                topic = await self._one(queue, message)
            await self._dead_letters.done_with(queue, message)
            return SentBack(message, topic)
        raise StopAsyncIteration

    async def _one(self, queue: DeadQueue, message: MessageExt) -> str:
        await anyio.sleep_until(self._next_at)
        self._next_at = anyio.current_time() + self._pause_s
        topic = await self._dead_letters.send(queue, message, self._group, self._to)
        if self._to == "retry" and queue.address not in self._checked:
            await self._dead_letters.check_not_dead_again(queue, message, self._group)
            self._checked.add(queue.address)
        return topic
