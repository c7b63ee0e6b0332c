"""The /metrics page, made in steps between which the event loop does its own work.

prometheus-client renders a whole registry in one call, at 20 µs a line: 50,000 series would stop
the loop for a second. Here each step writes about 500 lines of our families (a few milliseconds)
and ends in a checkpoint; what the library collects itself, some ten lines, the library writes.
A family that is cut into pieces keeps its `# HELP` and `# TYPE` once, before its first line.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Final, final

import trio
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from broker_trio.metrics.collector import Distribution, MetricsCollector, Piece
from broker_trio.metrics.families import IDENTITY, Family

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@final
class _Page(Collector):
    """What `generate_latest` asks of a registry, for a handful of metrics."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


def number(value: float) -> str:
    """A value as Prometheus reads it."""
    if isinstance(value, int) or math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def pairs(names: Iterable[str], values: Iterable[str]) -> str:
    """`name="value",…` with values escaped."""
    joined = ((name, value.translate(_ESCAPES)) for name, value in zip(names, values, strict=True))
    return ",".join([f'{name}="{value}"' for name, value in joined])


def head_of(family: Family) -> str:
    """The two lines before a family's first sample."""
    text = family.help.translate({ord("\\"): "\\\\", ord("\n"): "\\n"})
    return f"# HELP {family.name} {text}\n# TYPE {family.name} {family.kind}\n"


def lines_of_piece(piece: Piece, identity: str) -> str:
    """The samples of a piece; `identity` are the first labels of each, ready to print."""
    family, name = piece.family, piece.family.name
    lines: list[str] = []
    for item in piece.items:
        labels = f"{identity},{pairs(family.labels, item.labels)}" if family.labels else identity
        if isinstance(item.value, Distribution):
            lines += _histogram_lines(family, labels, item.value)
        else:
            lines.append(f"{name}{{{labels}}} {number(item.value)}\n")
    return "".join(lines)


def _histogram_lines(family: Family, labels: str, value: Distribution) -> Iterator[str]:
    assert len(value.counts) == len(family.buckets) + 1, family.name
    running, name = 0, family.name
    bounds = (*[number(float(bound)) for bound in family.buckets], "+Inf")
    for bound, count in zip(bounds, value.counts, strict=True):
        running += count
        yield f'{name}_bucket{{{labels},le="{bound}"}} {running}\n'
    yield f"{name}_count{{{labels}}} {running}\n"
    yield f"{name}_sum{{{labels}}} {number(value.total)}\n"


@final
class Exposition:
    """The page of one collector; scrapes that come at the same time wait for each other."""

    def __init__(self, collector: MetricsCollector) -> None:
        self._collector = collector
        self._turn = trio.Lock()

    async def page(self) -> bytes:
        """The whole page in Prometheus' text format 0.0.4.

        Cancelled: the scrape is forgotten, and the next one starts from the one before it.
        """
        async with self._turn:
            identity = pairs(IDENTITY, self._collector.identity)
            parts: list[bytes] = []
            previous: Family | None = None
            for ready in self._collector.steps():
                if isinstance(ready, Piece):
                    head = "" if ready.family is previous else head_of(ready.family)
                    parts.append((head + lines_of_piece(ready, identity)).encode())
                    previous = ready.family
                elif ready is not None:
                    parts.append(generate_latest(_Page(ready)))
                await trio.lowlevel.checkpoint()
            return b"".join(parts)
