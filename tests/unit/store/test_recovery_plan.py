"""The plan of a recovery as a table: where to read from, where to end, and when to refuse."""

import msgspec
import pytest

from broker_trio.store.checkpoint import APACHE_MARGIN_MS, Checkpoint
from broker_trio.store.recovery_plan import Begin, Facts, FirstRecord, begin_at, make_plan
from broker_trio.store.scan import Scan
from broker_trio.store.watermarks import Watermarks
from broker_trio.wire.record import Damage, Flaw, RecordInfo

GIB = 1 << 30
NOW = 1_700_000_000_000
MARKS = Watermarks(log_flushed=5000, queues_durable=4000, indexed_durable=3000)
ZEROS = Damage(Flaw.EMPTY, "zeros")
ROTTEN = Damage(Flaw.BODY_CRC, "1, stored is 2")


def facts(**changes: object) -> Facts:
    """Three segments, stopped uncleanly, nothing missing."""
    segments = tuple(FirstRecord(n * GIB, NOW + n * 100_000) for n in range(3))
    return Facts(False, None, None, segments, None)._replace(**changes)  # type: ignore[arg-type]


def scanned(end: int, stop: Damage = ZEROS, newest_ms: int = NOW) -> Scan:
    return Scan(0, end, 10, None, newest_ms, stop)


def record(physical_offset: int, stored_ms: int) -> RecordInfo:
    return RecordInfo("T", 0, 0, physical_offset, 100, 0, stored_ms, 0, b"")


def test_reading_begins_at_the_lowest_mark() -> None:
    """With watermarks each kind of file is trusted up to its own, and the log up to log_flushed."""
    assert begin_at(facts(marks=MARKS)) == Begin(3000, 4000, 3000, 5000, "watermarks")


def test_marks_below_the_log_are_raised_to_it() -> None:
    """What retention deleted is not read again."""
    segments = (FirstRecord(4096, NOW),)
    begin = begin_at(facts(marks=MARKS, segments=segments))
    assert (begin.scan_from, begin.queues_from, begin.index_from) == (4096, 4096, 4096)


@pytest.mark.parametrize(
    ("age_ms", "begin"),
    [(0, 0), (APACHE_MARGIN_MS, 0), (100_000 + APACHE_MARGIN_MS, GIB), (10**9, 2 * GIB)],
)
def test_without_marks_the_checkpoint_chooses(age_ms: int, begin: int) -> None:
    """The newest segment that began 63 s before Apache's smaller timestamp, the oldest if none."""
    checkpoint = Checkpoint(NOW + age_ms, NOW + age_ms + 5, 0)
    found = begin_at(facts(checkpoint=checkpoint))
    assert (found.scan_from, found.queues_from, found.index_from) == (begin, begin, begin)
    assert found.doubt_from == begin
    assert begin_at(facts(checkpoint=checkpoint, clean=True)).doubt_from > 1 << 60


def test_without_anything_all_is_read() -> None:
    """No watermarks and no checkpoint: the whole log."""
    assert begin_at(facts()).scan_from == 0


@pytest.mark.parametrize(
    ("known", "end", "stop", "newest_ms", "later", "lost"),
    [
        # Watermarks: what matters is whether the log still reaches them.
        ({"marks": MARKS}, 5000, ZEROS, NOW, None, ""),
        ({"marks": MARKS}, 6000, ROTTEN, NOW, record(7000, NOW), ""),
        ({"marks": MARKS}, 4999, ROTTEN, NOW, None, "on disk up to 5000"),
        ({"marks": MARKS}, 4000, ZEROS, NOW, record(4500, NOW), "follows at 4500"),
        # A checkpoint: records that it covers must be there.
        ({"checkpoint": Checkpoint(NOW)}, 6000, ROTTEN, NOW, record(7000, NOW + 1), ""),
        ({"checkpoint": Checkpoint(NOW)}, 6000, ROTTEN, NOW, record(7000, NOW), "were on disk"),
        ({"checkpoint": Checkpoint(NOW)}, 6000, ZEROS, NOW - 1, None, "the newest here is of"),
        ({"checkpoint": Checkpoint(0)}, 6000, ZEROS, 0, None, ""),
        # Nothing: only a hole in the log is suspicious.
        ({}, 6000, ROTTEN, NOW, None, ""),
        ({}, 6000, ROTTEN, NOW, record(7000, NOW), "nothing says what was on disk"),
    ],
)
def test_only_what_was_never_durable_is_cut(
    known: dict[str, object],
    end: int,
    stop: Damage,
    newest_ms: int,
    later: RecordInfo | None,
    lost: str,
) -> None:
    """A tail may be cut silently only if nothing says that it had been on disk."""
    given = facts(**known)
    plan = make_plan(given, begin_at(given), scanned(end, stop, newest_ms), later)
    assert plan.end == end
    assert plan.cut
    assert (lost in plan.lost) if lost else plan.lost == ""


def test_a_missing_segment_below_the_scan_ends_the_log_there() -> None:
    """The log cannot go on behind bytes that are not there, even where the scan began later."""
    given = facts(marks=MARKS, missing_from=1000)
    plan = make_plan(given, begin_at(given), scanned(5000), None)
    assert plan.end == 1000
    assert "on disk up to 5000" in plan.lost


def test_after_a_clean_stop_nothing_is_touched() -> None:
    """Zeros behind the end and an unused next segment are as they should be."""
    segments = (FirstRecord(0, NOW), FirstRecord(GIB, None))
    given = facts(
        clean=True, marks=msgspec.structs.replace(MARKS, queues_durable=5000), segments=segments
    )
    plan = make_plan(given, begin_at(given), scanned(5000), None)
    assert (plan.cut, plan.rewrite_from, plan.lost) == (True, 5000, "")
    only = given._replace(segments=segments[:1])
    assert not make_plan(only, begin_at(only), scanned(5000), None).cut


def test_the_tail_behind_the_mark_is_written_again() -> None:
    """After an unclean stop what was read may be in the page cache only."""
    given = facts(marks=MARKS)
    plan = make_plan(given, begin_at(given), scanned(7000), None)
    assert plan.rewrite_from == 5000


def test_a_plan_prints_well() -> None:
    """An operator reads what was found and what is done about it."""
    given = facts(marks=MARKS)
    plan = make_plan(given, begin_at(given), scanned(4900, ROTTEN), record(4950, NOW))
    assert str(plan) == (
        "log ends at 4900 (body checksum: 1, stored is 2); cut what lies behind; ACCEPTED DAMAGE: "
        "the log was on disk up to 5000, a good record follows at 4950"
    )
