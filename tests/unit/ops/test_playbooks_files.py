"""The module that writes a role's files, on a folder; the failover's steps, answers played."""

import grp
import json
import os
import pwd
import shlex
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ops.playbooks import Answering, Ended, plugin
from tests.unit.ops.test_playbooks_modules import Played, run

USER, GROUP = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
files_module = plugin("library/rmq_files.py")


class Files(Answering):
    """An AnsibleModule in a folder: commands really run."""

    def __init__(self, *, check_mode: bool = False, **params: Any) -> None:
        empty: dict[str, Any] = {"user": None, "folders": [], "files": [], "apply": []}
        self.params, self.check_mode = {**empty, **params}, check_mode

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr


def bring(monkeypatch: pytest.MonkeyPatch, **params: Any) -> dict[str, Any]:
    played = Files(**params)
    monkeypatch.setattr(files_module, "AnsibleModule", lambda **_: played)
    with pytest.raises(Ended):
        files_module.main()
    return played.result


def one(path: Path, content: str, **more: str) -> dict[str, str]:
    owner = {"owner": USER, "group": GROUP, "mode": "0640", "validate": ""}
    return {"path": str(path), "content": content, **owner, **more}


def folder(path: Path) -> dict[str, str]:
    return {"path": str(path), "owner": USER, "group": GROUP, "mode": "0750"}


def test_what_is_missing_is_made_and_then_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folder, content and mode; the second run says changed=false."""
    wanted = {"folders": [folder(tmp_path / "a")], "files": [one(tmp_path / "a/b", "text\n")]}
    first = bring(monkeypatch, **wanted)
    assert first["paths"] == [f"{tmp_path}/a/", f"{tmp_path}/a/b"]
    assert (tmp_path / "a/b").read_text() == "text\n"
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o640
    assert not bring(monkeypatch, **wanted)["changed"]


def test_check_mode_tells_each_difference_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content and mode are compared apart; a user that is not there yet is no error."""
    (tmp_path / "b").write_text("old\n")
    (tmp_path / "c").write_text("same\n")
    wanted = [
        one(tmp_path / "b", "new\n", owner="nobody-yet"),
        one(tmp_path / "c", "same\n"),
    ]
    told = bring(monkeypatch, check_mode=True, files=wanted)
    (content, mode) = told["diff"]
    assert (content["before"], content["after"]) == ("old\n", "new\n")
    assert mode["after"] == f"{USER}:{GROUP} 0640\n"
    assert (tmp_path / "b").read_text() == "old\n"


def test_what_the_program_refuses_does_not_replace_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`validate` sees the new file; nothing unfinished is left."""
    (tmp_path / "b").write_text("old\n")
    refused = bring(monkeypatch, files=[one(tmp_path / "b", "new\n", validate="grep -q old %s")])
    assert refused["failed"]
    assert "grep -q old" in refused["msg"]
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("b", "old\n")]


def test_a_file_is_judged_under_its_own_name_and_what_a_killed_run_left_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units are known by their suffix; the folder of the new file is gone afterwards."""
    left = tmp_path / ".x.service.new"
    left.mkdir()
    (left / "x.service").write_text("half")
    wanted = one(
        tmp_path / "x.service", "new\n", validate="sh -c 'basename %s | grep -qx x.service'"
    )
    assert not bring(monkeypatch, files=[wanted]).get("failed")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x.service", "new\n")]


