"""What playbooks compute from an inventory: instances, addresses, mistakes, plans. Pure functions.

    host variables ──▶ instances_of ──▶ ports, addresses, TOML
    all hosts      ──▶ cluster_problems   mistakes that no host must be asked for
    facts of a host ─▶ host_problems      mistakes that only the host shows
    both           ──▶ plan_line          what is going to happen, in a line

An instance is `<broker name>-<replica id>`; the replica id is the inventory's broker_id + 1. The
broker id says who starts as master on the very first day and nothing ever after: roles live in the
stores' records.
"""

import difflib
import json
import os
import re
import tarfile

NAMESERVER_PORT, BROKER_PORT = 9876, 10911
NAMESERVER_UNIT = "broker-trio-nameserver.service"
PREFIXES = (
    "base_", "runtime_", "nameserver_", "broker_", "brokers_",
    "node_exporter_", "prometheus_", "alertmanager_", "grafana_",
)  # fmt: skip
NOT_OPTIONS = {
    "broker_name",
    "broker_id",
    "broker_instances",
    "brokers_per_host",
    "broker_trio_cluster",
    "broker_trio_lock",
}
CLOCK_SKEW_S = 0.5
PYTHON_MIN, SYSTEMD_MIN, KEY_CHARS_MIN = (3, 11), 247, 16
FREE_RATIO_MIN = 0.10


def address_of(variables):
    """The address that the cluster uses for a host."""
    return variables.get("cluster_address") or variables.get("ansible_host") or ""


def declared_of(variables):
    """A host's brokers as the inventory names them: one by one, or as many as brokers_per_host says."""
    if variables.get("broker_instances"):
        return variables["broker_instances"]
    first = {k: variables[k] for k in ("broker_name", "broker_id") if k in variables}
    more = range(2, int(variables.get("brokers_per_host") or 1) + 1)
    return [first] + [
        {**first, "broker_name": "%s-%d" % (first.get("broker_name", ""), number)}
        for number in more
    ]


def data_of(each, variables, instance, index):
    """The folder of a store: its own, the host's, a folder on its turn's disk, or the default."""
    told = each.get("broker_data") or variables.get("broker_data")
    disks = variables.get("broker_disks") or []
    if told or not disks:
        return told or "/var/lib/broker-trio/" + instance
    return "%s/%s" % (disks[index % len(disks)].rstrip("/"), instance)


def instances_of(variables):
    """A host's brokers, each with everything that its files and doors need."""
    found = []
    for index, each in enumerate(declared_of(variables)):
        name, number = each.get("broker_name", ""), int(each.get("broker_id", 0))
        port = int(each.get("broker_port", variables.get("broker_port", BROKER_PORT) + 10 * index))
        instance = "%s-%d" % (name, number + 1)
        host = address_of(variables)
        found.append(
            {
                "name": name,
                "id": number,
                "instance": instance,
                "replica": "%s/%d" % (name, number + 1),
                "port": port,
                "data": data_of(each, variables, instance, index),
                "address": "%s:%d" % (host, port),
                "http": "%s:%d" % (host, port + 2),
                "unit": "broker-trio-broker@%s.service" % instance,
            }
        )
    return found


def all_instances(hostvars, hosts):
    """Every broker of the inventory, with its host."""
    return [
        {**instance, "host": host} for host in hosts for instance in instances_of(hostvars[host])
    ]


def nameserver_of(variables):
    """A nameserver's doors."""
    host, port = address_of(variables), int(variables.get("nameserver_port", NAMESERVER_PORT))
    return {
        "address": "%s:%d" % (host, port),
        "http": "%s:%d" % (host, port + 2),
        "port": port,
        "data": variables.get("nameserver_data") or "/var/lib/broker-trio/nameserver",
    }


def nameservers_of(hostvars, hosts):
    """The addresses of all nameservers."""
    return [nameserver_of(hostvars[host])["address"] for host in hosts]


def peer_of(hostvars, hosts, name, number):
    """The other member of a pair; an empty dict for a broker alone."""
    pair = [each for each in all_instances(hostvars, hosts) if each["name"] == name]
    return next((each for each in pair if each["id"] != int(number)), {})


