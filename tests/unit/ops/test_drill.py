"""Drills judged from what they left: verdicts, moments, guards, comparison, and the reports."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker_trio.metrics.catalogue import DRILL_FAMILIES
from broker_trio.ops.drill.catalogue import BREAKS, DRILLS, fault_seconds, find, seconds_of
from broker_trio.ops.drill.compare import compare
from broker_trio.ops.drill.guards import Seen, guards_of, in_window, refused_by
from broker_trio.ops.drill.page import page
from broker_trio.ops.drill.plot import round_up, tick_of
from broker_trio.ops.drill.records import (
    READ,
    READER,
    Alert,
    Guard,
    Mark,
    Sample,
    lines_of,
    marks_in,
)
from broker_trio.ops.drill.report import document, exposition, markdown
from broker_trio.ops.drill.series import series_of
from broker_trio.ops.drill.state import acted, beyond_plan, why_not_whole
from broker_trio.ops.drill.timeline import epochs_overlap, fault_ms, two_owners
from broker_trio.ops.drill.verdict import Check, Outcome, outcome_of
from tests.unit.ops.drills import (
    ADDRESSES,
    FAULT_S,
    HEALED_S,
    NAMESERVER,
    ONE,
    PROMOTED_S,
    TWO,
    WHOLE_S,
    Made,
    changed,
    one_at,
    run_of,
    status_of,
    two_at,
)
from tests.unit.ops.ledgers import wall

KILL = find("kill-master")
assert KILL is not None


def check_of(outcome: Outcome, name: str) -> Check:
    return next(check for check in outcome.checks if check.name == name)


# -- the verdict ---------------------------------------------------------------------------------


def test_a_drill_that_went_well_passes_with_all_nine_moments() -> None:
    """RTO counts from the fault to the first send that stays well; nothing is lost."""
    outcome = Made().outcome()
    assert (outcome.verdict, outcome.reasons) == ("pass", [])
    assert outcome.rto_s == pytest.approx(3.2, abs=0.06)
    assert outcome.gap_s == pytest.approx(3.25, abs=0.06)
    seconds = [(m.at_ms or 0) / 1_000 - wall(FAULT_S) / 1_000 for m in outcome.moments]
    told = [0, 0.01, 0.1, PROMOTED_S - FAULT_S, 3.25, 3.2, 8, 8, WHOLE_S - FAULT_S]
    assert seconds == pytest.approx(told, abs=0.07)
    assert outcome.ledger.failed > 25


def test_one_lost_message_fails_it() -> None:
    """Acknowledged and not readable: the reason names it."""
    outcome = Made(unread={30}).outcome()
    assert outcome.verdict == "fail"
    assert any("#30" in reason for reason in outcome.reasons)


def test_a_recovery_beyond_the_goal_fails_it() -> None:
    """15 s are allowed, 16 were taken."""
    outcome = Made(outage=(FAULT_S, FAULT_S + 16)).outcome()
    assert outcome.verdict == "fail"
    assert check_of(outcome, "recovery (RTO)").ok is False


def test_sends_that_never_went_well_again_fail_it() -> None:
    """No RTO can be told."""
    outcome = Made(outage=(FAULT_S, 1e9)).outcome()
    assert (outcome.verdict, outcome.rto_s) == ("fail", None)


def test_failures_before_the_fault_leave_it_inconclusive() -> None:
    """What was not steady proves nothing."""
    outcome = Made(outage=(FAULT_S - 5, PROMOTED_S)).outcome()
    assert outcome.verdict == "inconclusive"
    assert check_of(outcome, "steady before").ok is None


def test_without_a_fault_nothing_is_proved() -> None:
    """An abort before the fault is no pass."""
    made = Made()
    made.marks = [Mark(at_ms=wall(10), name="aborted", text="no steady state")]
    outcome = made.outcome()
    assert outcome.verdict == "inconclusive"
    assert "aborted: no steady state" in " ".join(outcome.reasons)


def test_a_drill_that_was_cut_short_breaks_no_goal_that_it_did_not_come_to() -> None:
    """Inconclusive, never a pass; what was lost is lost all the same."""
    cut = [Mark(at_ms=wall(FAULT_S), name="fault"), Mark(at_ms=wall(22), name="aborted")]
    made = Made(outage=(FAULT_S, 1e9))
    made.marks = [made.marks[0], *cut]
    assert made.outcome().verdict == "inconclusive"
    lost = Made(unread={30})
    lost.marks = [lost.marks[0], *cut]
    assert lost.outcome().verdict == "fail"


def test_a_pair_that_was_never_whole_again_fails_it() -> None:
    """Restoration must be proved, and the reason says what was missing."""
    made = Made()
    made.marks = [mark for mark in made.marks if mark.name != "whole"]
    made.marks.append(Mark(at_ms=wall(44), name="not_whole", text="broker-a/1 is learner"))
    outcome = made.outcome()
    assert outcome.verdict == "fail"
    assert "broker-a/1 is learner" in " ".join(outcome.reasons)


def test_an_old_master_that_owns_again_fails_a_failover_drill() -> None:
    """The other one must have taken over."""
    made = Made()
    made.samples = [
        one_at(1.0), changed(one_at(44.0), state="owner"), changed(two_at(44.0), state="slave"),
    ]  # fmt: skip
    assert check_of(made.outcome(), "the other took over").ok is False


def test_a_guard_that_did_not_refuse_fails_the_drill_of_the_guard() -> None:
    """slave_behind wants a refused promotion."""
    made = Made(run=run_of("slave_behind"))
    assert check_of(made.outcome(), "the guard refuses").ok is False
    again = Made(run=run_of("slave_behind"))
    again.marks.append(Mark(at_ms=wall(22), name="refused"))
    assert check_of(again.outcome(), "the guard refuses").ok is True


def test_a_drill_that_allows_no_error_fails_by_one() -> None:
    """lose_nameserver: sends must not notice."""
    outcome = Made(run=run_of("lose_nameserver"), outage=(FAULT_S, FAULT_S + 0.06)).outcome()
    assert check_of(outcome, "sends not acknowledged").ok is False


def test_two_owners_at_once_fail_it() -> None:
    """Two replicas that say so for longer than a breath, both with a lease."""
    made = Made()
    late = [
        Sample(at_ms=wall(30 + t / 4), who=ONE, state="owner", epoch=1, lease_ms=50, end=1)
        for t in range(8)
    ]
    made.samples = sorted([*made.samples, *late], key=lambda sample: sample.at_ms)
    assert len(two_owners(made.run, made.samples)) == 0, "each word of slave ends it"
    words = [s for s in made.samples if s.who != ONE or s.at_ms < wall(20) or s in late]
    assert two_owners(made.run, words)


def test_epochs_that_begin_elsewhere_in_the_two_stores_fail_it() -> None:
    """One byte of the log would have two writers."""
    made = Made()
    made.samples[-2] = changed(made.samples[-2], epochs=[(1, 0), (3, 600)], end=4_000)
    assert "epochs 3" in epochs_overlap(made.run, made.samples)
    assert made.outcome().verdict == "fail"


def test_the_moment_of_the_fault_is_the_hit_hosts_if_its_clock_can_be_right() -> None:
    """Between the mark before and the mark after; else the mark before."""
    fault = Mark(at_ms=1_000, name="fault")
    for told, believed in ((1_400, 1_400), (9_000, 1_000), (900, 1_000)):
        hit = Mark(at_ms=2_000, name="hit", by_host_ms=told)
        assert fault_ms([fault, hit]) == believed
    assert fault_ms([Mark(at_ms=2_000, name="decided")]) is None


def looks(made: Made, cause: str = READ) -> Made:
    """A reader's looks, one a second; with `cause` at one of them while the fault lasts."""
    for second in range(int(FAULT_S), int(WHOLE_S)):
        state = cause if second == int(FAULT_S) + 2 else READ
        made.samples.append(Sample(at_ms=wall(second), who=READER, state=state))
    return made


