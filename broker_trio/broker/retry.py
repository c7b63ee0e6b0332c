"""Messages that a consumer could not handle: back to the retry topic, or to the dead letters.

    36 CONSUMER_SEND_MSG_BACK ── reconsumeTimes < max ─▶ %RETRY%<group>, after a delay level
                              └─ else, or level < 0   ─▶ %DLQ%<group>, at once
    send to %RETRY%<group>    ── within max, no locks ─▶ as it is      (the client's way out when 36
                              └─ else                 ─▶ %DLQ%<group>   fails, and orderly groups)

The copy has the original's body, flags, born data and properties, reconsumeTimes + 1, the topic
that it came from in RETRY_TOPIC and the first message's id in ORIGIN_MESSAGE_ID. The original is
looked up in this broker's log: a client sends back to the broker that it pulled from. An answer
other than 0 makes the client send the message itself, so that "stored, not yet durable" is an error
here: the price is a message delivered twice.
"""

from typing import Any, Final, final

import msgspec
import trio

from broker_trio.broker.groups import Groups
from broker_trio.broker.locks import Locks
from broker_trio.broker.properties import checked
from broker_trio.broker.replication.acks import REMARKS, Acks, Outcome
from broker_trio.broker.schedule import to_schedule
from broker_trio.broker.settings import Settings
from broker_trio.broker.stats import BrokerStats
from broker_trio.broker.topics import Topics
from broker_trio.model import names
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused, RemoteProtocolError
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.hashes import tags_code
from broker_trio.model.hosts import encode_host
from broker_trio.model.message import (
    OUR_DLQ_CAUSE,
    PROPERTY_DELAY,
    PROPERTY_ORIGIN_MESSAGE_ID,
    PROPERTY_RETRY_TOPIC,
    PROPERTY_TAGS,
    PROPERTY_WAIT,
    MessageExt,
)
from broker_trio.model.route import Perm
from broker_trio.model.topic import TopicConfig
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.runtime.seams import Entropy
from broker_trio.store.config import StoreConfig
from broker_trio.store.store import Draft, Store
from broker_trio.wire.headers.send import ConsumerSendMsgBackRequestHeader
from broker_trio.wire.properties import format_properties
from broker_trio.wire.record import decode_record

RECONSUME_TIMES_MAX: Final = 2**31 - 1  # what a record's field holds; a peer may begin there
FIRST_RETRY_LEVEL: Final = 3  # 10 s; each further attempt waits one level longer
CAUSE_CHARS_MAX: Final = 200
MAX_TIMES_SINCE_VERSION: Final = 121  # V3_4_9: older clients send no maxReconsumeTimes that counts


def retry_level(reconsume_times: int, wanted: int) -> int:
    """The delay level of the next attempt: the one that the client wants, or longer each time."""
    return wanted if wanted > 0 else FIRST_RETRY_LEVEL + reconsume_times


def is_dead(reconsume_times: int, reconsume_max: int, wanted_level: int) -> bool:
    """Whether a message that is sent back has used up its attempts, or its client gave up."""
    return wanted_level < 0 or reconsume_times >= reconsume_max


