"""docs/operating/promises.md: the scenario that a cell names does come there, and checks it.

    the page's table ─▶ cell: row, fault, scenarios
    a run            ─▶ `reached`: in which row its faults struck the master, by its fault log

`pair_promises` plays one cell a seed and looks at what is refused, and how long; the scenarios that
draw their faults reach each of their cells within `SEEDS` seeds. All of them: `-m slow`.
"""

import re

import pytest
import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.promises import BETWEEN, BOTH, FAULTS, NAMESERVERS, Cells, Reached
from broker_trio.testing.scenarios.catalogue import run
from broker_trio.testing.scenarios.pair_promises import ROWS
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import Node, World
from tests.docs.test_promises_page import PAGE, named, tables

SEEDS = 40  # ten of each mode; most are there within eight
CELL_BY_CELL = "pair_promises"


def row_name(head: str) -> str:
    """As `Reached.row` has it."""
    if "no pair" in head:
        return head.split(",", maxsplit=1)[0]
    return head.split(":", maxsplit=1)[0] if ":" in head else "degraded"


def cells() -> list[tuple[str, str, str]]:
    """Row, fault and scenario: as often as a cell names one."""
    head, *rows = tables()[0]
    return [
        (row_name(row[0]), fault, name)
        for row in rows
        for fault, cell in zip(head[1:], row[1:], strict=True)
        for name in sorted(named(cell))
    ]


def seeds_of(row: str, fault: str) -> list[int]:
    """Where `pair_promises` plays that cell."""
    places = [number for number, name in enumerate(ROWS) if row in {name, name.split()[-1]}]
    return [len(FAULTS) * place + FAULTS.index(fault) for place in places]


def plays(seed: int, row: str, fault: str) -> None:
    """That run of `pair_promises` reaches the cell, which its checks are for."""
    reached = {(one.row, one.fault) for one in run(CELL_BY_CELL, seed).reached}
    assert (row, fault) in reached


def test_each_cell_of_a_pair_is_played() -> None:
    """The table names `pair_promises` in each of its cells, and nothing else is played."""
    told = {(row, fault) for row, fault, name in cells() if name == CELL_BY_CELL}
    assert told == {(row, fault) for row in ("A", "B", "C", "D", "degraded") for fault in FAULTS}
    seeds = [seed for row, fault in told for seed in seeds_of(row, fault)]
    assert sorted(seeds) == list(range(len(ROWS) * len(FAULTS)))


@pytest.mark.parametrize(("row", "fault"), [("D", BOTH), ("A", NAMESERVERS), ("degraded", BETWEEN)])
def test_some_cells(row: str, fault: str) -> None:
    """One of each kind of pair; the rest is slow."""
    plays(seeds_of(row, fault)[0], row, fault)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "row", "fault"),
    [
        (seed, row, fault)
        for row, fault, name in cells()
        if name == CELL_BY_CELL
        for seed in seeds_of(row, fault)
    ],
)
def test_a_cell_is_played(seed: int, row: str, fault: str) -> None:
    """Each seed comes to its cell, and what the cell claims of refusals and times holds."""
    plays(seed, row, fault)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({name for *_, name in cells()} - {CELL_BY_CELL}))
def test_a_scenario_comes_to_the_cells_that_name_it(name: str) -> None:
    """Within some seeds, with the master in the row when the fault of the column strikes it."""
    missing = {(row, fault) for row, fault, other in cells() if other == name}
    for seed in range(SEEDS):
        missing -= {(one.row, one.fault) for one in run(name, seed).reached}
        if not missing:
            break
    assert missing == set()


# ---- what is told apart


