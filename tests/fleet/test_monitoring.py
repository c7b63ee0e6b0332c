"""Monitoring as the playbooks deploy it, and pages that fire and resolve on faults of real hosts.

A pair, two nameservers, a monitor; Prometheus with the rules, intervals and waits of production.

    fault ─▶ programs ─▶ Prometheus ─▶ Alertmanager      fires, reaches the receiver `page`
    cure  ─▶ …                                           is resolved, the cluster is whole

What a correct cluster cannot show (two masters, corruption) comes from a planted target: a page of
metrics on the monitor. docs/operating/alerts.md has the table. What takes a quarter of an hour is
marked slow; tests/interop/test_pages.py raises all pages on one machine, with shorter waits.
BrokerFlapping looks back 15 minutes, so here it is seen firing only.
"""

import json
import shlex
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from broker_trio.cli.lab.faults import Faults
from broker_trio.cli.lab.machines import Lab
from broker_trio.cli.lab.processes import wait_until
from broker_trio.ops.lab.plan import Counts, make_plan
from grafana.src.rule_files import ALERTS
from tests.fleet.grafana_stub import build_stub
from tests.fleet.plays import Fleet, Play, figure

pytestmark = pytest.mark.fleet
WANTED: Final = Counts(pairs=1, nameservers=2, monitors=1)
FIRES_S: Final = 420.0  # of a machine three times slower; waits of pages are at most two minutes
LONG_FIRES_S: Final = 1200.0  # … and ten minutes for two of them
RESOLVES_S: Final = 600.0
VOLUME: Final = "/var/lib/broker-trio"
UNITS: Final = {
    "broker-a0": "broker-trio-broker@broker-a-1",
    "broker-a1": "broker-trio-broker@broker-a-2",
}
NAMESERVER: Final = "broker-trio-nameserver"
PLANTED: Final = "/run/planted/metrics"
PAGES: Final = {alert.name for alert in ALERTS if alert.severity == "page"}
PLANTS: Final = {
    "SyncReplicationTimeouts": 'brokertrio_receipts_total{ID,durability="slave_timeout"} NOW\n',
    "ReplicationStalled": (
        'brokertrio_replication_lag_bytes{ID,instance="p1",replica="2"} 500\n'
        'brokertrio_replication_last_ack_timestamp_seconds{ID,instance="p1",replica="2"} 1\n'
    ),
    "RetentionEatsUnread": (
        'rocketmq_consumer_lag_latency_milliseconds{ID,topic="t",consumer_group="g"} 9e6\n'
        "rocketmq_storage_message_reserve_time_milliseconds{ID} 1e7\n"
        'brokertrio_store_expired_files_total{ID,cause="age"} NOW\n'
    ),
    "BrokerTwoMasters": (
        'brokertrio_may_write{ID,instance="p1"} 1\nbrokertrio_may_write{ID,instance="p2"} 1\n'
    ),
    "StoreCorruption": 'brokertrio_store_corrupt_records_total{ID,instance="p1"} 1\n',
}
PLANT_ID: Final = 'cluster="planted",node_type="broker",node_id="p"'


