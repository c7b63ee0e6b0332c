"""A store saved and restored, byte by byte: consistent, verified, never over another one."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.ops.playbooks import plugin
from tests.unit.ops.test_playbooks_modules import Played, run

sys.modules.setdefault("ansible.module_utils.rmq_saved", plugin("module_utils/rmq_saved.py"))
SEGMENT = 1 << 12
END = 2 * SEGMENT + 1_000
EPOCH = [3, "f" * 32]


def status(**changes: Any) -> str:
    """`pair status --json` of a master at the end, and a slave that is a little behind."""
    owner = {"address": "h:1", "state": "owner", "confirm_offset": END, "durable_end": END + 9}
    slave = {"address": "h:2", "state": "slave", "confirm_offset": 0, "durable_end": END + 5}
    slave["kept"] = {"store_id": "e" * 32, "settled": {"epoch": EPOCH}}
    return json.dumps({"replicas": {"h:1": owner, "h:2": {**slave, **changes}}, "silent": {}})


def store(folder: Path) -> Path:
    """Three segments whose bytes all differ, and small files."""
    (folder / "commitlog").mkdir(parents=True)
    (folder / "config").mkdir()
    for number in range(3):
        base = number * SEGMENT
        data = bytes((base + at) * 7 % 251 for at in range(SEGMENT))
        (folder / "commitlog" / f"{base:020d}").write_bytes(data)
    for name in ("topics", "consumerOffset", "delayOffset", "subscriptionGroup"):
        (folder / "config" / f"{name}.json").write_text(f'{{"name": "{name}"}}')
    (folder / "config" / "topics.json.bak").write_text("old")
    return folder


def backup(monkeypatch: pytest.MonkeyPatch, data: Path, folder: Path, **more: Any) -> Played:
    """What is played for a backup of a slave."""
    params = {
        "broker_name": "broker-a", "replica": "broker-a/2", "address": "h:2", "pair": True,
        "data": str(data), "settings": "", "folder": str(folder), "cluster": "c",
        "piece_bytes": 1_500, "state": "taken", **more,
    }  # fmt: skip
    played = Played({"pair status broker-a": (0, status(), "")}, **params)
    run("rmq_backup", played, monkeypatch)
    return played


def restore(monkeypatch: pytest.MonkeyPatch, folder: Path, data: Path, **more: Any) -> Any:
    params = {"folder": str(folder), "data": str(data), "owner": "root", "state": "restored"}
    params["digest"] = ""
    monkeypatch.setattr("shutil.chown", lambda *_: None)
    return run("rmq_restore", Played({}, **{**params, **more}), monkeypatch)


def test_what_is_restored_is_what_was_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments as they were up to the confirmed offset, zeros behind it; no identity, no queues."""
    data, folder, fresh = store(tmp_path / "data"), tmp_path / "backup", tmp_path / "fresh"
    fresh.mkdir()
    manifest = backup(monkeypatch, data, folder).result["manifest"]
    assert (manifest["begin"], manifest["end"], manifest["epoch"]) == (0, END, EPOCH)
    assert restore(monkeypatch, folder, fresh)["changed"]
    for base in (0, SEGMENT):
        name = f"commitlog/{base:020d}"
        assert (fresh / name).read_bytes() == (data / name).read_bytes()
    last = f"commitlog/{2 * SEGMENT:020d}"
    kept = (data / last).read_bytes()[:1_000]
    assert (fresh / last).read_bytes() == kept + bytes(SEGMENT - 1_000)
    assert sorted(path.name for path in fresh.iterdir()) == [
        "commitlog", "config", "restored.json",
    ]  # fmt: skip
    assert not (fresh / "config" / "topics.json.bak").exists()


def test_places_are_copied_before_the_log_and_topics_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place beyond the log's end, or a message of no topic, would be damage."""
    data, seen = store(tmp_path / "data"), list[list[str]]()
    folder = tmp_path / "backup"

    def look(self: Played, command: list[str]) -> tuple[int, str, str]:
        seen.append(sorted(str(p.relative_to(folder)) for p in folder.rglob("*.json")))
        return 0, status(), ""

    monkeypatch.setattr(Played, "run_command", look)
    backup(monkeypatch, data, folder)
    places = ["config/consumerOffset.json", "config/delayOffset.json"]
    assert seen[0] == places
    assert seen[1] == [*places, "config/subscriptionGroup.json", "config/topics.json"]


