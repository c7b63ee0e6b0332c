"""A simulated TCP connection: two pipes between two ends, with back-pressure, and ways to die.

    send_all ──> segments (each with its arrival) ──> buffer ──> receive_some: random chunks
        ^                                                              │
        └───────── window: bytes sent and not yet taken <── credits ───┘

`window_bytes` bounds what is under way and unread together; a sender waits beyond it. Credits go
back over the other direction's link: cut only that one and data flows until the window is full,
as TCP does without acknowledgements.

How an end learns that the other is gone, each after the travel time and once its link is open:

    the other closed         reads end after the data; sends break
    the other was killed     reset: both break
    its machine lost power   nothing at all, until a send reaches the machine after its restart;
                             who only listens never learns (so programs need idle timeouts)
"""

from collections import deque
from collections.abc import Callable
from math import inf
from operator import index
from typing import Final, Protocol, final

import trio

from broker_trio.runtime.seams import Buffer, Entropy
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.sim_links import Link
from broker_trio.testing.sim_time import Lot, Parked

WINDOW_BYTES: Final = 64 << 10
RECEIVE_BYTES: Final = 64 << 10  # what `receive_some()` without a size takes at most


@final
class Pipe:
    """One direction of a connection: bytes under way, and what its two ends know of each other."""

    def __init__(self, there: Link, back: Link, window_bytes: int) -> None:
        self.there, self.back = there, back
        self._room = window_bytes
        self._segments: deque[tuple[float, bytes]] = deque()
        self._credits: deque[tuple[float, int]] = deque()
        self._last_arrival = 0.0
        self.end_arrival = inf  # of the writer's last word, at the reader
        self.gone_arrival = inf  # of "the reader closed", at the writer
        self.buffer = bytearray()

    @property
    def under_way(self) -> bool:
        return bool(self._segments)

    def send(self, data: bytes) -> None:
        """Put it under way; never overtakes what was sent before."""
        self._last_arrival = max(self._last_arrival, self.there.arrival())
        self._segments.append((self._last_arrival, data))
        self._room -= len(data)

    def send_end(self) -> None:
        if self.end_arrival == inf:
            self.end_arrival = max(self._last_arrival, self.there.arrival())

    def room(self) -> int:
        """Bytes that the writer may send now."""
        now = trio.current_time()
        while self._credits and self.back.due(self._credits[0][0]) <= now:
            self._room += self._credits.popleft()[1]
        return self._room

    def room_due(self) -> float:
        return self.back.due(self._credits[0][0]) if self._credits else inf

    def gone_due(self) -> float:
        return self.back.due(self.gone_arrival)

    def take(self, size: int) -> bytes:
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        self._credits.append((trio.current_time(), len(data)))
        return data

    def receive(self) -> bool:
        """Move what has arrived to the buffer; true where the end has arrived, too."""
        now = trio.current_time()
        while self._segments and self.there.due(self._segments[0][0]) <= now:
            self.buffer += self._segments.popleft()[1]
        return not self._segments and self.there.due(self.end_arrival) <= now

    def arrival_due(self) -> float:
        """When there will be more to receive."""
        return self.there.due(self._segments[0][0] if self._segments else self.end_arrival)

    def reader_closed(self) -> None:
        """Drop everything; tell the writer, after the travel time."""
        self._segments.clear()
        self.buffer.clear()
        self.gone_arrival = min(self.gone_arrival, self.back.arrival())


class NetworkSettings(Protocol):
    """What a stream asks its network while it lives."""

    entropy: Entropy
    chunked: float
    trace: Callable[..., None]


