"""A pair and two nameservers as processes, each part of which can be broken alone; watched.

    nameserver 1 ◀─ relay ◀─┬─ replica a ── tmpfs        Prometheus ◀─ /metrics of all four, a node
    nameserver 2 ◀─ relay ◀─┴─ replica b ── tmpfs          exporter, and a page of planted figures
                    can be cut              can be filled,      └──▶ Alertmanager
                                            and made to hang or be slow in fsync

The small disks live in a namespace of their own, which a holder keeps open; replicas join it, so
that their stores outlive them. A disk that hangs is made inside the process: fsync waits as long
as a file is there, or each time so many seconds as the file says. A version is made there as well.
Everything else is the product as it is.
"""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from grafana.src import limits
from tests.interop import monitored
from tests.interop.clusters import Program, ours, take_port
from tests.interop.monitored import COMMAND, Monitored, Tested, child, target
from tests.interop.pairs import NAME, Pair, wait_for
from tests.interop.relay import Planted, Relay

DISK_BYTES: Final = 160 << 20
STORE: Final = {
    "FLUSH_DISK_TYPE": "SYNC_FLUSH",
    "COMMIT_LOG_SEGMENT_BYTES": str(4 << 20),
    "MESSAGE_SIZE_MAX": str(1 << 20),
    "RESERVE_BYTES": str(1 << 20),
    "CONSUME_QUEUE_SEGMENT_UNITS": "2000",
    "INDEX_SLOTS": "1000",
    "INDEX_ITEMS": "10000",
    "RETENTION_INTERVAL_MS": "1000",
}
HANGING: Final = """
import os, runpy, sys, time
file, *words = sys.argv[1:]
def says():
    try:
        with open(file) as told:
            return told.read()
    except FileNotFoundError:
        return ""
def hanging(sync):
    def until_it_is_gone(descriptor):
        while os.path.exists(file):
            if seconds := says():
                time.sleep(float(seconds))
                break
            time.sleep(0.05)
        sync(descriptor)
    return until_it_is_gone
os.fsync, os.fdatasync = hanging(os.fsync), hanging(os.fdatasync)
import broker_trio
broker_trio.__version__ = os.environ.get("TESTED_VERSION", broker_trio.__version__)
sys.argv = ["broker-trio", *words]
runpy.run_module("broker_trio", run_name="__main__")
"""
HANGS: Final = "hangs"  # the file, in a replica's folder
MOUNT: Final = 'for one; do mount -t tmpfs -o size=$0 tmpfs "$one" || exit; done; echo up; exec cat'
SHORTER: Final = {
    "7d": "10m", "6h": "1m", "1h": "1m", "15m": "2m", "10m": "30s", "5m": "16s", "2m": "16s",
    "1m": "12s",
}  # fmt: skip
"""Windows of rules, in the copy that is tested; a wait (`for`) is two seconds there."""
SMALLER: Final = {
    str(limits.BEHIND_BYTES): str(2 << 20),
    str(limits.LAG_MESSAGES): "1000",
    str(limits.LAG_AGE_S): "20",
}
"""Amounts of rules, in that copy; `BEHIND_BYTES` is `REPLICATION_LAG_BYTES`, too."""
WHOLE_S: Final = 300.0
PATIENT_S: Final = "60"  # a question's time, on a machine that has much else to do


def may_unshare() -> bool:
    return not subprocess.run(
        ["unshare", "-rm", "true"], capture_output=True, check=False
    ).returncode


