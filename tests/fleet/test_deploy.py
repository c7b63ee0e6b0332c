"""From bare hosts to a running cluster, and what a second run, a look and an edited file show.

One deployed lab for the session; every test leaves it as it found it. Prints how long plays take.
"""

import json
from typing import Any

import pytest

from broker_trio.cli.lab.processes import wait_until
from tests.fleet.plays import TOPIC, Fleet, Play, figure
from tests.interop.driver import ClientError, Driver

pytestmark = pytest.mark.fleet
CONFIG = "/etc/broker-trio/broker-a-1.toml"


def test_a_look_at_bare_hosts_tells_the_whole_deployment(bare_check: Play) -> None:
    """`--check --diff` ends well where nothing is installed, changes nothing, and names files."""
    assert bare_check.code == 0
    assert all(count > 3 for count in bare_check.changed.values())
    for path in ("/etc/broker-trio/firewall.nft", "/etc/broker-trio/nameserver.toml", CONFIG):
        assert path in bare_check.output
    assert "sixteen" not in bare_check.output


def test_a_first_deployment_serves(fleet: Fleet, deployment: Play) -> None:
    """Everybody is up at the end, each with its role; the plan was said first."""
    assert deployment.code == 0
    figure("deploy", hosts=len(fleet.lab.plan.hosts), seconds=round(deployment.seconds, 1))
    assert "plan: 4 deployed with " in deployment.output
    brokers = json.loads(fleet.program("cluster", "list", "--json"))["brokers"]
    assert sorted(broker["role"] for broker in brokers) == ["master", "slave"]
    assert fleet.pair()["instruction"]["verb"] == "ok"


def test_a_second_run_changes_nothing(fleet: Fleet) -> None:
    """Every host reports changed=0, and so does a look."""
    again = fleet.play("site")
    figure("second run", hosts=len(fleet.lab.plan.hosts), seconds=round(again.seconds, 1))
    assert again.changed_tasks == set()
    assert set(again.changed.values()) == {0}
    assert fleet.check().changed_tasks == set()


def test_a_look_names_the_one_file_that_somebody_edited(fleet: Fleet) -> None:
    """Exactly that; a run puts it back, and restarts nobody, for nothing else had run."""
    before = fleet.lab.execute("broker-a0", "cat", CONFIG).stdout
    fleet.lab.execute("broker-a0", "sed", "-i", "s/^log_json.*/log_json = false/", CONFIG)
    drift = fleet.check()
    assert drift.changed_tasks == {("broker-a0", "broker : Render configuration and unit")}
    differences = [line for line in drift.output.splitlines() if line.startswith("+++ after")]
    assert differences == [f"+++ after: {CONFIG}"]
    assert "-log_json = false" in drift.output
    assert fleet.lab.execute("broker-a0", "cat", CONFIG).stdout != before
    fleet.play("site")
    assert fleet.lab.execute("broker-a0", "cat", CONFIG).stdout == before


def test_our_client_produces_and_consumes(fleet: Fleet) -> None:
    """Through any nameserver, from a machine that is no host of the cluster."""
    fleet.program("produce", TOPIC, text="one\ntwo\n")
    told = fleet.program("consume", TOPIC, "--from-first", "--count", "2")
    assert len(told.splitlines()) == 2


def test_the_java_client_produces_and_consumes(fleet: Fleet, java: Driver) -> None:
    """The unmodified one, in the lab's network."""
    sent = answered(fleet, java, "send", "sync", TOPIC, 8, body="java", tag="java")
    assert [each["status"] for each in sent] == ["SEND_OK"] * 8
    answered(fleet, java, "subscribe", "fleet-java", TOPIC, group="fleet-java", filter="java")
    got = java.ask(fleet, "got", "fleet-java", count=8, ms=40_000)
    assert {each["offsetMsgId"] for each in sent} <= {each["offsetMsgId"] for each in got}


def answered(fleet: Fleet, java: Driver, *words: object, **options: object) -> Any:
    """What a Java client does, again where it timed out: it gives a nameserver 3 s for its first
    question, which is not enough on a machine that has other things to do."""
    told = []

    def asked() -> bool:
        try:
            told.append(java.ask(fleet, *words, **options))
        except ClientError as error:
            if "Timeout" not in error.text:
                raise
        return bool(told)

    wait_until(asked, f"a Java client to {words[0]}", 180)
    return told[0]


@pytest.mark.parametrize("host", ["ns1", "broker-a0"])
def test_units_are_ready_and_files_are_private(fleet: Fleet, host: str) -> None:
    """What a host looks like: enabled units, no secret that others can read."""
    unit = "broker-trio-nameserver" if host == "ns1" else "broker-trio-broker@broker-a-1"
    assert fleet.lab.execute(host, "systemctl", "is-active", unit).stdout == "active\n"
    assert fleet.lab.execute(host, "systemctl", "is-enabled", unit).stdout == "enabled\n"
    owner = fleet.lab.execute(host, "systemctl", "show", "-p", "User", unit).stdout
    assert owner == "User=broker-trio\n"
    secret = ["grep", "-rl", "a key of lab hosts", "/etc", "/run", "/var/log", "/tmp"]
    found = fleet.lab.execute(host, *secret, check=False).stdout.split()
    kept = "/etc/broker-trio/credentials/broker-a-1.pair-key"
    for path in found:
        assert path == kept or path.startswith("/run/credentials/"), found
    if kept in found:
        assert fleet.lab.execute(host, "stat", "-c", "%a %U", kept).stdout == "600 root\n"
