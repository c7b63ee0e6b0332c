"""One heartbeat a client: who it is, what it produces and consumes, told to every broker it uses.

    add_producer, add_consumer, remove ──┐
    a connection was lost ───────────────┼──▶ wake ──▶ HEART_BEAT to each broker of the kept routes
    30 seconds passed ───────────────────┘

A broker forgets a client when their connection closes, so a lost one is told again at once. A
client with producers only speaks to masters; one with consumers to every replica, as it may read
from them. Nothing is sent while there is no group.
"""

from collections.abc import Callable
from typing import Final, final

import anyio

from broker_trio.client.calls import Calls
from broker_trio.client.errors import ClientError
from broker_trio.client.events import Events, HeartbeatFailed
from broker_trio.client.options import Options
from broker_trio.client.route_table import RouteTable
from broker_trio.model.codes import RequestCode
from broker_trio.wire.bodies.heartbeat import (
    ConsumerData,
    HeartbeatData,
    ProducerData,
    encode_heartbeat,
)
from broker_trio.wire.command import Serialize
from broker_trio.wire.headers.client import UnregisterClientRequestHeader

RETRY_FIRST_S: Final = 1.0  # after a broker did not take it; doubles up to the interval
GROUPS_MAX: Final = 256


@final
class Heartbeat:
    """What this client is to brokers. `run` is a task of the session."""

    def __init__(
        self, client_id: str, calls: Calls, routes: RouteTable, events: Events, options: Options
    ) -> None:
        self._client_id, self._calls, self._routes = client_id, calls, routes
        self._events, self._options = events, options
        self._producers: dict[str, ProducerData] = {}
        self._consumers: dict[str, ConsumerData] = {}
        self._told: set[str] = set()  # addresses that know us
        self._failures = 0  # rounds in a row with a broker that did not take it
        self._wake = anyio.Event()

    # ---- what it says

    def add_producer(self, group: str) -> None:
        """From the next round on; a second time it changes nothing."""
        if group not in self._producers:
            self._check_room()
            self._producers[group] = ProducerData(group)
            self.wake()

    def add_consumer(self, data: ConsumerData) -> None:
        """Replaces what was said of this group. `beat` tells it at once and waits."""
        if self._consumers.get(data.group_name) != data:
            self._check_room()
            self._consumers[data.group_name] = data
            self.wake()

    def _check_room(self) -> None:
        count = len(self._producers) + len(self._consumers)
        if count >= GROUPS_MAX:
            raise ClientError(f"{count} groups in one client, at most {GROUPS_MAX} are allowed")

    async def remove(self, group: str) -> None:
        """The client leaves this consumer group; brokers are told as far as they answer."""
        if self._consumers.pop(group, None) is not None:
            await self._unregister(consumer=group)

    async def leave(self) -> None:
        """Say good-bye for all groups."""
        for group in list(self._consumers):
            await self.remove(group)
        for group in list(self._producers):
            del self._producers[group]
            await self._unregister(producer=group)

    async def _unregister(
        self, *, producer: str | None = None, consumer: str | None = None
    ) -> None:
        header = UnregisterClientRequestHeader(
            client_id=self._client_id, producer_group=producer, consumer_group=consumer
        )

        async def tell(address: str) -> None:
            try:
                await self._calls.ask(address, RequestCode.UNREGISTER_CLIENT, header)
            except ClientError as error:  # it forgets us by itself when the connection closes
                self._events.emit(HeartbeatFailed(address, str(error)))

        async with anyio.create_task_group() as group:
            for address in sorted(self._told):
                group.start_soon(tell, address)

    # ---- when and to whom

    def wake(self) -> None:
        """Something changed: the next round is now."""
        self._wake.set()

    def lost(self, address: str) -> None:
        """The connection closed, so the broker forgot us."""
        if address in self._told:
            self._told.discard(address)
            self.wake()

    def news(self) -> None:
        """Routes changed: there may be a broker that does not know us yet."""
        if not self._addresses() <= self._told:
            self.wake()

    async def run(self) -> None:
        """Beat at every interval, on every change, and soon again where a broker missed it."""
        while True:
            with anyio.move_on_after(self._pause_s()):
                await self._wake.wait()
            self._wake = anyio.Event()
            await self.beat()
            if self._failures:  # a broker that is down wakes us with each lost connection
                await anyio.sleep(min(RETRY_FIRST_S, self._options.heartbeat_s))

    def _pause_s(self) -> float:
        if not self._failures:
            return self._options.heartbeat_s
        return min(RETRY_FIRST_S * 2.0 ** min(self._failures, 10), self._options.heartbeat_s)

    def _addresses(self) -> set[str]:
        if not self._producers and not self._consumers:
            return set()
        found: set[str] = set()
        for data in self._routes.brokers.values():
            if self._consumers:
                found.update(data.broker_addrs.values())
            elif data.master is not None:
                found.add(data.master)
        return found

    async def beat(self) -> None:
        """Tell every broker now; returns when each has answered or did not in time."""
        addresses = sorted(self._addresses())
        if not addresses:
            return
        beat = HeartbeatData(
            client_id=self._client_id,
            producer_data_set=list(self._producers.values()),
            consumer_data_set=list(self._consumers.values()),
        )
        self._told.intersection_update(addresses)
        failed: list[str] = []

        async def tell(address: str) -> None:
            try:
                await self._calls.ask(address, RequestCode.HEART_BEAT, None, body_of(beat))
            except ClientError as error:
                failed.append(address)
                self._told.discard(address)
                self._events.emit(HeartbeatFailed(address, str(error)))
            else:
                self._told.add(address)

        async with anyio.create_task_group() as group:
            for address in addresses:
                group.start_soon(tell, address)
        self._failures = self._failures + 1 if failed else 0


def body_of(beat: HeartbeatData) -> Callable[[Serialize], bytes]:
    """The heartbeat in whichever serialisation the peer reads."""
    return lambda serialize: encode_heartbeat(beat, serialize)