def test_reads_must_go_on_where_the_drill_says_so() -> None:
    """One that does not fails it; too few looks prove nothing; other drills allow it."""
    disk = run_of("disk_full")
    assert check_of(looks(Made(run=disk)).outcome(), "reads go on").ok is True
    broken = check_of(looks(Made(run=disk), "no answer").outcome(), "reads go on")
    assert (broken.ok, broken.found) == (False, "7 went well, 1 no answer")
    assert check_of(Made(run=disk).outcome(), "reads go on").ok is None
    found = [check.name for check in looks(Made(), "no answer").outcome().checks]
    assert "reads go on" not in found


def test_a_full_disk_refuses_by_its_name() -> None:
    """Another cause fails the drill; without any refusal nothing was proved."""
    disk = run_of("disk_full")
    assert check_of(Made(run=disk, cause="no answer").outcome(), "refused by name").ok is False
    named = Made(run=disk, cause="SERVICE_NOT_AVAILABLE").outcome()
    assert check_of(named, "refused by name").ok is True
    well = Made(run=disk, outage=(1e9, 1e9)).outcome()
    assert check_of(well, "refused by name").ok is None


def test_a_person_is_timed_and_has_no_goal_but_to_bring_it_back() -> None:
    """Five times the goal of an order is a pass; the metrics keep the machine's figure."""
    late = (FAULT_S, FAULT_S + 16)
    assert Made(outage=late).outcome().verdict == "fail"
    person = Made(outage=late, run=run_of(human=True))
    outcome = person.outcome()
    assert (outcome.verdict, outcome.person_s) == ("pass", pytest.approx(0.1))
    text = exposition(
        [document_of(Made()), document_of(Made(run=run_of(human=True), outage=late))], "c"
    )
    assert 'rto_seconds{cluster="c",drill="kill_master"} 3.2' in text


