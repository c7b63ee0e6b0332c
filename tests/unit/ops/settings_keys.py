"""Writes playbooks/vars/settings.yml: which keys the programs' files may have, run as a program.

Preflight compares an inventory's `broker_settings` and `nameserver_settings` with it, so that a
wrong key is found with all other mistakes, before anything changes, without our program at hand.
"""

from typing import Any

import msgspec
import yaml

from broker_trio.cli.config_example import struct_of
from tests.unit.ops.playbooks import PLAYBOOKS

FILE = PLAYBOOKS / "vars/settings.yml"
HEAD = """---
# Written from the programs' settings: uv run python -m tests.unit.ops.settings_keys
# Which keys broker_settings and nameserver_settings may have; a key without others is a value.
"""


def keys_of(config: msgspec.Struct) -> dict[str, Any]:
    """Each key with those of its section."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(type(config)):
        value = getattr(config, field.name)
        found[field.encode_name] = keys_of(value) if isinstance(value, msgspec.Struct) else {}
    return found


def text() -> str:
    """The file's text."""
    known = {role: keys_of(struct_of(role)()) for role in ("broker", "nameserver")}
    return HEAD + yaml.safe_dump({"known_settings": known})


if __name__ == "__main__":
    FILE.write_text(text())
