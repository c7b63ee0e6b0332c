"""The judge: a sound drill passes, and each broken promise is found, named and counted alone."""

import pytest

from broker_trio.ops.ledger.judge import judge
from broker_trio.ops.ledger.records import Ended, Found, Outcome, QueueRead, Reading
from broker_trio.ops.ledger.report import Demands, Report

from .ledgers import W1, W2, Drill, evidence_of, sound, wall


def broken(report: Report) -> dict[str, int]:
    """What was found, by name; nothing else was."""
    return {name: found.count for name, found in report.broken() if found.count}


def test_a_sound_drill_passes() -> None:
    """Everything acknowledged and everything there."""
    report = sound().report()
    assert (report.verdict, report.reasons, broken(report)) == ("pass", [], {})
    assert (report.attempts, report.acknowledged, report.read_back) == (8, 8, 8)
    assert report.rpo_messages == 0


def test_an_acknowledged_message_that_is_not_there_is_lost() -> None:
    """It fails, names the message and where it was, and tells the span that is gone."""
    drill = sound()
    for n, queue, offset in ((9, 0, 4), (12, 0, 5)):
        drill.attempt(n)
        drill.ends(n, "ok", queue, offset)
    drill.read_queue(0, 4)
    report = drill.report()
    assert (report.verdict, broken(report)) == ("fail", {"lost": 2})
    assert report.reasons == ["2 lost"]
    assert report.lost.examples[0] == f"{W1} #9, acknowledged at orders broker-a/0@4"
    assert (report.rpo_messages, report.rpo_s) == (2, 3.0)


def test_a_hole_in_the_middle_is_a_loss() -> None:
    """A queue that was read to its end and does not have it."""
    drill = sound()
    del drill.found[2]
    report = drill.report()
    assert (report.verdict, broken(report)) == ("fail", {"lost": 1})


def test_losses_may_be_allowed_up_to_a_number() -> None:
    """Asynchronous replication loses a stated number at most."""
    drill = sound()
    del drill.found[2:4]
    assert drill.report(Demands(lost_max=2)).verdict == "pass"
    report = drill.report(Demands(lost_max=1))
    assert (report.verdict, report.reasons) == ("fail", ["2 lost, allowed 1"])


def test_a_message_in_two_places_is_duplicated() -> None:
    """Each attempt is stored once at most."""
    drill = sound()
    drill.lies(3, 1, 4)
    drill.read_queue(1, 5)
    report = drill.report()
    assert (report.verdict, broken(report)) == ("fail", {"duplicated": 1})
    assert report.duplicated.examples == [
        f"{W1} #3 lies at orders broker-a/0@1, orders broker-a/1@4"
    ]


def test_a_message_that_the_client_sent_twice_may_be_there_twice() -> None:
    """That is what the client was told it may do; it is counted apart."""
    drill = sound()
    drill.resend = True
    drill.attempt(9)
    drill.ends(9, "ok", 0, 4, tries=2)
    drill.lies(9, 0, 4)
    drill.lies(9, 1, 4)
    for queue in (0, 1):
        drill.read_queue(queue, 5)
    report = drill.report()
    assert (report.verdict, report.repeated) == ("pass", 1)
    drill.lies(3, 1, 5)  # but this one was sent once
    assert broken(drill.report()) == {"duplicated": 1}


def test_a_message_that_nobody_sent_is_a_phantom() -> None:
    """Its writer's ledger was given, and knows no such number."""
    drill = sound()
    drill.lies(99, 0, 4)
    drill.read_queue(0, 5)
    report = drill.report()
    assert (report.verdict, broken(report)) == ("fail", {"never sent": 1})


def test_messages_of_other_runs_are_counted_only() -> None:
    """Whose ledger was not given cannot be judged, and does not disturb."""
    drill = sound()
    drill.found.append(Found(broker="broker-a", queue=0, offset=4, writer=W2, n=1))
    drill.read_queue(0, 5)
    report = drill.report()
    assert (report.verdict, report.other_writers) == ("pass", 1)


def test_a_message_behind_one_that_was_sent_later_is_out_of_order() -> None:
    """1 was acknowledged before 2 was sent, and lies behind it."""
    drill = Drill()
    drill.stored(1, 0, 1)
    drill.stored(2, 0, 0)
    drill.read_queue(0, 2)
    report = drill.report()
    assert (report.verdict, broken(report)) == ("fail", {"out of order": 1})
    assert report.out_of_order.examples == [
        f"{W1} #1 at orders broker-a/0@1 lies behind #2, sent 0.500 s after it was acknowledged"
    ]


