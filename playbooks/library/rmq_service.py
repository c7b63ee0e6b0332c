#!/usr/bin/python
"""Bring a unit up, and say whether it runs what is on disk now."""

DOCUMENTATION = r"""
module: rmq_service
short_description: Start or restart a unit of ours, and compare what it runs with what is on disk
description:
  - At its start each unit notes its release and the hashes of its files. A difference makes it I(stale).
  - A run that was interrupted between a change and the restart is therefore noticed by the next run.
  - I(state=started) never restarts what runs; I(state=restarted) does, and waits until it is ready.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Says what would be started.}
  diff_mode: {support: none, description: The state of a unit is one word.}
options:
  unit: {description: Name of the unit., type: str, required: true}
  stamp: {description: File that the unit writes at its start., type: path, required: true}
  files: {description: Files that the unit depends on., type: list, elements: path, default: []}
  hashes: {description: sha256 of files that check mode has not written., type: dict, default: {}}
  release: {description: Release that should run., type: str, required: true}
  root:
    description: Where releases are installed; with it a restart shows I(release) as current first.
    type: str
    default: ''
  state: {description: What to bring about., type: str, choices: [started, restarted, stopped], default: started}
"""

EXAMPLES = r"""
- name: Start the nameserver
  rmq_service:
    unit: broker-trio-nameserver.service
    stamp: /run/broker-trio/nameserver/started
    files: [/etc/broker-trio/nameserver.toml]
    release: 0.3.0-1a2b3c4d
"""

RETURN = r"""
stale:
  description: Whether it runs something else than what is on disk.
  returned: always
  type: bool
why:
  description: What differs.
  returned: always
  type: list
active:
  description: Whether it ran before.
  returned: always
  type: bool
"""

import hashlib
import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_links import on_disk, switch

LINES = "20"


def wanted(files, release):
    """What the unit would note if it started now, by name."""
    found = {"release": release}
    for path in files:
        try:
            with open(path, "rb") as content:
                found[path] = hashlib.sha256(content.read()).hexdigest()
        except OSError:
            found[path] = "missing"
    return found


def noted(stamp):
    """What it noted: lines of `release NAME` and `HASH  FILE`."""
    found = {}
    try:
        with open(stamp) as lines:
            for line in lines:
                first, _, rest = line.strip().partition(" ")
                if first == "release":
                    found["release"] = os.path.basename(rest)
                else:
                    found[rest.strip()] = first
    except OSError:
        pass
    return found


def systemctl(module, *words):
    return module.run_command(["systemctl", *words])


def bring(module, verb, unit):
    """Start or restart what is on the disk; a failure comes with the journal's last lines."""
    systemctl(module, "daemon-reload")
    systemctl(module, "enable", "--quiet", unit)
    on_disk(module, "/etc")
    systemctl(module, "reset-failed", unit)
    code, out, err = systemctl(module, verb, unit)
    if code:
        _, lines, _ = module.run_command(["journalctl", "-u", unit, "-n", LINES, "-o", "cat"])
        module.fail_json(msg="%s %s: %s" % (verb, unit, err.strip()), journal=lines.splitlines())


def main():
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "stamp": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "hashes": {"type": "dict", "default": {}},
            "release": {"type": "str", "required": True},
            "root": {"type": "str", "default": ""},
            "state": {
                "type": "str",
                "choices": ["started", "restarted", "stopped"],
                "default": "started",
            },
        },
        supports_check_mode=True,
    )
    params = module.params
    unit = params["unit"]
    active = systemctl(module, "is-active", "--quiet", unit)[0] == 0
    enabled = systemctl(module, "is-enabled", "--quiet", unit)[0] == 0
    want, have = wanted(params["files"], params["release"]), noted(params["stamp"])
    want.update(params["hashes"])
    why = sorted(name for name in want if want[name] != have.get(name)) if active else []
    result = {"active": active, "stale": bool(why), "why": why, "changed": False}
    if params["state"] == "stopped":
        result["changed"] = active
        if active and not module.check_mode:
            code, out, err = systemctl(module, "stop", unit)
            if code:
                module.fail_json(msg="stop %s: %s" % (unit, err.strip()))
    elif params["state"] == "restarted":
        result["changed"] = True
        if params["root"]:
            switch(module, params["root"], params["release"])
        if not module.check_mode:
            bring(module, "restart", unit)
    elif not active:
        result["changed"] = True
        if not module.check_mode:
            bring(module, "start", unit)
    elif not enabled:
        result["changed"] = True
        if not module.check_mode:
            systemctl(module, "enable", "--quiet", unit)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
