"""What every Clock must do. Subclass `ClockContract` with fixtures `clock` and `wait`.

`wait(seconds)` lets that much time pass on the clock's own scale: virtual where that is possible,
and as little as the case needs where it is real.
"""

from collections.abc import Awaitable, Callable

import trio

from broker_trio.runtime.seams import Clock


class ClockContract:
    """Wall time that people read, and a monotonic time that deadlines are made of."""

    async def test_wall_time_is_milliseconds_of_our_era(self, clock: Clock) -> None:
        """Wall time is whole milliseconds since 1970, between 2020 and 2100."""
        wall = clock.wall_ms()
        assert isinstance(wall, int)
        assert 1_577_836_800_000 < wall < 4_102_444_800_000

    async def test_monotonic_is_trios_scale(self, clock: Clock) -> None:
        """A monotonic reading lies between two of Trio's own: it can be a deadline."""
        before = trio.current_time()
        between = clock.monotonic()
        assert before <= between <= trio.current_time()

    async def test_both_go_on(self, clock: Clock, wait: Callable[[float], Awaitable[None]]) -> None:
        """Over 20 ms both clocks advance by at least that, to the millisecond."""
        wall, monotonic = clock.wall_ms(), clock.monotonic()
        await wait(0.02)
        assert clock.monotonic() - monotonic >= 0.02
        assert clock.wall_ms() - wall >= 19
