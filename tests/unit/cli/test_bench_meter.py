"""What a bench counts: percentiles as HDR has them, rates over time, corrections."""

import io
import sys

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from broker_trio.cli.bench.latency import CORRECTIONS_MAX, Latency
from broker_trio.cli.bench.meter import SLOTS_MAX, Meter, spark
from broker_trio.cli.bench.show import Part, moving_text, ms_text, part_lines, size_text
from broker_trio.cli.failures import Failure


def test_percentiles_are_within_three_digits() -> None:
    """1 to 10,000 ms, one each."""
    latency = Latency()
    for value in range(1, 10_001):
        latency.add(value / 1e3)
    told = latency.milliseconds()
    wanted = {"p50": 5_000, "p90": 9_000, "p99": 9_900, "p99.9": 9_990, "max": 10_000, "min": 1}
    for name, value in wanted.items():
        assert told[name] == pytest.approx(value, rel=2e-3)
    assert told["mean"] == pytest.approx(5_000.5, rel=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 10_000), min_size=1, max_size=200))
def test_every_duration_counts(durations: list[float]) -> None:
    """Also those below a microsecond and above an hour."""
    latency = Latency()
    for one in durations:
        latency.add(one)
    assert latency.count == len(durations)
    assert latency.milliseconds()["max"] <= 3_600_000 * 1.001


def test_nothing_measured_is_nothing_told() -> None:
    """No percentile of nothing."""
    assert Latency().milliseconds() == {}


def test_a_stall_stands_for_those_who_would_have_waited() -> None:
    """99 sends of 1 ms and one stall of 1 s, where one was expected each 10 ms."""
    plain, corrected = Latency(), Latency()
    for latency, expected_s in ((plain, 0.0), (corrected, 0.01)):
        for _ in range(99):
            latency.add(0.001, expected_s)
        latency.add(1.0, expected_s)
    assert plain.count == 100
    assert plain.milliseconds()["p90"] == pytest.approx(1, rel=0.01)
    assert corrected.count == 199  # 1000, 990, … 10 ms
    assert corrected.milliseconds()["p90"] == pytest.approx(800, rel=0.03)


def test_a_correction_is_bounded() -> None:
    """An hour at an expected interval of a microsecond does not take an hour to count."""
    latency = Latency()
    latency.add(3_600.0, 1e-6)
    assert latency.count <= CORRECTIONS_MAX + 1


