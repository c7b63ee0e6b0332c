import random
import signal
from math import inf

import pytest
import trio
import trio._core._run as scheduler

from broker_trio.testing.sim_time import Lot, Parked, pass_time
from broker_trio.testing.simulate import seeded_scheduler, simulate
from broker_trio.testing.world import World


async def race(world: World) -> list[int]:
    """Ten tasks that wake at once, in the order that the scheduler likes."""
    order: list[int] = []

    async def runner(number: int) -> None:
        for _ in range(3):
            await trio.sleep(1)
            order.append(number)
            world.log("ran", number)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(runner, number)
    return order


def test_equal_seeds_give_equal_runs() -> None:
    """Two runs of a seed give the same order and trace; another seed gives another order."""
    first, again, other = simulate(1, race), simulate(1, race), simulate(2, race)
    assert first == again
    assert first.value != other.value
    assert first.trace != other.trace


def test_time_is_virtual() -> None:
    """A day of sleeping takes no time and is reported."""

    async def scenario(world: World) -> None:
        await trio.sleep(86_400)

    assert simulate(1, scenario).seconds == 86_400


def test_the_private_names_are_where_we_seed_them() -> None:
    """Trio still has the two names that the simulator sets, with the meaning that it needs."""
    assert isinstance(scheduler._ALLOW_DETERMINISTIC_SCHEDULING, bool)
    assert isinstance(scheduler._r, random.Random)
    code = scheduler.unrolled_run.__code__
    assert {"_ALLOW_DETERMINISTIC_SCHEDULING", "_r"} <= set(code.co_names)
    assert {"_autojump", "io_manager", "deadlines", "instruments"} <= set(code.co_names)


def test_a_wait_ends_by_word_or_by_time_whichever_is_first() -> None:
    """Alarms ring at their times, a word comes before, hurried ones ring early, and once each."""

    async def scenario(world: World) -> list[tuple[str, float]]:
        ended: list[tuple[str, float]] = []
        lot = Lot()

        async def wait(name: str, parked: Parked) -> None:
            await parked.over()
            ended.append((name, trio.current_time()))

        early = Parked(lot, 50.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "at its time", Parked(Lot(), 3.0))
            nursery.start_soon(wait, "hurried", early)
            nursery.start_soon(wait, "told", Parked(lot, 9.0))
            await trio.sleep(1.0)
            early.hurry(2.0)
            early.hurry(4.0)
            await trio.sleep(4.0)
            lot.unpark_all()
        with trio.move_on_after(7.0):
            await Parked(lot, inf).over()
        ended.append(("cancelled", trio.current_time()))
        lot.unpark_all()
        await pass_time(2.5)
        assert not lot.parked
        return [*ended, ("passed", trio.current_time())]

    assert simulate(1, scenario).value == [
        ("hurried", 2.0), ("at its time", 3.0), ("told", 5.0), ("cancelled", 12.0),
        ("passed", 14.5),
    ]  # fmt: skip


def test_an_interruption_ends_a_world() -> None:
    """Ctrl-C is noticed although the kernel is hardly asked."""

    @trio.lowlevel.enable_ki_protection
    def interrupt() -> None:  # not raised here, but brought by Trio's own socket
        signal.raise_signal(signal.SIGINT)

    async def scenario(world: World) -> None:
        interrupt()
        for _ in range(10_000):
            await trio.sleep(1.0)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job may ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            simulate(1, scenario)
    finally:
        signal.signal(signal.SIGINT, before)


def test_task_order_comes_from_the_seed() -> None:
    """Runs under the seeded scheduler agree; with the generator seeded by chance they do not."""

    def orders(*, seeded: bool) -> set[tuple[int, ...]]:
        found = set()
        for _ in range(5):
            with seeded_scheduler(1):
                if not seeded:
                    scheduler._r.seed()
                found.add(tuple(trio.run(order_of_tasks)))
        return found

    assert len(orders(seeded=True)) == 1
    assert len(orders(seeded=False)) > 1


async def order_of_tasks() -> list[int]:
    order: list[int] = []

    async def note(number: int) -> None:
        order.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(note, number)
    return order


def test_the_scheduler_is_put_back() -> None:
    """A run leaves Trio's generator and flag as they were, also when it fails."""
    flag, state = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()

    async def scenario(world: World) -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        simulate(1, scenario)
    assert (flag, state) == (scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate())


def test_a_failure_tells_its_seed_and_what_happened() -> None:
    """The scenario's own error comes out, with seed, virtual time and the last events."""

    async def scenario(world: World) -> None:
        world.log("sent", 7)
        await trio.sleep(3)
        raise AssertionError("acknowledged and lost")

    with pytest.raises(AssertionError, match="lost") as caught:
        simulate(4711, scenario)
    (note,) = caught.value.__notes__
    assert note.startswith("seed 4711, 3.000000 s")
    assert "('sent', 7)" in note or "'sent', 7" in note
