#!/usr/bin/python
"""Collect what a helper far away needs to know of this host, without a secret in it."""

DOCUMENTATION = r"""
module: rmq_support
short_description: Logs, redacted settings, metrics and facts of a host as one tar file
description:
  - Reads only, but for the tar file that it writes. Nothing that cannot be read ends it; index.txt says what could not.
  - Values of keys that are called like secrets are replaced, and so is each credential's content wherever it stands.
  - I(state=joined) makes one tar file of the hosts' on the controller.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Writes nothing.}
  diff_mode: {support: none, description: A file that was not there.}
options:
  dest: {description: The tar file to write., type: path, required: true}
  name: {description: Folder inside of it., type: str, required: true}
  units: {description: Whose journals are taken., type: list, elements: str, default: []}
  doors: {description: HTTP doors as host:port., type: list, elements: str, default: []}
  stores: {description: Data folders., type: list, elements: path, default: []}
  commands: {description: Further commands to run and keep., type: list, elements: list, default: []}
  since: {description: How far back journals are taken, as journalctl knows it., type: str, default: '-24h'}
  lines: {description: Most lines of each journal., type: int, default: 20000}
  parts: {description: With joined, the hosts' tar files., type: list, elements: path, default: []}
  notes: {description: With joined, texts by file name., type: dict, default: {}}
  state: {description: What to bring about., type: str, choices: [collected, joined], default: collected}
"""

EXAMPLES = r"""
- name: Collect
  rmq_support:
    dest: /tmp/support.tar.gz
    name: broker-a0
    units: [broker-trio-broker@broker-a-1.service]
    doors: [10.0.0.4:10913]
"""

RETURN = r"""
files:
  description: What is in it.
  returned: always
  type: list
missing:
  description: What could not be had, and why.
  returned: always
  type: list
"""

import glob
import io
import os
import re
import tarfile
import time
import urllib.error
import urllib.request

from ansible.module_utils.basic import AnsibleModule

SECRET = re.compile(
    r"(?im)^(\s*[\"']?[\w.-]*(?:secret|password|passwd|token|credential|private|access_key|pair_key)[\w.-]*[\"']?\s*[=:]\s*)(.+)$"
)
HIDDEN = "[redacted]"
CREDENTIALS = "/etc/broker-trio/credentials"
TEXT_BYTES_MAX = 64 << 20
SHORT = 8  # a credential shorter than this would hide half of every text
KEPT = [
    "/etc/broker-trio/*.toml",
    "/etc/broker-trio/*.nft",
    "/etc/systemd/system/broker-trio-*",
    "/etc/systemd/system/broker-trio-*.d/*",
    "/etc/sysctl.d/60-broker-trio.conf",
    "/run/broker-trio/*/started",
]
ASKED = {
    "host/uptime.txt": ["uptime"],
    "host/date.txt": ["date", "-Is"],
    "host/kernel.txt": ["uname", "-a"],
    "host/disks.txt": ["df", "-hT"],
    "host/memory.txt": ["free", "-m"],
    "host/addresses.txt": ["ip", "address"],
    "host/sockets.txt": ["ss", "-tanp"],
    "host/firewall.txt": ["nft", "list", "ruleset"],
    "host/processes.txt": ["ps", "-eo", "pid,ppid,user,rss,pcpu,etime,stat,comm,args"],
    "host/releases.txt": ["ls", "-l", "/opt/broker-trio"],
    "host/credentials.txt": ["ls", "-l", CREDENTIALS],
    "host/kernel-log.txt": ["journalctl", "-k", "-n", "500", "--no-pager"],
}


def secrets_in(folder):
    """The contents of credentials: they may stand nowhere in what leaves the host."""
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "*"))):
        try:
            with open(path, "rb") as content:
                value = content.read().strip().decode("utf-8", "replace")
        except OSError:
            continue
        if len(value) >= SHORT:
            found.append(value)
    return found


def redacted(text, secrets):
    """The text without values that are called or known as secrets."""
    text = SECRET.sub(lambda match: match.group(1) + HIDDEN, text)
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


