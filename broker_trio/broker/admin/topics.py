"""Administration of topics: requests 17, 18, 21, 202, 215, 300, 305 and 351.

A change is answered once it is on disk and every nameserver was told (or failed to take it): tools
ask for the topic's route right after. Attributes come as operations and are kept without the sign:

    "+message.type=FIFO,+reserve.time=3600000,-cleanup.policy"     + set, - remove

Topics whose kind this broker cannot store (inner batches, compaction) are refused when they are
made, not when the first message arrives.
"""

from typing import Any, Final, final

import msgspec
import trio

from broker_trio.broker.groups import Groups
from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.registrar import Identity, Registrar
from broker_trio.broker.sessions import Sessions
from broker_trio.broker.stats import BrokerStats
from broker_trio.broker.topics import Topics
from broker_trio.model import names
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.route import MessageQueue
from broker_trio.model.topic import TopicConfig
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.store.store import Store
from broker_trio.wire.bodies.group import encode_group_list
from broker_trio.wire.bodies.route import encode_topic_list
from broker_trio.wire.bodies.topic_config import (
    TopicConfigSerializeWrapper,
    TopicOffset,
    TopicStatsTable,
    decode_topic_config_list,
    encode_topic_config,
    encode_topic_config_table,
    encode_topic_stats,
)
from broker_trio.wire.headers.admin import (
    CreateTopicRequestHeader,
    DeleteTopicRequestHeader,
    GetAllTopicConfigRequestHeader,
    GetAllTopicConfigResponseHeader,
    GetTopicConfigRequestHeader,
    GetTopicStatsInfoRequestHeader,
    QueryTopicConsumeByWhoRequestHeader,
)
from broker_trio.wire.headers.base import to_ext

PUBLISH_S: Final = 5.0  # longest wait for the nameservers before a change is answered
PERM_MASK: Final = 0b1111
FILTER_TYPES: Final = frozenset({"SINGLE_TAG", "MULTI_TAG"})
ATTRIBUTES: Final[dict[str, frozenset[str] | None]] = {
    "message.type": frozenset({"UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION"}),
    "queue.type": frozenset({"SimpleCQ"}),
    "cleanup.policy": frozenset({"DELETE"}),
    "reserve.time": None,  # a whole number, -1 or more
}
"""Names that a topic may carry, with the values that this broker can keep the promise of."""


def merged_attributes(present: dict[str, str], changes: dict[str, str]) -> dict[str, str]:
    """The attributes after `changes`, whose names start with `+` (set) or `-` (remove).

    A name without a sign counts as set. Raises `Refused` 1 for what no topic here can have.
    """
    merged = dict(present)
    for signed, value in changes.items():
        name = signed.removeprefix("+").removeprefix("-")
        if name not in ATTRIBUTES:
            raise _bad_attribute(name, f"unknown, there are {', '.join(sorted(ATTRIBUTES))}")
        if signed.startswith("-"):
            merged.pop(name, None)
            continue
        allowed = ATTRIBUTES[name]
        if allowed is None:
            digits = value.removeprefix("-")
            if not digits.isdecimal() or len(digits) > 18 or int(value) < -1:
                raise _bad_attribute(name, f"{value!r} is no number from -1 on")
        elif value not in allowed:
            raise _bad_attribute(name, f"{value!r} is none of {', '.join(sorted(allowed))}")
        merged[name] = value
    return merged


def parse_attributes(text: str) -> dict[str, str]:
    """`+a=b,-c` as a map of signed names. Raises `Refused` 1."""
    changes: dict[str, str] = {}
    for piece in text.split(","):
        name, equals, value = piece.strip().partition("=")
        if not name:
            continue
        if not name.startswith(("+", "-")) or (name.startswith("+") and not equals):
            raise _bad_attribute(name, "write +name=value to set it, -name to remove it")
        if name in changes:
            raise _bad_attribute(name, "given twice")
        changes[name] = value
    return changes


def _bad_attribute(name: str, problem: str) -> Refused:
    return Refused(ResponseCode.SYSTEM_ERROR, f"topic attribute {name}: {problem}")


