"""The listening side over memory streams: order, batches, parking, limits, hostile peers."""

import itertools
from functools import partial

import msgspec
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.remoting.dispatch import PARKED, Dispatcher, Response, Route
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.remoting.server import RemotingServer
from broker_trio.wire.command import ONEWAY, RESPONSE, Command, Serialize
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.headers.base import I32, Header
from broker_trio.wire.serialize import encode


class MemoryListener(trio.abc.Listener):
    """Hands out the server's end of memory streams."""

    address = "memory:1"

    def __init__(self):
        self.send, self.receive = trio.open_memory_channel(10)

    async def accept(self):
        return await self.receive.receive()

    async def aclose(self):
        self.receive.close()


class MemoryNetwork:
    """A Network of one listener; `dial` gives the peer's end."""

    def __init__(self):
        self.listener = MemoryListener()
        self.hosts = itertools.count(1)

    async def listen(self, address):
        return self.listener

    async def dial(self, host=None):
        mine, theirs = memory_stream_pair()
        theirs.peer_address = f"10.0.0.{host or next(self.hosts)}:5"
        await self.listener.send.send(theirs)
        return mine


class Peer:
    """A client by hand."""

    def __init__(self, stream):
        self.stream, self.frames = stream, FrameBuffer()

    async def send(self, *commands):
        await self.stream.send_all(b"".join(map(encode, commands)))

    async def next(self):
        while (command := self.frames.next_command()) is None:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self.frames.receive_data(data)
        return command


class EchoHeader(Header, frozen=True, kw_only=True):
    n: I32


class Program:
    """Handlers of every kind, and a record of what happened in which order."""

    def __init__(self):
        self.log = []
        self.parked = []

    def routes(self):
        kinds = (
            (RequestCode.SEND_MESSAGE, EchoHeader, self.echo),
            (RequestCode.PULL_MESSAGE, None, self.park),
            (RequestCode.QUERY_MESSAGE, None, self.later),
            (RequestCode.VIEW_MESSAGE_BY_ID, None, self.park_later),
            (RequestCode.HEART_BEAT, None, self.refuse),
        )
        admin = Route(RequestCode.GET_MAX_OFFSET, EchoHeader, self.echo)
        return (*(Route(*kind, processor="test") for kind in kinds), admin)

    def echo(self, request, header):
        self.log.append(header.n)
        return Response(ext={"n": str(header.n)}, body=request.command.body)

    def park(self, request, header):
        self.parked.append(request)
        return PARKED

    def later(self, request, header):
        async def answer():
            await trio.sleep(1)
            return Response(remark="late")

        return answer

    def park_later(self, request, header):
        async def look():
            await trio.sleep(1)
            return self.park(request, header)

        return look

    def refuse(self, request, header):
        raise Refused(ResponseCode.NO_PERMISSION, "no", {"why": "test"})

    def batch_done(self):
        self.log.append("batch")


class Bench:
    """A running server with its peers."""

    def __init__(self, limits=None):
        self.program, self.network = Program(), MemoryNetwork()
        self.closed = []
        self.server = RemotingServer(
            self.network,
            Dispatcher(self.program.routes()),
            limits or RemotingLimits(),
            batch_done=self.program.batch_done,
            on_close=lambda session: self.closed.append(session.id),
        )

    async def peer(self, host=None):
        return Peer(await self.network.dial(host))


def with_bench(limits=None):
    """Decorator-free: run a test body against a started server, and stop it."""

    async def run(body):
        bench = Bench(limits)
        async with trio.open_nursery() as nursery:
            await nursery.start(bench.server.serve, "memory:1")
            await body(bench)
            nursery.cancel_scope.cancel()

    return run


def ask(n, opaque=None, **more):
    return Command(
        RequestCode.SEND_MESSAGE, opaque=n if opaque is None else opaque, ext={"n": str(n)}, **more
    )


