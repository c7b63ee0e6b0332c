"""Alertmanager's routes and inhibitions as the playbooks render them, asked of the real one."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from os import environ
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from grafana.src.__main__ import ROOT
from grafana.src.rule_files import ALERTS

TEMPLATE = ROOT / "playbooks/roles/alertmanager/templates/alertmanager.yml.j2"
HOOK = {"webhook_configs": [{"url": "http://127.0.0.1:9/hook"}]}
RECEIVER = {"page": "page", "ticket": "ticket", "info": "nobody"}
LABELS = {"cluster": "c", "node_id": "a", "instance": "h:10913", "host": "h"}
STARTS_S = 30.0


def tool(name: str, package: str = "prometheus-alertmanager") -> str:
    found = shutil.which(name)
    if found is None:
        text = f"{name} is not on PATH (Debian package {package})"
        if environ.get("BROKER_TRIO_REQUIRE_INTEROP") == "1":
            pytest.fail(text)
        pytest.skip(text)
    return found


def rendered(**variables: Any) -> str:
    """The file as Ansible writes it."""
    world = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    world.filters["to_nice_yaml"] = lambda value, indent: yaml.safe_dump(value, indent=indent)
    said = {"alertmanager_page": {}, "alertmanager_ticket": {}, "alertmanager_watchdog": {}}
    return world.from_string(TEMPLATE.read_text()).render({**said, **variables})


def amtool(*words: str) -> str:
    done = subprocess.run(
        [tool("amtool"), *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "alertmanager.yml"
    path.write_text(rendered(alertmanager_page=HOOK, alertmanager_ticket=HOOK))
    return path


@pytest.mark.parametrize("receiver", [{}, HOOK], ids=["nobody", "hook"])
def test_amtool_takes_the_configuration(tmp_path: Path, receiver: dict[str, Any]) -> None:
    """With receivers, and without any."""
    path = tmp_path / "alertmanager.yml"
    path.write_text(
        rendered(
            alertmanager_page=receiver, alertmanager_ticket=receiver, alertmanager_watchdog=receiver
        )
    )
    assert "SUCCESS" in amtool("check-config", str(path))
    found = yaml.safe_load(path.read_text())["receivers"]
    assert [one["name"] for one in found] == ["nobody", "page", "ticket", "watchdog"]
    assert all(one.get("webhook_configs") == receiver.get("webhook_configs") for one in found[1:])


@pytest.mark.parametrize("severity", sorted({alert.severity for alert in ALERTS}))
def test_each_severity_reaches_its_receiver(config: Path, severity: str) -> None:
    """`page` wakes somebody, `ticket` waits, `info` goes nowhere; an unknown one goes nowhere."""
    words = ("config", "routes", "test", f"--config.file={config}")
    (alert,) = [one for one in ALERTS if one.severity == severity and one.name != "Watchdog"][:1]
    told = amtool(*words, f"severity={severity}", f"alertname={alert.name}", "cluster=c")
    assert told.strip() == RECEIVER[severity]


def test_the_watchdog_has_a_receiver_of_its_own(config: Path) -> None:
    """What an external dead man's switch listens to, whatever its severity."""
    words = ("config", "routes", "test", f"--config.file={config}")
    assert amtool(*words, "severity=info", "alertname=Watchdog").strip() == "watchdog"


def test_inhibitions_name_alerts_that_there_are() -> None:
    """A renamed alert takes its inhibitions along, and no rule mutes its own cause."""
    names = {alert.name for alert in ALERTS}
    for rule in yaml.safe_load(rendered())["inhibit_rules"]:
        (source,) = (re.findall(r'"(.*)"', one)[0] for one in rule["source_matchers"])
        (muted,) = (re.findall(r'"(.*)"', one)[0].split("|") for one in rule["target_matchers"])
        assert {source, *muted} <= names
        assert source not in muted
        assert "cluster" in rule["equal"]


class Alive:
    """A running Alertmanager, told alerts by amtool."""

    def __init__(self, url: str) -> None:
        self.url = url

    def add(self, name: str, **labels: str) -> None:
        words = [f"{key}={value}" for key, value in {**LABELS, **labels}.items()]
        amtool("alert", "add", f"--alertmanager.url={self.url}", f"alertname={name}", *words)

    def states(self) -> dict[str, str]:
        """Alerts by name and host, and whether they are active or suppressed."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=20) as told:
            found = json.load(told)
        return {
            f"{one['labels']['alertname']}@{one['labels']['host']}": one["status"]["state"]
            for one in found
        }


@pytest.fixture
def alive(config: Path, tmp_path: Path) -> Iterator[Alive]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
    command = [
        tool("prometheus-alertmanager"), f"--config.file={config}",
        f"--web.listen-address={address}", f"--storage.path={tmp_path}/data",
        "--cluster.listen-address=", "--log.level=warn",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + STARTS_S
            while True:
                try:
                    urllib.request.urlopen(f"http://{address}/-/ready", timeout=5).close()
                except OSError:
                    assert time.monotonic() < deadline, "no Alertmanager"
                    time.sleep(0.05)
                else:
                    break
            yield Alive(f"http://{address}")
        finally:
            process.terminate()
            process.wait(30)


def test_a_dead_host_mutes_its_symptoms_and_no_page(alive: Alive) -> None:
    """Of that host only; the page about its pair still wakes somebody."""
    alive.add("TargetMissing", severity="ticket")
    alive.add("NameserverDown", severity="ticket")
    alive.add("TargetMissing", severity="ticket", host="other")
    alive.add("BrokerMasterDown", severity="page")
    alive.add("BrokerSlaveDown", severity="ticket")
    alive.add("BrokerSlaveDown", severity="ticket", node_id="b", host="other")
    alive.add("HostDown", severity="ticket")
    expected = {
        "HostDown@h": "active",
        "BrokerMasterDown@h": "active",
        "TargetMissing@h": "suppressed",
        "NameserverDown@h": "suppressed",
        "BrokerSlaveDown@h": "suppressed",
        "TargetMissing@other": "active",
        "BrokerSlaveDown@other": "active",
    }
    deadline = time.monotonic() + STARTS_S
    while alive.states() != expected and time.monotonic() < deadline:
        time.sleep(0.1)  # `unprocessed` until the dispatcher has seen it
    assert alive.states() == expected
