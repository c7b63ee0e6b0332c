"""Outgoing connections: one for each address, shared by all callers, on AnyIO.

    call(address, command)   connect if need be, queue the frame, wait for the answer's opaque
    writer task              one for each connection: all frames that are queued, in one send
    reader task              the same: answers to their callers, requests to a hook

A frame that was queued leaves whole, even where its caller is cancelled meanwhile: half a frame
would cost everybody the connection.

A connection that breaks fails every call that waits on it with `Unreachable` and is forgotten; the
next call connects anew. There are no timeouts in here: callers put `fail_after` around what they
ask (a call that is cancelled leaves the connection usable). `client/`, the registrar and the
command line all go out through this module, so it runs on Trio and asyncio alike.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Protocol, Self, final

import anyio
import anyio.abc

from broker_trio.model.errors import ClientError, RemoteProtocolError
from broker_trio.runtime.host import system_text
from broker_trio.wire.command import ONEWAY, RESPONSE, Command, Serialize
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.serialize import encode_parts

READ_BYTES: Final = 256 << 10
CONNECTIONS_MAX: Final = 1_024
CALLS_MAX: Final = 65_536  # answers that one connection may owe us
UNSENT_MAX: Final = 1 << 20  # bytes queued for one connection before callers wait
PROBE: Final = 26_000  # a code of ours that does nothing: any answer shows that CBOR was read


class Unreachable(ClientError):
    """No answer from this address: refused, unresolvable, or broken before the answer came.

    `sent` tells whether the request may have reached the peer: then its outcome is unknown.
    """

    retriable = True

    def __init__(self, address: str, cause: str, *, sent: bool) -> None:
        super().__init__(f"{address}: {cause}")
        self.address, self.cause, self.sent = address, cause, sent
        self.unknown = sent


class ByteStream(Protocol):
    """What a connection needs of a transport. `receive` raises `anyio.EndOfStream` at its end."""

    async def receive(self, max_bytes: int = 65536) -> bytes: ...

    async def send(self, item: bytes) -> None: ...

    async def aclose(self) -> None: ...


Connect = Callable[[str], Awaitable[ByteStream]]
Hook = Callable[[str, Command], Command | None]


async def connect_tcp(address: str) -> ByteStream:
    """A plain TCP stream to `host:port`, for programs on either event loop. Raises `OSError`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise OSError(f"{address!r} is not host:port")
    return await anyio.connect_tcp(host.strip("[]"), int(port))


def reason(error: OSError) -> str:
    """What the system says: event loops wrap it in words of their own that say less."""
    cause: BaseException = error
    while True:
        if isinstance(cause.__cause__, OSError):
            cause = cause.__cause__
        elif isinstance(cause.__cause__, BaseExceptionGroup):  # one for each address of a name
            cause = cause.__cause__.exceptions[0]
        else:
            break
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return system_text(cause.errno)
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


class _Link:
    """One connection and the calls that wait on it."""

    def __init__(self, address: str, stream: ByteStream) -> None:
        self.address, self.stream = address, stream
        self.frames = FrameBuffer()
        self.waiting: dict[int, tuple[anyio.Event, list[Command]]] = {}
        self.outbox: list[bytes] = []
        self.unsent = 0  # bytes in the outbox and on their way
        self.queued = self.begun = self.sent = 0  # frames so far
        self.work, self.moved = anyio.Event(), anyio.Event()
        self.reading, self.writing = anyio.CancelScope(), anyio.CancelScope()
        self.broken: str | None = None
        self.heard = anyio.current_time()  # when its last bytes came

    def queue(self, frame: bytes) -> int:
        """Let the writer send it; the frame's number on this connection."""
        self.outbox.append(frame)
        self.unsent += len(frame)
        self.queued += 1
        self.work.set()
        return self.queued

    def progress(self) -> None:
        """Frames have left, or none ever will: whoever waits for that looks again."""
        self.moved.set()
        self.moved = anyio.Event()

    def fail(self, cause: str) -> None:
        """Every call that waits on it ends; the reader wakes up and closes the stream."""
        self.broken = self.broken or cause
        for event, _ in self.waiting.values():
            event.set()
        self.progress()
        self.reading.cancel()
        self.writing.cancel()


