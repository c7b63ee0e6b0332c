#!/usr/bin/python
"""Save a store while its broker runs, or look whether a saved one is whole."""

DOCUMENTATION = r"""
module: rmq_backup
short_description: Copy a running broker's store to a folder, consistent as of one offset
description:
  - Offsets and delays are copied first, then the pair is asked how far the log is confirmed and on disk here, then the
    log up to there, then topics and groups. So no place points at what is not in the log, and no delay was taken for delivered.
  - What is derived from the log is left out, and so is the store's identity.
  - I(state=verified) compares a folder with its manifest and changes nothing.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Says how many bytes would be copied.}
  diff_mode: {support: none, description: A folder that was not there.}
options:
  nameservers: {description: Addresses of all nameservers as host:port., type: list, elements: str, default: []}
  program: {description: The command to ask with., type: str, default: /opt/broker-trio/current/bin/broker-trio}
  broker_name: {description: Name of the broker., type: str, default: ''}
  replica: {description: NAME/ID of the replica that is copied., type: str, default: ''}
  address: {description: Its address as host:port., type: str, default: ''}
  pair: {description: Whether it has a pair., type: bool, default: false}
  data: {description: Its data folder., type: path, default: ''}
  settings: {description: Its configuration file, kept for people., type: path, default: ''}
  folder: {description: Where the backup is., type: path, required: true}
  cluster: {description: The cluster's name., type: str, default: ''}
  piece_bytes: {description: Size of a piece of the log., type: int, default: 33554432}
  state: {description: What to bring about., type: str, choices: [taken, verified], default: taken}
"""

EXAMPLES = r"""
- name: Save a slave's store
  rmq_backup:
    nameservers: [10.0.0.1:9876]
    broker_name: broker-a
    replica: broker-a/2
    address: 10.0.0.5:10911
    pair: true
    data: /var/lib/broker-trio/broker-a-2
    folder: /var/backups/broker-trio/broker-a
"""

RETURN = r"""
manifest:
  description: Broker, epoch, begin and end of the log, files with sizes and hashes.
  returned: always
  type: dict
digest:
  description: Of a verified backup, the sha256 of its manifest.
  returned: always
  type: str
seconds:
  description: How long it took.
  returned: always
  type: float
"""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_cli import Cli
from ansible.module_utils.rmq_saved import BLOCK, FORMAT, MANIFEST, problems_of, read_manifest, sync

LATE = (
    "topics.json",
    "subscriptionGroup.json",
)  # a message of a topic that is not there is unreadable
SPARE = 64 << 20
LEADING = ("owner", "owner, paused")


class Asked:
    """What the pair said of this replica: up to where its log counts, and in which epoch."""

    def __init__(self, cli, params):
        self.status = {}
        if not params["pair"]:
            info = cli.must("cluster", "info", params["address"])
            self.end, self.store_id, self.epoch = int(info["commitLogMaxOffset"]), "", ""
            return
        self.status = cli.must("pair", "status", params["broker_name"])
        replicas = list(self.status["replicas"].values())
        mine = [each for each in replicas if each["address"] == params["address"]]
        if not mine:
            text = "%s does not answer: %s" % (params["replica"], self.status["silent"])
            cli.module.fail_json(msg=text)
        owners = [each["confirm_offset"] for each in replicas if each["state"] in LEADING]
        kept = mine[0]["kept"]
        self.end = min([mine[0]["durable_end"], *owners])
        self.store_id, self.epoch = kept["store_id"], kept["settled"]["epoch"]


