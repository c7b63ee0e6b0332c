"""Modules as functions: with a command line that is played, and a unit's files in a folder."""

import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ops.playbooks import Answering, Ended, plugin

sys.modules.setdefault("ansible.module_utils.rmq_cli", plugin("module_utils/rmq_cli.py"))
sys.modules.setdefault("ansible.module_utils.rmq_links", plugin("module_utils/rmq_links.py"))
cli_module = importlib.import_module("ansible.module_utils.rmq_cli")
NS = ["10.0.0.1:9876", "10.0.0.2:9876"]


class Played(Answering):
    """An AnsibleModule whose programs answer from a table; what they were asked is in `asked`."""

    def __init__(self, answers: dict[str, tuple[int, str, str]], **params: Any) -> None:
        program = {"program": "/opt/x/broker-trio", "nameservers": NS}
        self.params = {**program, **params}
        self.answers, self.check_mode, self.asked = answers, False, list[str]()

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.asked.append(" ".join(command[1:]).partition(" -n ")[0])
        assert command[-3:] == ["-n", ";".join(NS), "--json"]
        return self.answers.get(self.asked[-1], (0, "{}", ""))


def run(name: str, played: Played, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let a module's main run, as Ansible would."""
    module = plugin(f"library/{name}.py")
    monkeypatch.setattr(module, "AnsibleModule", lambda **_: played)
    monkeypatch.setattr(cli_module.Cli, "is_installed", True)
    with pytest.raises(Ended):
        module.main()
    return played.result


BROKERS = '{"brokers": [{"broker": "a", "role": "master"}, {"broker": "b", "role": "master"}]}'
TOPIC = {"name": "orders", "queues": 4, "perm": "rw", "even_with_messages": False, "coming": []}
ROUTE = '{"brokers": [{"name": "a", "read_queues": %d, "write_queues": 4, "perm": "rw"}]}'


def topic_at(read_queues: int) -> dict[str, tuple[int, str, str]]:
    return {
        "topic list": (0, '{"topics": ["orders"]}', ""),
        "topic route orders": (0, ROUTE % read_queues, ""),
        "cluster list": (0, BROKERS, ""),
    }


def test_a_topic_is_made_where_it_is_missing_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """One broker has it as wanted, the other gets it; nobody else is asked to change."""
    played = Played(topic_at(4), **TOPIC, state="present")
    assert run("rmq_topic", played, monkeypatch)["changed"]
    assert played.asked[3:] == ["topic create orders --queues 4 --perm rw --broker b"]


def test_check_mode_asks_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it would change, and shows what."""
    played = Played(topic_at(8), **TOPIC, state="present")
    played.check_mode = True
    result = run("rmq_topic", played, monkeypatch)
    assert result["changed"]
    assert result["diff"]["before"]["a"]["read_queues"] == 8
    assert played.asked == ["topic list", "topic route orders", "cluster list"]


def test_brokers_that_the_run_adds_count_in_check_mode_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are not there yet; a run asks those that are."""
    for check in (True, False):
        answers = topic_at(4)
        answers["cluster list"] = (0, '{"brokers": [{"broker": "a", "role": "master"}]}', "")
        played = Played(answers, **{**TOPIC, "coming": ["b"]}, state="present")
        played.check_mode = check
        assert run("rmq_topic", played, monkeypatch)["changed"] is check
        assert len(played.asked) == 3


def test_a_topic_as_wanted_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run says so."""
    answers = topic_at(4)
    answers["cluster list"] = (0, '{"brokers": [{"broker": "a", "role": "master"}]}', "")
    assert not run("rmq_topic", Played(answers, **TOPIC, state="present"), monkeypatch)["changed"]


def test_a_failed_command_ends_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program said, and what its exit code means."""
    answers = {"topic list": (4, "", "error: no nameserver answered\n next: doctor")}
    result = run("rmq_topic", Played(answers, **TOPIC, state="present"), monkeypatch)
    assert result["failed"]
    assert result["rc"] == 4
    assert "reached nobody, nothing was done: error: no nameserver answered" in result["msg"]


PAIR = {
    "replicas": ["broker-a/1", "broker-a/2"], "one_copy": False, "accept_loss": False,
    "fenced_host": "", "reason": "", "addresses": [], "timeout": 5, "wait": 30,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"verb": "switchover"}, "switchover broker-a/1 broker-a/2 --timeout 5 --wait 30"),
        (
            {"verb": "promote", "replicas": ["broker-a/2"], "one_copy": True, "addresses": ["h:1"]},
            "promote broker-a/2 --one-copy --replica h:1 --timeout 5 --wait 30",
        ),
        (
            {"verb": "adopt", "replicas": [], "reason": "first"},
            "pair adopt --reason first --timeout 5 --wait 30",
        ),
    ],
)
def test_verbs_become_commands(changes: dict[str, Any], expected: str) -> None:
    """One implementation: the command line's."""
    assert " ".join(plugin("library/rmq_pair.py").words_of({**PAIR, **changes})) == expected


