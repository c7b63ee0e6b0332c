#!/usr/bin/python
"""Count what a broker cut off its log when it came back, and saved."""

DOCUMENTATION = r"""
module: rmq_tails
short_description: Messages that a broker alone had, and gave up
description:
  - A broker that comes back behind a new master cuts what it alone had off its log, and keeps it in
    C(divergent/) of its data. Reads only; counts the messages of each of these files.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Changes nothing.}
options:
  paths: {description: Data folders of brokers., type: list, elements: path, required: true}
"""

EXAMPLES = r"""
- name: What was cut off here?
  rmq_tails:
    paths: [/var/lib/broker-trio/broker-a-1]
"""

RETURN = r"""
tails:
  description: Each saved tail with its path, messages and bytes; oldest first.
  returned: always
  type: list
messages:
  description: Of all of them.
  returned: always
  type: int
"""

import glob
import os
import struct

from ansible.module_utils.basic import AnsibleModule

MESSAGES = (0xDAA320A7, 0xDAA320AB)  # magic codes of a stored message, in both versions
HEAD = struct.Struct(">iI")  # size of the whole record, magic code


def count(path):
    """Messages in a piece of a commit log that begins at a record; others' padding is not counted."""
    found = 0
    with open(path, "rb") as log:
        while True:
            head = log.read(HEAD.size)
            if len(head) < HEAD.size:
                return found
            size, magic = HEAD.unpack(head)
            if size < HEAD.size:
                return found
            found += magic in MESSAGES
            log.seek(size - HEAD.size, os.SEEK_CUR)


def main():
    module = AnsibleModule(
        argument_spec={"paths": {"type": "list", "elements": "path", "required": True}},
        supports_check_mode=True,
    )
    files = [f for path in module.params["paths"] for f in glob.glob(path + "/divergent/*.log")]
    tails = [
        {"path": path, "messages": count(path), "bytes": os.path.getsize(path)}
        for path in sorted(files, key=os.path.getmtime)
    ]
    module.exit_json(changed=False, tails=tails, messages=sum(each["messages"] for each in tails))


if __name__ == "__main__":
    main()
