"""A machine with a producer on it: one attempt after the other, each with bodies of its own.

    attempt ──▶ SEND_MESSAGE_V2 of one message     ──▶ one Sent
            ├─▶ SEND_BATCH_MESSAGE of a few        ──▶ a Sent each, with the same `batch`
            └─▶ a volley: some messages of one size  ──▶ a Sent each, with the same `volley`
                at the same time, for which a broker
                has a quicker way (`broker/burst.py`)

It never repeats an attempt, lives through everything that happens to the cluster, and writes down
how each attempt ended. It may be killed itself, as any node.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, final

import trio

from broker_trio.client.connect import Client, connect
from broker_trio.client.errors import BatchFailed, BrokerRefused, ClientError, NoAnswer
from broker_trio.client.message import DelayLevel, Message
from broker_trio.client.receipt import Receipt
from broker_trio.model.codes import ResponseCode
from broker_trio.remoting.bridge import through
from broker_trio.runtime.seams import Entropy
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.cluster.history import Outcome, Sent
from broker_trio.testing.world import Node

CALL_S: Final = 3.0  # patience with one call
PAUSE_S: Final = 0.2  # after a send that failed


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
        volley: int = 0,
        body: Callable[[str, int, Entropy], bytes] = body_of,
    ) -> None:
        """`pause_s`: on average between two attempts.

        To choose from: `delays`, levels of single messages; `batches`, how many messages at once.
        `volley`: instead of all this, so many single messages at a time.
        """
        self.name, self.topic = name, topic
        self.sent = 0  # attempts begun
        self.left = 0  # attempts still to be made
        self._cluster, self._pause_s, self._body = cluster, pause_s, body
        self._delays, self._batches, self._volley = delays, batches, volley
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
        client = connect(
            self._cluster.nameserver_addresses,
            group=f"pg-{self.name}",
            call_timeout_s=CALL_S,
            nameserver_timeout_s=CALL_S,
            send_attempts_max=1,
            connect=through(node.network),
            wall_ms=node.clock.wall_ms,
            entropy=self._cluster.world.rng(f"client/{self.name}/{node.starts}"),
        )
        async with client as mq:
            while self.left > 0:
                self.left -= 1
                count = node.entropy.choice(self._batches)
                if self._volley:
                    acked = await self._send_volley(mq)
                elif count == 1:
                    acked = await self._send(node, mq)
                else:
                    acked = await self._send_batch(mq, count)
                await trio.sleep(node.entropy.uniform(0, 2 * self._pause_s) if acked else PAUSE_S)
        self._done.set()

    def _attempt(self, *, delay_level: int = 0, batch: int = 0, volley: int = 0) -> Sent:
        self.sent += 1
        body = self._body(self.name, self.sent, self._entropy)
        if volley:  # all alike but for their number
            body = f"{self.name}#{self.sent:08}:".encode() + self._entropy.randbytes(100)
        now = trio.current_time()
        sent = Sent(
            self.name, self.sent, self.topic, body, now, delay_level, batch=batch, volley=volley
        )
        self._cluster.history.sent.append(sent)
        return sent

    async def _send(self, node: Node, mq: Client) -> bool:
        """One message; whether it was acknowledged."""
        sent = self._attempt(delay_level=self._entropy.choice(self._delays))
        with self._noting([sent]):
            receipt = await mq.send(
                self.topic,
                sent.body,
                keys=[self._key(sent)],
                tag=node.entropy.choice(("", "a", "b")),
                delay=DelayLevel(sent.delay_level) if sent.delay_level else None,
            )
            _stored(sent, receipt)
        return sent.outcome is Outcome.ACKED

    def _key(self, sent: Sent) -> str:
        return f"{self.name}-{sent.number}"

    async def _send_batch(self, mq: Client, count: int) -> bool:
        """Some messages at once to one queue, stored together or not at all."""
        first = self.sent + 1
        batch = [self._attempt(batch=first) for _ in range(count)]
        with self._noting(batch):
            messages = [Message(sent.body, keys=[self._key(sent)]) for sent in batch]
            for sent, receipt in zip(batch, await mq.send_batch(self.topic, messages), strict=True):
                _stored(sent, receipt)
        return batch[0].outcome is Outcome.ACKED

    async def _send_volley(self, mq: Client) -> bool:
        """Some at the same time, each with an end of its own; whether any was acknowledged."""
        first = self.sent + 1
        volley = [self._attempt(volley=first) for _ in range(self._volley)]

        async def send(sent: Sent) -> None:
            with self._noting([sent]):
                _stored(sent, await mq.send(self.topic, sent.body))

        async with trio.open_nursery() as nursery:
            for sent in volley:
                nursery.start_soon(send, sent)
        return any(sent.outcome is Outcome.ACKED for sent in volley)

    @contextmanager
    def _noting(self, attempts: list[Sent]) -> Iterator[None]:
        """Write down how it ended, where that was not well."""
        try:
            yield
        except ClientError as caught:
            error = caught.cause if isinstance(caught, BatchFailed) else caught
            if isinstance(error, NoAnswer):
                _ended(attempts, Outcome.UNKNOWN, reason=str(error))
            elif isinstance(error, BrokerRefused):
                _ended(attempts, Outcome.REFUSED, reason=error.remark, code=error.code)
            else:
                _ended(attempts, Outcome.NOT_SENT, reason=str(error))
        for sent in attempts:
            what = (sent.outcome.value, sent.broker, sent.queue_id, sent.queue_offset, sent.code)
            self._cluster.world.log("sent", self.name, sent.number, *what)


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
    sent.physical_offset = int(receipt.offset_message_id[-16:] or "-1", 16)
