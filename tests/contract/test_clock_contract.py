"""Every Clock against the same suite, over real time; unit tests have virtual time."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from broker_trio.runtime.clock import RealClock
from broker_trio.testing.contracts.clock import ClockContract
from broker_trio.testing.sim_clock import SimClock


async def spin(seconds: float) -> None:
    """Let real time pass without sleeping: a real clock must be seen to move by itself."""
    end = trio.current_time() + seconds
    while trio.current_time() < end:
        await trio.lowlevel.checkpoint()


class TestRealClock(ClockContract):
    @pytest.fixture
    def clock(self) -> RealClock:
        return RealClock()

    @pytest.fixture
    def wait(self) -> Callable[[float], Awaitable[None]]:
        return spin


class TestSimClock(ClockContract):
    @pytest.fixture
    async def clock(self) -> SimClock:
        return SimClock()

    @pytest.fixture
    def wait(self) -> Callable[[float], Awaitable[None]]:
        return spin
