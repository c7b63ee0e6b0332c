#!/usr/bin/python
"""Make a store out of a saved one, where there is none."""

DOCUMENTATION = r"""
module: rmq_restore
short_description: Write a backup into an empty data folder
description:
  - Refuses a folder that has a store. The store is a new one to its pair: it has no epoch and no identity of the old.
  - I(state=allowed) only looks whether it may be done.
  - A run that was interrupted is begun again; the same backup, restored already, is unchanged.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: 'Looks, and says that it would be written; there the backup need not be on the host.'}
  diff_mode: {support: none, description: A store that was not there.}
options:
  folder: {description: 'The backup, whole; with I(state=allowed) it may be elsewhere.', type: path, default: ''}
  digest: {description: 'Of its manifest, sha256: what a store says that came from it.', type: str, default: ''}
  data: {description: The data folder., type: path, required: true}
  owner: {description: Whose the store will be., type: str, default: root}
  state: {description: What to bring about., type: str, choices: [restored, allowed], default: restored}
"""

EXAMPLES = r"""
- name: Restore a store
  rmq_restore:
    folder: /var/backups/broker-trio/broker-a
    data: /var/lib/broker-trio/broker-a-1
    owner: broker-trio
"""

RETURN = r"""
end:
  description: Where the restored log ends.
  returned: when a backup was given
  type: int
already:
  description: Whether this backup was restored there before.
  returned: always
  type: bool
"""

import json
import os
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_saved import BLOCK, MARKER, problems_of, read_manifest, sync

PARTS = ("commitlog", "config", "broker_trio", "consumequeue", "index")
HALF = ".restore"  # what is being written, inside the data folder, which may be a volume


def present(data):
    """What of a store is there."""
    return [name for name in PARTS if os.path.exists(os.path.join(data, name))]


def restored_from(data):
    """The hash of the backup that this store came from; "" for none."""
    try:
        with open(os.path.join(data, MARKER)) as text:
            return json.load(text)["manifest_sha256"]
    except (OSError, ValueError, KeyError):
        return ""


def write_log(folder, manifest, target):
    """Segments of the size that they had, out of pieces; what is behind the end reads as zero."""
    size = manifest["segment_bytes"]
    os.makedirs(target)
    for each in manifest["files"]:
        if not each["path"].startswith("log/"):
            continue
        at = int(each["path"][4:])
        with open(os.path.join(folder, each["path"]), "rb") as content:
            for block in iter(lambda: content.read(BLOCK), b""):
                at = write_block(target, manifest["begin"], size, at, block)
    for name in os.listdir(target):
        path = os.path.join(target, name)
        os.truncate(path, size)
        sync(path)
    sync(target)


def write_block(target, begin, size, at, block):
    """One block, which a segment's end may cut in two; where the next one goes."""
    while block:
        base = begin + (at - begin) // size * size
        part = block[: base + size - at]
        path = os.path.join(target, "%020d" % base)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o640)
        try:
            os.pwrite(handle, part, at - base)
        finally:
            os.close(handle)
        at, block = at + len(part), block[len(part) :]
    return at


def write_configs(folder, manifest, target):
    os.makedirs(target)
    for each in manifest["files"]:
        if each["path"].startswith("config/"):
            path = os.path.join(target, os.path.basename(each["path"]))
            shutil.copyfile(os.path.join(folder, each["path"]), path)
            sync(path)
    sync(target)


def restore(module, manifest, digest):
    """Beside the store's place first, then into it; the marker says that it is complete."""
    params, data = module.params, module.params["data"]
    half = os.path.join(data, HALF)
    shutil.rmtree(half, ignore_errors=True)
    os.makedirs(half, mode=0o750)
    write_configs(params["folder"], manifest, os.path.join(half, "config"))
    write_log(params["folder"], manifest, os.path.join(half, "commitlog"))
    about = {
        "manifest_sha256": digest, "broker": manifest["broker"], "replica": manifest["replica"],
        "store_id": manifest["store_id"], "epoch": manifest["epoch"], "end": manifest["end"],
        "time": manifest["time"],
    }  # fmt: skip
    with open(os.path.join(half, MARKER), "w") as out:
        json.dump(about, out)
        out.flush()
        os.fsync(out.fileno())
    for folder, _, names in os.walk(half):
        for path in [folder, *(os.path.join(folder, name) for name in names)]:
            shutil.chown(path, params["owner"], params["owner"])
            os.chmod(path, 0o750 if os.path.isdir(path) else 0o640)
    for name in ("config", "commitlog", MARKER):
        os.rename(os.path.join(half, name), os.path.join(data, name))
    os.rmdir(half)
    sync(data)


def main():
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "default": ""},
            "digest": {"type": "str", "default": ""},
            "data": {"type": "path", "required": True},
            "owner": {"type": "str", "default": "root"},
            "state": {"type": "str", "choices": ["restored", "allowed"], "default": "restored"},
        },
        supports_check_mode=True,
    )
    params = module.params
    data, manifest, digest = params["data"], None, params["digest"]
    if params["folder"]:
        try:
            manifest, digest = read_manifest(params["folder"])
        except ValueError as error:
            module.fail_json(msg=str(error))
    there, came_from = present(data), restored_from(data)
    already = bool(came_from) and came_from == digest
    unfinished = os.path.isdir(os.path.join(data, HALF))
    if there and not already and not unfinished:
        text = "%s has a store (%s): a backup is restored onto a host without one; rename it, or destroy.yml"
        module.fail_json(msg=text % (data, ", ".join(there)))
    result = {"already": already, "end": manifest["end"] if manifest else 0}
    if params["state"] == "allowed" or already:
        module.exit_json(changed=False, **result)
    if module.check_mode and not manifest:
        module.exit_json(changed=True, **result)
    problems = problems_of(params["folder"], manifest)
    if problems:
        module.fail_json(msg="%s: %s" % (params["folder"], "; ".join(problems)))
    if not module.check_mode:
        for name in there:  # of the interrupted run
            shutil.rmtree(os.path.join(data, name))
        restore(module, manifest, digest)
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
