"""A cluster of one nameserver and one broker that answers from dicts, over streams of our own.

No task and no socket: a frame that the client sends is answered at once into the stream's inbox.
"""

import math
from collections import defaultdict
from collections.abc import Callable

import anyio

from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.hosts import encode_host
from broker_trio.model.message import MessageExt
from broker_trio.model.route import BrokerData, MessageQueue, QueueData, TopicRouteData
from broker_trio.remoting.client import ByteStream
from broker_trio.wire.bodies.route import (
    ClusterInfo,
    encode_cluster_info,
    encode_kv_table,
    encode_route,
    encode_topic_list,
)
from broker_trio.wire.bodies.topic_config import TopicOffset, TopicStatsTable, encode_topic_stats
from broker_trio.wire.command import RESPONSE, Command, Serialize
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.properties import format_properties, parse_properties
from broker_trio.wire.record import encode_record
from broker_trio.wire.serialize import encode

NAMESERVER = "127.0.0.1:9876"
BROKER = "127.0.0.1:10911"
QUEUES = 2

Answer = Callable[[Command], Command | None]


def yes(body: bytes = b"", **ext: str) -> Command:
    return Command(ResponseCode.SUCCESS, ext=dict(ext), body=body)


def no(code: ResponseCode, remark: str = "") -> Command:
    return Command(code, remark=remark)


