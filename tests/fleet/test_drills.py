"""Drills on the fleet that stands: by the playbooks an operator runs, the report judged again here.

    fleet     the session's pair and two nameservers: what CI takes, `-k "kill_master or disk_full"`
    watched   a pair, three nameservers, a monitor: all fifteen, with a real Prometheus (slow)

Each leaves the cluster whole. BROKER_TRIO_DRILL_LAB names a lab of `broker-trio lab up` with these
hosts that `site.yml` was run on already: the slow ones then take it as it is, and leave it. On a
machine so busy that alerts on latency fire all the time, BROKER_TRIO_DRILL_BUSY=1 leaves Prometheus
out of the drills.
"""

import json
import os
import shlex
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from broker_trio.cli.drill.folders import write_report
from broker_trio.cli.lab.machines import Lab
from broker_trio.cli.lab.processes import wait_until
from broker_trio.ops.drill.catalogue import DRILLS
from broker_trio.ops.drill.records import Mark, marks_in
from broker_trio.ops.lab.plan import Counts, make_plan
from tests.fleet.plays import PROGRAM, ROOT, Fleet, figure
from tests.unit.ops.grafana import TOKEN, serving

pytestmark = pytest.mark.fleet
CLUSTER: Final = "lab"
KEPT: Final = "/var/lib/broker-trio-drills"
WANTED: Final = Counts(pairs=1, nameservers=3, monitors=1)
CALM_S: Final = 1_200.0  # an alert on starts looks back a quarter of an hour
BUSY: Final = bool(os.environ.get("BROKER_TRIO_DRILL_BUSY"))
QUIET_S: Final = float(os.environ.get("BROKER_TRIO_QUIET_S", "180"))
FIGURES: Final = (
    "verdict", "rto_s", "after_heal_s", "gap_s", "acknowledged", "lost", "duplicated", "failed",
    "unknown",
)  # fmt: skip


def drilled(fleet: Fleet, name: str, *words: str, **more: object) -> dict[str, Any]:
    """Run it; the document of its report, made anew here from what was fetched."""
    keep = fleet.folder / "drills"
    fleet.wait_until_whole()
    before = set(keep.glob("*"))
    play = fleet.play(
        f"drills/{name}", *words, pair="broker-a", confirm=CLUSTER, drill_keep=str(keep), **more
    )
    (folder,) = set(keep.glob("*")) - before
    made = write_report(Path(folder))
    figure(f"drill {name}", **{key: made[key] for key in FIGURES})
    assert (made["verdict"], made["reasons"]) == ("pass", []), play.output[-3000:]
    assert made["lost"] == made["duplicated"] == made["out_of_order"] == 0
    assert (folder / "report.html").stat().st_size > 10_000
    return made | {"output": play.output, "folder": folder}


def found_in(made: dict[str, Any]) -> dict[str, bool | None]:
    """Each demand, and whether it holds."""
    return {check["name"]: check["ok"] for check in made["checks"]}


def left(fleet: Fleet) -> list[str]:
    """What a drill must not leave on any host: its rules, drop-ins, files, timers."""
    look = (
        "ls -d /run/systemd/system/*.d/90-drill.conf /var/lib/broker-trio/*/.drill-fill*"
        " /etc/broker-trio/credentials/*.drill /run/broker-trio-drill/* 2>/dev/null;"
        " nft list tables | grep broker_trio_drill;"
        " systemctl list-units --no-legend 'broker-trio-drill*'; true"
    )
    return [
        f"{host.name}: {line}"
        for host in fleet.lab.plan.hosts
        for line in fleet.lab.ssh(host.name, look).stdout.splitlines()
    ]


# -- what CI takes -------------------------------------------------------------------------------


def test_a_look_at_kill_master_tells_the_plan_and_touches_nothing(fleet: Fleet) -> None:
    """Hosts, duration, harm, revert, guards; the wrong name of the cluster is told, too."""
    fleet.wait_until_whole()
    asked = {"pair": "broker-a", "drill_keep": str(fleet.folder / "none")}
    play = fleet.play("drills/kill_master", "--check", confirm=CLUSTER, **asked)
    for text in ("harm ", "revert ", "takes ", "hosts ", "the pair is in sync", "no freeze"):
        assert text in play.output, play.output
    assert play.changed_tasks == set()
    refused = fleet.play("drills/kill_master", "--check", good=False, confirm="other", **asked)
    assert "the cluster is named" in refused.output
    assert refused.code != 0
    assert left(fleet) == []


def test_kill_master(fleet: Fleet) -> None:
    """The other one takes over within 15 s, nothing is lost, and the old one counts again."""
    made = drilled(fleet, "kill_master")
    assert made["rto_s"] <= 15
    assert left(fleet) == []


