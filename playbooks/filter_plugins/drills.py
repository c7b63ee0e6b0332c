"""Whom each step of a drill is done to, and with which words, from the inventory.

    drill's steps + who is master now + inventory ──▶ steps with hosts and words for fault.sh

Pure functions, as in broker_trio.py beside this file, whose instances they use.
"""

import importlib.util
import os

_path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "broker_trio.py")
_spec = importlib.util.spec_from_file_location("broker_trio_filters", _path)
inventory = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(inventory)

KEY = "/etc/broker-trio/credentials/%s.pair-key"
BREAKS = (
    "kill", "poweroff", "cut", "isolate", "fill", "slow", "stall", "forget", "key", "restart",
)  # fmt: skip
COMMANDS = ("promote", "refused", "switchover", "degrade")


def members_of(whom, run, hostvars, groups):
    """Hosts with unit, data, and the other one's address."""
    names = groups["nameservers"]
    chosen = {"last": names[-1:], "others": names[1:], "all": names}
    if whom in chosen:
        return [
            {
                "host": host,
                "who": inventory.nameserver_of(hostvars[host])["address"],
                "unit": inventory.NAMESERVER_UNIT,
                "data": inventory.nameserver_of(hostvars[host])["data"],
                "instance": "nameserver",
                "other": "",
            }
            for host in chosen[whom]
        ]
    pair = [
        each
        for each in inventory.all_instances(hostvars, groups["brokers"])
        if each["name"] == run["pair"]
    ]
    other = {each["replica"]: each["address"] for each in pair}
    return [
        {
            **{key: each[key] for key in ("host", "unit", "data", "instance")},
            "who": each["replica"],
            "other": next((a for who, a in other.items() if who != each["replica"]), ""),
        }
        for each in pair
        if each["replica"] == run.get(whom)
    ]


def words_of(do, member, hostvars):
    """What fault.sh is told."""
    port = str(hostvars[member["host"]].get("ansible_port") or 22)
    told = {
        "isolate": [port],
        "cut": [member["other"].rpartition(":")[0]],
        "fill": [member["data"]],
        "slow": [member["unit"], member["data"]],
        "forget": [member["unit"], member["data"]],
        "key": [member["unit"], KEY % member["instance"]],
        "poweroff": [],
    }
    return [do, *told.get(do, [member["unit"]])]


def command_of(step, run):
    """What a person would type."""
    who = run.get(step["whom"], "")
    return {
        "promote": ["promote", who, "--one-copy"],
        "refused": ["promote", who, "--one-copy"],
        "switchover": ["switchover", run["master"], run["slave"]],
        "degrade": ["degrade", who],
    }.get(step["do"], [])


def hidden(targets, groups):
    """Among all hosts of the cluster, of which the others get `nothing` done to them."""
    hit = {target["host"]: target for target in targets}
    names = sorted({*groups["nameservers"], *groups["brokers"]})
    return [hit.get(name, {"host": name, "words": ["nothing"]}) for name in names]


def drill_steps(steps, run, hostvars, groups, human=False):
    """Each step with `kind` (fault, order, …), its targets and their words.

    `human`: so that who reads the play's output cannot tell who is hit.
    """
    found = []
    for step in steps:
        kind = step["do"]
        if kind in BREAKS or kind == "start":
            kind = "fault"
        elif kind in COMMANDS:
            kind = "order"
        members = members_of(step["whom"], run, hostvars, groups) if kind == "fault" else []
        targets = [{**each, "words": words_of(step["do"], each, hostvars)} for each in members]
        if human and targets:
            targets = hidden(targets, groups)
        command = command_of(step, run)
        found.append({**step, "kind": kind, "targets": targets, "command": command})
    return found


def drill_hosts(steps):
    """Every host that is going to be hit, once."""
    hosts = [target["host"] for step in steps for target in step["targets"]]
    return list(dict.fromkeys(hosts))


def drill_ends(steps, do):
    """Those whose power is taken away."""
    return [target["host"] for step in steps if step["do"] == do for target in step["targets"]]


class FilterModule:
    """What templates may call."""

    def filters(self):
        return {"bt_" + each.__name__: each for each in (drill_steps, drill_hosts, drill_ends)}
