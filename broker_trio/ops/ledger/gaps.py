"""When nobody was served: the gaps between acknowledged sends, as the writers' own clocks saw them.

    ack ack ack │············ 4.2 s ·············│ ack ack ack
                the last before                  the first after          a gap

The longest gap is the recovery time as a client saw it (RTO). It is measured on each writer's
monotonic clock, so that no step of a wall clock makes or hides one; of several writers the longest
counts. A gap may be open: before the first acknowledgement, or after the last one. Messages that
are sent at a slow rate are apart by nature, so that a gap is told of only when it is longer than
three turns of the rate.
"""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from broker_trio.ops.ledger.evidence import Writer
from broker_trio.ops.ledger.records import Outcome

TURNS: Final = 3.0
QUIET_S: Final = 5.0  # recovered means: and so long without a failure


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without an acknowledgement. `broker` empty: at none; else not at this one."""

    writer: str
    from_wall_ms: int
    seconds: float
    failed: int  # sends that ended in it without being acknowledged
    causes: dict[str, int]
    open: bool = False  # it has no acknowledgement on one side
    broker: str = ""


def acknowledged(writer: Writer) -> list[Outcome]:
    """What was acknowledged, in the order of time."""
    found = [outcome for outcome in writer.outcomes.values() if outcome.how == "ok"]
    return sorted(found, key=lambda outcome: outcome.t)


def gaps_of(writer: Writer, broker: str = "") -> list[Gap]:
    """Every gap, however short, longest first. With `broker`: as if there were only that one."""
    acks = [o.t for o in acknowledged(writer) if broker in {"", o.broker}]
    begins = min((attempt.t for attempt in writer.attempts.values()), default=writer.heading.t)
    ends = max(writer.ends_at(), begins)
    edges = [begins, *acks, ends]
    failures = sorted((o.t, o) for o in writer.outcomes.values() if o.how != "ok")
    found, at = [], 0
    for number, (low, high) in enumerate(pairwise(edges)):
        causes: dict[str, int] = {}
        while at < len(failures) and failures[at][0] <= high:
            cause = failures[at][1].cause or failures[at][1].how
            causes[cause] = causes.get(cause, 0) + 1
            at += 1
        is_open = number in {0, len(edges) - 2}
        found.append(
            Gap(
                writer.heading.writer, writer.wall_ms(low), high - low, sum(causes.values()),
                causes, is_open, broker,
            )
        )  # fmt: skip
    return sorted(found, key=lambda gap: -gap.seconds)


def told(gaps: list[Gap], writer: Writer, at_least_s: float) -> list[Gap]:
    """Those worth telling of."""
    rate = writer.heading.rate
    limit = max(at_least_s, TURNS / rate if rate else 0.0)
    return [gap for gap in gaps if gap.seconds >= limit]


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long after a fault sends went well again; None: they did not, while this writer ran."""

    writer: str
    seconds: float | None
    broker: str = ""


def recovery_of(writer: Writer, fault_wall_ms: int, quiet_s: float = QUIET_S) -> Recovery:
    """From the fault to the first acknowledgement that `quiet_s` without a failure follow."""
    fault = writer.at(fault_wall_ms)
    failures = sorted(o.t for o in writer.outcomes.values() if o.how != "ok")
    for ack in acknowledged(writer):
        if ack.t < fault:
            continue
        following = bisect_left(failures, ack.t)
        if following == len(failures) or failures[following] >= ack.t + quiet_s:
            return Recovery(writer.heading.writer, ack.t - fault, ack.broker)
    return Recovery(writer.heading.writer, None)
