"""Who is connected, and questions that are passed on to a client: 203, 204, 223, 307, 309, 328,
343, 345.

A relay (307, 309) hands the request's fields and body to the client over the client's own
connection and gives its answer back as it is. A client that does not answer within 10 s costs the
asker a 207 and nobody else anything. 223 asks every client of a group (by 221) what it has
consumed, and leaves out those that do not answer.
"""

from collections.abc import Iterable
from typing import Any, Final, final

import msgspec
import structlog
import trio

from broker_trio.broker.groups import Groups
from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.registrar import Identity
from broker_trio.broker.sessions import Channel, Sessions
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import LanguageCode, RequestCode, ResponseCode
from broker_trio.model.errors import LocalProtocolError, Refused, RemoteProtocolError
from broker_trio.model.hosts import decode_message_id
from broker_trio.model.route import MessageQueue
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.store.store import Store
from broker_trio.wire.bodies.client import ConsumerSubscription, encode_consumer_subscription
from broker_trio.wire.bodies.connection import (
    Connection,
    ConsumerConnection,
    ProducerInfo,
    encode_consumer_connection,
    encode_producer_connection,
    encode_producer_table,
)
from broker_trio.wire.bodies.offsets import (
    ConsumerStatus,
    decode_consumer_status,
    encode_consumer_status,
)
from broker_trio.wire.bodies.route import encode_topic_list
from broker_trio.wire.command import Command, Ext
from broker_trio.wire.headers.admin import (
    QuerySubscriptionByConsumerRequestHeader,
    QueryTopicsByConsumerRequestHeader,
)
from broker_trio.wire.headers.client import (
    ConsumeMessageDirectlyResultRequestHeader,
    GetConsumerConnectionListRequestHeader,
    GetConsumerRunningInfoRequestHeader,
    GetProducerConnectionListRequestHeader,
)
from broker_trio.wire.headers.offset import GetConsumerStatusRequestHeader

log = structlog.get_logger()

RELAY_S: Final = 10.0
STATUS_S: Final = 5.0
STATUS_CLIENTS_MAX: Final = 1_000  # asked by one 223
KNOWN_CODES: Final = frozenset(map(int, ResponseCode))
RELAY_VERSION_MIN: Final = 62  # V3_1_8_SNAPSHOT: older clients know none of these questions


