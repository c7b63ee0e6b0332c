"""What the store counted since it opened: plain ints, read by whoever shows them."""

from bisect import bisect_left
from typing import Final, final

from broker_trio.model.histogram import PUT_SECONDS, Histogram

REFUSE_REASONS: Final = ("disk_full", "busy", "read_only", "too_large", "stopping")
"""Why an append was not taken, as the metric `brokertrio_store_refused_total` names it."""

PUT_TIME_MS: Final = (0, 10, 50, 100, 200, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 10_000)
"""Upper bounds of the classes of put times, as RocketMQ has them: whole milliseconds."""


@final
class StoreStats:
    """Counters only rise; times are seconds, sizes bytes."""

    __slots__ = (
        "appended_bytes",
        "appended_count",
        "corrupt_records",
        "dispatched_count",
        "expired_by_age",
        "expired_by_space",
        "flush_seconds",
        "flush_timeouts",
        "flushed_bytes",
        "flushes",
        "put_ms_max",
        "put_times",
        "recovery_seconds",
        "refused",
        "writes",
    )

    def __init__(self) -> None:
        self.appended_count = self.appended_bytes = 0
        self.put_times = [0] * (len(PUT_TIME_MS) + 1)
        self.put_ms_max = 0.0
        self.writes = 0  # system calls that brought staged bytes to the page cache
        self.flushes = self.flushed_bytes = 0
        self.flush_seconds = Histogram(PUT_SECONDS)
        self.flush_timeouts = 0
        self.dispatched_count = 0
        self.corrupt_records = 0
        self.expired_by_age = self.expired_by_space = 0
        self.recovery_seconds = 0.0
        self.refused = dict.fromkeys(REFUSE_REASONS, 0)

    def put(self, count: int, seconds: float) -> None:
        """`count` messages were brought to the page cache by one write that took so long."""
        ms = seconds * 1_000
        self.put_times[bisect_left(PUT_TIME_MS, ms) if ms >= 1 else 0] += count
        self.put_ms_max = max(self.put_ms_max, ms)

    def refuse(self, reason: str) -> None:
        """Count one refused append."""
        self.refused[reason] += 1
