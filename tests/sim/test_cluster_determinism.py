"""One seed is one run: twice in this process, and in another one that hashes differently."""

import os
import subprocess
import sys

import pytest

from broker_trio.testing.scenarios.catalogue import SCENARIOS, run

SEED = 3


def elsewhere(name: str, hash_seed: int) -> str:
    """The trace of the same run in a new process whose str hashes are others."""
    code = (
        "from broker_trio.testing.scenarios.catalogue import run\n"
        f"print(run({name!r}, {SEED}).trace)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_equal_seeds_give_equal_traces() -> None:
    """Every event at the same virtual time; another seed is another run."""
    first, second, other = (run("kill9", seed) for seed in (SEED, SEED, SEED + 1))
    assert (first.trace, first.events, first.value) == (second.trace, second.events, second.value)
    assert first.trace != other.trace


def test_another_process_gives_the_same_trace() -> None:
    """No order of a set, no address and no hash of a text reaches behaviour."""
    assert elsewhere("send_and_pull", 1) == elsewhere("send_and_pull", 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_all_scenarios_are_functions_of_their_seed(name: str) -> None:
    """In three processes with three hash seeds."""
    assert run(name, SEED).trace == elsewhere(name, 1) == elsewhere(name, 2)
