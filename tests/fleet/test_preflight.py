"""Mistakes in the inventory and on hosts: preflight names all at once, and changes nothing."""

from collections.abc import Iterator

import pytest

from broker_trio.cli.lab.faults import Faults
from tests.fleet.plays import Fleet

pytestmark = pytest.mark.fleet
LISTEN = "import socket,time; s=socket.create_server(('', 9990)); time.sleep(3600)"


@pytest.fixture
def mistaken(fleet: Fleet) -> Iterator[Fleet]:
    """Mistakes of every kind, in the inventory and on the hosts; gone afterwards."""
    fleet.host_variables = {
        "ns1": {"nameserver_port": 9990},
        "broker-a0": {"cluster_address": "10.86.0.99", "broker_mod": "sync"},
        "broker-a1": {"broker_id": 0, "broker_pair_key": "short", "broker_data": "/srv/store"},
    }
    fleet.lab.execute("ns1", "systemd-run", "--unit=squatter", "python3", "-c", LISTEN)
    faults = Faults(fleet.lab)
    faults.clock("ns2", "-3600")
    leave_connections(fleet)
    yield fleet
    fleet.host_variables = {}
    faults.heal()
    leave_connections(fleet)
    fleet.lab.execute("ns1", "systemctl", "stop", "squatter.service")


def leave_connections(fleet: Fleet) -> None:
    """A clock is wrong for ssh sessions of new connections only: Ansible shall make its own."""
    for connection in (fleet.lab.folder / "cp").glob("*"):
        connection.unlink()


def test_every_mistake_is_named_in_one_run(mistaken: Fleet) -> None:
    """In the operator's words, each with its host; no task reports a change."""
    play = mistaken.play("site", good=False)
    assert play.code == 2
    for words in (
        "broker broker-a wants exactly one broker_id 0, has 2 (0 on broker-a0, 0 on broker-a1)",
        "no broker_pair_key of at least 16 characters for pair broker-a on broker-a1",
        "broker-a0: unknown variable broker_mod, is it broker_mode?",
        "broker-a0: 10.86.0.99 is no address of this host",
        "broker-a1: /srv/store would fill the root disk: mount a volume there",
        "ns1: port 9990 is taken by squatter.service",
        "ns2: the clock is -3",
    ):
        assert words in play.said, play.said
    assert play.changed_tasks == set()
    assert mistaken.pair()["instruction"]["verb"] == "ok"