def test_a_pair_that_changes_hands_during_the_copy_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log may have been cut below what was copied."""
    answers = iter([status(), status(kept={"store_id": "e" * 32, "settled": {"epoch": [4, "a"]}})])
    monkeypatch.setattr(Played, "run_command", lambda *_: (0, next(answers), ""))
    played = backup(monkeypatch, store(tmp_path / "data"), tmp_path / "backup")
    assert played.result["failed"]
    assert "changed from epoch" in played.result["msg"]
    assert not (tmp_path / "backup" / "manifest.json").exists()


def test_check_mode_says_how_much_and_copies_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers, no folder."""
    data = store(tmp_path / "data")
    monkeypatch.setattr(Played, "__init__", as_check(Played.__init__))
    result = backup(monkeypatch, data, tmp_path / "backup").result
    assert (result["changed"], result["manifest"]["end"]) == (True, END)
    assert not (tmp_path / "backup").exists()


def test_check_mode_refuses_where_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the run would, although there is no folder yet."""
    monkeypatch.setattr(Played, "__init__", as_check(Played.__init__))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    played = backup(monkeypatch, store(tmp_path / "data"), tmp_path / "none/deeper")
    assert "has 1 MiB free, the copy needs 64 MiB" in played.result["msg"]


def test_a_restore_is_foretold_without_the_backup_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its digest: changed on a bare host, refused where a store is, which stays."""
    monkeypatch.setattr(Played, "__init__", as_check(Played.__init__))
    wanted = {"folder": "", "owner": "x", "state": "restored", "digest": "d"}
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert run("rmq_restore", Played({}, **wanted, data=str(fresh)), monkeypatch)["changed"]
    assert list(fresh.iterdir()) == []
    there = str(store(tmp_path / "data"))
    assert run("rmq_restore", Played({}, **wanted, data=there), monkeypatch)["failed"]


def as_check(init: Any) -> Any:
    def checking(self: Played, answers: Any, **params: Any) -> None:
        init(self, answers, **params)
        self.check_mode = True

    return checking


DAMAGE = {
    "a byte": (lambda log: log.write_bytes(b"\0" + log.read_bytes()[1:]), "sha256"),
    "the end": (lambda log: log.write_bytes(log.read_bytes()[:-1]), "bytes, 1500 were written"),
    "all": (lambda log: log.unlink(), "is missing"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_and_never_restored(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One piece that is not what was written, of whatever kind."""
    backup(monkeypatch, store(tmp_path / "data"), tmp_path / "backup")
    harm, told = DAMAGE[what]
    harm(tmp_path / "backup" / "log" / f"{1_500:020d}")
    verify = Played({}, state="verified", folder=str(tmp_path / "backup"))
    assert told in run("rmq_backup", verify, monkeypatch)["msg"]
    (tmp_path / "fresh").mkdir()
    assert told in restore(monkeypatch, tmp_path / "backup", tmp_path / "fresh")["msg"]
    assert list((tmp_path / "fresh").iterdir()) == []


def test_a_folder_with_a_store_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is in it stays; the same backup once more is unchanged."""
    data = store(tmp_path / "data")
    backup(monkeypatch, data, tmp_path / "backup")
    result = restore(monkeypatch, tmp_path / "backup", data)
    assert result["failed"]
    assert "has a store (commitlog, config)" in result["msg"]
    (tmp_path / "fresh").mkdir()
    restore(monkeypatch, tmp_path / "backup", tmp_path / "fresh")
    again = restore(monkeypatch, tmp_path / "backup", tmp_path / "fresh")
    assert (again["changed"], again["already"]) == (False, True)
    verify = Played({}, state="verified", folder=str(tmp_path / "backup"))
    digest = run("rmq_backup", verify, monkeypatch)["digest"]
    asked = {"folder": "", "state": "allowed", "data": str(tmp_path / "fresh")}
    for told, fine in ((digest, True), ("another", False), ("", False)):
        said = run("rmq_restore", Played({}, **asked, digest=told), monkeypatch)
        assert said.get("already", False) is fine
        assert said.get("failed", False) is not fine


def test_an_interrupted_restore_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was half written is begun anew."""
    backup(monkeypatch, store(tmp_path / "data"), tmp_path / "backup")
    half = tmp_path / "fresh" / ".restore" / "commitlog"
    half.mkdir(parents=True)
    (half / f"{0:020d}").write_bytes(b"half")
    (tmp_path / "fresh" / "config").mkdir()
    assert restore(monkeypatch, tmp_path / "backup", tmp_path / "fresh")["changed"]
    assert (tmp_path / "fresh" / "commitlog" / f"{0:020d}").stat().st_size == SEGMENT
    assert not (tmp_path / "fresh" / ".restore").exists()


def test_a_backup_without_a_manifest_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is written last."""
    result = restore(monkeypatch, tmp_path, tmp_path / "fresh")
    assert "holds no finished backup" in result["msg"]
