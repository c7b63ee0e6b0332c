"""A client that reads the final state: every queue, the groups' offsets, messages by their keys.

It retries nothing: when it reads, all must work. Its findings go into the history.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from broker_trio.client.calls import Calls
from broker_trio.client.errors import NoRoute
from broker_trio.client.group_calls import GroupCalls, readable
from broker_trio.client.routes import Nameservers, masters
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.route import MessageQueue
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.cluster import Cluster
from broker_trio.testing.cluster.consumer import SimConsumer, first_offset
from broker_trio.testing.cluster.history import Placed, Stood
from broker_trio.testing.cluster.producer import CALL_S
from broker_trio.wire.headers.query import QueryMessageRequestHeader
from broker_trio.wire.record import decode_records

KEYS_ASKED_MAX: Final = 8
LOOK_S: Final = 0.25


@asynccontextmanager
async def _asking(cluster: Cluster) -> AsyncIterator[tuple[Calls, Nameservers]]:
    """A client machine that exists for this purpose only."""
    network = cluster.world.network.boot("reader")
    async with RemotingClient(through(network)) as client:
        calls = Calls(client, timeout_s=CALL_S)
        yield calls, Nameservers(calls, cluster.nameserver_addresses)


async def drain(cluster: Cluster, topics: tuple[str, ...]) -> None:
    """Read all queues of the topics into `history.placed`, from first to last offset."""
    async with _asking(cluster) as (calls, nameservers):
        group = GroupCalls(calls, "cg-drain")
        for topic in topics:
            for queue, address in (await _queues(nameservers, topic)).items():
                await _drain_queue(cluster, group, queue, address)


async def _queues(nameservers: Nameservers, topic: str) -> dict[MessageQueue, str]:
    """None where nothing was ever retried, or died; any other topic must have a route."""
    try:
        return readable(topic, await nameservers.route(topic))
    except NoRoute:
        if not topic.startswith("%"):
            raise
        return {}


async def _drain_queue(
    cluster: Cluster, group: GroupCalls, queue: MessageQueue, address: str
) -> None:
    history = cluster.history
    low, high = await group.bounds(address, queue)
    key = (queue.broker_name, queue.topic, queue.queue_id)
    history.began[key], history.ended[key] = low, high
    offset = low
    while offset < high:
        try:
            pulled = await group.pull(address, queue, offset)
        except RemoteProtocolError as error:
            raise Violation("I16", f"broken bytes from {queue} at {offset}: {error}") from error
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
    async with _asking(cluster) as (calls, nameservers):
        for consumer in consumers:
            group = GroupCalls(calls, consumer.group)
            for topic in consumer.topics:
                for queue, address in (await _queues(nameservers, topic)).items():
                    committed = await first_offset(group, address, queue)
                    end = await group.end(address, queue)
                    place = (queue.broker_name, topic, queue.queue_id)
                    stood = Stood(consumer.group, *place, committed, end, trio.current_time())
                    cluster.history.stood.append(stood)


async def until_routed(cluster: Cluster, topic: str, within_s: float) -> None:
    """Until every nameserver shows a master for the topic. Raises `Violation`."""
    async with _asking(cluster) as (calls, _):
        for address in cluster.nameserver_addresses:
            deadline = trio.current_time() + within_s
            while not await _shows_master(Nameservers(calls, [address]), topic):
                if trio.current_time() > deadline:
                    raise Violation("I19", f"{address} shows no master of {topic}, {within_s:g} s")
                await trio.sleep(LOOK_S)


async def _shows_master(nameservers: Nameservers, topic: str) -> bool:
    try:
        return bool(masters(await nameservers.route(topic)))
    except NoRoute:
        return False


async def check_keys(cluster: Cluster) -> None:
    """Some messages of the final state, picked by chance, are found by their keys.

    Raises `Violation`.
    """
    placed = cluster.history.placed
    picked = cluster.world.rng("keys").sample(placed, min(KEYS_ASKED_MAX, len(placed)))
    async with _asking(cluster) as (calls, nameservers):
        for one in picked:
            key = one.properties.get("KEYS") or one.properties["UNIQ_KEY"]
            header = QueryMessageRequestHeader(
                topic=one.topic,
                key=key,
                max_num=32,
                begin_timestamp=one.store_ms,
                end_timestamp=one.store_ms,
            )
            address = masters(await nameservers.route(one.topic))[one.broker]
            accept = (ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND)
            answer = await calls.ask(address, RequestCode.QUERY_MESSAGE, header, accept=accept)
            found = [message.queue_offset for message in decode_records(answer.body)]
            if one.offset not in found:
                raise Violation("I5", f"key {key} of {one[:4]} finds {found}")
