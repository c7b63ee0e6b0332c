"""How late the event loop runs its timers: the one number that says whether something blocks it.

A task sleeps for `INTERVAL_S` over and over and counts how much later than asked it woke. All that
a synchronous step costs (a long sweep, a slow disk under a write, the collector of garbage) shows
here. The counts are plain ints in fixed buckets; the metrics collector reads them.
"""

from bisect import bisect_left
from typing import Final, final

import trio

INTERVAL_S: Final = 0.1
LATE_S: Final = 0.05
RECENT_COUNT: Final = 10
BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@final
class LoopLag:
    """`buckets[i]` counts wake-ups at most `BOUNDS_S[i]` late, the last one all that were later.

    Not cumulative. `sum_us` and `count` give the mean; `max_us` the worst since the start.
    """

    def __init__(self) -> None:
        self.interval_s = INTERVAL_S  # in virtual time nothing is late: there it may be long
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.count = 0
        self.sum_us = 0
        self.max_us = 0
        self._recent_s = 0.0

    @property
    def is_late(self) -> bool:
        """Whether the loop has more to do than it can, by the last second or so."""
        return self._recent_s >= LATE_S

    def observe(self, late_s: float) -> None:
        late_us = max(0, int(late_s * 1_000_000))
        self.buckets[bisect_left(BOUNDS_S, late_s)] += 1
        self.count += 1
        self.sum_us += late_us
        self.max_us = max(self.max_us, late_us)
        self._recent_s += (max(0.0, late_s) - self._recent_s) / RECENT_COUNT

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """A service: measures until cancelled."""
        task_status.started()
        while True:
            due = trio.current_time() + self.interval_s
            await trio.sleep_until(due)
            self.observe(trio.current_time() - due)
