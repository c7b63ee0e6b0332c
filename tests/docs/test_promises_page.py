"""docs/operating/promises.md: every cell of the table names a scenario that exists."""

import re
from pathlib import Path

import pytest
import trio

from broker_trio.testing.cluster.pair import MODES, mode_of
from broker_trio.testing.scenarios.catalogue import SCENARIOS
from broker_trio.testing.world import World

PAGE = Path(__file__).parents[2] / "docs/operating/promises.md"
FAULTS = [
    "kill −9", "power loss", "disk failure", "slave loss", "cut between the two",
    "cut from the nameservers", "both cuts", "clock step",
]  # fmt: skip


def tables() -> list[list[list[str]]]:
    """The page's tables as rows of cells, without their rulers."""
    found: list[list[list[str]]] = [[]]
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|"):
            found.append([])
        elif set(line) - set("|-"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return [table for table in found if table]


def named(text: str) -> set[str]:
    """Scenarios between backticks: words with no blank, dash or file ending."""
    return {word for word in re.findall(r"`([a-z0-9_]+)`", text) if word in SCENARIOS}


def test_every_cell_names_a_scenario_that_checks_it() -> None:
    """Flush × role × in-sync minimum, against every fault; "–" where there is no such thing."""
    head, *rows = tables()[0]
    assert head[1:] == FAULTS
    for row in rows:
        assert len(row) == len(head), row[0]
        for fault, cell in zip(FAULTS, row[1:], strict=True):
            what = f"{row[0]} / {fault}: {cell}"
            is_pair = "no pair" not in row[0]
            if cell == "–":
                assert not is_pair, what
                continue
            assert named(cell), what
            assert all(name.startswith("pair_") == is_pair for name in named(cell)), what


def test_every_mode_and_scenario_of_a_pair_is_on_the_page() -> None:
    """The rows are the modes that scenarios take turns with; no scenario is left out."""
    rows = [row[0] for row in tables()[0][1:]]
    for mode in MODES:
        flush = "SYNC" if mode.flushes else "ASYNC"
        role = "SYNC_MASTER" if mode.copies == 2 else "ASYNC_MASTER"
        assert f"{mode.letter}: {flush}, {role}, {mode.copies}" in rows
    pairs = {name for name in SCENARIOS if name.startswith("pair_")}
    assert pairs <= named(PAGE.read_text())


def test_names_that_look_like_scenarios_are_some() -> None:
    """None was renamed away."""
    looks = set(re.findall(r"`(pair_[a-z0-9_]+)`", PAGE.read_text()))
    assert looks <= SCENARIOS.keys()


@pytest.mark.parametrize("first", [0, 50])
def test_four_seeds_in_a_row_are_all_modes(first: int) -> None:
    """So fifty of each scenario are a dozen of each cell."""

    async def letters() -> set[str]:
        async with trio.open_nursery() as nursery:
            return {mode_of(World(seed, nursery)).letter for seed in range(first, first + 4)}

    assert trio.run(letters) == set("DCBA")
