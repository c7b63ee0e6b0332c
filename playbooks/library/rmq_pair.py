#!/usr/bin/python
"""Carry out a guarded command of a pair: the command line's own, its plan and its verdict."""

DOCUMENTATION = r"""
module: rmq_pair
short_description: switchover, promote, fence, rejoin, degrade, restore and adopt
description:
  - Runs the installed command, which looks, plans, checks its guards and acts; it can be run again at any time.
  - In check mode the plan is made and nothing done.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Prints the plan.}
  diff_mode: {support: none, description: The plan says what changes.}
options:
  nameservers: {description: Addresses of all nameservers as host:port., type: list, elements: str, required: true}
  program: {description: The command to ask with., type: str, default: /opt/broker-trio/current/bin/broker-trio}
  verb:
    description: The command.
    type: str
    required: true
    choices: [switchover, promote, fence, rejoin, degrade, restore, adopt]
  replicas: {description: NAME/ID in the command's order., type: list, elements: str, default: []}
  one_copy: {description: Of promote, acknowledge alone until a slave is restored., type: bool, default: false}
  accept_loss: {description: Of promote, own although something may be lost., type: bool, default: false}
  fenced_host: {description: Of promote, this host is off and stays off., type: str, default: ''}
  reason: {description: Why a risk is accepted., type: str, default: ''}
  addresses: {description: host:port of replicas that are not registered., type: list, elements: str, default: []}
  timeout: {description: Seconds that anybody has for an answer., type: int, default: 5}
  wait: {description: Seconds until it must be in force., type: int, default: 30}
"""

EXAMPLES = r"""
- name: Hand the pair over
  rmq_pair:
    nameservers: [10.0.0.1:9876]
    verb: switchover
    replicas: [broker-a/1, broker-a/2]
"""

RETURN = r"""
verdict:
  description: done, already, planned or refused.
  returned: always
  type: str
plan:
  description: What the command checked and did, and what may be lost.
  returned: always
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_cli import OPTIONS, Cli

VERBS = ["switchover", "promote", "fence", "rejoin", "degrade", "restore", "adopt"]
OF_PAIR = ("rejoin", "adopt")


def words_of(params):
    """The command line of these parameters."""
    words = ["pair"] if params["verb"] in OF_PAIR else []
    words += [params["verb"], *params["replicas"]]
    if params["one_copy"]:
        words.append("--one-copy")
    if params["accept_loss"]:
        words.append("--accept-loss")
    if params["fenced_host"]:
        words += ["--fenced", params["fenced_host"]]
    if params["reason"]:
        words += ["--reason", params["reason"]]
    if params["addresses"]:
        words += ["--replica", ";".join(params["addresses"])]
    return [*words, "--timeout", str(params["timeout"]), "--wait", str(params["wait"])]


def main():
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "verb": {"type": "str", "required": True, "choices": VERBS},
            "replicas": {"type": "list", "elements": "str", "default": []},
            "one_copy": {"type": "bool", "default": False},
            "accept_loss": {"type": "bool", "default": False},
            "fenced_host": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 5},
            "wait": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    cli = Cli(module)
    if module.check_mode and not cli.is_installed:
        module.exit_json(changed=True, verdict="planned", plan={})
    how = "--dry-run" if module.check_mode else "--yes"
    answer = cli.must(*words_of(module.params), how) or {}
    verdict = answer.get("verdict", "")
    module.exit_json(
        changed=verdict in ("done", "planned"),
        verdict=verdict,
        plan=answer.get("plan", {}),
        status=answer.get("status", {}),
    )


if __name__ == "__main__":
    main()