@final
class TopicAdmin:
    """The topic requests of administrators and tools."""

    def __init__(
        self,
        store: Store,
        topics: Topics,
        groups: Groups,
        offsets: ConsumerOffsets,
        sessions: Sessions,
        stats: BrokerStats,
        registrar: Registrar,
        identity: Identity,
    ) -> None:
        self._store, self._topics, self._groups = store, topics, groups
        self._offsets, self._sessions, self._stats = offsets, sessions, stats
        self._registrar, self._identity = registrar, identity

    def routes(self) -> tuple[Route[Any], ...]:
        code = RequestCode
        return (
            Route(code.UPDATE_AND_CREATE_TOPIC, CreateTopicRequestHeader, self.put),
            Route(code.UPDATE_AND_CREATE_TOPIC_LIST, None, self.put_list),
            Route(code.DELETE_TOPIC_IN_BROKER, DeleteTopicRequestHeader, self.delete),
            Route(code.GET_ALL_TOPIC_CONFIG, GetAllTopicConfigRequestHeader, self.get_all),
            Route(code.GET_TOPIC_CONFIG, GetTopicConfigRequestHeader, self.get),
            Route(code.GET_TOPIC_STATS_INFO, GetTopicStatsInfoRequestHeader, self.stats),
            Route(code.GET_SYSTEM_TOPIC_LIST_FROM_BROKER, None, self.system_topics),
            Route(
                code.QUERY_TOPIC_CONSUME_BY_WHO, QueryTopicConsumeByWhoRequestHeader, self.consumers
            ),
        )

    # -- changes -------------------------------------------------------------------------------

    def put(self, _request: Request, header: CreateTopicRequestHeader) -> Later | Response:
        """17."""
        present = self._topics.get(header.topic)
        config = TopicConfig(
            header.topic,
            read_queue_nums=header.read_queue_nums,
            write_queue_nums=header.write_queue_nums,
            perm=header.perm,
            topic_filter_type=header.topic_filter_type,
            topic_sys_flag=header.topic_sys_flag or 0,
            order=header.order,
            attributes=merged_attributes(
                present.attributes if present else {}, parse_attributes(header.attributes or "")
            ),
        )
        self._check(config)
        return self._published if self._topics.put(config) else Response()

    def put_list(self, request: Request, _header: None) -> Later:
        """18: all or none."""
        configs = decode_topic_config_list(request.command.body, request.command.serialize)
        merged = []
        for config in configs:
            present = self._topics.get(config.topic_name)
            attributes = merged_attributes(present.attributes if present else {}, config.attributes)
            merged.append(msgspec.structs.replace(config, attributes=attributes))
            self._check(merged[-1])
        self._topics.put_many(merged)
        return self._published

    def _check(self, config: TopicConfig) -> None:
        topic = config.topic_name
        if self._topics.is_system(topic):
            raise Refused(
                ResponseCode.INVALID_PARAMETER, f"the topic[{topic}] is conflict with system topic."
            )
        if config.perm & ~PERM_MASK:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"topic[{topic}] with perm {config.perm}, allowed 0..15",
            )
        if config.topic_filter_type not in FILTER_TYPES:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"topic[{topic}] with filter type {config.topic_filter_type}",
            )

    async def _published(self) -> Response:
        try:
            await self._topics.file.persist_if_dirty()
        except OSError as error:
            raise Refused(
                ResponseCode.SYSTEM_ERROR, f"changed, but not on disk yet: {error}"
            ) from error
        with trio.move_on_after(PUBLISH_S):
            await self._registrar.synced()
        return Response()

    def delete(self, _request: Request, header: DeleteTopicRequestHeader) -> Later:
        """215: the topic, its queues, all offsets in it. Nameservers are asked apart (216)."""
        if self._topics.is_system(header.topic):
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"the topic[{header.topic}] is conflict with system topic.",
            )

        async def later() -> Response:
            for topic in [header.topic, *self._pop_retry_topics(header.topic)]:
                self._topics.delete(topic)
                self._offsets.delete_topic(topic)
                self._stats.forget_topic(topic)
                await self._store.queues.delete_topic(topic, self._store.log.max_offset)
            return await self._published()

        return later

    def _pop_retry_topics(self, topic: str) -> list[str]:
        """Pop retry topics of this topic; a group of the same name keeps its own."""
        found = []
        for group in self._offsets.groups_of(topic):
            for name in (
                names.pop_retry_topic_v1(group, topic),
                names.pop_retry_topic_v2(group, topic),
            ):
                owner = name.removeprefix(names.RETRY_PREFIX)
                if self._topics.get(name) is not None and self._groups.get(owner) is None:
                    found.append(name)
        return found

    # -- looking -------------------------------------------------------------------------------

    def get_all(self, request: Request, header: GetAllTopicConfigRequestHeader) -> Response:
        """21: the table by name, or one page of it."""
        table = self._topics.table
        first, count = header.topic_seq or 0, header.max_topic_num
        wanted = sorted(table)
        if count is not None:
            wanted = wanted[max(first, 0) : max(first, 0) + max(count, 0)]
        version = self._topics.data_version
        wrapper = TopicConfigSerializeWrapper(
            version, {name: table[name] for name in wanted}, mapping_data_version=version
        )
        return Response(
            ext=to_ext(GetAllTopicConfigResponseHeader(total_topic_num=len(table))),
            body=encode_topic_config_table(wrapper, request.command.serialize),
        )

    def get(self, request: Request, header: GetTopicConfigRequestHeader) -> Response:
        """351."""
        config = self._topics.require(header.topic)
        return Response(body=encode_topic_config(config, request.command.serialize))

    def stats(self, request: Request, header: GetTopicStatsInfoRequestHeader) -> Later:
        """202: bounds of every queue, with its last message's store time."""
        config = self._topics.require(header.topic)
        topic, serialize = header.topic, request.command.serialize
        queues, reader = self._store.queues, self._store.reader

        async def later() -> Response:
            table: dict[MessageQueue, TopicOffset] = {}
            for queue_id in range(max(config.read_queue_nums, config.write_queue_nums)):
                low, high = queues.min_offset(topic, queue_id), queues.max_offset(topic, queue_id)
                at = await reader.store_time_at(topic, queue_id, high - 1) if high > low else 0
                key = MessageQueue(topic, self._identity.broker_name, queue_id)
                table[key] = TopicOffset(low, high, max(at, 0))
            tps = self._stats.span("TOPIC_PUT_NUMS", topic, 60.0).rate
            return Response(body=encode_topic_stats(TopicStatsTable(table, tps), serialize))

        return later

    def system_topics(self, request: Request, _header: None) -> Response:
        """305: what tools hide."""
        topics = sorted(self._topics.system | names.SYSTEM_TOPICS)
        return Response(body=encode_topic_list(topics, request.command.serialize))

    def consumers(self, request: Request, header: QueryTopicConsumeByWhoRequestHeader) -> Response:
        """300: groups that subscribe to the topic now, or have offsets in it."""
        groups = {
            *self._sessions.groups_subscribed(header.topic),
            *self._offsets.groups_of(header.topic),
        }
        return Response(body=encode_group_list(sorted(groups), request.command.serialize))
