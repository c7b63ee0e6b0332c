"""A drill's outcome as a document for programs, as Markdown for tickets, and as metrics.

outcome_of ─▶ document ─┬─▶ report.json      compared with the last run's
                        ├─▶ report.md
                        ├─▶ report.html      page.py
                        └─▶ metrics.prom     what the alert on old proofs reads
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import msgspec

from broker_trio.metrics.catalogue import DRILL_FAMILIES
from broker_trio.ops.drill.catalogue import BY_NAME
from broker_trio.ops.drill.compare import Change
from broker_trio.ops.drill.records import Run
from broker_trio.ops.drill.verdict import Outcome


def document(run: Run, outcome: Outcome) -> dict[str, Any]:
    """Everything, as a tree that JSON knows."""
    ledger, zero = outcome.ledger, outcome.moments[0].at_ms
    return {
        "drill": run.drill,
        "verdict": outcome.verdict,
        "reasons": outcome.reasons,
        "rto_s": outcome.rto_s,
        "after_heal_s": outcome.after_heal_s,
        "gap_s": outcome.gap_s,
        "person_s": outcome.person_s,
        "rpo_messages": ledger.rpo_messages,
        "acknowledged": ledger.acknowledged,
        "failed": ledger.failed,
        "unknown": ledger.unknown,
        "lost": ledger.lost.count,
        "duplicated": ledger.duplicated.count,
        "out_of_order": ledger.out_of_order.count,
        "moments": [
            {"label": m.label, "name": m.name, "at_ms": m.at_ms,
             "seconds": None if m.at_ms is None or zero is None else (m.at_ms - zero) / 1_000}
            for m in outcome.moments
        ],
        "checks": [asdict(check) for check in outcome.checks],
        "alerts": [msgspec.to_builtins(alert) for alert in outcome.alerts],
        "ledger": asdict(ledger),
        "annotation": annotation(run, outcome),
        "run": msgspec.to_builtins(run),
    }  # fmt: skip


def annotation(run: Run, outcome: Outcome) -> dict[str, Any]:
    """What Grafana is asked to draw over its dashboards: a region, from the fault to the end."""
    times = [moment.at_ms for moment in outcome.moments if moment.at_ms is not None]
    text = f"drill {run.drill} on {run.pair}: {outcome.verdict}, RTO {_s(outcome.rto_s)}"
    return {
        "time": min(times, default=run.begun_ms),
        "timeEnd": max(times, default=run.begun_ms),
        "tags": ["drill", "broker-trio", run.cluster],
        "text": f"{text}, lost {outcome.ledger.lost.count}",
    }


def markdown(run: Run, outcome: Outcome, changes: Sequence[Change]) -> str:
    """For a ticket or a wiki: the same figures, no picture."""
    drill, ledger = BY_NAME[run.drill], outcome.ledger
    when = f"{datetime.fromtimestamp(run.begun_ms / 1_000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"# {outcome.verdict.upper()}: {drill.title}",
        "",
        f"Cluster {run.cluster}, pair {run.pair} ({run.mode} replication, {run.flush}), {when}, "
        f"run `{run.run}`.",
        "",
        *(f"- {reason}" for reason in outcome.reasons),
        *([""] if outcome.reasons else []),
        *_rows(
            ("figure", "value"),
            [
                ("lost of the acknowledged (RPO)", f"{ledger.lost.count}"),
                ("fault to lasting success (RTO)", _s(outcome.rto_s)),
                ("healing to lasting success", _s(outcome.after_heal_s)),
                ("longest without an acknowledgement", _s(outcome.gap_s)),
                ("stored twice", f"{ledger.duplicated.count}"),
                ("out of order", f"{ledger.out_of_order.count}"),
                ("acknowledged", f"{ledger.acknowledged}"),
                ("refused, or never left", f"{ledger.failed}"),
                ("unknown, some of them stored", f"{ledger.unknown}, {ledger.unknown_stored}"),
            ],
        ),
        "",
        *_rows(("", "moment", "seconds"), _moments(outcome)),
        "",
        *_rows(
            ("", "demand", "wanted", "found"),
            [
                ("holds" if c.ok else "not proved" if c.ok is None else "BROKEN", c.name, c.wanted,
                 c.found)
                for c in outcome.checks
            ],
        ),
        "",
    ]  # fmt: skip
    if outcome.alerts and outcome.moments[0].at_ms is not None:
        lines += [*_rows(("seconds", "alert", "severity", ""), alert_rows(outcome)), ""]
    if changes:
        rows = [(c.name, c.before, c.now, c.trend) for c in changes]
        lines += [*_rows(("", "last run", "this run", ""), rows), ""]
    return "\n".join(lines)


def alert_rows(outcome: Outcome) -> list[tuple[str, str, str, str]]:
    """Seconds since the fault, name, severity, and whether it began or ended."""
    zero = outcome.moments[0].at_ms
    assert zero is not None, "only with a fault"
    return [
        (f"{(a.at_ms - zero) / 1_000:+.1f}", a.name, a.severity, "fires" if a.firing else "ends")
        for a in outcome.alerts
    ]


def _moments(outcome: Outcome) -> list[tuple[str, str, str]]:
    zero = outcome.moments[0].at_ms
    return [
        (m.label, m.name,
         "–" if m.at_ms is None or zero is None else f"{(m.at_ms - zero) / 1_000:+.3f}")
        for m in outcome.moments
    ]  # fmt: skip


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return lines


def _s(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f} s"


def exposition(
    documents: Sequence[dict[str, Any]], cluster: str, active: tuple[str, str] | None = None
) -> str:
    """The `brokertrio_drill_*` page of all kept runs, oldest first, for a node exporter's folder.

    Counters sum over all runs; gauges tell of each drill's newest one, and when it last passed.
    `active`: the drill that runs now, and its phase.
    """
    newest: dict[str, dict[str, Any]] = {}
    passed: dict[str, float] = {}
    for one in documents:
        if not one["run"]["human"]:  # how fast a person is proves nothing about the cluster
            newest[one["drill"]] = one
        if one["verdict"] == "pass":
            passed[one["drill"]] = one["run"]["begun_ms"] / 1_000
    total = {key: sum(one[key] for one in documents) for key in
             ("acknowledged", "unknown", "lost", "duplicated", "gap_s")}  # fmt: skip
    values: dict[str, list[tuple[dict[str, str], float]]] = {
        "brokertrio_drill_active": (
            [({"drill": active[0], "phase": active[1]}, 1.0)] if active else []
        ),
        "brokertrio_checker_acknowledged_total": [({}, total["acknowledged"])],
        "brokertrio_checker_unknown_total": [({}, total["unknown"])],
        "brokertrio_checker_lost_total": [({}, total["lost"])],
        "brokertrio_checker_duplicates_total": [({}, total["duplicated"])],
        "brokertrio_checker_unavailable_seconds_total": [({}, total["gap_s"])],
        "brokertrio_drill_rto_seconds": [
            ({"drill": name}, one["rto_s"]) for name, one in sorted(newest.items())
            if one["rto_s"] is not None
        ],
        "brokertrio_drill_rpo_messages": [
            ({"drill": name}, one["rpo_messages"]) for name, one in sorted(newest.items())
        ],
        "brokertrio_drill_last_success_timestamp_seconds": [
            ({"drill": name}, at) for name, at in sorted(passed.items())
        ],
    }  # fmt: skip
    lines = []
    for family in DRILL_FAMILIES:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        for labels, value in values[family.name]:
            named = {"cluster": cluster, **labels}
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in named.items())
            lines.append(f"{family.name}{{{inside}}} {value:.15g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
