"""The ledger against real processes that are killed and a store that is damaged on purpose."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.clusters import Program, start_broker, start_nameserver

MESSAGE_BYTES = 256


class Drill:
    """A nameserver and a broker of ours, and the ledger's commands in a folder."""

    def __init__(self, folder: Path, flush: str = "ASYNC_FLUSH") -> None:
        self.folder, self.topic = folder, "drill"
        self.nameserver = start_nameserver("ours", folder / "nameserver")
        try:
            self.broker = start_broker(
                "ours", folder / "broker", self.nameserver.address, flush=flush
            )
        except BaseException:
            self.nameserver.stop(kill=True)
            raise
        self.running: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()
        for program in (self.broker, self.nameserver):
            program.stop(kill=True)

    def command(self, *words: str) -> list[str]:
        program = [sys.executable, "-m", "broker_trio", "ledger", *words, "--json"]
        return program if words[0] == "check" else [*program, "-n", self.nameserver.address]

    def start_writer(self, *options: str) -> "subprocess.Popen[bytes]":
        """A writer that has a few acknowledgements already."""
        with (self.folder / "writer.log").open("ab") as log:
            process = subprocess.Popen(
                self.command("write", self.topic, "--rate", "200", *options),
                cwd=self.folder, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
        self.running.append(process)
        path = self.folder / f"{self.topic}.written.cbor"
        size = path.stat().st_size if path.exists() else 0
        wait_for(lambda: path.exists() and path.stat().st_size > size + 5_000)
        return process

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """A command's exit code and its document."""
        done = subprocess.run(
            self.command(*words), cwd=self.folder, capture_output=True, timeout=90, check=False
        )
        assert done.stdout, done.stderr.decode()
        return done.returncode, json.loads(done.stdout)

    def judged(self, *options: str) -> tuple[int, dict[str, Any]]:
        """Read everything back and judge it."""
        code, read = self.run("read", self.topic)
        assert (code, read["incomplete"]) == (0, 0)
        files = [f"{self.topic}.{what}.cbor" for what in ("written", "read")]
        return self.run("check", *files, *options)


def wait_for(sound: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not sound():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def drill(tmp_path: Path) -> Iterator[Drill]:
    made = Drill(tmp_path)
    yield made
    made.close()


def test_nothing_is_lost_when_the_broker_is_killed(drill: Drill) -> None:
    """Killed twice under load and started again: the check passes and tells the gaps."""
    writer = drill.start_writer()
    for _ in range(2):
        time.sleep(0.5)
        drill.broker.stop(kill=True)
        time.sleep(1.0)
        drill.broker.start()
        time.sleep(1.5)
    writer.send_signal(signal.SIGTERM)
    assert writer.wait(30) == 0
    code, report = drill.judged("--rto-max", "30")
    assert (code, report["verdict"], report["reasons"]) == (0, "pass", [])
    assert report["acknowledged"] > 200
    assert report["failed"] + report["unknown"] > 0
    assert len(report["gaps"]) >= 2
    assert 1.0 < report["rto_s"] < 30.0
    assert report["read_back"] == report["acknowledged"] + report["unknown_stored"]
    told = (drill.folder / "writer.log").read_text()
    assert told.count("no acknowledgement for") >= 2
    assert told.count("acknowledged again after") >= 2


def test_a_killed_writer_leaves_a_ledger_to_judge(drill: Drill) -> None:
    """What it knew is there, what was in flight is unknown, and another run goes on behind it."""
    drill.start_writer("--tasks", "32").kill()
    drill.running[0].wait()
    drill.start_writer().send_signal(signal.SIGINT)
    assert drill.running[1].wait(30) == 0
    code, report = drill.judged()
    assert (code, report["verdict"], report["writers"]) == (0, "pass", 2)
    assert any("has not ended by itself" in note for note in report["notes"])


def log_of(broker: Program) -> Path:
    """The first segment of its commit log."""
    [segment] = (broker.folder / "data").rglob("commitlog/00000000000000000000")
    return segment


def change_a_record(segment: Path) -> None:
    """One byte of one message's padding, in the middle of the log."""
    data = segment.read_bytes()
    at = data.index(b"." * 100, len(data.rstrip(b"\0")) // 2)
    with segment.open("r+b") as file:
        file.seek(at + 50)
        file.write(b"!")


def cut_the_end(segment: Path) -> None:
    """The last fifth of what was written is zeros, as after a disk that lied."""
    data = segment.read_bytes()
    used = len(data.rstrip(b"\0"))
    with segment.open("r+b") as file:
        file.seek(used * 4 // 5)
        file.write(bytes(used - used * 4 // 5))


@pytest.mark.parametrize("damage", [change_a_record, cut_the_end])
def test_a_damaged_store_is_found_out(drill: Drill, damage: Callable[[Path], None]) -> None:
    """Acknowledged messages that cannot be read any more are lost, each of them, and named."""
    code, told = drill.run("write", drill.topic, "--count", "500", "--rate", "0")
    assert (code, told["acknowledged"]) == (0, 500)
    assert drill.judged()[1]["verdict"] == "pass"
    drill.broker.stop()
    damage(log_of(drill.broker))
    drill.broker.environment["BROKER_TRIO__ACCEPT_DAMAGE"] = "true"
    drill.broker.start()
    code, report = drill.judged()
    assert (code, report["verdict"]) == (1, "fail")
    lost = report["lost"]["count"]
    assert report["rpo_messages"] == lost
    assert lost == 500 - report["read_back"]
    if damage is change_a_record:
        assert lost == 1  # the broker does not serve what does not match its checksum
        assert any("1 of its offsets gave no message" in note for note in report["notes"])
    else:
        assert 80 < lost < 120
        assert report["lost"]["examples"][0].startswith(f"{told['writer']} #")
