"""`broker-trio sim all --seeds 50`: many runs on all cores, counted, every failure at the end.

    scenario × seed ─▶ a process each core ─▶ one line a scenario ─▶ failures, each with its replay

Every tenth run is made twice and must give the same trace: what is not a function of its seed
cannot be replayed, so that is a failure as any other. A failed run does not end the others.

Seeds are pinned, the same today and tomorrow, or fresh: drawn from a word such as a commit, so that
each commit meets runs that none before it met, and whoever has the commit can run them, too.
"""

import gc
import multiprocessing
import os
import random
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final, NamedTuple

import click

from broker_trio.cli.output import print_json, print_table

TWICE: Final = 10  # one run in so many is repeated
SHOWN_CHARS: Final = 600  # of a failure
FRESH: Final = 10  # one seed in so many is drawn from the word
FRESH_FROM: Final = 1_000_000  # they are above all that people pin


class Ran(NamedTuple):
    """One run. `failure` is empty where it passed; times are virtual but for `real_s`."""

    scenario: str
    seed: int
    failure: str
    hours: float
    faults: int
    acked: int
    delivered: int
    real_s: float
    twice: bool


class Floor(NamedTuple):
    """What a run of all must at least have done to say anything."""

    hours: float = 8.0
    faults: int = 3_000
    acked: int = 250_000
    pinned: int = 40
    fresh: int = 80
    twice: int = 10  # per cent


class Sums(NamedTuple):
    """All runs of one scenario, or of all."""

    scenario: str
    runs: int
    failed: int
    hours: float
    faults: int
    acked: int
    delivered: int
    real_s: float


def names_for(scenario: str) -> list[str]:
    """The scenarios that a word means: `all`, `pairs`, or one name. Raises a usage error."""
    from broker_trio.testing.scenarios.catalogue import SCENARIOS  # noqa: PLC0415

    if scenario == "all":
        return list(SCENARIOS)
    if scenario == "pairs":
        return [name for name in SCENARIOS if name.startswith("pair_")]
    if scenario not in SCENARIOS:
        names = ", ".join(["all", "pairs", *SCENARIOS])
        raise click.BadParameter(
            f"no scenario named {scenario}; there are {names}", param_hint="SCENARIO"
        )
    return [scenario]


def work_for(names: Sequence[str], seeds: Sequence[int], fresh: str) -> list[tuple[str, int]]:
    """What is run: with a word each tenth seed of each scenario is drawn from it."""
    work = []
    for name in names:
        drawn = random.Random(f"{fresh}/{name}")
        for number, seed in enumerate(seeds):
            is_fresh = fresh and number % FRESH == FRESH - 1
            work.append((name, drawn.randrange(FRESH_FROM, 1 << 48) if is_fresh else seed))
    return work


def below(floor: Floor, total: Sums, done: Sequence["Ran"]) -> list[str]:
    """What of the floor was not reached, in words."""
    fresh = sum(one.seed >= FRESH_FROM for one in done)
    twice = sum(one.twice for one in done)
    share = 100 * twice // max(1, len(done))
    reached = Floor(total.hours, total.faults, total.acked, len(done) - fresh, fresh, share)
    return [
        f"{name} {have}, the floor is {want}"
        for name, have, want in zip(Floor._fields, reached, floor, strict=True)
        if have < want
    ]


