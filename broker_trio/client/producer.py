"""Sending: one message, many in one request, or one without an answer.

    send ──▶ check, id, properties ──▶ Deliveries (which broker, again, until when) ──▶ Receipt

All sends of a client go out together over one connection a broker, each waiting for its own answer.
The same message id goes out in every attempt, so a consumer can tell a repeated message.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final, final

import anyio

from broker_trio.client.batch import body_of, pieces, receipt_of, receipts_of
from broker_trio.client.delivery import Deliveries
from broker_trio.client.errors import BatchFailed, ClientError, InvalidArgument
from broker_trio.client.message import (
    Delay,
    Message,
    MessageIds,
    Outgoing,
    check_sendable,
    checked_body,
    checked_properties,
    level_of,
    packed,
)
from broker_trio.client.receipt import Receipt
from broker_trio.client.tracing import tracing_of
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.names import TBW102
from broker_trio.model.route import MessageQueue
from broker_trio.wire.headers.send import SendMessageRequestHeader, SendMessageV2RequestHeader

if TYPE_CHECKING:
    from broker_trio.client.session import Session

STORED: Final = frozenset(
    {
        ResponseCode.SUCCESS,
        ResponseCode.FLUSH_DISK_TIMEOUT,
        ResponseCode.SLAVE_NOT_AVAILABLE,
        ResponseCode.FLUSH_SLAVE_TIMEOUT,
    }
)
NEW_TOPIC_QUEUES: Final = 4  # of a topic that the send creates


@final
class Producer:
    """Sends to topics of one cluster. Safe to use from any number of tasks at once."""

    def __init__(self, session: "Session") -> None:
        self._session, self._options = session, session.options
        self._deliveries = Deliveries(session)
        self._ids = MessageIds(session.entropy, session.wall_ms)
        self._tracing = tracing_of(session.client_id, wanted=session.options.tracing)

    async def send(
        self,
        topic: str,
        body: bytes | str,
        *,
        tag: str = "",
        keys: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        ordering_key: str | None = None,
        delay: Delay | None = None,
        queue: MessageQueue | None = None,
        timeout_s: float | None = None,
    ) -> Receipt:
        """Store one message; see `Client.send`."""
        check_queue(topic, queue)
        level = level_of(delay)
        message_id = self._ids.next()
        with self._span(topic, message_id) as carried:
            message = self._outgoing(
                topic, body, message_id, tag, keys, properties, ordering_key, level, carried
            )

            async def carry(
                address: str, queue: MessageQueue, within_s: float, attempt: int
            ) -> Receipt:
                answer = await self._session.calls.ask(
                    address,
                    RequestCode.SEND_MESSAGE_V2,
                    self._header(queue, message.properties, message.sys_flag),
                    message.body,
                    accept=STORED,
                    within_s=within_s,
                )
                return receipt_of(answer, message, queue, attempt)

            return await self._deliveries.deliver(
                topic,
                carry,
                timeout_s=self._timeout_s(timeout_s),
                ordering_key=ordering_key,
                queue=queue,
            )

    async def send_oneway(
        self,
        topic: str,
        body: bytes | str,
        *,
        tag: str = "",
        keys: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        ordering_key: str | None = None,
        queue: MessageQueue | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """Send one message and hear nothing of it but its id; see `Client.send_oneway`."""
        check_queue(topic, queue)
        message_id = self._ids.next()
        with self._span(topic, message_id) as carried:
            message = self._outgoing(
                topic, body, message_id, tag, keys, properties, ordering_key, 0, carried
            )

            async def carry(
                address: str, queue: MessageQueue, within_s: float, _attempt: int
            ) -> None:
                await self._session.calls.tell(
                    address,
                    RequestCode.SEND_MESSAGE_V2,
                    self._header(queue, message.properties, message.sys_flag),
                    message.body,
                    within_s=within_s,
                )

            await self._deliveries.deliver(
                topic,
                carry,
                timeout_s=self._timeout_s(timeout_s),
                ordering_key=ordering_key,
                queue=queue,
            )
        return message_id

    async def send_batch(
        self,
        topic: str,
        messages: Iterable[Message | bytes | str],
        *,
        ordering_key: str | None = None,
        queue: MessageQueue | None = None,
        timeout_s: float | None = None,
    ) -> list[Receipt]:
        """Store many messages, some hundred in one request; see `Client.send_batch`."""
        check_queue(topic, queue)
        given = [
            message if isinstance(message, Message) else Message(message) for message in messages
        ]
        receipts: list[Receipt] = []
        deadline = anyio.current_time() + self._timeout_s(timeout_s)
        with self._span(topic, None, len(given)) as carried:
            outgoing = [self._batched(topic, each, ordering_key, carried) for each in given]
            options = self._options
            for piece in pieces(outgoing, options.batch_bytes_max, options.batch_messages_max):
                try:
                    left_s = max(deadline - anyio.current_time(), 0)
                    receipts += await self._send_piece(topic, piece, ordering_key, queue, left_s)
                except ClientError as error:
                    missing = [None] * (len(outgoing) - len(receipts))
                    raise BatchFailed([*receipts, *missing], error) from error
        return receipts

    async def _send_piece(
        self,
        topic: str,
        piece: Sequence[Outgoing],
        ordering_key: str | None,
        queue: MessageQueue | None,
        timeout_s: float,
    ) -> list[Receipt]:
        body = body_of(piece)

        async def carry(
            address: str, queue: MessageQueue, within_s: float, attempt: int
        ) -> list[Receipt]:
            answer = await self._session.calls.ask(
                address,
                RequestCode.SEND_BATCH_MESSAGE,
                self._header(queue, "", 0, batch=True),
                body,
                accept=STORED,
                within_s=within_s,
            )
            return receipts_of(answer, piece, queue, attempt)

        return await self._deliveries.deliver(
            topic, carry, timeout_s=timeout_s, ordering_key=ordering_key, queue=queue
        )

    # ---- what goes out

    def _outgoing(
        self,
        topic: str,
        body: bytes | str,
        message_id: str,
        tag: str,
        keys: Iterable[str],
        properties: Mapping[str, str] | None,
        ordering_key: str | None,
        delay_level: int,
        carried: Mapping[str, str],
        *,
        batched: bool = False,
    ) -> Outgoing:
        check_sendable(topic)
        text = checked_properties(
            message_id,
            tag=tag,
            keys=keys,
            properties=properties,
            ordering_key=ordering_key,
            delay_level=delay_level,
            carried=carried,
        )
        raw = checked_body(body, self._options.body_bytes_max)
        above = None if batched else self._options.compress_above_bytes  # one flag a whole batch
        raw, sys_flag = packed(raw, above)
        self._session.heartbeat.add_producer(self._options.group)
        return Outgoing(topic, message_id, raw, text, sys_flag)

    def _batched(
        self, topic: str, message: Message, ordering_key: str | None, carried: Mapping[str, str]
    ) -> Outgoing:
        return self._outgoing(
            topic,
            message.body,
            self._ids.next(),
            message.tag,
            message.keys,
            message.properties,
            ordering_key,
            0,
            carried,
            batched=True,
        )

    def _header(
        self, queue: MessageQueue, properties: str, sys_flag: int, *, batch: bool = False
    ) -> SendMessageRequestHeader:
        return SendMessageV2RequestHeader(
            producer_group=self._options.group,
            topic=queue.topic,
            default_topic=TBW102,
            default_topic_queue_nums=NEW_TOPIC_QUEUES,
            queue_id=queue.queue_id,
            sys_flag=sys_flag,
            born_timestamp=self._session.wall_ms(),
            flag=0,
            properties=properties or None,
            batch=batch,
            bname=queue.broker_name,
        )

    def _span(
        self, topic: str, message_id: str | None, count: int = 1
    ) -> AbstractContextManager[Mapping[str, str]]:
        if self._tracing is None:
            return nullcontext({})
        return self._tracing.sending(topic, message_id, count)

    def _timeout_s(self, timeout_s: float | None) -> float:
        if timeout_s is None:
            return self._options.send_timeout_s
        if timeout_s <= 0:
            raise InvalidArgument(f"timeout_s = {timeout_s!r}, must be above 0")
        return timeout_s


def check_queue(topic: str, queue: MessageQueue | None) -> None:
    """Raises `InvalidArgument` for a queue of another topic: the message would go there."""
    if queue is not None and queue.topic != topic:
        raise InvalidArgument(f"queue = {queue} is no queue of topic {topic}")