class Watched(Fleet):
    """A fleet with a monitor, and questions to its Prometheus and Alertmanager."""

    @property
    def monitor(self) -> str:
        return next(h.address for h in self.lab.plan.hosts if h.group == "monitors")

    def get(self, port: int, path: str, **parameters: str) -> Any:
        """JSON of one of the monitor's programs; asked in the lab's network."""
        url = f"http://{self.monitor}:{port}{path}?{urllib.parse.urlencode(parameters)}"

        def ask() -> Any:
            with urllib.request.urlopen(url, timeout=30) as told:
                return json.load(told)

        return self.lab.in_network(ask)

    def query(self, text: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(9090, "/api/v1/query", query=text)["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Alerts that fire, Watchdog apart."""
        found = self.query('ALERTS{alertstate="firing",alertname!="Watchdog"}')
        return {one["metric"]["alertname"] for one in found}

    def told(self) -> dict[str, set[str]]:
        """Receivers of the alerts that Alertmanager has now."""
        found: dict[str, set[str]] = {}
        for one in self.get(9093, "/api/v2/alerts"):
            receivers = {receiver["name"] for receiver in one["receivers"]}
            found.setdefault(one["labels"]["alertname"], set()).update(receivers)
        return found

    def unit(self, verb: str, host: str, name: str = "") -> None:
        self.lab.execute(host, "systemctl", verb, name or UNITS[host], timeout=400)

    def plant(self, text: str) -> None:
        """The page of the planted target; empty is an empty page."""
        text = text.replace("ID", PLANT_ID).replace("NOW", f"{time.time():.0f}")
        script = f"mkdir -p /run/planted && printf %s {shlex.quote(text)} > {PLANTED}"
        self.lab.execute("monitor1", "sh", "-c", script)


@pytest.fixture(scope="module")
def watched(
    lab_can_run: None, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """Deployed, with a target that is planted and a package that stands in for Grafana."""
    lab = Lab(f"watched-{tmp_path_factory.getbasetemp().name}"[:30].rstrip("-"))
    lab.up(make_plan(lab.name, WANTED), tied=True)
    try:
        fleet = Watched(lab, bundle, tmp_path_factory.mktemp("watched"))
        prepare(fleet)
        yield fleet
    finally:
        lab.down()


def prepare(fleet: Watched) -> None:
    """`site.yml`, with a job of the test's own."""
    address = f"{fleet.monitor}:9999"
    job = {
        "job_name": "planted", "honor_labels": True,
        "static_configs": [{"targets": [address], "labels": {"cluster": "planted"}}],
    }  # fmt: skip
    hook = {"webhook_configs": [{"url": f"http://{fleet.monitor}:9998/"}]}
    fleet.variables |= {
        "prometheus_scrape_configs": [job],
        "prometheus_runbooks": "https://runbooks.lab/",
        "alertmanager_page": hook,
        "grafana_package": str(build_stub(fleet.folder / "grafana")),
    }
    fleet.plant("")
    serve = f"cd /run/planted && exec python3 -m http.server 9999 --bind {fleet.monitor}"
    fleet.lab.execute("monitor1", "systemd-run", "--quiet", "--unit=planted", "sh", "-c", serve)
    play = fleet.play("site")
    figure("site with a monitor", seconds=round(play.seconds, 1))


def test_every_target_is_up_and_every_rule_is_loaded(watched: Watched) -> None:
    """Brokers, nameservers, node exporters of all hosts, and the monitor itself."""

    def up() -> set[tuple[str, str]]:
        found = self_up(watched)
        return {(one["job"], one.get("host", "")) for one in found}

    hosts = {host.name for host in watched.lab.plan.hosts}
    ours = hosts - {"monitor1"}
    expected = {("node", name) for name in hosts} | {("broker-trio", name) for name in ours}
    expected |= {("monitors", "monitor1"), ("planted", "")}
    wait_until(lambda: up() == expected, f"targets {sorted(expected)}", 120)
    assert watched.query("up == 0") == []
    groups = watched.get(9090, "/api/v1/rules")["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"]
    assert {rule["name"] for rule in rules} == {alert.name for alert in ALERTS}
    for rule in rules:
        assert rule["annotations"]["runbook_url"] == f"https://runbooks.lab/{rule['name']}"
        assert rule["health"] in {"ok", "unknown"}  # not evaluated yet
    wait_until(lambda: "Watchdog" in watched.told(), "the Watchdog at Alertmanager", 120)
    assert watched.told()["Watchdog"] == {"watchdog"}


def self_up(watched: Watched) -> list[dict[str, str]]:
    return [one["metric"] for one in watched.query("up == 1")]


def test_a_second_run_and_a_look_change_nothing(watched: Watched) -> None:
    """Monitors are part of `site.yml`, with the promises of the other hosts."""
    again = watched.play("site")
    assert again.changed_tasks == set()
    assert watched.check().changed_tasks == set()


def test_a_look_names_the_rule_file_that_somebody_edited(watched: Watched) -> None:
    """And a run puts it back, and Prometheus reads it anew."""
    rules = "/etc/prometheus/broker-trio/rules/brokers.yml"
    watched.lab.execute("monitor1", "sed", "-i", "s/for: 15s/for: 15d/", rules)
    drift: Play = watched.play("monitoring", "--check", "--diff")
    assert {host for host, _ in drift.changed_tasks} == {"monitor1"}
    assert rules in drift.output
    watched.play("monitoring")
    assert "for: 15d" not in watched.lab.execute("monitor1", "cat", rules).stdout
    assert watched.play("monitoring", "--check").changed_tasks == set()


def test_grafana_gets_its_files_and_can_read_them(watched: Watched) -> None:
    """The stand-in's server checks them as its own user; Grafana's own never ran here."""
    said = json.loads(watched.lab.execute("monitor1", "cat", "/run/grafana-stub.json").stdout)
    assert said["problems"] == []
    assert said["dashboards"] == sorted(
        path.stem for path in Path("grafana/dashboards").glob("*.json")
    )
    assert said["datasource"] == f"http://{watched.monitor}:9090"
    assert said["folder"] == "Broker Trio"
    mode = "stat -c '%a %U:%G' /var/lib/grafana/dashboards/broker-trio/bt-overview.json"
    assert watched.lab.execute("monitor1", "sh", "-c", mode).stdout == "640 root:grafana\n"


@dataclass(frozen=True)
class Fault:
    """What is done, which pages it must raise, and how it is undone."""

    alerts: frozenset[str]
    do: Callable[[Watched, Faults], None]
    undo: Callable[[Watched, Faults], None]
    load: bool = False
    fires_s: float = FIRES_S


def stop_pair(fleet: Watched, faults: Faults) -> None:
    for host in UNITS:
        fleet.unit("stop", host)


def start_all(fleet: Watched, faults: Faults) -> None:
    faults.heal()
    for host in ("ns1", "ns2"):
        fleet.unit("start", host, NAMESERVER)
    for host in UNITS:
        fleet.lab.execute(host, "systemctl", "start", "--no-block", UNITS[host])


def slave_of(fleet: Watched) -> str:
    return next(host for host in UNITS if host != fleet.master())


def stop_slave(fleet: Watched, faults: Faults) -> None:
    fleet.unit("stop", slave_of(fleet))


def fill_disk(fleet: Watched, faults: Faults) -> None:
    faults.fill(fleet.master(), VOLUME, leave=1 << 20)


def fill_most(fleet: Watched, faults: Faults) -> None:
    faults.fill(fleet.master(), VOLUME, leave=400 << 20)


def leave_master_alone(fleet: Watched, faults: Faults) -> None:
    fleet.unit("stop", slave_of(fleet))
    for host in ("ns1", "ns2"):
        fleet.unit("stop", host, NAMESERVER)


def cut_nameserver(fleet: Watched, faults: Faults) -> None:
    faults.cut("ns2", *UNITS)


FAULTS: Final = {
    "pair_stopped": Fault(frozenset({"BrokerMasterDown"}), stop_pair, start_all),
    "slave_stopped": Fault(
        frozenset({"SendsRefusedNoSlave", "SendErrorRatio"}), stop_slave, start_all, load=True
    ),
    "disk_full": Fault(
        frozenset({"DiskRefusing", "PutsRefused"}), fill_disk, start_all, load=True
    ),
    "disk_filling": Fault(frozenset({"DiskFullSoon"}), fill_most, start_all, fires_s=LONG_FIRES_S),
    "master_alone": Fault(
        frozenset({"BrokerCannotWrite", "NameserversAlmostGone", "BrokerUnregisteredEverywhere"}),
        leave_master_alone, start_all,
    ),
    "nameserver_cut_off": Fault(frozenset({"NameserversDisagree"}), cut_nameserver, start_all),
}  # fmt: skip


LONG: Final = {"disk_filling"}
"""Ten minutes of waiting before it fires: by hand."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in FAULTS],
)
def test_a_page_fires_on_a_fault_and_is_resolved(watched: Watched, name: str) -> None:
    """Each of the fault's pages fires, reaches the receiver of pages, and ends with the fault."""
    fault, faults = FAULTS[name], Faults(watched.lab)
    watched.wait_until_whole()
    wait_until(lambda: not watched.firing() & PAGES - {"BrokerFlapping"}, "calm", RESOLVES_S)
    seen, began = dict[str, float](), time.monotonic()

    def all_seen() -> bool:
        for alert in watched.firing() & fault.alerts:
            seen.setdefault(alert, round(time.monotonic() - began, 1))
        return seen.keys() == fault.alerts

    under: AbstractContextManager[Any] = nullcontext()
    if fault.load:
        under = watched.load(name, "--timeout", "3")
    with ExitStack() as stack:
        stack.enter_context(under)
        began = time.monotonic()
        fault.do(watched, faults)
        try:
            wait_until(all_seen, f"{sorted(fault.alerts)} (seen: {seen})", fault.fires_s)
            told = watched.told()
            assert all(told[alert] == {"page"} for alert in fault.alerts & watched.firing())
        finally:
            fault.undo(watched, faults)
    cured = time.monotonic()
    wait_until(lambda: not watched.firing() & fault.alerts, "their end", RESOLVES_S)
    figure(f"pages of {name}", fired_s=seen, resolved_s=round(time.monotonic() - cured, 1))
    watched.wait_until_whole()


@pytest.mark.slow
def test_planted_pages_fire_and_are_resolved(watched: Watched) -> None:
    """What no correct cluster shows, or not within hours, from figures on the monitor."""
    waiting = set(PLANTS)

    def all_seen() -> bool:
        watched.plant("".join(PLANTS.values()))  # a counter among them has to rise
        waiting.difference_update(watched.firing())
        return not waiting

    try:
        wait_until(all_seen, f"{sorted(PLANTS)}", LONG_FIRES_S)
        assert all(watched.told()[alert] == {"page"} for alert in PLANTS)
    finally:
        watched.plant("")
    wait_until(lambda: not watched.firing() & PLANTS.keys(), "their end", RESOLVES_S)


@pytest.mark.slow
def test_a_broker_that_flaps_pages(watched: Watched) -> None:
    """Five starts, each seen by a scrape; the alert ends a quarter of an hour later."""
    host = slave_of(watched)
    starts = f'process_start_time_seconds{{node_type="broker",host="{host}"}}'

    def started() -> str:
        (found,) = watched.query(starts) or [{"value": [0, ""]}]
        return str(found["value"][1])

    for _ in range(4):
        before = started()
        watched.unit("restart", host)
        wait_until(lambda before=before: started() not in {"", before}, "a scrape", 120)  # type: ignore[misc]
    wait_until(lambda: "BrokerFlapping" in watched.firing(), "BrokerFlapping", FIRES_S)
    assert watched.told()["BrokerFlapping"] == {"page"}
    watched.wait_until_whole()
