"""What runbooks tell people to type, run as it stands there.

`broker-trio …`             as it is
`curl …`, `promtool …`, …   as it is, but for the places of a host: PLACES says what stands there
`systemctl …`, …            not run: NOT_HERE says why
"""

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from grafana.src.__main__ import ROOT
from tests.interop.monitored import Monitored

RUNBOOKS: Final[list[Path]] = sorted((ROOT / "docs/operating/runbooks").glob("*.md"))
DONE, FAILED, SHOWN_ONLY = 0, 1, 3
FINDS_FAULTS: Final = (["doctor"], ["client", "consumers"])
"""`doctor` exits with 1 when it found something wrong, `client consumers` when nobody is online:
that is their answer."""
PLACES: Final = {
    "localhost:10913": "a broker's HTTP door",
    ":10911": "a broker's port",
    ":9876": "a nameserver's port",
    "localhost:9090": "the Prometheus",
    "localhost:9093": "the Alertmanager",
    "/etc/broker-trio/*.toml": "a broker's configuration",
    "/etc/prometheus/prometheus.yml": "the Prometheus' configuration",
    "/var/lib/broker-trio": "a broker's store",
}
"""What a test has in the place of a host's own."""
RUN_HERE: Final[Mapping[str, frozenset[int]]] = {
    "amtool": frozenset({0, 1}),  # 1: it does not answer, which is what was asked
    "curl": frozenset({0, 7}),  # 7: nobody listens, likewise
    "df": frozenset({0}),
    "grep": frozenset({0, 1}),  # 1: it is not there
    "promtool": frozenset({0, 1}),  # 1: it found a mistake
    "ps": frozenset({0}),
    "ss": frozenset({0}),
    "vmstat": frozenset({0}),
}
"""Programs that a test runs, and the exit codes that are answers."""
NOT_HERE: Final = {
    "chronyc": "asks a chronyd of the host",
    "dmesg": "the kernel's log is the host's",
    "iostat": "from the package sysstat, which hosts have",
    "journalctl": "asks systemd of the host",
    "nc": "from the package netcat, which hosts have",
    "ping": "HOST is a person's to fill in",
    "systemctl": "asks systemd of the host",
    "timedatectl": "asks systemd of the host",
}
"""Programs that a test does not run, and why."""


class Said(NamedTuple):
    """What a command printed; `failure` is empty where its exit code is an answer."""

    command: str
    failure: str
    text: str


def text_of(name: str) -> str:
    """A runbook."""
    return (ROOT / f"docs/operating/runbooks/{name}.md").read_text()


def commands(name: str) -> list[str]:
    """Every `broker-trio …` of a runbook, in order."""
    return re.findall(r"`broker-trio ([^`]+)`", text_of(name))


def others(name: str) -> list[str]:
    """Every command of other programs that can be run here."""
    return re.findall(rf"`((?:{'|'.join(RUN_HERE)}) [^`]+)`", text_of(name))


def run(running: Monitored, command: str) -> Said:
    """One of ours."""
    words = shlex.split(command)
    done = running.run(*words)
    finds = any(words[: len(one)] == one for one in FINDS_FAULTS)
    allowed = {DONE, SHOWN_ONLY} | ({FAILED} if finds else set())
    return said(command, done, frozenset(allowed))


def run_other(command: str, places: Mapping[str, str]) -> Said:
    """One of somebody else, by the shell that a person would type it into."""
    typed = "vmstat 1 2" if command == "vmstat 1" else command  # else it does not end
    for place, here in places.items():
        typed = typed.replace(place, here)
    done = subprocess.run(
        ["bash", "-c", typed], capture_output=True, text=True, timeout=60, check=False
    )
    return said(command, done, RUN_HERE[command.split(maxsplit=1)[0]])


def said(command: str, done: "subprocess.CompletedProcess[str]", allowed: frozenset[int]) -> Said:
    text = done.stdout + done.stderr
    wrong = f"{command}: {done.returncode}: {text[-600:]}"
    return Said(command, "" if done.returncode in allowed else wrong, text)


def run_all(running: Monitored, found: list[str]) -> list[str]:
    """Run ours; what failed, with what it said."""
    return [one.failure for command in found if (one := run(running, command)).failure]
