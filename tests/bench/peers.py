"""Both contenders as processes, driven alike: Apache by `peers`, ours by `broker-trio up`.

Every process is ended by its own id. Ports are free ones of the loopback. Data lies in a folder of
the run, on the same file system for both.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = Path(os.environ.get("BROKER_TRIO_PEERS", ROOT.parent / "shared" / "peers")) / "peers"


BYTECODE = Path(tempfile.gettempdir()) / f"broker-trio-bytecode-{sys.version_info[1]}"
OURS = [sys.executable, "-m", "broker_trio"]


def missing() -> str | None:
    """Why no comparison is possible here, or None."""
    if not PEERS.exists():
        return (
            f"no Apache to compare with: {PEERS} is not there (BROKER_TRIO_PEERS names the folder)"
        )
    for program in ("java", "javac", "mvn"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


def environment() -> dict[str, str]:
    """Ours, with bytecode kept: installers compile a package, a checkout may be told not to."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(BYTECODE)}


def begin(command: Sequence[object], folder: Path, **options: object) -> subprocess.Popen[bytes]:
    """Start a process whose complaints go to `out.log` in the folder."""
    with (folder / "out.log").open("ab") as out:
        return subprocess.Popen(
            [str(word) for word in command],
            stderr=out,
            env=environment(),
            **{"stdout": out, **options},
        )


def free_port() -> int:
    """A port whose neighbours (−2 and +1, which Apache's broker takes too) are free as well."""
    for base in range(20_000 + os.getpid() % 20_000, 60_000, 10):
        try:
            for port in (base - 2, base, base + 1):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise RuntimeError("no free port")


@dataclass
class Contender:
    """A running nameserver and broker. `pids` are the broker's and the nameserver's."""

    name: str
    nameserver: str
    broker_pid: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    started_s: float = 0.0
    data: Path = Path()

    def memory(self) -> int:
        """Anonymous bytes of the broker: file pages are the kernel's to take back."""
        text = Path(f"/proc/{self.broker_pid}/smaps_rollup").read_text()
        return int(re.search(r"^Anonymous:\s+(\d+) kB", text, re.MULTILINE)[1]) << 10

    def cpu_s(self) -> float:
        """Processor seconds of the broker so far, user and system."""
        fields = Path(f"/proc/{self.broker_pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """kill −9 of the broker alone."""
        os.kill(self.broker_pid, signal.SIGKILL)

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


def wait_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    """Until somebody accepts there; fails at once where the process has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {port} after {seconds} s")


def load(contender: Contender, kind: str, **options: object) -> dict[str, object]:
    """One run of the Java load generator; its JSON line, with the broker's CPU time beside it."""
    arguments = [f"{key}={value}" for key, value in options.items()]
    before = contender.cpu_s()
    done = subprocess.run(
        [PEERS, "load", kind, f"namesrv={contender.nameserver}", *arguments],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"load said nothing: {done.stderr[-2000:]}")
    figures = json.loads(lines[-1])
    figures["broker_cpu_us"] = 1e6 * (contender.cpu_s() - before) / max(1, figures["messages"])
    return figures


def start_apache(folder: Path, **properties: object) -> Contender:
    """Nameserver and broker of Apache 5.4.0."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    ns_port = free_port()
    nameserver = begin([PEERS, "namesrv", ns_port, folder / "ns"], folder)
    wait_port(ns_port, nameserver)
    port = free_port()
    extra = [f"{key}={value}" for key, value in properties.items()]
    address = f"127.0.0.1:{ns_port}"
    broker = begin([PEERS, "broker", port, address, folder / "broker", *extra], folder)
    wait_port(port, broker)
    seconds = time.monotonic() - began
    return Contender("apache", address, broker.pid, [broker, nameserver], seconds, folder)


def start_ours(folder: Path, *options: str, pair: bool = False) -> Contender:
    """`broker-trio up` with one nameserver and one broker, without a slave as Apache's is.

    Or with one: `pair`. Its first replica is the master.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    command = [
        *OURS, "up", *(() if pair else ("--single",)), "--dir", str(folder), "--json",
        "--nameserver-port", "0", "--broker-port", "0", *options,
    ]  # fmt: skip
    up = begin(command, folder, stdout=subprocess.PIPE)
    assert up.stdout is not None
    line = up.stdout.readline()
    if not line:
        raise RuntimeError(f"up ended: {(folder / 'up.log').read_text()[-3000:]}")
    ready = json.loads(line)
    seconds = time.monotonic() - began
    broker = ready["brokers"][0]
    return Contender("ours", ready["nameservers"][0], broker["pid"], [up], seconds, folder)


def start_nameserver(name: str, folder: Path) -> tuple[str, subprocess.Popen[bytes]]:
    """A nameserver of either make: its address and its process."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    address = f"127.0.0.1:{port}"
    if name == "apache":
        command: list[object] = [PEERS, "namesrv", str(port), folder / "ns"]
    else:
        text = f'listen = "{address}"\ndata = "{folder}/ns"\n[http]\naddress = ""\n'
        (folder / "nameserver.toml").write_text(text)
        command = [*OURS, "nameserver", "--config", folder / "nameserver.toml"]
    process = begin(command, folder)
    wait_port(port, process)
    return address, process


def start_broker(name: str, nameserver: str, folder: Path) -> tuple[str, subprocess.Popen[bytes]]:
    """A broker of either make, just started: its address and its process. Nobody has waited."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    address = f"127.0.0.1:{port}"
    if name == "apache":
        command: list[object] = [PEERS, "broker", str(port), nameserver, folder / "broker"]
    else:
        (folder / "broker.toml").write_text(
            f'listen = "{address}"\ndata = "{folder}/broker"\nnameservers = ["{nameserver}"]\n'
            f'[http]\naddress = "127.0.0.1:{port + 2}"\n'
        )
        command = [*OURS, "broker", "--config", folder / "broker.toml"]
    return address, begin(command, folder)


@contextmanager
def both(folder: Path) -> Iterator[tuple[Contender, Contender]]:
    """Ours and Apache's, up at the same time; stopped whatever happens."""
    contenders: list[Contender] = []
    try:
        contenders.append(start_ours(folder / "ours"))
        contenders.append(start_apache(folder / "apache"))
        wait_route(contenders[0])
        wait_route(contenders[1])
        yield contenders[0], contenders[1]
    finally:
        for contender in contenders:
            contender.stop()


def wait_route(contender: Contender, seconds: float = 60.0) -> None:
    """Until a first message is accepted: the broker is registered and serves."""
    end = time.monotonic() + seconds
    figures: dict[str, object] = {}
    while time.monotonic() < end:
        figures = load(contender, "produce", topic="Warm", threads=1, count=10, warmup=0)
        if figures["failed"] == 0:
            return
        time.sleep(0.5)
    raise RuntimeError(f"{contender.name} takes no message: {figures}")
