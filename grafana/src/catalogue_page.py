"""docs/operating/metrics.md, made from the catalogue: every family once, in the page's order."""

from broker_trio.metrics import catalogue
from broker_trio.metrics.families import Family, Kind, Status

HEAD = """# Metrics

What a broker and a nameserver expose at `/metrics` (HTTP port + 2 of the remoting port: broker 10913, nameserver 9878).
This page is written by `python -m grafana.src` from the list that the programs themselves use, `broker_trio/metrics/catalogue.py`.

- Labels on every `rocketmq_*` and `brokertrio_*` series: `cluster`, `node_type` (`broker` or `nameserver`), `node_id` (the broker name, equal for both replicas of a pair; use `instance` or `brokertrio_broker_info` to tell them apart). The tables list the further ones.
- `rocketmq_*` are RocketMQ 5's native families under the names of its samples, in its units (milliseconds). `brokertrio_*` are ours, in base units.
- Native families of features that are to come stand below as `later`; those of tiered storage, RocksDB and the controller are not listed: there is no such part here.
- A gauge that is not there is *not known*, which is not 0: the age of a lag that nobody has looked up yet, the replication lag of a slave that never attached.
- Lag is offsets against queues, whoever is connected: it goes on growing when the last consumer has gone.
- At most {limit:,} series a program: past it the newest label sets are left out and counted in `brokertrio_metrics_dropped_series_total`; deleted topics and groups leave at once.
- Do two nameservers hand out different routes? Equal route tables have equal `brokertrio_ns_route_fingerprint`s; the recording rule `cluster:brokertrio_ns_route_tables:count` says how many different ones a cluster has.
"""

SECTIONS = (
    ("Every program", catalogue.SHARED_FAMILIES),
    ("Broker, RocketMQ's names", catalogue.NATIVE_FAMILIES),
    ("Broker, ours", catalogue.BROKER_FAMILIES),
    ("Pairs: records, replication, roles", catalogue.PAIR_FAMILIES),
    ("Nameserver", catalogue.NAMESERVER_FAMILIES),
    ("Process and Python", catalogue.LIBRARY_FAMILIES),
    ("Drills", catalogue.DRILL_FAMILIES),
)


def page() -> str:
    """The whole document."""
    parts = [HEAD.format(limit=catalogue.SERIES_MAX)]
    for title, families in SECTIONS:
        now = [family for family in families if family.status is Status.NOW]
        later = [family for family in families if family.status is Status.LATER]
        parts.append(f"\n## {title}\n")
        if now:
            parts.append("\n| name | type | labels | meaning |\n|---|---|---|---|\n")
            parts += [row(family) for family in now]
        if later:
            names = ", ".join(f"`{family.name}`" for family in later)
            parts.append(f"\nNot exposed yet (`later` in the catalogue): {names}.\n")
    return "".join(parts)


def row(family: Family) -> str:
    """One line of a table; a histogram names its bounds, a label its values where they are few."""
    known: dict[str, list[str]] = {name: [] for name in family.labels}
    for values in family.known:
        for name, value in zip(family.labels, values, strict=True):
            if value not in known[name]:
                known[name].append(value)
    labels = ", ".join(
        f"`{name}`" + (f" ({', '.join(values)})" if values else "")
        for name, values in known.items()
    )
    text = family.help
    if family.kind is Kind.HISTOGRAM:
        text += " Buckets: " + ", ".join(f"{bound:g}" for bound in family.buckets) + "."
    return f"| `{family.name}` | {family.kind} | {labels or '–'} | {text} |\n"
