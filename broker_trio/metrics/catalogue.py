"""Every metric family of broker_trio, once: exposition, dashboards' lint and docs read it.

Two prefixes. `rocketmq_*` are RocketMQ 5.3's own families with the sample names and labels that a
real broker puts on the wire, for dashboards that exist; no new name is ever made up there, because
upstream may use it tomorrow. `brokertrio_*` is what RocketMQ lacks, in base units. `process_*` and
`python_gc_*` come from prometheus-client as they are, without our identity labels.

The tables are in families_broker.py, families_pair.py and families_nameserver.py; a family whose
feature is not built is listed there as LATER. No label is a client id, an address of a client, a
message key or a queue id: such values have no bound.
"""

from collections.abc import Iterable
from typing import Final

from broker_trio.metrics.families import BOTH, DRILL, Family, Kind, Status
from broker_trio.metrics.families_broker import BROKER_FAMILIES, NATIVE_FAMILIES
from broker_trio.metrics.families_nameserver import NAMESERVER_FAMILIES, SHARED_FAMILIES
from broker_trio.metrics.families_pair import PAIR_FAMILIES

SERIES_MAX: Final = 50_000
"""Series of one program, RocketMQ's own limit; beyond it the newest label sets are dropped."""


def _library(name: str, kind: Kind, unit: str, text: str, labels: tuple[str, ...] = ()) -> Family:
    return Family(name, kind, text, labels, unit=unit, roles=BOTH, identity=())


LIBRARY_FAMILIES: Final = (
    _library("process_virtual_memory_bytes", Kind.GAUGE, "bytes", "Virtual memory size."),
    _library("process_resident_memory_bytes", Kind.GAUGE, "bytes", "Resident memory size."),
    _library("process_start_time_seconds", Kind.GAUGE, "seconds", "When the process started."),
    _library("process_cpu_seconds_total", Kind.COUNTER, "seconds", "CPU time spent."),
    _library("process_open_fds", Kind.GAUGE, "", "Open file descriptors."),
    _library("process_max_fds", Kind.GAUGE, "", "Limit of open file descriptors."),
    _library(
        "python_gc_objects_collected_total", Kind.COUNTER, "", "Objects collected.", ("generation",)
    ),
    _library(
        "python_gc_objects_uncollectable_total",
        Kind.COUNTER,
        "",
        "Uncollectable objects found.",
        ("generation",),
    ),
    _library("python_gc_collections_total", Kind.COUNTER, "", "Collections done.", ("generation",)),
)


def _drill(name: str, kind: Kind, text: str, labels: tuple[str, ...] = ()) -> Family:
    return Family(name, kind, text, labels, roles=DRILL, identity=())


DRILL_FAMILIES: Final = (
    _drill("brokertrio_drill_active", Kind.GAUGE, "1 while a drill lasts.", ("drill", "phase")),
    _drill("brokertrio_checker_acknowledged_total", Kind.COUNTER, "Sends acknowledged."),
    _drill("brokertrio_checker_unknown_total", Kind.COUNTER, "Sends of unknown outcome."),
    _drill("brokertrio_checker_lost_total", Kind.COUNTER, "Acknowledged and not readable."),
    _drill("brokertrio_checker_duplicates_total", Kind.COUNTER, "Sequence numbers met twice."),
    _drill(
        "brokertrio_checker_unavailable_seconds_total", Kind.COUNTER, "Time without an ok send."
    ),
    _drill("brokertrio_drill_rto_seconds", Kind.GAUGE, "Fault to first ok send.", ("drill",)),
    _drill("brokertrio_drill_rpo_messages", Kind.GAUGE, "Acknowledged and lost.", ("drill",)),
    _drill(
        "brokertrio_drill_last_success_timestamp_seconds",
        Kind.GAUGE,
        "When the drill last passed.",
        ("drill",),
    ),
)

FAMILIES: Final[tuple[Family, ...]] = (
    *SHARED_FAMILIES,
    *NATIVE_FAMILIES,
    *BROKER_FAMILIES,
    *PAIR_FAMILIES,
    *NAMESERVER_FAMILIES,
    *LIBRARY_FAMILIES,
    *DRILL_FAMILIES,
)


def by_name(families: Iterable[Family]) -> dict[str, Family]:
    """Families under their names; a name that stands twice is an assertion."""
    table: dict[str, Family] = {}
    for family in families:
        assert family.name not in table, f"{family.name} is listed twice"
        table[family.name] = family
    return table


CATALOGUE: Final = by_name(FAMILIES)


def exposed(role: str) -> tuple[Family, ...]:
    """The families that a program of this role exposes, in the order of the page."""
    return tuple(f for f in FAMILIES if role in f.roles and f.status is Status.NOW)
