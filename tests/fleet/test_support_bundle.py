"""One file for a helper far away: everything to look at, no secret, also when a host is gone."""

import tarfile
from pathlib import Path

import pytest

from tests.fleet.verbs import Small

pytestmark = pytest.mark.fleet
CREDENTIALS = "/etc/broker-trio/credentials"


def contents(place: Path) -> dict[str, bytes]:
    """The only bundle there: file by file, without the run's name."""
    (path,) = place.iterdir()
    with tarfile.open(path) as tar:
        return {
            entry.name.partition("/")[2]: content.read()
            for entry in tar
            if (content := tar.extractfile(entry)) is not None
        }


def secrets(small: Small) -> set[bytes]:
    """What the hosts keep secret, as it is on them now."""
    read = ("sh", "-c", f"cat {CREDENTIALS}/* /etc/ssh/ssh_host_ed25519_key")
    found = "".join(small.lab.execute(host, *read).stdout for host in small.members)
    return {line.encode() for line in found.splitlines() if not line.startswith("-----")}


def test_a_bundle_has_what_is_needed_and_no_secret(small: Small, tmp_path: Path) -> None:
    """Logs, settings, metrics, store and pair of every host; nothing stays on the hosts."""
    first, door = small.members[0], f"ns1/http/{small.address('ns1')}-9878-metrics.txt"
    wanted = (
        f"{first}/logs/broker-trio-broker@broker-a-1.service.log",
        f"{first}/files/etc/broker-trio/broker-a-1.toml",
        f"{first}/stores/var-lib-broker-trio-broker-a-1.txt",
        f"{first}/cluster/05-pair-status-broker-a.txt",
        door,
        "ns1/index.txt",
        "README.txt",
    )
    known = secrets(small)
    assert len(known) > 1
    leak = f"(echo -n '# '; cat {CREDENTIALS}/broker-a-1.pair-key) > /etc/broker-trio/note.toml"
    small.lab.execute(first, "sh", "-c", leak)  # as people leave it where it does not belong
    place = tmp_path / "to"
    try:
        look = small.look("support_bundle", support_to=str(place))
        assert not place.exists()
        play = small.play("support_bundle", support_to=str(place))
    finally:
        small.lab.execute(first, "rm", "/etc/broker-trio/note.toml")
    assert look.changed_tasks == play.changed_tasks
    found = contents(place)
    assert [name for name in wanted if not found.get(name)] == []
    assert b"# [redacted]" in found[f"{first}/files/etc/broker-trio/note.toml"]
    assert [name for name, data in found.items() if any(each in data for each in known)] == []
    assert b"brokertrio_ready" in found[door]
    assert "broker-trio-support" not in small.lab.execute(first, "ls", "/var/tmp").stdout


def test_a_host_that_is_gone_is_named(small: Small, tmp_path: Path) -> None:
    """The others are collected all the same, and a part can be asked for by --limit."""
    first, gone = small.members
    small.lab.power_off(gone)
    try:
        small.play(
            "support_bundle", "--limit", ",".join(small.members), support_to=str(tmp_path / "to")
        )
    finally:
        small.lab.power_on(gone)
    found = contents(tmp_path / "to")
    assert f"not reached: {gone}".encode() in found["README.txt"]
    assert found[f"{first}/index.txt"]
    small.wait_until_whole()
