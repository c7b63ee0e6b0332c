"""Machines with a client on each: they send, pull and commit through `broker_trio.client`.

    producer    one attempt after the other, each with a body of its own; never repeats one
    consumer    one task a queue: pull with a hold, write down, commit, pull …; starts where its
                group stands, so that it reads again whatever it had not committed
    drain       reads every queue from its first to its last offset: the final state

Clients live through everything that happens to the cluster: whatever a call raises on purpose ends
up in the history, and they go on. They may be killed themselves, as any node.
"""

from collections.abc import Callable, Sequence
from typing import Final, final

import trio

from broker_trio.client.calls import Calls
from broker_trio.client.errors import BrokerRefused, NoAnswer, NoRoute
from broker_trio.client.producer import Producer, Receipt
from broker_trio.client.puller import Puller, Start
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.message import MessageExt
from broker_trio.model.route import MessageQueue
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.runtime.seams import Entropy
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.cluster.history import Back, Got, Outcome, Placed, Sent, Stood
from broker_trio.testing.world import Node
from broker_trio.wire.headers.send import ConsumerSendMsgBackRequestHeader

CALL_S: Final = 3.0  # patience with one call
PAUSE_S: Final = 0.2  # after a call that failed
REFRESH_S: Final = 2.0  # between two looks for new queues, once every topic was found
HOLD_MS: Final = 5_000
COUNT_MAX: Final = 32
TROUBLE: Final = (BrokerRefused, NoAnswer, NoRoute, Unreachable)

Handle = Callable[[Got], int | None]
"""What a consumer does with a message: None handled it, a delay level sends it back for a retry."""


def handled(_: Got) -> int | None:
    """Every message can be handled."""
    return None


def group_of(consumer: str) -> str:
    """The group of a simulated consumer."""
    return f"cg-{consumer}"


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
        body: Callable[[str, int, Entropy], bytes] = body_of,
    ) -> None:
        """`pause_s`: on average between two attempts. `delays`: levels to choose from."""
        self.name, self.topic = name, topic
        self.sent = 0  # attempts begun
        self.left = 0  # attempts still to be made
        self._cluster, self._pause_s, self._delays, self._body = cluster, pause_s, delays, body
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
                sent = await self._send(node, producer)
                failed = sent.outcome is not Outcome.ACKED
                await trio.sleep(PAUSE_S if failed else node.entropy.uniform(0, 2 * self._pause_s))
        self._done.set()

    async def _send(self, node: Node, producer: Producer) -> Sent:
        self.sent += 1
        body = self._body(self.name, self.sent, self._entropy)
        delay_level = self._entropy.choice(self._delays)
        began = trio.current_time()
        sent = Sent(self.name, self.sent, self.topic, body, began, delay_level)
        self._cluster.history.sent.append(sent)
        try:
            receipt = await producer.send(
                self.topic,
                body,
                node.clock.wall_ms(),
                keys=f"{self.name}-{self.sent}",
                tags=node.entropy.choice(("", "a", "b")),
                delay_level=delay_level,
            )
        except NoAnswer as error:
            _ended(sent, Outcome.UNKNOWN, reason=str(error))
        except BrokerRefused as error:
            _ended(sent, Outcome.REFUSED, reason=error.remark, code=error.code)
        except (Unreachable, NoRoute) as error:
            _ended(sent, Outcome.NOT_SENT, reason=str(error))
        else:
            _stored(sent, receipt)
        what = (sent.outcome.value, sent.broker, sent.queue_id, sent.queue_offset, sent.code)
        self._cluster.world.log("sent", self.name, sent.number, *what)
        return sent


def _ended(sent: Sent, outcome: Outcome, *, reason: str, code: int = 0) -> None:
    sent.ended, sent.outcome, sent.reason, sent.code = trio.current_time(), outcome, reason, code


def _stored(sent: Sent, receipt: Receipt) -> None:
    """Only SUCCESS promises anything; stored but not durable is an unknown outcome."""
    acked = receipt.status == ResponseCode.SUCCESS.name
    _ended(sent, Outcome.ACKED if acked else Outcome.UNKNOWN, reason=receipt.status)
    sent.broker, sent.queue_id = receipt.broker_name, receipt.queue_id
    sent.queue_offset, sent.durability = receipt.queue_offset, receipt.durability


