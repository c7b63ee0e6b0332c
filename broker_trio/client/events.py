"""What happens to a client that its program may want to see: typed, bounded, never in the way.

    session parts ──emit──▶ Events ──▶ one bounded queue for each `async for event in mq.events()`

A listener that does not keep up loses the oldest events, and is told how many by `EventsDropped`.
Whoever stops listening needs to do nothing: a queue that nobody holds is forgotten.
"""

import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, final

import anyio

from broker_trio.model.route import MessageQueue


@dataclass(frozen=True, slots=True)
class Event:
    """Root of all events, for `match` and `isinstance`."""


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    """A connection ended; the next question to this address connects anew."""

    address: str


@dataclass(frozen=True, slots=True)
class Reconnected(Event):
    """An address that had been lost answers again."""

    address: str


@dataclass(frozen=True, slots=True)
class BrokerSuspected(Event):
    """Sends avoid this broker for `avoided_s` seconds, as far as there is another one."""

    broker_name: str
    avoided_s: float
    cause: str


@dataclass(frozen=True, slots=True)
class BrokerTrusted(Event):
    """A suspected broker stored a message."""

    broker_name: str


@dataclass(frozen=True, slots=True)
class RouteChanged(Event):
    """The queues or brokers of a topic are other ones than before, or known for the first time."""

    topic: str


@dataclass(frozen=True, slots=True)
class RouteLost(Event):
    """No nameserver knows the topic any longer."""

    topic: str
    cause: str


@dataclass(frozen=True, slots=True)
class NameserversLost(Event):
    """No nameserver answers: the client goes on with the routes that it has."""

    cause: str


@dataclass(frozen=True, slots=True)
class NameserversBack(Event):
    """A nameserver answers again."""

    address: str


@dataclass(frozen=True, slots=True)
class HeartbeatFailed(Event):
    """A broker did not take the client's heartbeat; it is sent again soon."""

    address: str
    cause: str


@dataclass(frozen=True, slots=True)
class Rebalanced(Event):
    """This member of the group now consumes these queues of the topic."""

    group: str
    topic: str
    queues: tuple[MessageQueue, ...]


@dataclass(frozen=True, slots=True)
class EventsDropped(Event):
    """So many events before the next one are missing: the listener was too slow."""

    count: int


@final
class EventStream:
    """`async for event in mq.events()`: everything from its making on, until the client is left."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Event] = deque()
        self._dropped = 0
        self._closed = False
        self._news = anyio.Event()

    def put(self, event: Event) -> None:
        if len(self._waiting) >= self._limit:
            self._waiting.popleft()
            self._dropped += 1
        self._waiting.append(event)
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._news = anyio.Event()
            await self._news.wait()
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return EventsDropped(dropped)
        return self._waiting.popleft()


@final
class Events:
    """All listeners of one client. `on_event` of the options is called with each event as well."""

    def __init__(self, limit: int, on_event: Callable[[Event], None] | None = None) -> None:
        self._limit, self._on_event = limit, on_event
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()

    def emit(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)
        for stream in self._streams:
            stream.put(event)

    def listen(self) -> EventStream:
        stream = EventStream(self._limit)
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
