"""Whole clusters under faults: some seeds of every scenario here, thousands in the soak.

A failure says its seed, what happened last, and the command that runs it again. What a seed has
found stands in test_cluster_found.py, as small as it could be made: scenarios change, and a seed
is another run then.
"""

import pytest

from broker_trio.testing.scenarios.catalogue import SCENARIOS, run

SEEDS = {
    "send_and_pull": 4,
    "long_poll": 4,
    "delays": 3,
    "retries": 5,
    "disk_full": 8,
    "queues_full": 8,
    "overload": 4,
    "partition": 4,
    "nameserver_loss": 2,
    "power_loss": 14,
    "kill9": 9,
    "fsync_error": 6,
    "pair_kill": 1,
    "pair_power": 1,
    "pair_cut": 1,
    "pair_slow": 1,
    "pair_clock": 1,
    "pair_nameservers": 1,
    "pair_switchover": 1,
    "pair_mistakes": 1,
    "pair_loss": 1,
    "pair_rules": 1,
    "pair_promises": 1,
    "pair_eio": 1,
    "pair_full": 1,
    "pair_other_disk": 1,
}
"""Some 30 s of one core together; the seeds are 0, 1, …"""

MAY_LOSE = {"kill9", "fsync_error", "pair_loss", "pair_rules", "pair_promises"}

SOAK = range(1_000, 3_000, 50)


def test_every_scenario_is_run() -> None:
    """None is forgotten in the table above."""
    assert SEEDS.keys() == SCENARIOS.keys()


@pytest.mark.parametrize(
    ("name", "seed"), [(name, seed) for name, count in SEEDS.items() for seed in range(count)]
)
def test_promises_hold(name: str, seed: int) -> None:
    """Every promise of the checkers holds, and the run did something."""
    verdict = run(name, seed).value
    assert verdict.acked > 0
    assert verdict.stored >= verdict.acked or name in MAY_LOSE


@pytest.mark.soak
@pytest.mark.parametrize("seed", SOAK)
@pytest.mark.parametrize("name", SCENARIOS)
def test_promises_hold_for_long(name: str, seed: int) -> None:
    """The same for thousands of seeds, 50 in one test."""
    for each in range(seed, seed + SOAK.step):
        run(name, each)