def test_only_what_came_after_the_last_failure_is_the_steady_state() -> None:
    """On a fleet the game master begins anew where a send failed, until it was steady."""
    made = Made(outage=(12.0, 13.0))
    made.run = run_of("disk_full")
    again = Mark(at_ms=wall(14), name="steady")
    assert check_of(made.outcome(), "steady before").ok is None
    made = Made(outage=(12.0, 13.0), run=run_of("disk_full"))
    made.marks = sorted([*made.marks, again], key=lambda mark: mark.at_ms)
    assert check_of(made.outcome(), "steady before").ok is True


def test_an_observer_that_stood_still_proves_no_failure_of_others() -> None:
    """A machine without time for the ledger makes gaps of its own: inconclusive, never a pass."""
    made = Made(outage=(FAULT_S, FAULT_S + 16))
    made.marks.append(Mark(at_ms=wall(30), name="stood_still", text="4.5"))
    outcome = made.outcome()
    assert outcome.verdict == "inconclusive"
    assert "stood still for 4.5 s" in " ".join(outcome.reasons)
    lost = Made(unread={30})
    lost.marks.append(Mark(at_ms=wall(30), name="stood_still", text="4.5"))
    assert lost.outcome().verdict == "fail"


# -- before it begins ----------------------------------------------------------------------------


def seen_of(**changes: Any) -> Seen:
    well = Seen(
        cluster="c1", replicas={ONE: status_of(1, "owner"), TWO: status_of(2, "slave")},
        nameservers={NAMESERVER: ADDRESSES[ONE]}, alerts=[], now_ms=wall(0),
    )  # fmt: skip
    return well._replace(**changes)


def refusals(drill: str = "kill_master", confirm: str = "c1", **changes: Any) -> list[str]:
    found = find(drill)
    assert found is not None
    return [guard.name for guard in refused_by(guards_of(found, seen_of(**changes), confirm))]


