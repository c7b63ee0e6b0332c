"""A drill made by hand: the master killed at 20 s, the other promoted at 23 s, whole at 35 s.

Tests break one thing of it and look at the verdict.
"""

from dataclasses import dataclass, field

import msgspec

from broker_trio.model.pair import Epoch, Kept, Record, Status
from broker_trio.ops.drill.records import SILENT, Mark, Run, Sample
from broker_trio.ops.drill.verdict import Folder, Outcome, outcome_of
from tests.unit.ops.ledgers import WALL_MS, Drill, wall

FAULT_S, PROMOTED_S, HEALED_S, WHOLE_S, END_S = 20.0, 23.0, 28.0, 35.0, 45.0
RATE = 10
ONE, TWO = "broker-a/1", "broker-a/2"
ADDRESSES = {ONE: "127.0.0.1:10911", TWO: "127.0.0.1:10921"}
NAMESERVER = "127.0.0.1:9876"
A, B = "a" * 32, "b" * 32


def run_of(drill: str = "kill_master", **changes: object) -> Run:
    values: dict[str, object] = {
        "drill": drill, "run": "r1", "cluster": "c1", "pair": "broker-a", "where": "laptop",
        "begun_ms": WALL_MS, "topic": "orders", "nameservers": [NAMESERVER],
        "replicas": ADDRESSES, "master": ONE, "slave": TWO, "mode": "sync",
        "flush": "SYNC_FLUSH", "versions": {ONE: "1"}, "config": {ONE: "abc"},
        "rate": float(RATE), "timeout_s": 2.0, "steady_s": 10.0,
    }  # fmt: skip
    return Run(**(values | changes))  # type: ignore[arg-type]


def status_of(number: int, state: str, end: int = 1_000, members: int = 2) -> Status:
    """What a replica says before a drill; replica 1 owns."""
    record = Record(
        epoch=Epoch(1, A), members=(A, B)[:members], min=members, floor=Epoch(0, ""),
        prev=Epoch(0, ""), start=0,
    )  # fmt: skip
    kept = Kept(store_id=A if number == 1 else B, settled=record, promised=record.epoch)
    return Status(
        broker_name="broker-a", kept=kept, replica_id=number, state=state, log_end=end,
        address=ADDRESSES[f"broker-a/{number}"],
    )  # fmt: skip


@dataclass
class Made:
    """A folder of a drill that passes, until something of it is changed."""

    run: Run = field(default_factory=run_of)
    outage: tuple[float, float] = (FAULT_S, PROMOTED_S + 0.2)  # sends that end in it fail
    how: str = "fail"
    cause: str = ""
    marks: list[Mark] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    ledger: Drill = field(default_factory=lambda: Drill(writer_ended=False))
    unread: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        moments = (
            (10.0, "steady"), (FAULT_S, "fault"), (FAULT_S + 0.1, "decided"),
            (PROMOTED_S, "promoted"), (HEALED_S, "healed"), (WHOLE_S, "whole"),
        )  # fmt: skip
        self.marks = self.marks or [Mark(at_ms=wall(at), name=name) for at, name in moments]
        self.samples = self.samples or every_word()

    def folder(self) -> Folder:
        offset = 0
        for n in range(1, int(END_S * RATE)):
            at = n / RATE
            self.ledger.attempt(n, at)
            if self.outage[0] <= at + 0.01 < self.outage[1]:
                self.ledger.ends(n, self.how, at=at + 0.01, cause=self.cause)  # type: ignore[arg-type]
                continue
            self.ledger.ends(n, "ok", 0, offset, at=at + 0.01)
            if n not in self.unread:
                self.ledger.lies(n, 0, offset)
            offset += 1
        self.ledger.read_queue(0, offset)
        return Folder(self.run, self.marks, self.samples, self.ledger.evidence())

    def outcome(self) -> Outcome:
        return outcome_of(self.folder())


def every_word() -> list[Sample]:
    """Four words a second of each, as the story goes."""
    found = []
    for tick in range(int(END_S * 4)):
        at = tick / 4
        found += [one_at(at), two_at(at), nameserver_at(at)]
    found[-3] = changed(found[-3], epochs=[(1, 0), (3, 500)])
    found[-2] = changed(found[-2], epochs=[(1, 0), (3, 500)])
    return found


def changed(sample: Sample, **values: object) -> Sample:
    return msgspec.structs.replace(sample, **values)


def one_at(at: float) -> Sample:
    told = {"at_ms": wall(at), "who": ONE, "end": int(at * 100), "members": 2, "lease_ms": 100}
    if at < FAULT_S:
        return Sample(state="owner", epoch=1, **told)  # type: ignore[arg-type]
    if at < HEALED_S:
        return Sample(at_ms=wall(at), who=ONE, state=SILENT)
    return Sample(state="slave", epoch=3, **told)  # type: ignore[arg-type]


def two_at(at: float) -> Sample:
    members = 2 if at < FAULT_S or at >= WHOLE_S - 1 else 1
    state = "slave" if at < PROMOTED_S else "owner"
    return Sample(
        at_ms=wall(at), who=TWO, state=state, epoch=1 if at < PROMOTED_S else 3,
        end=int(at * 100), members=members, lease_ms=100,
    )  # fmt: skip


def nameserver_at(at: float) -> Sample:
    shows = ADDRESSES[ONE] if at < FAULT_S else "" if at < PROMOTED_S + 0.1 else ADDRESSES[TWO]
    return Sample(at_ms=wall(at), who=NAMESERVER, state="up", shows=shows)
