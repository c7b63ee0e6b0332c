"""docs/benchmarks/failover.md: its tables are those of its JSON, and its settings what was run."""

import json
from pathlib import Path

import pytest

from tests.bench.failover_page import FAULTS, SYSTEMS, Fault, table

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
PAGE = (FOLDER / "failover.md").read_text()
DOCUMENT = json.loads((FOLDER / "2026-11-23-failover.json").read_text())


@pytest.mark.parametrize("fault", FAULTS)
def test_the_figures_are_those_of_the_file(fault: Fault) -> None:
    missing = [row for row in table(DOCUMENT, fault) if row not in PAGE.splitlines()]
    assert missing == []


def test_each_was_run_three_times() -> None:
    runs = [(run["system"], run["fault"]) for run in DOCUMENT["runs"]]
    assert {run: runs.count(run) for run in runs} == {
        (system, fault): 3 for system in SYSTEMS for fault in FAULTS
    }


def test_the_settings_are_those_that_were_run() -> None:
    """Each word that Apache's properties have, but for addresses and folders of the hosts."""
    told = DOCUMENT["settings"]
    words = {
        word for name in ("classic", "controller") for of in told[name].values() for word in of
    }
    general = {word for word in words if not any(c in word for c in (":", "/", "10.86"))}
    assert [word for word in sorted(general) if f"`{word}`" not in PAGE] == []
    assert f"`broker_flush: {told['ours']['broker_flush']}`" in PAGE
    assert DOCUMENT["heap"] in PAGE
