"""Faults of the network as data: one rule set on the lab's bridge, and what is put into it.

      broker-a0 ──vb-broker-a0──┐
                                ├── br0 (bridge, rules) ── controller
      broker-a1 ──vb-broker-a1──┘

A cut is a pair of addresses (from, to) in the set `cuts`: packets of that direction vanish, as on a
broken cable, with no answer to either side. A one-way cut is one pair, a cut both ways is two. What
is cut is read back from the kernel, so that there is no second truth. Loss is a rule with a random
number; a narrow link is a token bucket at both ends of a host's cable. Only IPv4 is let through:
a second protocol would be a way around every cut. Latency needs netem, which not every kernel has.
"""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from broker_trio.ops.lab.plan import CONTROLLER, PREFIX_BITS, LabError, Plan

BRIDGE: Final = "br0"
TABLE: Final = "bridge lab"
RATE: Final = re.compile(r"[1-9]\d{0,8}(k|m|g)?bit")
FIREWALL: Final = f"""\
table {TABLE} {{
  set cuts {{ type ipv4_addr . ipv4_addr; }}
  chain losses {{ }}
  chain faults {{
    ip saddr . ip daddr @cuts counter drop
    jump losses
  }}
  chain between {{ type filter hook forward priority 0; policy drop;
    ether type arp accept
    jump faults
    ether type ip accept
  }}
  chain to_us {{ type filter hook input priority 0; policy accept; jump faults; }}
  chain from_us {{ type filter hook output priority 0; policy accept; jump faults; }}
}}
"""


class Way(NamedTuple):
    """Packets from one address to another."""

    source: str
    target: str


def setup_commands() -> list[list[str]]:
    """The bridge, in a namespace that has nothing else and leads nowhere."""
    return [
        ["ip", "link", "set", "lo", "up"],
        ["ip", "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "stp_state", "0"],
        ["ip", "addr", "add", f"{CONTROLLER}/{PREFIX_BITS}", "dev", BRIDGE],
        ["ip", "link", "set", BRIDGE, "up"],
    ]


def ways(
    plan: Plan, name: str, others: Sequence[str], *, one_way: bool, controller: bool
) -> list[Way]:
    """What a cut of `name` from `others` (none: from every other host) takes away.

    `one_way`: only what `name` sends vanishes. The controller keeps its ssh, unless it is asked
    to lose it too. Raises LabError for a name that is not there, or a host cut from itself.
    """
    host = plan.host(name)
    if others:
        far = [plan.host(other).address for other in others]
    else:
        far = [other.address for other in plan.hosts if other is not host]
    if host.address in far:
        raise LabError(f"{name} cannot be cut from itself")
    if controller:
        far.append(CONTROLLER)
    sent = [Way(host.address, other) for other in far]
    return sent if one_way else sent + [Way(other, host.address) for other in far]


def cut_command(cut: Sequence[Way]) -> str:
    """For `nft -f -`; adding what is there already is no error."""
    return f"add element {TABLE} cuts {{ {elements(cut)} }}\n"


def loss_command(lossy: Sequence[Way], percent: int) -> str:
    """Of each hundred packets about so many vanish, at random."""
    if not 1 <= percent <= 99:
        raise LabError(f"a loss is 1 to 99 percent, not {percent}; without it the cut is total")
    rules = (
        f"add rule {TABLE} losses ip saddr {way.source} ip daddr {way.target} "
        f"numgen random mod 100 < {percent} counter drop\n"
        for way in lossy
    )
    return "".join(rules)


def heal_command(healed: Sequence[Way] | None) -> str:
    """All cuts and losses (None), or those cuts alone; each must be there: read them first."""
    if healed is None:
        return f"flush set {TABLE} cuts\nflush chain {TABLE} losses\n"
    return f"delete element {TABLE} cuts {{ {elements(healed)} }}\n" if healed else ""


def elements(of: Sequence[Way]) -> str:
    return ", ".join(f"{way.source} . {way.target}" for way in of)


def cuts_in(listing: str) -> list[Way]:
    """The pairs in the answer of `nft --json list set bridge lab cuts`."""
    tree = msgspec.json.decode(listing, type=dict[str, list[dict[str, Any]]])
    found: list[Any] = []
    for item in tree["nftables"]:
        found += item.get("set", {}).get("elem", [])
    return sorted(Way(*element["concat"]) for element in found)


def losses_in(listing: str) -> list[tuple[Way, int]]:
    """Ways and percents in the answer of `nft list chain bridge lab losses`."""
    rule = re.compile(r"ip saddr (\S+) ip daddr (\S+) numgen random mod 100 < (\d+)")
    return [
        (Way(source, target), int(percent)) for source, target, percent in rule.findall(listing)
    ]


def limit_commands(device: str, rate: str) -> list[list[str]]:
    """A token bucket on one end of a cable; `none` takes it away. Raises LabError."""
    if rate == "none":
        return [["tc", "qdisc", "del", "dev", device, "root"]]
    if not RATE.fullmatch(rate):
        raise LabError(f"{rate!r} is no rate: write 10mbit, 512kbit, or none")
    bucket = ["tbf", "rate", rate, "burst", "64kb", "latency", "400ms"]
    return [["tc", "qdisc", "replace", "dev", device, "root", *bucket]]


def name_ways(plan: Plan, ways: Sequence[Way]) -> list[str]:
    """`broker-a0 -> broker-a1`, and `<->` in one line where both directions are concerned."""
    names = {host.address: host.name for host in plan.hosts} | {CONTROLLER: "controller"}
    told = []
    for way in ways:
        both = Way(way.target, way.source) in ways
        if both and ways.index(Way(way.target, way.source)) < ways.index(way):
            continue
        arrow = "<->" if both else "->"
        source, target = (names.get(address, address) for address in way)
        told.append(f"{source} {arrow} {target}")
    return told


def setup_text(setup: dict[str, Any]) -> str:
    """The argument of the lab's process 1."""
    return msgspec.json.encode(setup).decode()
