"""One accepted connection: bytes in, answers out.

    reader   receive -> feed (parse, dispatch, answer: no await) -> drain -> (feed ->) receive …
    writer   sleeps; drains what was answered later: held pulls, flushed sends, finished tasks

A read brings tens of frames where clients pipeline. All of them are handled in one synchronous
`feed`, then `batch_done` lets the store write once for all, then one send carries all answers, and
while they travel `batch_sent` does what nobody waits for. Nothing is awaited between the two.
Whoever finds answers queued and nobody sending becomes the sender, so a plain request costs no
task switch. While the peer does not take answers the reader waits in `drain`: TCP slows the peer.
A feed stops where answers reach `outbound_bytes_max`, and goes on once they left: a read of small
questions may ask for gigabytes. It stops after each question that may take long, too: thousands of
them in one read delay the others by one at a time. A question with a large body (a batch of sends)
is answered at once, so that its sender goes on while the next one is handled. What is answered
later (a woken pull) cannot wait; past that limit it is answered "busy" without its body, and the
client asks again.

Deadlines live in plain attributes that the server's sweep looks at once a second; a timeout per
read would cost more than the read.
"""

from collections.abc import Callable
from typing import Final, final

import structlog
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import LocalProtocolError, Refused, RemoteProtocolError
from broker_trio.remoting.dispatch import (
    Burst,
    Dispatcher,
    Later,
    Parked,
    Request,
    Response,
    settle,
)
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.remoting.stats import RemotingStats
from broker_trio.wire.command import ONEWAY, RESPONSE, Command
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.serialize import encode_parts

log = structlog.get_logger("remoting")
REMARK_CHARS_MAX: Final = 1_024  # a peer's own long text is not worth sending back
JOIN_BYTES_MAX: Final = 1 << 20  # answers are joined for one send up to this much
LARGE_BODY: Final = 4_096  # bytes; a question with so much is answered before the next is read