async def test_frames_of_one_read_are_one_batch_in_order(autojump_clock: MockClock):
    """Three pipelined requests are handled in order, then batch_done, then one send answers."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(ask(1), ask(2), ask(3))
        answers = [await peer.next() for _ in range(3)]
        assert bench.program.log == [1, 2, 3, "batch"]
        assert [(a.opaque, a.flag, a.ext["n"]) for a in answers] == [
            (1, RESPONSE, "1"), (2, RESPONSE, "2"), (3, RESPONSE, "3"),
        ]  # fmt: skip

    await with_bench()(body)


async def test_requests_that_may_take_long_are_handled_one_at_a_time(autojump_clock: MockClock):
    """Whoever pipelines an administrator's requests lets others in between."""

    async def body(bench):
        peer, long = await bench.peer(), RequestCode.GET_MAX_OFFSET
        await peer.send(*(Command(long, n, ext={"n": str(n)}) for n in (1, 2)), ask(3), ask(4))
        assert [(await peer.next()).opaque for _ in range(4)] == [1, 2, 3, 4]
        assert bench.program.log == [1, "batch", 2, "batch", 3, 4, "batch"]

    await with_bench()(body)


@pytest.mark.parametrize("serialize", list(Serialize))
async def test_an_answer_has_its_requests_serialisation(serialize, autojump_clock: MockClock):
    """JSON, ROCKETMQ and CBOR each get their own kind back, with the body."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(ask(7, body=b"hello", serialize=serialize))
        answer = await peer.next()
        assert (answer.serialize, answer.ext["n"], answer.body) == (serialize, "7", b"hello")

    await with_bench()(body)


async def test_oneway_requests_are_never_answered(autojump_clock: MockClock):
    """Not even unknown codes or refusals: the next answer is that of the next request."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(
            ask(1, flag=ONEWAY),
            Command(9999, opaque=2, flag=ONEWAY),
            Command(RequestCode.HEART_BEAT, opaque=3, flag=ONEWAY),
            ask(4),
        )
        assert (await peer.next()).opaque == 4
        assert bench.program.log == [1, 4, "batch"]

    await with_bench()(body)


async def test_errors_are_answers(autojump_clock: MockClock):
    """Unknown code 3, refusal with its fields, a bad or missing header field 1 with its name."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(
            Command(9999, opaque=1),
            Command(RequestCode.HEART_BEAT, opaque=2),
            Command(RequestCode.SEND_MESSAGE, opaque=3),
            Command(RequestCode.SEND_MESSAGE, opaque=4, ext={"n": "99999999999999"}),
        )
        unknown, refused, missing, absurd = [await peer.next() for _ in range(4)]
        assert unknown.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED
        assert "9999" in unknown.remark
        assert (refused.code, refused.remark, refused.ext) == (16, "no", {"why": "test"})
        assert (missing.code, "`n`" in missing.remark) == (ResponseCode.SYSTEM_ERROR, True)
        assert absurd.code == ResponseCode.SYSTEM_ERROR

    await with_bench()(body)


async def test_a_parked_request_is_answered_later_and_others_overtake_it(autojump_clock: MockClock):
    """Holding a request blocks nobody; its answer goes out when somebody gives it."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(Command(RequestCode.PULL_MESSAGE, opaque=1), ask(2))
        assert (await peer.next()).opaque == 2
        assert bench.server.stats.parked == 1
        bench.program.parked[0].answer(Response(remark="now"))
        assert (await peer.next()).remark == "now"
        assert bench.server.stats.parked == 0

    await with_bench()(body)


async def test_a_later_becomes_a_task(autojump_clock: MockClock):
    """A request that waits for something is overtaken by one that does not."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(Command(RequestCode.QUERY_MESSAGE, opaque=1), ask(2))
        assert [(await peer.next()).opaque for _ in range(2)] == [2, 1]

    await with_bench()(body)


async def test_a_later_may_park(autojump_clock: MockClock):
    """Then it costs a place in the connection's limit and no task, until somebody answers."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(Command(RequestCode.VIEW_MESSAGE_BY_ID, opaque=1))
        await trio.sleep(2)
        assert bench.server.stats.parked == 1
        bench.program.parked[0].answer(Response(remark="now"))
        assert (await peer.next()).remark == "now"
        assert bench.server.stats.parked == 0

    await with_bench()(body)


