"""What a drill proved: pass, fail or inconclusive, and why. A pure function of its folder.

    ledger ─▶ lost, doubled, out of order  ┐
    marks, samples ─▶ T0 … T8              ├─▶ Outcome: verdict, reasons, RTO, RPO, moments
    drill ─▶ what must hold                ┘

A broken promise fails. What was not proved leaves it inconclusive: no fault was seen to come, the
cluster was not well before, it was aborted, the reading was not complete.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from broker_trio.ops.drill.catalogue import BY_NAME, Drill
from broker_trio.ops.drill.records import READ, READER, Alert, Mark, Run, Sample
from broker_trio.ops.drill.timeline import (
    Moment,
    epochs_overlap,
    fault_ms,
    first_mark,
    longest_gap_s,
    served_ms,
    timeline,
    two_owners,
)
from broker_trio.ops.ledger.evidence import Evidence
from broker_trio.ops.ledger.judge import judge
from broker_trio.ops.ledger.report import Demands, Report, Verdict

STEADY_MIN: Final = 10  # acknowledgements before the fault, or nothing was steady
READS_MIN: Final = 5  # looks of the reader during the fault, or nothing was proved of reads
PATIENCE_S: Final = 900.0  # of a person who is drilled


class Folder(NamedTuple):
    """Everything that a drill left."""

    run: Run
    marks: Sequence[Mark]
    samples: Sequence[Sample]
    evidence: Evidence
    alerts: Sequence[Alert] = ()


@dataclass(slots=True)
class Check:
    """One demand and what was found; `ok` None: it could not be told."""

    name: str
    wanted: str
    found: str
    ok: bool | None


@dataclass(slots=True)
class Outcome:
    """The verdict with all its figures. Times are seconds."""

    verdict: Verdict
    reasons: list[str]
    checks: list[Check]
    moments: list[Moment]
    ledger: Report
    rto_s: float | None = None  # from the fault to the first send that stayed well
    after_heal_s: float | None = None
    gap_s: float = 0.0  # the longest time without an acknowledgement since the fault
    person_s: float | None = None  # of human mode: from the fault to the first act
    alerts: list[Alert] = field(default_factory=list)


def outcome_of(folder: Folder) -> Outcome:
    """Judge it. The same folder gives the same outcome."""
    run, marks = folder.run, folder.marks
    drill, fault = BY_NAME[run.drill], fault_ms(marks)
    ledger = judge(folder.evidence, Demands(lost_max=run.lost_max))
    made = Outcome(
        "inconclusive", [], [], timeline(run, marks, folder.samples, folder.evidence), ledger,
        alerts=list(folder.alerts),
    )  # fmt: skip
    if fault is not None:
        _measure(made, folder, fault)
    made.checks = [
        *_kept(ledger, run),
        *_state(folder, drill, fault),
        *_clients(folder, drill, fault),
        *_times(made, drill, stood_still_s(marks), human=run.human),
    ]
    if any(mark.name == "aborted" for mark in marks):
        _doubt_what_was_cut_short(made.checks, marks)
    broken = [c for c in made.checks if c.ok is False]
    open_ = [c for c in made.checks if c.ok is None]
    made.reasons = [f"{c.name}: {c.found}, wanted {c.wanted}" for c in (*broken, *open_)]
    if ledger.verdict == "inconclusive":
        made.reasons += ledger.reasons
    if broken:
        made.verdict = "fail"
    elif not open_ and ledger.verdict == "pass":
        made.verdict = "pass"
    return made


def _measure(made: Outcome, folder: Folder, fault: int) -> None:
    served = made.moments[5].at_ms
    made.rto_s = None if served is None else (served - fault) / 1_000
    made.gap_s = longest_gap_s(folder.evidence, fault)
    healed = first_mark(folder.marks, "healed", fault)
    if healed is not None:
        after = served_ms(folder.evidence, healed)
        made.after_heal_s = None if after is None else (after - healed) / 1_000
    decided = made.moments[2].at_ms
    if folder.run.human and decided is not None:
        made.person_s = (decided - fault) / 1_000


def _doubt_what_was_cut_short(checks: Sequence[Check], marks: Sequence[Mark]) -> None:
    """An aborted drill breaks no goal that it did not come to; what was lost is lost."""
    goals = {
        "the other took over", "the guard refuses", "recovery (RTO)", "recovery after the healing",
        "sends not acknowledged",
    }  # fmt: skip
    if not any(mark.name == "not_whole" for mark in marks):
        goals.add("whole again")
    for check in checks:
        if check.name in goals and check.ok is False:
            check.ok = None


def _kept(ledger: Report, run: Run) -> list[Check]:
    """What the ledger alone proves."""
    found = []
    for name, count in ledger.broken():
        allowed = run.lost_max if name == "lost" else 0
        text = f"{count.count}" + (f" ({count.examples[0]})" if count.count else "")
        ok: bool | None = count.count <= allowed
        if name == "lost" and ok and ledger.verdict == "inconclusive":
            ok, text = None, f"{count.count}, and not everything could be judged"
        found.append(Check(name, f"at most {allowed}", text, ok))
    return found


def _state(folder: Folder, drill: Drill, fault: int | None) -> list[Check]:
    """What the marks and samples prove."""
    run, marks, samples = folder.run, folder.marks, folder.samples
    found = [_steady(folder, fault)]
    aborted = next((mark.text for mark in marks if mark.name == "aborted"), "")
    if aborted:
        found.append(Check("carried out", "to its end", f"aborted: {aborted}", ok=None))
    whole = fault is not None and first_mark(marks, "whole", fault) is not None
    left = next((mark.text for mark in marks if mark.name == "not_whole"), "it was not waited for")
    found.append(
        Check("whole again", "both copies count, all nameservers show it",
              "proved" if whole else left, ok=whole if fault is not None else None)
    )  # fmt: skip
    if drill.moved and fault is not None:
        owners = [s.who for s in samples if s.state == "owner" and s.who in run.replicas]
        now = owners[-1] if owners else "nobody"
        found.append(Check("the other took over", run.slave, now, ok=now == run.slave))
    if any(step.do == "refused" for step in drill.steps):
        refused = first_mark(marks, "refused") is not None
        text = "refused" if refused else "it was taken, or never asked"
        found.append(Check("the guard refuses", "refused", text, ok=refused))
    found += _writers(folder)
    return found


def _clients(folder: Folder, drill: Drill, fault: int | None) -> list[Check]:
    """Reads that must go on, and refusals that must name their cause, from fault to healing."""
    found = []
    healed = first_mark(folder.marks, "healed", fault or 0)
    if drill.reads and fault is not None and healed is not None:
        looks = [s for s in folder.samples if s.who == READER and fault <= s.at_ms < healed]
        wrong = Counter(s.state for s in looks if s.state != READ)
        text = f"{len(looks) - wrong.total()} went well" + _told(wrong)
        enough = len(looks) >= READS_MIN
        found.append(Check("reads go on", "all of them", text, ok=not wrong if enough else None))
    if drill.causes and fault is not None:
        causes = Counter(folder_causes(folder, fault, healed))
        wrong = Counter({cause: n for cause, n in causes.items() if cause not in drill.causes})
        wanted = " or ".join(sorted(drill.causes))
        found.append(
            Check("refused by name", wanted, _told(causes).strip(", ") or "no send was refused",
                  ok=not wrong if causes else None)
        )  # fmt: skip
    return found


def folder_causes(folder: Folder, fault: int, healed: int | None) -> list[str]:
    """Why sends that ended between fault and healing were not acknowledged."""
    return [
        outcome.cause or outcome.how
        for writer in folder.evidence.writers.values()
        for outcome in writer.outcomes.values()
        if outcome.how != "ok"
        and writer.wall_ms(outcome.t) >= fault
        and (healed is None or writer.wall_ms(outcome.t) < healed)
    ]


def _told(causes: Counter[str]) -> str:
    return "".join(f", {n} {cause}" for cause, n in causes.most_common())


def _writers(folder: Folder) -> list[Check]:
    """At most one replica acknowledges at any time."""
    both = two_owners(folder.run, folder.samples)
    differ = epochs_overlap(folder.run, folder.samples)
    seen = "; ".join(both) or "at most one at a time"
    known = not differ.startswith("not every")
    text = differ or "both stores tell one epoch for each byte"
    return [
        Check("owners seen", "at most one at a time", seen, ok=not both),
        Check("writers by epochs", "one for each byte", text, ok=not differ if known else None),
    ]


def _steady(folder: Folder, fault: int | None) -> Check:
    wanted = f"{STEADY_MIN} acknowledged sends, none else"
    if fault is None:
        return Check("steady before", wanted, "no fault was noted", ok=None)
    acks = failures = 0
    since = max(
        (m.at_ms for m in folder.marks if m.name == "steady" and m.at_ms < fault), default=0
    )
    for writer in folder.evidence.writers.values():
        for outcome in writer.outcomes.values():
            at = writer.wall_ms(outcome.t)
            if since <= at < fault:
                acks += outcome.how == "ok"
                failures += outcome.how != "ok"
    ok = True if acks >= STEADY_MIN and not failures else None
    return Check("steady before", wanted, f"{acks} acknowledged, {failures} not", ok)


def stood_still_s(marks: Sequence[Mark]) -> float:
    """For how long in all the observer's own machine had no time for it."""
    return sum(float(mark.text) for mark in marks if mark.name == "stood_still")