def members_of(hostvars, groups, hosts, group):
    """What `rmq_state` asks for: every program of these hosts that belongs to the group."""
    if group == "nameservers":
        doors = [nameserver_of(hostvars[host]) for host in hosts]
        return [{"kind": "nameserver", "address": d["address"], "http": d["http"]} for d in doors]
    return [
        {
            "address": each["address"],
            "http": each["http"],
            "broker_name": each["name"],
            "pair": bool(peer_of(hostvars, groups["brokers"], each["name"], each["id"])),
        }
        for each in all_instances(hostvars, hosts)
    ]


def role_now(hostvars, host, roles):
    """master where one of the host's instances is one today, by its address."""
    mine = [roles.get(each["address"]) for each in instances_of(hostvars[host])]
    return "master" if "master" in mine else "slave"


def ports_of(variables, groups):
    """TCP ports that a host's programs listen on."""
    found = []
    if "nameservers" in groups:
        port = nameserver_of(variables)["port"]
        found += [port, port + 2]
    if "brokers" in groups:
        found += [
            each["port"] + offset for each in instances_of(variables) for offset in (-2, 0, 1, 2)
        ]
    return sorted(found)


def paths_of(variables, groups):
    """Folders that a host's programs keep data in."""
    found = [nameserver_of(variables)["data"]] if "nameservers" in groups else []
    return found + (
        [each["data"] for each in instances_of(variables)] if "brokers" in groups else []
    )


def bundle_facts(path):
    """Release, version and digest of a bundle; `problem` says why there are none."""
    none = {"path": path, "problem": "", "version": "", "digest": "", "release": "", "python": ""}
    if not path:
        return {**none, "problem": "runtime_bundle names no file: broker-trio bundle .bundles"}
    try:
        with tarfile.open(path) as tar:
            manifest = json.load(tar.extractfile("manifest.json"))
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        text = "runtime_bundle %s: %s; build it: broker-trio bundle .bundles" % (path, error)
        return {**none, "problem": text}
    release = "%s-%s" % (manifest["version"], manifest["digest"][:8])
    return {**none, **{k: manifest[k] for k in ("version", "digest", "python")}, "release": release}


def twice(values):
    """Those that are there more than once."""
    return sorted({value for value in values if value and values.count(value) > 1})


def pair_problems(instances):
    """What is wrong with the shape of each broker name."""
    problems = []
    for name in sorted({each["name"] for each in instances}):
        members = [each for each in instances if each["name"] == name]
        where = ", ".join("%s on %s" % (each["id"], each["host"]) for each in members)
        masters = sum(each["id"] == 0 for each in members)
        if not name:
            problems.append("no broker_name on %s" % ", ".join(each["host"] for each in members))
        elif masters != 1:
            problems.append(
                "broker %s wants exactly one broker_id 0, has %d (%s)" % (name, masters, where)
            )
        elif len(members) > 2 or len({each["id"] for each in members}) != len(members):
            problems.append(
                "broker %s wants one member or two with two ids, has %s" % (name, where)
            )
    return problems


def shared_stores(instances):
    """Stores of one host in one folder: two brokers would write into each other's log."""
    problems = []
    for host in sorted({each["host"] for each in instances}):
        mine = [each for each in instances if each["host"] == host]
        for path in twice([each["data"] for each in mine]):
            who = ", ".join(each["instance"] for each in mine if each["data"] == path)
            text = "%s: %s all have the store %s: broker_disks, or broker_data of each instance"
            problems.append(text % (host, who, path))
    return problems


def option_problems(variables, known):
    """Variables of ours that no role has, with the nearest that one has."""
    problems = []
    for name in sorted(variables):
        if not name.startswith(PREFIXES) or name in known or name in NOT_OPTIONS:
            continue
        near = difflib.get_close_matches(name, known, 1)
        hint = ", is it %s?" % near[0] if near else ""
        problems.append("unknown variable %s%s" % (name, hint))
    return problems


def unknown_keys(found, known, where, path=""):
    """Keys of a tree of settings that no program reads, with the nearest that one does."""
    problems = []
    for key in sorted(found):
        name = path + key
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = ", is it %s%s?" % (path, near[0]) if near else ""
            problems.append("unknown key %s in %s%s" % (name, where, hint))
        elif known[key] and not isinstance(found[key], dict):
            problems.append(
                "%s in %s is a section: %s" % (name, where, ", ".join(sorted(known[key])))
            )
        elif isinstance(found[key], dict):
            problems += unknown_keys(found[key], known[key], where, name + ".")
    return problems


