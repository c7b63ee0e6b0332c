#!/usr/bin/python
"""What would be lost with a broker: unread messages, dead letters, delays."""

DOCUMENTATION = r"""
module: rmq_holdings
short_description: Wait until a broker holds nothing that anybody still needs
description:
  - Reads only. Asks the broker's master what groups have not read there, what no group reads, and what is delayed.
  - I(abandon) names topics whose messages may be lost, dead letters among them.
author: [broker_trio]
attributes:
  check_mode: {support: full, description: Reads only.}
  diff_mode: {support: none, description: Changes nothing.}
options:
  nameservers: {description: Addresses of all nameservers as host:port., type: list, elements: str, required: true}
  program: {description: The command to ask with., type: str, default: /opt/broker-trio/current/bin/broker-trio}
  broker_name: {description: Name of the broker., type: str, required: true}
  abandon: {description: Topics whose messages may be lost., type: list, elements: str, default: []}
  wait: {description: Seconds to wait for it to be empty; it never fails because of them., type: int, default: 0}
"""

EXAMPLES = r"""
- name: Look what broker-b still holds
  rmq_holdings:
    nameservers: [10.0.0.1:9876]
    broker_name: broker-b
"""

RETURN = r"""
reasons:
  description: What speaks against taking it away, in words; empty when nothing does.
  returned: always
  type: list
holdings:
  description: What the command line says.
  returned: always
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.rmq_cli import OPTIONS, Cli

POLL_S = 1.0


def reasons_of(holdings, abandon):
    """Why the broker may not go, one line each."""
    kept = {
        kind: [each for each in holdings[kind] if each["topic"] not in abandon]
        for kind in ("unread", "unowned", "dead_letters")
    }
    found = [
        "group %s has %d unread messages of %s" % (each["group"], each["messages"], each["topic"])
        for each in kept["unread"]
    ]
    found += [
        "%d messages of %s, which no group reads" % (each["messages"], each["topic"])
        for each in kept["unowned"]
    ]
    found += [
        "%d dead letters of group %s (%s)" % (each["messages"], each["group"], each["topic"])
        for each in kept["dead_letters"]
    ]
    if holdings["delayed"]:
        found.append("%d messages wait for their delay" % holdings["delayed"])
    return found


def main():
    module = AnsibleModule(
        argument_spec={
            **OPTIONS,
            "broker_name": {"type": "str", "required": True},
            "abandon": {"type": "list", "elements": "str", "default": []},
            "wait": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    params, cli = module.params, Cli(module)
    began = time.monotonic()
    while True:
        holdings = cli.must("cluster", "holdings", params["broker_name"])
        reasons = reasons_of(holdings, params["abandon"])
        if not reasons or time.monotonic() - began >= params["wait"]:
            module.exit_json(changed=False, reasons=reasons, holdings=holdings)
        time.sleep(POLL_S)


if __name__ == "__main__":
    main()
