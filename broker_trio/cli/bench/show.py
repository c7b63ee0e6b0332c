"""What a bench prints: a line that moves, a table at the end, one document with --json.

produce orders: 10.0 s, 64 tasks, 128 bytes
  sends       221,430    22,141/s   2.7 MiB/s
  ▆▇▇▇█▇▇▆▇▇▇█▇▇▇▇▇▇▇▇▇▇▇█▇▇▇▇▇▇▆▇▇▇▇▇▇▇▇▇    19,012 to 23,480/s, 0.25 s a bar
               p50    p90    p99   p99.9  p99.99    max   mean   ms
  sent        2.71   3.90   7.94   12.31   20.01   20.0   2.89
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker_trio.cli.bench.meter import Meter, spark
from broker_trio.cli.output import console

if TYPE_CHECKING:
    from rich.console import RenderableType

CAUSES_SHOWN: Final = 10
SPARK_WIDTH: Final = 50
COLUMNS: Final = ("p50", "p90", "p99", "p99.9", "p99.99", "max", "mean")


class Part(NamedTuple):
    """One measurement of a bench. `rows`: what each histogram is called, "service" or "due"."""

    name: str
    meter: Meter
    rows: Sequence[tuple[str, str]]
    extra: dict[str, Any]


def moving_text(meter: Meter, now: float, *, seconds: float | None = None, tail: str = "") -> str:
    """The line that moves. `seconds`: how long it is to measure, where that is known."""
    since = now - meter.begin
    whole = f"/{clock(meter.measured_from - meter.begin + seconds)}" if seconds else ""
    time = f"{clock(since)}{whole}"
    if now < meter.measured_from:
        return f"{time}  warming up, {meter.measured_from - now:.1f} s left  {tail}"
    recent = meter.rates(now)[-12:]
    rate = sum(recent[-4:]) / len(recent[-4:]) if recent else 0.0
    return (
        f"{time}  {meter.messages:>11,}  {rate:>9,.0f}/s  {spark(recent):<12}  "
        f"errors {meter.failures:,}  {tail}"
    )


def clock(seconds: float) -> str:
    whole = max(int(seconds), 0)
    return f"{whole // 60:02}:{whole % 60:02}"


def size_text(value: float) -> str:
    """Bytes a second as people say them."""
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} GiB"


def part_tree(part: Part) -> dict[str, Any]:
    """A measurement for `--json`. Latencies in ms; `hdr` is HDR's compressed form, in µs."""
    meter = part.meter
    ended = meter.ended or meter.measured_from
    seconds = meter.seconds(ended)
    return {
        "messages": meter.messages,
        "bytes": meter.bytes,
        "seconds": round(seconds, 6),
        "rate": round(meter.rate(ended), 3),
        "failures": meter.failures,
        "errors": dict(meter.errors.most_common()),
        **{f"{kind}_ms": latency(meter, kind).milliseconds() for _, kind in part.rows},
        "rates": {"slot_s": meter.slot_s, "per_s": meter.rates(ended)},
        "hdr": latency(meter, part.rows[-1][1]).encoded(),
        **part.extra,
    }


def latency(meter: Meter, kind: str) -> Any:
    return meter.due if kind == "due" else meter.service


def print_parts(title: str, parts: Sequence[Part]) -> None:
    """The result for people."""
    out = console()
    out.print(title, style="bold", markup=False)
    for part in parts:
        for line in part_lines(part):
            out.print(line)


def part_lines(part: Part) -> list["RenderableType"]:
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    meter = part.meter
    ended = meter.ended or meter.measured_from
    seconds, rates = meter.seconds(ended), meter.rates(ended)
    a_second = meter.bytes / seconds if seconds else 0.0
    head = f"{part.name}  {meter.messages:,} in {seconds:.2f} s   {meter.rate(ended):,.0f}/s   "
    lines: list[RenderableType] = [Text(f"{head}{size_text(a_second)}/s")]
    if rates:
        around = f"{min(rates):,.0f} to {max(rates):,.0f}/s"
        text = Text(spark(rates, SPARK_WIDTH), style="cyan")
        lines.append(text.append(f"  {around} over {seconds:.0f} s", style="dim"))
    if meter.messages:
        lines.append(latency_table(part))
    for cause, number in meter.errors.most_common(CAUSES_SHOWN):
        lines.append(Text(f"{number:>11,}  {cause}", style="red"))
    for name, value in part.extra.items():
        if value:
            lines.append(Text(f"{value:>11,}  {name.replace('_', ' ')}", style="yellow"))
    return [Padding(line, (0, 0, 0, 2)) for line in lines]


def latency_table(part: Part) -> "RenderableType":
    """Percentiles, a row for each histogram."""
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    table.add_column("ms", style="dim")
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for name, kind in part.rows:
        found = latency(part.meter, kind).milliseconds()
        table.add_row(name, *(ms_text(found[column]) for column in COLUMNS))
    return table


def ms_text(value: float) -> str:
    """Three digits that count: 0.482, 4.82, 48.2, 482, 4,820."""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"
