"""Nameservers and brokers that answer from dicts, over streams in memory, on either event loop.

net = FakeNet(brokers=2, nameservers=2)         ns0:9876, ns1:9876, b0:10911, b1:10911
net.mood["b0:10911"] = SILENT                   takes everything, answers nothing
net.stored                                      (broker, queue, body, properties) as they came
net.open                                        streams that nobody closed
"""

import math
from collections import defaultdict
from typing import Any

import anyio

from broker_trio.client.connect import Client, connect
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.hosts import encode_host, message_id
from broker_trio.model.route import BrokerData, QueueData, TopicRouteData
from broker_trio.wire.batch import decode_batch
from broker_trio.wire.bodies.heartbeat import HeartbeatData, decode_heartbeat
from broker_trio.wire.bodies.route import ClusterInfo, encode_cluster_info, encode_route
from broker_trio.wire.command import RESPONSE, Command, Serialize
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.properties import parse_properties
from broker_trio.wire.serialize import encode

DOWN, SILENT, DARK, CLOSING = "down", "silent", "dark", "closing"
"""Refuses connections; answers nothing; nor a new connection; closes when a send comes.

A ResponseCode refuses sends.
"""
SENDS = (RequestCode.SEND_MESSAGE_V2, RequestCode.SEND_BATCH_MESSAGE)
PROBE = 26_000


class FakeStream:
    """One connection of a client to one address."""

    def __init__(self, net: "FakeNet", address: str) -> None:
        self.net, self.address = net, address
        self._frames = FrameBuffer()
        self._give, self._take = anyio.create_memory_object_stream[bytes](math.inf)

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self._frames.receive_data(item)
        while (command := self._frames.next_command()) is not None:
            self._arrived(command)

    def _arrived(self, command: Command) -> None:
        mood = self.net.mood.get(self.address)
        self.net.asked.append((self.address, command.code))
        if mood in {SILENT, DARK}:
            return
        json_only = command.serialize is Serialize.CBOR and self.address in self.net.apache
        if json_only or (mood == CLOSING and command.code in SENDS):
            self._give.close()
            return
        answer = self.net.answer(self.address, command)
        if command.is_oneway:
            return
        answer.opaque, answer.flag, answer.serialize = command.opaque, RESPONSE, command.serialize
        self._give.send_nowait(encode(answer))

    def request(self, command: Command) -> None:
        """The broker asks something of the client."""
        self._give.send_nowait(encode(command))

    def cut(self) -> None:
        """The peer is gone; closing tells the client."""
        self._give.close()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._take.receive()

    async def aclose(self) -> None:
        self._give.close()
        self._take.close()
        self.net.open.discard(self)