class Two:
    """A master `m` of row D, its slave `s`, and three nameservers, without programs."""

    def __init__(self, world: World) -> None:
        self.master = "m"
        self.broker_names, self.nameserver_names = ["m", "s"], ["n0", "n1", "n2"]
        for name in (*self.broker_names, *self.nameserver_names):
            world.node(name, self._nothing)

    async def _nothing(self, _node: Node) -> None:
        raise AssertionError

    def row(self, name: str) -> str:
        return "D" if name == self.master else ""

    def partner(self, name: str) -> str:
        return "s" if name == "m" else "m"

    def follows(self, name: str) -> bool:
        return name == "s"


@pytest.mark.parametrize(
    ("what", "where", "fault"),
    [
        ("kill -9", "m", "kill −9"),
        ("power off", "m", "power loss"),
        ("ended by StoreFailed", "m", "disk failure"),
        ("kill -9", "s", "slave loss"),
        ("clock steps", "m", "clock step"),
        ("clock -3600 s", "m", "clock step"),
        ("clock drifts", "m", ""),
        ("clock steps", "s", ""),
        ("kill -9", "n0", ""),
        ("disk emptied", "m", ""),  # of a machine that never was a master
        ("cut", "m – n0", ""),  # one of three nameservers
    ],
)
def test_what_strikes_whom(what: str, where: str, fault: str) -> None:
    """Only the master's faults are a row's; its slave's loss is told apart."""

    async def scenario(world: World) -> tuple[Reached, ...]:
        told = Cells(Two(world), world.network)
        told.struck(what, where)
        return told.all()

    reached = simulate(0, scenario).value
    assert [(one.row, one.fault) for one in reached] == ([("D", fault)] if fault else [])


@pytest.mark.parametrize(
    ("others", "seconds", "fault"),
    [
        (["s"], 3.5, BETWEEN),
        (["s"], 2.0, ""),
        (["n0", "n2"], 6.5, NAMESERVERS),
        (["n0", "n2"], 5.0, ""),
        (["n0"], 9.0, ""),
        (["s", "n0"], 9.0, BETWEEN),
        (["s", "n1", "n2"], 6.5, BOTH),
    ],
)
def test_a_cut_has_to_last(others: list[str], seconds: float, fault: str) -> None:
    """As long as the promise speaks of; a majority of the nameservers is the lease."""

    async def scenario(world: World) -> tuple[Reached, ...]:
        told = Cells(two := Two(world), world.network)
        told.look()
        for other in others:
            world.network.cut_one_way("m", other)
        told.look()
        two.master = ""  # its lease ends meanwhile
        await trio.sleep(seconds)
        told.look()
        world.network.heal_all()
        told.look()
        await trio.sleep(10)
        told.look()
        return told.all()

    reached = simulate(0, scenario).value
    assert [(one.row, one.fault) for one in reached] == ([("D", fault)] if fault else [])


@pytest.mark.slow
def test_a_claim_that_does_not_hold_ends_the_run() -> None:
    """A broker that refuses for no reason is found by the cell that promises the contrary."""

    def timid(app: BrokerApp) -> None:
        """Without its slave it writes nothing, although one copy is enough."""
        assert app.parts is not None
        assert app.parts.pairing is not None
        replica = app.parts.pairing.records.replica
        may_write = replica.machine.may_write

        def alone(now: float) -> Refused | None:
            heard = any(now - one.heard_at < 2.0 for one in replica.followers.values())
            refusal = Refused(ResponseCode.SERVICE_NOT_AVAILABLE, "alone")
            return may_write(now) or (None if heard else refusal)

        replica.machine.may_write = alone  # type: ignore[method-assign]

    (seed,) = seeds_of("B", "slave loss")
    with pytest.raises(Violation, match="refused within"):
        run(CELL_BY_CELL, seed, plant=timid)


def test_the_page_says_where_the_cells_begin() -> None:
    """`seed % 48` as the page has it."""
    text = re.sub(r"\s+", " ", PAGE.read_text())
    assert f"seeds 0 to {len(ROWS) * len(FAULTS) - 1}" in text


def test_the_columns_are_the_faults() -> None:
    """By the names that runs use."""
    assert tuple(tables()[0][0][1:]) == FAULTS
