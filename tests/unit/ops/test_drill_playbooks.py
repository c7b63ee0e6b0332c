"""Drills on a fleet, without any host: rows and playbooks agree, whom a step is about, scripts."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from broker_trio.cli.drill.command import told_of
from broker_trio.ops.drill.catalogue import BREAKS, DRILLS, find
from broker_trio.ops.drill.records import marks_in
from tests.unit.ops.playbooks import PLAYBOOKS, tree

FOLDER = PLAYBOOKS / "drills"
RUN = {"pair": "broker-a", "master": "broker-a/2", "slave": "broker-a/1"}
GROUPS = {"nameservers": ["ns1", "ns2", "ns3"], "brokers": ["a0", "a1", "b0"]}
HOSTVARS: dict[str, dict[str, Any]] = {
    "ns1": {"ansible_host": "10.0.0.1"},
    "ns2": {"ansible_host": "10.0.0.2"},
    "ns3": {"ansible_host": "10.0.0.3", "nameserver_data": "/srv/ns"},
    "a0": {"ansible_host": "10.0.0.4", "broker_name": "broker-a", "broker_id": 0},
    "a1": {
        "ansible_host": "10.0.0.5", "broker_name": "broker-a", "broker_id": 1, "ansible_port": 2222,
    },
    "b0": {"ansible_host": "10.0.0.6", "broker_name": "broker-b", "broker_id": 0},
}  # fmt: skip


def plugin() -> Any:
    spec = importlib.util.spec_from_file_location(
        "drill_filters", PLAYBOOKS / "filter_plugins/drills.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def steps_of(name: str, *, human: bool = False) -> list[dict[str, Any]]:
    drill = find(name)
    assert drill is not None
    found: list[dict[str, Any]] = plugin().drill_steps(
        told_of(drill)["steps"], RUN, HOSTVARS, GROUPS, human
    )
    return found


def test_every_drill_has_its_playbook() -> None:
    """The same names, and each file says only which drill it is."""
    files = {path.stem for path in FOLDER.glob("*.yml")} - {"drill", "heal", "human"}
    assert files == {drill.name for drill in DRILLS}
    for drill in DRILLS:
        (play,) = tree(FOLDER / f"{drill.name}.yml")
        assert play["ansible.builtin.import_playbook"] == "drill.yml"
        assert play["vars"] == {"drill": drill.name}


def test_every_kind_of_step_has_its_tasks() -> None:
    """A file for each, and the script knows each verb that breaks."""
    kinds = {step["kind"] for drill in DRILLS for step in steps_of(drill.name)}
    assert kinds == {"fault", "order", "hold", "heal", "whole"}
    assert all((FOLDER / "tasks" / f"{kind}.yml").is_file() for kind in kinds)
    script = (FOLDER / "files/fault.sh").read_text()
    for verb in (*BREAKS, "start", "nothing", "arm", "disarm", "heal"):
        assert f"\n{verb})\n" in script, verb


def test_faults_go_to_whom_is_master_today() -> None:
    """Not to whom the inventory called so on the first day."""
    kill = steps_of("kill_master")[0]
    (target,) = kill["targets"]
    assert (target["host"], target["who"]) == ("a1", "broker-a/2")
    assert target["words"] == ["kill", "broker-trio-broker@broker-a-2.service"]
    promote = steps_of("kill_master")[1]
    assert promote["command"] == ["promote", "broker-a/1", "--one-copy"]


def test_each_fault_has_the_words_it_needs() -> None:
    """The port of ssh stays open, a cut names the other one, a disk its folder."""
    words = {name: steps_of(name)[0]["targets"][0]["words"] for name in (
        "isolate_master", "cut_pair", "disk_full", "wrong_key", "power_off", "forget_nameserver",
    )}  # fmt: skip
    assert words == {
        "isolate_master": ["isolate", "2222"],
        "cut_pair": ["cut", "10.0.0.5"],
        "disk_full": ["fill", "/var/lib/broker-trio/broker-a-2"],
        "wrong_key": [
            "key", "broker-trio-broker@broker-a-1.service",
            "/etc/broker-trio/credentials/broker-a-1.pair-key",
        ],
        "power_off": ["poweroff"],
        "forget_nameserver": ["forget", "broker-trio-nameserver.service", "/srv/ns"],
    }  # fmt: skip


def test_nameservers_are_lost_from_the_last_on() -> None:
    """The ledger is kept on the first one's host."""
    hosts = {name: plugin().drill_hosts(steps_of(name)) for name in (
        "lose_nameserver", "lose_all_but_one", "lose_all_nameservers",
    )}  # fmt: skip
    assert hosts == {
        "lose_nameserver": ["ns3"],
        "lose_all_but_one": ["ns2", "ns3"],
        "lose_all_nameservers": ["ns1", "ns2", "ns3"],
    }
    assert plugin().drill_ends(steps_of("power_off"), "poweroff") == ["a1"]


