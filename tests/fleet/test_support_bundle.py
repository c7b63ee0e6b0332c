"""One file for a helper far away: everything to look at, no secret, also when a host is gone."""

import tarfile
from pathlib import Path

import pytest

from tests.fleet.verbs import Small

pytestmark = pytest.mark.fleet
SECRET = b"a key of lab hosts that nobody can reach"
WANTED = (
    "broker-a0/logs/broker-trio-broker@broker-a-1.service.log",
    "broker-a0/files/etc/broker-trio/broker-a-1.toml",
    "broker-a0/stores/var-lib-broker-trio-broker-a-1.txt",
    "broker-a0/cluster/05-pair-status-broker-a.txt",
    "ns1/http/10.86.0.11-9878-metrics.txt",
    "ns1/index.txt",
    "README.txt",
)


def contents(place: Path) -> dict[str, bytes]:
    """The only bundle there: file by file, without the run's name."""
    (path,) = place.iterdir()
    with tarfile.open(path) as tar:
        return {
            entry.name.partition("/")[2]: content.read()
            for entry in tar
            if (content := tar.extractfile(entry)) is not None
        }


def test_a_bundle_has_what_is_needed_and_no_secret(small: Small, tmp_path: Path) -> None:
    """Logs, settings, metrics, store and pair of every host; nothing stays on the hosts."""
    small.play("support_bundle", support_to=str(tmp_path / "to"))
    found = contents(tmp_path / "to")
    assert [name for name in WANTED if not found.get(name)] == []
    assert [name for name, data in found.items() if SECRET in data] == []
    assert b"brokertrio_ready" in found["ns1/http/10.86.0.11-9878-metrics.txt"]
    assert "broker-trio-support" not in small.lab.execute("broker-a0", "ls", "/var/tmp").stdout


def test_a_host_that_is_gone_is_named(small: Small, tmp_path: Path) -> None:
    """The others are collected all the same, and a part can be asked for by --limit."""
    small.lab.power_off("broker-a1")
    try:
        small.play(
            "support_bundle", "--limit", "broker-a0,broker-a1", support_to=str(tmp_path / "to")
        )
    finally:
        small.lab.power_on("broker-a1")
    found = contents(tmp_path / "to")
    assert b"not reached: broker-a1" in found["README.txt"]
    assert found["broker-a0/index.txt"]
    small.wait_until_whole()
