#!/usr/bin/python
"""Ask a broker or nameserver, and everybody it depends on, whether it serves or may be taken out."""

DOCUMENTATION = r"""
module: rmq_state
short_description: Wait until a program serves, or may be taken out
description:
  - Reads only. Asks the program's own readiness, every nameserver, and where it has a pair, the pair.
  - I(expect=serving) is ready, registered at every nameserver, and where it has a pair, both copies there.
  - I(expect=removable) is the same for its pair before it is taken out; for a nameserver, that another serves.
author: [broker_trio]
attributes:
  check_mode:
    support: full
    description: Looks once, and warns of what a run would wait for; what nobody changed cannot come about.
  diff_mode: {support: none, description: Changes nothing.}
options:
  nameservers: {description: Addresses of all nameservers as host:port., type: list, elements: str, required: true}
  program: {description: The command to ask with., type: str, default: /opt/broker-trio/current/bin/broker-trio}
  kind: {description: Which program., type: str, choices: [nameserver, broker], default: broker}
  address: {description: Its address as host:port., type: str, default: ''}
  http: {description: Its HTTP door as host:port; empty asks nothing., type: str, default: ''}
  broker_name: {description: Name of the broker., type: str, default: ''}
  pair: {description: Whether it has a pair., type: bool, default: false}
  expect: {description: What must hold., type: str, choices: [serving, removable, anything], default: serving}
  members:
    description: Several programs asked together; each is a dict of I(kind), I(address), I(http), I(broker_name), I(pair).
    type: list
    elements: dict
    default: []
  timeout: {description: Seconds to wait for it., type: int, default: 90}
  advice: {description: What to do where it does not come about., type: str, default: ''}
"""

EXAMPLES = r"""
- name: Go on only when it is really back
  rmq_state:
    nameservers: [10.0.0.1:9876]
    address: 10.0.0.4:10911
    http: 10.0.0.4:10913
    broker_name: broker-a
    pair: true
"""

RETURN = r"""
missing:
  description: What does not hold, in words; empty when all does.
  returned: always
  type: list
role:
  description: master or slave as of now; empty where nobody knows.
  returned: always
  type: str
roles:
  description: The same of each of I(members), by address.
  returned: always
  type: dict
waited:
  description: Seconds until it held.
  returned: always
  type: float
"""

import json
import time
import urllib.error
import urllib.request

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_cli import OPTIONS, Cli

POLL_S = 0.5
LEADING = ("owner", "owner, paused")


def readiness(http):
    """What /readyz lacks; empty when it is ready."""
    try:
        with urllib.request.urlopen("http://%s/readyz" % http, timeout=5):
            return []
    except urllib.error.HTTPError as error:
        with error:
            body = error.read()
        try:
            return ["%s is not ready: %s" % (http, ", ".join(json.loads(body)["reasons"]))]
        except (ValueError, KeyError):
            return ["%s is not ready: status %s" % (http, error.code)]
    except OSError as error:
        return ["%s does not answer: %s" % (http, error)]


class Look:
    """One look at everybody: what is missing, and the role of today."""

    def __init__(self, params, cli):
        self.params, self.cli = params, cli
        self.missing, self.role, self.seen = [], "", {}

    def all(self):
        if self.params["http"] and self.params["expect"] == "serving":
            self.missing += readiness(self.params["http"])
        if not self.missing:
            (self.nameserver if self.params["kind"] == "nameserver" else self.broker)()
        return self

    def nameserver(self):
        """One of several: the others show the same, and at least one of them serves."""
        answer = self.cli.ask_once("cluster", "nameservers")
        rows = (answer.data or {}).get("nameservers", [])
        self.seen = {row["nameserver"]: row for row in rows}
        serving = {name for name, row in self.seen.items() if "error" not in row}
        if self.params["expect"] == "removable":
            if not serving - {self.params["address"]} and len(self.params["nameservers"]) > 1:
                self.missing.append("no other nameserver serves: clients would find nobody")
            return
        own = self.seen.get(self.params["address"], {"error": answer.text or "nobody answered"})
        if "error" in own:
            self.missing.append("%s: %s" % (self.params["address"], own["error"]))
        elif own["missing"]:
            self.missing.append("%s shows %s" % (self.params["address"], "; ".join(own["missing"])))

    def broker(self):
        if self.params["expect"] == "serving":
            for nameserver in self.params["nameservers"]:
                self.registered(nameserver)
        if self.params["pair"]:
            self.in_pair()
        else:
            self.role = "master"

    def registered(self, nameserver):
        answer = self.cli.ask_once("cluster", "list", nameservers=[nameserver])
        rows = (answer.data or {}).get("brokers", [])
        if answer.code:
            self.missing.append("%s: %s" % (nameserver, answer.text))
        elif not any(row["address"] == self.params["address"] for row in rows):
            self.missing.append("%s does not show %s" % (nameserver, self.params["address"]))

    def in_pair(self):
        answer = self.cli.ask_once("pair", "status", self.params["broker_name"])
        if answer.code or not answer.data:
            self.missing.append("pair %s: %s" % (self.params["broker_name"], answer.text))
            return
        self.seen = answer.data
        told = answer.data["instruction"]
        if told["verb"] != "ok":
            self.missing.append("pair %s: %s" % (self.params["broker_name"], told["text"]))
        for status in answer.data["replicas"].values():
            if status["address"] == self.params["address"]:
                self.role = "master" if status["state"] in LEADING else "slave"


def members_of(params):
    """Everybody who is asked for: those of `members`, or the one of the parameters."""
    common = {"kind": "broker", "address": "", "http": "", "broker_name": "", "pair": False}
    return [{**params, **common, **each} for each in params["members"]] or [params]


def main():
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "kind": {"type": "str", "choices": ["nameserver", "broker"], "default": "broker"},
            "address": {"type": "str", "default": ""},
            "http": {"type": "str", "default": ""},
            "broker_name": {"type": "str", "default": ""},
            "pair": {"type": "bool", "default": False},
            "members": {"type": "list", "elements": "dict", "default": []},
            "expect": {
                "type": "str",
                "choices": ["serving", "removable", "anything"],
                "default": "serving",
            },
            "timeout": {"type": "int", "default": 90},
            "advice": {"type": "str", "default": ""},
        },
        required_one_of=[["address", "members"]],
        supports_check_mode=True,
    )
    cli, began = Cli(module), time.monotonic()
    result = {"missing": ["not installed yet"], "role": "", "roles": {}, "waited": 0.0, "seen": {}}
    if not cli.is_installed:
        module.exit_json(changed=False, **result)
    members = members_of(module.params)
    while True:
        cli.forget()
        looks = [Look(each, cli).all() for each in members]
        missing = [text for look in looks for text in look.missing]
        waited = round(time.monotonic() - began, 2)
        roles = {look.params["address"]: look.role for look in looks}
        result = {"missing": missing, "role": looks[0].role, "roles": roles, "waited": waited}
        result["seen"] = looks[0].seen
        if module.check_mode and missing and module.params["expect"] != "anything":
            module.warn("a run would wait for: %s" % "; ".join(sorted(set(missing))))
        if not missing or module.check_mode or module.params["expect"] == "anything":
            module.exit_json(changed=False, **result)
        if waited >= module.params["timeout"]:
            text = "%s not %s after %d s: %s"
            words = (", ".join(roles), module.params["expect"], waited)
            advice = [module.params["advice"]] if module.params["advice"] else []
            msg = text % (*words, "; ".join(sorted(set(missing)) + advice))
            module.fail_json(msg=msg, **result)
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
