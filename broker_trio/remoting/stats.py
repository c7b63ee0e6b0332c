"""Plain counters of the remoting doors; metrics/ reads them when it is scraped."""

from bisect import bisect_left
from typing import Final

from broker_trio.model.errors import RemoteProtocolError

LATENCY_BOUNDS_S: Final = (
    0.0005, 0.001, 0.0025, 0.003, 0.005, 0.007, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5,
    3.0, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds; one more bucket catches the rest. They are those of RocketMQ's rpc latency and
those of our own durations in one: metrics add them up to either, an answer is counted once."""


class CodeStats:
    """Answers of one (request code, response code) pair."""

    __slots__ = ("buckets", "count", "sum_s")

    def __init__(self) -> None:
        self.count = 0
        self.sum_s = 0.0
        self.buckets = [0] * (len(LATENCY_BOUNDS_S) + 1)


class RemotingStats:
    """Counters of all connections of one server. Only ever grow, but for the gauges."""

    def __init__(self) -> None:
        self.connections = 0  # gauge
        self.buffered_bytes = 0  # gauge: unfinished frames
        self.outbound_bytes = 0  # gauge: answers that no peer has taken yet
        self.parked = 0  # gauge: requests waiting for a flush or a message
        self.waiting: dict[str, int] = {}  # gauges: requests that became tasks, by processor
        self.accepted = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.frames_in = 0
        self.protocol_errors: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.by_code: dict[tuple[int, int, bool], CodeStats] = {}

    def answered(
        self,
        request_code: int,
        response_code: int,
        seconds: float,
        *,
        parked: bool = False,
        count: int = 1,
    ) -> None:
        """Count answers that took equally long; `parked`: they waited for a flush or a message.

        Codes of peers are unbounded: unknown ones share the entry (-1, 3, False).
        """
        key = (request_code, response_code, parked)
        stats = self.by_code.get(key)
        if stats is None:
            if response_code == 3:
                key = (-1, 3, False)
            stats = self.by_code.setdefault(key, CodeStats())
        stats.count += count
        stats.sum_s += seconds * count
        stats.buckets[bisect_left(LATENCY_BOUNDS_S, seconds)] += count

    def wait(self, processor: str, change: int) -> None:
        """A request begins (1) or ends (-1) to wait in a task."""
        self.waiting[processor] = self.waiting.get(processor, 0) + change

    def protocol_error(self, error: RemoteProtocolError) -> None:
        """Count a closed connection by the kind of its error."""
        self.count_error("too_large" if "limit" in str(error) else "malformed")

    def count_error(self, kind: str) -> None:
        self.protocol_errors[kind] = self.protocol_errors.get(kind, 0) + 1

    def refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1
