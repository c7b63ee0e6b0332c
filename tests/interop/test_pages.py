"""Each alert, raised by a fault of real processes, and resolved when that is mended.

While the fault is there, the panels that must show it do, and the commands of its runbook run.
With BROKER_TRIO_RECORD_PAGES=1 what was seen is written to grafana/src/seen.json, from which
docs/operating/alerts.md has its tables; the rule's text goes with it, so that an alert whose rule
has changed since counts as not seen.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from os import environ
from typing import Any

import pytest

from grafana.src import proofs
from grafana.src.rule_files import ALERTS
from tests.interop.breakable import Site, site
from tests.interop.error_panels import ERRORS, problem
from tests.interop.faults import Fault
from tests.interop.faults_all import FAULTS
from tests.interop.faults_watched import MONITOR
from tests.interop.runbooks import Said, commands, others, run, run_other

pytestmark = pytest.mark.slow  # half an hour: by hand, and where CI has time
RULES = {alert.name: alert.expr for alert in ALERTS}
CALM_S, FIRES_S, SHOWN_S, RESOLVES_S = 240.0, 240.0, 60.0, 300.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("pages")) as found:
        yield found


def what_fires(running: Site) -> str:
    return str(running.watch.firing()) if running.prometheus.running else "no Prometheus"


def wait_until(running: Site, true: Callable[[], bool], seconds: float) -> float:
    """How long it took. Raises `AssertionError` with what fires after `seconds`."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, what_fires(running)
        time.sleep(0.25)
    return round(time.monotonic() - began, 1)


def wait_shown(running: Site, name: str, cluster: str) -> None:
    """Until each of the fault's error panels shows it."""
    for panel in ERRORS.get(name, ()):
        deadline = time.monotonic() + SHOWN_S
        while text := problem(running.watch, panel, cluster):
            assert time.monotonic() < deadline, text
            time.sleep(0.5)


def carry_out(running: Site, fault: Fault) -> dict[str, int]:
    """The commands of the fault's runbooks, each once, while it is there; how many each has.

    Those that change something come last, as they end the fault.
    """
    names, places = sorted(fault.pages | fault.tickets), running.places()
    spoke: dict[str, Said] = {}
    for name in names:
        for command in others(name):
            spoke.setdefault(command, run_other(command, places))
    for name in names:
        for command in commands(name):
            if command not in spoke:
                spoke[command] = run(running.watch, command)
    assert [one.failure for one in spoke.values() if one.failure] == []
    found = {name: [spoke[one] for one in (*others(name), *commands(name))] for name in names}
    for name, told in found.items():
        assert told, f"the runbook of {name} has no command that runs here"
    for name, text in fault.finds.items():
        assert any(text in one.text for one in found[name]), f"{text} is not in {found[name]}"
    return {name: len(told) for name, told in found.items()}


def note(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n{text}")  # noqa: T201


def record(seen: dict[str, Any]) -> None:
    """Where asked for: what was seen, beside what was seen before."""
    if environ.get("BROKER_TRIO_RECORD_PAGES") == "1":
        kept = json.loads(proofs.SEEN.read_text()) if proofs.SEEN.exists() else {}
        proofs.SEEN.write_text(json.dumps(kept | seen, indent=1, sort_keys=True) + "\n")


def entry(name: str, alert: str, times: tuple[float, float], count: int) -> dict[str, Any]:
    """What is recorded of one alert: its fault, the seconds to its beginning and end, commands."""
    fired_s, resolved_s = times
    return {
        "fault": name,
        "how": FAULTS[name].says,
        "rule": proofs.fingerprint(RULES[alert]),
        "fired_s": fired_s,
        "resolved_s": resolved_s,
        "commands": count,
    }


@pytest.mark.parametrize("name", [name for name in FAULTS if name != MONITOR])
def test_an_alert_fires_on_its_fault_and_is_resolved(
    running: Site, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It fires while the fault is there, is seen and worked on, and ends with the fault."""
    fault, watch = FAULTS[name], running.watch
    expected = fault.pages | fault.tickets
    running.pair.mend()
    fault.calm(running)
    wait_until(running, lambda: not expected & watch.firing().keys(), CALM_S)
    seen = dict[str, float]()
    with running.load(*fault.load) if fault.load else nullcontext():
        began = time.monotonic()

        def all_seen() -> bool:
            for alert in watch.firing().keys() & expected:
                seen.setdefault(alert, round(time.monotonic() - began, 1))
            return seen.keys() == expected

        try:
            fault.do(running)
            wait_until(running, all_seen, FIRES_S)
            wait_shown(running, name, fault.cluster)
            done = carry_out(running, fault)
        finally:
            said = ", ".join(f"{one} {after} s" for one, after in seen.items())
            note(capsys, f"{name}: fired: {said}")
            fault.undo(running)
    fault.calm(running)
    resolved_s = wait_until(running, lambda: not expected & watch.firing().keys(), RESOLVES_S)
    record(
        {alert: entry(name, alert, (seen[alert], resolved_s), done[alert]) for alert in expected}
    )
    note(capsys, f"{name}: resolved {resolved_s} s, commands {done}")


def test_the_watchdog_ends_with_its_prometheus(
    running: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its runbook's command says whether the Alertmanager hears of it; who watches that is told."""
    (command,), places = others("Watchdog"), running.places()

    def heard() -> bool:
        told = run_other(command, places)
        assert told.failure == ""
        return "Watchdog" in told.text

    wait_until(running, heard, FIRES_S)
    fault = FAULTS[MONITOR]
    fault.do(running)
    try:
        resolved_s = wait_until(running, lambda: not heard(), RESOLVES_S)
    finally:
        fault.undo(running)
    fired_s = wait_until(running, heard, FIRES_S)
    record({"Watchdog": entry(MONITOR, "Watchdog", (fired_s, resolved_s), 1)})
    note(capsys, f"{MONITOR}: ended {resolved_s} s, fired {fired_s} s")
