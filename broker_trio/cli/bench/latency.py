"""Durations in an HDR histogram: microseconds to an hour, three digits, a few dozen KiB.

Every percentile that is printed comes out of one of these; they can be added up, written in the
HDR log format that its tools read, and carried in JSON as their compressed form.

Where sends go out one after the other without a rate, a stall is measured once though everybody
who would have sent meanwhile had waited (coordinated omission). With `expected_s` given, HDR's own
correction adds what those would have measured: d − e, d − 2e, … A load with a rate needs none: it
measures from the moment when the message was due.
"""

from typing import Any, Final, TextIO, final

from broker_trio.cli.failures import Failure

LOWEST_US: Final = 1
HIGHEST_US: Final = 3_600_000_000
DIGITS: Final = 3
CORRECTIONS_MAX: Final = 10_000  # values that one measurement may stand for
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 99.99)


def _new() -> Any:  # the package has no types
    try:
        from hdrh.histogram import HdrHistogram  # noqa: PLC0415
    except ImportError as error:
        raise Failure(
            "bench needs the package hdrhistogram, which is not installed",
            "pip install hdrhistogram",
        ) from error
    return HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)


@final
class Latency:
    """Durations of one kind."""

    def __init__(self) -> None:
        self._histogram = _new()
        self._total_us = 0

    @property
    def count(self) -> int:
        return int(self._histogram.get_total_count())

    def add(self, seconds: float, expected_s: float = 0.0) -> None:
        """Count one duration; what is out of range counts as the nearest that is in it."""
        value = min(max(round(seconds * 1e6), LOWEST_US), HIGHEST_US)
        if not expected_s:
            self._histogram.record_value(value)
            return
        interval = max(round(expected_s * 1e6), value // CORRECTIONS_MAX, 1)
        self._histogram.record_corrected_value(value, interval)

    def milliseconds(self) -> dict[str, float]:
        """`p50` to `p99.99`, `max`, `mean` and `min`, in milliseconds; empty where nothing is."""
        if not self.count:
            return {}
        histogram = self._histogram
        found = histogram.get_percentile_to_value_dict(list(PERCENTILES))
        told = {f"p{percentile:g}": found[percentile] / 1e3 for percentile in PERCENTILES}
        told["max"] = histogram.get_max_value() / 1e3
        told["mean"] = round(histogram.get_mean_value() / 1e3, 3)
        told["min"] = histogram.get_min_value() / 1e3
        return told

    def encoded(self) -> str:
        """The histogram in HDR's compressed form (V2, base64): any HDR library reads it."""
        return str(self._histogram.encode().decode())

    def write_log(self, file: TextIO, begun_ms: int, ended_ms: int) -> None:
        """A log of one interval, as HDR's tools plot it."""
        from hdrh.log import HistogramLogWriter  # noqa: PLC0415

        log = HistogramLogWriter(file)
        log.output_log_format_version()
        log.output_legend()
        log.output_interval_histogram(self._histogram, begun_ms / 1e3, ended_ms / 1e3, 1e3)
