"""The plot of a drill as SVG, by a builder of its own: no script, no file beside it.

  T0 T1 T2   T5        T6    T8          moments, marked through all strips
▁▂▇▇│        │▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇          acknowledged sends a second
    │▇▇▇▇▇▇▇▇│                           sends that were not, by cause
────│────────│──╱╲__________             bytes that the slave lacks
broker-a/1 ████ owner ▒▒ silent ▒▒ slave  who was what
"""

from collections.abc import Sequence
from html import escape
from typing import Final

from broker_trio.ops.drill.series import ALERT, Band, Series
from broker_trio.ops.drill.timeline import Moment

WIDTH: Final = 1120
LEFT: Final = 132
RIGHT: Final = 16
TOP: Final = 46
GAP: Final = 30
TALL: Final = {"acknowledged": 130, "failed": 84, "lag": 84}
BAND: Final = 22
LABEL_APART: Final = 24.0
STATES: Final = (
    ("owner", "owner"), ("slave", "slave"), ("silent", "silent"), ("shows no", "bad"),
    ("shows", "shows"), ("forgot", "bad"), ("catching", "learn"), ("read", "owner"),
)  # fmt: skip


class Plot:
    """Draws into a list of SVG elements; `svg` gives the whole."""

    def __init__(self, series: Series, moments: Sequence[Moment]) -> None:
        self._series, self._parts = series, [""]
        self._moments = [moment for moment in moments if moment.at_ms is not None]
        self._fault = next((m.at_ms for m in self._moments if m.number == 0), 0) or 0
        self._y = float(TOP)

    def svg(self) -> str:
        """The whole picture; its texts are escaped, its colours come from the page's classes."""
        series = self._series
        failed = {f"not acknowledged: {k}": v for k, v in series.failed.items()}
        self._strip("acknowledged / s", TALL["acknowledged"], {"acknowledged": series.acknowledged})
        self._strip("not acknowledged / s", TALL["failed"], failed)
        self._lag()
        self._bands(series.bands)
        bottom = self._y
        self._axis(bottom)
        self._lines(bottom)
        height = bottom + 34
        return (
            f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
            f'aria-label="sends, errors, lag and roles over time">{"".join(self._parts)}</svg>'
        )

    # -- strips ----------------------------------------------------------------------------------

    def _x(self, seconds: float) -> float:
        series = self._series
        share = (seconds - series.begin_s) / (series.end_s - series.begin_s)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def _add(self, text: str) -> None:
        self._parts.append(text)

    def _text(self, x: float, y: float, text: str, anchor: str = "start", kind: str = "t") -> None:
        self._add(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'  # noqa: E501
        )

    def _frame(self, title: str, tall: float, most: float, unit: str = "") -> float:
        """A strip's base line, title and scale; the y of its bottom."""
        bottom = self._y + tall
        self._text(LEFT - 8, self._y + 10, nice(most, unit), "end", "s")
        self._text(LEFT - 8, bottom, "0", "end", "s")
        words = title.split(" ", 1)
        for line, word in enumerate(words):
            self._text(0, self._y + tall / 2 - 2 + 13 * line, word, "start", "n")
        half = self._y + tall / 2
        for y in (self._y, half):
            self._add(f'<path class="g" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        self._add(f'<path class="b" d="M{LEFT} {bottom:.1f}H{WIDTH - RIGHT}"/>')
        return bottom

    def _strip(self, title: str, tall: float, stacks: dict[str, list[float]]) -> None:
        """Stacked bars, one a bucket."""
        series = self._series
        sums = [sum(values) for values in zip(*stacks.values(), strict=True)] if stacks else [0.0]
        most = round_up(max(sums, default=0.0))
        bottom = self._frame(title, tall, most)
        wide = max(self._x(series.begin_s + series.width_s) - self._x(series.begin_s), 0.8)
        base = [0.0] * len(series.acknowledged)
        for number, (name, values) in enumerate(stacks.items()):
            kind = "ok" if name == "acknowledged" else f"e{min(number, 4)}"
            for bucket, value in enumerate(values):
                if not value:
                    continue
                at = series.begin_s + bucket * series.width_s
                high = value / most * tall
                y = bottom - base[bucket] / most * tall - high
                base[bucket] += value
                self._add(
                    f'<rect class="{kind}" x="{self._x(at):.1f}" y="{y:.1f}" '
                    f'width="{wide + 0.4:.2f}" height="{max(high, 1):.1f}">'
                    f"<title>{escape(name)}: {value:.0f}/s at {at:+.2f} s</title></rect>"
                )
        if not any(sums):
            self._text(LEFT + 8, bottom - tall / 2 + 4, "none", "start", "s")
        self._y = bottom + GAP

    def _lag(self) -> None:
        lag = self._series.lag
        most = round_up(max((value for _, value in lag), default=0))
        bottom = self._frame("slave lacks", TALL["lag"], most, "B")
        points = [
            f"{self._x(at):.1f} {bottom - value / most * TALL['lag']:.1f}" for at, value in lag
        ]
        if points:
            self._add(f'<path class="l" d="M{" L".join(points)}"/>')
        self._y = bottom + GAP

    def _bands(self, bands: Sequence[Band]) -> None:
        for band in bands:
            self._text(0, self._y + 15, short(band.who), "start", "n")
            for first, last, state in band.spans:
                x, end = self._x(first), max(self._x(last), self._x(first) + 1.5)
                kind = next((kind for word, kind in STATES if state.startswith(word)), "other")
                if band.who == ALERT:
                    kind = "bad"
                self._add(
                    f'<rect class="r-{kind}" x="{x:.1f}" y="{self._y:.1f}" '
                    f'width="{end - x:.1f}" height="{BAND - 5}" rx="2">'
                    f"<title>{escape(band.who)}: {escape(state)}, {first:+.1f} s to {last:+.1f} s"
                    "</title></rect>"
                )
                if end - x > 7.0 * len(state) + 6:
                    self._text(x + 6, self._y + 12.5, state, "start", "w")
                elif band.who == ALERT:
                    self._text(x - 6, self._y + 12.5, state, "end", "s")
            self._y += BAND
        self._y += 6

    # -- what goes through all strips ------------------------------------------------------------

    def _axis(self, bottom: float) -> None:
        series = self._series
        step = tick_of(series.end_s - series.begin_s)
        at = -(-series.begin_s // step) * step
        while at <= series.end_s:
            x = self._x(at)
            self._add(f'<path class="g" d="M{x:.1f} {TOP}V{bottom:.1f}"/>')
            label = "0" if abs(at) < step / 2 else f"{at:+.0f} s"
            self._text(x, bottom + 16, label, "middle", "s")
            at += step

    def _lines(self, bottom: float) -> None:
        """Moments; labels that would overlap go to the second or third row."""
        ends = [-1e9, -1e9, -1e9]
        for moment in sorted(self._moments, key=lambda m: (m.at_ms or 0, m.number)):
            assert moment.at_ms is not None, "only those that came"
            x = self._x((moment.at_ms - self._fault) / 1_000)
            row = next((n for n, end in enumerate(ends) if x - end >= LABEL_APART), 0)
            ends[row] = x
            kind = {0: "m0", 5: "m5"}.get(moment.number, "m")
            y = 12 + 13 * row
            self._add(f'<path class="{kind}" d="M{x:.1f} {y + 3}V{bottom:.1f}"/>')
            when = (moment.at_ms - self._fault) / 1_000
            self._add(
                f'<text x="{x:.1f}" y="{y}" text-anchor="middle" class="{kind}">{moment.label}'
                f"<title>{escape(moment.name)}, {when:+.3f} s</title></text>"
            )


def round_up(value: float) -> float:
    """The next round number: where an axis ends."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(
        factor * power
        for factor in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
        if factor * power >= value * 0.9999
    )


def tick_of(seconds: float) -> float:
    """Seconds between two labels of the time axis: about ten of them."""
    return next((s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300) if seconds / s <= 14), 600.0)


def nice(value: float, unit: str = "") -> str:
    """`200`, `5 kB`."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:g} {letter}{unit}"
    return f"{value:g} {unit}".strip()


def short(who: str) -> str:
    """Names of replicas stay, addresses lose nothing either, but long ones are cut."""
    return who if len(who) <= 17 else f"…{who[-16:]}"
