"""Plain counters into families, at scrape time.

    source()  ->  Sample, Sample, …  ->  checked, capped, sorted into families  ->  the page

A *source* is a function of the program (broker/metrics.py, namesrv/metrics.py) that walks its state
objects and yields samples. Nothing is remembered between scrapes but which label sets were there:
a series vanishes with its object because nobody yields it any more.

Rules that the collector holds:

* A sample of a family that the catalogue does not list for this program, or with other labels, is
  an assertion: a metric nobody documented is a bug.
* At most `series_max` series, counted as lines of the page. Past it label sets that were there at
  the previous scrape stay and newcomers are left out, and counted once each as they come.
* What is known in advance is there with 0 from the first scrape.

A source may be a generator that is suspended between samples while the program goes on: it walks
copies (`list(table.items())`), never a live dict.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client.core import Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from broker_trio.metrics.catalogue import SERIES_MAX, by_name, exposed
from broker_trio.metrics.families import IDENTITY, Family, Kind
from broker_trio.model.histogram import Histogram

STEP_LINES: Final = 500
"""Samples or lines of one step: a few milliseconds of the loop."""


class Distribution(NamedTuple):
    """A histogram's state as a source has it: counts per bucket, not cumulative, and the sum.

    One count more than the family has bounds; in the family's unit.
    """

    counts: tuple[int, ...]
    total: float


class Sample(NamedTuple):
    """One value of one family; `labels` are the values of `Family.labels`, in that order."""

    name: str
    value: float | Distribution
    labels: tuple[str, ...] = ()


Source = Callable[[], Iterable[Sample]]
Key = tuple[str, tuple[str, ...]]


def sample(name: str, value: float | Histogram | Distribution, *labels: str) -> Sample:
    """A Sample; a Histogram is copied, because the program goes on counting in it."""
    if isinstance(value, Histogram):
        return Sample(name, Distribution(tuple(value.counts), value.total), labels)
    return Sample(name, value, labels)


class Identity(NamedTuple):
    """A program's place in the fleet: the first labels of each of our series.

    `node_type` is `broker` or `nameserver`; `node_id` the broker name (equal for the replicas of a
    pair, as RocketMQ has it) or the nameserver's own name.
    """

    cluster: str
    node_type: str
    node_id: str


class Scrape:
    """Samples of one scrape on their way into families: `add` each, then read `metrics`."""

    def __init__(
        self, families: Mapping[str, Family], admitted: Mapping[Key, int], series_max: int
    ) -> None:
        self._families, self._before, self._left = families, admitted, series_max
        self._known = {(f.name, labels): None for f in families.values() for labels in f.zeros}
        self._newcomers: list[Sample] = []
        self._waiting: set[Key] = set()
        self.kept: dict[str, list[Sample]] = {name: [] for name in families}
        self.admitted: dict[Key, int] = {}
        self.dropped: set[Key] = set()

    def add(self, item: Sample) -> None:
        """Take one sample; newcomers wait until what was there before has its place."""
        family = self._families.get(item.name)
        assert family is not None, f"{item.name} is not in the catalogue of this program"
        assert len(item.labels) == len(family.labels), f"{item.name}: labels {item.labels}"
        key = (item.name, item.labels)
        assert key not in self.admitted, f"{key} twice in one scrape"
        assert key not in self._waiting, f"{key} twice in one scrape"
        if key in self._before or key in self._known:
            self._admit(key, item, family)
        else:
            self._waiting.add(key)
            self._newcomers.append(item)

    def finish(self) -> Iterator[None]:
        """Give known label sets their 0, and newcomers the places that are left; in steps."""
        for name, labels in self._known:
            if (name, labels) not in self.admitted:
                family = self._families[name]
                self._admit((name, labels), Sample(name, zero_of(family), labels), family)
        for count, item in enumerate(self._newcomers):
            family = self._families[item.name]
            key = (item.name, item.labels)
            if lines_of(family) <= self._left:
                self._admit(key, item, family)
            else:
                self.dropped.add(key)
            if count % STEP_LINES == STEP_LINES - 1:
                yield

    def _admit(self, key: Key, item: Sample, family: Family) -> None:
        self.admitted[key] = lines_of(family)
        self._left -= lines_of(family)
        self.kept[item.name].append(item)

    @property
    def series(self) -> int:
        return sum(self.admitted.values())


def lines_of(family: Family) -> int:
    """Series that one label set of the family makes."""
    return len(family.buckets) + 3 if family.kind is Kind.HISTOGRAM else 1


def zero_of(family: Family) -> float | Distribution:
    """The value of a family before its first event."""
    if family.kind is Kind.HISTOGRAM:
        return Distribution((0,) * (len(family.buckets) + 1), 0.0)
    return 0.0


class Piece(NamedTuple):
    """Some samples of one family on their way to the page; one family may come in many pieces."""

    family: Family
    items: list[Sample]


Ready = Piece | list[Metric] | None
"""What one step gives: a piece of ours, the library's own metrics, or nothing yet."""


