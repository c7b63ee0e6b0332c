"""Who reaches our ports: the inventory's hosts and the networks that it names, and nobody else."""

import sys
from collections.abc import Iterator

import pytest

from broker_trio.cli.lab.processes import run, wait_until
from tests.fleet.plays import TOPIC, Fleet

pytestmark = pytest.mark.fleet
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
except OSError as error:
    sys.exit(str(error))
"""
PORTS = {"ns1": (9876, 9878), "broker-a0": (10909, 10911, 10912, 10913)}
FIREWALL = {
    "base : Write kernel settings and firewall",
    "base : Bring kernel settings and firewall into effect",
    "base : Verify that the kernel guards every port of ours",
}


@pytest.fixture
def closed(fleet: Fleet) -> Iterator[Fleet]:
    """No network of clients is named; as before afterwards."""
    fleet.wait_until_whole()
    fleet.variables["base_client_networks"] = []
    play = fleet.play("hosts")
    assert {task for _, task in play.changed_tasks} <= FIREWALL
    assert set(play.changed.values()) == {2}  # what is written, and that it takes effect
    yield fleet
    del fleet.variables["base_client_networks"]
    fleet.play("hosts")


def reached(fleet: Fleet, host: str, port: int, start: str = "") -> bool:
    """Whether a connection can be made, from a host, or from the lab's network outside of all."""
    address = fleet.lab.plan.host(host).address
    if start:
        words = ("python3", "-c", CONNECT, address, str(port))
        return not fleet.lab.execute(start, *words, check=False).returncode
    outside = fleet.lab.network_command([sys.executable, "-c", CONNECT, address, str(port)])
    return not run(outside, check=False).returncode


def test_strangers_reach_no_port_and_members_reach_all(closed: Fleet) -> None:
    """Dropped, not refused; ssh goes on, and so does the pair."""
    for host, ports in PORTS.items():
        for port in ports:
            assert not reached(closed, host, port), (host, port)
            assert reached(closed, host, port, "broker-a1"), (host, port)
    assert reached(closed, "ns1", 22)
    assert closed.play("site", "--check").changed_tasks == set()


def test_a_network_that_is_named_reaches_them_again(fleet: Fleet) -> None:
    """The lab's own inventory names it; nothing was restarted for that."""
    wait_until(lambda: reached(fleet, "ns1", 9876), "the port to open", 60)
    fleet.program("produce", TOPIC, text="through the firewall\n")
    assert fleet.pair()["instruction"]["verb"] == "ok"