@final
class SimStream(trio.abc.HalfCloseableStream):
    """One end of a simulated connection; made by `connected` only."""

    def __init__(
        self,
        out: Pipe,
        into: Pipe,
        network: NetworkSettings,
        owned: dict["SimStream", None],
        peer_address: str,
    ) -> None:
        self.peer_address = peer_address
        self.other: SimStream
        self._out, self._into, self._network, self._owned = out, into, network, owned
        self._lot = Lot()
        self._sending = self._receiving = self._sent_end = self._closed = False
        self._reset_arrival = inf
        self._killed = False
        self._peer_forgot = False  # its machine came back without it: it answers with a reset
        self._waits_for_room = False
        self._reader: Parked | None = None  # the last one that waited
        owned[self] = None
        for link in (out.there, out.back):
            link.watch(self._lot)

    # ---- what hosts and the network do to an end

    def die(self, *, silent: bool) -> None:
        """Its process is gone: every call raises Dead. The other end gets a reset, or no word."""
        self._killed = True
        if not silent:
            self.other.reset(self._out.there.arrival())
        self._detach()

    def reset(self, arrival: float) -> None:
        """A reset arrives at this end: nothing sent or received from then on."""
        self._reset_arrival = min(self._reset_arrival, arrival)
        self._lot.unpark_all()

    def peer_forgot(self) -> None:
        """The other machine came back without this connection: the next bytes provoke a reset."""
        self._peer_forgot = True
        if self._out.under_way:
            self.reset(self._into.there.arrival())

    # ---- what each call looks at first

    def _reset_due(self) -> float:
        return self._into.there.due(self._reset_arrival)

    def _check(self) -> None:
        if self._killed:
            raise Dead
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed here")
        if self._reset_due() <= trio.current_time():
            raise trio.BrokenResourceError(f"connection to {self.peer_address} was reset")

    def _check_send(self) -> None:
        self._check()
        if self._sent_end:
            raise trio.ClosedResourceError("can't send data after sending EOF")
        if self._out.gone_due() <= trio.current_time():
            raise trio.BrokenResourceError(f"{self.peer_address} closed the connection")

    async def _wait_room(self) -> None:
        self._check_send()
        while self._out.room() <= 0:
            due = min(self._out.room_due(), self._out.gone_due(), self._reset_due())
            self._waits_for_room = True
            try:
                await self._lot.park(due)
            finally:
                self._waits_for_room = False
            self._check_send()

    # ---- the stream

    async def send_all(self, data: Buffer) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            self._check_send()
            await trio.lowlevel.checkpoint()
            rest = memoryview(data)
            while rest:
                await self._wait_room()
                size = min(len(rest), self._out.room())
                self._out.send(bytes(rest[:size]))
                rest = rest[size:]
                self.other._expect()
                if self._peer_forgot:
                    self.reset(self._into.there.arrival())
            self._check_send()
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            self._check()
            await trio.lowlevel.checkpoint()
            await self._wait_room()
        except trio.BrokenResourceError:
            return  # sending would not block: it would raise
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._check()
        self._sent_end = True
        self._out.send_end()
        self.other._lot.unpark_all()
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        size = RECEIVE_BYTES if max_bytes is None else index(max_bytes)
        if size < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this stream")
        self._receiving = True
        try:
            return await self._receive(size)
        finally:
            self._receiving = False

    async def _receive(self, size: int) -> bytes:
        into, network = self._into, self._network
        passed = False  # through a checkpoint, which every call goes through
        while True:
            self._check()
            ended = into.receive()
            if not passed and (into.buffer or ended):
                passed = True
                await trio.lowlevel.checkpoint()
                continue
            passed = True
            if into.buffer:
                size = min(size, len(into.buffer))
                if network.entropy.random() < network.chunked:
                    size = network.entropy.randint(1, size)
                data = into.take(size)
                network.trace("net.received", self.peer_address, len(data))
                if self.other._waits_for_room:
                    self.other._lot.unpark_all()
                return data
            if ended:
                return b""
            due = min(into.arrival_due(), self._reset_due())
            self._reader = Parked(self._lot, due)
            await self._reader.over()

    def _expect(self) -> None:
        """Something is under way to this end: its reader wakes when that arrives, not before."""
        if self._reader is not None and self._reader.task is not None:
            self._reader.hurry(self._into.arrival_due())

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close at once; what was sent still arrives. Twice is once; dead is silent."""
        if self._closed or self._killed:
            return
        self._closed = True
        self._out.send_end()
        self._into.reader_closed()
        self._detach()
        self.other._lot.unpark_all()

    def _detach(self) -> None:
        for link in (self._out.there, self._out.back):
            link.forget(self._lot)
        self._owned.pop(self, None)
        self._lot.unpark_all()