async def test_too_many_waiting_tasks_are_refused_by_name(autojump_clock: MockClock):
    """Past remoting.tasks_max the answer is SYSTEM_BUSY with the limit and its setting."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(*[Command(RequestCode.QUERY_MESSAGE, opaque=i) for i in range(3)])
        first = await peer.next()
        assert (first.opaque, first.code) == (2, ResponseCode.SYSTEM_BUSY)
        assert "limit 2 (remoting.tasks_max)" in first.remark

    await with_bench(RemotingLimits(tasks_max=2))(body)


async def test_garbage_closes_its_own_connection_only(autojump_clock: MockClock):
    """A peer that breaks the format is cut; another goes on as before."""

    async def body(bench):
        bad, good = await bench.peer(), await bench.peer()
        await bad.stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert await bad.next() is None
        await good.send(ask(1))
        assert (await good.next()).opaque == 1
        assert sum(bench.server.stats.protocol_errors.values()) == 1

    await with_bench()(body)


async def test_good_frames_before_garbage_are_answered(autojump_clock: MockClock):
    """What was whole before the format broke was handled, and its answer leaves."""

    async def body(bench):
        peer = await bench.peer()
        await peer.stream.send_all(encode(ask(1)) + b"\xff\xff\xff\xff garbage")
        assert (await peer.next()).opaque == 1
        assert await peer.next() is None

    await with_bench()(body)


@pytest.mark.parametrize(
    ("sent", "cause", "after"),
    [
        (b"", "first_frame", 10.0),
        (encode(ask(1))[:9], "first_frame", 10.0),
        (encode(ask(1)) + encode(ask(2))[:9], "slow_frame", 30.0),
        (encode(ask(1)), "idle", 120.0),
    ],
)
async def test_silent_and_dripping_peers_are_cut(sent, cause, after, autojump_clock: MockClock):
    """Nobody holds a connection by saying nothing, or a buffer by saying it slowly."""

    async def body(bench):
        peer = await bench.peer()
        began = trio.current_time()
        if sent:
            await peer.stream.send_all(sent)
        while await peer.next() is not None:
            pass
        assert after <= trio.current_time() - began <= after + 2.5
        assert bench.server.stats.protocol_errors == {cause: 1}

    await with_bench()(body)


async def test_dripping_byte_by_byte_does_not_renew_the_deadline(autojump_clock: MockClock):
    """An unfinished frame has 30 s from its first byte, however many bytes keep coming."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(ask(1))
        await peer.next()
        began = trio.current_time()

        async def drip():
            for byte in itertools.cycle(encode(ask(2, body=bytes(10_000)))[:5000]):
                await peer.stream.send_all(bytes([byte]))
                await trio.sleep(1)

        with pytest.raises(trio.BrokenResourceError):
            await drip()
        assert trio.current_time() - began < 34

    await with_bench()(body)


async def test_a_peer_that_takes_no_answers_is_not_read_from(autojump_clock: MockClock):
    """Answers do not pile up: the reader waits until the peer takes some, then is cut."""

    async def body(bench):
        mine, theirs = trio.testing.lockstep_stream_pair()
        theirs.peer_address = "10.0.0.9:5"
        await bench.network.listener.send.send(theirs)
        await mine.send_all(encode(ask(1, body=bytes(1000))))
        with trio.move_on_after(5):
            await mine.send_all(encode(ask(2)))
        assert 2 not in bench.program.log
        await trio.sleep(40)
        assert bench.server.stats.protocol_errors == {"stalled": 1}

    await with_bench()(body)


async def test_connections_are_limited_in_all_and_for_each_address(autojump_clock: MockClock):
    """One past the limit is closed at once; a place is free again when one leaves."""

    async def body(bench):
        first, second = await bench.peer(host=1), await bench.peer(host=1)
        for peer in (first, second):
            await peer.send(ask(1))
            await peer.next()
        third = await bench.peer(host=1)
        assert await third.next() is None
        assert bench.server.stats.refused == {"connections_per_address": 1}
        await first.stream.aclose()
        await trio.sleep(0.1)
        fourth = await bench.peer(host=1)
        await fourth.send(ask(4))
        assert (await fourth.next()).opaque == 4

    await with_bench(RemotingLimits(connections_per_address_max=2))(body)


