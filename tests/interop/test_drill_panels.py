"""The drills' dashboard over a real drill, whose page of metrics a node exporter passes on."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.error_panels import ErrorPanel, above, problem
from tests.interop.monitored import COMMAND, Monitored, monitored

pytestmark = pytest.mark.slow  # minutes: by hand, and where CI has time
SHOWN_S, DRILL_S = 120.0, 600.0
DRILL = ("drill", "run", "kill-master", "--confirm", "DefaultCluster", "--steady", "10", "--json")
WHILE_IT_RUNS = (ErrorPanel("bt-drills", "Running now", above(0)),)
AFTERWARDS = (
    ErrorPanel("bt-drills", "Last runs", above(0, drill="kill_master")),
    ErrorPanel("bt-drills", "Unavailable and duplicates", above(0)),
    ErrorPanel("bt-drills", "Acknowledged and unknown", above(0)),
)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Monitored]:
    with monitored(tmp_path / "m", history_s=5, stand_in=False) as found:
        yield found


def wait_shown(running: Monitored, panel: ErrorPanel) -> None:
    deadline = time.monotonic() + SHOWN_S
    while text := problem(running, panel, "DefaultCluster"):
        assert time.monotonic() < deadline, text
        time.sleep(0.5)


def test_a_drills_panels_show_it(running: Monitored, tmp_path: Path) -> None:
    """That it runs while it does; then how long nobody could send, and that nothing was lost."""
    quiet = ErrorPanel("bt-drills", "Running now", lambda _, value: value == 0)
    wait_shown(running, quiet)
    words = ["--dir", str(tmp_path / "m/cluster"), "--keep", str(tmp_path / "kept")]
    words += ["--textfile", str(tmp_path / "m/textfile")]
    with subprocess.Popen(
        [*COMMAND, *DRILL, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as drill:  # fmt: skip
        for panel in WHILE_IT_RUNS:
            wait_shown(running, panel)
        told, said = drill.communicate(timeout=DRILL_S)
    assert drill.returncode == 0, told[-2000:] + said
    for panel in AFTERWARDS:
        wait_shown(running, panel)
    wait_shown(running, quiet)
    lost = ErrorPanel("bt-drills", "Lost, ever", lambda _, value: value == 0)
    wait_shown(running, lost)
