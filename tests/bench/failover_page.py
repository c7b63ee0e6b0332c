"""The tables of docs/benchmarks/failover.md, from its JSON: medians, least and most. Pure."""

from statistics import median
from typing import Any, Final, Literal

Fault = Literal["kill", "isolate"]
Run = dict[str, Any]
FAULTS: Final[tuple[Fault, ...]] = ("kill", "isolate")
SYSTEMS: Final = ("ours", "classic", "controller")
COUNTS: Final = ("lost", "duplicated", "out_of_order", "refused_but_stored")
TIMES: Final = {
    "rto_s": "RTO",
    "decided_s": "until it was ordered",
    "owned_s": "until there was another master",
    "routed_s": "until the nameserver showed it",
    "gap_s": "longest gap between acknowledgements",
}
SENDS: Final = {
    "acknowledged": "acknowledged",
    "failed": "refused, or never left",
    "unknown": "no answer",
}


def table(document: dict[str, Any], fault: Fault) -> list[str]:
    """Its rows for one fault, a column a system."""
    columns = [
        [run for run in document["runs"] if (run["system"], run["fault"]) == (system, fault)]
        for system in SYSTEMS
    ]
    rows = [
        *((name, [spread(runs, key, " s") for runs in columns]) for key, name in TIMES.items()),
        *((name, [spread(runs, key) for runs in columns]) for key, name in SENDS.items()),
        *((key.replace("_", " "), [each(runs, key) for runs in columns]) for key in COUNTS),
        ("load average, begin to end", [loads(runs) for runs in columns]),
    ]
    return [f"| {' | '.join((name, *cells))} |" for name, cells in rows]


def spread(runs: list[Run], key: str, unit: str = "") -> str:
    """`2.9 s (2.1–4.0)`; – where nobody has such a figure."""
    found = [run[key] for run in runs if run.get(key) is not None]
    if not found:
        return "–"
    style = ",.1f" if unit else ",.0f"
    middle, least, most = (format(of(found), style) for of in (median, min, max))
    never = f", {len(runs) - len(found)} never" if len(found) < len(runs) else ""
    return f"{middle}{unit} ({least}–{most}){never}"


def each(runs: list[Run], key: str) -> str:
    """`0`, or each run's number where one is not."""
    found = [run[key] for run in runs]
    return ", ".join(map(str, found)) if any(found) else "0"


def loads(runs: list[Run]) -> str:
    """Of each run."""
    return ", ".join(f"{run['loads'][0]:.0f}–{run['loads'][1]:.0f}" for run in runs)
