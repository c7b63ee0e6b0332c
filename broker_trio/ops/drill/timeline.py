"""The nine moments of a drill, from its marks, its samples and its ledger. Pure.

    T0 fault       something was broken            T5 served     sends go well again, and stay so
    T1 noticed     the first send that failed      T6 healed     the fault was undone
    T2 decided     somebody began to act           T7 back       who was silent answers again
    T3 owned       a replica owns                  T8 caught up  both copies count, everywhere seen
    T4 routed      every nameserver that answers shows it

T5 is the first acknowledgement from T1 on that five quiet seconds follow; where no send failed it
is T0. Not every drill has all of them: nobody decides anything when a nameserver is lost. T3 and T4
are told where another replica took over.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from broker_trio.ops.drill.records import SILENT, Mark, Run, Sample
from broker_trio.ops.ledger.evidence import Evidence, Writer
from broker_trio.ops.ledger.gaps import acknowledged, recovery_of

HEALING_MS: Final = 10_000  # healing takes no longer
LEADING: Final = frozenset({"owner", "owner, paused"})
NAMES: Final = (
    "fault", "noticed", "decided", "owned", "routed", "served", "healed", "back", "caught up",
)  # fmt: skip


class Moment(NamedTuple):
    """T`number`, what it is called, and when it was; None: it did not come, or does not apply."""

    number: int
    name: str
    at_ms: int | None

    @property
    def label(self) -> str:
        return f"T{self.number}"


def timeline(
    run: Run, marks: Sequence[Mark], samples: Sequence[Sample], evidence: Evidence
) -> list[Moment]:
    """All nine, in their order."""
    fault = fault_ms(marks)
    moments: list[int | None] = [None] * len(NAMES)
    if fault is not None:
        new = _owner_after(run, samples, fault)
        healed = first_mark(marks, "healed", fault)
        noticed = _noticed(evidence.writers.values(), fault)
        moments = [
            fault,
            noticed,
            first_mark(marks, "decided", fault),
            new.at_ms if new else None,
            _routed(run, samples, new),
            fault if noticed is None else served_ms(evidence, noticed),
            healed,
            _back(samples, fault, healed),
            _last_mark(marks, "whole", healed),
        ]
    return [Moment(number, name, at) for number, (name, at) in enumerate(zip(NAMES, moments))]  # noqa: B905


def fault_ms(marks: Sequence[Mark]) -> int | None:
    """When the first fault came: as noted before it was done, or by the word of the host that was
    hit, if its clock can be right."""
    noted = first_mark(marks, "fault")
    hit = next((mark for mark in marks if mark.name == "hit"), None)
    if noted is not None and hit is not None and noted <= hit.by_host_ms <= hit.at_ms:
        return hit.by_host_ms
    return noted


def first_mark(marks: Iterable[Mark], name: str, since_ms: int = 0) -> int | None:
    """When the game master first noted this."""
    return next((m.at_ms for m in marks if m.name == name and m.at_ms >= since_ms), None)


def _last_mark(marks: Iterable[Mark], name: str, since_ms: int | None) -> int | None:
    found = [m.at_ms for m in marks if m.name == name and m.at_ms >= (since_ms or 0)]
    return found[-1] if found and since_ms is not None else None


def _noticed(writers: Iterable[Writer], fault: int) -> int | None:
    """The first send that was under way at the fault or began after it, and went wrong."""
    times = [
        writer.wall_ms(outcome.t)
        for writer in writers
        for outcome in writer.outcomes.values()
        if outcome.how != "ok" and writer.wall_ms(outcome.t) >= fault
    ]
    return min(times, default=None)


def served_ms(evidence: Evidence, since_ms: int) -> int | None:
    """The first acknowledgement that five quiet seconds follow, of the writer that waited longest.

    None: sends did not go well again, or nobody sent.
    """
    times = []
    for writer in evidence.writers.values():
        found = recovery_of(writer, since_ms)
        if found.seconds is None:
            return None
        times.append(since_ms + round(found.seconds * 1_000))
    return max(times, default=None)


def longest_gap_s(evidence: Evidence, since_ms: int) -> float:
    """The longest time without an acknowledgement from there on, as any writer saw it."""
    longest = 0.0
    for writer in evidence.writers.values():
        before = writer.at(since_ms)
        acks = [outcome.t for outcome in acknowledged(writer)]
        inside = [t for t in acks if t >= before]
        last = max((t for t in acks if t < before), default=writer.heading.t)
        for t in [*inside, writer.ends_at()]:
            longest, last = max(longest, t - last), t
    return longest


def _owner_after(run: Run, samples: Sequence[Sample], fault: int) -> Sample | None:
    """The first word of a replica that it owns, and is not who owned before."""
    return next(
        (s for s in samples if s.at_ms >= fault and s.who in run.replicas
         and s.who != run.master and s.state in LEADING),
        None,
    )  # fmt: skip


def _routed(run: Run, samples: Sequence[Sample], new: Sample | None) -> int | None:
    """Since when every nameserver that answers shows the new owner."""
    if new is None:
        return None
    address, since = run.replicas[new.who], dict[str, int]()
    for sample in samples:
        nameserver = sample.who not in run.replicas
        if nameserver and sample.at_ms >= new.at_ms - 1_000 and sample.shows == address:
            since.setdefault(sample.who, max(sample.at_ms, new.at_ms))
    return max(since.values(), default=None)


def _back(samples: Sequence[Sample], fault: int, healed: int | None) -> int | None:
    """When the last of those that were silent until the healing answered again.

    The healing is noted when it is done: they may have answered a little earlier.
    """
    if healed is None:
        return None
    silent = {s.who: s.at_ms for s in samples if s.state == SILENT and fault <= s.at_ms < healed}
    found = []
    for who, last in silent.items():
        if last < healed - HEALING_MS:
            continue  # it was back long before
        later = (s for s in samples if s.who == who and s.at_ms > last)
        told = next((s.at_ms for s in later if s.state != SILENT), None)
        if told is None:
            return None
        found.append(told)
    return max(found, default=None)


def two_owners(run: Run, samples: Sequence[Sample], within_ms: int = 400) -> list[str]:
    """Moments when two replicas said that they own with a lease, in the same breath.

    Samples of different replicas are not taken at one instant; a handover inside `within_ms` is
    none of these. The proof is `epochs_overlap`; this is what a person would have seen.
    """
    owns: dict[str, Sample] = {}
    found = []
    for sample in samples:
        if sample.who not in run.replicas:
            continue
        if sample.state not in LEADING or not sample.lease_ms:
            owns.pop(sample.who, None)
            continue
        since = owns.setdefault(sample.who, sample)
        for who, other in owns.items():
            if (
                who != sample.who
                and min(sample.at_ms - since.at_ms, sample.at_ms - other.at_ms) > within_ms
            ):
                found.append(f"{who} in epoch {other.epoch} and {sample.who} in {sample.epoch}")
    return list(dict.fromkeys(found))


def epochs_overlap(run: Run, samples: Sequence[Sample]) -> str:
    """Whether both stores agree, at the end, under which epoch each byte was written.

    Empty: they do, so each place of the log has one writer. Else what differs. Lines below the
    older one's first are not compared: lists are cut at their beginning.
    """
    last: dict[str, Sample] = {}
    for sample in samples:
        if sample.who in run.replicas and sample.epochs:
            last[sample.who] = sample
    if len(last) < 2:
        return "not every replica told its epochs"
    one, other = (dict(last[who].epochs) for who in sorted(last)[:2])
    common = sorted(set(one) | set(other))
    first = max(min(one), min(other))
    wrong = [c for c in common if c >= first and one.get(c) != other.get(c)]
    end = min(sample.end for sample in last.values())
    wrong = [c for c in wrong if min(one.get(c, end), other.get(c, end)) < end]
    return f"epochs {', '.join(map(str, wrong))} begin elsewhere in the two stores" if wrong else ""
