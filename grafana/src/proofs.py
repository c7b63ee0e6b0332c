"""Which alerts were seen firing and resolving, by which fault: what a run of the tests wrote down.

    tests/interop/test_pages.py ──▶ seen.json ──▶ the table of docs/operating/alerts.md
    tests/fleet/test_monitoring.py: HOSTS, by hand

An entry counts while the alert's rule is the one that fired (its fingerprint is kept): a test says
when an alert has none, or one of another rule, and when a fault is gone or says something else.
"""

import json
import zlib
from pathlib import Path
from typing import Any, Final

SEEN: Final = Path(__file__).parent / "seen.json"
HOSTS: Final = {
    "BrokerMasterDown": "both programs of a pair are stopped",
    "SendsRefusedNoSlave": "the slave is stopped under load",
    "SendErrorRatio": "the slave is stopped under load",
    "PutsRefused": "the master's disk is filled under load",
    "DiskRefusing": "the master's disk is filled under load",
    "DiskFullSoon": "the master's disk is filled but for a tenth",
    "BrokerCannotWrite": "slave and nameservers are stopped: the master's lease ends",
    "NameserversAlmostGone": "slave and nameservers are stopped",
    "BrokerUnregisteredEverywhere": "slave and nameservers are stopped",
    "NameserversDisagree": "one nameserver is cut off from both brokers",
}
"""Seen on a lab's hosts as well, with the waits of production, by tests/fleet/test_monitoring.py."""


def seen() -> dict[str, dict[str, Any]]:
    """By alert: fault, how, rule, fired_s, resolved_s, commands."""
    found: dict[str, dict[str, Any]] = json.loads(SEEN.read_text())
    return found


def fingerprint(expr: str) -> str:
    """Of a rule."""
    return f"{zlib.crc32(expr.encode()):08x}"


def table(names: list[str]) -> str:
    """Rows of these alerts, as far as they were seen."""
    found = seen()
    rows = [
        f"| {name} | `{one['fault']}`: {one['how']} | {one['fired_s']:g} s | {one['resolved_s']:g} s "
        f"| {one['commands']} | {'yes' if name in HOSTS else ''} |\n"
        for name in names
        if (one := found.get(name))
    ]
    head = "| alert | raised by | fired after | resolved after | commands | on hosts |\n"
    return head + "|---|---|---|---|---|---|\n" + "".join(rows)
