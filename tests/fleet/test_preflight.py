"""Mistakes in the inventory and on hosts: preflight names all at once, and changes nothing."""

from collections.abc import Iterator

import pytest

from broker_trio.cli.lab.faults import Faults
from broker_trio.cli.lab.processes import wait_until
from tests.fleet.plays import Fleet

pytestmark = pytest.mark.fleet
LISTEN = "import socket,time; s=socket.create_server(('', 9990)); time.sleep(3600)"
OLD = "/srv/old/python3"
OLD_PYTHON = """
mkdir -p /srv/old
cat > /srv/old/sitecustomize.py <<'END'
import collections, sys
Version = collections.namedtuple("Version", "major minor micro releaselevel serial")
sys.version_info = Version(3, 9, 2, "final", 0)
END
printf '#!/bin/sh\nPYTHONPATH=/srv/old exec /usr/bin/python3 "$@"\n' > /srv/old/python3
chmod 755 /srv/old/python3
"""
"""Every Debian 12 has 3.11: this one says that it is older, to whoever asks."""
SQUATTER = "squatter.service"


@pytest.fixture
def mistaken(fleet: Fleet) -> Iterator[Fleet]:
    """Mistakes of every kind, in the inventory and on the hosts; gone afterwards."""
    fleet.host_variables = {
        "ns1": {"nameserver_port": 9990, "nameserver_settings": {"routs": {"brokers_max": 8}}},
        "ns2": {"ansible_python_interpreter": OLD},
        "broker-a0": {
            "cluster_address": "10.86.0.99",
            "broker_mod": "sync",
            "broker_settings": {"store": {"retention_hour": 3}},
        },
        "broker-a1": {"broker_id": 0, "broker_pair_key": "", "broker_data": "/srv/store"},
    }
    fleet.lab.execute("ns1", "systemd-run", f"--unit={SQUATTER}", "python3", "-c", LISTEN)
    wait_until(lambda: "9990" in fleet.lab.execute("ns1", "ss", "-ltn").stdout, "it to listen", 60)
    fleet.lab.execute("ns2", "sh", "-c", OLD_PYTHON)
    faults = Faults(fleet.lab)
    faults.clock("ns2", "-3600")
    leave_connections(fleet)
    yield fleet
    fleet.host_variables = {}
    faults.heal()
    leave_connections(fleet)
    fleet.lab.execute("ns1", "systemctl", "stop", SQUATTER)
    fleet.lab.execute("ns2", "rm", "-r", "/srv/old")


def leave_connections(fleet: Fleet) -> None:
    """A clock is wrong for ssh sessions of new connections only: Ansible shall make its own."""
    for connection in (fleet.lab.folder / "cp").glob("*"):
        connection.unlink()


MISTAKES = (
    "broker broker-a wants exactly one broker_id 0, has 2 (0 on broker-a0, 0 on broker-a1)",
    "no broker_pair_key of at least 16 characters for pair broker-a on broker-a1",
    "broker-a0: unknown variable broker_mod, is it broker_mode?",
    "broker-a0: unknown key store.retention_hour in broker_settings, is it store.retention_hours?",
    "ns1: unknown key routs in nameserver_settings, is it routes?",
    "broker-a0: 10.86.0.99 is no address of this host",
    "broker-a1: /srv/store would fill the root disk: mount a volume there",
    "ns1: port 9990 is taken by squatter.service",
    "ns2: python3 is 3.9, wanted is 3.11 or newer",
    "ns2: the clock is -3",
)
STATE = """
find /etc/broker-trio /etc/systemd/system /etc/sysctl.d /usr/local/bin -type f -exec sha256sum {} +
readlink /opt/broker-trio/current
systemctl show -p Id,ActiveState,MainPID 'broker-trio-*'
"""


def states(fleet: Fleet) -> dict[str, str]:
    """What a deployment would change on the hosts, and which processes run."""
    hosts = [host.name for host in fleet.lab.plan.hosts]
    return {host: fleet.lab.execute(host, "sh", "-c", STATE).stdout for host in hosts}


def test_every_mistake_is_named_in_one_run(mistaken: Fleet) -> None:
    """In the operator's words, each with its host; nothing changes, also not by a deployment."""
    before = states(mistaken)
    for verb in ("preflight", "site"):
        play = mistaken.play(verb, good=False)
        assert play.code == 2
        for words in MISTAKES:
            assert words in play.said, play.said
        assert play.changed_tasks == set()
    assert states(mistaken) == before
    assert mistaken.pair()["instruction"]["verb"] == "ok"


def test_a_host_without_python_hides_no_other_mistake(fleet: Fleet) -> None:
    """What cannot be read is one line among the others."""
    fleet.host_variables = {
        "ns2": {"ansible_python_interpreter": "/usr/bin/python2.4"},
        "broker-a0": {"broker_mod": "sync"},
    }
    try:
        play = fleet.play("preflight", good=False)
    finally:
        fleet.host_variables = {}
    assert "ns2: cannot be read: " in play.said
    assert "/usr/bin/python2.4" in play.said
    assert "broker-a0: unknown variable broker_mod, is it broker_mode?" in play.said
    assert fleet.play("preflight").changed_tasks == set()
