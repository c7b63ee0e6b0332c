"""What the verbs that add, save and take away compute from an inventory and its hosts' facts.

    instances of the inventory ─┬─ a unit on their host ──▶ running
                                └─ none ──────────────────▶ added, where others run
    pair status ──▶ whom to copy from, up to where

Pure functions, as in broker_trio.py beside this file, whose instances they use.
"""

import importlib.util
import json
import os

_path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "broker_trio.py")
_spec = importlib.util.spec_from_file_location("broker_trio_filters", _path)
inventory = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(inventory)

WITNESSES_AT_ONCE = 1


def facts_of(hostvars, host):
    """What preflight read of a host; empty where it read nothing."""
    return hostvars[host].get("host_now", {}).get("facts", {})


def unread(hostvars, hosts):
    """The hosts that this run leaves out: preflight did not read them."""
    return [host for host in hosts if not facts_of(hostvars, host)]


def running(hostvars, hosts):
    """The hosts that have a unit of ours."""
    return [host for host in hosts if facts_of(hostvars, host).get("units")]


def strangers(hostvars, nameservers, brokers):
    """Nameservers that a running broker does not know: {host: the broker's instance}.

    Known is what its file says, where it began with that file; where it began with another, what that
    nameserver shows (`scale_seen`, a look of scale_out).
    """
    found = {}
    for host in nameservers:
        address = inventory.nameserver_of(hostvars[host])["address"]
        shown = [hostvars[each].get("scale_seen", {}).get("seen", {}) for each in nameservers]
        row = next((each[address] for each in shown if address in each), {})
        for each in inventory.all_instances(hostvars, brokers):
            facts = facts_of(hostvars, each["host"])
            told = facts.get("told", {}).get(each["instance"])
            if told is None or facts["units"].get(each["unit"]) != "active":
                continue
            waits = each["instance"] in facts["late"] and row
            unseen = waits and any(each["address"] in text for text in row.get("missing", []))
            if address not in told or unseen:
                found.setdefault(host, each["instance"])
    return found


def strange_nameservers(hostvars, groups):
    """Why site.yml would end at a gate: a nameserver that running brokers were not told of."""
    found = strangers(hostvars, groups.get("nameservers", []), groups.get("brokers", []))
    text = "%s is a nameserver that the running %s does not know: scale_out.yml adds it"
    return [text % (host, instance) for host, instance in sorted(found.items())]


def added(hostvars, nameservers, brokers):
    """What the inventory has and the cluster has not: nameservers, instances, and their hosts.

    A nameserver that runs, and that brokers were not told of, is one whose adding was cut short.
    """
    found = {"nameservers": [], "instances": [], "brokers": [], "hosts": []}
    unknown = strangers(hostvars, nameservers, brokers)
    for host in nameservers:
        runs = inventory.NAMESERVER_UNIT in facts_of(hostvars, host).get("units", {})
        if not runs or host in unknown:
            found["nameservers"].append(host)
    for each in inventory.all_instances(hostvars, brokers):
        if each["unit"] not in facts_of(hostvars, each["host"]).get("units", {}):
            found["instances"].append(each["instance"])
            found["brokers"].append(each["name"])
            found["hosts"].append(each["host"])
    found["brokers"] = sorted(set(found["brokers"]))
    found["hosts"] = sorted({*found["nameservers"], *found["hosts"]})
    return found


def scale_problems(hostvars, everybody, run, new, has_pairs, release):
    """Why nothing can be added now, in the operator's words."""
    there = running(hostvars, everybody)
    missing = sorted(set(everybody) - set(run))
    problems = []
    if missing:
        text = "--limit leaves out %s: everybody must hear of who is new"
        problems.append(text % ", ".join(missing))
    if not there:
        problems.append("nothing runs yet: site.yml deploys a new cluster")
    elif not new["hosts"]:
        problems.append(
            "the inventory has nothing that does not run already: add hosts to it first; "
            "site.yml ends a run that was cut short"
        )
    if there and has_pairs and len(new["nameservers"]) > WITNESSES_AT_ONCE:
        text = (
            "%d nameservers at once (%s): add them one by one, for two more could be a majority "
            "that knows nothing of the pairs"
        )
        problems.append(text % (len(new["nameservers"]), ", ".join(new["nameservers"])))
    others = sorted({facts_of(hostvars, host).get("release") or "none" for host in there})
    if there and others != [release]:
        text = "the bundle is %s and %s runs: upgrade.yml first, or -e runtime_release=%s"
        problems.append(text % (release or "missing", " and ".join(others), others[0]))
    return problems


def scale_plan(hostvars, everybody, new):
    """One line: who is added, and who is restarted to hear of it."""
    parts = ["nameserver %s" % host for host in new["nameservers"]]
    parts += ["broker %s" % name for name in new["brokers"]]
    there = len(running(hostvars, everybody))
    told = "nobody is restarted"
    if new["nameservers"]:
        told = "%d hosts restarted one at a time to hear of the nameserver" % there
    return "plan: add %s; %s" % (", ".join(parts), told)


def scale_said(topics, new):
    """What an operator should know once it is there, as lines."""
    lines = []
    if new["nameservers"]:
        lines.append(
            "clients go on with the nameservers that they know; those that start next, or that ask "
            "an address server, use the new one too: give them the longer list"
        )
    if new["brokers"]:
        try:
            rows = json.loads(topics)["topics"]
        except (ValueError, KeyError):
            rows = []
        most = max((row["brokers"] for row in rows), default=0)
        fewer = sorted(row["topic"] for row in rows if row["brokers"] < most or most == 1)
        lines.append("clients find the brokers at their next look, 30 s at most")
        if fewer:
            text = "not on every broker: %s; broker-trio topic create NAME --broker %s, or `topics`"
            lines.append(text % (", ".join(fewer), new["brokers"][0]))
    return lines


