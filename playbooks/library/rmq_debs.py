#!/usr/bin/python
"""Keep Debian packages installed, from a folder of .deb files or from the host's own sources."""

DOCUMENTATION = r"""
module: rmq_debs
short_description: Debian packages, with or without a network
description:
  - Installs what is missing; with a folder also what the folder has newer. Never removes, never downgrades.
  - A folder is installed whole, so it holds one role's packages and what they depend on.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Says what would be installed.}
  diff_mode: {support: full, description: Shows the versions before and after.}
options:
  packages: {description: Names of the packages that are wanted., type: list, elements: str, required: true}
  folder: {description: A folder of .deb files on this host; empty asks the host's sources., type: path, default: ''}
  install: {description: Install; else only tell what is there., type: bool, default: true}
"""

EXAMPLES = r"""
- name: Install Prometheus without any network
  rmq_debs:
    packages: [prometheus]
    folder: /var/cache/broker-trio/debs/prometheus
"""

RETURN = r"""
versions:
  description: Installed packages of those wanted, with their versions.
  returned: always
  type: dict
"""

import glob
import os

from ansible.module_utils.basic import AnsibleModule

QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
KEEP = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
NO_SOURCES = ["-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts=/dev/null"]


def run(module, *command):
    code, out, err = module.run_command(list(command), environ_update=QUIET)
    if code:
        text = "%s: exit code %d: %s" % (" ".join(command), code, (err or out).strip()[-800:])
        module.fail_json(msg=text, rc=code)
    return out


def installed(module, names):
    """Name to version, of those that are installed."""
    shown = "-f=${Package} ${Version} ${db:Status-Status}\\n"
    rows = module.run_command(["dpkg-query", "-W", shown, *names], environ_update=QUIET)[1]
    found = [row.split() for row in rows.splitlines()]
    return {row[0]: row[1] for row in found if len(row) == 3 and row[2] == "installed"}


def offered(module, folder):
    """Name to version and file, of a folder's packages."""
    found = {}
    for path in sorted(glob.glob(folder + "/*.deb")):
        shown = run(module, "dpkg-deb", "-W", "--showformat=${Package} ${Version}", path)
        name, version = shown.split()
        found[name] = (version, path)
    return found


def newer(module, there, have):
    """Names in `there` that are not installed, or older."""
    wanted = []
    for name, (version, _) in there.items():
        older = ["dpkg", "--compare-versions", have.get(name, ""), "lt-nl", version]
        if name not in have or module.run_command(older)[0] == 0:
            wanted.append(name)
    return sorted(wanted)


def from_folder(module, names, folder):
    """What the folder would change, and the command that does."""
    there = offered(module, folder)
    have = installed(module, sorted({*names, *there}))
    absent = [name for name in names if name not in there and name not in have]
    if absent:
        text = "%s holds no package %s: put its .deb and those that it depends on there"
        module.fail_json(msg=text % (folder, ", ".join(absent)))
    wanted = newer(module, there, have)
    paths = [there[name][1] for name in wanted]
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
    return wanted, [[*command, *KEEP, *NO_SOURCES, *paths]]


def from_sources(module, names):
    """What is missing, and the commands that install it."""
    have = installed(module, names)
    wanted = sorted(name for name in names if name not in have)
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *KEEP, *wanted]
    return wanted, [["apt-get", "update", "-q"], command]


def main():
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "folder": {"type": "path", "default": ""},
            "install": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    names, folder = module.params["packages"], module.params["folder"]
    before = installed(module, names)
    wanted, commands = [], []
    if module.params["install"] and folder and os.path.isdir(folder):
        wanted, commands = from_folder(module, names, folder)
    elif module.params["install"]:  # in check mode a folder may not have been copied yet
        wanted, commands = from_sources(module, names)
    if wanted and not module.check_mode:
        for command in commands:
            run(module, *command)
    after = installed(module, names) if wanted and not module.check_mode else before
    lacking = sorted(set(names) - set(after))
    if wanted and not module.check_mode and lacking:
        module.fail_json(msg="%s: not installed, apt-get said nothing" % ", ".join(lacking))
    shown = {**after, **dict.fromkeys(wanted, "to be installed")} if module.check_mode else after
    module.exit_json(
        changed=bool(wanted), versions=after, wanted=wanted, diff={"before": before, "after": shown}
    )


if __name__ == "__main__":
    main()