def test_disk_full(fleet: Fleet) -> None:
    """Refused by name while it is full, reads go on, back within 10 s after there is room."""
    made = drilled(fleet, "disk_full")
    assert made["after_heal_s"] <= 10
    assert made["failed"] > 0, "the disk was never full"
    found = found_in(made)
    assert found["reads go on"] is found["refused by name"] is True
    assert left(fleet) == []


def test_a_drill_without_the_clusters_name_is_refused(fleet: Fleet) -> None:
    """The guard's words, and nothing is broken or left."""
    play = fleet.play("drills/kill_master", good=False, pair="broker-a", confirm="other")
    assert play.code != 0
    assert "the cluster is named" in play.output
    assert left(fleet) == []
    assert (
        json.loads(fleet.program("pair", "status", "broker-a", "--json"))["instruction"]["verb"]
        == "ok"
    )


# -- all of them, watched ------------------------------------------------------------------------


class Watched(Fleet):
    """A fleet with a monitor, and questions to its Prometheus."""

    @property
    def prometheus(self) -> str:
        address = next(h.address for h in self.lab.plan.hosts if h.group == "monitors")
        return f"http://{address}:9090"

    def query(self, text: str) -> list[dict[str, Any]]:
        """Asked in the lab's network."""
        url = f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': text})}"

        def ask() -> Any:
            with urllib.request.urlopen(url, timeout=30) as told:
                return json.load(told)

        found: list[dict[str, Any]] = self.lab.in_network(ask)["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Alerts that a drill would be refused for."""
        wanted = 'alertstate="firing",severity!="info",alertname!~"Watchdog|DrillProofOld"'
        found = self.query(f"ALERTS{{{wanted}}}")
        return {one["metric"]["alertname"] for one in found}

    def wait_until_calm(self) -> None:
        """Nothing fires, and no page is about to: what ended a minute ago can still wake one."""
        about = 'ALERTS{alertstate="pending",severity="page"}'
        told: set[str] = set()

        def calm() -> bool:
            told.clear()
            told.update(self.firing())
            told.update(one["metric"]["alertname"] for one in self.query(about))
            return not told

        wait_until(calm, f"no alert to fire ({told})", CALM_S)

    def marks(self, folder: str) -> list[Mark]:
        """Of a drill that runs, as its folder on the first nameserver's host has them."""
        done = self.lab.ssh("ns1", f"cat {KEPT}/{folder}/marks.jsonl 2>/dev/null; true")
        return marks_in(done.stdout.encode())

    def running(self, before: set[str]) -> str:
        """The folder of the drill that began, or empty."""
        return next(iter(self.folders() - before), "")

    def folders(self) -> set[str]:
        told = self.lab.ssh("ns1", f"ls -d {KEPT}/*/ 2>/dev/null; true").stdout.split()
        return {Path(path).name for path in told}


@pytest.fixture(scope="module")
def watched(
    lab_can_run: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """Deployed, with Prometheus scraping it."""
    folder = tmp_path_factory.mktemp("drills")
    if told := os.environ.get("BROKER_TRIO_DRILL_LAB"):
        yield Watched(Lab(told), Path(os.environ["BROKER_TRIO_BUNDLE"]), folder)
        return
    lab = Lab(f"drills-{os.getpid()}")
    lab.up(make_plan(lab.name, WANTED), tied=True)
    try:
        fleet = Watched(lab, request.getfixturevalue("bundle"), folder)
        fleet.play("site")
        yield fleet
    finally:
        lab.down()


SERVING: Final = frozenset(
    {"lose_nameserver", "lose_all_but_one", "lose_all_nameservers", "forget_nameserver"}
)
DOWN: Final = frozenset({"BrokerMasterDown"})
REFUSING: Final = frozenset({"SendsRefusedNoSlave", "PutsRefused", "SendErrorRatio"})
PAGES: Final = {
    "kill_master": DOWN,
    "power_off": DOWN,
    "isolate_master": DOWN,
    "stall_master": DOWN,
    "old_master_returns": DOWN,
    "cut_pair": REFUSING,
    "wrong_key": REFUSING,
    "slave_behind": DOWN | REFUSING | {"BrokerCannotWrite"},
    "disk_full": frozenset({"DiskRefusing", "PutsRefused", "SendErrorRatio"}),
    "lose_all_but_one": frozenset({"NameserversAlmostGone"}),
    "lose_all_nameservers": frozenset({"NameserversAlmostGone", "BrokerUnregisteredEverywhere"}),
}
"""Pages that the fault is right to raise, if it lasts long enough; any other is a false one."""
STARTS: Final = frozenset({"BrokerFlapping"})
"""Right as well where drills follow each other fast: four starts in a quarter of an hour."""
MUST_PAGE: Final = {"lose_all_nameservers": "NameserversAlmostGone"}
"""Seen within the drill even on an idle machine: its `for` is shorter than the fault."""
ORDER: Final = (
    "kill_master", "lose_nameserver", "disk_full", "isolate_master", "lose_all_but_one",
    "rolling_restart", "cut_pair", "lose_all_nameservers", "slow_disk", "power_off",
    "stall_master", "forget_nameserver", "slave_behind", "wrong_key", "old_master_returns",
)  # fmt: skip
"""Those that restart a broker stand apart: four starts in a quarter of an hour are an alert."""


def test_the_order_has_every_drill() -> None:
    """None is forgotten."""
    assert sorted(ORDER) == sorted(drill.name for drill in DRILLS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ORDER)
def test_every_drill_passes_on_hosts(watched: Watched, name: str) -> None:
    """Verdict, losses and goals by the drill's own row; healed; alerts on record, none else."""
    more: dict[str, object] = {}
    if not BUSY:
        watched.wait_until_calm()
        more["drill_prometheus"] = watched.prometheus
    if name == "power_off":
        lab = ["env", f"PYTHONPATH={ROOT}", *PROGRAM, "lab", "poweron", "--lab", watched.lab.name]
        more["drill_poweron_command"] = shlex.join(lab)
    made = drilled(watched, name, **more)
    found = found_in(made)
    assert all(found.values()), found
    assert found["whole again"] is found["owners seen"] is found["writers by epochs"] is True
    fired = {alert["name"]: alert["severity"] for alert in made["alerts"] if alert["firing"]}
    figure(f"alerts of {name}", fired=made["alerts"])
    pages = {alert for alert, severity in fired.items() if severity == "page"}
    assert pages <= PAGES.get(name, frozenset()) | STARTS, fired
    if name in MUST_PAGE and not BUSY:
        assert MUST_PAGE[name] in pages, fired
        told = [alert["at_ms"] for alert in made["alerts"] if alert["name"] == MUST_PAGE[name]]
        assert min(told) > made["moments"][0]["at_ms"], "it fired before the fault"
    if name in SERVING:
        assert made["failed"] == made["unknown"] == 0
    assert left(watched) == []


@pytest.mark.slow
def test_a_proof_comes_to_prometheus_and_over_grafanas_dashboards(watched: Watched) -> None:
    """When the drill passed, its RTO and RPO, by the node exporter of ns1's host.

    And an annotation, left by the controller with the token of the inventory, which nobody prints.
    """
    with serving() as grafana:
        made = drilled(
            watched, "lose_nameserver", drill_grafana=grafana.address, drill_grafana_token=TOKEN
        )
        assert grafana.taken == [made["annotation"]]
    assert TOKEN not in made["output"]

    def told() -> float:
        name = "brokertrio_drill_last_success_timestamp_seconds"
        found = watched.query(f'{name}{{cluster="{CLUSTER}",drill="lose_nameserver"}}')
        return float(found[0]["value"][1]) if found else 0.0

    begun_s = made["run"]["begun_ms"] / 1_000
    wait_until(lambda: told() >= begun_s - 0.001, "the proof at Prometheus", 180)
    for name in ("rto_seconds", "rpo_messages"):
        found = watched.query(f'brokertrio_drill_{name}{{drill="lose_nameserver"}}')
        assert [one["value"][1] for one in found] == ["0"], name


@pytest.mark.slow
def test_a_firing_alert_refuses_a_drill(watched: Watched) -> None:
    """A stopped nameserver is an alert; nothing is broken on top of it."""
    watched.wait_until_whole()
    watched.lab.execute("ns3", "systemctl", "stop", "broker-trio-nameserver")
    try:
        wait_until(lambda: watched.firing() != set(), "an alert", 300)
        play = watched.play(
            "drills/kill_master", "--check", good=False, pair="broker-a", confirm=CLUSTER,
            drill_prometheus=watched.prometheus,
        )  # fmt: skip
        assert play.code != 0
        assert "no alert fires: " in play.output
    finally:
        watched.lab.execute("ns3", "systemctl", "start", "broker-trio-nameserver")
    watched.wait_until_whole()
    assert left(watched) == []


def begun(fleet: Watched, book: str, **more: object) -> tuple["subprocess.Popen[bytes]", Path, str]:
    """A drill in a session of its own: its process, its output, its folder's name on ns1's host."""
    before = fleet.folders()
    command, environment = fleet.command(
        f"drills/{book}", pair="broker-a", confirm=CLUSTER,
        drill_keep=str(fleet.folder / "drills"), **more,
    )  # fmt: skip
    out = fleet.folder / f"{book}-{time.monotonic_ns()}.out"
    with out.open("wb") as file:
        run = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def there() -> bool:
        assert run.poll() is None, out.read_text()
        return bool(fleet.running(before))

    wait_until(there, "the drill's folder", 300)
    return run, out, fleet.running(before)


def noted(fleet: Watched, folder: str, name: str) -> Callable[[], bool]:
    """Whether the drill has such a mark by now."""
    return lambda: any(mark.name == name for mark in fleet.marks(folder))


@pytest.mark.slow
def test_the_hosts_heal_themselves_when_the_controller_is_dead(watched: Watched) -> None:
    """ansible-playbook is killed while the pair is cut: the host's own timer heals.

    The ledger ends by itself later, inconclusive, with the restoration proven.
    """
    watched.wait_until_whole()
    run, out, folder = begun(watched, "cut_pair", drill_revert=30, drill_steady=5)
    slave = next(h.name for h in watched.lab.plan.hosts
                 if h.group == "brokers" and h.name != watched.master())  # fmt: skip
    try:
        wait_until(noted(watched, folder, "fault"), out.read_text()[-2000:], 300)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    rules = "nft list table inet broker_trio_drill"
    timer = "systemctl is-active broker-trio-drill-revert.timer"

    def cut() -> bool:
        return not watched.lab.ssh(slave, rules, check=False).returncode

    wait_until(cut, "the cut", 30)
    assert watched.lab.ssh(slave, timer).stdout.strip() == "active"
    died = time.monotonic()
    wait_until(lambda: not cut(), "the host's own healing", 90)
    figure("healed without a controller", seconds=round(time.monotonic() - died, 1))
    watched.wait_until_whole()
    wait_until(lambda: not left(watched), "the ledger's own end", 420)
    told = json.loads(watched.lab.ssh("ns1", f"cat {KEPT}/{folder}/report.json").stdout)
    assert told["verdict"] == "inconclusive"
    assert "nobody ended it" in " ".join(told["reasons"])
    assert (told["lost"], found_in(told)["whole again"]) == (0, True)


@pytest.mark.slow
def test_a_person_is_drilled(watched: Watched) -> None:
    """The cause is hidden, a hint comes after a minute, the clock stops when sends go well."""
    watched.wait_until_whole()
    master = watched.pair()
    (slave,) = (
        f"broker-a/{replica['replica_id']}"
        for replica in master["replicas"].values()
        if replica["state"] == "slave"
    )
    run, out, folder = begun(watched, "human", drill_draw=["kill_master"])
    assert folder.endswith("-human")
    try:
        wait_until(noted(watched, folder, "game"), out.read_text()[-2000:], 300)
        hints = f"cat {KEPT}/{folder}/hints.txt 2>/dev/null; true"
        wait_until(lambda: watched.lab.ssh("ns1", hints).stdout != "", "a hint", 120)
        assert watched.lab.ssh("ns1", hints).stdout == "A process is gone.\n"
        said = out.read_text()
        wait_until(lambda: promoted(watched, slave), "the person's act", 60)
        assert run.wait(600) == 0, out.read_text()[-3000:]
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    assert "kill" not in said
    lines = [line for line in said.splitlines() if " -> " in line]
    hosts = {host.name for host in watched.lab.plan.hosts} - {"monitor1", "ns1"}  # the play's own
    assert all(sum(f" -> {host}" in line for line in lines) >= 3 for host in hosts), said
    made = write_report(watched.folder / "drills" / folder)
    figure("a person", person_s=made["person_s"], rto_s=made["rto_s"])
    assert (made["verdict"], made["lost"]) == ("pass", 0)
    assert made["person_s"] > 50
    assert "hints" in {mark.name for mark in watched.marks(folder)}
    assert left(watched) == []


def promoted(fleet: Watched, slave: str) -> bool:
    """What a person types."""
    fleet.program("promote", slave, "--one-copy", "--yes", code=None)
    return any(r["state"].startswith("owner") for r in fleet.pair()["replicas"].values())


@pytest.mark.slow
def test_normal_load_with_a_rolling_restart_pages_nobody(watched: Watched) -> None:
    """Three minutes; half an hour by hand, with BROKER_TRIO_QUIET_S=1800."""
    watched.wait_until_whole()
    watched.wait_until_calm()
    began = time.monotonic()
    with watched.load("quiet", rate=100) as ledger:
        drilled(watched, "rolling_restart")
        time.sleep(max(0.0, QUIET_S - (time.monotonic() - began)))
    window = f"{time.monotonic() - began:.0f}s"
    paged = watched.query(f'max_over_time(ALERTS{{alertstate="firing",severity="page"}}[{window}])')
    other = watched.query(
        f'max_over_time(ALERTS{{alertstate="firing",severity!="page",alertname!="Watchdog"}}[{window}])'
    )
    figure("false pages", seconds=window, pages=[one["metric"] for one in paged],
           tickets=sorted({one["metric"]["alertname"] for one in other}))  # fmt: skip
    assert paged == []
    assert ledger.judge("quiet load", "--lost-max", "0")["verdict"] == "pass"