@final
class RemotingClient:
    """`async with RemotingClient(connect) as client:` closes every connection at its end.

    `on_request` answers what peers ask of us on our connections (None = no answer); it is a plain
    function and runs in the order of arrival. `on_connect` and `on_disconnect` hear of an address
    when it answers and when its connection ended, but not of a connection that only asked which
    serialisation is spoken.
    """

    def __init__(
        self,
        connect: Connect = connect_tcp,
        *,
        on_request: Hook | None = None,
        on_connect: Callable[[str], None] | None = None,
        on_disconnect: Callable[[str], None] | None = None,
    ) -> None:
        self._connect, self._on_request = connect, on_request
        self._on_connect, self._on_disconnect = on_connect, on_disconnect
        self._links: dict[str, _Link] = {}
        self._connecting: dict[str, anyio.Lock] = {}
        self._speaks: dict[str, Serialize] = {}
        self._probing: dict[str, anyio.Lock] = {}
        self._opaque = 0
        self._group: anyio.abc.TaskGroup = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(kind, error, trace)

    async def call(self, address: str, command: Command) -> Command:
        """Ask `address` and return its answer, whatever its code. Raises `Unreachable`."""
        link = await self._link(address)
        if len(link.waiting) >= CALLS_MAX:
            raise Unreachable(address, f"{CALLS_MAX} calls wait already", sent=False)
        opaque = command.opaque = self._take_opaque()
        command.flag &= ~(RESPONSE | ONEWAY)
        event, box = link.waiting[opaque] = (anyio.Event(), [])
        try:
            number = await self._send(link, command)
            await event.wait()
        finally:
            link.waiting.pop(opaque, None)
        if not box:
            cause = link.broken or "connection lost"
            raise Unreachable(address, cause, sent=number <= link.begun)
        return box[0]

    async def send_oneway(self, address: str, command: Command) -> None:
        """Send without an answer; returns when it has left. Raises `Unreachable`."""
        link = await self._link(address)
        command.opaque = self._take_opaque()
        command.flag = ONEWAY
        number = await self._send(link, command)
        while link.sent < number:
            if link.broken is not None:
                raise Unreachable(address, link.broken, sent=number <= link.begun)
            await link.moved.wait()

    def spoken(self, address: str) -> Serialize | None:
        """What `serialize_of` has found out of this connection; None before."""
        return self._speaks.get(address)

    async def serialize_of(self, address: str) -> Serialize:
        """CBOR where the peer understands it, else JSON; found out once by a harmless question.

        An Apache peer closes the connection on a CBOR frame, so the probe is a request of its own:
        a real request must never be repeated because of it. Raises `Unreachable`.
        """
        known = self._speaks.get(address)
        if known is not None:
            return known
        lock = self._probing.setdefault(address, anyio.Lock())
        try:  # one probe at a time: a second one would close a connection already in use
            async with lock:
                known = self._speaks.get(address)
                return known if known is not None else await self._probe(address)
        finally:
            if not lock.statistics().tasks_waiting and not lock.locked():
                self._probing.pop(address, None)

    async def _probe(self, address: str) -> Serialize:
        try:
            await self.call(address, Command(PROBE, serialize=Serialize.CBOR))
            known = Serialize.CBOR
        except Unreachable as error:
            if not error.sent:
                raise
            known = Serialize.JSON
        if len(self._speaks) >= CONNECTIONS_MAX:
            self._speaks.clear()
        self._speaks[address] = known
        if self._on_connect is not None:
            self._on_connect(address)
        return known

    def drop_silent(self, address: str, since: float) -> None:
        """Give up a connection that brought nothing since then, on `anyio.current_time()`'s scale.

        A peer that lost its power closes nothing: without this, calls would go on into the void
        until the kernel gives up, a quarter of an hour later.
        """
        link = self._links.get(address)
        if link is not None and link.heard <= since:
            link.fail("silent for too long")

    async def drop(self, address: str) -> None:
        """Close the connection to `address`, if any; calls that wait on it fail."""
        link = self._links.pop(address, None)
        if link is not None:
            link.fail("closed by us")
            await link.stream.aclose()

    def _take_opaque(self) -> int:
        self._opaque = (self._opaque + 1) & 0x7FFFFFFF
        return self._opaque

    async def _link(self, address: str) -> _Link:
        link = self._links.get(address)
        if link is not None and link.broken is None:
            return link
        lock = self._connecting.setdefault(address, anyio.Lock())
        async with lock:
            link = self._links.get(address)
            if link is not None and link.broken is None:
                return link
            if len(self._links) >= CONNECTIONS_MAX:
                raise Unreachable(address, f"{CONNECTIONS_MAX} connections open", sent=False)
            try:
                stream = await self._connect(address)
            except OSError as error:
                raise Unreachable(address, reason(error), sent=False) from error
            link = self._links[address] = _Link(address, stream)
            self._group.start_soon(self._read, link)
            self._group.start_soon(self._write, link)
            if self._on_connect is not None and address not in self._probing:
                self._on_connect(address)
            return link

    async def _send(self, link: _Link, command: Command) -> int:
        """Queue it, once there is room; its number. Raises `Unreachable` on a broken connection."""
        while link.unsent > UNSENT_MAX and link.broken is None:
            await link.moved.wait()
        if link.broken is not None:
            raise Unreachable(link.address, link.broken, sent=False)
        return link.queue(b"".join(encode_parts(command, command.body)))

    async def _write(self, link: _Link) -> None:
        with link.writing:
            while link.broken is None:
                if not link.outbox:
                    link.work = anyio.Event()
                    await link.work.wait()
                data = b"".join(link.outbox)
                link.outbox, link.begun = [], link.queued
                try:
                    await link.stream.send(data)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    link.fail("connection broke while sending")
                    return
                link.sent = link.begun
                link.unsent -= len(data)
                link.progress()

    async def _read(self, link: _Link) -> None:
        cause = "connection closed"
        try:
            with link.reading:
                cause = await self._read_until_broken(link)
        finally:
            probed = link.address in self._probing
            if self._links.get(link.address) is link:
                del self._links[link.address]
                if not probed:  # what answers there next may be of another make
                    self._speaks.pop(link.address, None)
            link.fail(cause)
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await link.stream.aclose()  # at the client's own end too, which cancels this task
        if self._on_disconnect is not None and not probed:
            self._on_disconnect(link.address)

    async def _read_until_broken(self, link: _Link) -> str:
        while link.broken is None:
            try:
                link.frames.receive_data(await link.stream.receive(READ_BYTES))
                link.heard = anyio.current_time()
                while (command := link.frames.next_command()) is not None:
                    await self._arrived(link, command)
            except anyio.EndOfStream:
                return "closed by the peer"
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                return "connection broken"
            except RemoteProtocolError as error:
                return f"the peer breaks the protocol: {error}"
        return link.broken

    async def _arrived(self, link: _Link, command: Command) -> None:
        if command.flag & RESPONSE:
            waiting = link.waiting.get(command.opaque)
            if waiting is not None:
                waiting[1].append(command)
                waiting[0].set()
            return
        answer = self._on_request(link.address, command) if self._on_request else None
        if answer is not None and not command.is_oneway:
            answer.opaque, answer.flag, answer.serialize = (
                command.opaque,
                RESPONSE,
                command.serialize,
            )
            await self._send(link, answer)
