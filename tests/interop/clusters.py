"""Nameservers and brokers of both makes, as processes on loopback, driven alike.

    start_nameserver("ours" | "apache", folder) ──▶ Program
    start_broker("ours" | "apache", folder, nameserver, …) ──▶ Program       .restart(kill=…)
    start_up(folder) ──▶ Cluster: ours, by `broker-trio up`

Both makes are set up to offer the same: transactions, timers and SQL92 switched off. Every process
is ended by its own id; ours end by themselves too when the tests' process is gone.
"""

import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker_trio.cli.up.ports import free_block, is_free
from broker_trio.model.codes import RequestCode
from tests.interop import raw

START_SECONDS: Final = 120.0
STOP_SECONDS: Final = 30.0
APACHE: Final = {"HEAP": "768m", "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}  # starts sooner
LIKE_OURS: Final = (
    "rejectTransactionMessage=true",
    "timerWheelEnable=false",
    "waitTimeMillsInSendQueue=10000",  # a slow machine is no reason to refuse
)
_PORTS: Final = random.SystemRandom()


def take_port() -> int:
    """A port p with p − 2, p + 1 and p + 2 free as well: a broker of either make takes those."""
    return free_block((-2, 0, 1, 2), (), _PORTS)


@dataclass
class Program:
    """One process that listens at `address`, and how to start it again in the same place."""

    command: list[str]
    address: str
    folder: Path
    environment: dict[str, str]
    ready: Callable[["Program"], bool]
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Program":
        assert not self.running
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "out.log").open("ab") as out:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE, stdout=out, stderr=out, env=os.environ | self.environment,
            )  # fmt: skip
        try:
            self._wait_ready()
        except BaseException:
            self.stop(kill=True)
            raise
        return self

    def stop(self, *, kill: bool = False) -> None:
        """By SIGTERM, or by SIGKILL. Asserts that a polite request is followed in time."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
            raise AssertionError(
                f"still there {STOP_SECONDS} s after SIGTERM: {self.command}"
            ) from None
        finally:
            process.stdin.close()

    def restart(self, *, kill: bool = False) -> None:
        self.stop(kill=kill)
        self.start()

    def _wait_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while not self.ready(self):
            if not self.running or time.monotonic() > end:
                log = (self.folder / "out.log").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"did not come up: {self.command}\n{log}")
            time.sleep(0.05)


@dataclass
class Cluster:
    """Somewhere a client can go: one nameserver and one broker."""

    name: str
    nameserver: str
    broker: str
    broker_name: str


@dataclass(frozen=True)
class Place:
    """Where a broker listens and keeps its store, and settings in the words of each make."""

    port: int
    store: Path
    ours: dict[str, str] = field(default_factory=dict)
    apache: tuple[str, ...] = ()


def start_nameserver(kind: str, folder: Path, script: Path | None = None) -> Program:
    """A nameserver of that make; `script` runs Apache's."""
    port = take_port()
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "apache":
        command = [str(script), "namesrv", str(port), str(folder)]
    else:
        config = {"listen": f"127.0.0.1:{port}", "data": str(folder / "data")}
        command = ours("nameserver", folder, config, http="")
    environment = APACHE if kind == "apache" else {}
    return Program(command, f"127.0.0.1:{port}", folder, environment, listens).start()


def start_broker(
    kind: str, folder: Path, nameserver: str, script: Path | None = None, *,
    name: str = "broker-a", flush: str = "ASYNC_FLUSH", place: Place | None = None,
) -> Program:  # fmt: skip
    """A broker of that make, ready when its nameserver gives routes to it."""
    place = place or Place(take_port(), folder / ("store" if kind == "apache" else "data"))
    port = place.port
    folder.mkdir(parents=True, exist_ok=True)
    environment = {}
    if kind == "apache":
        settings = [f"brokerName={name}", f"flushDiskType={flush}", *LIKE_OURS]
        settings += [f"storePathRootDir={place.store}", *place.apache]
        command = [str(script), "broker", str(port), nameserver, str(folder), *settings]
        environment.update(APACHE)
    else:
        config: dict[str, Any] = {
            "broker_name": name,
            "listen": f"127.0.0.1:{port}",
            "nameservers": [nameserver],
            "data": str(place.store),
        }
        command = ours("broker", folder, config, http="")
        environment |= {"BROKER_TRIO__STORE__FLUSH_DISK_TYPE": flush, **place.ours}
    return Program(
        command,
        f"127.0.0.1:{port}",
        folder,
        environment,
        lambda program: is_routed(nameserver, program.address),
    ).start()


def ours(kind: str, folder: Path, config: dict[str, Any], http: str) -> list[str]:
    """The command that runs one of our programs, its configuration file written."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in config.items()]
    path = folder / "config.toml"
    path.write_text("\n".join([*lines, "", "[http]", f"address = {json.dumps(http)}", ""]))
    return [sys.executable, "-m", "broker_trio", kind, "--config", str(path)]


def listens(program: Program) -> bool:
    return not is_free(int(program.address.rpartition(":")[2]))


def is_routed(nameserver: str, broker: str) -> bool:
    """Whether the nameserver would send the producer of a new topic to that broker."""
    answer = raw.ask(nameserver, RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "TBW102"})
    return broker.encode() in answer.body


@dataclass
class Up:
    """`broker-trio up --single --json`: its first line tells where things are. As Apache's cluster
    here it has no slave."""

    folder: Path

    def start(self) -> Cluster:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "up.log").open("ab") as errors:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "broker_trio", "up", "--single", "--json",
                    "--dir", str(self.folder), "--nameserver-port", "0", "--broker-port", "0",
                ],
                stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        try:
            told = json.loads(self._first_line())
            broker = told["brokers"][0]
        except BaseException:
            self.stop()
            raise
        return Cluster("ours", told["nameservers"][0], broker["address"], broker["name"])

    def _first_line(self) -> bytes:
        assert self._process.stdout is not None
        lines: queue.Queue[bytes] = queue.Queue()
        output = self._process.stdout
        reader = threading.Thread(target=lambda: lines.put(output.readline()), daemon=True)
        reader.start()
        return lines.get(timeout=START_SECONDS)

    def stop(self) -> int:
        """Its exit code."""
        assert self._process.stdout is not None
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait(STOP_SECONDS)
            self._process.stdout.close()