def test_a_healthy_pair_may_be_broken_when_its_cluster_is_named() -> None:
    """Nothing refuses."""
    assert refusals() == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("no other drill", {"running": "another drill runs, pid 7"}),
        ("no alert fires", {"alerts": ["BrokerMasterDown"]}),
        ("no freeze", {"freeze": ["2023-11-14T00:00/2023-11-16T00:00"]}),
        ("every nameserver shows the master", {"nameservers": {NAMESERVER: ""}}),
        ("every nameserver shows the master", {"forgot": [NAMESERVER]}),
        ("the pair is in sync", {"replicas": {ONE: status_of(1, "owner")}}),
        ("the pair is in sync",
         {"replicas": {ONE: status_of(1, "owner", 1 << 30), TWO: status_of(2, "slave")}}),
        ("the pair is in sync",
         {"replicas": {ONE: status_of(1, "owner", members=1), TWO: status_of(2, "slave")}}),
    ],
)  # fmt: skip
def test_a_guard_refuses(name: str, changes: dict[str, Any]) -> None:
    """Each by its own condition, and no other."""
    assert refusals(**changes) == [name]


def test_a_drill_needs_the_clusters_name_and_enough_nameservers() -> None:
    """A mistyped name refuses; losing a nameserver takes two."""
    assert refusals(confirm="") == ["the cluster is named"]
    assert refusals(confirm="c2") == ["the cluster is named"]
    assert refusals("lose_nameserver") == ["every nameserver shows the master"]


def test_a_window_of_a_freeze_has_two_ends_and_a_zone() -> None:
    """The end is outside; without a zone it is UTC; what is no window is an error."""
    window = "2026-12-20T00:00/2027-01-02T00:00+01:00"
    assert in_window(window, datetime(2027, 1, 1, 22, 59, tzinfo=UTC))
    assert not in_window(window, datetime(2027, 1, 1, 23, 0, tzinfo=UTC))
    with pytest.raises(ValueError, match="no window"):
        in_window("tomorrow", datetime(2027, 1, 1, tzinfo=UTC))


def test_the_catalogue_can_be_carried_out() -> None:
    """Each drill breaks something, heals, proves the end; the revert comes after the plan's end."""
    for drill in DRILLS:
        verbs = [step.do for step in drill.steps]
        assert drill.faults, drill.name
        assert verbs.index("heal") > next(n for n, do in enumerate(verbs) if do in BREAKS)
        assert verbs[-1] == "whole"
        assert fault_seconds(drill) > seconds_of(drill, 0)
        assert not drill.laptop or drill.name in drill.laptop
        wants = drill.rto_max_s, drill.after_heal_max_s, drill.errors_max
        assert wants != (None, None, None), f"{drill.name} demands nothing"
    assert find("no-such-drill") is None


# -- while it runs -------------------------------------------------------------------------------


def whole_now(**changes: Sample) -> str:
    now = {
        ONE: changed(one_at(44), state="owner"), TWO: changed(two_at(44), state="slave"),
        NAMESERVER: Sample(at_ms=wall(44), who=NAMESERVER, state="up", shows=ADDRESSES[ONE]),
    }  # fmt: skip
    return why_not_whole(run_of(), now | changes, wall(43))


def test_whole_means_two_copies_that_every_nameserver_shows() -> None:
    """And what is missing is said."""
    assert whole_now() == ""
    nameserver = Sample(at_ms=wall(44), who=NAMESERVER, state="up", shows="")
    assert "does not show" in whole_now(**{NAMESERVER: nameserver})
    assert "learnt" in whole_now(**{NAMESERVER: changed(nameserver, forgot=True)})
    assert "learner" in whole_now(**{TWO: changed(two_at(44), state="learner")})
    assert "behind" in whole_now(**{TWO: changed(two_at(44), state="slave", end=-(1 << 30))})
    assert "only copy" in whole_now(**{ONE: changed(one_at(44), state="owner", members=1)})
    assert "nobody owns" in whole_now(**{ONE: changed(one_at(44), state="slave")})
    assert "no word" in whole_now(**{TWO: two_at(10)})
    assert "does not answer" in whole_now(**{TWO: Sample(at_ms=wall(44), who=TWO, state="silent")})


