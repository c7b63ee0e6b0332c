"""Dashboards and rules: linted, parsed, every metric and label in the catalogue."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from os import environ
from pathlib import Path
from typing import Any

import pytest

from grafana.src import proofs
from grafana.src.__main__ import ROOT
from grafana.src.lint import dashboard_problems, expression_problems
from grafana.src.recording import COMPAT, RECORDING
from grafana.src.rule_files import ALERTS
from tests.interop.error_panels import ERRORS
from tests.interop.faults_all import FAULTS
from tests.interop.runbooks import NOT_HERE, RUN_HERE
from tests.interop.runbooks import text_of as runbook_text

BOARDS = sorted((ROOT / "grafana/dashboards").glob("*.json"))
RULE_TESTS = sorted((ROOT / "grafana/rules_test").glob("*.yml"))
RUNBOOKS = ROOT / "docs/operating/runbooks"
HEADINGS = ["What it means", "Who is hurt now", "Look first", "Do", "If that fails"]


def board(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("path", BOARDS, ids=lambda p: p.stem)
def test_a_dashboard_passes_our_lint(path: Path) -> None:
    """Queries parse, ask what is exposed, by labels that are there; nothing lies over another."""
    assert dashboard_problems(board(path)) == []


def test_uids_are_fixed_and_unique() -> None:
    """Links and provisioning name them."""
    uids = [board(path)["uid"] for path in BOARDS]
    assert uids == [path.stem for path in BOARDS] == sorted(set(uids))
    assert len(uids) == 7


@pytest.mark.parametrize("alert", ALERTS, ids=lambda a: a.name)
def test_an_alert_asks_what_is_exposed_and_has_a_runbook(alert: Any) -> None:
    """The rule's names and labels are known, and its runbook has the five headings."""
    assert expression_problems(alert.expr) == []
    assert alert.severity in {"page", "ticket", "info"}
    text = (RUNBOOKS / f"{alert.name}.md").read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert alert.board in {path.stem for path in BOARDS}


def test_no_runbook_lacks_its_alert() -> None:
    """A renamed alert takes its runbook along."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {alert.name for alert in ALERTS}
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


PAGES = [alert for alert in ALERTS if alert.severity == "page"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda a: a.name)
def test_an_alert_was_seen_firing_and_resolving_with_the_rule_that_it_has(alert: Any) -> None:
    """By a fault that is still there and raises it; a changed rule has to be seen anew."""
    again = "BROKER_TRIO_RECORD_PAGES=1 uv run pytest -m slow tests/interop/test_pages.py"
    found = proofs.seen().get(alert.name, {"rule": "not seen"})
    assert found["rule"] == proofs.fingerprint(alert.expr), f"{alert.name}: {again}"
    fault = FAULTS[found["fault"]]
    assert alert.name in (fault.pages if alert in PAGES else fault.tickets)
    assert found["how"] == fault.says
    assert found["fired_s"] > 0
    assert found["resolved_s"] >= 0, "counted from when the cluster was whole again"
    assert found["commands"] > 0, "its runbook's commands ran with the fault present"


def test_nothing_is_told_of_an_alert_that_is_gone() -> None:
    """What was seen are alerts that there are."""
    assert proofs.seen().keys() == {alert.name for alert in ALERTS}


def test_every_command_of_a_runbook_is_run_or_it_is_said_why_not() -> None:
    """By its program; one that nobody knows would never be tried."""
    known = {"broker-trio", *RUN_HERE, *NOT_HERE}
    spans = {
        (name, span.split()[0])
        for name in (alert.name for alert in ALERTS)
        for span in re.findall(r"`([^`]+)`", runbook_text(name))
        if re.match(r"[a-z-]+ \S", span) and span != "pair status"
    }
    assert {(name, program) for name, program in spans if program not in known} == set()


def test_every_fault_raises_alerts_that_there_are_and_every_alert_has_one() -> None:
    """And every panel of an error stands on its dashboard."""
    raised = [name for fault in FAULTS.values() for name in fault.pages]
    assert sorted(raised) == sorted(alert.name for alert in PAGES)
    tickets = {name for fault in FAULTS.values() for name in fault.tickets}
    assert tickets == {alert.name for alert in ALERTS if alert not in PAGES}
    assert proofs.HOSTS.keys() <= set(raised)
    assert ERRORS.keys() <= FAULTS.keys()
    for panel in (one for found in ERRORS.values() for one in found):
        titles = [
            one["title"] for one in board(ROOT / f"grafana/dashboards/{panel.board}.json")["panels"]
        ]
        assert panel.title in titles


@pytest.mark.parametrize("rule", [*RECORDING, *COMPAT], ids=lambda r: r.name)
def test_a_recording_rule_asks_what_is_exposed(rule: Any) -> None:
    """Its names and labels are known."""
    assert expression_problems(rule.expr) == []


def asks(expr: str) -> Callable[[dict[str, Any]], Any]:
    """The first panel's query replaced."""
    return lambda board: board["panels"][1]["targets"][0].update(expr=expr)


def says_of_it(**members: Any) -> Callable[[dict[str, Any]], Any]:
    """Members of the first panel replaced."""
    return lambda board: board["panels"][1].update(members)


BROKEN: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (asks("sum("), "does not parse"),
    (asks('up{cluster="$cluster",x="1"}'), "no label x"),
    (asks('nobody_has{cluster="$cluster"}'), "nobody_has is exposed by nobody"),
    (asks('rocketmq_half_messages{cluster="a"}'), "half_messages is exposed by nobody"),
    (asks('rate(brokertrio_epoch{cluster="a"}[5m])'), "is a gauge"),
    (asks('sum by (shelf) (up{cluster="a"})'), "label shelf"),
    (asks("sum(up)"), "without cluster"),
    (says_of_it(description=""), "description"),
    (says_of_it(id=3), "not unique"),
    (says_of_it(gridPos={"x": 6, "y": 1, "w": 6, "h": 8}), "lies over"),
    (lambda board: board["templating"]["list"].reverse(), "first variables"),
]


@pytest.mark.parametrize(("spoil", "says"), BROKEN, ids=[says for _, says in BROKEN])
def test_lint_finds_what_is_planted(spoil: Callable[[dict[str, Any]], Any], says: str) -> None:
    """A lint that finds nothing proves nothing."""
    spoilt = board(ROOT / "grafana/dashboards/bt-broker.json")
    spoil(spoilt)
    assert any(says in problem for problem in dashboard_problems(spoilt))


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        if environ.get("BROKER_TRIO_REQUIRE_INTEROP") == "1":
            pytest.fail("promtool is not on PATH (Debian package prometheus)")
        pytest.skip("promtool is not on PATH (Debian package prometheus)")
    return found


def test_prometheus_takes_every_rule_file() -> None:
    """`promtool check rules`: expressions and templates parse."""
    files = [str(path) for path in sorted((ROOT / "grafana/rules").glob("*.yml"))]
    done = subprocess.run(
        [promtool(), "check", "rules", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda p: p.stem)
def test_alerts_fire_when_promised_and_not_in_a_close_call(path: Path) -> None:
    """`promtool test rules`: one firing and one silent case each, and the compatible names."""
    done = subprocess.run(
        [promtool(), "test", "rules", path.name],
        capture_output=True, text=True, check=False, cwd=path.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