@final
class SimConsumer:
    """A group of one that reads every queue of some topics, for as long as it lives."""

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        topics: tuple[str, ...],
        *,
        handle: Handle = handled,
        retries_max: int = 16,
        hold_ms: int = HOLD_MS,
    ) -> None:
        """Topics may be its own retry topic, as `retry_topic(group)` names it.

        `retries_max`: after so many a message that is sent back becomes a dead letter.
        """
        self.name, self.group, self.topics = name, group_of(name), topics
        self.retries_max = retries_max
        self.reached: dict[tuple[str, str, int], int] = {}  # queue to the offset it goes on at
        self._cluster, self._handle, self._hold_ms = cluster, handle, hold_ms
        self.node = cluster.world.node(name, self._main)

    def go(self) -> None:
        self.node.start()

    async def _main(self, node: Node) -> None:
        async with RemotingClient(through(node.network)) as client, trio.open_nursery() as nursery:
            calls = Calls(client, timeout_s=CALL_S)
            nameservers = Nameservers(calls, self._cluster.nameserver_addresses)
            puller = Puller(calls, nameservers, self.group)
            known: dict[MessageQueue, None] = {}
            while True:  # topics come to be, and routes come back, while we live
                for topic in self.topics:
                    await self._find(topic, known, calls, puller, nursery)
                found = {queue.topic for queue in known}
                await trio.sleep(PAUSE_S if found < set(self.topics) else REFRESH_S)

    async def _find(
        self,
        topic: str,
        known: dict[MessageQueue, None],
        calls: Calls,
        puller: Puller,
        nursery: trio.Nursery,
    ) -> None:
        """Begin to read the queues of a topic that are not read yet."""
        try:
            queues = await puller.queues(topic)
        except TROUBLE:
            return
        for queue in [queue for queue in queues if queue not in known]:
            known[queue] = None
            nursery.start_soon(self._read, calls, puller, queue, queues[queue])

    async def _read(self, calls: Calls, puller: Puller, queue: MessageQueue, address: str) -> None:
        offset = -1
        while True:
            try:
                if offset < 0:
                    offset = await puller.begin_offset(queue, address, Start.FIRST)
                pulled = await puller.pull(queue, address, offset, wait_ms=self._hold_ms)
                for message in pulled.messages:
                    got = self._note(queue, message)
                    level = self._handle(got)
                    if level is not None:
                        await self._send_back(calls, address, message, level)
                moved = pulled.next_offset != offset
                offset = pulled.next_offset
                self.reached[queue.broker_name, queue.topic, queue.queue_id] = offset
                if moved:
                    await puller.commit(queue, address, offset)
            except TROUBLE as error:
                self._cluster.world.log("trouble", self.name, type(error).__name__)
                offset = -1  # as a client that rebalanced: from where its group stands
                await trio.sleep(PAUSE_S)

    def _note(self, queue: MessageQueue, message: MessageExt) -> Got:
        got = Got(
            self.name,
            queue.broker_name,
            message.topic,
            message.queue_id,
            message.queue_offset,
            message.physical_offset,
            message.body,
            trio.current_time(),
            message.store_timestamp_ms,
            message.reconsume_times,
        )
        self._cluster.history.got.append(got)
        place = (queue.broker_name, message.topic, message.queue_id, message.queue_offset)
        self._cluster.world.log("got", self.name, *place)
        return got

    async def _send_back(self, calls: Calls, address: str, message: MessageExt, level: int) -> None:
        header = ConsumerSendMsgBackRequestHeader(
            offset=message.physical_offset,
            group=self.group,
            delay_level=level,
            origin_topic=message.topic,
            max_reconsume_times=self.retries_max,
        )
        began, accepted = trio.current_time(), False
        try:
            await calls.ask(address, RequestCode.CONSUMER_SEND_MSG_BACK, header)
            accepted = True
        finally:
            ended, times = trio.current_time(), message.reconsume_times
            back = Back(self.name, self.group, message.body, times, level, began, ended, accepted)
            self._cluster.history.backs.append(back)
            self._cluster.world.log("back", self.name, message.queue_offset, level, accepted)


async def drain(cluster: Cluster, topics: tuple[str, ...]) -> None:
    """Read all queues of the topics into `history.placed`. Retries nothing: all must work."""
    network = cluster.world.network.boot("drain")
    async with RemotingClient(through(network)) as client:
        calls = Calls(client, timeout_s=CALL_S)
        nameservers = Nameservers(calls, cluster.nameserver_addresses)
        puller = Puller(calls, nameservers, "cg-drain")
        for topic in topics:
            for queue, address in (await _queues(puller, topic)).items():
                await _drain_queue(cluster, puller, queue, address)


async def _queues(puller: Puller, topic: str) -> dict[MessageQueue, str]:
    """None where nothing was ever retried, or died; any other topic must have a route."""
    try:
        return await puller.queues(topic)
    except NoRoute:
        if not topic.startswith("%"):
            raise
        return {}


async def _drain_queue(cluster: Cluster, puller: Puller, queue: MessageQueue, address: str) -> None:
    history = cluster.history
    low, high = await puller.bounds(queue, address)
    key = (queue.broker_name, queue.topic, queue.queue_id)
    history.began[key], history.ended[key] = low, high
    offset = low
    while offset < high:
        pulled = await puller.pull(queue, address, offset)
        for message in pulled.messages:
            history.placed.append(
                Placed(
                    *key,
                    message.queue_offset,
                    message.body,
                    message.store_timestamp_ms,
                    message.reconsume_times,
                    message.properties,
                )
            )
        assert pulled.next_offset > offset, f"{queue} stands still at {offset} of {high}"
        offset = pulled.next_offset
    cluster.world.log("drained", *key, low, high)


async def note_offsets(cluster: Cluster, consumers: Sequence[SimConsumer]) -> None:
    """Ask the brokers where each group stands in every queue that exists."""
    network = cluster.world.network.boot("offsets")
    async with RemotingClient(through(network)) as client:
        calls = Calls(client, timeout_s=CALL_S)
        nameservers = Nameservers(calls, cluster.nameserver_addresses)
        for consumer in consumers:
            puller = Puller(calls, nameservers, consumer.group)
            for topic in consumer.topics:
                for queue, address in (await _queues(puller, topic)).items():
                    committed = await puller.begin_offset(queue, address, Start.FIRST)
                    _, end = await puller.bounds(queue, address)
                    place = (queue.broker_name, topic, queue.queue_id)
                    stood = Stood(consumer.group, *place, committed, end, trio.current_time())
                    cluster.history.stood.append(stood)
