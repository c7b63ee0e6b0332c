#!/usr/bin/python
"""Keep a broker in, or out of, the producers' write path."""

DOCUMENTATION = r"""
module: rmq_write_perm
short_description: Drain or open a broker for writes at every nameserver
description:
  - Compares what each nameserver shows with what is wanted and changes only those that differ.
  - C(drained) then waits until nothing was put for I(quiet_for) seconds, for producers learn by their next look.
  - A broker that registers a change of its topics opens itself again at the nameservers. Run it again before it matters.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Says what would change and waits for nothing.}
  diff_mode: {support: full, description: Shows the permission at each nameserver before and after.}
options:
  nameservers: {description: Addresses of all nameservers as host:port., type: list, elements: str, required: true}
  program: {description: The command to ask with., type: str, default: /opt/broker-trio/current/bin/broker-trio}
  broker_name: {description: Name of the broker., type: str, required: true}
  state: {description: What to bring about., type: str, choices: [open, drained], default: open}
  quiet_for: {description: Seconds without any put before drained counts; 0 does not wait., type: int, default: 5}
  timeout: {description: Seconds to wait for that altogether., type: int, default: 90}
"""

EXAMPLES = r"""
- name: Take broker-a out of the write path
  rmq_write_perm:
    nameservers: [10.0.0.1:9876, 10.0.0.2:9876]
    broker_name: broker-a
    state: drained
"""

RETURN = r"""
before:
  description: Permission at each nameserver when the module started.
  returned: always
  type: dict
  sample: {"10.0.0.1:9876": "rw"}
waited:
  description: Seconds until the last put was quiet_for seconds ago.
  returned: when state is drained
  type: float
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_cli import OPTIONS, Cli

POLL_S = 1.0
PERMS = {"open": "rw", "drained": "r"}
UNKNOWN = "unknown"


def shown(cli, name):
    """What each nameserver shows of the topic that is called like the broker: every broker has one."""
    found = {}
    for address in cli.module.params["nameservers"]:
        answer = cli.ask("topic", "route", name, nameservers=[address])
        rows = (answer.data or {}).get("brokers", []) if not answer.code else []
        perms = [row["perm"] for row in rows if row["name"] == name]
        found[address] = "".join(c for c in "rw" if c in perms[0]) if perms else UNKNOWN
    return found


def quiet(cli, name, quiet_for, timeout):
    """Wait until nothing was put for so long; seconds, or None where it never was."""
    began = moved = time.monotonic()
    puts = None
    while True:
        told = (cli.must("cluster", "info", name) or {}).get("msgPutTotalTodayNow")
        now = time.monotonic()
        if told != puts:
            puts, moved = told, now
        if now - moved >= quiet_for:
            return round(now - began, 1)
        if now - began >= timeout:
            return None
        time.sleep(POLL_S)


def main():
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "broker_name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["open", "drained"], "default": "open"},
            "quiet_for": {"type": "int", "default": 5},
            "timeout": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    params, cli = module.params, Cli(module)
    name, want = params["broker_name"], PERMS[params["state"]]
    if module.check_mode and not cli.is_installed:
        module.exit_json(changed=False, before={})
    before = shown(cli, name)
    silent = sorted(address for address, perm in before.items() if perm == UNKNOWN)
    if silent:
        text = "%s is not shown by %s: a drain must hold at every nameserver; look at health.yml"
        module.fail_json(msg=text % (name, ", ".join(silent)), before=before)
    wrong = sorted(address for address, perm in before.items() if perm != want)
    result = {
        "changed": bool(wrong),
        "before": before,
        "diff": {"before": before, "after": dict.fromkeys(before, want)},
    }
    if module.check_mode:
        module.exit_json(**result)
    verb = "drain" if params["state"] == "drained" else "undrain"
    for address in wrong:
        cli.must("cluster", verb, name, nameservers=[address])
    if params["state"] == "drained" and params["quiet_for"]:
        result["waited"] = quiet(cli, name, params["quiet_for"], params["timeout"])
        if result["waited"] is None:
            text = "%s is drained at every nameserver and still gets messages after %d s: a producer keeps its route; cluster info %s"
            module.fail_json(msg=text % (name, params["timeout"], name), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
