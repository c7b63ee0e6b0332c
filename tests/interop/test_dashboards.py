"""Every query of every panel has an answer from a real Prometheus that scrapes a real pair.

Each template variable is asked as Grafana asks it, the later ones under every value of the earlier:
only combinations that exist are offered, and under each of them no panel may be empty.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grafana.src.__main__ import ROOT
from tests.interop.error_panels import expand
from tests.interop.monitored import Monitored, monitored

pytestmark = pytest.mark.slow  # minutes: by hand, and where CI has time
BOARDS = sorted((ROOT / "grafana/dashboards").glob("*.json"))
ALL = ".*"
CALM_S = 60.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    with monitored(tmp_path_factory.mktemp("monitored")) as found:
        yield found


def combinations(
    running: Monitored, variables: list[dict[str, Any]], chosen: dict[str, str]
) -> Iterator[dict[str, str]]:
    """Every choice that a person can make, the next variable's values asked under the earlier."""
    if not variables:
        yield chosen
        return
    variable, *later = variables
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
    assert found is not None
    values = running.values(found[2], expand(found[1], chosen))
    assert values, f"variable {variable['name']} has no value under {chosen}"
    escaped = [re.escape(value).replace("\\", "\\\\") for value in values]
    for value in [*escaped, ALL] if variable["multi"] else values:
        yield from combinations(running, later, {**chosen, variable["name"]: value})


@pytest.mark.parametrize("path", BOARDS, ids=lambda p: p.stem)
def test_no_panel_is_empty_under_any_choice(running: Monitored, path: Path) -> None:
    """0 empty queries, in every combination of the dashboard's variables."""
    board = json.loads(path.read_text())
    variables = [one for one in board["templating"]["list"] if one["type"] == "query"]
    choices = list(combinations(running, variables, {"one": "$1"}))
    empty, asked = [], 0
    for chosen in choices:
        for panel in board["panels"]:
            for query in panel.get("targets", []):
                expr = expand(query["expr"].replace('"$1"', '"${one}"'), chosen)
                asked += 1
                empty.append((panel["title"], expr, query.get("instant", False)))
    deadline = time.monotonic() + CALM_S  # a machine that is busy scrapes late
    while empty := [one for one in empty if not running.points(one[1], instant=one[2])]:
        assert time.monotonic() < deadline, f"{len(empty)} of {asked} queries are empty: {empty}"
        time.sleep(1)
    assert len(choices) >= 1


def test_the_rules_evaluate_and_a_healthy_pair_pages_nobody(running: Monitored) -> None:
    """Every rule is healthy at run time, and nothing pages; Watchdog fires, as it always does."""
    rules = [rule for group in running.ask("rules")["groups"] for rule in group["rules"]]
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    texts = [one["annotations"] for one in running.ask("alerts")["alerts"]]
    assert not any("error expanding" in text for one in texts for text in one.values())
    deadline = time.monotonic() + CALM_S
    while "page" in running.firing().values():  # what the start stirred up calms down
        assert time.monotonic() < deadline, running.firing()
        time.sleep(1)
    assert "Watchdog" in running.firing()
