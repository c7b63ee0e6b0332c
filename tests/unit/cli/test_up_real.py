"""`up` for real: child processes, sockets, signals. Slow, and the only tests here that wait."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.slow

COMMAND: Final = (sys.executable, "-m", "broker_trio")
DEADLINE_S: Final = 120.0


class Up:
    """A running `up --json`, and its lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, "up ended"
        found: dict[str, Any] = json.loads(text)
        return found

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *words],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )


@contextmanager
def running(folder: Path, *words: str) -> Iterator[Up]:
    options = ["--dir", str(folder), "--nameserver-port", "0", "--broker-port", "0", "--json"]
    with subprocess.Popen(
        [*COMMAND, "up", *options, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Up(process)
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone_soon(pid: int) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_messages_survive_a_restart_of_everything(tmp_path: Path) -> None:
    """Two pairs start, take messages, stop on SIGTERM with 0, and have the messages again."""
    with running(tmp_path, "--pairs", "2", "--nameservers", "2") as up:
        ready = up.line()
        roles = [(broker["name"], broker["role"], broker["id"]) for broker in ready["brokers"]]
        assert roles == [
            ("broker-a", "master", 0), ("broker-a", "slave", 2),
            ("broker-b", "master", 0), ("broker-b", "slave", 2),
        ]  # fmt: skip
        nameservers = ";".join(ready["nameservers"])
        sent = up.run("produce", "hello", "-n", nameservers, stdin="one\ntwo\nthree\n")
        assert sent.returncode == 0, sent.stderr
        assert sent.stdout.count("replicated") == 3
        with urlopen(f"http://{ready['brokers'][0]['http']}/readyz", timeout=DEADLINE_S) as answer:
            assert json.load(answer)["ready"] is True
        up.process.send_signal(signal.SIGINT)
        assert up.line() == {"event": "stopping", "why": "SIGINT"}
        assert up.line() == {"event": "stopped", "exit_code": 0}
        assert up.process.wait(DEADLINE_S) == 0
    assert not any(alive(broker["pid"]) for broker in ready["brokers"])
    with running(tmp_path, "--pairs", "2", "--nameservers", "2") as up:
        nameservers = ";".join(up.line()["nameservers"])
        got = up.run("consume", "hello", "-n", nameservers, "--from-first")
        assert sorted(got.stdout.split()) == ["one", "three", "two"], got.stderr


def test_a_slave_takes_over_and_the_old_master_returns(tmp_path: Path) -> None:
    """As the screen tells people: kill -9, promote, and the dead one comes back as the slave."""
    with running(tmp_path, "--restart-after", "3") as up:
        ready = up.line()
        master, slave = ready["brokers"]
        option = ("-n", ready["nameservers"][0])
        os.kill(master["pid"], signal.SIGKILL)
        died = up.line()
        assert (died["event"], died["exit_code"], died["restart_s"]) == ("died", -9, 3.0)
        promoted = up.run("promote", "broker-a/2", "--one-copy", "--yes", *option)
        assert promoted.returncode == 0, promoted.stderr
        sent = up.run("produce", "hello", *option, stdin="one\n")
        assert sent.returncode == 0, sent.stderr
        events = [up.line()]
        while events[-1].get("name") != "broker-a-1" or events[-1].get("state") != "slave":
            events.append(up.line())
        assert any(one["event"] == "restarted" for one in events)
        assert any(one.get("role") == "master" and one["name"] == "broker-a-2" for one in events)
        up.process.send_signal(signal.SIGINT)
        last = up.line()
        while last["event"] != "stopped":
            last = up.line()
        assert last["exit_code"] == 0
    with running(tmp_path) as up:
        brokers = up.line()["brokers"]
        assert [one["id"] for one in brokers] == [0, 1]
        assert brokers[0]["store"] == slave["store"]


def test_a_dead_child_ends_everything_with_its_log(tmp_path: Path) -> None:
    """Exit code 1, the child's end and the end of its log; no process is left behind."""
    with running(tmp_path, "--single") as up:
        (broker,) = up.line()["brokers"]
        os.kill(broker["pid"], signal.SIGKILL)
        died = up.line()
        assert (died["event"], died["name"], died["exit_code"]) == ("died", "broker-a-1", -9)
        assert any("broker.ready" in line for line in died["log"])
        assert up.line()["event"] == "stopping"
        assert up.line() == {"event": "stopped", "exit_code": 1}
        assert up.process.wait(DEADLINE_S) == 1


def test_no_child_outlives_a_killed_up(tmp_path: Path) -> None:
    """SIGKILL leaves no time to stop anybody: the children notice by themselves.

    `abort` tells who has the store open.
    """
    with running(tmp_path) as up:
        brokers = up.line()["brokers"]
        for broker in brokers:
            assert Path(broker["store"], "abort").read_text() == str(broker["pid"])
        up.process.kill()
        assert all(gone_soon(broker["pid"]) for broker in brokers)


def test_a_second_up_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Exit code 3, and the first one goes on."""
    with running(tmp_path) as up:
        up.line()
        second = up.run("up", "--dir", str(tmp_path), "--nameserver-port", "0")
        assert second.returncode == 3
        assert f"pid {up.process.pid}" in second.stderr
        assert up.process.poll() is None


def test_importing_the_command_line_imports_no_program() -> None:
    """Completion and --help cost what Click costs: no Trio, no Rich, no msgspec."""
    program = "import broker_trio.cli.main, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"trio", "anyio", "rich", "msgspec", "structlog", "starlette"} & set(loaded)


def test_a_role_does_not_import_rich() -> None:
    """structlog would take it along: 0.2 s of each start and 4 MB of each process."""
    program = """
import sys
from broker_trio.cli.roles import import_structlog_alone
import_structlog_alone()
import broker_trio.broker.app, broker_trio.namesrv.app
assert "structlog" in sys.modules and "rich" not in sys.modules
import rich.console
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