def test_messages_in_flight_together_have_no_order() -> None:
    """2 was sent before 1 was acknowledged: either may be first."""
    drill = Drill()
    drill.attempt(1, at=1.0)
    drill.attempt(2, at=1.1)
    drill.ends(2, "ok", 0, 0, at=1.2)
    drill.ends(1, "ok", 0, 1, at=1.3)
    drill.lies(1, 0, 1)
    drill.lies(2, 0, 0)
    drill.read_queue(0, 2)
    assert drill.report().verdict == "pass"


def test_a_late_message_of_unknown_outcome_may_lie_anywhere() -> None:
    """Its answer never came: it may have waited in the broker as long as it liked."""
    drill = Drill()
    drill.attempt(1)
    drill.ends(1, "unknown")
    drill.stored(2, 0, 0)
    drill.lies(1, 0, 1)
    drill.read_queue(0, 2)
    report = drill.report()
    assert (report.verdict, report.unknown, report.unknown_stored) == ("pass", 1, 1)


@pytest.mark.parametrize("there", [True, False])
def test_an_unknown_outcome_is_never_a_fault(*, there: bool) -> None:
    """Stored or not: both are counted apart, an attempt without any outcome among them."""
    drill = sound()
    drill.attempt(9)
    drill.ends(9, "unknown")
    drill.attempt(10)
    if there:
        drill.lies(9, 0, 4)
        drill.lies(10, 0, 5)
        drill.read_queue(0, 6)
    report = drill.report()
    assert (report.verdict, report.unknown, report.unknown_stored) == ("pass", 2, 2 * there)
    assert report.causes == {"unknown": 1, "the writer ended first": 1}


def test_a_refused_message_must_not_be_there() -> None:
    """A refusal says that it is not stored."""
    drill = sound()
    drill.attempt(9)
    drill.ends(9, "fail")
    assert drill.report().verdict == "pass"
    drill.lies(9, 0, 4)
    drill.read_queue(0, 5)
    report = drill.report()
    assert (report.verdict, broken(report)) == ("fail", {"stored though refused": 1})


def test_changed_bytes_are_damage() -> None:
    """Damage fails the drill, whosever message it was."""
    drill = sound()
    drill.damaged(0, 4)
    drill.read_queue(0, 5)
    report = drill.report()
    assert (report.verdict, broken(report)) == ("fail", {"damaged": 1})
    assert report.damaged.examples == ["orders broker-a/0@4: torn"]


def test_a_message_that_is_not_where_its_receipt_says_is_misplaced() -> None:
    """It is not lost; but the receipt was wrong."""
    drill = sound()
    drill.attempt(9)
    drill.ends(9, "ok", 0, 7)
    drill.lies(9, 0, 4)
    drill.read_queue(0, 5)
    report = drill.report()
    assert (report.verdict, broken(report)) == ("fail", {"not where the receipt says": 1})


def test_two_receipts_for_one_place_are_a_conflict() -> None:
    """Two masters gave away the same offset: one of the two is lost as well."""
    drill = sound()
    drill.attempt(9)
    drill.ends(9, "ok", 0, 0)
    report = drill.report()
    assert (report.verdict, broken(report)) == (
        "fail", {"lost": 1, "two messages at one offset": 1}
    )  # fmt: skip


def test_two_readings_that_differ_are_a_conflict() -> None:
    """The same offset is the same message for every reader for ever."""
    drill = sound()
    before = drill.reading("r0", at=500.0)
    swapped = [
        Found(broker="broker-a", queue=0, offset=0, writer=W1, n=9) if n == 1 else record
        for n, record in enumerate(before)
    ]
    report = judge(evidence_of(drill.writing(), swapped, drill.reading()))
    assert broken(report) == {"two messages at one offset": 1}


def test_a_queue_that_was_not_read_to_its_end_proves_nothing() -> None:
    """The verdict is open, and says which queue."""
    drill = sound()
    del drill.found[2]
    drill.read_queue(0, 4, complete=False)
    report = drill.report()
    assert (report.verdict, broken(report), report.not_judged.count) == ("inconclusive", {}, 1)
    assert report.reasons[0].startswith("queue orders broker-a/0 was not read to its end")


def test_a_fault_is_a_fault_even_where_not_everything_was_read() -> None:
    """A duplicate fails the drill although a queue is missing."""
    drill = sound()
    drill.lies(3, 1, 4)
    drill.read_queue(1, 5)
    drill.read_queue(0, 4, complete=False)
    assert drill.report().verdict == "fail"