def test_what_was_interrupted_before_it_took_effect_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command runs until it has run with the files as they are, and when its effect is gone."""
    effect = tmp_path / "effect"
    apply = {
        "name": "it", "files": [str(tmp_path / "b")], "notes": str(tmp_path / "notes"),
        "run": [f"touch {shlex.quote(str(effect))}"], "holds": f"test -e {effect}", "hashes": {},
    }  # fmt: skip
    bring(monkeypatch, files=[one(tmp_path / "b", "new\n")])  # and killed here
    second = bring(monkeypatch, files=[one(tmp_path / "b", "new\n")], apply=[apply])
    assert (second["paths"], second["applied"]) == ([], ["it"])
    assert not bring(monkeypatch, apply=[apply])["changed"]
    effect.unlink()
    assert bring(monkeypatch, check_mode=True, apply=[apply])["applied"] == ["it"]
    assert not effect.exists()
    assert bring(monkeypatch, apply=[apply])["applied"] == ["it"]
    assert effect.exists()
    coming = {**apply, "hashes": {str(tmp_path / "b"): "of what a run would write"}}
    assert bring(monkeypatch, check_mode=True, apply=[coming])["applied"] == ["it"]


COMMON = "--replica h:1;h:2 --timeout 1"
FAILOVER = {
    "pair": "broker-a", "to": "", "addresses": ["h:1", "h:2"], "accept_loss": False,
    "reason": "", "timeout": 1, "wait": 30,
}  # fmt: skip
STATUS = f"pair status broker-a {COMMON}"


def view(verb: str, **states: str) -> tuple[int, str, str]:
    """`pair status` as it answers; a replica that is left out is silent."""
    replicas = {
        f"h:{number}": {"replica_id": int(number), "state": state}
        for number, state in ((name[1:], state) for name, state in states.items())
    }
    told = {"replicas": replicas, "instruction": {"verb": verb, "text": ""}}
    return 0, json.dumps(told), ""


def test_a_silent_master_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers is promoted with one copy; nobody is fenced who cannot be reached."""
    done = f"promote broker-a/2 --one-copy {COMMON} --wait 30 --yes"
    answers = {STATUS: view("promote", r2="slave"), done: (0, '{"verdict": "done"}', "")}
    played = Played(answers, **FAILOVER)
    result = run("rmq_failover", played, monkeypatch)
    assert (result["to"], result["verdict"]) == ("broker-a/2", "done")
    assert played.asked == [STATUS, done]


def test_a_master_that_answers_is_fenced_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the other is promoted; a refused fence is told and does not hold that up."""
    answers = {STATUS: view("promote", r1="owner, stuck", r2="slave")}
    fence = f"fence broker-a/1 {COMMON} --wait 30 --yes"
    answers[fence] = (3, "", "refused: it says why")
    played = Played(answers, **FAILOVER)
    result = run("rmq_failover", played, monkeypatch)
    assert played.asked[1:] == [fence, f"promote broker-a/2 --one-copy {COMMON} --wait 30 --yes"]
    assert result["fenced"] == "refused: it says why"


def test_a_failover_that_was_done_is_found_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new master alone answers: it is asked again, and says so."""
    again = f"promote broker-a/2 --one-copy {COMMON} --wait 30 --yes"
    answers = {STATUS: view("restore", r2="owner"), again: (0, '{"verdict": "already"}', "")}
    result = run("rmq_failover", Played(answers, **FAILOVER), monkeypatch)
    assert (result["changed"], result["verdict"]) == (False, "already")


def test_a_whole_pair_and_a_silent_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No second switch by a second run, no guess where nobody answers."""
    whole = Played({STATUS: view("ok", r1="slave", r2="owner")}, **FAILOVER)
    assert run("rmq_failover", whole, monkeypatch)["rc"] == 3
    assert "broker-a is whole: switchover.yml" in whole.result["msg"]
    silent = Played({STATUS: view("promote")}, **FAILOVER)
    assert (
        "no member of broker-a answers (h:1, h:2)"
        in run("rmq_failover", silent, monkeypatch)["msg"]
    )
    assert whole.asked == silent.asked == [STATUS]


def test_messages_of_a_saved_tail_are_counted(tmp_path: Path) -> None:
    """Padding and what was torn off at the end are no messages."""
    tails = plugin("library/rmq_tails.py")
    record = struct.pack(">iI", 20, 0xDAA320A7) + bytes(12)
    blank = struct.pack(">iI", 16, 0xCBD43194) + bytes(8)
    (tmp_path / "0-9.log").write_bytes(record * 3 + blank + record + b"\0\0")
    assert tails.count(str(tmp_path / "0-9.log")) == 4
    (tmp_path / "zeros").write_bytes(bytes(64))
    assert tails.count(str(tmp_path / "zeros")) == 0
