"""What a judgement is asked for and what it says: demands in, a report with all its numbers out.

    Demands   what must hold beside the promises: messages that may be lost, the longest gap, …
    Report    counts, examples in words, gaps, and the verdict

Both are plain data: the command line prints them, drills compare them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from broker_trio.ops.ledger.gaps import QUIET_S, Gap, Recovery

EXAMPLES_MAX: Final = 20

Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Demands:
    """What must hold beside the promises. `fault_wall_ms`: when the drill broke something."""

    lost_max: int = 0
    rto_max_s: float | None = None
    gap_s: float = 1.0
    fault_wall_ms: int | None = None
    quiet_s: float = QUIET_S


@dataclass(slots=True)
class Count:
    """How many of one kind, and the first few of them in words."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(text)


@dataclass(slots=True)
class Report:
    """The verdict with all its numbers; the members are what `ledger check --json` prints."""

    verdict: Verdict = "inconclusive"
    reasons: list[str] = field(default_factory=list)
    writers: int = 0
    attempts: int = 0
    acknowledged: int = 0
    failed: int = 0
    unknown: int = 0
    unknown_stored: int = 0
    read_back: int = 0
    foreign: int = 0
    other_writers: int = 0  # messages of runs whose ledgers were not given
    repeated: int = 0  # stored twice because the client sent them twice: allowed
    lost: Count = field(default_factory=Count)
    duplicated: Count = field(default_factory=Count)
    phantom: Count = field(default_factory=Count)
    out_of_order: Count = field(default_factory=Count)
    damaged: Count = field(default_factory=Count)
    refused_but_stored: Count = field(default_factory=Count)
    misplaced: Count = field(default_factory=Count)
    conflicts: Count = field(default_factory=Count)
    not_judged: Count = field(default_factory=Count)
    rpo_messages: int = 0
    rpo_s: float = 0.0  # between the first and the last acknowledgement that was lost
    rto_s: float | None = None  # the longest gap that any writer saw; None: nothing was sent
    rto_by_broker: dict[str, float] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    durability: dict[str, int] = field(default_factory=dict)
    causes: dict[str, int] = field(default_factory=dict)  # of sends that were not acknowledged
    notes: list[str] = field(default_factory=list)

    def broken(self) -> Iterator[tuple[str, Count]]:
        """Each promise by its name, with what broke it."""
        yield "lost", self.lost
        yield "duplicated", self.duplicated
        yield "never sent", self.phantom
        yield "out of order", self.out_of_order
        yield "damaged", self.damaged
        yield "stored though refused", self.refused_but_stored
        yield "not where the receipt says", self.misplaced
        yield "two messages at one offset", self.conflicts
