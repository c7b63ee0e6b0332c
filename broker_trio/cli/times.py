"""Times and rates as people write them, and as they read them.

30s 10m 2h 7d        that long ago            2026-11-23T09:00    local time; Z or +01:00 else
now                                           1795427640760       ms since 1970

10/s 600/min         a rate                   0.5                 a second
"""

import re
import time
from datetime import datetime
from typing import Any, Final

import click

UNITS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
AGO: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)(?: ago)?\Z")
RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:\s*/\s*(s|m|min|h|d))?\Z")
MS_DIGITS: Final = 12  # an int with so many digits is ms since 1970, a shorter one a mistake


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def parse_time(text: str, now: int) -> int:
    """Ms since 1970. Raises `ValueError` with the forms that are understood."""
    word = text.strip()
    if word == "now":
        return now
    if found := AGO.match(word):
        return now - round(float(found[1]) * UNITS[found[2]] * 1_000)
    if word.isdecimal() and len(word) >= MS_DIGITS:
        return int(word)
    try:
        return round(datetime.fromisoformat(word).astimezone().timestamp() * 1_000)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text!r} is no time: 10m (ago), 2026-11-23T09:00, 2026-11-23T09:00Z, now, "
            "or ms since 1970"
        ) from error


def parse_rate(text: str) -> float:
    """Events a second, above 0. Raises `ValueError`."""
    found = RATE.match(text.strip())
    rate = float(found[1]) / UNITS[found[2] or "s"] if found else 0.0
    if rate <= 0:
        raise ValueError(f"{text!r} is no rate above 0: 10, 10/s, 600/min")
    return rate


class When(click.ParamType[int]):
    """A time option; its value is ms since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_time(str(value), now_ms())
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Rate(click.ParamType[float]):
    """A rate option; its value is events a second."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_rate(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Delay(click.ParamType[int]):
    """One of the 18 delays that brokers know, as 10s, 5m or 2h; its value is the level."""

    name = "delay"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from broker_trio.client.message import level_of  # noqa: PLC0415
        from broker_trio.model.errors import BrokerTrioError  # noqa: PLC0415

        found = AGO.match(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is no delay: 10s, 5m, 2h", param, ctx)
        try:
            return level_of(float(found[1]) * UNITS[found[2]])
        except BrokerTrioError as error:
            self.fail(str(error), param, ctx)


def time_text(timestamp_ms: int) -> str:
    """Local time to the millisecond; "" for what never was."""
    if timestamp_ms <= 0:
        return ""
    try:
        when = datetime.fromtimestamp(timestamp_ms / 1_000).astimezone()
    except (ValueError, OverflowError, OSError):
        return f"{timestamp_ms} ms"
    return when.strftime("%Y-%m-%d %H:%M:%S.") + f"{timestamp_ms % 1_000:03}"


def age_text(timestamp_ms: int, now: int) -> str:
    """`3 s ago`, `2 h 5 min ago`; "" for what never was."""
    if timestamp_ms <= 0:
        return ""
    seconds = (now - timestamp_ms) / 1_000
    return f"in {span_text(-seconds)}" if seconds < -1 else f"{span_text(max(seconds, 0))} ago"


def span_text(seconds: float) -> str:
    """The two largest units: `850 ms`, `3 s`, `4 min 5 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    whole = int(seconds)
    for size, unit, smaller, below in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"