@contextmanager
def small_disks(folders: list[Path]) -> Iterator[int]:
    """Memory file systems on these folders, in a namespace; the pid of who holds it."""
    for folder in folders:
        folder.mkdir(parents=True)
    command = ["unshare", "-rm", "sh", "-c", MOUNT, str(DISK_BYTES), *map(str, folders)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            assert holder.stdout.readline() == b"up\n"
            yield holder.pid
        finally:
            holder.stdin.close()
            holder.wait(30)


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


@dataclass
class Breakable(Pair):
    """The pair, its second nameserver behind a relay, and where each keeps what."""

    disks: int = 0  # the pid of who holds them
    _plain: dict[int, dict[str, str]] = field(default_factory=dict)

    def _nameserver(self) -> Program:
        ports = take_port(), take_port()
        addresses = [f"127.0.0.1:{port}" for port in ports]
        self.nameservers = [self._one_nameserver(n, addresses) for n in (0, 1)]
        for program in self.nameservers:
            program.start()
        self.relays = [Relay(address) for address in addresses]
        return self.nameservers[0]

    def _one_nameserver(self, number: int, addresses: list[str]) -> Program:
        folder, address = self.folder / f"nameserver-{number + 1}", addresses[number]
        folder.mkdir()
        config = {"listen": address, "data": str(folder / "data")}
        http = self.http_of(address)
        command = ours("nameserver", folder, config, http)
        with (folder / "config.toml").open("a") as file:
            file.write(f'[witness]\nothers = ["{addresses[1 - number]}"]\nnew = true\n')
        return Program(command, address, folder, {}, lambda _: answers(f"http://{http}/readyz"))

    @staticmethod
    def http_of(address: str) -> str:
        host, _, port = address.rpartition(":")
        return f"{host}:{int(port) + 2}"

    def store(self, number: int) -> Path:
        """As this process reaches it."""
        return Path(f"/proc/{self.disks}/root{self.store_path(number)}")

    def store_path(self, number: int) -> Path:
        return self.folder / f"{NAME}-{number}" / "store"

    def hang_file(self, program: Program) -> Path:
        return program.folder / HANGS

    def _replica(self, number: int, port: int, other: int) -> Program:
        folder, address = self.folder / f"{NAME}-{number}", f"127.0.0.1:{port}"
        http = self.http_of(address)
        config = {
            "broker_name": NAME,
            "listen": address,
            "nameservers": [relay.address for relay in self.relays],
            "data": str(self.store_path(number)),
            "register_interval_s": 10,
        }
        environment = self._replicating(number, f"127.0.0.1:{other}")
        environment |= {f"BROKER_TRIO__STORE__{key}": v for key, v in STORE.items()}
        _, _, _, *words = ours("broker", folder, config, http)
        enter = ["nsenter", "-t", str(self.disks), "-U", "-m", "--preserve-credentials"]
        command = [*enter, sys.executable, "-c", HANGING, str(folder / HANGS), *words]
        return Program(
            command, address, folder, environment, lambda _: answers(f"http://{http}/livez")
        )

    def stop(self) -> None:
        for program in (self.a, self.b, *self.nameservers):
            program.stop(kill=True)
        for relay in self.relays:
            relay.close()

    # -- its parts ------------------------------------------------------------------------------

    @property
    def replicas(self) -> tuple[Program, Program]:
        return self.a, self.b

    @property
    def master(self) -> Program:
        """Who leads, or did when somebody could be asked."""
        for program in self.replicas:
            if program.running and self.state(program).startswith("owner"):
                self._master = program
        return self._master

    @property
    def slave(self) -> Program:
        return self.b if self.master is self.a else self.a

    def number(self, program: Program) -> int:
        return self.replicas.index(program) + 1

    def wait_whole(self, master: Program | None = None) -> None:
        def whole() -> bool:
            leader = self.master
            return self.is_whole(leader, self.slave)

        self._master = self.a
        wait_for(whole, "two copies", WHOLE_S)

    def mend(self) -> None:
        """All that was broken works again; waits until the pair has two copies."""
        for relay in self.relays:
            relay.mend()
        for program in self.replicas:
            self.hang_file(program).unlink(missing_ok=True)
            self.filler(program).unlink(missing_ok=True)
        for number, environment in self._plain.items():
            self.replicas[number - 1].stop()
            self.replicas[number - 1].environment = environment
        self._plain.clear()
        for program in (*self.nameservers, *self.replicas):
            if not program.running:
                program.start()
        self.wait_whole()

    def restart_with(self, program: Program, **environment: str) -> None:
        """Start it again with other settings, until `mend`."""
        self._plain.setdefault(self.number(program), program.environment)
        program.stop()
        program.environment = program.environment | environment
        program.start()

    # -- a disk ---------------------------------------------------------------------------------

    def filler(self, program: Program) -> Path:
        return self.store(self.number(program)) / "somebody-elses-file"

    def fill(self, program: Program, leave: float) -> None:
        """Somebody else's file takes all but a share of a replica's disk."""
        file = self.filler(program)
        told = os.statvfs(file.parent)
        size = told.f_bavail * told.f_frsize - int(leave * told.f_blocks * told.f_frsize)
        assert size > 0, f"{file.parent} has less than {leave:.0%} already"
        with file.open("wb") as out:
            os.posix_fallocate(out.fileno(), 0, size)


@dataclass
class Site:
    """What can be broken, who watches it, and figures that are planted beside it."""

    pair: Breakable
    watch: Monitored
    planted: Planted
    folder: Path
    node: Program
    prometheus: Program
    alertmanager: Program
    held: ExitStack = field(default_factory=ExitStack)
    """What lasts as long as a fault."""

    def places(self) -> dict[str, str]:
        """What stands here for a host's own, by its name in runbooks."""
        slave = self.pair.slave
        return {
            "localhost:10913": self.pair.http_of(slave.address),
            ":10911": f":{slave.address.rpartition(':')[2]}",
            ":9876": f":{self.pair.nameserver.address.rpartition(':')[2]}",
            "localhost:9090": self.prometheus.address,
            "localhost:9093": self.alertmanager.address,
            "/etc/broker-trio/*.toml": str(slave.folder / "config.toml"),
            "/etc/prometheus/prometheus.yml": str(self.prometheus.folder / "prometheus-config"),
            "/var/lib/broker-trio": str(self.pair.store(self.pair.number(slave))),
        }

    @contextmanager
    def load(self, *words: str) -> Iterator[None]:
        """`bench produce` all the while."""
        command = [*COMMAND, "bench", "produce", *words, "--warm-up", "0", "--seconds", "900"]
        command += ["--timeout", "5", "-n", self.watch.nameservers]
        with child(command, self.folder / "load.log"):
            yield


def targets(pair: Breakable) -> list[dict[str, Any]]:
    brokers = [target(pair.http_of(one.address), "broker", NAME) for one in pair.replicas]
    others = [
        target(pair.http_of(one.address), "nameserver", one.address) for one in pair.nameservers
    ]
    return [*brokers, *others]


def watcher(command: list[str], address: str, folder: Path, ready: str) -> Program:
    """A program that watches, started; its log is in a folder of its own."""
    return Program(
        command, address, folder, {}, lambda _: answers(f"http://{address}{ready}")
    ).start()


@contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Everything, with two topics and two groups that do not consume."""
    if not may_unshare():
        monitored.missing("unshare -rm is not allowed here: small disks cannot be made")
    with ExitStack() as stack:
        stores = [folder / f"{NAME}-{number}" / "store" for number in (1, 2)]
        holder = stack.enter_context(small_disks(stores))
        pair = Breakable(folder, disks=holder)
        pair.start()
        stack.callback(pair.stop)
        planted = Planted()
        stack.callback(planted.close)
        node = watcher(*monitored.node_exporter_command(folder), folder / "node", "/")
        stack.callback(node.stop)
        asked = monitored.alertmanager_command(folder / "alertmanager")
        receiver = watcher(*asked, folder / "alertmanager", "/-/ready")
        stack.callback(receiver.stop)
        plant = {"targets": [planted.address], "labels": {"cluster": "planted"}}
        host = target(node.address, "", "")
        jobs = {"broker-trio": targets(pair), "planted": [plant], "node": [host]}
        tested = Tested(SHORTER, SMALLER, receiver.address, itself=True)
        asked = monitored.prometheus_command(folder / "prometheus", jobs, tested)
        prometheus = watcher(*asked, folder / "prometheus", "/-/ready")
        stack.callback(prometheus.stop)
        told = {"nameservers": [one.address for one in pair.nameservers]}
        watch = Monitored(told, f"http://{prometheus.address}")
        running = Site(pair, watch, planted, folder, node, prometheus, receiver)
        stack.callback(running.held.close)
        prepare(running)
        yield running


def prepare(running: Site) -> None:
    """Messages of two topics, and the groups that runbooks name, each with a backlog."""
    for topic, group, size in (("orders", "billing", "256"), ("bills", "gone", "4096")):
        words = ("bench", "produce", topic, "--count", "100", "--warm-up", "0", "--size", size)
        some = ("consume", topic, "--group", group, "--from-first", "--count", "5")
        for command in (words, some):
            done = running.watch.run(*command, "--timeout", PATIENT_S)
            assert done.returncode == 0, done.stderr
