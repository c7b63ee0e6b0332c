"""The /metrics page, made in steps between which the event loop does its own work.

prometheus-client renders a whole registry in one call: 50,000 series would stop the loop for half a
second. Here each step renders about 500 lines (a few milliseconds) and ends in a checkpoint.
A family that is cut into pieces keeps its `# HELP` and `# TYPE` once, before its first line.
"""

from collections.abc import Iterator
from typing import Final, final

import trio
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from broker_trio.metrics.collector import MetricsCollector

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


@final
class _Page(Collector):
    """What `generate_latest` asks of a registry, for a handful of metrics."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


def render(metrics: list[Metric], previous: str | None) -> bytes:
    """Text of some metrics; no head for the first one when it continues `previous`."""
    if not metrics:
        return b""
    text = generate_latest(_Page(metrics))
    if metrics[0].name == previous:
        _help, _type, text = text.split(b"\n", 2)
    return text


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
            parts: list[bytes] = []
            previous: str | None = None
            for metrics in self._collector.steps():
                parts.append(render(metrics, previous))
                if metrics:
                    previous = metrics[-1].name
                await trio.lowlevel.checkpoint()
            return b"".join(parts)
