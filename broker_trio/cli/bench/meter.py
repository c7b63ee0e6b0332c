"""What a measurement counts: messages, bytes, errors by cause, latencies, and rates over time.

        begin      warm-up ends                                 end
          │  not counted │ slot │ slot │ slot │ …  each 0.25 s   │

Whatever ends within the warm-up is not counted; neither is what only ends after the end. Slots are
bounded: when there are too many, two become one and stand for twice the time.
"""

from collections import Counter
from itertools import pairwise
from typing import Final, final

from broker_trio.cli.bench.latency import Latency

SLOT_S: Final = 0.25
SLOTS_MAX: Final = 480
CAUSES_MAX: Final = 100
BARS: Final = "▁▂▃▄▅▆▇█"


@final
class Meter:
    """One measurement. All times are seconds on one monotonic clock."""

    def __init__(self, begin: float, warm_up_s: float = 0.0) -> None:
        self.begin, self.measured_from = begin, begin + warm_up_s
        self.ended: float | None = None
        self.messages = self.bytes = self.failures = 0
        self.warm_messages = 0  # within the warm-up
        self.errors: Counter[str] = Counter()
        self.service = Latency()  # from the moment when it was really sent
        self.due = Latency()  # from the moment when it was due
        self.slot_s = SLOT_S
        self._slots: list[int] = []

    def counts(self, now: float) -> bool:
        """Whether what ends now belongs to the measurement."""
        return self.measured_from <= now and (self.ended is None or now <= self.ended)

    def done(
        self, now: float, sent: float, due: float, size: int, *,
        count: int = 1, expected_s: float = 0.0, at: float | None = None,
    ) -> None:  # fmt: skip
        """Messages of `size` bytes in all came to their end well. `at` (else `now`) is the moment
        that says whether they belong to the measurement, and to which slot.
        """
        at = now if at is None else at
        if not self.counts(at):
            self.warm_messages += count if at < self.measured_from else 0
            return
        self.messages += count
        self.bytes += size
        self.service.add(now - sent)
        self.due.add(now - due, expected_s)
        self._count_slot(at, count)

    def failed(self, now: float, cause: str, count: int = 1) -> None:
        """They did not, and why; beyond CAUSES_MAX causes the others are one."""
        if self.counts(now):
            self.failures += count
            known = cause in self.errors or len(self.errors) < CAUSES_MAX
            self.errors[cause if known else "other"] += count

    def _count_slot(self, at: float, count: int) -> None:
        slot = int((at - self.measured_from) / self.slot_s)
        while slot >= SLOTS_MAX:
            self._slots = halved(self._slots)
            self.slot_s *= 2
            slot //= 2
        self._slots.extend([0] * (slot + 1 - len(self._slots)))
        self._slots[slot] += count

    def seconds(self, now: float) -> float:
        """How long it has been measuring."""
        return max(min(now, self.ended or now) - self.measured_from, 0.0)

    def rate(self, now: float) -> float:
        """Messages a second over all of it."""
        seconds = self.seconds(now)
        return self.messages / seconds if seconds else 0.0

    def rates(self, now: float) -> list[float]:
        """Messages a second, slot by slot; the last one only if it is whole."""
        whole = int(self.seconds(now) / self.slot_s + 1e-9)
        slots = self._slots[:whole] + [0] * (whole - len(self._slots))
        return [count / self.slot_s for count in slots]


def halved(slots: list[int]) -> list[int]:
    """Two neighbours become one."""
    return [sum(slots[at : at + 2]) for at in range(0, len(slots), 2)]


def spark(values: list[float], width: int = 60) -> str:
    """A line of bars from zero to the largest value, at most `width` of them."""
    if not values:
        return ""
    if len(values) > width:
        edges = [len(values) * at // width for at in range(width + 1)]
        values = [sum(values[low:high]) / (high - low) for low, high in pairwise(edges)]
    top = max(values)
    if top <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[min(int(value / top * len(BARS)), len(BARS) - 1)] for value in values)
