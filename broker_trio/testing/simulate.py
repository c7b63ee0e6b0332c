"""Run a scenario as a function of its seed: virtual time, seeded task order, a trace to compare.

    result = simulate(4711, scenario)        async def scenario(world: World) -> T
    result.value, result.trace               equal for equal seeds, in any process

Time jumps to the next deadline whenever every task waits, so hours cost seconds, and a test never
sleeps for real. Trio makes the order of ready tasks random on purpose; two names of its private
module make that a function of the seed. They are touched in this file only (those that make virtual
time cheap in sim_time.py), `pyproject.toml` pins Trio's minor version, and a test fails when they
move:

    _ALLOW_DETERMINISTIC_SCHEDULING    sort each batch of ready tasks by number before shuffling
    _r                                 the generator that shuffles

Both are needed: either one alone diverges. No thread may run in a simulated world: the clock jumps
while it works, so a timeout of seconds fires over a call of milliseconds.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import trio
import trio._core._run as scheduler  # private: see above

from broker_trio.testing.promises import Reached
from broker_trio.testing.sim_time import jumping_clock, without_io
from broker_trio.testing.world import Struck, World

T = TypeVar("T")

SHOWN_EVENTS: Final = 30


@dataclass(frozen=True, slots=True)
class SimResult(Generic[T]):
    """What a run gave. `seconds`: virtual time that passed; `events`: entries in the trace;
    `struck`: the faults, in the order in which they struck; `reached`: what of the promises."""

    seed: int
    value: T
    trace: str
    seconds: float
    events: int
    struck: tuple[Struck, ...] = ()
    reached: tuple[Reached, ...] = ()


@contextmanager
def seeded_scheduler(seed: int) -> Iterator[None]:
    """Make Trio's task order a function of the seed; puts everything back afterwards."""
    flag, state = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()
    setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: B010 -- Final to mypy
    scheduler._r.seed(f"{seed}/scheduler")
    try:
        yield
    finally:
        setattr(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", flag)  # noqa: B010
        scheduler._r.setstate(state)


def simulate(seed: int, scenario: Callable[[World], Awaitable[T]]) -> SimResult[T]:
    """Run `scenario` in a new world. When it returns, all nodes are killed.

    A failure is raised as it is where it is the only one, with a note of the seed and of what
    happened last.
    """
    with seeded_scheduler(seed):
        try:
            return trio.run(_run, seed, scenario, clock=jumping_clock())
        except BaseExceptionGroup as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
            for note in getattr(group, "__notes__", ()):
                if error is not group:
                    error.add_note(note)
            raise error from None


async def _run(seed: int, scenario: Callable[[World], Awaitable[T]]) -> SimResult[T]:
    without_io()
    world: World | None = None
    try:
        async with trio.open_nursery() as nursery:
            world = World(seed, nursery)
            value = await scenario(world)
            world.calm = True
            for node in world.nodes.values():
                node.kill()
            for node in world.nodes.values():
                await node.stopped()  # what they raise while dying is theirs, not the run's
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as error:
        assert world is not None
        last = "\n  ".join(map(repr, list(world.tail)[-SHOWN_EVENTS:]))
        note = f"seed {seed}, {trio.current_time():.6f} s, last events:\n  {last}"
        if world.struck:
            faults = "\n  ".join(told(one) for one in world.struck[-SHOWN_EVENTS:])
            note += f"\nfaults until then, {len(world.struck)}:\n  {faults}"
        error.add_note(note)
        raise
    reached = () if world.cells is None else world.cells.all()
    return SimResult(
        seed, value, world.trace, trio.current_time(), world.events, tuple(world.struck), reached
    )


def told(one: Struck) -> str:
    """A fault in a line."""
    times = f", {one.times} times" if one.times > 1 else ""
    return f"{one.at_s:12.6f} s  {one.what}  {one.where}{times}"