class FakeStream:
    """One connection to one program. An answer of None closes it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._frames = FrameBuffer()
        self._give, self._take = anyio.create_memory_object_stream[bytes](math.inf)

    async def send(self, item: bytes) -> None:
        self._frames.receive_data(item)
        while (command := self._frames.next_command()) is not None:
            answer = self._answer(command)
            if answer is None:
                self._give.close()
                return
            answer.opaque, answer.flag = command.opaque, RESPONSE
            answer.serialize = command.serialize
            self._give.send_nowait(encode(answer))

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._take.receive()

    async def aclose(self) -> None:
        self._give.close()
        self._take.close()


class FakeCluster:
    """State that tests look at, and knobs: `json_only` closes on CBOR, `registered` is the broker's
    place in the nameserver, `fail_first` how many sends are refused before one is taken."""

    def __init__(self) -> None:
        self.topics: dict[str, int] = {}
        self.messages: dict[MessageQueue, list[MessageExt]] = defaultdict(list)
        self.committed: dict[tuple[str, str, int], int] = {}
        self.asked: list[tuple[str, int]] = []
        self.serialized: set[Serialize] = set()
        self.refuse_sends: ResponseCode | None = None
        self.close_on: set[int] = set()
        self.down: set[str] = set()
        self.json_only = False
        self.registered = True
        self.fail_first = 0

    async def connect(self, address: str) -> ByteStream:
        if address in self.down:
            raise ConnectionRefusedError(111, "Connection refused")
        programs: dict[str, Answer] = {NAMESERVER: self.nameserver, BROKER: self.broker}
        program = programs.get(address)
        if program is None:
            raise ConnectionRefusedError(111, "Connection refused")
        return FakeStream(lambda command: self._through(address, program, command))

    def _through(self, address: str, program: Answer, command: Command) -> Command | None:
        if command.serialize is Serialize.CBOR and self.json_only:
            return None
        if command.code in self.close_on:
            return None
        if command.code < 26_000:
            self.asked.append((address, command.code))
            self.serialized.add(command.serialize)
        return program(command)

    # -- the nameserver ------------------------------------------------------------------------

    def nameserver(self, command: Command) -> Command:
        data = BrokerData("DefaultCluster", "broker-a", {0: BROKER})
        match command.code:
            case RequestCode.GET_ROUTEINFO_BY_TOPIC:
                topic = str(command.ext["topic"])
                count = 8 if topic == "TBW102" else self.topics.get(topic)
                if count is None or not self.registered:
                    return no(ResponseCode.TOPIC_NOT_EXIST, f"no route of {topic}")
                route = TopicRouteData([QueueData("broker-a", count, count, 6)], [data])
                return yes(encode_route(route, command.serialize))
            case RequestCode.GET_BROKER_CLUSTER_INFO:
                info = (
                    ClusterInfo()
                    if not self.registered
                    else ClusterInfo(
                        broker_addr_table={"broker-a": data},
                        cluster_addr_table={"DefaultCluster": ["broker-a"]},
                    )
                )
                return yes(encode_cluster_info(info, command.serialize))
            case RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER:
                if not self.registered:
                    return yes(encode_topic_list([], command.serialize))
                names = [*self.topics, "TBW102", "%RETRY%g", "broker-a"]
                return yes(encode_topic_list(names, command.serialize))
            case RequestCode.DELETE_TOPIC_IN_NAMESRV:
                self.topics.pop(str(command.ext["topic"]), None)
                return yes()
        return no(ResponseCode.REQUEST_CODE_NOT_SUPPORTED)

    # -- the broker ----------------------------------------------------------------------------

    def broker(self, command: Command) -> Command:
        handler = {
            RequestCode.UPDATE_AND_CREATE_TOPIC: self._create,
            RequestCode.GET_TOPIC_STATS_INFO: self._stats,
            RequestCode.DELETE_TOPIC_IN_BROKER: lambda _command: yes(),
            RequestCode.GET_BROKER_RUNTIME_INFO: self._runtime,
            RequestCode.SEND_MESSAGE_V2: self._send,
            RequestCode.QUERY_CONSUMER_OFFSET: self._offset,
            RequestCode.UPDATE_CONSUMER_OFFSET: self._commit,
            RequestCode.GET_MIN_OFFSET: lambda _command: yes(offset="0"),
            RequestCode.GET_MAX_OFFSET: lambda command: yes(
                offset=str(len(self.messages[queue_of(command)]))
            ),
            RequestCode.PULL_MESSAGE: self._pull,
            RequestCode.QUERY_MESSAGE: self._query,
            RequestCode.VIEW_MESSAGE_BY_ID: self._view,
        }.get(RequestCode(command.code) if command.code < 26_000 else RequestCode.HEART_BEAT)
        if handler is None:
            return no(ResponseCode.REQUEST_CODE_NOT_SUPPORTED)
        return handler(command)

    def _create(self, command: Command) -> Command:
        self.topics[str(command.ext["topic"])] = int(command.ext["writeQueueNums"])
        return yes()

    def _stats(self, command: Command) -> Command:
        topic = str(command.ext["topic"])
        table = TopicStatsTable(
            offset_table={
                queue: TopicOffset(0, len(found), 1_000)
                for queue, found in self.messages.items()
                if queue.topic == topic
            }
        )
        return yes(encode_topic_stats(table, command.serialize))

    def _runtime(self, command: Command) -> Command:
        table = {
            "brokerVersionDesc": "V5_3_4",
            "putTps": "12.5 3.0 1.0",
            "msgPutTotalTodayNow": "7",
        }
        return yes(encode_kv_table(table, command.serialize))

    def _send(self, command: Command) -> Command:
        if self.fail_first > 0:
            self.fail_first -= 1
            return no(ResponseCode.SERVICE_NOT_AVAILABLE, "becoming master")
        if self.refuse_sends is not None:
            return no(self.refuse_sends, "the disk is full")
        ext = command.ext
        queue = MessageQueue(str(ext["b"]), "broker-a", int(ext["e"]))
        self.topics.setdefault(queue.topic, 4)
        stored = self.messages[queue]
        message = MessageExt(
            topic=queue.topic,
            queue_id=queue.queue_id,
            queue_offset=len(stored),
            physical_offset=1_000 + len(stored) * 10 + queue.queue_id,
            store_host=BROKER,
            body=command.body,
            store_timestamp_ms=len(stored),
            properties=parse_properties(str(ext.get("i", ""))),
        )
        stored.append(message)
        return yes(
            msgId=message.message_id,
            queueId=str(queue.queue_id),
            queueOffset=str(message.queue_offset),
            durability="memory",
        )

    def _offset(self, command: Command) -> Command:
        ext = command.ext
        key = (str(ext["consumerGroup"]), str(ext["topic"]), int(ext["queueId"]))
        if key not in self.committed:
            return no(ResponseCode.QUERY_NOT_FOUND)
        return yes(offset=str(self.committed[key]))

    def _commit(self, command: Command) -> Command:
        ext = command.ext
        key = (str(ext["consumerGroup"]), str(ext["topic"]), int(ext["queueId"]))
        self.committed[key] = int(ext["commitOffset"])
        return yes()

    def _pull(self, command: Command) -> Command:
        stored = self.messages[queue_of(command)]
        begin, count = int(command.ext["queueOffset"]), int(command.ext["maxMsgNums"])
        found = stored[begin : begin + count]
        answer = yes(
            b"".join(map(record_of, found)),
            suggestWhichBrokerId="0",
            nextBeginOffset=str(begin + len(found)),
            minOffset="0",
            maxOffset=str(len(stored)),
        )
        if not found:
            answer.code = ResponseCode.PULL_NOT_FOUND
        return answer

    def _query(self, command: Command) -> Command:
        key = str(command.ext["key"])
        found = [
            message
            for queue, messages in self.messages.items()
            for message in messages
            if queue.topic == command.ext["topic"] and key in {*message.keys, message.uniq_key}
        ]
        if not found:
            return no(ResponseCode.QUERY_NOT_FOUND)
        return yes(b"".join(map(record_of, found)))

    def _view(self, command: Command) -> Command:
        offset = int(command.ext["offset"])
        for messages in self.messages.values():
            for message in messages:
                if message.physical_offset == offset:
                    return yes(record_of(message))
        return no(ResponseCode.SYSTEM_ERROR, f"no message at {offset}")


def queue_of(command: Command) -> MessageQueue:
    return MessageQueue(str(command.ext["topic"]), "broker-a", int(command.ext["queueId"]))


def record_of(message: MessageExt) -> bytes:
    born, stored = encode_host(message.born_host), encode_host(message.store_host)
    return encode_record(message, born, stored, format_properties(message.properties))