@final
class ConnectionAdmin:
    """What the sessions say, for administrators and tools."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        topics: Topics,
        groups: Groups,
        offsets: ConsumerOffsets,
        identity: Identity,
    ) -> None:
        self._store, self._sessions, self._topics, self._groups = store, sessions, topics, groups
        self._offsets, self._identity = offsets, identity
        self._broker_name = identity.broker_name

    def routes(self) -> tuple[Route[Any], ...]:
        code = RequestCode
        return (
            Route(
                code.GET_CONSUMER_CONNECTION_LIST,
                GetConsumerConnectionListRequestHeader,
                self.consumers,
            ),
            Route(
                code.GET_PRODUCER_CONNECTION_LIST,
                GetProducerConnectionListRequestHeader,
                self.producers,
            ),
            Route(code.GET_ALL_PRODUCER_INFO, None, self.all_producers),
            Route(
                code.QUERY_TOPICS_BY_CONSUMER, QueryTopicsByConsumerRequestHeader, self.topics_of
            ),
            Route(
                code.QUERY_SUBSCRIPTION_BY_CONSUMER,
                QuerySubscriptionByConsumerRequestHeader,
                self.subscription_of,
            ),
            Route(
                code.GET_CONSUMER_RUNNING_INFO,
                GetConsumerRunningInfoRequestHeader,
                self.running_info,
            ),
            Route(
                code.INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
                GetConsumerStatusRequestHeader,
                self.consumer_status,
            ),
            Route(
                code.CONSUME_MESSAGE_DIRECTLY,
                ConsumeMessageDirectlyResultRequestHeader,
                self.consume_directly,
            ),
        )

    # -- looking -------------------------------------------------------------------------------

    def consumers(
        self, request: Request, header: GetConsumerConnectionListRequestHeader
    ) -> Response:
        """203."""
        group = self._sessions.consumer_group(header.consumer_group)
        if group is None:
            raise Refused(
                ResponseCode.CONSUMER_NOT_ONLINE,
                f"the consumer group[{header.consumer_group}] not online",
            )
        body = ConsumerConnection(
            _connections(group.channels.values()),
            group.subscriptions,
            group.consume_type,
            group.message_model,
            group.consume_from_where,
        )
        return Response(body=encode_consumer_connection(body, request.command.serialize))

    def producers(
        self, request: Request, header: GetProducerConnectionListRequestHeader
    ) -> Response:
        """204."""
        channels = self._sessions.producer_channels(header.producer_group)
        if not channels:
            raise Refused(
                ResponseCode.SYSTEM_ERROR,
                f"the producer group[{header.producer_group}] not exist",
            )
        body = encode_producer_connection(_connections(channels), request.command.serialize)
        return Response(body=body)

    def all_producers(self, request: Request, _header: None) -> Response:
        """328."""
        table = {
            group: [
                ProducerInfo(
                    channel.client_id,
                    channel.session.peer_address,
                    language_name(channel.language),
                    channel.version,
                    channel.last_seen_ms,
                )
                for channel in channels.values()
            ]
            for group, channels in sorted(self._sessions.producers.items())
        }
        return Response(body=encode_producer_table(table, request.command.serialize))

    def topics_of(self, request: Request, header: QueryTopicsByConsumerRequestHeader) -> Response:
        """343: topics in which the group has offsets, or to which it subscribes now."""
        group = self._sessions.consumer_group(header.group)
        topics = {*(group.subscriptions if group else ()), *self._offsets.topics_of(header.group)}
        body = encode_topic_list(
            sorted(topics), request.command.serialize, broker_addr=self._identity.address
        )
        return Response(body=body)

    def subscription_of(
        self, request: Request, header: QuerySubscriptionByConsumerRequestHeader
    ) -> Response:
        """345."""
        found = self._sessions.subscription(header.group, header.topic) if header.topic else None
        body = ConsumerSubscription(header.group, header.topic, found)
        return Response(body=encode_consumer_subscription(body, request.command.serialize))

    # -- relays --------------------------------------------------------------------------------

    def running_info(self, request: Request, header: GetConsumerRunningInfoRequestHeader) -> Later:
        """307: what a client says of itself."""
        channel = self._channel(header.consumer_group, header.client_id)
        command = request.command

        async def later() -> Response:
            return await relay(channel, command.code, dict(command.ext), command.body)

        return later

    def consumer_status(self, request: Request, header: GetConsumerStatusRequestHeader) -> Later:
        """223: the offsets that each client of a group has in its memory, by client id."""
        group = self._sessions.consumer_group(header.group)
        if group is None or not group.channels:
            raise Refused(
                ResponseCode.SYSTEM_ERROR,
                f"No Any Consumer online in the consumer group: [{header.group}]",
            )
        wanted = header.client_addr
        channels = [
            each for each in group.channels.values() if wanted in {None, "", each.client_id}
        ]
        channels = channels[:STATUS_CLIENTS_MAX]
        question = Command(
            RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT,
            ext={"topic": header.topic, "group": header.group},
        )
        serialize = request.command.serialize

        async def later() -> Response:
            table: dict[str, dict[MessageQueue, int]] = {}
            async with trio.open_nursery() as nursery:
                for channel in channels:
                    nursery.start_soon(_ask_status, channel, question, table)
            body = ConsumerStatus(consumer_table={name: table[name] for name in sorted(table)})
            return Response(body=encode_consumer_status(body, serialize))

        return later

    def consume_directly(
        self, request: Request, header: ConsumeMessageDirectlyResultRequestHeader
    ) -> Later:
        """309: have one client consume one message now and tell what came of it."""
        if not header.client_id or not header.msg_id:
            raise Refused(ResponseCode.SYSTEM_ERROR, "clientId and msgId are needed")
        channel = self._channel(header.consumer_group, header.client_id)
        _, physical_offset = decode_message_id(header.msg_id)
        fields: Ext = {**request.command.ext, "brokerName": self._broker_name}
        if header.topic:
            topic = self._topics.get(header.topic)
            fields["topicSysFlag"] = str(topic.topic_sys_flag if topic else 0)
        group = self._groups.get(header.consumer_group)
        fields["groupSysFlag"] = str(group.group_sys_flag if group else 0)

        async def later() -> Response:
            record = await self._store.reader.record_at(physical_offset)
            if record is None:
                raise Refused(
                    ResponseCode.SYSTEM_ERROR, f"there is no message at {physical_offset}"
                )
            return await relay(channel, RequestCode.CONSUME_MESSAGE_DIRECTLY, fields, record)

        return later

    def _channel(self, group: str, client_id: str) -> Channel:
        channel = self._sessions.consumer_channel(group, client_id)
        if channel is None:
            raise Refused(
                ResponseCode.SYSTEM_ERROR, f"The Consumer <{group}> <{client_id}> not online"
            )
        if channel.version < RELAY_VERSION_MIN:
            raise Refused(
                ResponseCode.SYSTEM_ERROR,
                f"The Consumer <{client_id}> is of version {channel.version}, too old to be asked",
            )
        return channel


async def relay(channel: Channel, code: int, fields: Ext, body: bytes) -> Response:
    """Ask a client and hand its answer on.

    Raises `Refused` 207 after 10 s, 1 where it has gone or cannot be asked. A code that nobody has
    becomes 1: what a client makes up is no code of ours.
    """
    try:
        with trio.fail_after(RELAY_S):
            answer = await channel.session.call(Command(code, ext=fields, body=body))
    except trio.TooSlowError:
        raise Refused(
            ResponseCode.CONSUME_MSG_TIMEOUT,
            f"consumer <{channel.client_id}> did not answer within {RELAY_S:g} s",
        ) from None
    except trio.ClosedResourceError as error:
        raise Refused(
            ResponseCode.SYSTEM_ERROR, f"consumer <{channel.client_id}> has gone: {error}"
        ) from error
    except LocalProtocolError as error:  # it came in a shorter form than it would leave in
        raise Refused(
            ResponseCode.SYSTEM_ERROR, f"consumer <{channel.client_id}> cannot be asked: {error}"
        ) from error
    answered = answer.code if answer.code in KNOWN_CODES else ResponseCode.SYSTEM_ERROR
    return Response(answered, answer.remark, dict(answer.ext), answer.body)


async def _ask_status(
    channel: Channel, question: Command, table: dict[str, dict[MessageQueue, int]]
) -> None:
    """Put one client's answer into the table; without one it is left out, and logged."""
    problem: object = f"no answer within {STATUS_S:g} s"
    with trio.move_on_after(STATUS_S):
        try:
            answer = await channel.session.call(msgspec.structs.replace(question))
            if answer.code == ResponseCode.SUCCESS:
                status = decode_consumer_status(answer.body, answer.serialize)
                table[channel.client_id] = status.message_queue_table
                return
            problem = f"code {answer.code}: {answer.remark}"
        except (
            trio.ClosedResourceError,
            LocalProtocolError,
            RemoteProtocolError,
            Refused,
        ) as error:
            problem = error
    log.warning("consumer_status.missing", client=channel.client_id, problem=str(problem))


def language_name(code: int) -> str | None:
    """The name that Java knows, or None."""
    try:
        return LanguageCode(code).name
    except ValueError:
        return None


def _connections(channels: Iterable[Channel]) -> list[Connection]:
    return [
        Connection(
            channel.client_id,
            channel.session.peer_address,
            language_name(channel.language),
            channel.version,
        )
        for channel in channels
    ]
