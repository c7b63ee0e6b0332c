#!/usr/bin/python
"""Keep a consumer group as the inventory says."""

DOCUMENTATION = r"""
module: rmq_group
short_description: Consumer groups as inventory data
description:
  - Compares what brokers have with what is wanted and changes what differs, only that.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Says what would change.}
  diff_mode: {support: full, description: Shows settings before and after.}
options:
  nameservers: {description: Addresses of all nameservers as host:port., type: list, elements: str, required: true}
  program: {description: The command to ask with., type: str, default: /opt/broker-trio/current/bin/broker-trio}
  name: {description: Name of the group., type: str, required: true}
  retries: {description: Attempts before a message is a dead letter., type: int, default: 16}
  ordered: {description: Whether its members consume in order., type: bool, default: false}
  coming:
    description: Brokers that the same run adds; check mode, which added none, counts them in.
    type: list
    elements: str
    default: []
  enabled: {description: Whether it may consume at all., type: bool, default: true}
  state: {description: What to bring about., type: str, choices: [present, absent], default: present}
"""

EXAMPLES = r"""
- name: Have a group
  rmq_group:
    nameservers: [10.0.0.1:9876]
    name: billing
    retries: 5
"""

RETURN = r"""
before:
  description: What each broker had.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_cli import OPTIONS, Cli

KEYS = ("retries", "ordered", "enabled")


def now(cli, name):
    """What each broker has of this group; empty where none has it."""
    if name not in (cli.must("group", "list") or {}).get("groups", []):
        return {}
    rows = (cli.must("group", "describe", name) or {}).get("brokers", [])
    return {row["broker"]: {key: row[key] for key in KEYS} for row in rows}


def main():
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "name": {"type": "str", "required": True},
            "retries": {"type": "int", "default": 16},
            "ordered": {"type": "bool", "default": False},
            "enabled": {"type": "bool", "default": True},
            "coming": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params, cli = module.params, Cli(module)
    name = params["name"]
    if module.check_mode and not cli.is_installed:
        module.exit_json(changed=params["state"] == "present", before={})
    before = now(cli, name)
    want = {key: params[key] for key in KEYS}
    if params["state"] == "absent":
        if before and not module.check_mode:
            cli.must("group", "delete", name)
        diff = {"before": before, "after": {}}
        module.exit_json(changed=bool(before), before=before, diff=diff)
    rows = (cli.must("cluster", "list") or {}).get("brokers", [])
    coming = set(params["coming"]) if module.check_mode else set()
    brokers = {row["broker"] for row in rows if row["role"] == "master"} | set(before) | coming
    missing = sorted(brokers - set(before))
    wrong = sorted(broker for broker, have in before.items() if have != want)
    if not module.check_mode:
        carry_out(cli, params, missing if before else ["all"] * bool(missing), wrong)
    diff = {"before": before, "after": dict.fromkeys(sorted(brokers), want)}
    module.exit_json(changed=bool(missing or wrong), before=before, diff=diff)


def carry_out(cli, params, missing, wrong):
    """Create where it is missing, then set what a creation cannot say."""
    retries = ["--retries", str(params["retries"])]
    for broker in missing:
        words = [*retries, *(["--ordered"] if params["ordered"] else [])]
        words += [] if broker == "all" else ["--broker", broker]
        cli.must("group", "create", params["name"], *words)
    if wrong or (missing and not params["enabled"]):
        words = ["--ordered" if params["ordered"] else "--unordered"]
        words.append("--enable" if params["enabled"] else "--disable")
        cli.must("group", "change", params["name"], *retries, *words)


if __name__ == "__main__":
    main()
