"""Roles and playbooks without any host: specs, stages, units, syntax."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ops import settings_keys
from tests.unit.ops.inventory_page import PAGE, page
from tests.unit.ops.playbooks import OURS, PLAYBOOKS, ROOT, tree

ANSIBLE_SECONDS = 1800  # lint starts Ansible for every playbook: two minutes of an idle machine
STAGES = ("preflight", "install", "configure", "service", "verify")
EXPOSURE_MAX = 15  # tenths: `systemd-analyze security --threshold`
RENDERED = {
    'runtime_root | default("/opt/broker-trio")': "/opt/broker-trio",
    'base_user | default("broker-trio")': "broker-trio",
    "nameserver_data": "/var/lib/broker-trio/nameserver",
    'nameserver_files | join(" ")': "/etc/broker-trio/nameserver.toml",
}


@pytest.mark.parametrize("role", OURS)
def test_argument_specs_equal_defaults(role: str) -> None:
    """Every default is specified with the same value, every option is required or has a default."""
    folder = PLAYBOOKS / "roles" / role
    options = tree(folder / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    optional = {name: each["default"] for name, each in options.items() if "default" in each}
    assert optional == tree(folder / "defaults/main.yml")
    assert [name for name in options if name not in optional] == [
        name for name, each in options.items() if each.get("required")
    ]
    assert [name for name, each in options.items() if not each.get("description")] == []


@pytest.mark.parametrize("role", OURS)
def test_a_role_is_its_five_stages(role: str) -> None:
    """`main.yml` orders stages only; each is a file of tasks, imported with its own tag.

    The first one runs with every tag of the role, for it refuses a host that nobody has read.
    """
    folder = PLAYBOOKS / "roles" / role / "tasks"
    order = []
    for task in tree(folder / "main.yml"):
        stage = task["ansible.builtin.import_tasks"]  # nothing of it is left at run time
        order.append(stage.removesuffix(".yml"))
        wanted = {f"{role}_{each}" for each in (STAGES if order == ["preflight"] else order[-1:])}
        assert wanted <= set(task["tags"]) <= {f"{role}_{each}" for each in STAGES}
        assert tree(folder / stage), f"{stage} holds no task"
    assert tuple(order) == STAGES
    assert {p.stem for p in folder.iterdir()} == {*STAGES, "main"}


def test_the_table_of_tags_is_what_roles_have() -> None:
    """The page for operators names each role and stage, and no other."""
    text = (ROOT / "docs/operating/playbooks.md").read_text()
    rows = re.findall(r"^\| `(\w+)_preflight` \|(.*)\|$", text, re.MULTILINE)
    told = {role: re.findall(r"`(\w+)`", cells) for role, cells in rows}
    assert told == {role: [f"{role}_{each}" for each in STAGES[1:]] for role in OURS}


def tasks_of(path: Path) -> list[dict[str, Any]]:
    """All tasks of a file of plays or of tasks."""
    found: list[dict[str, Any]] = []
    for each in tree(path) or []:
        inside = [each.get(key, []) for key in ("tasks", "pre_tasks", "handlers", "block")]
        found += [task for tasks in inside for task in tasks] or [each]
    return found


def ours() -> list[Path]:
    """The files of tasks that are ours."""
    roles = [p for role in OURS for p in (PLAYBOOKS / "roles" / role / "tasks").glob("*.yml")]
    return sorted([*roles, *(PLAYBOOKS / "tasks").glob("*.yml"), *PLAYBOOKS.glob("*.yml")])


UNJUDGED = {
    "{{ broker_key_file }}": "a secret, whose length preflight looks at",
    "kind ~ '.yaml.j2'": "YAML, for which hosts have no program; the verify stage asks Grafana",
}


def files_in(text: str) -> list[tuple[str, str]]:
    """Every file that YAML or Jinja has rmq_files write: its path's expression, and all of it."""
    pieces = re.split(r"(?:- \{?path: |'path': )(?=\S*[/{]|path)", text)
    return [(piece.split("\n")[0].split(", content")[0], piece) for piece in pieces[1:]]


