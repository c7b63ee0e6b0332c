"""Random frames against both programs: nothing but answers and closed connections, ever.

A corpus of plausible frames grows by whatever made a program say something new: a pair of request
and answer code that was not seen before, with the shape of its remark, stands for a path through
the handlers, as a coverage map would. Everything follows from the seed.
"""

import itertools
import random
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.model.codes import RequestCode
from broker_trio.remoting.dispatch import Response, Route
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from broker_trio.wire.command import Serialize
from broker_trio.wire.headers.offset import GetMinOffsetRequestHeader
from tests.fuzz.mutate import mutate
from tests.hostile.programs import PROGRAMS, Peer, Target, attacked
from tests.hostile.variants import NUMBERS, TEXTS, made, plausible, valid_body

GUIDED, MUTANTS = 30, 4
"""Frames of a burst: whole ones, then those that mostly end their connection."""
DIGITS = re.compile(r"\d+|'[^']*'|\[[^]]*\]|<[^>]*>")
NEVER = frozenset({25, 318})
"""Requests that change how the program answers everybody, on purpose."""


class Fuzzer:
    """Mutants of a growing corpus."""

    def __init__(self, target: Target, program: str, seed: int) -> None:
        self.rng = random.Random(f"{seed}/{program}")
        self.routes = [r for r in target.dispatcher(program).routes.values() if r.code not in NEVER]
        self.opaques = itertools.count(1)
        self.corpus = [
            self.fresh(route, Serialize(number % 3)) for number, route in enumerate(self.routes)
        ]
        self.seen: set[tuple[int, str]] = set()

    def fresh(self, route, serialize) -> bytes:
        """A plausible request of this route."""
        code = int(route.code)
        body = valid_body(code, serialize)
        return made("", code, serialize, plausible(route), self.opaques, body).data

    def guided(self) -> bytes:
        """A whole frame: a few fields and perhaps the body are hostile, the rest is plausible."""
        rng, route = self.rng, self.rng.choice(self.routes)
        fields, serialize = dict(plausible(route)), Serialize(rng.randrange(3))
        for name in rng.sample(sorted(fields), min(len(fields), rng.randint(0, 3))):
            fields[name] = rng.choice(rng.choice((NUMBERS, TEXTS)))[:300]
        body = valid_body(int(route.code), serialize)
        if rng.random() < 0.5:
            body = mutate(rng, body, [body])
        return made("", int(route.code), serialize, fields, self.opaques, body).data

    def mutant(self) -> bytes:
        """A frame of the corpus with some bytes changed; its length mostly true, sometimes not."""
        rng = self.rng
        data = mutate(rng, rng.choice(self.corpus), self.corpus)
        if rng.random() < 0.9:
            data = max(len(data) - 4, 0).to_bytes(4, "big") + data[4:]
        return data

    def burst(self) -> list[bytes]:
        whole = [self.guided() for _ in range(GUIDED)]
        return whole + [self.mutant() for _ in range(MUTANTS)]

    def said(self, code: int, remark: str | None, sent: Sequence[bytes]) -> None:
        """Keep what led to an answer of a new kind."""
        kind = (code, DIGITS.sub("", remark or "")[:60])
        if kind not in self.seen and len(self.corpus) < 2_000:
            self.seen.add(kind)
            self.corpus.append(self.rng.choice(sent))


async def fuzz(target: Target, program: str, seed: int, bursts: int) -> Fuzzer:
    """So many bursts, each on a connection of its own; the world ends with whatever escapes."""
    fuzzer = Fuzzer(target, program, seed)
    for number in range(bursts):
        sent = fuzzer.burst()
        peer = await target.peer(program, f"evil{number % 4}")
        with trio.move_on_after(1):  # one-ways and halves of frames are not answered
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_all, peer, sent)
                while (answer := await peer.answer()) is not None:
                    assert -1 <= answer.code <= 3_000, answer
                    fuzzer.said(answer.code, answer.remark, sent)
        await peer.stream.aclose()
    return fuzzer


async def send_all(peer: Peer, sent: Sequence[bytes]) -> None:
    """In one go; the program may close it at any byte."""
    with suppress(trio.BrokenResourceError):
        await peer.send(*sent)


def fuzzed(
    program: str, seed: int, bursts: int, plant: Callable[[BrokerApp], None] = lambda _: None
) -> int:
    """How many kinds of answers a run found."""
    found = 0

    async def scenario(world: World) -> None:
        nonlocal found
        world.network.chunked = 0.05
        async with attacked(world, before=plant, restart=True) as target:
            fuzzer = await fuzz(target, program, seed, bursts)
            found = len(fuzzer.seen)
            target.nameserver.table.check_invariants()

    simulate(seed, scenario)
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_random_frames(program):
    """Some thousand frames: many kinds of answers, no escape, and the good client is served."""
    assert fuzzed(program, seed=1, bursts=60) > 15


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(100, 120))
@pytest.mark.parametrize("program", PROGRAMS)
def test_random_frames_for_long(program, seed):
    """The same with many seeds and many more frames each."""
    assert fuzzed(program, seed, bursts=1_500) > 25


def test_equal_seeds_make_equal_runs():
    """A find is replayed by its seed."""
    assert fuzzed("nameserver", 7, 8) == fuzzed("nameserver", 7, 8)


class ForgottenCheckError(Exception):
    """What the planted handler ends with."""


def test_the_fuzzer_finds_what_escapes():
    """A handler that forgets to check one field dies within the rounds of the smoke test: otherwise
    the loop above would prove nothing."""

    def forgetful(_request, header):
        if not 0 <= header.queue_id < 1_000:
            raise ForgottenCheckError
        return Response()

    def plant(app: BrokerApp) -> None:
        routes = app._server._dispatcher.routes
        code = RequestCode.GET_MIN_OFFSET
        routes[code] = Route(code, GetMinOffsetRequestHeader, forgetful)

    with pytest.raises(BaseExceptionGroup) as raised:
        fuzzed("broker", seed=1, bursts=60, plant=plant)
    assert raised.value.split(ForgottenCheckError)[0] is not None