class MetricsCollector(Collector):
    """All families of one program. `collect()` is prometheus-client's face of it, for registries.

    The HTTP door takes `steps()` instead (exposition.py), so that a large page does not hold up
    the event loop.
    """

    def __init__(
        self, identity: Identity, sources: Iterable[Source], *, series_max: int = SERIES_MAX
    ) -> None:
        self.identity: Final = identity
        self.sources = list(sources)
        self.dropped_series = 0
        self.series = 0
        self._series_max = series_max
        self._families = by_name(f for f in exposed(identity.node_type) if f.identity == IDENTITY)
        self._admitted: dict[Key, int] = {}
        self._dropped: set[Key] = set()
        library = CollectorRegistry(auto_describe=False)
        self._library: tuple[Collector, ...] = (
            ProcessCollector(registry=library),
            GCCollector(registry=library),
        )

    def steps(self) -> Iterator[Ready]:
        """One scrape in small steps; each gives what became ready, mostly nothing.

        Steps of two scrapes may not be interleaved. A step that is never taken leaves no trace.
        """
        scrape = Scrape(self._families, self._admitted, self._series_max)
        for source in (self._own, *self.sources):
            for count, item in enumerate(source()):
                scrape.add(item)
                if count % STEP_LINES == STEP_LINES - 1:
                    yield None
            yield None
        yield from scrape.finish()
        self.dropped_series += len(scrape.dropped - self._dropped)
        self._admitted, self._dropped = scrape.admitted, scrape.dropped
        self.series = scrape.series
        for name, items in scrape.kept.items():
            if items:
                yield from pieces(self._families[name], items)
        for collector in self._library:
            yield list(collector.collect())

    def collect(self) -> Iterator[Metric]:
        whole: Metric | None = None
        for ready in self.steps():
            if isinstance(ready, Piece):
                family = ready.family
                if whole is None or whole.name != bare_name(family):
                    if whole is not None:
                        yield whole
                    whole = Metric(bare_name(family), family.help, family.kind.value)
                for item in ready.items:
                    values = (*self.identity, *item.labels)
                    labels = dict(zip(family.label_names, values, strict=True))
                    add_lines(whole, family, labels, item.value)
            elif ready is not None:
                if whole is not None:
                    yield whole
                whole = None
                yield from ready
        assert whole is None, "the library's metrics come last"

    def _own(self) -> Iterator[Sample]:
        """Figures about the previous scrape, first, so that no flood leaves them out."""
        yield Sample("brokertrio_metrics_series", self.series)
        yield Sample("brokertrio_metrics_dropped_series_total", self.dropped_series)


def pieces(family: Family, items: list[Sample]) -> Iterator[Piece]:
    """A family's samples, about `STEP_LINES` lines each."""
    per_piece = max(1, STEP_LINES // lines_of(family))
    for begin in range(0, len(items), per_piece):
        yield Piece(family, items[begin : begin + per_piece])


def bare_name(family: Family) -> str:
    """A counter's name without `_total`, which the library adds again."""
    return family.name.removesuffix("_total") if family.kind is Kind.COUNTER else family.name


def add_lines(
    metric: Metric, family: Family, labels: dict[str, str], value: float | Distribution
) -> None:
    """The lines of one label set: one, or a histogram's buckets, count and sum."""
    if not isinstance(value, Distribution):
        assert family.kind is not Kind.HISTOGRAM, f"{family.name} wants a Distribution"
        metric.add_sample(family.name, labels, value)
        return
    assert len(value.counts) == len(family.buckets) + 1, family.name
    running = 0
    for bound, count in zip((*family.buckets, None), value.counts, strict=True):
        running += count
        le = "+Inf" if bound is None else repr(float(bound))
        metric.add_sample(f"{family.name}_bucket", {**labels, "le": le}, running)
    metric.add_sample(f"{family.name}_count", labels, running)
    metric.add_sample(f"{family.name}_sum", labels, value.total)
