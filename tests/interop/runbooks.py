"""What runbooks tell people to type, run as it stands there."""

import re
import shlex
from pathlib import Path
from typing import Final

from grafana.src.__main__ import ROOT
from tests.interop.monitored import Monitored

RUNBOOKS: Final[list[Path]] = sorted((ROOT / "docs/operating/runbooks").glob("*.md"))
DONE, FAILED, SHOWN_ONLY = 0, 1, 3
FINDS_FAULTS: Final = {"doctor"}
"""`doctor` exits with 1 when it found something wrong: that is its answer."""


def commands(name: str) -> list[str]:
    """Every `broker-trio …` of a runbook, in order."""
    text = (ROOT / f"docs/operating/runbooks/{name}.md").read_text()
    return re.findall(r"`broker-trio ([^`]+)`", text)


def run_all(running: Monitored, found: list[str]) -> list[str]:
    """Run them; what failed, with what it said."""
    failed = []
    for command in found:
        words = shlex.split(command)
        done = running.run(*words)
        allowed = {DONE, SHOWN_ONLY} | ({FAILED} if words[0] in FINDS_FAULTS else set())
        if done.returncode not in allowed:
            failed.append(f"{command}: {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}")
    return failed