def test_a_queue_that_nobody_read_proves_nothing() -> None:
    """As after a reading while one broker was not in the route."""
    drill = sound()
    drill.found = [f for f in drill.found if isinstance(f, Found) and f.queue == 0]
    del drill.queues[1]
    report = drill.report()
    assert (report.verdict, report.not_judged.count) == ("inconclusive", 4)


def test_what_retention_took_is_not_judged() -> None:
    """A message older than its queue's first one may have been there."""
    drill = sound()
    del drill.found[0]
    drill.read_queue(0, 4, low=1)
    report = drill.report()
    assert (report.verdict, broken(report)) == ("inconclusive", {})


def test_what_was_acknowledged_after_the_reading_began_is_not_judged() -> None:
    """Reading too early is no loss; but a queue that became shorter is."""
    drill = sound()
    drill.attempt(9, at=2_000.0)
    drill.ends(9, "ok", 0, 4, at=2_000.5)
    assert drill.report().verdict == "inconclusive"
    drill.sent[-1] = Outcome(
        n=9, t=900.0, wall_ms=wall(900.0), how="ok", broker="broker-a", queue=0, offset=4
    )
    assert drill.report().verdict == "fail"


def test_the_last_complete_reading_counts() -> None:
    """A second run of `ledger read`, after the broker is back, mends an open verdict."""
    drill = sound()
    early = Drill(found=drill.found[:2], queues=dict(drill.queues))
    early.read_queue(0, 4, complete=False)
    files = drill.writing(), early.reading("r0", at=500.0), drill.reading("r1", at=600.0)
    assert judge(evidence_of(*files)).verdict == "pass"
    assert judge(evidence_of(*reversed(files))).verdict == "pass"


def test_a_later_complete_reading_finds_a_later_loss() -> None:
    """What was there once and is gone is lost."""
    drill = sound()
    later = Drill(found=drill.found[1:], queues=drill.queues)
    report = judge(evidence_of(drill.writing(), drill.reading("r0"), later.reading("r1", at=2e3)))
    assert broken(report) == {"lost": 1}


def test_ledgers_of_two_writers_are_merged() -> None:
    """Each is judged by its own, over one reading; a file given twice counts once."""
    one, two = sound(), Drill(writer=W2)
    two.stored(1, 0, 4)
    two.attempt(2)
    two.ends(2, "ok", 0, 5)
    one.found += two.found
    one.read_queue(0, 5)
    files = [one.writing(), two.writing(), one.reading()]
    report = judge(evidence_of(*files, *files))
    assert (report.writers, report.acknowledged, broken(report)) == (2, 10, {"lost": 1})
    assert report.lost.examples == [f"{W2} #2, acknowledged at orders broker-a/0@5"]


def test_the_same_place_of_two_topics_is_two_places() -> None:
    """Offsets are counted per topic."""
    one, two = sound(), sound()
    two.topic, two.writer = "bills", W2
    two.found = [
        Found(broker=f.broker, queue=f.queue, offset=f.offset, writer=W2, n=f.n)
        for f in two.found
        if isinstance(f, Found)
    ]
    files = one.writing(), two.writing(), one.reading("r1"), two.reading("r2")
    assert judge(evidence_of(*files)).verdict == "pass"


def test_nothing_written_or_nothing_read_is_no_pass() -> None:
    """The verdict is open, and the reason says what to do."""
    drill = sound()
    assert judge(evidence_of()).verdict == "inconclusive"
    unread = judge(evidence_of(drill.writing()))
    assert unread.verdict == "inconclusive"
    assert "nothing was read back: run `broker-trio ledger read`" in unread.reasons
    assert judge(evidence_of(drill.reading())).reasons == ["no ledger of a writer was given"]
    drill.reader_ended = False
    assert drill.report().reasons == ["no reading came to its end"]


def test_a_damaged_ledger_is_no_pass() -> None:
    """What cannot be read of the evidence may be what mattered; a message of it is no phantom."""
    drill = sound()
    drill.lies(9, 0, 4)
    drill.read_queue(0, 5)
    evidence = evidence_of(drill.reading())
    evidence.begin_file("w")
    for record in drill.writing()[:-1]:
        evidence.add(record)
    evidence.end_file(torn_bytes=40, problem="byte 700 begins no record")
    report = judge(evidence)
    assert (report.verdict, broken(report)) == ("inconclusive", {})
    assert report.reasons[0] == "w: byte 700 begins no record; nothing after it was read"