def test_an_act_is_a_new_record_of_the_pair() -> None:
    """Not a change of state by itself."""
    before = {ONE: one_at(1), TWO: two_at(1)}
    assert not acted(run_of(), before, {ONE: one_at(25), TWO: two_at(22)})
    assert acted(run_of(), before, {ONE: one_at(25), TWO: two_at(24)})


def test_harm_is_beyond_the_plan_where_somebody_else_is_silent_for_long() -> None:
    """Who is hit may be; a breath of silence is none."""
    run = run_of()
    heard = {ONE: wall(0), TWO: wall(30), NAMESERVER: wall(30)}
    assert KILL is not None
    assert beyond_plan(KILL, run, heard, wall(44)) == ""
    assert f"{TWO} is silent for 16 s" in beyond_plan(KILL, run, heard, wall(46))
    lost = find("lose_all_nameservers")
    assert lost is not None
    assert beyond_plan(lost, run, heard | {ONE: wall(46), TWO: wall(46)}, wall(60)) == ""


def test_half_a_line_of_a_killed_writer_is_no_line() -> None:
    """Whole lines are kept."""
    data = lines_of([Mark(at_ms=1, name="fault"), Mark(at_ms=2, name="healed")])
    assert [mark.name for mark in marks_in(data[:-3])] == ["fault"]


# -- the reports ---------------------------------------------------------------------------------


def document_of(made: Made) -> dict[str, Any]:
    return document(made.run, made.outcome())


def test_the_page_stands_alone_and_says_the_verdict_first() -> None:
    """No script, no address, nothing loaded; texts of a cluster cannot be markup."""
    made = Made(run=run_of(cluster="<script>c1"))
    folder = made.folder()
    outcome = Made(run=made.run).outcome()
    series = series_of(folder.run, folder.samples, folder.evidence, wall(FAULT_S))
    text = page(made.run, outcome, series, compare({}, document(made.run, outcome)))
    assert text.index("PASS") < text.index("<svg")
    assert "http" not in text
    assert "<script" not in text
    assert "&lt;script&gt;c1" in text
    for label in ("T0", "T5", "T8"):
        assert f">{label}<title>" in text
    assert "None of" in text


def test_a_page_without_a_fault_draws_nothing() -> None:
    """And does not fail."""
    made = Made()
    made.marks = []
    assert "nothing to draw" in page(made.run, made.outcome(), None, [])


def test_series_count_every_send_once() -> None:
    """Rates times width are sends; the lag is what the one behind lacks."""
    folder = Made().folder()
    series = series_of(folder.run, folder.samples, folder.evidence, wall(FAULT_S))
    ok = sum(series.acknowledged) * series.width_s
    failed = sum(sum(rates) for rates in series.failed.values()) * series.width_s
    assert round(ok + failed) == len(next(iter(folder.evidence.writers.values())).outcomes)
    assert {band.who for band in series.bands} == {ONE, TWO, NAMESERVER}
    assert [state for _, _, state in series.bands[0].spans] == ["owner", "silent", "slave"]


def test_axes_end_at_round_numbers() -> None:
    """Just above what they show."""
    assert [round_up(v) for v in (0, 0.9, 104, 119, 1_001, 99_000)] == [
        1.0, 1.0, 120, 120, 1_200, 100_000,
    ]  # fmt: skip
    assert (tick_of(45), tick_of(600), tick_of(86_400)) == (5, 60, 600)


