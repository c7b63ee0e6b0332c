"""A histogram of fixed bounds that hot code can afford: one bisect and three additions a value.

    bounds   .001   .005   .025          upper bounds, inclusive, rising
    counts  [  3  |   9  |   2  |  1 ]   plain ints; the last one is what lies above every bound

Nothing is cumulative here: `metrics/` adds the counts up at scrape time, which is rare. Counts only
rise while the process lives.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

PUT_SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
)  # fmt: skip
"""Bounds of every duration in seconds of our own (0.5 ms to 10 s)."""

RPC_MILLISECONDS: Final = (1.0, 3.0, 5.0, 7.0, 10.0, 100.0, 1000.0, 2000.0, 3000.0)
"""Bounds of `rocketmq_rpc_latency_milliseconds`, as RocketMQ 5.3 has them."""

MESSAGE_BYTES: Final = (1024.0, 4096.0, 524288.0, 1048576.0, 2097152.0, 4194304.0)
"""Bounds of `rocketmq_message_size`, as RocketMQ 5.3 has them."""


class Histogram:
    """Counts of values by size, their number and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        assert bounds, "a histogram needs a bound"
        assert all(low < high for low, high in pairwise(bounds))
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Count one value; a value equal to a bound belongs to that bound."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_many(self, value: float, count: int) -> None:
        """The same value `count` times: a batch whose messages waited together."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count

    def cumulative(self) -> list[int]:
        """How many values are at or below each bound, and last how many there are."""
        running, result = 0, []
        for count in self.counts:
            running += count
            result.append(running)
        return result

    def quantile(self, share: float) -> float:
        """The bound below which `share` (0 to 1) of the values lie; 0.0 while there are none.

        As coarse as the bounds are: it answers runtime info and the live view, never a promise.
        Values above the last bound answer that bound.
        """
        assert 0.0 <= share <= 1.0
        wanted = share * self.count
        for bound, running in zip(self.bounds, self.cumulative(), strict=False):
            if running and running >= wanted:
                return bound
        return self.bounds[-1] if self.count else 0.0