def test_the_longest_gap_is_the_recovery_time() -> None:
    """Between two acknowledgements, with what failed in it."""
    drill = Drill(rate=10.0)
    for n, at in ((1, 1.5), (2, 2.0), (5, 9.0), (6, 9.5)):
        drill.attempt(n, at=at)
        drill.ends(n, "ok", 0, n, at=at + 0.1)
        drill.lies(n, 0, n)
    for n in (3, 4):
        drill.attempt(n, at=float(n))
        drill.ends(n, "fail", at=n + 1.0)
    drill.read_queue(0, 7)
    drill.sent.sort(key=lambda record: getattr(record, "t", 0.0))
    drill.writer_ended = False
    report = drill.report()
    assert report.rto_s == pytest.approx(7.0)
    [gap] = report.gaps
    assert (gap.seconds, gap.from_wall_ms, gap.failed, gap.open) == (
        pytest.approx(7.0), wall(2.1), 2, False,
    )  # fmt: skip
    assert drill.report(Demands(rto_max_s=7.5)).verdict == "pass"
    refused = drill.report(Demands(rto_max_s=6.0))
    assert (refused.verdict, refused.reasons) == (
        "fail", ["no send acknowledged for 7.000 s, allowed 6 s"]
    )  # fmt: skip


def test_a_cluster_that_never_came_back_is_one_open_gap() -> None:
    """From the last acknowledgement to the end of the run."""
    drill = sound()
    report = drill.report()
    assert report.rto_s == pytest.approx(91.5)
    assert report.gaps[0].open


def test_a_slow_writer_has_no_gaps_between_its_turns() -> None:
    """Three turns of the rate are no gap worth telling of."""
    drill = sound()
    drill.writer_ended = False
    assert drill.report().gaps == []


def test_each_broker_has_its_own_gap() -> None:
    """While one pair was away, the other one went on."""
    drill = Drill()
    for n in range(1, 11):
        drill.broker = "broker-b" if n % 2 and 3 < n < 9 else "broker-a"
        drill.stored(n, 0, n)
    for broker in ("broker-a", "broker-b"):
        drill.extra.append(QueueRead(broker=broker, queue=0, low=0, high=11))
    drill.writer_ended = False
    report = drill.report()
    assert report.rto_by_broker == {"broker-a": 2.0, "broker-b": 4.5}


def test_recovery_is_measured_from_the_fault_to_lasting_success() -> None:
    """An acknowledgement between failures is no recovery."""
    drill = Drill()
    for n in range(1, 31):
        drill.attempt(n)
        if n in {10, 11, 13}:
            drill.ends(n, "fail")
        else:
            drill.ends(n, "ok", 0, n)
            drill.lies(n, 0, n)
    drill.read_queue(0, 31)
    report = drill.report(Demands(fault_wall_ms=wall(10.0)))
    assert [(one.seconds, one.broker) for one in report.recoveries] == [(4.5, "broker-a")]
    assert report.verdict == "pass"


def test_no_recovery_fails_and_a_fault_outside_the_run_proves_nothing() -> None:
    """A writer must have been at work when the fault came, and long enough after it."""
    drill = sound()
    drill.attempt(9)
    drill.ends(9, "unknown")
    report = drill.report(Demands(fault_wall_ms=wall(8.8)))
    assert (report.verdict, report.recoveries[0].seconds) == ("fail", None)
    outside = drill.report(Demands(fault_wall_ms=wall(-50.0)))
    assert (outside.verdict, outside.reasons) == (
        "inconclusive", ["no writer was at work when the fault came"]
    )  # fmt: skip


def test_examples_are_bounded_and_counts_are_not() -> None:
    """A disaster prints a page, not a million lines."""
    drill = sound(count=200)
    drill.found.clear()
    report = drill.report()
    assert (report.lost.count, len(report.lost.examples)) == (200, 20)


def test_a_record_below_the_wrong_heading_is_refused() -> None:
    """What a reader found does not stand in a writer's ledger."""
    drill = sound()
    with pytest.raises(Exception, match="a record 'f' without its heading"):
        evidence_of([*drill.writing()[:-1], drill.found[0]])
    with pytest.raises(Exception, match="a record 'end' without its heading"):
        evidence_of([Ended(t=1.0, wall_ms=1)])
    assert Reading.__struct_config__.tag == "reading"