def test_a_histogram_can_be_taken_elsewhere() -> None:
    """By its compressed form, and as a log of HDR's own format."""
    latency = Latency()
    for value in (0.001, 0.002, 0.5):
        latency.add(value)
    decoded = HdrHistogram.decode(latency.encoded())
    assert (decoded.get_total_count(), decoded.get_max_value() // 1000) == (3, 500)
    file = io.StringIO()
    latency.write_log(file, 1_000, 4_000)
    lines = file.getvalue().splitlines()
    assert lines[0] == "#[Histogram log format version 1.2]"
    assert lines[2].startswith("1.000000,3.000000,")
    assert HdrHistogram.decode(lines[2].rpartition(",")[2]).get_total_count() == 3


def test_without_the_package_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no wheel it is not installed."""
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    with pytest.raises(Failure, match="needs the package hdrhistogram") as caught:
        Latency()
    assert caught.value.advice == "pip install hdrhistogram"


def test_the_warm_up_and_what_comes_late_are_not_counted() -> None:
    """Only what ends between the two."""
    meter = Meter(100.0, 2.0)
    for now in (101.0, 101.9, 102.0, 103.0, 104.5):
        meter.done(now, now - 0.5, now - 0.7, 10)
        meter.failed(now, "no answer")
    meter.ended = 104.0
    meter.done(104.1, 104.0, 104.0, 10)
    meter.failed(104.1, "no answer")
    assert (meter.messages, meter.bytes, meter.warm_messages, meter.failures) == (3, 30, 2, 3)
    assert meter.service.milliseconds()["p50"] == pytest.approx(500, rel=0.01)
    assert meter.due.milliseconds()["p50"] == pytest.approx(700, rel=0.01)
    assert meter.rate(104.0) == pytest.approx(1.5)


def test_rates_are_told_slot_by_slot() -> None:
    """Empty ones too; the one that is not over yet is left out."""
    meter = Meter(0.0)
    for now in (0.1, 0.2, 0.3, 1.1):
        meter.done(now, now, now, 1)
    assert meter.rates(1.2) == [8.0, 4.0, 0.0, 0.0]
    assert meter.rates(1.25) == [8.0, 4.0, 0.0, 0.0, 4.0]


def test_slots_are_bounded() -> None:
    """An hour of measuring has as many as it may, and loses no count."""
    meter = Meter(0.0)
    for second in range(3_600):
        meter.done(float(second), second, second, 1)
    rates = meter.rates(3_600.0)
    assert len(rates) <= SLOTS_MAX
    assert sum(rate * meter.slot_s for rate in rates) == pytest.approx(3_600, abs=meter.slot_s)


def test_causes_are_bounded() -> None:
    """Whoever puts a number into each error text makes no table without end."""
    meter = Meter(0.0)
    for n in range(1_000):
        meter.failed(1.0, f"error {n}")
    assert (meter.failures, len(meter.errors)) == (1_000, 101)
    assert meter.errors["other"] == 900


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 10, ""),
        ([0.0, 0.0], 10, "▁▁"),
        ([1.0, 4.0, 8.0], 10, "▂▅█"),
        ([8.0, 8.0, 0.0, 0.0], 2, "█▁"),
        ([float(n) for n in range(100)], 8, "▁▂▃▄▅▆▇█"),
    ],
)
def test_spark_lines_begin_at_zero(values: list[float], width: int, line: str) -> None:
    """Half the rate is half the height."""
    assert spark(values, width) == line


def test_numbers_as_people_read_them() -> None:
    """Three digits that count."""
    assert [ms_text(v) for v in (0.48, 4.8, 48, 480, 4_800)] == [
        "0.480", "4.80", "48.0", "480", "4,800",
    ]  # fmt: skip
    assert [size_text(v) for v in (10, 2_048, 3 << 20, 5 << 30)] == [
        "10.0 B", "2.0 KiB", "3.0 MiB", "5.0 GiB",
    ]  # fmt: skip


def test_the_line_that_moves_and_the_report_say_the_same() -> None:
    """Warm-up first, then count, rate, spark line and errors; at the end with percentiles."""
    meter = Meter(100.0, 2.0)
    assert moving_text(meter, 101.5, seconds=4.0) == "00:01/00:06  warming up, 0.5 s left  "
    for at in range(400):
        meter.done(102.0 + at / 100, 101.99 + at / 100, 101.98 + at / 100, 128)
    meter.failed(105.0, "no answer")
    moving = moving_text(meter, 106.0, seconds=4.0, tail="3 tasks")
    assert moving.startswith("00:06/00:06          400        100/s  ")
    assert "errors 1  3 tasks" in moving
    assert set("▁▂▃▄▅▆▇█") & set(moving)
    meter.ended = 106.0
    console = Console(width=100, file=io.StringIO())
    for line in part_lines(
        Part("sends", meter, [("sent", "service"), ("due", "due")], {"late": 2})
    ):
        console.print(line)
    told = console.file.getvalue().splitlines()
    assert told[0].split() == ["sends", "400", "in", "4.00", "s", "100/s", "12.5", "KiB/s"]
    assert told[1].strip().startswith("█")
    assert "over 4 s" in told[1]
    assert told[2].split() == ["ms", "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"]
    assert [line.split()[:2] for line in told[3:]] == [
        ["sent", "10.0"], ["due", "20.0"], ["1", "no"], ["2", "late"],
    ]  # fmt: skip
