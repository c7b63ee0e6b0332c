"""The figures of an operator's day on eight hosts: two pairs, three nameservers, a monitor.

    BROKER_TRIO_FIGURES=figures.json uv run pytest -m fleet -s tests/fleet/test_eight_hosts.py

Goals on two idle cores: first deployment 6 min (aim 3), second run 90 s (aim 45 s), upgrade of both
pairs and all nameservers under load 6 min, without a failed send. Times are kept, not asserted.
"""

from pathlib import Path

import pytest

from broker_trio.cli.lab.machines import Lab
from broker_trio.ops.lab.plan import Counts
from tests.fleet.plays import AGAIN, Fleet, figure

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
LAB = Counts(pairs=2, nameservers=3, monitors=1)


@pytest.fixture(scope="module")
def eight(lab: Lab, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Deployed from bare."""
    fleet = Fleet(lab, bundle, tmp_path_factory.mktemp("eight"))
    play = fleet.play("site")
    figure("deploy 8 hosts", seconds=round(play.seconds, 1))
    return fleet


def test_a_second_run_changes_nothing_on_eight_hosts(eight: Fleet) -> None:
    """All of it compared."""
    again = eight.play("site")
    figure("second run 8 hosts", seconds=round(again.seconds, 1))
    assert again.changed_tasks == set()


def test_eight_hosts_are_upgraded_under_load(eight: Fleet, next_bundle: Path) -> None:
    """Three nameservers, two slaves, two masters, one at a time."""
    with eight.load("upgrade", *AGAIN) as ledger:
        play = eight.play("upgrade", runtime_bundle=str(next_bundle))
    figure("upgrade 2 pairs and 3 nameservers", seconds=round(play.seconds, 1))
    ledger.must_be_whole("upgrade of eight hosts under load")
