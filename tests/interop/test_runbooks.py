"""Runbooks at work: their commands on a live pair, and an alert from its fault to its end.

Commands that would change something stand in runbooks with `--dry-run`, or show first what they
would do and exit with 3; drain and undrain are run for real, in the order of the text.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.interop.monitored import Monitored, monitored
from tests.interop.runbooks import DONE, RUNBOOKS, commands, run_all

pytestmark = pytest.mark.slow  # minutes: by hand, and where CI has time
NOTICED_S, RESOLVED_S = 30.0, 150.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Monitored]:
    """One for each test: drains and kills leave their marks."""
    with monitored(tmp_path / "monitored", history_s=12) as found:
        yield found


def wait_for(running: Monitored, true: Callable[[], bool], seconds: float) -> None:
    """Raises `AssertionError` with what fires after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, running.firing()
        time.sleep(0.5)


def test_every_command_of_every_runbook_runs(running: Monitored) -> None:
    """None is misspelt, and none does harm by itself."""
    found = list(dict.fromkeys(one for path in RUNBOOKS for one in commands(path.stem)))
    assert len(found) > 20
    assert run_all(running, found) == []


def test_a_killed_slave_pages_and_is_resolved(running: Monitored) -> None:
    """Refusals page and the missing slave is a ticket; their runbooks run; both end by themselves.

    `up` starts it again after half a minute.
    """
    status = running.run("pair", "status", "broker-a", "--json")
    assert status.returncode == DONE, status.stderr
    masters = {
        one["metric"]["instance"]
        for one in running.ask("query", query='brokertrio_broker_info{role="master"}')["result"]
    }
    (slave,) = (one for one in running.told["brokers"] if one["http"] not in masters)
    os.kill(slave["pid"], signal.SIGKILL)
    expected = {
        "SendsRefusedNoSlave": "page",
        "BrokerSlaveDown": "ticket",
        "TargetMissing": "ticket",
    }
    wait_for(running, lambda: expected.items() <= running.firing().items(), NOTICED_S)
    assert "BrokerMasterDown" not in running.firing()
    for name in expected:
        assert run_all(running, commands(name)) == []
    wait_for(running, lambda: not expected.keys() & running.firing().keys(), RESOLVED_S)
