"""Each module's page (DOCUMENTATION, EXAMPLES, RETURN) says what it does, option for option."""

import sys
from typing import Any

import pytest
import yaml

from tests.unit.ops.playbooks import PLAYBOOKS, plugin

MODULES = sorted(p.stem for p in (PLAYBOOKS / "library").glob("*.py"))
for _path in sorted((PLAYBOOKS / "module_utils").glob("*.py")):  # as Ansible names them on hosts
    if f"ansible.module_utils.{_path.stem}" not in sys.modules:
        sys.modules[f"ansible.module_utils.{_path.stem}"] = plugin(f"module_utils/{_path.name}")
DECLARATIVE = ("rmq_topic", "rmq_group", "rmq_write_perm")


class Asked(Exception):
    """The module has said which options it takes."""


def spec_of(module: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments with which it makes its AnsibleModule."""
    found: dict[str, Any] = {}

    def ask(**words: Any) -> None:
        found.update(words)
        raise Asked

    monkeypatch.setattr(module, "AnsibleModule", ask)
    with pytest.raises(Asked):
        module.main()
    return found


def same(told: dict[str, Any], real: dict[str, Any], where: str) -> list[str]:
    """Where the page's options and the module's differ."""
    wrong = [f"{where}{name}" for name in told.keys() ^ real.keys()]
    for name in told.keys() & real.keys():
        page, option = told[name], real[name]
        wrong += [
            f"{where}{name}.{key}: {page.get(key)!r}, {option.get(key)!r}"
            for key in ("type", "required", "default", "choices", "elements")
            if page.get(key) != option.get(key) and (page.get(key) or option.get(key))
        ]
        wrong += [] if page.get("description") else [f"{where}{name} has no description"]
        inner = page.get("suboptions", {}), option.get("options", {})
        wrong += same(*inner, f"{where}{name}.")
    return wrong


@pytest.mark.parametrize("name", MODULES)
def test_a_page_says_what_the_module_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options with types, defaults and choices; both modes; an example; what comes back."""
    module = plugin(f"library/{name}.py")
    spec, page = spec_of(module, monkeypatch), yaml.safe_load(module.DOCUMENTATION)
    assert page["module"] == name
    assert same(page["options"], spec["argument_spec"], "") == []
    assert spec["supports_check_mode"] is True
    for mode in ("check_mode", "diff_mode"):
        assert page["attributes"][mode]["support"] in {"full", "partial", "none"}
        assert page["attributes"][mode]["description"]
    for task in yaml.safe_load(module.EXAMPLES):
        assert task[name].keys() <= page["options"].keys()
    for told in yaml.safe_load(module.RETURN).values():
        assert told.keys() >= {"description", "returned", "type"}


@pytest.mark.parametrize("name", DECLARATIVE)
def test_declarative_modules_have_both_modes(name: str) -> None:
    """A look says what would change, and shows it."""
    page = yaml.safe_load(plugin(f"library/{name}.py").DOCUMENTATION)
    assert [page["attributes"][mode]["support"] for mode in ("check_mode", "diff_mode")] == [
        "full",
        "full",
    ]
    assert "state" in page["options"]


def test_every_module_is_used() -> None:
    """By a playbook, a role or a drill."""
    text = "".join(path.read_text() for path in PLAYBOOKS.rglob("*.yml"))
    assert [name for name in MODULES if f"{name}:" not in text] == []
