"""The playbooks' plugins as modules, and the roles' files as trees."""

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
PLAYBOOKS = ROOT / "playbooks"
ROLES = sorted(p.name for p in (PLAYBOOKS / "roles").iterdir() if (p / "defaults").is_dir())
OURS = (
    "base", "runtime", "nameserver", "broker",
    "node_exporter", "prometheus", "alertmanager", "grafana",
)  # fmt: skip


def tree(path: Path) -> Any:
    """A YAML file; an empty dict where there is none."""
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def plugin(path: str) -> types.ModuleType:
    """A plugin by its path under playbooks/, loaded as Ansible would."""
    file = PLAYBOOKS / path
    spec = importlib.util.spec_from_file_location(f"playbooks_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Ended(Exception):
    """A module has answered."""


class Answering:
    """An AnsibleModule's two ways to end; what it answered is in `result`, its warnings beside."""

    result: dict[str, Any]
    warned: list[str]

    def warn(self, text: str) -> None:
        self.warned = [*getattr(self, "warned", []), text]

    def exit_json(self, **result: Any) -> None:
        self.result = result
        raise Ended

    def fail_json(self, **result: Any) -> None:
        self.result = {**result, "failed": True}
        raise Ended
