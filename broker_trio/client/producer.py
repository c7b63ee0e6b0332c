"""A small producer: one message at a time, its receipt back.

It goes round the topic's write queues. A broker that cannot be reached is passed over, because
nothing was sent; a send whose answer never came is reported as unknown and never repeated: whether
to send it again is the caller's decision, who knows what a duplicate costs.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, final

from broker_trio.client.calls import Calls
from broker_trio.client.errors import NoRoute
from broker_trio.client.routes import Nameservers, masters, write_queues
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.message import PROPERTY_KEYS, PROPERTY_TAGS
from broker_trio.model.names import TBW102
from broker_trio.model.route import MessageQueue, TopicRouteData
from broker_trio.remoting.client import Unreachable
from broker_trio.wire.headers.send import SendMessageRequestHeader, SendMessageV2RequestHeader
from broker_trio.wire.properties import format_properties

QUEUES_TRIED_MAX: Final = 3
STORED: Final = (
    ResponseCode.SUCCESS,
    ResponseCode.FLUSH_DISK_TIMEOUT,
    ResponseCode.SLAVE_NOT_AVAILABLE,
    ResponseCode.FLUSH_SLAVE_TIMEOUT,
)


class Receipt(NamedTuple):
    """Where a message is stored, and how durably. `status` is SUCCESS, or what was not reached."""

    status: str
    message_id: str
    unique_key: str
    topic: str
    broker_name: str
    queue_id: int
    queue_offset: int
    durability: str


@final
class Producer:
    """Sends to topics of one cluster. `born_timestamp_ms` of each message is the caller's clock."""

    def __init__(self, calls: Calls, nameservers: Nameservers, group: str) -> None:
        self._calls, self._nameservers, self._group = calls, nameservers, group
        self._routes: dict[str, TopicRouteData] = {}
        self._turn = 0

    async def send(
        self,
        topic: str,
        body: bytes,
        born_timestamp_ms: int,
        *,
        tags: str = "",
        keys: str = "",
        properties: Mapping[str, str] | None = None,
        delay_level: int = 0,
    ) -> Receipt:
        """Store one message. Raises `NoRoute`, `BrokerRefused`, `Unreachable` or `NoAnswer`."""
        stored = {**(properties or {}), PROPERTY_TAGS: tags, PROPERTY_KEYS: keys}
        if delay_level:
            stored["DELAY"] = str(delay_level)
        text = format_properties({name: value for name, value in stored.items() if value}).decode()
        route = await self._route(topic)
        queues = write_queues(topic, route)
        if not queues:
            self._routes.pop(topic, None)
            raise NoRoute(topic, "none of its brokers takes messages")
        addresses = masters(route)
        last: Unreachable | None = None
        for _ in range(min(QUEUES_TRIED_MAX, len(queues))):
            queue = queues[self._turn % len(queues)]
            self._turn += 1
            try:
                return await self._send_to(
                    addresses[queue.broker_name], queue, body, text, born_timestamp_ms
                )
            except Unreachable as error:
                last = error
                self._routes.pop(topic, None)
        assert last is not None
        raise last

    async def _route(self, topic: str) -> TopicRouteData:
        route = self._routes.get(topic)
        if route is None:
            route = self._routes[topic] = await self._nameservers.route_for_send(topic)
        return route

    async def _send_to(
        self, address: str, queue: MessageQueue, body: bytes, properties: str, born_ms: int
    ) -> Receipt:
        header: SendMessageRequestHeader = SendMessageV2RequestHeader(
            producer_group=self._group,
            topic=queue.topic,
            default_topic=TBW102,
            default_topic_queue_nums=4,
            queue_id=queue.queue_id,
            sys_flag=0,
            born_timestamp=born_ms,
            flag=0,
            properties=properties or None,
            bname=queue.broker_name,
        )
        answer = await self._calls.ask(
            address, RequestCode.SEND_MESSAGE_V2, header, body, accept=STORED
        )
        ext = answer.ext
        return Receipt(
            status=ResponseCode(answer.code).name,
            message_id=str(ext.get("msgId", "")),
            unique_key=str(ext.get("transactionId", "")),
            topic=queue.topic,
            broker_name=queue.broker_name,
            queue_id=int(ext.get("queueId", queue.queue_id)),
            queue_offset=int(ext.get("queueOffset", -1)),
            durability=str(ext.get("durability", "")),
        )
