"""A machine with a producer on it: one attempt after the other, each with bodies of its own.

    attempt ──▶ SEND_MESSAGE_V2 of one message     ──▶ one Sent
            └─▶ SEND_BATCH_MESSAGE of a few        ──▶ a Sent each, with the same `batch`

It never repeats an attempt, lives through everything that happens to the cluster, and writes down
how each attempt ended. It may be killed itself, as any node.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, final

import trio

from broker_trio.client.calls import Calls
from broker_trio.client.errors import BrokerRefused, NoAnswer, NoRoute
from broker_trio.client.producer import Producer, Receipt
from broker_trio.client.routes import Nameservers, masters, write_queues
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.message import PROPERTY_KEYS
from broker_trio.model.names import TBW102
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.runtime.seams import Entropy
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.cluster.history import Outcome, Sent
from broker_trio.testing.world import Node
from broker_trio.wire.batch import BatchItem, encode_batch
from broker_trio.wire.headers.base import from_ext
from broker_trio.wire.headers.send import (
    SendMessageRequestHeader,
    SendMessageResponseHeader,
    SendMessageV2RequestHeader,
)
from broker_trio.wire.properties import format_properties

CALL_S: Final = 3.0  # patience with one call
PAUSE_S: Final = 0.2  # after a call that failed
STORED: Final = (ResponseCode.SUCCESS, ResponseCode.FLUSH_DISK_TIMEOUT)


def body_of(producer: str, number: int, entropy: Entropy) -> bytes:
    """A body that no other attempt has: mostly small, sometimes kilobytes."""
    size = entropy.choice((0, 10, 100, 400, entropy.randint(0, 6_000)))
    return f"{producer}#{number}:".encode() + entropy.randbytes(size)


@final
class SimProducer:
    """A producer on a machine of its own; made off, `go` starts it."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        topic: str,
        *,
        pause_s: float = 0.01,
        delays: tuple[int, ...] = (0,),
        batches: tuple[int, ...] = (1,),
        body: Callable[[str, int, Entropy], bytes] = body_of,
    ) -> None:
        """`pause_s`: on average between two attempts.

        To choose from: `delays`, levels of single messages; `batches`, how many messages at once.
        """
        self.name, self.topic = name, topic
        self.sent = 0  # attempts begun
        self.left = 0  # attempts still to be made
        self._cluster, self._pause_s, self._body = cluster, pause_s, body
        self._delays, self._batches = delays, batches
        self._entropy = cluster.world.rng(f"bodies/{name}")
        self._done = trio.Event()
        cluster.world.node(name, self._main)

    def go(self, count: int) -> None:
        """Begin to make `count` attempts."""
        self.left, self._done = count, trio.Event()
        self._cluster.node(self.name).start()

    def halt(self) -> None:
        """Finish the present attempt and make no more."""
        self.left = 0

    async def done(self) -> None:
        """Wait until it has made its last attempt and its process has ended."""
        await self._done.wait()
        await self._cluster.node(self.name).stopped()

    async def _main(self, node: Node) -> None:
        async with RemotingClient(through(node.network)) as client:
            calls = Calls(client, timeout_s=CALL_S)
            nameservers = Nameservers(calls, self._cluster.nameserver_addresses)
            producer = Producer(calls, nameservers, f"pg-{self.name}")
            while self.left > 0:
                self.left -= 1
                count = node.entropy.choice(self._batches)
                if count == 1:
                    acked = await self._send(node, producer)
                else:
                    acked = await self._send_batch(node, calls, nameservers, count)
                await trio.sleep(node.entropy.uniform(0, 2 * self._pause_s) if acked else PAUSE_S)
        self._done.set()

    def _attempt(self, *, delay_level: int = 0, batch: int = 0) -> Sent:
        self.sent += 1
        body = self._body(self.name, self.sent, self._entropy)
        now = trio.current_time()
        sent = Sent(self.name, self.sent, self.topic, body, now, delay_level, batch=batch)
        self._cluster.history.sent.append(sent)
        return sent

    async def _send(self, node: Node, producer: Producer) -> bool:
        """One message; whether it was acknowledged."""
        sent = self._attempt(delay_level=self._entropy.choice(self._delays))
        with self._noting([sent]):
            receipt = await producer.send(
                self.topic,
                sent.body,
                node.clock.wall_ms(),
                keys=self._key(sent),
                tags=node.entropy.choice(("", "a", "b")),
                delay_level=sent.delay_level,
            )
            _stored(sent, receipt)
        return sent.outcome is Outcome.ACKED

    def _key(self, sent: Sent) -> str:
        return f"{self.name}-{sent.number}"

    async def _send_batch(
        self, node: Node, calls: Calls, nameservers: Nameservers, count: int
    ) -> bool:
        """Some messages at once to one queue, stored together or not at all."""
        first = self.sent + 1
        batch = [self._attempt(batch=first) for _ in range(count)]
        with self._noting(batch):
            route = await nameservers.route_for_send(self.topic)
            queue = node.entropy.choice(write_queues(self.topic, route))
            header: SendMessageRequestHeader = SendMessageV2RequestHeader(
                producer_group=f"pg-{self.name}",
                topic=self.topic,
                default_topic=TBW102,
                default_topic_queue_nums=4,
                queue_id=queue.queue_id,
                sys_flag=0,
                born_timestamp=node.clock.wall_ms(),
                flag=0,
                batch=True,
                bname=queue.broker_name,
            )
            items = [BatchItem(0, one.body, _properties(self._key(one))) for one in batch]
            address = masters(route)[queue.broker_name]
            code, body = RequestCode.SEND_BATCH_MESSAGE, encode_batch(items)
            answer = await calls.ask(address, code, header, body, accept=STORED)
            told = from_ext(answer.ext, SendMessageResponseHeader)
            durability = str(answer.ext["durability"])
            for index, sent in enumerate(batch):
                status, offset = ResponseCode(answer.code).name, told.queue_offset + index
                place = (self.topic, queue.broker_name, told.queue_id, offset)
                _stored(sent, Receipt(status, "", "", *place, durability))
        return batch[0].outcome is Outcome.ACKED

    @contextmanager
    def _noting(self, attempts: list[Sent]) -> Iterator[None]:
        """Write down how it ended, where that was not well."""
        try:
            yield
        except NoAnswer as error:
            _ended(attempts, Outcome.UNKNOWN, reason=str(error))
        except BrokerRefused as error:
            _ended(attempts, Outcome.REFUSED, reason=error.remark, code=error.code)
        except (Unreachable, NoRoute) as error:
            _ended(attempts, Outcome.NOT_SENT, reason=str(error))
        for sent in attempts:
            what = (sent.outcome.value, sent.broker, sent.queue_id, sent.queue_offset, sent.code)
            self._cluster.world.log("sent", self.name, sent.number, *what)


def _properties(key: str) -> bytes:
    return format_properties({PROPERTY_KEYS: key})


def _ended(attempts: list[Sent], outcome: Outcome, *, reason: str, code: int = 0) -> None:
    for sent in attempts:
        sent.ended, sent.outcome = trio.current_time(), outcome
        sent.reason, sent.code = reason, code


def _stored(sent: Sent, receipt: Receipt) -> None:
    """Only SUCCESS promises anything; stored but not durable is an unknown outcome."""
    acked = receipt.status == ResponseCode.SUCCESS.name
    _ended([sent], Outcome.ACKED if acked else Outcome.UNKNOWN, reason=receipt.status)
    sent.broker, sent.queue_id = receipt.broker_name, receipt.queue_id
    sent.queue_offset, sent.durability = receipt.queue_offset, receipt.durability