def run_many(
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    jobs: int = 0,
    as_json: bool = False,
    fresh: str = "",
    floor: Floor | None = None,
) -> bool:
    """Run them all, print the sums; whether all passed, and reached the floor if there is one.

    `jobs` 0 = one a core. `fresh`: a word that seeds are drawn from.
    """
    began = time.monotonic()
    work = work_for(names, seeds, fresh)
    context = multiprocessing.get_context("spawn")  # a run starts where nothing else was imported
    with ProcessPoolExecutor(
        jobs or os.cpu_count() or 1, mp_context=context, initializer=begin
    ) as pool:
        done: list[Ran] = []
        for one in pool.map(run_once, work, chunksize=1):
            done.append(one)
            tell(done, work, time.monotonic() - began)
    rows = [sums(name, [one for one in done if one.scenario == name]) for name in names]
    total = sums("total", done)
    failed = [one for one in done if one.failure]
    missing = [] if floor is None else below(floor, total, done)
    if as_json:
        print_json(
            {
                "scenarios": [row._asdict() for row in rows],
                "total": total._asdict(),
                "failed": [one._asdict() for one in failed],
                "below_floor": missing,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
        return not failed and not missing
    columns = ("SCENARIO", "RUNS", "FAILED", "HOURS", "FAULTS", "ACKED", "DELIVERED", "S EACH")
    print_table("", columns, [cells(row) for row in [*rows, total]])
    for one in failed:
        click.echo(f"\n{one.failure}\n  broker-trio sim {one.scenario} --seed {one.seed}")
    click.echo(
        f"\n{total.runs} runs, {total.failed} failed: {total.hours:.2f} simulated hours, "
        f"{total.faults} faults, {total.acked} acknowledged, {total.delivered} delivered, "
        f"in {time.monotonic() - began:.0f} s"
    )
    for what in missing:
        click.echo(f"too little was run to say anything: {what}")
    return not failed and not missing


def tell(done: Sequence[Ran], work: Sequence[tuple[str, int]], seconds: float) -> None:
    """On stderr, while others run: a failure with its replay at once, and each scenario's end."""
    one, count = done[-1], len(done)
    if one.failure:
        click.echo(f"{one.failure}\n  broker-trio sim {one.scenario} --seed {one.seed}", err=True)
    if count == len(work) or work[count][0] != one.scenario:
        click.echo(f"{one.scenario}: {count} of {len(work)} runs, {seconds:.0f} s", err=True)


def begin() -> None:
    """In each process of the pool: what is imported now stays; runs collect their own garbage."""
    from broker_trio.testing.scenarios import catalogue  # noqa: F401, PLC0415

    gc.collect()
    gc.freeze()
    gc.disable()


def run_once(what: tuple[str, int]) -> Ran:
    """One run, in a process of the pool."""
    try:
        return _run_once(what)
    finally:
        gc.collect()


def _run_once(what: tuple[str, int]) -> Ran:
    from broker_trio.testing.scenarios.catalogue import run  # noqa: PLC0415

    name, seed = what
    began = time.monotonic()
    try:
        result = run(name, seed)
        twice = seed % TWICE == 0
        again = run(name, seed) if twice else result
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 -- reported, with its replay
        return Ran(name, seed, what_failed(error), 0.0, 0, 0, 0, time.monotonic() - began, False)
    value: Any = result.value
    differs = "" if again.trace == result.trace else "two runs of this seed differ"
    hours = result.seconds / 3_600
    return Ran(
        name, seed, differs, hours, len(result.struck), value.acked, value.delivered,
        time.monotonic() - began, twice,
    )  # fmt: skip


def what_failed(error: BaseException) -> str:
    """The innermost error, in a line or two."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = f"{type(error).__name__}: {error}"[:SHOWN_CHARS]
    for frame in traceback.extract_tb(error.__traceback__)[-1:]:
        text += f" ({os.path.basename(frame.filename)}:{frame.lineno})"
    return text


def sums(name: str, done: Sequence[Ran]) -> Sums:
    """Added up; `real_s` is the mean of a run."""
    return Sums(
        name,
        len(done),
        sum(bool(one.failure) for one in done),
        round(sum(one.hours for one in done), 3),
        sum(one.faults for one in done),
        sum(one.acked for one in done),
        sum(one.delivered for one in done),
        round(sum(one.real_s for one in done) / max(1, len(done)), 2),
    )


def cells(row: Sums) -> tuple[str, ...]:
    """For people."""
    return tuple(str(cell) for cell in row)
