"""What recovery decides, apart from what it does: facts in, a plan out, nothing touched.

    facts ──▶ begin_at ──▶ (scan) ──▶ make_plan ──▶ Plan | StoreCorrupt

Where reading begins (`begin_at`):

    watermarks hold             at the lowest of them: everything before was on disk in every file
    no watermarks, a checkpoint the newest segment whose first record is 63 s older than Apache's
                                timestamps claim (checkpoint.py), the oldest where none is
    neither                     at the oldest segment

Where the log ends is where the scan ended, P. What lies behind P is cut off after an unclean stop:
it was never acknowledged as durable. Unless it was. Each of these says that messages are missing
which had reached the disk, so the plan is `StoreCorrupt`, and only `accept_damage` cuts there:

    P lies before `log_flushed` of the watermarks
    without watermarks: a record behind P is no newer than the checkpoint's physicMsgTimestamp, or
        all records before P are older than that
    without watermarks and checkpoint: there is a record behind P at all
"""

from typing import NamedTuple

from broker_trio.store.checkpoint import Checkpoint
from broker_trio.store.scan import Scan
from broker_trio.store.watermarks import Watermarks
from broker_trio.wire.record import RecordInfo


class FirstRecord(NamedTuple):
    """Where a segment begins, and when its first record was stored; None if it has none."""

    base: int
    store_timestamp_ms: int | None


class Facts(NamedTuple):
    """What the files say before anything of the log was read."""

    clean: bool
    marks: Watermarks | None  # only with an anchor that the log still has
    checkpoint: Checkpoint | None
    segments: tuple[FirstRecord, ...]
    missing_from: int | None  # where a segment's bytes are not there at all

    @property
    def min_offset(self) -> int:
        return self.segments[0].base if self.segments else 0


class Begin(NamedTuple):
    """Where to read from, and up to where each kind of derived file can be trusted."""

    scan_from: int
    queues_from: int
    index_from: int
    doubt_from: int  # records at or after it may be half written
    reason: str


def begin_at(facts: Facts) -> Begin:
    """Where the scan begins."""
    lowest = facts.min_offset
    marks = facts.marks
    if marks is not None:
        return Begin(
            scan_from=max(lowest, marks.lowest),
            queues_from=max(lowest, marks.queues_durable),
            index_from=max(lowest, marks.indexed_durable),
            doubt_from=marks.log_flushed,
            reason="watermarks",
        )
    begin, reason = lowest, "no watermarks and no checkpoint"
    if facts.checkpoint is not None:
        reason = "checkpoint"
        limit = facts.checkpoint.scan_from_ms
        for segment in facts.segments:
            stored = segment.store_timestamp_ms
            if stored and stored <= limit:
                begin = segment.base
    doubt_from = begin if not facts.clean else 1 << 62
    return Begin(begin, begin, begin, doubt_from, reason)


class Plan(NamedTuple):
    """What is to be done to the log; what a person reads when it was not all well."""

    end: int  # the log ends here
    cut: bool  # whatever lies behind is removed
    rewrite_from: int  # [rewrite_from, end) is written again and fsynced; = end for nothing
    lost: str  # damage that was accepted, or ""
    reason: str

    def __str__(self) -> str:
        parts = [f"log ends at {self.end} ({self.reason})"]
        if self.rewrite_from < self.end:
            parts.append(f"write {self.end - self.rewrite_from} bytes again")
        if self.cut:
            parts.append("cut what lies behind")
        if self.lost:
            parts.append(f"ACCEPTED DAMAGE: {self.lost}")
        return "; ".join(parts)


def make_plan(facts: Facts, begin: Begin, scan: Scan, later: RecordInfo | None) -> Plan:
    """The plan; `lost` is not empty where it must not be carried out unasked."""
    reason = "its segments are full" if scan.stop is None else str(scan.stop)
    if not facts.segments:
        reason = "there is none yet"
    end = scan.end
    if facts.missing_from is not None and facts.missing_from < begin.scan_from:
        end = facts.missing_from
    behind = bool(facts.segments) and facts.segments[-1].base > end
    return Plan(
        end=end,
        cut=not facts.clean or not scan.ends_in_zeros or facts.missing_from is not None or behind,
        rewrite_from=end if facts.clean else max(facts.min_offset, min(begin.doubt_from, end)),
        lost=_lost(facts, scan, end, later),
        reason=reason,
    )


def _lost(facts: Facts, scan: Scan, end: int, later: RecordInfo | None) -> str:
    """What was on disk once and is not there now, in words; empty for nothing."""
    behind = "" if later is None else f", a good record follows at {later.physical_offset}"
    if facts.marks is not None:
        durable = facts.marks.log_flushed
        return f"the log was on disk up to {durable}{behind}" if end < durable else ""
    if facts.checkpoint is not None and facts.checkpoint.log_ms:
        durable_ms = facts.checkpoint.log_ms
        if later is not None and later.store_timestamp_ms <= durable_ms:
            return f"records stored up to {durable_ms} ms were on disk{behind}"
        if scan.newest_ms < durable_ms:
            return (
                f"records stored up to {durable_ms} ms were on disk, the newest here is of "
                f"{scan.newest_ms} ms{behind}"
            )
        return ""
    return f"nothing says what was on disk{behind}" if later is not None else ""
