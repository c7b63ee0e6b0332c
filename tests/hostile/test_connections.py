"""Connections that say the wrong thing, too much, too little, too slowly, or nothing."""

import itertools

import msgspec
import pytest
import trio

from broker_trio.model.codes import RequestCode
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.testing.simulate import simulate
from broker_trio.wire.command import Command, Serialize
from broker_trio.wire.serialize import encode
from tests.hostile import asks
from tests.hostile.programs import PROGRAMS, attacked, frame

QUESTION = {"broker": asks.ask(26), "nameserver": asks.ask(106)}
CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))
OTHER_PROTOCOLS = {
    "TLS": CLIENT_HELLO,
    "TLS, one byte": b"\x16" * 4,
    "HTTP": b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
    "HTTP POST": b"POST /topics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "PROXY": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "PROXY 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "SMTP": b"EHLO hostile\r\n",
    "Redis": b"*1\r\n$4\r\nPING\r\n",
    "Kafka": (2**31 - 1).to_bytes(4, "big") + b"\0\x12\0\0",
    "a frame of 2**31 - 1 bytes": b"\x7f\xff\xff\xff\0\0\0\x10",
    "a frame of 16 MiB and one": (1 << 24).to_bytes(4, "big") + b"\0\0\0\x10",
    "a negative frame": b"\xff\xff\xff\xfe\0\0\0\0",
    "a frame of no bytes": bytes(8),
    "a header longer than its frame": (20).to_bytes(4, "big") + b"\0\0\0\x40" + bytes(20),
    "a header of 16 MiB": ((1 << 24) - 8).to_bytes(4, "big") + b"\0\xff\xff\xff",
    "an unknown serialisation": frame(3, b"{}"),
    "serialisation 255": frame(255, b"{}"),
    "a header of no bytes": frame(0, b""),
    "a header that is no JSON": frame(0, b"\xff\xfe"),
    "a header that is a list": frame(0, b"[1]"),
    "a header that never ends": frame(0, b'{"a":' * 20_000),
    "a code that is a text": frame(0, b'{"code":"x","opaque":1}'),
    "a code beyond 32 bits": frame(0, b'{"code":4294967296,"opaque":1}'),
    "an opaque that is a list": frame(0, b'{"code":28,"opaque":[1]}'),
    "a cut ROCKETMQ header": frame(1, b"\0\x1c\0\0"),
    "fields that are not there": frame(1, bytes(17) + b"\x7f\xff\xff\xff"),
    "a CBOR header that is a number": frame(2, b"\x01"),
    "a CBOR header of tags": frame(2, b"\xd8\x1c\xd8\x1d\x00" * 20),
    "a CBOR bomb": frame(2, b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"),
    "deep CBOR": frame(2, b"\x81" * 60_000),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_other_protocols_and_broken_frames_are_closed_at_once(program):
    """No answer, no delay, nothing kept; a whole frame before them is answered."""

    async def scenario(world):
        async with attacked(world) as target:
            began = trio.current_time()
            for what, data in OTHER_PROTOCOLS.items():
                peer = await target.peer(program)
                await peer.send(QUESTION[program], data)
                assert (await peer.answer()).opaque == 1
                assert await peer.closed(), what
            assert trio.current_time() - began < 1.0
            stats = target.server(program).stats
            assert sum(stats.protocol_errors.values()) == len(OTHER_PROTOCOLS)
            assert stats.buffered_bytes == 0

    simulate(1, scenario)


@pytest.mark.parametrize("program", PROGRAMS)
def test_silent_cut_and_dripping_connections_are_closed_in_time(program):
    """10 s for the first frame, 30 s for any other, 120 s for silence, also where every second
    brings another byte, and where the peer's machine has gone without a word."""

    async def drip(peer, data):
        try:
            for byte in data:
                await peer.stream.send_all(bytes([byte]))
                await trio.sleep(0.9)
        except trio.BrokenResourceError:
            pass

    async def scenario(world):
        async with attacked(world) as target:
            ends = {}

            async def connection(what, begin, *, dripped=b""):
                peer = await target.peer(program)
                began = trio.current_time()
                await peer.send(begin)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(drip, peer, dripped)
                    while await peer.answer() is not None:
                        pass
                    nursery.cancel_scope.cancel()
                ends[what] = trio.current_time() - began

            question = encode(QUESTION[program])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection, "silent", b"")
                nursery.start_soon(connection, "cut", question[:-1])
                nursery.start_soon(connection, "cut later", question + question[:9])
                nursery.start_soon(connection, "idle", question)
                for what, begin in (("dripping", b""), ("dripping later", question)):
                    nursery.start_soon(
                        lambda what, begin: connection(what, begin, dripped=question[:-1]),
                        what, begin,
                    )  # fmt: skip
                gone = world.network.host("gone")
                await gone.connect("b0:10911" if program == "broker" else "ns0:9876")
                world.network.kill("gone", power=True)
            bounds = {
                "silent": 10, "cut": 10, "dripping": 10, "cut later": 30, "dripping later": 30,
                "idle": 120,
            }  # fmt: skip
            for what, bound in bounds.items():
                assert bound <= ends[what] <= bound + 2.5, what
            assert not [
                one
                for one in target.server(program).connections.values()
                if one.peer_address.startswith(gone.ip)
            ]

    simulate(1, scenario)


@pytest.mark.parametrize("program", PROGRAMS)
def test_connections_past_the_limits_are_closed_and_others_served(program):
    """Hundreds of connections of one address get its share of places; another address, and the
    good client with its open connections, are served; places come back."""
    limits = RemotingLimits(connections_max=64, connections_per_address_max=40)

    async def scenario(world):
        async with attacked(world, remoting=limits, nameserver={"remoting": limits}) as target:
            open_ones = [await target.peer(program, "evil") for _ in range(300)]
            other = await target.peer(program, "other")
            assert (await other.ask(QUESTION[program])).opaque == 1
            stats = target.server(program).stats
            assert stats.refused == {"connections_per_address": 260}
            assert sum([not await alive(peer, program) for peer in open_ones]) == 260
            for host in ("evil2", "evil3"):
                open_ones += [await target.peer(program, host) for _ in range(50)]
            assert (await other.ask(QUESTION[program])).opaque == 1
            assert stats.connections <= limits.connections_max
            assert stats.refused["connections"] > 0
            for peer in open_ones:
                await peer.stream.aclose()
            await trio.sleep(1)
            assert await alive(await target.peer(program, "evil"), program)

    simulate(1, scenario)


async def alive(peer, program):
    """Whether the program answers on this connection."""
    try:
        await peer.send(QUESTION[program])
    except trio.BrokenResourceError:
        return False
    return await peer.answer() is not None


@pytest.mark.slow
def test_five_thousand_connections():
    """With the default limits: 1024 of one address are kept, the rest closed, all within bounds."""

    async def scenario(world):
        world.network.chunked = 0.0
        async with attacked(world) as target:
            peers = []
            for _ in range(50):
                async with trio.open_nursery() as nursery:
                    for _ in range(100):
                        nursery.start_soon(add, target, peers)
            await target.good.works()
            assert target.server("broker").stats.refused["connections_per_address"] == 5_000 - 1_024

    async def add(target, peers):
        peers.append(await target.peer())

    simulate(1, scenario)


def test_half_frames_of_many_connections_are_bounded_and_the_largest_go_first():
    """200 connections that each hold most of a frame back: the sum stays under its limit, and a
    good client whose large frame comes in pieces is not the one that pays."""
    limits = RemotingLimits(buffered_bytes_max=2 << 20)

    async def scenario(world):
        async with attacked(world, remoting=limits) as target:
            stats, highest = target.server("broker").stats, 0
            half = encode(asks.send(body=bytes(60 << 10)))[:-1]
            peers = []
            for number in range(200):
                peer = await target.peer(host=f"evil{number % 4}")
                await peer.send(half)
                peers.append(peer)
                highest = max(highest, stats.buffered_bytes)
                if number % 40 == 39:
                    await target.good.client.send("good", bytes(50 << 10))
            assert highest <= limits.buffered_bytes_max + (64 << 10)
            assert stats.buffered_bytes <= limits.buffered_bytes_max
            assert stats.protocol_errors["too_large"] >= 150

    simulate(1, scenario)


def test_two_hundred_claims_of_two_gigabytes_cost_nothing():
    """A claimed length is judged before a byte is kept for it."""

    async def scenario(world):
        async with attacked(world) as target:
            for number in range(200):
                peer = await target.peer(host=f"evil{number % 4}")
                await peer.send(b"\x7f\xff\xff\xff")
                assert await peer.closed()
            assert target.server("broker").stats.buffered_bytes == 0

    simulate(1, scenario)


ODD_COMMANDS = {
    "an unknown code": Command(9_999, 5),
    "a negative code": Command(-1, 5),
    "the largest code": Command(2**31 - 1, 5),
    "a negative version": Command(28, 5, version=-(2**31)),
    "the largest version": Command(28, 5, version=2**31 - 1),
    "an unknown language": Command(28, 5, language=99),
    "a remark": Command(28, 5, remark="x" * 10_000),
    "a flag of many bits": Command(28, 5, flag=0x7FFFFFFC),
    "a body where none belongs": Command(28, 5, body=bytes(10_000)),
}


@pytest.mark.parametrize("serialize", list(Serialize))
def test_odd_but_whole_commands_are_answered(serialize):
    """Whatever code, version, language and flag say: answered 0 or 3 under its own opaque."""

    async def scenario(world):
        async with attacked(world) as target:
            for program, opaque in itertools.product(PROGRAMS, (0, -1, 2**31 - 1, -(2**31))):
                peer = await target.peer(program)
                for what, command in ODD_COMMANDS.items():
                    if serialize is Serialize.ROCKETMQ and not -(2**15) <= command.code < 2**15:
                        continue
                    asked = msgspec.structs.replace(command, opaque=opaque, serialize=serialize)
                    if serialize is Serialize.ROCKETMQ:
                        asked.version = max(min(asked.version, 2**15 - 1), -(2**15))
                    answer = await peer.ask(asked)
                    assert (answer.opaque, answer.code in {0, 3}) == (opaque, True), what
                await peer.stream.aclose()

    simulate(1, scenario)


def test_answers_and_oneways_of_strangers_are_taken_without_a_word():
    """A response that nobody asked for, and one-way requests of every kind, get no answer; the
    next question does."""

    async def scenario(world):
        async with attacked(world) as target:
            for program in PROGRAMS:
                peer = await target.peer(program)
                routes = target.dispatcher(program).routes
                await peer.send(
                    *(Command(code, 7, flag=1) for code in range(40)),
                    *(Command(code, 7, flag=2) for code in routes if code not in {25, 318}),
                    Command(9_999, 7, flag=2),
                    Command(9_999, 7, flag=3),
                    Command(RequestCode.HEART_BEAT, 7, flag=2, body=b"\xff"),
                    QUESTION[program],
                )
                assert (await peer.answer()).opaque == 1

    simulate(1, scenario)
