"""Hosts for a pair: two network namespaces on a bridge with this one, and cuts between them.

    here  10.213.n.1  ──┐
    a     10.213.n.11 ──┼── bridge         nft in a host drops what comes from another one:
    b     10.213.n.12 ──┘                  silently, one way, as a broken cable or switch does

Needs root. All of it is taken down at the end, and nothing of this host is set but the bridge.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from tests.interop.cache import require
from tests.interop.pairs import Hosts

TOOLS: Final = ("ip", "nft")
TABLE: Final = """add table inet cut
add chain inet cut in { type filter hook input priority 0; }
"""


class Network:
    """`a` and `b` are host names here; `HERE` is this host."""

    def __init__(self) -> None:
        number = os.getpid() % 250
        self.bridge = f"btbr{number}"
        self.names = {"a": f"bt-a-{number}", "b": f"bt-b-{number}"}
        self.addresses = {
            name: f"10.213.{number}.{last}" for name, last in (("here", 1), ("a", 11), ("b", 12))
        }

    @property
    def hosts(self) -> Hosts:
        """For a `Pair`."""
        inside = [("ip", "netns", "exec", self.names[name]) for name in "ab"]
        addresses = self.addresses
        return Hosts(addresses["here"], (addresses["a"], addresses["b"]), (inside[0], inside[1]))

    def up(self) -> None:
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.addresses['here']}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        for name, space in self.names.items():
            inside, outside = ("ip", "netns", "exec", space), f"{self.bridge}{name}"
            run("ip", "netns", "add", space)
            peer = ("type", "veth", "peer", "name", "eth0", "netns", space)
            run("ip", "link", "add", outside, *peer)
            run("ip", "link", "set", outside, "master", self.bridge, "up")
            run(*inside, "ip", "addr", "add", f"{self.addresses[name]}/24", "dev", "eth0")
            run(*inside, "ip", "link", "set", "eth0", "up")
            run(*inside, "ip", "link", "set", "lo", "up")
            run(*inside, "nft", "-f", "-", told=TABLE)

    def down(self) -> None:
        """As far as it came up. The kernel ends a namespace later, so its link is ended first."""
        for name, space in self.names.items():
            outside = f"{self.bridge}{name}"
            subprocess.run(["ip", "link", "del", outside], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)

    def drop(self, receiver: str, sender: str) -> None:
        """Nothing of the sender arrives any more; the other way stays open."""
        rule = ("add", "rule", "inet", "cut", "in", "ip", "saddr", self.addresses[sender], "drop")
        run("ip", "netns", "exec", self.names[receiver], "nft", *rule)

    def cut(self, one: str, other: str) -> None:
        """Both ways."""
        self.drop(one, other)
        self.drop(other, one)

    def isolate(self, name: str) -> None:
        """From the other one and from here."""
        run("ip", "link", "set", f"{self.bridge}{name}", "down")

    def heal(self) -> None:
        for name, space in self.names.items():
            run("ip", "netns", "exec", space, "nft", "flush", "chain", "inet", "cut", "in")
            run("ip", "link", "set", f"{self.bridge}{name}", "up")


def run(*command: str, told: str = "") -> None:
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


@contextmanager
def network() -> Iterator[Network]:
    """Skips without root; with it, what is missing counts as for other interop tests."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    require(*TOOLS)
    if (
        shutil.which("unshare")
        and subprocess.run(["unshare", "-n", "true"], check=False).returncode
    ):
        pytest.skip("this root may not make network namespaces (a container without NET_ADMIN)")
    made = Network()
    try:
        made.up()
        yield made
    finally:
        made.down()
