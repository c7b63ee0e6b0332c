#!/usr/bin/python
"""Keep a topic as the inventory says."""

DOCUMENTATION = r"""
module: rmq_topic
short_description: Topics as inventory data
description:
  - Compares what brokers have with what is wanted and changes what differs, only that.
  - A topic that holds messages is deleted only where I(even_with_messages) says so.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Says what would change.}
  diff_mode: {support: full, description: Shows queues and permission before and after.}
options:
  nameservers: {description: Addresses of all nameservers as host:port., type: list, elements: str, required: true}
  program: {description: The command to ask with., type: str, default: /opt/broker-trio/current/bin/broker-trio}
  name: {description: Name of the topic., type: str, required: true}
  queues: {description: Read and write queues a broker., type: int, default: 8}
  perm: {description: What clients may do., type: str, choices: [r, w, rw], default: rw}
  coming:
    description: Brokers that the same run adds; check mode, which added none, counts them in.
    type: list
    elements: str
    default: []
  even_with_messages: {description: Delete it although it holds messages., type: bool, default: false}
  state: {description: What to bring about., type: str, choices: [present, absent], default: present}
"""

EXAMPLES = r"""
- name: Have a topic
  rmq_topic:
    nameservers: [10.0.0.1:9876]
    name: orders
    queues: 4
"""

RETURN = r"""
before:
  description: What each broker had.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_cli import OPTIONS, Cli


def now(cli, name):
    """What each broker has of this topic: queues and permission; empty where none has it."""
    if name not in (cli.must("topic", "list") or {}).get("topics", []):
        return {}
    route = cli.must("topic", "route", name) or {}
    return {
        row["name"]: {
            "read_queues": row["read_queues"],
            "write_queues": row["write_queues"],
            "perm": row["perm"],
        }
        for row in route.get("brokers", [])
    }


def main():
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "name": {"type": "str", "required": True},
            "queues": {"type": "int", "default": 8},
            "perm": {"type": "str", "choices": ["r", "w", "rw"], "default": "rw"},
            "even_with_messages": {"type": "bool", "default": False},
            "coming": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    params, cli = module.params, Cli(module)
    name, queues = params["name"], str(params["queues"])
    if module.check_mode and not cli.is_installed:
        module.exit_json(changed=params["state"] == "present", before={})
    before = now(cli, name)
    want = {
        "read_queues": params["queues"],
        "write_queues": params["queues"],
        "perm": params["perm"],
    }
    if params["state"] == "absent":
        if before and not module.check_mode:
            cli.must("topic", "delete", name, *(["--yes"] if params["even_with_messages"] else []))
        diff = {"before": before, "after": {}}
        module.exit_json(changed=bool(before), before=before, diff=diff)
    coming = set(params["coming"]) if module.check_mode else set()
    brokers = brokers_of(cli) | set(before) | coming
    missing = sorted(brokers - set(before))
    wrong = sorted(broker for broker, have in before.items() if have != want)
    if not module.check_mode:
        if missing and not before:
            cli.must("topic", "create", name, "--queues", queues, "--perm", params["perm"])
        else:
            for broker in missing:
                words = ["--queues", queues, "--perm", params["perm"], "--broker", broker]
                cli.must("topic", "create", name, *words)
        for broker in wrong:
            words = ["--queues", queues, "--perm", params["perm"], "--broker", broker]
            cli.must("topic", "change", name, *words)
    diff = {"before": before, "after": dict.fromkeys(sorted(brokers), want)}
    module.exit_json(changed=bool(missing or wrong), before=before, diff=diff)


def brokers_of(cli):
    """The names of all brokers that take writes."""
    rows = (cli.must("cluster", "list") or {}).get("brokers", [])
    return {row["broker"] for row in rows if row["role"] == "master"}


if __name__ == "__main__":
    main()