class Taking:
    """One copy: files are written, hashed and noted in the order that makes it consistent."""

    def __init__(self, module, cli):
        self.module, self.cli, self.params = module, cli, module.params
        self.folder, self.files = module.params["folder"], []

    def configs(self, late):
        """Names of the small files that come before, or after, the log."""
        found = sorted(glob.glob(os.path.join(self.params["data"], "config", "*.json")))
        return [path for path in found if (os.path.basename(path) in LATE) == late]

    def note(self, path, size, digest):
        self.files.append({"path": path, "size": size, "sha256": digest})

    def write(self, path, data):
        target = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        with open(target, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        self.note(path, len(data), hashlib.sha256(data).hexdigest())

    def copy_configs(self, late):
        for path in self.configs(late):
            with open(path, "rb") as content:
                self.write("config/" + os.path.basename(path), content.read())

    def segments(self):
        """(base, open file) of each segment; open, they stay whole although retention unlinks them."""
        found = []
        for path in sorted(glob.glob(os.path.join(self.params["data"], "commitlog", "[0-9]" * 20))):
            try:
                found.append((int(os.path.basename(path)), open(path, "rb")))
            except FileNotFoundError:  # retention took it and everything before it
                for _, content in found:
                    content.close()
                found = []
        return found

    def copy_log(self, segments, end):
        for base, content in segments:
            last = min(base + os.fstat(content.fileno()).st_size, end)
            at = base
            while at < last:
                at += self.piece(content, at - base, at, min(self.params["piece_bytes"], last - at))

    def piece(self, content, place, at, size):
        path, digest, left = "log/%020d" % at, hashlib.sha256(), size
        target = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        with open(target, "wb") as out:
            while left:
                block = os.pread(content.fileno(), min(BLOCK, left), place + size - left)
                if not block:
                    text = "the log of %s ends at %d, it should reach further"
                    self.module.fail_json(msg=text % (self.params["data"], at + size - left))
                digest.update(block)
                out.write(block)
                left -= len(block)
            out.flush()
            os.fsync(out.fileno())
        self.note(path, size, digest.hexdigest())
        return size

    def run(self):
        """Copy all of it; the manifest."""
        params = self.params
        if os.path.lexists(self.folder) and not self.module.check_mode:
            shutil.rmtree(self.folder)  # of a run that was interrupted
        if not self.module.check_mode:
            os.makedirs(self.folder, mode=0o700)
            self.copy_configs(late=False)
        before = Asked(self.cli, params)
        with contextlib.ExitStack() as files:
            return self.copy(before, [(at, files.enter_context(f)) for at, f in self.segments()])

    def copy(self, before, segments):
        """The log, then the rest, then the manifest."""
        params = self.params
        begin = segments[0][0] if segments else before.end
        size = segments and os.fstat(segments[0][1].fileno()).st_size
        manifest = {
            "format": FORMAT, "cluster": params["cluster"], "broker": params["broker_name"],
            "replica": params["replica"], "store_id": before.store_id, "epoch": before.epoch,
            "begin": begin, "end": max(begin, before.end), "segment_bytes": size or 0,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "files": self.files,
        }  # fmt: skip
        self.room(manifest)
        if self.module.check_mode:
            return manifest
        self.copy_log(segments, manifest["end"])
        self.copy_configs(late=True)
        after = Asked(self.cli, params)
        if (after.store_id, after.epoch) != (before.store_id, before.epoch):
            text = "%s changed from epoch %s to %s during the copy, its log may have been cut: run it again"
            words = (params["broker_name"], before.epoch, after.epoch)
            self.module.fail_json(msg=text % words)
        self.write("about/pair.json", json.dumps(before.status, indent=1).encode())
        if params["settings"] and os.path.exists(params["settings"]):
            with open(params["settings"], "rb") as content:
                self.write("about/" + os.path.basename(params["settings"]), content.read())
        self.files.sort(key=lambda each: each["path"])
        self.finish(manifest)
        return manifest

    def room(self, manifest):
        there = self.folder
        while not os.path.isdir(there):  # check mode has made none
            there = os.path.dirname(there)
        free = shutil.disk_usage(there).free
        need = manifest["end"] - manifest["begin"] + SPARE
        if free < need:
            text = "%s has %d MiB free, the copy needs %d MiB: set backup_folder to a larger volume"
            self.module.fail_json(msg=text % (self.folder, free >> 20, need >> 20))

    def finish(self, manifest):
        """The manifest last: a folder without one is no backup."""
        path = os.path.join(self.folder, MANIFEST)
        with open(path, "w") as out:
            json.dump(manifest, out, indent=1)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        sync(self.folder)


def main():
    text = {"type": "str", "default": ""}
    module = AnsibleModule(
        argument_spec={
            "nameservers": {"type": "list", "elements": "str", "default": []},
            "program": {"type": "str", "default": "/opt/broker-trio/current/bin/broker-trio"},
            "broker_name": text,
            "replica": text,
            "address": text,
            "pair": {"type": "bool", "default": False},
            "data": {"type": "path", "default": ""},
            "settings": {"type": "path", "default": ""},
            "folder": {"type": "path", "required": True},
            "cluster": text,
            "piece_bytes": {"type": "int", "default": 32 << 20},
            "state": {"type": "str", "choices": ["taken", "verified"], "default": "taken"},
        },
        supports_check_mode=True,
    )
    began, digest = time.monotonic(), ""
    if module.params["state"] == "verified":
        try:
            manifest, digest = read_manifest(module.params["folder"])
        except ValueError as error:
            module.fail_json(msg=str(error))
        problems = problems_of(module.params["folder"], manifest)
        if problems:
            module.fail_json(msg="%s: %s" % (module.params["folder"], "; ".join(problems)))
    else:
        manifest = Taking(module, Cli(module)).run()
    seconds = round(time.monotonic() - began, 2)
    changed = module.params["state"] == "taken"
    module.exit_json(changed=changed, manifest=manifest, digest=digest, seconds=seconds)


if __name__ == "__main__":
    main()
