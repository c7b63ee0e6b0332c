"""What the store counted since it opened: plain ints, read by whoever shows them."""

from typing import Final, final

from broker_trio.model.histogram import PUT_SECONDS, Histogram

REFUSE_REASONS: Final = ("disk_full", "busy", "read_only", "too_large", "stopping")
"""Why an append was not taken, as the metric `brokertrio_store_refused_total` names it."""


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
        "recovery_seconds",
        "refused",
        "writes",
    )

    def __init__(self) -> None:
        self.appended_count = self.appended_bytes = 0
        self.writes = 0  # system calls that brought staged bytes to the page cache
        self.flushes = self.flushed_bytes = 0
        self.flush_seconds = Histogram(PUT_SECONDS)
        self.flush_timeouts = 0
        self.dispatched_count = 0
        self.corrupt_records = 0
        self.expired_by_age = self.expired_by_space = 0
        self.recovery_seconds = 0.0
        self.refused = dict.fromkeys(REFUSE_REASONS, 0)

    def refuse(self, reason: str) -> None:
        """Count one refused append."""
        self.refused[reason] += 1