@final
class Connection:
    """A peer's connection; handlers see it as their `Session`."""

    def __init__(
        self,
        session_id: int,
        stream: trio.abc.Stream,
        peer_address: str,
        dispatcher: Dispatcher,
        limits: RemotingLimits,
        stats: RemotingStats,
        batch_done: Callable[[], None],
        batch_sent: Callable[[], None],
        relieve: Callable[[], None],
    ) -> None:
        """`relieve` makes room where unfinished frames or untaken answers of all pass a limit."""
        self.id = session_id
        self.peer_address = peer_address
        self.opened = self.last_active = trio.current_time()
        self.frame_began: float | None = self.opened  # when the unfinished frame began
        self.send_began: float | None = None
        self.frames_seen = 0
        self.scope = trio.CancelScope()
        self._stream = stream
        self._send_nowait: Callable[[bytes], int] | None = getattr(stream, "send_nowait", None)
        self._dispatcher, self._limits, self._stats = dispatcher, limits, stats
        self._batch_done, self._batch_sent, self._relieve = batch_done, batch_sent, relieve
        self._frames = FrameBuffer(limits.frame_bytes_max, limits.header_bytes_max)
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self.buffered = 0  # bytes of an unfinished frame
        self.unsent = 0  # bytes of the outbox and of what is being sent
        self._sending = False
        self._feeding = False
        self._wake = trio.Event()
        self._room = trio.Event()
        self._closed = False
        self._parked = 0
        self._tasks = 0
        self._nursery: trio.Nursery | None = None
        self._calls: dict[int, tuple[trio.Event, list[Command]]] = {}
        self._next_opaque = 0

    @property
    def closed(self) -> bool:
        return self._closed

    async def run(self) -> None:
        """Serve until the peer leaves, breaks the format, or `scope` is cancelled."""
        try:
            with self.scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._write_later)
                    await self._read()
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer went away; nothing of ours is wrong
        finally:
            self._close()

    async def _read(self) -> None:
        stream, size = self._stream, self._limits.read_bytes
        while True:
            data = await stream.receive_some(size)
            if not data:
                return
            self._stats.bytes_in += len(data)
            try:
                while self._feed(data):
                    data = b""
                    self._batch_sent()
                    await self._drain()
                    await trio.lowlevel.checkpoint()
            except RemoteProtocolError as error:
                self._stats.protocol_error(error)
                log.info("connection.protocol_error", peer=self.peer_address, error=str(error))
                self._batch_sent()
                await self._drain()
                return
            if not self._answer_now():
                await self._drain()

    def _answer_now(self) -> bool:
        try:
            return self._send_now()
        finally:
            self._batch_sent()

    def _feed(self, data: bytes | bytearray) -> bool:
        """Handle whole frames in `data`; answers wait in the outbox. True: there may be more."""
        now = trio.current_time()
        self.last_active = now
        frames = self._frames
        if data:
            frames.receive_data(data)
        self._feeding = True
        count = 0
        room, long = self._limits.outbound_bytes_max, self._dispatcher.long
        take_burst = self._dispatcher.take_burst
        try:
            while True:
                if take_burst is not None and (burst := take_burst(self, *frames.window())):
                    frames.skip(burst.size)
                    count += burst.frames
                    self._took(burst, now)
                    if self._outbox_bytes > room:
                        return True
                    continue
                command = frames.next_command()
                if command is None:
                    return False
                count += 1
                if command.flag & RESPONSE:
                    self._answered(command)
                else:
                    self._handle(command, now)
                    if self._outbox_bytes > room or command.code in long:
                        return True
                    if len(command.body) > LARGE_BODY:
                        self._batch_done()
                        self._answer_now()
        finally:
            self._batch_done()
            self._feeding = False
            self._note_frames(count, now)

    def _took(self, burst: Burst, now: float) -> None:
        """Queue the answers of frames that were handled together, now or as they come."""
        burst.received = now
        burst.deliver_to(self._answer_burst)
        if burst.waiting:
            burst.parked = True
            self._parked += burst.waiting
            self._stats.parked += burst.waiting

    def _answer_burst(self, burst: Burst, code: int, answers: list[bytes]) -> None:
        """As `_answer` for each of them."""
        count, stats = len(answers), self._stats
        if burst.parked and not self._closed:
            self._parked -= count
            stats.parked -= count
        seconds = trio.current_time() - burst.received
        burst_code = self._dispatcher.burst_code
        stats.answered(burst_code, code, seconds, parked=burst.parked, count=count)
        if not self._closed:
            self._queue(answers)

    def _note_frames(self, count: int, now: float) -> None:
        """Keep the sweep's facts, and the process-wide bound on unfinished frames."""
        buffered, before, stats = self._frames.buffered, self.buffered, self._stats
        self.frames_seen += count
        stats.frames_in += count
        if self._closed:
            return  # given up by its own last answer
        self.buffered = buffered
        stats.buffered_bytes += buffered - before
        if not buffered:
            self.frame_began = None
        elif count or self.frame_began is None:
            self.frame_began = now
        if stats.buffered_bytes > self._limits.buffered_bytes_max and buffered > before:
            self._relieve()

    def give_up(self) -> None:
        """End it from outside; what it holds is free at once, and no longer counted."""
        self._close()
        self._frames = FrameBuffer(self._limits.frame_bytes_max, self._limits.header_bytes_max)
        self._outbox, self._outbox_bytes = [], 0
        self.scope.cancel()

    def _handle(self, command: Command, now: float) -> None:
        request = Request(self, command, now, self._answer)
        result = self._dispatcher.dispatch(request)
        if isinstance(result, Response):
            request.answer(result)
        elif isinstance(result, Parked):
            self._park(request)
        else:
            self._start_task(request, result)

    def _park(self, request: Request) -> None:
        if not request.answered:  # a flush may have come before we got here
            request.parked = True
            self._parked += 1
            self._stats.parked += 1

    def _start_task(self, request: Request, later: Later) -> None:
        limit = self._limits.tasks_max
        if self._tasks >= limit:
            self._stats.refuse("tasks")
            remark = (
                f"[OVERLOAD]{self._tasks} requests of this connection wait, "
                f"limit {limit} (remoting.tasks_max)"
            )
            request.answer(Response(ResponseCode.SYSTEM_BUSY, remark))
            return
        assert self._nursery is not None
        self._tasks += 1
        self._stats.wait(self._dispatcher.processor_of(request.command.code), 1)
        self._nursery.start_soon(self._run_later, request, later)

    async def _run_later(self, request: Request, later: Later) -> None:
        try:
            result = await settle(later)
        finally:
            self._tasks -= 1
            self._stats.wait(self._dispatcher.processor_of(request.command.code), -1)
        if isinstance(result, Parked):
            self._park(request)
        else:
            request.answer(result)
            self._batch_done()

    @property
    def parked_full(self) -> bool:
        """Whether one more parked request would pass the limit; handlers ask before they park."""
        return self._parked >= self._limits.parked_max

    def _answer(self, request: Request, response: Response) -> None:
        """The one place where an answer becomes bytes, and where a one-way's is dropped."""
        command = request.command
        stats = self._stats
        if request.parked and not self._closed:
            self._parked -= 1
            stats.parked -= 1
        seconds = trio.current_time() - request.received
        stats.answered(command.code, response.code, seconds, parked=request.parked)
        if command.flag & ONEWAY or self._closed:
            return
        if response.frame is not None:
            self._queue(response.frame(command))
            return
        if response.body and self.unsent > self._limits.outbound_bytes_max and not self._feeding:
            response = self._too_much()  # (a feed stops by itself)
        reply = Command(
            response.code,
            command.opaque,
            RESPONSE,
            response.ext if response.ext is not None else {},
            b"",
            shortened(response.remark),
            serialize=command.serialize,
        )
        try:
            parts = encode_parts(reply, response.body)
        except LocalProtocolError as error:  # too large for a frame, or text that is no UTF-8
            stats.refuse("unsayable")
            reply.code, reply.remark, reply.ext = ResponseCode.SYSTEM_ERROR, repr(str(error)), {}
            parts = encode_parts(reply, b"")
        self._queue(parts)

    def _too_much(self) -> Response:
        self._stats.refuse("outbound")
        remark = (
            f"[OVERLOAD]{self.unsent} bytes of answers wait for this peer, limit "
            f"{self._limits.outbound_bytes_max} (remoting.outbound_bytes_max)"
        )
        return Response(ResponseCode.SYSTEM_BUSY, remark)

    def _queue(self, parts: list[bytes]) -> None:
        size = sum(map(len, parts))
        self._outbox += parts
        self._outbox_bytes += size
        self.unsent += size
        self._stats.outbound_bytes += size
        if self._stats.outbound_bytes > self._limits.outbound_total_bytes_max:
            self._relieve()
        if not self._feeding and not self._sending:
            self._wake.set()

    async def _write_later(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await self._drain()

    def _send_now(self) -> bool:
        """Hand all answers to the kernel without waiting; False where some are left to `_drain`."""
        if self._send_nowait is None or self._sending or self._closed:
            return False
        if not self._outbox:
            return True
        data = b"".join(self._outbox)
        sent = self._send_nowait(data)
        self._stats.bytes_out += sent
        self._stats.outbound_bytes -= sent
        self.unsent -= sent
        rest = data[sent:]
        self._outbox, self._outbox_bytes = [rest] if rest else [], len(rest)
        return not rest

    async def _drain(self) -> None:
        """Send everything queued; whoever else is sending takes over what comes meanwhile."""
        if self._sending:
            while self._outbox_bytes > self._limits.outbound_bytes_max:
                await self._room.wait()  # answers pile up: stop reading until the peer takes some
            return
        self._sending = True
        try:
            while self._outbox:
                parts, self._outbox = self._outbox, []
                self._outbox_bytes = 0
                self.send_began = trio.current_time()
                for chunk in joined(parts):
                    await self._stream.send_all(chunk)
                    self._stats.bytes_out += len(chunk)
                    if not self._closed:
                        self._stats.outbound_bytes -= len(chunk)
                        self.unsent -= len(chunk)
                    self.last_active = self.send_began = trio.current_time()
                self._room.set()
                self._room = trio.Event()
        finally:
            self._sending = False
            self.send_began = None

    def _answered(self, command: Command) -> None:
        waiting = self._calls.pop(command.opaque, None)
        if waiting is None:
            return  # the caller gave up: a late answer is nobody's
        event, box = waiting
        box.append(command)
        event.set()

    def _take_opaque(self) -> int:
        self._next_opaque = (self._next_opaque + 1) & 0x7FFFFFFF
        return self._next_opaque

    def send_oneway(self, command: Command) -> bool:
        """See `Session`. Never waits; a full outbox drops it and says so."""
        if self._closed or self._outbox_bytes > self._limits.outbound_bytes_max:
            return False
        command.opaque, command.flag = self._take_opaque(), ONEWAY
        self._queue(encode_parts(command, command.body))
        return True

    async def call(self, command: Command) -> Command:
        """See `Session`. Cancelled: the answer is dropped when it comes."""
        if self._closed:
            raise trio.ClosedResourceError("the peer has gone")
        if len(self._calls) >= self._limits.calls_max:
            raise Refused(
                ResponseCode.SYSTEM_BUSY,
                f"{len(self._calls)} requests to {self.peer_address} wait, "
                f"limit {self._limits.calls_max} (remoting.calls_max)",
            )
        opaque = command.opaque = self._take_opaque()
        command.flag = 0
        event, box = self._calls[opaque] = (trio.Event(), [])
        try:
            self._queue(encode_parts(command, command.body))
            await event.wait()
        finally:
            self._calls.pop(opaque, None)
        if not box:
            raise trio.ClosedResourceError("the peer left before it answered")
        return box[0]

    def _close(self) -> None:
        self._closed = True
        stats = self._stats
        stats.buffered_bytes -= self.buffered
        stats.outbound_bytes -= self.unsent
        stats.parked -= self._parked
        self.buffered = self.unsent = self._parked = 0
        for event, _ in self._calls.values():
            event.set()


def shortened(remark: str | None) -> str | None:
    """A remark that fits any peer's screen and header limit."""
    if remark is None or len(remark) <= REMARK_CHARS_MAX:
        return remark
    return remark[:REMARK_CHARS_MAX] + "…"


def joined(parts: list[bytes]) -> list[bytes]:
    """Few large chunks of many small parts: one send for each."""
    if len(parts) == 1:
        return parts
    chunks: list[bytes] = []
    start = size = 0
    for index, part in enumerate(parts):
        size += len(part)
        if size >= JOIN_BYTES_MAX:
            chunks.append(b"".join(parts[start : index + 1]))
            start, size = index + 1, 0
    if start < len(parts):
        chunks.append(b"".join(parts[start:]))
    return chunks
