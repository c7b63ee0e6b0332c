"""Simulated clocks: wall time that drifts and steps per node, over one virtual monotonic time.

    wall = start + step + (1 + drift) * virtual seconds since the clock was made

`monotonic` is Trio's virtual time itself, the same on every node: deadlines are made of it and Trio
knows only one. So what differs between nodes is what differs between hosts that people run: the
wall clock, which somebody sets, or NTP steps.
"""

from typing import Final, final

import trio

START_MS: Final = 1_700_000_000_000  # November 2023: a plausible date in records of simulated runs


@final
class SimClock:
    """A node's Clock inside a simulated world. `drift` 0.0001 gains 0.1 ms a second."""

    def __init__(self, start_ms: int = START_MS, drift: float = 0.0) -> None:
        self._base_ms = float(start_ms)
        self._since = trio.current_time()
        self._drift = drift

    def wall_ms(self) -> int:
        return int(self._base_ms + (trio.current_time() - self._since) * (1 + self._drift) * 1000)

    def monotonic(self) -> float:
        return trio.current_time()

    def step(self, milliseconds: int) -> None:
        """Set the wall clock forward, or back where negative, at once."""
        self._base_ms += milliseconds

    def drift(self, rate: float) -> None:
        """From now on gain `rate` seconds a second (negative: lose)."""
        now = trio.current_time()
        self._base_ms += (now - self._since) * (1 + self._drift) * 1000
        self._since, self._drift = now, rate


@final
class ManualClock:
    """A Clock for tests without a loop: time passes only by `advance` and `step`."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self._wall_ms = start_ms
        self._monotonic = 0.0

    def wall_ms(self) -> int:
        return self._wall_ms

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
        self._wall_ms += round(seconds * 1000)

    def step(self, milliseconds: int) -> None:
        self._wall_ms += milliseconds
