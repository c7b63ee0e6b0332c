"""What a plot of a drill draws: sends by time and by how they ended, and what the pair looked like.

buckets of equal width over the drill; seconds since the fault on the x axis
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from broker_trio.ops.drill.records import READER, SILENT, Alert, Run, Sample
from broker_trio.ops.ledger.evidence import Evidence

BUCKETS_MAX: Final = 240
WIDTHS: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
CAUSES_MAX: Final = 4  # the others are drawn together
ALERTS_MAX: Final = 12
ALERT: Final = "alert"  # who, in bands of alerts; their states are their names


@dataclass(slots=True)
class Band:
    """One replica, nameserver, the reader, or an alert: what it said, from when to when (seconds
    since the fault)."""

    who: str
    spans: list[tuple[float, float, str]] = field(default_factory=list)


@dataclass(slots=True)
class Series:
    """Everything that is drawn. Lists of rates have one value a bucket, per second."""

    begin_s: float
    end_s: float
    width_s: float
    acknowledged: list[float]
    failed: dict[str, list[float]]  # by cause, the most frequent first
    latency_ms: list[float | None]  # the worst of the bucket
    lag: list[tuple[float, int]]  # bytes that the slave lacks
    bands: list[Band]


def series_of(
    run: Run, samples: Sequence[Sample], evidence: Evidence, fault_ms: int,
    alerts: Sequence[Alert] = (),
) -> Series:  # fmt: skip
    """Cut the drill into buckets."""
    times = [sample.at_ms for sample in samples]
    for writer in evidence.writers.values():
        times += [writer.heading.wall_ms, writer.wall_ms(writer.ends_at())]
    begin, end = (edge(times or [fault_ms]) / 1_000 - fault_ms / 1_000 for edge in (min, max))
    end = max(end, begin + 1.0)
    width = next((w for w in WIDTHS if (end - begin) / w <= BUCKETS_MAX), WIDTHS[-1])
    count = int((end - begin) / width) + 1
    made = Series(begin, end, width, [0.0] * count, {}, [None] * count, [], [])
    _fill_sends(made, evidence, fault_ms)
    made.lag = lag_of(run, samples, fault_ms)
    made.bands = bands_of(run, samples, fault_ms) + fired(alerts, fault_ms, end)
    return made


def _fill_sends(made: Series, evidence: Evidence, fault_ms: int) -> None:
    causes: Counter[str] = Counter()
    failures = []
    for writer in evidence.writers.values():
        for n, outcome in writer.outcomes.items():
            at = (writer.wall_ms(outcome.t) - fault_ms) / 1_000
            bucket = min(
                max(int((at - made.begin_s) / made.width_s), 0), len(made.acknowledged) - 1
            )
            if outcome.how != "ok":
                cause = outcome.cause or outcome.how
                causes[cause] += 1
                failures.append((bucket, cause))
                continue
            made.acknowledged[bucket] += 1 / made.width_s
            took = (outcome.t - writer.attempts[n].t) * 1_000 if n in writer.attempts else 0.0
            made.latency_ms[bucket] = max(made.latency_ms[bucket] or 0.0, took)
    shown = [cause for cause, _ in causes.most_common(CAUSES_MAX)]
    for bucket, cause in failures:
        name = cause if cause in shown else "others"
        rates = made.failed.setdefault(name, [0.0] * len(made.acknowledged))
        rates[bucket] += 1 / made.width_s
    order = [*shown, "others"]
    made.failed = {name: made.failed[name] for name in order if name in made.failed}


def lag_of(run: Run, samples: Sequence[Sample], fault_ms: int) -> list[tuple[float, int]]:
    """How many bytes the one that is behind lacks, by the last word of each."""
    ends: dict[str, int] = {}
    found = []
    for sample in samples:
        if sample.who not in run.replicas or sample.state == SILENT:
            continue
        ends[sample.who] = sample.end
        if len(ends) == len(run.replicas) > 1:
            behind = max(ends.values()) - min(ends.values())
            found.append(((sample.at_ms - fault_ms) / 1_000, behind))
    return found


def bands_of(run: Run, samples: Sequence[Sample], fault_ms: int) -> list[Band]:
    """Who was in which state, from when to when: replicas, nameservers, the reader."""
    names = [*sorted(run.replicas), *run.nameservers, READER]
    bands = {who: Band(who) for who in names}
    for sample in samples:
        band = bands.get(sample.who)
        if band is None:
            continue
        at = (sample.at_ms - fault_ms) / 1_000
        state = sample.state
        if sample.who in run.nameservers and state != SILENT:
            state = "forgot" if sample.forgot else shown_by(run, sample.shows)
        if band.spans:
            first, _, last = band.spans[-1]
            band.spans[-1] = (first, at, last)
            if last == state:
                continue
        band.spans.append((at, at, state))
    return [bands[who] for who in names if bands[who].spans]


def fired(alerts: Sequence[Alert], fault_ms: int, end: float) -> list[Band]:
    """Alerts by name, in the order in which they began; what did not end lasts to the end."""
    bands: dict[str, Band] = {}
    for alert in alerts:
        band, at = bands.setdefault(alert.name, Band(ALERT)), (alert.at_ms - fault_ms) / 1_000
        if alert.firing:
            band.spans.append((at, end, alert.name))
        elif band.spans:
            band.spans[-1] = (band.spans[-1][0], at, alert.name)
    return list(bands.values())[:ALERTS_MAX]


def shown_by(run: Run, address: str) -> str:
    """A master's address as people call it."""
    if not address:
        return "shows no master"
    named = next((who for who, known in run.replicas.items() if known == address), address)
    return f"shows {named}"
