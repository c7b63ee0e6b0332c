import pytest
import trio
from trio.testing import MockClock

from broker_trio.testing.sim_clock import START_MS, ManualClock, SimClock


async def test_wall_time_follows_virtual_time(autojump_clock: MockClock) -> None:
    """An hour of virtual time is an hour on the wall."""
    clock = SimClock()
    await trio.sleep(3600)
    assert clock.wall_ms() == START_MS + 3_600_000


async def test_drift_changes_the_rate_from_now_on(autojump_clock: MockClock) -> None:
    """A clock that gains 100 ppm is 1 s ahead after 10,000 s; what had passed stays as it was."""
    clock = SimClock()
    await trio.sleep(100)
    clock.drift(0.0001)
    assert clock.wall_ms() == START_MS + 100_000
    await trio.sleep(10_000)
    assert clock.wall_ms() == pytest.approx(START_MS + 10_101_000, abs=1)


async def test_steps_move_the_wall_only(autojump_clock: MockClock) -> None:
    """Setting the clock back leaves deadlines alone."""
    clock = SimClock(start_ms=1_000)
    before = clock.monotonic()
    clock.step(-500)
    assert (clock.wall_ms(), clock.monotonic()) == (500, before)


def test_a_manual_clock_moves_by_hand() -> None:
    """Advancing moves both scales, stepping the wall alone; no loop is needed."""
    clock = ManualClock(1_000)
    clock.advance(2.5)
    clock.step(-100)
    assert (clock.wall_ms(), clock.monotonic()) == (3_400, 2.5)
