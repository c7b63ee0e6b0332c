"""How each page was seen firing and resolving on hosts: tests/fleet/test_monitoring.py does these.

A page that is not listed here, or listed and no page, fails a test.
"""

from typing import Final

LIVE: Final = {
    "BrokerMasterDown": "both programs of a pair are stopped",
    "SendsRefusedNoSlave": "the slave is stopped under load",
    "SendErrorRatio": "the slave is stopped under load",
    "PutsRefused": "the master's disk is filled under load",
    "DiskRefusing": "the master's disk is filled under load",
    "BrokerCannotWrite": "slave and nameservers are stopped: the master's lease ends",
    "NameserversAlmostGone": "slave and nameservers are stopped",
    "BrokerUnregisteredEverywhere": "slave and nameservers are stopped",
    "NameserversDisagree": "one nameserver is cut off from both brokers",
}
UNSEEN: Final = {
    "RetentionEatsUnread": "figures that are planted: a fault would take hours of retention",
    "DiskFullSoon": "the master's disk is filled but for a tenth",
    "BrokerNotReady": "slave and nameservers are stopped, the master is started again",
    "BrokerFlapping": "a broker is restarted four times",
}
"""A case is written, and was not seen to pass yet."""

PLANTED: Final = {
    "SyncReplicationTimeouts": "a slave that is silent is detached, and sends are refused before they wait",
    "ReplicationStalled": "the same: a silent slave is detached before that",
    "BrokerTwoMasters": "leases exclude it",
    "StoreCorruption": "a disk that returns wrong data cannot be ordered",
}
"""From a page of metrics on the monitor, and why not from a fault; seen firing."""


def table() -> str:
    """For docs/operating/alerts.md."""
    rows = [f"| {name} | {how} |\n" for name, how in LIVE.items()]
    rows += [f"| {name} | *not seen yet*: {how} |\n" for name, how in UNSEEN.items()]
    rows += [f"| {name} | *planted figures*: {why} |\n" for name, why in PLANTED.items()]
    return "| page | raised by |\n|---|---|\n" + "".join(rows)
