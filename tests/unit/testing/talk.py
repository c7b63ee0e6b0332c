"""A small client of an embedded cluster, over its network; on Trio and on asyncio alike."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from broker_trio.client.calls import Calls
from broker_trio.client.errors import NoRoute
from broker_trio.client.group_calls import GroupCalls, readable
from broker_trio.client.routes import Nameservers, masters, write_queues
from broker_trio.model.codes import RequestCode
from broker_trio.model.message import PROPERTY_DELAY
from broker_trio.model.names import TBW102
from broker_trio.model.route import MessageQueue
from broker_trio.remoting.client import Connect, RemotingClient, connect_tcp
from broker_trio.wire.headers.base import from_ext
from broker_trio.wire.headers.send import (
    SendMessageRequestHeader,
    SendMessageResponseHeader,
    SendMessageV2RequestHeader,
)
from broker_trio.wire.properties import format_properties

NOW_MS = 1_700_000_000_000
GROUP = "g-test"
KNOWN_S = 10.0


class Talk:
    """Sends and reads, one message at a time, and repeats nothing."""

    def __init__(self, calls: Calls, nameservers: list[str]) -> None:
        self.calls, self.nameservers = calls, Nameservers(calls, nameservers)
        self.group = GroupCalls(calls, GROUP)

    async def send(self, topic: str, *bodies: bytes, delay_level: int = 0) -> list[int]:
        """To the topic's queues in turn, one attempt each; their queue offsets."""
        route = await self.nameservers.route_for_send(topic)
        queues, addresses = write_queues(topic, route), masters(route)
        delay = {PROPERTY_DELAY: str(delay_level)} if delay_level else {}
        offsets = []
        for number, body in enumerate(bodies):
            queue = queues[number % len(queues)]
            header: SendMessageRequestHeader = SendMessageV2RequestHeader(
                producer_group=GROUP,
                topic=topic,
                default_topic=TBW102,
                default_topic_queue_nums=4,
                queue_id=queue.queue_id,
                sys_flag=0,
                born_timestamp=NOW_MS,
                flag=0,
                properties=format_properties(delay).decode(),
            )
            code, address = RequestCode.SEND_MESSAGE_V2, addresses[queue.broker_name]
            answer = await self.calls.ask(address, code, header, body)
            offsets.append(from_ext(answer.ext, SendMessageResponseHeader).queue_offset)
        return offsets

    async def queues(self, topic: str) -> dict[MessageQueue, str]:
        """The topic's readable queues and where to read each.

        A topic that a send just made is told to nameservers beside its answer: it is waited for.
        """
        with anyio.fail_after(KNOWN_S):
            while True:
                try:
                    return readable(topic, await self.nameservers.route(topic))
                except NoRoute:
                    await anyio.sleep(0.005)

    async def read(self, topic: str) -> list[bytes]:
        """All bodies of all queues."""
        found = []
        for queue, address in (await self.queues(topic)).items():
            low, high = await self.group.bounds(address, queue)
            while low < high:
                pulled = await self.group.pull(address, queue, low)
                found += [message.body for message in pulled.messages]
                low = pulled.next_offset
        return found


@asynccontextmanager
async def talk_to(
    nameservers: list[str], connect: Connect = connect_tcp, *, timeout_s: float = 2.0
) -> AsyncIterator[Talk]:
    async with RemotingClient(connect) as client:
        yield Talk(Calls(client, timeout_s=timeout_s), nameservers)
