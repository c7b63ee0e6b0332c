"""A whole cluster inside one test: real programs on loopback sockets, their disks in memory."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.config import BrokerConfig, HttpSection
from broker_trio.client.admin.admin import Admin
from broker_trio.client.calls import Calls
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import RequestCode
from broker_trio.model.message import PROPERTY_KEYS, PROPERTY_TAGS, PROPERTY_UNIQ_KEY
from broker_trio.model.route import MessageQueue
from broker_trio.model.topic import TopicConfig
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import HttpSection as NameserverHttp
from broker_trio.namesrv.config import NameserverConfig
from broker_trio.remoting.client import RemotingClient
from broker_trio.runtime.clock import RealClock
from broker_trio.runtime.network import RealNetwork
from broker_trio.testing.cluster.cluster import SMALL
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.headers.send import (
    ConsumerSendMsgBackRequestHeader,
    SendMessageV2RequestHeader,
)
from broker_trio.wire.properties import format_properties


class Running:
    """A nameserver, its brokers, and an admin client of them."""

    def __init__(self, client: RemotingClient, nameservers: list[NameserverApp]) -> None:
        self.calls = Calls(client)
        self.nameserver_apps = nameservers
        self.brokers: dict[str, BrokerApp] = {}
        self.stopping: dict[str, trio.Event] = {}
        self.nameservers = Nameservers(self.calls, [app.address for app in nameservers])
        self.admin = Admin(self.calls, self.nameservers)

    async def topic(self, name: str, queues: int = 1) -> None:
        await self.admin.topics.put(TopicConfig(name, queues, queues))

    async def send(
        self,
        topic: str,
        body: bytes,
        *,
        queue: int = 0,
        broker: str = "broker-a",
        sys_flag: int = 0,
        **properties: str,
    ) -> str:
        """Store one message; its offset message id. `tag`, `key` and `uniq` are properties."""
        known = {"tag": PROPERTY_TAGS, "key": PROPERTY_KEYS, "uniq": PROPERTY_UNIQ_KEY}
        named = {known.get(name, name): value for name, value in properties.items()}
        header = SendMessageV2RequestHeader(
            producer_group="tests", topic=topic, default_topic="TBW102",
            default_topic_queue_nums=4, queue_id=queue, sys_flag=sys_flag, born_timestamp=1_000,
            flag=0, properties=format_properties(named).decode() or None, bname=broker,
        )  # fmt: skip
        address = self.brokers[broker].address
        answer = await self.calls.ask(address, RequestCode.SEND_MESSAGE_V2, header, body)
        return str(answer.ext["msgId"])

    async def kill_off(self, group: str, message_id: str, **fields: object) -> None:
        """Make a stored message a dead letter of the group, as a consumer that gives up does."""
        message = await self.admin.messages.by_id(message_id)
        header = ConsumerSendMsgBackRequestHeader(
            offset=message.physical_offset, group=group, delay_level=-1, **fields
        )
        await self.calls.ask(message.store_host, RequestCode.CONSUMER_SEND_MSG_BACK, header)

    def queue(self, topic: str, queue_id: int = 0, broker: str = "broker-a") -> MessageQueue:
        return MessageQueue(topic, broker, queue_id)


@asynccontextmanager
async def running(brokers: int = 1, nameservers: int = 1) -> AsyncIterator[Running]:
    """Everything serves inside the block and is killed at its end."""
    rng = random.Random(7)
    async with trio.open_nursery() as nursery, RemotingClient() as client:
        apps = []
        for number in range(nameservers):
            config = NameserverConfig(
                name=f"ns{number}", listen="127.0.0.1:0", http=NameserverHttp(address="")
            )
            app = NameserverApp(RealClock(), SimDisk(rng), RealNetwork(), config)
            await nursery.start(app.run, trio.Event())
            apps.append(app)
        found = Running(client, apps)
        for number in range(brokers):
            name = f"broker-{'abcdef'[number]}"
            broker = BrokerApp(
                RealClock(),
                SimDisk(rng),
                RealNetwork(),
                rng,
                BrokerConfig(
                    broker_name=name,
                    listen="127.0.0.1:0",
                    vip_channel=False,
                    nameservers=tuple(app.address for app in apps),
                    http=HttpSection(address=""),
                    store=msgspec.structs.replace(SMALL),
                ),
            )
            stopping = found.stopping[name] = trio.Event()
            await nursery.start(broker.run, stopping)
            found.brokers[name] = broker
        yield found
        nursery.cancel_scope.cancel()
