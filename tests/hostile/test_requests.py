"""Every route of both programs under every hostile header and body that its own types suggest."""

import gc
import itertools
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import get_args

import msgspec
import pytest
import trio

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.remoting.dispatch import Route
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from broker_trio.wire.command import Serialize
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.headers.base import I32, I64
from tests.hostile.programs import PROGRAMS, Peer, Target, attacked
from tests.hostile.variants import Hostile, made, plausible, storm

SPECIFIED = frozenset({0, 1, 2, 3, 13, 16, 17, 19, 20, 21, 22, 23, 24, 25, 26, 29, 206, 207})
"""Answers that protocol.md gives for one of these requests."""
BURST = 64  # frames under way at once
BROKEN_MAX = 60  # connections that one storm breaks


def decodes(data: bytes) -> bool:
    """Whether the codec makes a command of this frame; if not, it must cost the connection."""
    buffer = FrameBuffer()
    buffer.receive_data(data)
    try:
        return buffer.next_command() is not None
    except RemoteProtocolError:
        return False


async def attack(target: Target, program: str, frames: Sequence[Hostile]) -> dict[int, int]:
    """Send all of them: each is answered, or ends its connection. Gives code -> how often."""
    codes: dict[int, int] = {}
    sound = [one for one in frames if decodes(one.data)]
    peer = await target.peer(program)
    for start in range(0, len(sound), BURST):
        await ask_all(peer, sound[start : start + BURST], codes)
    await peer.stream.aclose()
    broken = [one for one in frames if not decodes(one.data)]
    for one in broken[:BROKEN_MAX]:
        peer = await target.peer(program)
        await peer.send(one.data)
        assert await peer.closed(), f"{one.what}: answered"
        await peer.stream.aclose()
    return codes


async def ask_all(peer: Peer, burst: Sequence[Hostile], codes: dict[int, int]) -> None:
    """All at once on one connection; every one is answered, in any order."""
    waiting = {one.opaque: one for one in burst}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, *(one.data for one in burst))
        while waiting:
            answer = await peer.answer()
            assert answer is not None, f"closed at one of {[one.what for one in waiting.values()]}"
            one = waiting.pop(answer.opaque)
            codes[answer.code] = codes.get(answer.code, 0) + 1
            assert answer.code in SPECIFIED, f"{one.what}: {answer.code} {answer.remark}"
            assert "Traceback" not in (answer.remark or "")


STEP_S = 0.5  # processor time that one step may take: others wait for so long
MEMORY_MAX = 5 << 20  # bytes that a storm may leave behind
SETTLED_S = 130.0  # until held pulls, members and idle connections have gone


def stormed(program: str, seed: int, share: float) -> None:
    """One storm; the world fails with whatever escapes."""

    async def scenario(world: World) -> None:
        world.network.chunked = 0.02
        async with attacked(world, restart=True) as target:
            frames = storm(target.dispatcher(program).routes, seed, share)
            codes = await attack(target, program, frames)
            assert codes[0] > 100
            assert codes[1] > 100
            assert target.longest.seconds < STEP_S, target.longest.name

    simulate(seed, scenario)


@pytest.mark.parametrize("program", PROGRAMS)
def test_routes_survive_hostile_variants(program):
    """Each hostile request is answered with a code of the specification or costs its own
    connection; nothing escapes, no file appears, the good client notices nothing."""
    stormed(program, seed=1, share=0.12)


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_routes_survive_every_variant(program):
    """The same with every single variant."""
    stormed(program, seed=2, share=1.0)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_storm_leaves_no_memory_behind(program):
    """Once the last connection has gone, what the programs hold more than before is bounded."""

    async def scenario(world: World) -> None:
        world.network.chunked = 0.02
        async with attacked(world) as target:
            routes = target.dispatcher(program).routes
            frames = storm(routes, seed=3, share=0.03)
            gc.collect()
            tracemalloc.start()
            try:
                await attack(target, program, frames)
                await trio.sleep(SETTLED_S)
                gc.collect()
                snapshot = tracemalloc.take_snapshot()
            finally:
                tracemalloc.stop()
            foreign = ("*/broker_trio/testing/*", "*/tests/*", "*/tracemalloc.py")
            ours = snapshot.filter_traces([tracemalloc.Filter(False, one) for one in foreign])
            statistics = ours.statistics("filename")
            assert sum(one.size for one in statistics) < MEMORY_MAX, statistics[:5]

    simulate(3, scenario)


def fields_of(route: Route) -> Iterator[tuple[str, bool, bool]]:
    """(wire name, whether it is required, whether it is an integer) of a route's header."""
    if route.header is not None:
        for field in msgspec.structs.fields(route.header):
            kinds = (field.type, *get_args(field.type))
            yield field.encode_name, field.required, int in kinds or I32 in kinds or I64 in kinds


ABSURD = ("", "x", "1.5", "9" * 30, "-9223372036854775809", "0x1", "\0", "1 2")


@pytest.mark.parametrize("program", PROGRAMS)
def test_missing_and_absurd_fields_are_named(program):
    """A required field that is missing, and an integer that is none or too large, is answered 1
    with the field's name, on every route and in every serialisation."""

    async def scenario(world: World) -> None:
        async with attacked(world) as target:
            peer, opaques, checked = await target.peer(program), itertools.count(1), 0
            for route in target.dispatcher(program).routes.values():
                base = plausible(route)
                for name, required, integer in fields_of(route):
                    rest = {key: value for key, value in base.items() if key != name}
                    tried = [rest] if required else []
                    tried += [{**rest, name: text} for text in ABSURD if integer]
                    for number, fields in enumerate(tried):
                        serialize = Serialize((number + checked) % 3)
                        if serialize is Serialize.ROCKETMQ and fields.get(name) == "":
                            continue  # there an empty value means that the field is missing
                        one = made(name, int(route.code), serialize, fields, opaques)
                        await peer.send(one.data)
                        answer = await peer.answer()
                        assert answer is not None
                        said = (answer.code, f"`{name}`" in answer.remark or name in answer.remark)
                        assert said == (1, True), f"{route.code} {fields} {answer.remark}"
                        checked += 1
            assert checked > (300 if program == "broker" else 100)

    simulate(1, scenario)