class FakeNet:
    """The cluster. `topics` is topic to broker name to write queues; TBW102 is there."""

    def __init__(self, *, brokers: int = 1, nameservers: int = 1) -> None:
        self.nameservers = [f"ns{n}:9876" for n in range(nameservers)]
        self.brokers = {f"b{n}": f"b{n}:10911" for n in range(brokers)}
        self.topics: dict[str, dict[str, int]] = {"TBW102": dict.fromkeys(self.brokers, 8)}
        self.perm: dict[tuple[str, str], int] = {}
        self.headless: set[str] = set()  # brokers of which only a slave is there
        self.acting: set[str] = set()  # brokers whose slave stands in for the master
        self.knows: dict[str, set[str]] = {}  # by nameserver: the topics, where not all of them
        self.mood: dict[str, object] = {}
        self.apache: set[str] = set()
        self.asked: list[tuple[str, int]] = []
        self.stored: list[tuple[str, int, bytes, dict[str, str]]] = []
        self.counts: dict[tuple[str, str, int], int] = defaultdict(int)
        self.beats: list[tuple[str, HeartbeatData]] = []
        self.left: list[tuple[str, str]] = []
        self.open: set[FakeStream] = set()
        self.opened = 0
        self.epoch: dict[str, str] = {}  # by broker name: of those in a pair

    def topic(self, name: str, queues: int = 2) -> None:
        self.topics[name] = dict.fromkeys(self.brokers, queues)

    def client(self, **options: Any) -> Client:
        return connect(self.nameservers, connect=self.connect, **options)

    def down(self, *addresses: str) -> None:
        """Their programs end: connections break, new ones are refused."""
        for address in addresses:
            self.mood[address] = DOWN
            for stream in [stream for stream in self.open if stream.address == address]:
                stream.cut()

    def times(self, address: str, code: int) -> int:
        return self.asked.count((address, code))

    async def connect(self, address: str) -> FakeStream:
        await anyio.lowlevel.checkpoint()
        if self.mood.get(address) == DOWN:
            raise ConnectionRefusedError(111, "Connection refused")
        if self.mood.get(address) == DARK:
            await anyio.sleep_forever()
        stream = FakeStream(self, address)
        self.open.add(stream)
        self.opened += 1
        return stream

    def answer(self, address: str, command: Command) -> Command:
        if command.code == PROBE:
            return Command(ResponseCode.REQUEST_CODE_NOT_SUPPORTED)
        if address in self.nameservers:
            return self._nameserver(address, command)
        return self._broker(address, command)

    def _id(self, name: str, nameserver: str) -> int:
        """1 where no nameserver, or not this one (`name@nameserver`), knows it as the master."""
        return int(bool({name, f"{name}@{nameserver}"} & {*self.headless}))

    def _nameserver(self, address: str, command: Command) -> Command:
        datas = [
            BrokerData("c", name, {self._id(name, address): at}, None, name in self.acting)
            for name, at in self.brokers.items()
        ]
        if command.code == RequestCode.GET_BROKER_CLUSTER_INFO:
            info = ClusterInfo({data.broker_name: data for data in datas}, {"c": [*self.brokers]})
            return Command(0, body=encode_cluster_info(info, command.serialize))
        assert command.code == RequestCode.GET_ROUTEINFO_BY_TOPIC
        topic = str(command.ext["topic"])
        queues = self.topics.get(topic)
        if queues is None or topic not in self.knows.get(address, {topic}):
            return Command(ResponseCode.TOPIC_NOT_EXIST, remark="no route")
        route = TopicRouteData(
            [
                QueueData(name, count, count, self.perm.get((topic, name), 6))
                for name, count in queues.items()
            ],
            [data for data in datas if data.broker_name in queues],
        )
        return Command(0, body=encode_route(route, command.serialize))

    def _broker(self, address: str, command: Command) -> Command:
        name = next(name for name, where in self.brokers.items() if where == address)
        if command.code == RequestCode.HEART_BEAT:
            self.beats.append((name, decode_heartbeat(command.body, command.serialize)))
            return Command(0)
        if command.code == RequestCode.UNREGISTER_CLIENT:
            groups = command.ext.get("producerGroup") or command.ext.get("consumerGroup")
            self.left.append((name, str(groups)))
            return Command(0)
        assert command.code in SENDS
        mood = self.mood.get(address)
        if isinstance(mood, ResponseCode):
            return Command(mood, remark="told to refuse")
        return self._store(name, command)

    def _store(self, name: str, command: Command) -> Command:
        topic, queue = str(command.ext["b"]), int(command.ext["e"])
        first = self.counts[name, topic, queue]
        items = [(command.body, str(command.ext.get("i", "")).encode())]
        if command.code == RequestCode.SEND_BATCH_MESSAGE:
            items = [(item.body, item.properties) for item in decode_batch(command.body)]
        ids = []
        for body, properties in items:
            self.stored.append((name, queue, body, parse_properties(properties)))
            ids.append(message_id(encode_host("127.0.0.1:10911"), len(self.stored)))
        self.counts[name, topic, queue] += len(items)
        ext = {"msgId": ",".join(ids), "queueId": str(queue), "queueOffset": str(first)}
        if self.brokers[name] not in self.apache:
            ext["durability"] = "disk"
        if name in self.epoch:
            ext["epoch"] = self.epoch[name]
        return Command(0, ext=ext)