def test_check_mode_of_a_verb_is_its_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is made and nothing done."""
    words = "switchover broker-a/1 broker-a/2 --timeout 5 --wait 30"
    answer = (0, '{"verdict": "planned", "plan": {"loss": "nothing"}}', "")
    played = Played({f"{words} --dry-run": answer}, **PAIR, verb="switchover")
    played.check_mode = True
    assert run("rmq_pair", played, monkeypatch)["plan"] == {"loss": "nothing"}
    assert played.asked == [f"{words} --dry-run"]


def test_what_a_unit_noted_is_compared_with_what_is_on_disk(tmp_path: Path) -> None:
    """Release and hashes of its files; an edit shows, and an edit that was undone does not."""
    service = plugin("library/rmq_service.py")
    config, stamp = tmp_path / "broker.toml", tmp_path / "started"
    config.write_text("a = 1\n")
    digest = hashlib.sha256(b"a = 1\n").hexdigest()
    stamp.write_text(f"release /opt/broker-trio/0.1.0-x\n{digest}  {config}\n")
    assert service.wanted([str(config)], "0.1.0-x") == service.noted(str(stamp))
    config.write_text("a = 2\n")
    assert service.wanted([str(config)], "0.1.0-x") != service.noted(str(stamp))
    assert service.noted(str(tmp_path / "none")) == {}


class Syncing(Played):
    """Its programs do nothing well, but for those that `answers` names."""

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.asked.append(" ".join(command))
        return self.answers.get(self.asked[-1], (0, "", ""))


def test_what_is_installed_is_on_the_disk_before_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that loses its power then has all of it, or installs it again."""
    release = plugin("library/rmq_release.py")
    folder, wheels = tmp_path / "1", {"digest": "d", "wheels": [], "pip": "pip.whl"}
    folder.joinpath("bin").mkdir(parents=True)
    monkeypatch.setattr(release, "unpack", lambda *_: wheels)
    monkeypatch.setattr(release, "by_unpacking", lambda *_: folder.mkdir(exist_ok=True))
    sync = f"sync --file-system {folder}"
    played = Syncing({sync: (1, "", "no space")}, root=str(tmp_path), bundle="b", digest="d")
    with pytest.raises(Ended):
        release.install(played, str(folder))
    assert played.result["msg"] == f"{sync}: no space"
    assert not (folder / ".installed").exists()
    played.answers = {}
    release.install(played, str(folder))
    assert played.asked[-1] == sync
    assert (folder / ".installed").read_text() == "d\n"


def test_a_unit_starts_with_files_that_are_on_the_disk() -> None:
    """Its settings and credentials, and that it is enabled."""
    played = Syncing({})
    plugin("library/rmq_service.py").bring(played, "start", "x.service")
    words = [each.partition(" ")[0] + " " + each.split()[1] for each in played.asked]
    assert words.index("sync --file-system") < words.index("systemctl start")
    assert words.index("systemctl enable") < words.index("sync --file-system")


def test_a_release_is_shown_only_when_it_is_there_completely(tmp_path: Path) -> None:
    """`previous` shows what was before; twice is no change; check mode touches nothing."""
    links = plugin("module_utils/rmq_links.py")
    for release in ("1", "2"):
        (tmp_path / release).mkdir()
    (tmp_path / "1/.installed").write_text("digest\n")
    played = Syncing({})
    assert links.switch(played, str(tmp_path), "1")
    assert played.asked == [f"sync --file-system {tmp_path}"]
    assert not links.switch(played, str(tmp_path), "1")
    with pytest.raises(Ended):
        links.switch(played, str(tmp_path), "2")
    assert "2 is not installed completely" in played.result["msg"]
    (tmp_path / "2/.installed").write_text("digest\n")
    played.check_mode = True
    assert links.switch(played, str(tmp_path), "2")
    assert links.current(str(tmp_path)) == "1"
    played.check_mode = False
    assert links.switch(played, str(tmp_path), "2")
    shown = [(tmp_path / name).readlink().name for name in ("current", "previous")]
    assert shown == ["2", "1"]
