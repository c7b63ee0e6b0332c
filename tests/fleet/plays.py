"""A deployed lab for tests: playbooks run, clients in its network, ledgers of what they sent.

    lab (hosts.yml) + inventory/lab's group_vars ─▶ folder of this run ─▶ ansible-playbook ─▶ Play
    Writer: `ledger write` in the lab's network, while something happens; `judge` afterwards

Nothing here asserts on times: machines differ. Each play's seconds are printed and, where
BROKER_TRIO_FIGURES names a file, appended to it as a line of JSON, for docs/benchmarks.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from broker_trio.cli.lab.machines import Lab
from broker_trio.cli.lab.processes import wait_until

ROOT: Final = Path(__file__).parents[2]
PROGRAM: Final = [sys.executable, "-m", "broker_trio"]
PLAY_SECONDS: Final = 2400.0
COMMAND_SECONDS: Final = 180.0
TOPIC: Final = "orders"
AGAIN: Final = ("--resend-unknown",)  # a slave's restart holds sends up: on a slow machine over 3 s


def figure(name: str, **values: object) -> None:
    """Print a measured figure, and keep it where the environment says."""
    waiting = round(os.getloadavg()[0], 1)  # who reads it knows whether the machine was idle
    line = json.dumps({"figure": name, **values, "load_average": waiting})
    print(f"\n{line}")  # noqa: T201
    if path := os.environ.get("BROKER_TRIO_FIGURES"):
        with Path(path).open("a") as out:
            out.write(line + "\n")


@dataclass
class Play:
    """One run of a playbook, as its recap tells it."""

    code: int
    output: str
    seconds: float
    recap: dict[str, Any] = field(default_factory=dict)

    @property
    def changed(self) -> dict[str, int]:
        """Changed tasks of each host."""
        return {name: host["changed"] for name, host in self.recap.get("hosts", {}).items()}

    @property
    def changed_tasks(self) -> set[tuple[str, str]]:
        """Host and task of whatever changed, or would."""
        return {(host, task) for host, task in self.recap.get("changed", [])}

    @property
    def said(self) -> str:
        """The texts of all failures."""
        return "\n".join(f"{host}: {text}" for host, _, text in self.recap.get("failed", []))


class Fleet:
    """Hosts of a lab, and what an operator and a client do with them."""

    def __init__(self, lab: Lab, bundle: Path, folder: Path) -> None:
        self.lab, self.bundle, self.folder = lab, bundle, folder
        self.variables: dict[str, Any] = {"topics": [{"name": TOPIC, "queues": 4}]}
        self.host_variables: dict[str, dict[str, Any]] = {}  # by host: a mistake, or a spare's task
        self._number = 0
        folder.mkdir(parents=True, exist_ok=True)

    # -- the operator ----------------------------------------------------------------------------

    def inventory(self) -> Path:
        """hosts.yml of the lab as it is now, with inventory/lab's variables and the test's."""
        place = self.folder / "inventory"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(ROOT / "inventory/lab/group_vars", place / "group_vars")
        (place / "group_vars/all/test.yml").write_text("---\n" + yaml.safe_dump(self.variables))
        hosts = yaml.safe_load((self.lab.folder / "hosts.yml").read_text())
        for group in hosts["all"]["children"].values():
            for name in group["hosts"]:
                group["hosts"][name] |= self.host_variables.get(name, {})
        (place / "hosts.yml").write_text("---\n" + yaml.safe_dump(hosts))
        return place

    def command(self, book: str, *words: str, **extra: object) -> tuple[list[str], dict[str, str]]:
        """The command line and environment of a playbook, and where its recap will be."""
        self._number += 1
        recap = self.folder / f"{self._number:02}-{book.replace('/', '-')}.json"
        variables = {"runtime_bundle": str(self.bundle), **extra}
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        inventory = str(self.inventory() / "hosts.yml")
        command = [program, "-i", inventory, str(ROOT / f"playbooks/{book}.yml")]
        command += [*words, "-e", json.dumps(variables)]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "playbooks/ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_FORCE_COLOR": "0",
            "LC_ALL": "C.UTF-8",
            "BROKER_TRIO_RECAP": str(recap),
        }
        return command, environment

    def play(self, book: str, *words: str, good: bool = True, **extra: object) -> Play:
        """Run a playbook to its end; `good`: it must succeed."""
        command, environment = self.command(book, *words, **extra)
        began = time.monotonic()
        done = subprocess.run(
            command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=PLAY_SECONDS, check=False,
        )  # fmt: skip
        recap = Path(environment["BROKER_TRIO_RECAP"])
        told = json.loads(recap.read_text()) if recap.exists() else {}
        play = Play(done.returncode, done.stdout, time.monotonic() - began, told)
        recap.with_suffix(".log").write_text(done.stdout)
        figure(f"play {book}", words=words, seconds=round(play.seconds, 1), code=play.code)
        assert not good or play.code == 0, done.stdout[-6000:]
        return play

    def check(self, **extra: object) -> Play:
        """`site.yml --check --diff`."""
        return self.play("site", "--check", "--diff", **extra)

    # -- a client --------------------------------------------------------------------------------

    @property
    def nameservers(self) -> str:
        hosts = [host for host in self.lab.plan.hosts if host.group == "nameservers"]
        return ";".join(f"{host.address}:9876" for host in hosts)

    @property
    def nameserver(self) -> str:
        """What the Java driver is told."""
        return self.nameservers

    def program(self, *words: str, text: str = "", code: int | None = 0) -> str:
        """Run our command line in the lab's network; its stdout."""
        command = self.lab.network_command([*PROGRAM, *words, "-n", self.nameservers])
        done = subprocess.run(
            command, input=text, text=True, capture_output=True, check=False,
            timeout=COMMAND_SECONDS,
        )  # fmt: skip
        assert code is None or done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout

    def pair(self) -> dict[str, Any]:
        """`pair status broker-a`."""
        told: dict[str, Any] = json.loads(self.program("pair", "status", "broker-a", "--json"))
        return told

    def master(self) -> str:
        """The host of the pair's owner."""
        for address, replica in self.pair()["replicas"].items():
            if replica["state"].startswith("owner"):
                host = address.partition(":")[0]
                return next(h.name for h in self.lab.plan.hosts if h.address == host)
        raise AssertionError("nobody owns broker-a")

    def stored(self) -> int:
        """Where the log of the pair's owner ends."""
        owners = [
            replica["log_end"]
            for replica in self.pair()["replicas"].values()
            if replica["state"].startswith("owner")
        ]
        return int(max(owners, default=0))

    def wait_until_whole(self, seconds: float = 300.0) -> None:
        """Until the pair needs nothing."""

        def whole() -> bool:
            told = self.program("pair", "status", "broker-a", "--json", code=None)
            return bool(told) and json.loads(told)["instruction"]["verb"] == "ok"

        wait_until(whole, "broker-a to be whole", seconds)

    # -- load that proves something --------------------------------------------------------------

    @contextmanager
    def load(self, name: str, *words: str, rate: int = 50) -> Iterator["Ledger"]:
        """Send numbered messages all the while; judge them by `Ledger.judge` after it.

        The client tries each for half a minute, 3 s a try: how long it took is in the figures. What
        may have been stored is tried again with `--resend-unknown` only.
        """
        file = self.folder / f"{name}.written.cbor"
        command = [*PROGRAM, "ledger", "write", TOPIC, "--rate", str(rate), "-o", str(file)]
        command += ["--attempts", "100", "--timeout", "30", *words, "-n", self.nameservers]
        log = (self.folder / f"{name}.write.log").open("wb")
        writer = subprocess.Popen(
            self.lab.network_command(command), stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
        ledger = Ledger(self, file)
        try:
            wait_until(lambda: file.exists() and file.stat().st_size > 20_000, "the load", 120)
            yield ledger
            size = file.stat().st_size
            wait_until(lambda: file.stat().st_size > size + 20_000, "sends afterwards", 120)
        finally:
            writer.send_signal(signal.SIGTERM)
            try:
                code = writer.wait(120)
            except subprocess.TimeoutExpired:
                writer.kill()
                code = writer.wait()
            log.close()
        assert code == 0, Path(log.name).read_text()[-2000:]


@dataclass
class Ledger:
    """What was sent under load, and what is found of it."""

    fleet: Fleet
    written: Path

    def judge(self, figure_name: str, *words: str) -> dict[str, Any]:
        """Read all queues, judge; the report as `ledger check --json` prints it."""
        read = self.written.with_suffix(".read.cbor")
        self.fleet.program("ledger", "read", TOPIC, "-o", str(read))
        done = subprocess.run(
            [*PROGRAM, "ledger", "check", str(self.written), str(read), *words, "--json"],
            capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS,
        )  # fmt: skip
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        kept = (
            "verdict", "attempts", "acknowledged", "failed", "unknown", "repeated", "rto_s",
            "causes",
        )  # fmt: skip
        told = {key: report[key] for key in kept}
        told |= {key: report[key]["count"] for key in ("lost", "duplicated")}
        figure(figure_name, **told)
        return report

    def must_be_whole(self, figure_name: str) -> None:
        """Judged: no send failed, nothing is lost or doubled, and all were acknowledged.

        But for those stored and told so late that a slave, which restarts, had taken longer than
        `replication.slave_timeout_ms`: an idle machine has none.
        """
        report = self.judge(figure_name)
        told = {key: report[key] for key in ("failed", "unknown", "reasons", "causes")}
        assert report["verdict"] == "pass", told
        assert report["failed"] == 0, told
        assert report["unknown"] == report["causes"].get("FLUSH_SLAVE_TIMEOUT", 0), told