def emptied(hostvars, members):
    """Whether nothing of these has to be drained: a run before found them empty, and began to stop
    them; or they are not there at all."""
    known = [(each, facts_of(hostvars, each["host"])) for each in members]
    runs = [each["unit"] in facts.get("units", {}) for each, facts in known]
    noted = any(each["instance"] in facts.get("emptied", []) for each, facts in known)
    there = any(each["instance"] in facts.get("told", {}) for each, facts in known)
    return not all(runs) and (noted or not (there or any(runs)))


def restart_plan(groups, hosts, tags=("all",)):
    """One line: who is restarted, in which order; brokers were sorted only where the tags want them."""
    order = []
    if {"all", "restart_nameservers"} & set(tags):
        order += [each for each in groups.get("nameservers", []) if each in hosts]
    for role in ("slave", "master"):
        order += [each for each in groups.get("brokers_restart_" + role, []) if each in hosts]
    return "plan: restart %s, one at a time; a master hands over before" % ", ".join(order)


def unwell(asked):
    """Every reason out of registered answers of rmq_state; one that did not judge is a reason, too."""
    problems = []
    for each in asked:
        for one in each.get("results", [each]):
            if one.get("skipped"):
                continue
            if one.get("unreachable") or "missing" not in one:
                problems.append("cannot be asked: " + " ".join(str(one.get("msg", one)).split()))
            else:
                problems += one["missing"]
    return problems


def source_of(status, wanted=""):
    """Which replica a backup is taken from, out of `pair status`: the slave, or the one that is named.

    Gives {"replica", "address", "problem"}.
    """
    replicas = list(status.get("replicas", {}).values())
    name = status.get("broker_name", "")
    named = {"%s/%d" % (name, each["replica_id"]): each for each in replicas}
    told = status.get("instruction", {})
    if wanted:
        each = named.get(wanted)
        problem = "" if each else "%s does not answer; answered: %s" % (wanted, ", ".join(named))
        return {"replica": wanted, "address": (each or {}).get("address", ""), "problem": problem}
    slaves = [key for key, each in named.items() if each["state"] == "slave"]
    if told.get("verb") != "ok" or not slaves:
        text = "%s is not whole: %s; -e backup_from=%s/N copies one replica all the same"
        problem = text % (name, told.get("text") or "nobody answered", name)
        return {"replica": "", "address": "", "problem": problem}
    return {"replica": slaves[0], "address": named[slaves[0]]["address"], "problem": ""}


def chosen(results, hostvars, brokers, wanted=""):
    """For each broker name whom to copy: {name: {"replica", "address", "problem"}}."""
    found = {}
    for each in results:
        name = each["backup_name"]
        mine = [i for i in inventory.all_instances(hostvars, brokers) if i["name"] == name]
        if len(mine) == 1:
            found[name] = {**{k: mine[0][k] for k in ("replica", "address")}, "problem": ""}
            continue
        try:
            status = json.loads(each.get("stdout") or "{}")
        except ValueError:
            status = {}
        status.setdefault("broker_name", name)
        mine_wanted = wanted if wanted.rpartition("/")[0] == name else ""
        found[name] = source_of(status, mine_wanted)
    return found


def owner_known(text, replica):
    """Of `pair status`: "own" where this replica leads, "other" where it waits for an order, "" yet."""
    try:
        status = json.loads(text)
    except ValueError:
        return ""
    name = status["broker_name"]
    mine = [
        each
        for each in status["replicas"].values()
        if "%s/%d" % (name, each["replica_id"]) == replica
    ]
    if mine and mine[0]["state"].startswith("owner"):
        return "own"
    records = [each["record"] for each in status["witnesses"].values() if each["record"]]
    stranger = mine and all(mine[0]["kept"]["store_id"] != each["epoch"][1] for each in records)
    return "other" if records and stranger else ""


def recorded(text):
    """Of `pair status`: whether a nameserver has a record of this name, from whoever owned it."""
    try:
        status = json.loads(text)
    except ValueError:
        return False
    return any(each["record"] for each in status.get("witnesses", {}).values())


def answered(hostvars):
    """The hosts that destroy has read."""
    return [host for host in hostvars if "facts" in (hostvars[host].get("host_read") or {})]


def stores_of(hostvars, hosts):
    """Stores and records that hosts have, as HOST:PATH."""
    known = {host: hostvars[host].get("host_read", {}).get("facts", {}) for host in hosts}
    return ["%s:%s" % (host, path) for host in hosts for path in known[host].get("stores", [])]


def pair_command(name, program, ask):
    """The command that tells how a pair stands."""
    return [program, "pair", "status", name, *ask]


def collected(hostvars):
    """The hosts whose part of a support bundle is on the controller."""
    told = {host: hostvars[host].get("support_collected") or {} for host in hostvars}
    return [host for host, each in told.items() if each.get("files")]


class FilterModule:
    """What templates may call."""

    def filters(self):
        names = (
            unread, running, strange_nameservers, added, scale_problems, scale_plan, scale_said, emptied,
            restart_plan, unwell, source_of, chosen, owner_known, recorded, answered, stores_of, pair_command, collected,
        )  # fmt: skip
        return {"bt_" + each.__name__: each for each in names}
