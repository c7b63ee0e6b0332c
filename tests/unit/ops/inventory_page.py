"""Writes docs/operating/inventory.md from the roles' argument specs, run as a program."""

import json

from tests.unit.ops.playbooks import OURS, PLAYBOOKS, ROOT, tree

PAGE = ROOT / "docs/operating/inventory.md"
HEAD = """# Inventory reference

Written from the roles' argument specs: `uv run python -m tests.unit.ops.inventory_page`.
Groups are `nameservers`, `brokers` and `monitors`; a host may be in several.
`ansible_host`, or `cluster_address` where that differs, is the address that the cluster uses.
A host with several brokers lists them in `broker_instances`, each with its own name and id.
Or it says `brokers_per_host: 2`: `broker_name`, and from the second on `broker_name-2`, `-3`, …,
with ports ten above; in a pair both hosts say the same.
"""


def page() -> str:
    """The page's text."""
    parts = [HEAD]
    for role in OURS:
        main = tree(PLAYBOOKS / "roles" / role / "meta/argument_specs.yml")["argument_specs"][
            "main"
        ]
        parts.append(f"\n## {role}\n\n{main['short_description']}\n")
        parts.append("\n| variable | type | default | what |\n|---|---|---|---|\n")
        for name, option in sorted(main["options"].items()):
            default = "required" if option.get("required") else f"`{json.dumps(option['default'])}`"
            words = " ".join(option["description"].split()).replace("|", "\\|")
            parts.append(f"| `{name}` | {option['type']} | {default} | {words} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
