"""The master of a pair is lost, ours and Apache's 5.4.0: same hosts, faults, ledger and judge.

    uv run --extra ops python -m tests.bench.failover [--runs 3] [--bundle FILE] [--out FILE.json]

    ours         deployed by site.yml; the drill's own playbook breaks it, promotes at once, heals
    classic      SYNC_MASTER and SLAVE: nobody is promoted; after AWAY_S the fault is undone
    controller   one controller in the nameserver elects by itself; undone once that one serves

    kill         SIGKILL to the unit, and systemd does not restart it
    isolate      the master's host drops every packet but ssh's: no connection is closed

One lab of three hosts (a nameserver, a pair). One system is up at a time; the others are stopped.
The ledger is written on the nameserver's host by the same program: 100 sends a second, one attempt
each, 2 s for a send, 16 tasks; its client falls back to Apache's headers. Faults are made by the
script that drills bring to a host (playbooks/drills/files/fault.sh). Needs root, java and peers.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

from broker_trio.cli.lab.machines import Lab
from broker_trio.cli.lab.processes import wait_until
from broker_trio.cli.ledger.check import loaded
from broker_trio.ops.drill.records import marks_in
from broker_trio.ops.drill.timeline import fault_ms
from broker_trio.ops.lab.plan import Counts, make_plan
from broker_trio.ops.ledger.gaps import recovery_of
from broker_trio.ops.ledger.judge import judge
from broker_trio.ops.ledger.report import Demands
from tests.bench.failover_apache import BROKER, BROKERS, HEAP, ApachePair, mounts
from tests.bench.failover_page import COUNTS, FAULTS, SYSTEMS, Fault, table
from tests.bench.peers import missing
from tests.fleet.plays import PROGRAM, ROOT, Fleet

HOSTS: Final = Counts(pairs=1, nameservers=1)
RATE, TASKS, SEND_S, STEADY_S = 100, 16, 2, 10.0
AWAY_S: Final = 20.0  # of a classic master, which nobody replaces
SERVED_S: Final = 180.0
LOOK_S: Final = 0.2
OTHER: Final = 2  # the broker id that a controller gives to whoever comes second
QUIET_S: Final = 6.0  # what a drill waits before it ends the ledger
TOPIC: Final = "Failover"
SCRIPT: Final = "/run/broker-trio-drill.sh"
THERE: Final = "/opt/broker-trio/current/bin/broker-trio"
DRILLS: Final[dict[Fault, str]] = {"kill": "kill_master", "isolate": "isolate_master"}
OURS: Final = {
    "ns1": "broker-trio-nameserver.service",
    "broker-a0": "broker-trio-broker@broker-a-1.service",
    "broker-a1": "broker-trio-broker@broker-a-2.service",
}
OUR_SETTINGS: Final = {"broker_mode": "sync", "broker_flush": "ASYNC_FLUSH"}


class Bench:
    """Hosts with ours deployed on them; which system is up changes from run to run."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet, self.lab, self.folder = fleet, fleet.lab, folder
        self.pairs = {
            "classic": ApachePair(self.lab, controller=False),
            "controller": ApachePair(self.lab, controller=True),
        }
        self._number = 0

    def deploy(self) -> None:
        """Ours on bare hosts, and the fault script of the drills."""
        self.fleet.variables |= OUR_SETTINGS
        self.fleet.play("site")
        text = (ROOT / "playbooks/drills/files/fault.sh").read_text()
        for host in self.lab.plan.hosts:
            self.lab.execute(
                host.name, "sh", "-e", "-c", f"cat > {SCRIPT}; chmod +x {SCRIPT}", text=text
            )

    def run(self, system: str, fault: Fault) -> dict[str, Any]:
        """One run of one system, all of it: begun, hurt, healed, read back, judged, ended."""
        self._number += 1
        before, began = os.getloadavg()[0], time.monotonic()
        made = self._drill(fault) if system == "ours" else self._apache(system, fault)
        return {
            "system": system, "fault": fault, **made,
            "loads": [round(before, 1), round(os.getloadavg()[0], 1)],
            "seconds": round(time.monotonic() - began),
        }  # fmt: skip

    # -- ours ------------------------------------------------------------------------------------

    @contextmanager
    def up(self, system: str) -> Iterator[None]:
        """Ours is started and stopped again; Apache's begins anew for each run, from nothing."""
        if system != "ours":
            self._units("stop")
            yield
            return
        self._units("start")
        self.fleet.wait_until_whole()
        yield

    def _units(self, verb: str) -> None:
        """Brokers end before their nameserver and begin after it."""
        names = list(OURS) if verb == "start" else reversed(OURS)
        for name in names:
            self.lab.execute(name, "systemctl", verb, OURS[name], timeout=120)

    def _drill(self, fault: Fault) -> dict[str, Any]:
        """The drill by its playbook. Its goals are for idle machines: its verdict is not ours."""
        keep = self.folder / f"{self._number:02}-drill"
        play = self.fleet.play(
            f"drills/{DRILLS[fault]}", good=False, pair="broker-a", confirm="lab",
            drill_keep=str(keep), drill_rate=RATE, drill_steady=STEADY_S,
        )  # fmt: skip
        folders = list(keep.glob("*/report.json"))
        assert folders, play.output[-4000:]
        (folder,) = (path.parent for path in folders)
        hit = fault_ms(marks_in((folder / "marks.jsonl").read_bytes()))
        assert hit is not None, play.output[-4000:]
        moments = {m["name"]: m["seconds"] for m in json.loads(folders[0].read_text())["moments"]}
        told = {f"{name}_s": moments[name] for name in ("decided", "owned", "routed")}
        return {**judged(folder / "written.cbor", folder / "read.cbor", hit), **told}

    # -- Apache's --------------------------------------------------------------------------------

    def _apache(self, system: str, fault: Fault) -> dict[str, Any]:
        pair = self.pairs[system]
        try:
            pair.start()
            return self._hurt(pair, fault)
        finally:
            self.lab.execute(BROKERS[0], SCRIPT, "heal")
            pair.stop()

    def _hurt(self, pair: ApachePair, fault: Fault) -> dict[str, Any]:
        """The steps of the drill: steady, fault, what this mode does then, healed, read back."""
        name = f"{self._number:02}-{fault}"
        self._until_acknowledged(pair, name)
        ledger = Ledger(self.lab, pair.nameserver, self.folder / f"{name}.written.cbor")
        with ledger:
            time.sleep(STEADY_S)
            words = ("kill", BROKER) if fault == "kill" else ("isolate", "22")
            hit = int(self.lab.execute(BROKERS[0], SCRIPT, *words).stdout.split()[-1])
            seen: dict[str, float] = {}
            if pair.controller:
                wait_until(lambda: served(pair, ledger, hit, seen), "the other to serve", SERVED_S)
            else:
                time.sleep(AWAY_S)
            self.lab.execute(BROKERS[0], SCRIPT, "heal")
            wait_until(lambda: ledger.recovered(hit), "sends to go well", SERVED_S)
            wait_until(pair.whole, "both replicas to count", SERVED_S)
            time.sleep(QUIET_S)
        read = self.folder / f"{name}.read.cbor"
        self._ledger(pair, read, "read", TOPIC)
        made = {**judged(ledger.written, read, hit), **seen}
        if pair.controller:
            made["master_after"] = pair.in_sync()[0]
        return made

    def _until_acknowledged(self, pair: ApachePair, name: str) -> None:
        """Until twenty sends in a row are: the slave has attached. The first make the topic."""
        tries = iter(range(1_000))

        def good() -> bool:
            file = self.folder / f"{name}.try{next(tries)}.cbor"
            words = ("--count", "20", "--timeout", f"{SEND_S}")
            self._ledger(pair, file, "write", TOPIC, *words, check=False)
            (writer,) = loaded((file,)).writers.values()
            return [each.how for each in writer.outcomes.values()] == ["ok"] * 20

        wait_until(good, "twenty acknowledged sends", SERVED_S)

    def _ledger(self, pair: ApachePair, file: Path, *words: str, check: bool = True) -> None:
        """`ledger …` on the nameserver's host, its file brought here."""
        there = f"/var/tmp/{file.name}"
        command = (THERE, "ledger", *words, "-o", there, "-n", pair.nameserver)
        self.lab.execute("ns1", *command, check=check, timeout=180)
        shutil.copy(self.lab.host_file(self.lab.plan.host("ns1"), there[1:]), file)