async def test_a_closed_connection_is_told_once_and_counted_out(autojump_clock: MockClock):
    """on_close gets each session; gauges return to zero with parked requests and half frames."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(Command(RequestCode.PULL_MESSAGE, opaque=1), ask(2))
        await peer.next()
        await peer.stream.send_all(encode(ask(3))[:11])
        await trio.sleep(0.1)
        stats = bench.server.stats
        assert (stats.connections, stats.parked, stats.buffered_bytes) == (1, 1, 11)
        await peer.stream.aclose()
        await trio.sleep(0.1)
        assert (stats.connections, stats.parked, stats.buffered_bytes) == (0, 0, 0)
        assert bench.closed == [1]
        bench.program.parked[0].answer(Response())
        assert stats.parked == 0

    await with_bench()(body)


async def test_ten_thousand_pipelined_requests_are_all_answered_in_order(autojump_clock: MockClock):
    """A flood on one connection is answered whole; another connection is served meanwhile."""

    async def body(bench):
        flood, other = await bench.peer(), await bench.peer()
        frames = b"".join(encode(ask(n)) for n in range(10_000))
        seen = []

        async def read_all():
            while len(seen) < 10_000:
                seen.append((await flood.next()).opaque)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood.stream.send_all, frames)
            nursery.start_soon(read_all)
            await other.send(ask(1))
            assert (await other.next()).opaque == 1
        assert seen == list(range(10_000))

    await with_bench()(body)


async def test_the_server_asks_its_peers(autojump_clock: MockClock):
    """A request the other way gets its answer; a peer that leaves ends the wait with an error."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(ask(1))
        await peer.next()
        session = bench.server.connections[1]
        answers = []

        async def call():
            answers.append(await session.call(Command(RequestCode.GET_CONSUMER_RUNNING_INFO)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            request = await peer.next()
            assert (request.code, request.flag) == (RequestCode.GET_CONSUMER_RUNNING_INFO, 0)
            await peer.send(Command(0, opaque=request.opaque, flag=RESPONSE, remark="running"))
        assert [answer.remark for answer in answers] == ["running"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.stream.aclose)
            with pytest.raises(trio.ClosedResourceError):
                await session.call(Command(RequestCode.GET_CONSUMER_RUNNING_INFO))

    await with_bench()(body)


async def test_an_answer_that_no_frame_can_hold_is_an_error_answer(autojump_clock: MockClock):
    """A handler whose answer exceeds 16 MiB costs its asker an error, and the process nothing."""

    async def body(bench):
        peer = await bench.peer()
        await peer.send(Command(RequestCode.PULL_MESSAGE, opaque=1), ask(2))
        await peer.next()
        bench.program.parked[0].answer(Response(body=bytes(17 << 20)))
        answer = await peer.next()
        assert (answer.code, "peers take" in answer.remark) == (ResponseCode.SYSTEM_ERROR, True)

    await with_bench()(body)


async def test_stop_lets_queued_answers_out(autojump_clock: MockClock):
    """After stop no new connection is taken, and serve returns once the old ones have ended."""
    bench = Bench()
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.server.serve, "memory:1")
        peer = await bench.peer()
        await peer.send(ask(1))
        assert (await peer.next()).opaque == 1
        bench.server.stop()
    assert await peer.next() is None
    assert bench.server.stats.connections == 0


def test_a_duplicate_route_is_a_defect():
    """Two handlers for one code end the process at start, not at the first request."""
    route = partial(Route, RequestCode.SEND_MESSAGE, None)
    with pytest.raises(AssertionError, match="two handlers"):
        Dispatcher([route(lambda *_: Response()), route(lambda *_: Response())])


def test_headers_tolerate_unknown_fields():
    """Newer clients send more than we know."""
    assert msgspec.convert({"n": "1", "x": "2"}, EchoHeader, strict=False).n == 1
