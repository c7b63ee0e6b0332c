"""The machine's clocks behind the Clock seam.

Wall time is what people and records carry: it follows the host's clock, steps included. Everything
that measures (deadlines, ages, leases) uses `monotonic`, which is Trio's own scale, so that a value
of it can be handed to a cancel scope as a deadline.
"""

import time
from typing import final

import trio


@final
class RealClock:
    """The Clock of a running process. Both methods cost well under a microsecond."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return trio.current_time()
