"""Consumer groups as inventory data: made, changed, gone, and what a look says of each."""

import json
from typing import Any

import pytest

from tests.unit.ops.test_playbooks_modules import BROKERS, Played, run

GROUP_PARAMS = {"retries": 16, "ordered": False, "enabled": True, "coming": []}


def group_at(**rows: dict[str, Any]) -> dict[str, tuple[int, str, str]]:
    """What brokers have of the group billing; none of them where no row is given."""
    told = [{"broker": broker, **row} for broker, row in rows.items()]
    return {
        "group list": (0, json.dumps({"groups": ["billing"] if rows else []}), ""),
        "group describe billing": (0, json.dumps({"brokers": told}), ""),
        "cluster list": (0, BROKERS, ""),
    }


AS_WANTED = {"retries": 16, "ordered": False, "enabled": True}


def group(monkeypatch: pytest.MonkeyPatch, rows: dict[str, Any], **more: Any) -> Played:
    played = Played(group_at(**rows), name="billing", **{**GROUP_PARAMS, "state": "present"})
    played.check_mode = more.pop("check_mode", False)
    played.params.update(more)
    run("rmq_group", played, monkeypatch)
    return played


def test_a_group_is_made_everywhere_and_then_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has it: one creation for all; everybody has it as wanted: none."""
    made = group(monkeypatch, {})
    assert made.result["changed"]
    assert made.asked[-1] == "group create billing --retries 16"
    again = group(monkeypatch, {"a": AS_WANTED, "b": AS_WANTED})
    assert not again.result["changed"]
    assert [each for each in again.asked if "create" in each or "change" in each] == []


def test_a_group_that_differs_is_changed_and_check_mode_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before and after of each broker; nothing is asked to change in a look."""
    rows = {"a": AS_WANTED, "b": {**AS_WANTED, "retries": 3}}
    look = group(monkeypatch, rows, check_mode=True)
    assert look.result["changed"]
    assert look.result["diff"]["before"]["b"]["retries"] == 3
    assert look.result["diff"]["after"]["b"]["retries"] == 16
    assert [each for each in look.asked if "create" in each or "change" in each] == []
    done = group(monkeypatch, rows)
    assert done.asked[-1] == "group change billing --retries 16 --unordered --enable"


def test_a_group_goes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted where somebody has it, unchanged where nobody does."""
    gone = group(monkeypatch, {"a": AS_WANTED}, state="absent")
    assert gone.asked[-1] == "group delete billing"
    assert gone.result["diff"]["after"] == {}
    assert not group(monkeypatch, {}, state="absent").result["changed"]
