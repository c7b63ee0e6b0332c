#!/usr/bin/python
"""Read what a host is and has, in one round trip."""

DOCUMENTATION = r"""
module: rmq_host
short_description: What this host is, and what of broker-trio is on it
description:
  - Reads only. One round trip instead of fact gathering, for preflight and plans.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Changes nothing.}
options:
  root: {description: Where releases are installed., type: path, default: /opt/broker-trio}
  paths: {description: Folders whose file system is asked for., type: list, elements: path, default: []}
  ports: {description: TCP ports that will be needed., type: list, elements: int, default: []}
  address: {description: The address that must be this host's; empty asks nothing., type: str, default: ''}
  controller_time: {description: Seconds since 1970 on the controller., type: float, default: 0}
"""

EXAMPLES = r"""
- name: Read the host
  rmq_host:
    paths: [/var/lib/broker-trio]
    ports: [9876]
  register: host_now
"""

RETURN = r"""
facts:
  description:
    - python, systemd, clock, release, previous, digests, units, taken, volumes, stores, witness.
    - C(told) has the nameservers in each broker's file; C(late) the instances that began with another file than is there.
    - C(emptied) are the instances that decommission found empty, and had not taken away yet.
  returned: always
  type: dict
"""

import glob
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import time

from ansible.module_utils.basic import AnsibleModule

TOLD = re.compile(r"^nameservers = (\[.*\])$", re.MULTILINE)  # as our own files have it
EMPTIED = ".empty"
STARTED = "/run/broker-trio/%s/started"
OURS = re.compile(r"broker-trio-(nameserver|broker@[^.]+)\.service")


def volumes(paths):
    """For each path: its nearest existing folder's file system, and whether that is the root's."""
    root = os.stat("/").st_dev
    found = {}
    for path in paths:
        there = path
        while not os.path.exists(there):
            there = os.path.dirname(there)
        usage = shutil.disk_usage(there)
        found[path] = {
            "is_root": os.stat(there).st_dev == root,
            "free": usage.free,
            "total": usage.total,
        }
    return found


def listeners():
    """Port to the socket's inode, of everything that listens."""
    found = {}
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(name) as lines:
                rows = [line.split() for line in lines][1:]
        except OSError:
            continue
        for row in rows:
            if row[3] == "0A":
                found[int(row[1].rpartition(":")[2], 16)] = row[9]
    return found


def owner_of(inode):
    """The unit (or command) of the process that has this socket."""
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) != "socket:[%s]" % inode:
                continue
            process = link.split("/fd/")[0]
            with open(process + "/cgroup") as lines:
                unit = re.search(r"([^/]+\.service)", lines.read())
            with open(process + "/comm") as comm:
                return unit.group(1).strip() if unit else comm.read().strip()
        except OSError:
            continue
    return "somebody"


def taken(ports):
    """Who has which of these ports, other than our own units."""
    listening = listeners()
    owners = {port: owner_of(listening[port]) for port in ports if port in listening}
    return {str(port): who for port, who in owners.items() if not OURS.search(who)}


def units(module):
    """Our units and whether they run."""
    words = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "broker-trio-*"]
    code, out, err = module.run_command(words)
    rows = [line.split() for line in out.splitlines()]
    loaded = [row for row in rows if len(row) > 3 and row[1] == "loaded"]  # others are only named
    return {row[0]: row[2] for row in loaded if OURS.fullmatch(row[0])}


def told(pattern="/etc/broker-trio/*.toml"):
    """The nameservers that each broker's file names, by instance."""
    found = {}
    for path in sorted(glob.glob(pattern)):
        with open(path) as text:
            listed = TOLD.search(text.read())
        if listed:
            found[os.path.basename(path)[: -len(".toml")]] = json.loads(listed.group(1))
    return found


def late(instances, stamp=STARTED):
    """Those that began with something else than is on disk now: what they noted at their start says so."""
    found = []
    for instance in instances:
        try:
            with open(stamp % instance) as lines:
                noted = [line.split(None, 1) for line in lines if not line.startswith("release ")]
        except OSError:  # it does not run
            continue
        if any(digest != digest_of(path.strip()) for digest, path in noted):
            found.append(instance)
    return found


def digest_of(path):
    """sha256 of a file, "" where there is none."""
    try:
        with open(path, "rb") as content:
            return hashlib.sha256(content.read()).hexdigest()
    except OSError:
        return ""


def systemd_version(module):
    code, out, err = module.run_command(["systemctl", "--version"])
    found = re.match(r"systemd (\d+)", out)
    return int(found.group(1)) if found else 0


def has_address(address):
    """Whether this host can listen there; names are looked up here."""
    if not address:
        return True
    try:
        family, kind, proto, _, where = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as sock:
            sock.bind(where)
    except OSError:
        return False
    return True


def link_of(path):
    return os.path.basename(os.readlink(path)) if os.path.islink(path) else ""


def installed(root):
    """The releases whose installation was finished."""
    return sorted(os.path.basename(os.path.dirname(p)) for p in glob.glob(root + "/*/.installed"))


def main():
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/opt/broker-trio"},
            "paths": {"type": "list", "elements": "path", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "address": {"type": "str", "default": ""},
            "controller_time": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    params, now = module.params, time.time()
    files = told()
    module.exit_json(
        changed=False,
        facts={
            "python": "%d.%d" % sys.version_info[:2],
            "systemd": systemd_version(module),
            "asked_at": params["controller_time"],
            "clock": now,
            "release": link_of(params["root"] + "/current"),
            "previous": link_of(params["root"] + "/previous"),
            "releases": installed(params["root"]),
            "units": units(module),
            "told": files,
            "late": late(files),
            "emptied": [
                os.path.basename(p)[: -len(EMPTIED)]
                for p in glob.glob("/etc/broker-trio/*" + EMPTIED)
            ],
            "taken": taken(params["ports"]),
            "volumes": volumes(params["paths"]),
            "stores": [p for p in params["paths"] if os.path.exists(p + "/commitlog")],
            "witness": any(os.path.exists(p + "/witness.cbor") for p in params["paths"]),
            "has_address": has_address(params["address"]),
            "has_nft": bool(module.get_bin_path("nft")),
            "has_etc": os.path.isdir("/etc/broker-trio"),
        },
    )


if __name__ == "__main__":
    main()
