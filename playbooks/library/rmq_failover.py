#!/usr/bin/python
"""An unplanned promotion in one round trip: look, fence what can be reached, promote the other."""

DOCUMENTATION = r"""
module: rmq_failover
short_description: Fence the member that is gone, as far as it can be reached, and promote the other
description:
  - Every second counts, so looking, fencing and promoting are one round trip. Each is the command line's own.
  - Refuses where the pair is whole, and wherever the promotion's own guards do.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Looks and makes the promotion's plan.}
  diff_mode: {support: none, description: The plan says what changes.}
options:
  nameservers: {description: Addresses of all nameservers as host:port., type: list, elements: str, required: true}
  program: {description: The command to ask with., type: str, default: /opt/broker-trio/current/bin/broker-trio}
  pair: {description: Name of the pair., type: str, required: true}
  to: {description: NAME/ID of the new master; empty is the member that is not., type: str, default: ''}
  addresses: {description: host:port of both members., type: list, elements: str, required: true}
  accept_loss: {description: Own although something may be lost., type: bool, default: false}
  reason: {description: Why a loss is accepted., type: str, default: ''}
  timeout: {description: Seconds that anybody has for an answer., type: int, default: 1}
  wait: {description: Seconds until it must be in force., type: int, default: 30}
"""

EXAMPLES = r"""
- name: Its master is gone
  rmq_failover:
    nameservers: [10.0.0.1:9876]
    pair: broker-a
    addresses: [10.0.0.3:10911, 10.0.0.4:10911]
"""

RETURN = r"""
to:
  description: The new master.
  returned: always
  type: str
fenced:
  description: What became of the fence of the other.
  returned: always
  type: str
verdict:
  description: done, already or planned.
  returned: always
  type: str
plan:
  description: What the promotion checked and did, and what may be lost.
  returned: always
  type: dict
seconds:
  description: How long looking, fencing and promoting took.
  returned: always
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_cli import OPTIONS, Cli

REFUSED, UNREACHABLE = 3, 4


def choose(pair, replicas, wanted):
    """The new master and the one that is left behind, as NAME/ID; empty where nobody answers.

    Only the owner answers after a promotion whose slave is still away: it is promoted "again",
    which finds that done or finishes it.
    """
    names = {"%s/%d" % (pair, each["replica_id"]): each["state"] for each in replicas}
    followers = [name for name, state in sorted(names.items()) if not state.startswith("owner")]
    to = wanted or (followers or sorted(names) or [""])[0]
    left = [name for name in sorted(names) if name != to]
    return to, (left or [""])[0]


class Failover:
    """The three steps, each with its time."""

    def __init__(self, module):
        self.module, self.params, self.cli = module, module.params, Cli(module)
        self.seconds = {}
        members = ["--replica", ";".join(self.params["addresses"])]
        self.common = [*members, "--timeout", str(self.params["timeout"])]

    def timed(self, name, call, *words):
        began = time.monotonic()
        answer = call(*words)
        self.seconds[name] = round(time.monotonic() - began, 2)
        return answer

    def look(self):
        """Who takes over, who is left behind; refuses what needs no failover."""
        pair = self.params["pair"]
        view = self.timed("look", self.cli.must, "pair", "status", pair, *self.common) or {}
        replicas = list(view.get("replicas", {}).values())
        if view.get("instruction", {}).get("verb") == "ok" and not self.params["to"]:
            text = (
                "%s is whole: switchover.yml hands it over without risk (or name one: -e to=%s/ID)"
            )
            self.module.fail_json(msg=text % (pair, pair), rc=REFUSED)
        to, left = choose(pair, replicas, self.params["to"])
        if not to:
            text = "no member of %s answers (%s): start one of them first"
            words = (pair, ", ".join(self.params["addresses"]))
            self.module.fail_json(msg=text % words, rc=UNREACHABLE)
        return to, left

    def fence(self, left):
        """What becomes of it, in words; who does not answer has no lease to serve by."""
        if not left:
            return "not reached: without the nameservers' lease it cannot acknowledge"
        if self.module.check_mode:
            return "%s would be fenced" % left
        words = ["fence", left, *self.common, "--wait", str(self.params["wait"]), "--yes"]
        answer = self.timed("fence", self.cli.ask, *words)
        if answer.code in (0, REFUSED, UNREACHABLE):
            return "%s is fenced" % left if not answer.code else answer.text
        self.module.fail_json(msg="fence %s: %s" % (left, answer.text), rc=answer.code)
        return ""

    def promote(self, to):
        loss = self.params["accept_loss"]
        words = ["promote", to, "--accept-loss" if loss else "--one-copy"]
        words += ["--reason", self.params["reason"]] if self.params["reason"] else []
        words += [*self.common, "--wait", str(self.params["wait"])]
        words.append("--dry-run" if self.module.check_mode else "--yes")
        return self.timed("promote", self.cli.must, *words) or {}


def main():
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "pair": {"type": "str", "required": True},
            "to": {"type": "str", "default": ""},
            "addresses": {"type": "list", "elements": "str", "required": True},
            "accept_loss": {"type": "bool", "default": False},
            "reason": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 1},
            "wait": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    failover = Failover(module)
    to, left = failover.look()
    fenced = failover.fence(left)
    answer = failover.promote(to)
    verdict = answer.get("verdict", "")
    module.exit_json(
        changed=verdict in ("done", "planned"),
        to=to,
        fenced=fenced,
        verdict=verdict,
        plan=answer.get("plan", {}),
        seconds=failover.seconds,
    )


if __name__ == "__main__":
    main()
