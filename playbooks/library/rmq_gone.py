#!/usr/bin/python
"""Take files and folders away; of a mounted volume what is in it."""

DOCUMENTATION = r"""
module: rmq_gone
short_description: Remove paths, and the contents of those that are mounted
description:
  - A mounted file system cannot be removed by its folder, so what is in it goes and the empty folder stays.
  - Refuses C(/) and whatever is less than two folders deep.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Says what would be removed.}
  diff_mode: {support: full, description: Shows what is there before and after.}
options:
  paths: {description: What is to be gone., type: list, elements: path, required: true}
"""

EXAMPLES = r"""
- name: Remove a store
  rmq_gone:
    paths: [/var/lib/broker-trio/broker-b-1]
"""

RETURN = r"""
removed:
  description: What was there and is not any more.
  returned: always
  type: list
bytes:
  description: How much disk its files took.
  returned: always
  type: int
"""

import os
import shutil

from ansible.module_utils.basic import AnsibleModule

DEPTH_MIN = 2
BLOCK = 512


def is_volume(path):
    """Whether a file system is mounted there; a file of an overlay looks as if it were one."""
    return os.path.isdir(path) and os.path.ismount(path)


def found(paths):
    """What of these is there: a path, or the entries of one that is mounted; none inside another."""
    there = set()
    for path in paths:
        if is_volume(path):
            names = [name for name in os.listdir(path) if name != "lost+found"]
            there |= {os.path.join(path, name) for name in names}
        elif os.path.lexists(path):
            there.add(path)
    return [path for path in sorted(there) if not any(inside(path, other) for other in there)]


def inside(path, other):
    return path.startswith(other + "/")


def size(path):
    """Bytes that it takes on disk."""
    total = os.lstat(path).st_blocks * BLOCK
    if os.path.isdir(path) and not os.path.islink(path):
        for folder, _, names in os.walk(path):
            total += sum(os.lstat(os.path.join(folder, name)).st_blocks * BLOCK for name in names)
    return total


def remove(path):
    """Without following links; a mounted folder inside keeps its folder."""
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    for name in os.listdir(path):
        remove(os.path.join(path, name))
    if not is_volume(path):
        shutil.rmtree(path)


def main():
    module = AnsibleModule(
        argument_spec={"paths": {"type": "list", "elements": "path", "required": True}},
        supports_check_mode=True,
    )
    paths = [os.path.normpath(path) for path in module.params["paths"]]
    shallow = [p for p in paths if not p.startswith("/") or p.count("/") < DEPTH_MIN]
    if shallow:
        text = "%s is not removed: a path of at least two folders is wanted"
        module.fail_json(msg=text % ", ".join(shallow))
    there = found(paths)
    total = sum(size(path) for path in there)
    if not module.check_mode:
        for path in there:
            remove(path)
    diff = {"before": "".join(path + "\n" for path in there), "after": ""}
    module.exit_json(changed=bool(there), removed=there, bytes=total, diff=diff)


if __name__ == "__main__":
    main()