def test_a_person_cannot_tell_from_the_output_who_is_hit() -> None:
    """Every host is visited, in the order of their names; one of them is hit, really."""
    targets = steps_of("kill_master", human=True)[0]["targets"]
    assert [target["host"] for target in targets] == ["a0", "a1", "b0", "ns1", "ns2", "ns3"]
    words = {target["host"]: target["words"] for target in targets}
    assert words.pop("a1") == ["kill", "broker-trio-broker@broker-a-2.service"]
    assert all(said == ["nothing"] for said in words.values())


def test_what_is_drawn_for_a_person_leaves_something_to_do() -> None:
    """And needs nobody to give power back."""
    draw, unknown = tree(FOLDER / "human.yml")
    (task,) = draw["tasks"]
    drawn = re.findall(r"'(\w+)'", task["ansible.builtin.set_fact"]["drill_drawn"])
    assert len(drawn) >= 3
    for name in drawn:
        drill = find(name)
        assert drill is not None
        assert drill.playable
        assert plugin().drill_ends(steps_of(name), "poweroff") == []
    assert unknown["vars"]["human"] is True


def test_nothing_is_touched_before_the_play_ends_that_only_looks() -> None:
    """What comes before `end_play` changes nothing, and runs in check mode."""
    for task in tree(FOLDER / "tasks/begin.yml"):
        if "ansible.builtin.command" in task:
            assert (task["changed_when"], task["check_mode"]) == (False, False), task["name"]
        else:
            said = {"ansible.builtin.set_fact", "ansible.builtin.debug", "ansible.builtin.fail"}
            assert said & task.keys(), task["name"]


@pytest.mark.parametrize("name", ["fault.sh", "order.sh"])
def test_scripts_are_sound(name: str) -> None:
    """sh can read them."""
    done = subprocess.run(["sh", "-n", FOLDER / "files" / name], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def order(tmp_path: Path, *words: str, hit: str = "") -> tuple[int, list[str]]:
    """Run order.sh; its exit code and the marks that it left."""
    marks = tmp_path / "marks.jsonl"
    done = subprocess.run(
        ["sh", FOLDER / "files/order.sh", marks, *words],
        capture_output=True, timeout=30, check=False, env={**os.environ, "HIT": hit},
    )  # fmt: skip
    return done.returncode, [mark.name for mark in marks_in(marks.read_bytes())]


def test_an_order_is_noted_before_and_after(tmp_path: Path) -> None:
    """With the moment that the hit host told, and whatever the command prints."""
    words = ("sh", "-c", 'printf \'{"verdict": "done\\n"}\\\\\'')
    assert order(tmp_path, "promoted", "5", "0", *words, hit="1234") == (
        0, ["hit", "decided", "promoted"],
    )  # fmt: skip


def test_an_order_that_must_be_refused_is_given_once(tmp_path: Path) -> None:
    """Exit code 3 is what is wanted; a promotion that is done instead is noted as such."""
    assert order(tmp_path, "refused", "5", "3", "sh", "-c", "exit 3") == (0, ["decided", "refused"])
    other = tmp_path / "other"
    other.mkdir()
    assert order(other, "refused", "5", "3", "true") == (1, ["decided", "not_refused"])


@pytest.mark.slow
def test_an_order_is_tried_again_until_its_time_is_over(tmp_path: Path) -> None:
    """And then it is said that it was not done."""
    counter = tmp_path / "counter"
    script = f'echo x >> {counter}; [ "$(wc -l < {counter})" -ge 3 ]'
    assert order(tmp_path, "promoted", "20", "0", "sh", "-c", script)[0] == 0
    assert counter.read_text() == "x\n" * 3
    code, marks = order(tmp_path, "degrade", "0", "0", "false")
    assert (code, marks[-1]) == (1, "not_degrade")