def test_markdown_says_what_the_document_says() -> None:
    """The verdict is the title; a bar in a text does not break a table."""
    made = Made(run=run_of("slave_behind", cluster="c|1"))
    outcome = made.outcome()
    text = markdown(made.run, outcome, [])
    assert text.startswith("# FAIL: The slave is far behind")
    assert "| BROKEN | the guard refuses | refused |" in text


def test_alerts_are_told_with_their_seconds() -> None:
    """In the page and in Markdown; where a Prometheus was asked and none fired, that is said."""
    made = Made()
    fired = Alert(at_ms=wall(FAULT_S + 7.5), name="BrokerMasterDown", severity="page", firing=True)
    folder = made.folder()._replace(alerts=[fired])
    outcome = outcome_of(folder)
    for text in (page(made.run, outcome, None, []), markdown(made.run, outcome, [])):
        assert "+7.5" in text
        assert "BrokerMasterDown" in text
    band = series_of(made.run, folder.samples, folder.evidence, wall(FAULT_S), [fired]).bands[-1]
    assert (band.spans[0][0], band.spans[0][2]) == (7.5, "BrokerMasterDown")
    ended = msgspec.structs.replace(fired, at_ms=wall(FAULT_S + 9), firing=False)
    band = series_of(
        made.run, folder.samples, folder.evidence, wall(FAULT_S), [fired, ended]
    ).bands[-1]
    assert band.spans == [(7.5, 9.0, "BrokerMasterDown")]
    asked = run_of(guards=[Guard("no alert fires", ok=True, fact="none does")])
    assert "None fired" in page(asked, Made().outcome(), None, [])
    assert "None fired" not in page(made.run, Made().outcome(), None, [])


def test_an_annotation_covers_the_drill_and_says_how_it_ended() -> None:
    """From the fault to the last moment."""
    told = document_of(Made())["annotation"]
    assert (told["time"], told["timeEnd"]) == (wall(FAULT_S), wall(WHOLE_S))
    assert told["text"] == "drill kill_master on broker-a: pass, RTO 3.210 s, lost 0"
    assert told["tags"] == ["drill", "broker-trio", "c1"]


def test_the_last_run_is_compared_by_what_matters() -> None:
    """Slower is worse, other settings are other; small differences are none."""
    last, now = document_of(Made()), document_of(Made(outage=(FAULT_S, PROMOTED_S + 4)))
    now["run"]["versions"] = {ONE: "2"}
    trends = {change.name: change.trend for change in compare(last, now)}
    assert trends["RTO, s"] == "worse"
    assert trends["lost"] == ""
    assert trends["versions"] == "other"
    assert compare({}, now) == []
    back = {change.name: change.trend for change in compare(now, last)}
    assert back["RTO, s"] == "better"


def test_metrics_tell_the_newest_run_and_the_last_success() -> None:
    """A failed run moves the RTO and leaves the time of the last proof."""
    passed, failed = document_of(Made()), document_of(Made(outage=(FAULT_S, FAULT_S + 16)))
    failed["run"]["begun_ms"] += 1_000_000
    text = exposition([passed, failed], "c1", ("kill_master", "running"))
    found = {
        sample.name: (sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    labels = {"cluster": "c1", "drill": "kill_master"}
    assert found["brokertrio_drill_rto_seconds"] == (labels, failed["rto_s"])
    success = found["brokertrio_drill_last_success_timestamp_seconds"]
    assert success == (labels, passed["run"]["begun_ms"] / 1_000)
    assert found["brokertrio_drill_active"] == ({**labels, "phase": "running"}, 1.0)
    assert set(found) == {family.name for family in DRILL_FAMILIES}


def test_healing_is_measured_from_the_healing() -> None:
    """A full disk: sends go well some time after there is room again."""
    made = Made(run=run_of("disk_full"), outage=(FAULT_S, HEALED_S + 2))
    outcome = made.outcome()
    assert outcome.after_heal_s == pytest.approx(2.0, abs=0.1)
    assert check_of(outcome, "recovery after the healing").ok is True