def test_every_rendered_file_is_judged_before_it_takes_effect() -> None:
    """`validate` names a program for each; the exceptions are these two, with their reasons."""
    unjudged, judged = [], 0
    for role in OURS:
        for path in sorted((PLAYBOOKS / "roles" / role).glob("*/*.yml")):
            for name, piece in files_in(path.read_text()):
                if "content" not in piece:
                    continue  # a folder
                judged += "validate" in piece
                unjudged += [] if "validate" in piece else [f"{role}: {name} {piece[:160]}"]
    assert judged >= 14
    assert [u for u in unjudged if not any(each in u for each in UNJUDGED)] == []


def test_secrets_are_hidden() -> None:
    """No task that carries one is logged or shown as a diff."""
    shown, seen = [], 0
    for path in ours():
        for task in tasks_of(path):
            files = task.get("rmq_files", {}).get("files", [])
            content = str(task.get("ansible.builtin.copy", {}).get("content", "")) + str(files)
            if "pair_key" in content:
                seen += 1
                hidden = "no_log" in task and task.get("diff") is False
                shown += [] if hidden else [task["name"]]
    assert seen == 1
    assert shown == []


def test_reading_commands_never_change_and_run_in_check_mode() -> None:
    """A bare `command` outside handlers says `changed_when: false` and `check_mode: false`."""
    wrong = [
        f"{path.name}: {task['name']}"
        for path in ours()
        for task in tasks_of(path)
        if "ansible.builtin.command" in task
        and (task.get("changed_when") is not False or task.get("check_mode") is not False)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "unit", ["nameserver/broker-trio-nameserver", "broker/broker-trio-broker@"]
)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_units_are_hardened(unit: str, tmp_path: Path) -> None:
    """Exposure is at most 1.5 of 10, measured without starting anything."""
    role, _, name = unit.partition("/")
    text = (PLAYBOOKS / "roles" / role / "templates" / f"{name}.service.j2").read_text()
    for expression, value in RENDERED.items():
        text = text.replace(f"{{{{ {expression} }}}}", value)
    assert "{{" not in text
    path = tmp_path / f"{name}.service"
    path.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", str(path)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout[-400:], done.stderr)
    assert {"Type=notify", "WatchdogSec=20", "RestartPreventExitStatus=74"} <= set(text.split("\n"))
    path.write_text(
        re.sub(r"^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text, flags=re.MULTILINE)
    )
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr


LIMITS = ("LimitNOFILE", "OOMScoreAdjust", "RestartPreventExitStatus")


def test_every_limit_has_its_reason() -> None:
    """Of units in a comment above it, of the kernel's settings in the inventory's reference."""
    for name in (
        "nameserver/templates/broker-trio-nameserver",
        "broker/templates/broker-trio-broker@",
    ):
        lines = (PLAYBOOKS / f"roles/{name}.service.j2").read_text().split("\n")
        for limit in LIMITS:
            (number,) = (n for n, line in enumerate(lines) if line.startswith(f"{limit}="))
            assert lines[number - 1].startswith("# "), limit
    options = tree(PLAYBOOKS / "roles/base/meta/argument_specs.yml")["argument_specs"]["main"]
    reasons = options["options"]["base_sysctl"]["description"]
    assert {"backlogs", "swapped"} <= set(re.findall(r"\w+", reasons))


def test_programs_log_json_and_get_secrets_from_systemd() -> None:
    """The journal gets JSON; a pair's key comes by LoadCredential and by no other way."""
    for role in ("nameserver", "broker"):
        assert tree(PLAYBOOKS / f"roles/{role}/vars/main.yml")[f"{role}_tree"]["log_json"] is True
    templates = PLAYBOOKS / "roles/broker/templates"
    texts = {path.name: path.read_text() for path in templates.iterdir()}
    assert "LoadCredential=pair-key:{{ broker_key_file }}" in texts["instance.conf.j2"]
    assert [
        name for name, text in texts.items() if re.search("broker_pair_key|Environment=", text)
    ] == []
    key = tree(PLAYBOOKS / "roles/broker/vars/main.yml")["broker_pair_tree"]["replication"][
        "key_file"
    ]
    assert key.startswith("/run/credentials/")


def test_every_file_of_yaml_can_be_read() -> None:
    """Playbooks and inventories are YAML that opens with its marker."""
    files = [*PLAYBOOKS.rglob("*.yml"), *(ROOT / "inventory").rglob("*.yml")]
    assert len(files) > 30
    unmarked = [p.name for p in files if not p.read_text().startswith(("---\n", "$ANSIBLE_VAULT"))]
    assert unmarked == []
    for path in files:
        list(yaml.safe_load_all(path.read_text()))


def test_every_playbook_has_its_page_line() -> None:
    """The table in docs/operating names each verb that there is, and no other."""
    text = (ROOT / "docs/operating/playbooks.md").read_text()
    told = set(re.findall(r"^\| `(\w+)\.yml", text, re.MULTILINE))
    assert told == {path.stem for path in PLAYBOOKS.glob("*.yml")}


CHANGES = re.compile(
    r"^(rmq_(?!host|state|holdings|tails)\w+|ansible\.builtin\.(systemd\w*|file|user|copy))$"
)


@pytest.mark.parametrize(
    "verb", ["switchover", "failover", "rejoin", "hosts", "scale_out", "topics"]
)
def test_a_plan_is_said_before_the_first_change(verb: str) -> None:
    """One line that begins with `plan: `; site, upgrade and rollback say that of hosts.yml."""
    names = []
    for play in tree(PLAYBOOKS / f"{verb}.yml"):
        for task in [*play.get("pre_tasks", []), *play.get("roles", []), *play.get("tasks", [])]:
            message = str(task.get("ansible.builtin.debug", {}).get("msg", ""))
            planned = message.startswith("plan: ") or "_plan" in message
            changing = "role" in task or any(CHANGES.match(key) for key in task)
            names += ["plan"] * planned + ["change"] * changing
    assert names[0] == "plan", names
    assert "change" in names or verb == "scale_out"


def ansible(*words: str) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs with our configuration."""
    where = Path(shutil.which("ansible-playbook") or ROOT / ".venv/bin/ansible-playbook").parent
    environ = {**os.environ, "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"), "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [str(where / words[0]), *words[1:]],
        capture_output=True, text=True, timeout=ANSIBLE_SECONDS, check=False, env=environ,
        cwd=ROOT, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("inventory", ["example", "single"])
def test_syntax_of_every_playbook(inventory: str) -> None:
    """Ansible itself takes each of them, with each inventory."""
    books = sorted(str(path) for path in PLAYBOOKS.glob("*.yml"))
    done = ansible("ansible-playbook", "-i", f"inventory/{inventory}", "--syntax-check", *books)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_keys_that_preflight_knows_are_the_programs() -> None:
    """Nobody edits that list by hand either."""
    assert settings_keys.FILE.read_text() == settings_keys.text()


def test_the_inventory_page_is_written_from_the_specs() -> None:
    """Nobody edits the table by hand."""
    assert PAGE.read_text() == page()


@pytest.mark.slow
def test_a_host_that_is_written_twice_is_refused(tmp_path: Path) -> None:
    """YAML would keep the last one silently."""
    twice = tmp_path / "hosts.yml"
    twice.write_text("---\nbrokers:\n  hosts:\n    a0: {ansible_host: h}\n    a0: {}\n")
    done = ansible("ansible-inventory", "-i", str(twice), "--list")
    assert done.returncode != 0
    assert "duplicate mapping key 'a0'" in done.stderr
