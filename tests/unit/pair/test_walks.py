"""Random walks of two replicas and their witnesses break no promise."""

import random

import pytest

from .world import World, walk

SETTINGS = [("sync", 3), ("sync", 2), ("mem", 3), ("async", 3), ("async", 1)]


def walks(mode: str, nodes: int, seeds: range) -> int:
    """So many walks; gives how many messages were acknowledged in all."""
    acked = 0
    for seed in seeds:
        rng = random.Random(f"{mode} {nodes} {seed}")
        world = World(mode, nodes=nodes, lazy=rng if seed % 2 else None)
        walk(world, rng, rng.choice((40, 80, 140)))
        acked += len(world.acked)
    return acked


@pytest.mark.parametrize(("mode", "nodes"), SETTINGS)
def test_walks_break_no_promise(mode, nodes):
    """Crashes, lost pages, drifting clocks and careless operators lose nothing acknowledged."""
    assert walks(mode, nodes, range(40)) > 10


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "nodes"), SETTINGS)
def test_long_walks_break_no_promise(mode, nodes):
    """The same for some hundred thousand steps."""
    assert walks(mode, nodes, range(1_000, 2_500)) > 600