def settings_problems(variables, settings):
    """Mistakes in broker_settings and nameserver_settings; `settings` is what programs read."""
    problems = []
    for role, known in sorted(settings.items()):
        where = role + "_settings"
        if not isinstance(variables.get(where, {}), dict):
            problems.append("%s is no dictionary of sections" % where)
        else:
            problems += unknown_keys(variables.get(where, {}), known, where)
    return problems


def cluster_problems(hostvars, groups, known, settings):
    """Everything that the inventory alone shows to be wrong, in the operator's words.

    `known` are the variables that roles have, `settings` the keys that programs read.
    """
    nameservers, brokers = groups.get("nameservers", []), groups.get("brokers", [])
    hosts = sorted({*nameservers, *brokers})
    instances = all_instances(hostvars, brokers)
    problems = (
        []
        if nameservers
        else ["group nameservers is empty: nobody would tell clients where brokers are"]
    )
    problems += [] if brokers else ["group brokers is empty"]
    problems += pair_problems(instances) + shared_stores(instances)
    everywhere = sorted({*hosts, *groups.get("monitors", [])})
    named = [host for host in everywhere if not address_of(hostvars[host])]
    problems += ["no address of %s: set ansible_host or cluster_address" % host for host in named]
    doors = nameservers_of(hostvars, nameservers) + [each["address"] for each in instances]
    problems += ["address %s is there twice" % each for each in twice(doors)]
    if any(hostvars[host].get("allow_insecure_listen") is not True for host in hosts):
        problems.append(
            "accounts and TLS do not exist yet: set allow_insecure_listen: true to serve without them"
        )
    names = [each["name"] for each in instances]
    paired = {e["name"] for e in instances if e["id"] != 0 or names.count(e["name"]) > 1}
    for each in instances:
        key = str(hostvars[each["host"]].get("broker_pair_key") or "")
        if each["name"] in paired and len(key) < KEY_CHARS_MIN:
            text = "no broker_pair_key of at least %d characters for pair %s on %s (keep it in the vault)"
            problems.append(text % (KEY_CHARS_MIN, each["name"], each["host"]))
    for host in everywhere:
        found = option_problems(hostvars[host], known)
        found += settings_problems(hostvars[host], settings)
        problems += ["%s: %s" % (host, p) for p in found]
    return problems


def volume_problems(facts, variables, groups):
    """Data folders without a volume of their own, and volumes without space."""
    problems = []
    for path, volume in sorted(facts["volumes"].items()):
        mine = "brokers" in groups and path in [each["data"] for each in instances_of(variables)]
        if mine and volume["is_root"] and not variables.get("broker_on_root_disk"):
            text = "%s would fill the root disk: mount a volume there, or set broker_on_root_disk: true"
            problems.append(text % path)
        if volume["free"] < FREE_RATIO_MIN * volume["total"]:
            free = 100.0 * volume["free"] / max(1, volume["total"])
            problems.append("%s has %.0f %% free, wanted are 10 %%" % (path, free))
    return problems


def clock_problems(facts, seen_at):
    """A clock that is off for certain: the question took time, and the answer was read later still."""
    if not facts["asked_at"]:
        return []
    at_least, at_most = facts["clock"] - seen_at, facts["clock"] - facts["asked_at"]
    off = at_least if at_least > 0 else min(at_most, 0.0)
    if abs(off) <= CLOCK_SKEW_S:
        return []
    return ["the clock is %+.1f s from the controller's: timedatectl set-ntp true" % off]


def host_problems(facts, variables, groups, bundle, seen_at):
    """What only the host itself shows to be wrong; `seen_at` is the controller's time now."""
    problems = []
    python = tuple(int(part) for part in facts["python"].split("."))
    if python < PYTHON_MIN:
        problems.append("python3 is %s, wanted is 3.11 or newer" % facts["python"])
    elif bundle.get("python") and bundle["python"] != facts["python"]:
        text = "python3 is %s, the bundle is for %s: broker-trio bundle .bundles --python %s"
        problems.append(text % (facts["python"], bundle["python"], facts["python"]))
    if facts["systemd"] < SYSTEMD_MIN:
        problems.append("systemd is %s, wanted is %d or newer" % (facts["systemd"], SYSTEMD_MIN))
    problems += clock_problems(facts, seen_at)
    for port, who in sorted(facts["taken"].items()):
        problems.append("port %s is taken by %s" % (port, who))
    if not facts["has_address"]:
        problems.append("%s is no address of this host" % address_of(variables))
    if variables.get("base_firewall", True) and not facts["has_nft"]:
        problems.append("nft is missing: install nftables, or set base_firewall: false")
    return problems + volume_problems(facts, variables, groups)