class Ledger:
    """`ledger write` as a unit on the nameserver's host, while the block runs."""

    def __init__(self, lab: Lab, nameserver: str, written: Path) -> None:
        self.lab, self.written = lab, written
        there = f"/var/tmp/{written.name}"
        self._file = lab.host_file(lab.plan.host("ns1"), there[1:])
        self._command = (
            "systemd-run", "--collect", "--unit=failover-ledger", "--property=KillMode=mixed",
            "--property=TimeoutStopSec=120", THERE, "ledger", "write", TOPIC, "--rate", f"{RATE}",
            "--tasks", f"{TASKS}", "--timeout", f"{SEND_S}", "-o", there, "-n", nameserver,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self.lab.execute("ns1", *self._command)
        try:
            wait_until(
                lambda: self._file.exists() and self._file.stat().st_size > 20_000, "the ledger", 60
            )
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        shutil.copy(self._file, self.written)

    def _stop(self) -> None:
        self.lab.execute("ns1", "systemctl", "stop", "failover-ledger.service", timeout=150)

    def recovered(self, fault: int) -> bool:
        """Whether sends have gone well for five seconds again, by what is written so far."""
        shutil.copy(self._file, self.written)
        (writer,) = loaded((self.written,)).writers.values()
        found = recovery_of(writer, fault)
        return found.seconds is not None and writer.ends_at() > writer.at(fault) + found.seconds + 5


def served(pair: ApachePair, ledger: Ledger, fault: int, seen: dict[str, float]) -> bool:
    """Whether sends go well again; on the way, when the controller and the nameserver moved on."""
    at = round(time.time() - fault / 1_000, 2)
    if pair.in_sync()[:1] == [OTHER]:
        seen.setdefault("owned_s", at)
    if pair.shown(0) == pair.address(BROKERS[1]):
        seen.setdefault("routed_s", at)
    time.sleep(LOOK_S)
    return ledger.recovered(fault)


def judged(written: Path, read: Path, fault: int) -> dict[str, Any]:
    """What the ledger proves, by the same judge for everybody."""
    report = judge(loaded((written, read)), Demands(fault_wall_ms=fault))
    (recovery,) = report.recoveries
    return {
        "verdict": report.verdict,
        "reasons": report.reasons,
        "rto_s": None if recovery.seconds is None else round(recovery.seconds, 2),
        "gap_s": None if report.rto_s is None else round(report.rto_s, 2),
        **{key: getattr(report, key) for key in ("acknowledged", "failed", "unknown", "causes")},
        **{key: asdict(getattr(report, key))["count"] for key in COUNTS},
        "durability": report.durability,
    }


def document_of(runs: list[dict[str, Any]], bench: Bench) -> dict[str, Any]:
    """All that the page is made from."""
    return {
        "measured": time.strftime("%Y-%m-%d"),
        "processors": os.cpu_count(),
        "ledger": {"rate": RATE, "tasks": TASKS, "attempts": 1, "timeout_s": SEND_S},
        "heap": HEAP,
        "settings": {
            "ours": {**OUR_SETTINGS, "nameservers": 1},
            **{name: pair.settings() for name, pair in bench.pairs.items()},
        },
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=SYSTEMS, action="append")
    parser.add_argument("--fault", choices=FAULTS, action="append")
    parser.add_argument("--bundle", type=Path, help="of `broker-trio bundle`; else one is made")
    parser.add_argument("--keep", type=Path, help="folder for ledgers and logs")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    systems, runs = asked.only or SYSTEMS, []
    with (
        tempfile.TemporaryDirectory(prefix="broker-trio-failover-") as folder,
        three_hosts() as hosts,
    ):
        place = asked.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        bundle = asked.bundle or bundled(Path(folder))
        bench = Bench(Fleet(hosts, bundle, place), place)
        bench.deploy()
        for number in range(asked.runs):
            for system in systems:
                with bench.up(system):
                    for fault in asked.fault or FAULTS:
                        runs.append({"run": number + 1, **bench.run(system, fault)})
                        sys.stdout.write(json.dumps(runs[-1]) + "\n")
                        sys.stdout.flush()
                        if asked.out:
                            told = json.dumps(document_of(runs, bench), indent=1)
                            asked.out.write_text(told + "\n")
        for fault in FAULTS:
            sys.stdout.write("\n".join([fault, *table({"runs": runs}, fault), ""]))


@contextmanager
def three_hosts() -> Iterator[Lab]:
    """Three hosts that end with this process, however that ends."""
    name = f"failover-{os.getpid()}"
    hosts = Lab(name)
    hosts.up(make_plan(name, HOSTS, mounts=mounts()), tied=True)
    try:
        yield hosts
    finally:
        hosts.down()


def bundled(folder: Path) -> Path:
    """The wheelhouse of this checkout."""
    command = [*PROGRAM, "bundle", str(folder), "--project", str(ROOT)]
    subprocess.run(command, check=True, timeout=900, stdin=subprocess.DEVNULL)
    (tar,) = folder.glob("*.tar")
    return tar


if __name__ == "__main__":
    main()