def _times(made: Outcome, drill: Drill, still_s: float, *, human: bool) -> list[Check]:
    """Recovery within its goals; without a fault there is nothing to measure.

    What is missed by an observer that stood still itself is not proved, in either direction.
    """
    found = _goals(made, drill, human=human)
    for check in found:
        if check.ok is False and still_s:
            check.ok = None
            check.found += f"; the observer itself stood still for {still_s:.1f} s"
    return found


def _goals(made: Outcome, drill: Drill, *, human: bool) -> list[Check]:
    """A person is timed and has no goal but to bring it back."""
    found, fault = [], made.moments[0].at_ms is not None
    goals = (
        (
            "recovery (RTO)",
            made.rto_s,
            PATIENCE_S if human and drill.rto_max_s else drill.rto_max_s,
        ),
        ("recovery after the healing", made.after_heal_s, drill.after_heal_max_s),
    )
    for name, took, most in goals:
        if most is not None:
            text = "sends never went well again" if took is None else f"{took:.3f} s"
            ok = took is not None and took <= most if fault else None
            found.append(Check(name, f"at most {most:g} s", text if fault else "no fault", ok))
    if drill.errors_max is not None:
        errors = made.ledger.failed + made.ledger.unknown
        ok = errors <= drill.errors_max if fault else None
        wanted = f"at most {drill.errors_max}"
        found.append(Check("sends not acknowledged", wanted, f"{errors}", ok))
    return found