def problems_read(read, variables, groups, bundle, seen_at):
    """The same of a host as `rmq_host` answered, or why it did not."""
    if "facts" in read:
        return host_problems(read["facts"], variables, groups, bundle, seen_at)
    told = " ".join(str(read.get("msg", "no answer")).split())
    words = (
        "cannot be read: %s; wanted are ssh, a user that may become root, python3 %d.%d or newer"
    )
    return [words % (told.rstrip("."), *PYTHON_MIN)]


def problems_of(hostvars, hosts):
    """What `problems_read` found, each with its host."""
    return [
        "%s: %s" % (host, text)
        for host in hosts
        for text in hostvars[host].get("preflight_problems", [])
    ]


def is_new(hostvars, hosts):
    """Whether no host has a record or a store: there is nothing that anybody could have forgotten."""
    known = [hostvars[host].get("host_now", {}).get("facts") for host in hosts]
    return all(facts is not None for facts in known) and not any(
        facts["witness"] or facts["stores"] for facts in known
    )


def said_of_pairs(results):
    """The instruction of each pair, or why there is none; from results of `pair status --json`."""
    found = {}
    for each in results:
        try:
            found[each["pair_name"]] = json.loads(each["stdout"])["instruction"]["text"]
        except (KeyError, ValueError):
            found[each["pair_name"]] = each.get("stderr", "no answer")
    return found


def plan_line(hostvars, hosts, release):
    """One line that says what is going to happen."""
    known = {host: hostvars[host].get("host_now", {}).get("facts", {}) for host in hosts}
    fresh = sorted(host for host, facts in known.items() if not facts.get("units"))
    other = sorted(
        host
        for host, facts in known.items()
        if facts.get("units") and facts.get("release") != release
    )
    rest = len(hosts) - len(fresh) - len(other)
    parts = []
    if fresh:
        parts.append("%d deployed with %s (%s)" % (len(fresh), release, ", ".join(fresh)))
    if other:
        parts.append(
            "%d changed to %s, one at a time (%s)" % (len(other), release, ", ".join(other))
        )
    if rest:
        parts.append("%d on %s already, compared" % (rest, release))
    return "plan: " + "; ".join(parts)


def _bare(key):
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _value(value):
    if isinstance(value, (list, tuple)):
        return "[%s]" % ", ".join(_value(each) for each in value)
    return json.dumps(value if isinstance(value, (bool, int, float)) else str(value))


def to_toml(tree, title=""):
    """A tree of tables, lists and scalars as TOML; scalars first, tables by name."""
    lines = ["%s = %s" % (_bare(k), _value(v)) for k, v in tree.items() if not isinstance(v, dict)]
    for key, table in sorted((k, v) for k, v in tree.items() if isinstance(v, dict)):
        name = "%s.%s" % (title, _bare(key)) if title else _bare(key)
        lines += ["", "[%s]" % name, to_toml(table, name).rstrip("\n")]
    return "\n".join(lines) + "\n"


def roles_options(folder):
    """The names of all options of all roles, from their argument specs."""
    import yaml  # noqa: PLC0415 - ansible's own

    found = set()
    for role in sorted(os.listdir(folder)):
        path = os.path.join(folder, role, "meta", "argument_specs.yml")
        if os.path.exists(path):
            with open(path) as text:
                for entry in yaml.safe_load(text)["argument_specs"].values():
                    found |= set(entry.get("options", {}))
    return sorted(found)


class FilterModule:
    """What templates may call."""

    def filters(self):
        names = (
            address_of, instances_of, all_instances, nameserver_of, nameservers_of, peer_of, ports_of, paths_of,
            members_of, role_now, bundle_facts, cluster_problems, problems_read, problems_of, is_new,
            said_of_pairs, plan_line, to_toml, roles_options,
        )  # fmt: skip
        return {"bt_" + each.__name__: each for each in names}
