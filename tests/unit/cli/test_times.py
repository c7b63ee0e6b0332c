"""Times and rates as people write and read them."""

from datetime import UTC, datetime

import pytest

from broker_trio.cli.times import age_text, parse_rate, parse_time, span_text, time_text

NOW = 1_795_427_640_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("30s", NOW - 30_000),
        ("1.5h", NOW - 5_400_000),
        ("10 m ago", NOW - 600_000),
        ("7d", NOW - 604_800_000),
        ("1795427640760", 1_795_427_640_760),
        ("2026-11-23T09:00:00Z", 1_795_424_400_000),
        ("2026-11-23T10:00:00+01:00", 1_795_424_400_000),
    ],
)
def test_a_time_is_read(text: str, expected: int) -> None:
    assert parse_time(text, NOW) == expected


def test_a_time_without_a_zone_is_local() -> None:
    local = datetime(2026, 11, 23, 9).astimezone()
    assert parse_time("2026-11-23T09:00", NOW) == round(local.timestamp() * 1_000)


@pytest.mark.parametrize("text", ["", "soon", "10", "12345", "10x", "-5m", "2026-13-01"])
def test_what_is_no_time_is_refused_with_the_forms(text: str) -> None:
    """A short number too: nobody means 1970."""
    with pytest.raises(ValueError, match="is no time: 10m"):
        parse_time(text, NOW)


@pytest.mark.parametrize(
    ("text", "per_s"), [("10", 10.0), ("10/s", 10.0), ("600/min", 10.0), ("0.5 / s", 0.5)]
)
def test_a_rate_is_read(text: str, per_s: float) -> None:
    assert parse_rate(text) == per_s


@pytest.mark.parametrize("text", ["0", "fast", "-1", "10/week"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no rate above 0"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12 ms"), (3.9, "3 s"), (60, "1 min"), (245, "4 min 5 s"), (7_500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
    ],
)  # fmt: skip
def test_a_span_has_two_units(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_ages_and_times_are_empty_for_what_never_was() -> None:
    assert (age_text(0, NOW), time_text(-1)) == ("", "")
    assert age_text(NOW - 3_000, NOW) == "3 s ago"
    assert age_text(NOW + 5_000, NOW) == "in 5 s"
    assert datetime.fromisoformat(time_text(NOW)).astimezone(UTC).year == 2026
    assert time_text(1 << 62).endswith(" ms")