@final
class Retry:
    """Request 36, and the rule for plain sends to a retry topic."""

    def __init__(
        self,
        store: Store,
        topics: Topics,
        groups: Groups,
        locks: Locks,
        stats: BrokerStats,
        settings: Settings,
        entropy: Entropy,
        config: StoreConfig,
    ) -> None:
        self._store, self._topics, self._groups, self._locks = store, topics, groups, locks
        self._stats, self._settings, self._entropy = stats, settings, entropy
        self._sync = config.flush_disk_type == "SYNC_FLUSH"
        self._flush_timeout_s = config.flush_timeout_ms / 1000
        self.acks: Acks | None = None  # of a broker in a pair

    def routes(self) -> tuple[Route[Any], ...]:
        return (
            Route(
                RequestCode.CONSUMER_SEND_MSG_BACK,
                ConsumerSendMsgBackRequestHeader,
                self.send_back,
                processor="send",
            ),
        )

    # -- a plain send to a retry topic -----------------------------------------------------------

    def topic_for_send(self, topic: str) -> TopicConfig:
        """The topic of a send to `%RETRY%…` or `%DLQ%…` that does not exist yet, made now.

        Raises `Refused` 26 where there is no such group.
        """
        is_retry = names.is_retry(topic)
        group = topic.removeprefix(names.RETRY_PREFIX if is_retry else names.DLQ_PREFIX)
        config = self._groups.require(group)
        if is_retry:
            return self._topics.ensure_retry(group, config.retry_queue_nums)
        return self._topics.ensure_dlq(group)

    def redirect(
        self, draft: Draft, properties: dict[str, str], reconsume_max: int | None
    ) -> Draft:
        """What a send to a retry topic stores: the same, or a dead letter without its delay.

        `properties` are the draft's, decoded; the dead letter loses DELAY there too. Raises
        `Refused` 26 where the group is unknown.
        """
        group = draft.topic.removeprefix(names.RETRY_PREFIX)
        config = self._groups.require(group)
        allowed = config.retry_max_times if reconsume_max is None else reconsume_max
        if draft.reconsume_times <= allowed and not self._locks.group_holds_locks(group):
            return draft
        dlq = self._topics.ensure_dlq(group)
        kept = {name: value for name, value in properties.items() if name != PROPERTY_DELAY}
        properties.pop(PROPERTY_DELAY, None)
        self._stats.group_topic(group, draft.topic).dead_letters += 1
        return msgspec.structs.replace(
            draft, topic=dlq.topic_name, queue_id=0, properties=format_properties(kept)
        )

    # -- 36 --------------------------------------------------------------------------------------

    def send_back(
        self, request: Request, header: ConsumerSendMsgBackRequestHeader
    ) -> Response | Later:
        """Checks now; the rest reads the log, which may be cold."""
        config = self._groups.require(header.group)
        if not self._settings.writable:
            raise Refused(
                ResponseCode.NO_PERMISSION, "the broker is not writable (brokerPermission)"
            )
        if config.retry_queue_nums <= 0:
            return Response()
        reconsume_max = config.retry_max_times
        if (
            request.command.version >= MAX_TIMES_SINCE_VERSION
            and header.max_reconsume_times is not None
        ):
            reconsume_max = header.max_reconsume_times

        async def later() -> Response:
            return await self._send_back(header, config, reconsume_max)

        return later

    async def _send_back(
        self,
        header: ConsumerSendMsgBackRequestHeader,
        config: SubscriptionGroupConfig,
        reconsume_max: int,
    ) -> Response:
        data = await self._store.reader.record_at(header.offset)
        if data is None:
            raise Refused(
                ResponseCode.SYSTEM_ERROR,
                f"look message by offset failed, there is none at {header.offset}",
            )
        try:
            message = decode_record(data)
        except RemoteProtocolError as error:
            raise Refused(ResponseCode.SYSTEM_ERROR, str(error)) from error
        dead = is_dead(message.reconsume_times, reconsume_max, header.delay_level)
        draft = self._copy(message, self._target(config, dead=dead), header.cause)
        if not dead:
            draft = to_schedule(draft, retry_level(message.reconsume_times, header.delay_level))
        self._store.check_writable(len(draft.body) + len(draft.properties))
        appended = self._store.append(draft)
        self._store.write_out()
        stats = self._stats.group_topic(config.group_name, _topic_of(message))
        stats.send_backs += 1
        stats.dead_letters += dead
        if self.acks is not None:
            outcome = await self.acks.confirmed(appended.next_physical_offset)
            if outcome is not Outcome.OK:
                raise Refused(ResponseCode.SYSTEM_ERROR, REMARKS[outcome])
        elif self._sync and not await self._durable(appended.next_physical_offset):
            raise Refused(
                ResponseCode.SYSTEM_ERROR,
                f"stored, but not on disk within {self._flush_timeout_s:g} s",
            )
        return Response()

    def _target(self, config: SubscriptionGroupConfig, *, dead: bool) -> TopicConfig:
        if dead:
            return self._topics.ensure_dlq(config.group_name)
        topic = self._topics.ensure_retry(config.group_name, config.retry_queue_nums)
        if not topic.perm & Perm.WRITE:
            raise Refused(
                ResponseCode.NO_PERMISSION, f"the topic [{topic.topic_name}] is not writable"
            )
        return topic

    def _copy(self, message: MessageExt, target: TopicConfig, cause: str | None) -> Draft:
        properties = dict(message.properties)
        properties.setdefault(PROPERTY_RETRY_TOPIC, message.topic)
        properties.setdefault(PROPERTY_ORIGIN_MESSAGE_ID, message.message_id)
        properties.pop(PROPERTY_DELAY, None)
        properties[PROPERTY_WAIT] = "false"
        if cause:
            properties[OUR_DLQ_CAUSE] = one_line(cause)
        tags = properties.get(PROPERTY_TAGS)
        return Draft(
            topic=target.topic_name,
            queue_id=self._entropy.randrange(max(1, target.write_queue_nums)),
            body=message.body,
            properties=checked(format_properties(properties)),
            flag=message.flag,
            sys_flag=message.sys_flag,
            born_timestamp_ms=message.born_timestamp_ms,
            born_host=encode_host(message.born_host),
            tags_code=tags_code(tags) if tags else 0,
            reconsume_times=min(message.reconsume_times + 1, RECONSUME_TIMES_MAX),
        )

    async def _durable(self, physical_end: int) -> bool:
        with trio.move_on_after(self._flush_timeout_s):
            await self._store.wait_flushed(physical_end)
            return True
        return False


def one_line(cause: str) -> str:
    """A peer's text as a property: short, and without the characters that part properties."""
    text = "".join(char if char.isprintable() else " " for char in cause[:CAUSE_CHARS_MAX])
    return text.strip()


def _topic_of(message: MessageExt) -> str:
    """The topic that the consumer subscribed to."""
    return message.properties.get(PROPERTY_RETRY_TOPIC, message.topic)