class Bundle:
    """A tar file of texts, each redacted, and the list of what could not be had."""

    def __init__(self, module):
        self.module, self.params = module, module.params
        self.secrets = secrets_in(CREDENTIALS)
        self.texts, self.missing = {}, []

    def keep(self, name, text):
        if len(text) > TEXT_BYTES_MAX:
            text = "(the last part)\n" + text[-TEXT_BYTES_MAX:]
        self.texts[name] = redacted(text, self.secrets)

    def lack(self, name, why):
        self.missing.append("%s: %s" % (name, why))

    def ran(self, name, command):
        try:
            code, out, err = self.module.run_command(command, handle_exceptions=False)
        except OSError as error:
            self.lack(name, error)
            return
        self.keep(name, out + (("\n" + err) if err else ""))
        if code:
            self.lack(name, "%s ended by %d" % (" ".join(command), code))

    def files(self, patterns):
        for path in sorted({path for pattern in patterns for path in glob.glob(pattern)}):
            if os.path.isfile(path):
                try:
                    with open(path, errors="replace") as text:
                        self.keep("files" + path, text.read(TEXT_BYTES_MAX))
                except OSError as error:
                    self.lack(path, error)

    def door(self, address):
        for page in ("metrics", "readyz"):
            name = "http/%s-%s.txt" % (address.replace(":", "-"), page)
            try:
                url = "http://%s/%s" % (address, page)
                with urllib.request.urlopen(url, timeout=10) as answer:
                    self.keep(name, answer.read(TEXT_BYTES_MAX).decode("utf-8", "replace"))
            except urllib.error.HTTPError as error:
                with error:
                    body = error.read(TEXT_BYTES_MAX).decode("utf-8", "replace")
                self.keep(name, "%d\n%s" % (error.code, body))
            except OSError as error:
                self.lack(name, error)

    def collect(self):
        params = self.params
        for name, command in ASKED.items():
            self.ran(name, command)
        self.files(KEPT)
        for unit in params["units"]:
            self.ran("units/%s.txt" % unit, ["systemctl", "status", "--no-pager", "-l", unit])
            words = ["--since", params["since"], "-n", str(params["lines"]), "-o", "short-iso"]
            self.ran("logs/%s.log" % unit, ["journalctl", "--no-pager", "-u", unit, *words])
        for door in params["doors"]:
            self.door(door)
        for number, command in enumerate(params["commands"]):
            words = [
                each for each in command[1:] if not each.startswith("-") and ":" not in each
            ] or ["version"]
            self.ran("cluster/%02d-%s.txt" % (number, "-".join(words[:3])), command)
        for store in params["stores"]:
            name = "stores/%s.txt" % store.strip("/").replace("/", "-")
            self.ran(
                name,
                ["find", store, "-xdev", "-type", "f", "-printf", "%P %s %b %TY-%Tm-%TdT%TH:%TM\n"],
            )

    def write(self):
        self.texts["index.txt"] = "".join(
            line + "\n" for line in [*sorted(self.texts), "", "missing:", *self.missing]
        )
        now, unfinished = time.time(), self.params["dest"] + ".part"
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, text in sorted(self.texts.items()):
                data = text.encode("utf-8", "replace")
                entry = tarfile.TarInfo("%s/%s" % (self.params["name"], name))
                entry.size, entry.mtime, entry.mode = len(data), int(now), 0o600
                tar.addfile(entry, io.BytesIO(data))
        os.replace(unfinished, self.params["dest"])


def joined(params):
    """One tar of the hosts', and who gave none."""
    unfinished, names = params["dest"] + ".part", []
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in sorted(params["notes"].items()):
            data = text.encode()
            entry = tarfile.TarInfo("%s/%s" % (params["name"], name))
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            tar.addfile(entry, io.BytesIO(data))
            names.append(entry.name)
        for part in params["parts"]:
            with tarfile.open(part) as host:
                for entry in host:
                    content = host.extractfile(entry)
                    entry.name = "%s/%s" % (params["name"], entry.name)
                    tar.addfile(entry, content)
                    names.append(entry.name)
    os.replace(unfinished, params["dest"])
    return names


def main():
    strings = {"type": "list", "elements": "str", "default": []}
    paths = {"type": "list", "elements": "path", "default": []}
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "units": strings,
            "doors": strings,
            "stores": paths,
            "commands": {"type": "list", "elements": "list", "default": []},
            "since": {"type": "str", "default": "-24h"},
            "lines": {"type": "int", "default": 20000},
            "parts": paths,
            "notes": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["collected", "joined"], "default": "collected"},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True, files=[], missing=[])
    if module.params["state"] == "joined":
        module.exit_json(changed=True, files=joined(module.params), missing=[])
    bundle = Bundle(module)
    bundle.collect()
    bundle.write()
    module.exit_json(changed=True, files=sorted(bundle.texts), missing=bundle.missing)


if __name__ == "__main__":
    main()
