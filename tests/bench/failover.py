"""Kill the master of a pair, ours and Apache's 5.4.0, under the same ledger on the same machine.

    uv run python -m tests.bench.failover [--runs 3] [--seconds 40] [--out FILE.json]

    ours         a synchronous pair; `broker-trio promote` right after the kill, as a person would
    classic      SYNC_MASTER and SLAVE: nobody is promoted; the master is started again after 20 s
    controller   one controller in the nameserver elects by itself; allAckInSyncStateSet=true

Same load, same client (ours: it falls back to Apache's headers), same judge. The contenders run one
after the other, nothing else of them is up meanwhile. Loopback: no network, one page cache.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.interop.cache import apache
from tests.interop.clusters import (
    Place,
    Program,
    listens,
    start_broker,
    start_nameserver,
    take_port,
)
from tests.interop.pairs import Pair

TOPIC: Final = "Failover"
RATE: Final = 100
STEADY_S: Final = 8.0
AWAY_S: Final = 20.0  # of a classic master, which nobody replaces
PROGRAM: Final = [sys.executable, "-m", "broker_trio"]
CONTROLLER: Final = ("enableControllerInNamesrv=true", "controllerType=DLedger",
                     "controllerDLegerGroup=group1", "controllerDLegerSelfId=n0")  # fmt: skip


@dataclass
class Contender:
    """A pair that serves: how its master dies, what is done then, and how all of it ends."""

    nameserver: str
    kill: Callable[[], None]
    act: Callable[[], None]
    stop: Callable[[], None]
    settings: list[str] = field(default_factory=list)


def ours(folder: Path) -> Contender:
    pair = Pair(folder, flush="ASYNC_FLUSH").start()

    def promote() -> None:
        done = pair.command("promote", "broker-a/2", "--one-copy", "--yes", "--timeout", "2")
        assert done.returncode == 0, done.stderr

    told = ["mode = sync", "flush_disk_type = ASYNC_FLUSH", "promote --one-copy at once"]
    return Contender(
        pair.nameserver.address, lambda: pair.a.stop(kill=True), promote, pair.stop, told
    )


def apache_pair(folder: Path, *, controller: bool) -> Contender:
    script = apache()
    if controller:
        nameserver, shared = controlled_nameserver(folder / "nameserver", script)
    else:
        nameserver, shared = start_nameserver("apache", folder / "nameserver", script), ()
    roles = (("brokerId=-1",), ("brokerId=-1",)) if controller else (
        ("brokerId=0", "brokerRole=SYNC_MASTER"), ("brokerId=1", "brokerRole=SLAVE"),
    )  # fmt: skip
    master = apache_broker(folder / "a", nameserver, script, (*roles[0], *shared), routed=True)
    slave = apache_broker(folder / "b", nameserver, script, (*roles[1], *shared), routed=False)
    time.sleep(15 if controller else 8)  # the slave attaches, and is in the sync state set

    def act() -> None:
        if not controller:
            time.sleep(AWAY_S)
            master.ready = listens  # its old registration would be believed
            master.start()

    def stop() -> None:
        for program in (master, slave, nameserver):
            program.stop(kill=True)

    settings = [*roles[0], *roles[1], "flushDiskType=ASYNC_FLUSH", *shared]
    return Contender(nameserver.address, lambda: master.stop(kill=True), act, stop, settings)


def apache_broker(
    folder: Path, nameserver: Program, script: Path, words: tuple[str, ...], *, routed: bool
) -> Program:
    place = Place(take_port(), folder / "store", apache=words)
    if routed:
        return start_broker(
            "apache", folder, nameserver.address, script, flush="ASYNC_FLUSH", place=place
        )
    folder.mkdir(parents=True, exist_ok=True)
    settings = ["brokerName=broker-a", "flushDiskType=ASYNC_FLUSH", *words]
    settings += ["rejectTransactionMessage=true", "timerWheelEnable=false"]
    command = [str(script), "broker", str(place.port), nameserver.address, str(folder), *settings]
    address = f"127.0.0.1:{place.port}"
    return Program(command, address, folder, {"HEAP": "768m"}, listens).start()


def controlled_nameserver(folder: Path, script: Path) -> tuple[Program, tuple[str, ...]]:
    port, peer = take_port(), take_port()
    words = [*CONTROLLER, f"controllerDLegerPeers=n0-127.0.0.1:{peer}",
             f"controllerStorePath={folder}/controller"]  # fmt: skip
    command = [str(script), "namesrv", str(port), str(folder), *words]
    program = Program(command, f"127.0.0.1:{port}", folder, {"HEAP": "512m"}, listens).start()
    time.sleep(8)  # the controller elects itself
    shared = ("enableControllerMode=true", f"controllerAddr=127.0.0.1:{peer}",
              "allAckInSyncStateSet=true")  # fmt: skip
    return program, shared


CONTENDERS: Final[dict[str, Callable[[Path], Contender]]] = {
    "ours": ours,
    "classic": lambda folder: apache_pair(folder, controller=False),
    "controller": lambda folder: apache_pair(folder, controller=True),
}


def command(nameserver: str, *words: str, code: int | None = 0) -> str:
    done = subprocess.run(
        [*PROGRAM, *words, "-n", nameserver], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=180, check=False,
    )  # fmt: skip
    assert code is None or done.returncode == code, done.stderr + done.stdout
    return done.stdout


def run(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """One run: steady load, the kill, what is done then, and the verdict."""
    one = CONTENDERS[name](folder)
    try:
        command(one.nameserver, "ledger", "write", TOPIC, "--count", "20", "-o",
                str(folder / "first.cbor"), code=None)  # fmt: skip
        written, read = folder / "written.cbor", folder / "read.cbor"
        words = ["ledger", "write", TOPIC, "--rate", f"{RATE}", "--tasks", "16", "--timeout", "2",
                 "-o", str(written), "-n", one.nameserver]  # fmt: skip
        with subprocess.Popen(
            [*PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as writer:  # fmt: skip
            try:
                time.sleep(STEADY_S)
                fault = time.time()
                one.kill()
                one.act()
                time.sleep(max(0.0, fault + seconds - time.time()))
            finally:
                os.kill(writer.pid, signal.SIGTERM)
            writer.wait(60)
        command(one.nameserver, "ledger", "read", TOPIC, "-o", str(read), code=None)
        done = subprocess.run(
            [*PROGRAM, "ledger", "check", str(written), str(read), "--json", "--fault-at",
             f"{fault * 1_000:.0f}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        report = json.loads(done.stdout)
    finally:
        one.stop()
    return {
        "contender": name,
        "verdict": report["verdict"],
        "rto_s": report["recoveries"][0]["seconds"] if report["recoveries"] else None,
        "gap_s": report["rto_s"],
        **{key: report[key] for key in ("acknowledged", "failed", "unknown", "durability")},
        **{key: report[key]["count"] for key in ("lost", "duplicated", "out_of_order")},
        "causes": report["causes"],
        "settings": one.settings,
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--only", choices=sorted(CONTENDERS), action="append")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found = []
    for number in range(asked.runs):
        for name in asked.only or CONTENDERS:
            with tempfile.TemporaryDirectory(prefix="broker-trio-failover-") as folder:
                made = run(name, Path(folder) / name, asked.seconds)
            found.append(made)
            sys.stdout.write(json.dumps({"run": number + 1, **made}) + "\n")
            sys.stdout.flush()
            if asked.out:
                asked.out.write_text(json.dumps(found, indent=1) + "\n")
    for name in asked.only or CONTENDERS:
        times = [one["rto_s"] for one in found if one["contender"] == name and one["rto_s"]]
        if times:
            told = (
                f"min {min(times):.1f} median {statistics.median(times):.1f} max {max(times):.1f}"
            )
            sys.stdout.write(f"{name}: RTO {told} s\n")


if __name__ == "__main__":
    main()
