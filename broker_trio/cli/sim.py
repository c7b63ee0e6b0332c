"""`broker-trio sim SCENARIO --seed N`: run a simulated cluster again, exactly as it was.

    broker-trio sim                                   the scenarios that there are
    broker-trio sim power_loss --seed 4711            one run: numbers, and when which fault struck
    broker-trio sim power_loss --seed 0 --count 1000  a thousand seeds; stops at the first failure
    broker-trio sim all --seeds 50                    50 of each, or of `pairs`, summed up
    broker-trio sim all --seeds 50 --floor --fresh W  as CI does: some seeds drawn from the word W

A scenario is a name of testing/scenarios/catalogue.py, or `module:function` for an async function
of a World (testing/world.py). A failing test prints seed and scenario; equal seeds give equal
traces. A failure is shown as it is, with its last events, and exits with 1.
"""

import importlib
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import click

from broker_trio.cli.output import json_option, print_facts, print_json, print_table
from broker_trio.cli.sim_many import Floor, names_for, run_many

if TYPE_CHECKING:
    from broker_trio.testing.promises import Reached
    from broker_trio.testing.simulate import SimResult
    from broker_trio.testing.world import Struck, World

SEED: Final = click.IntRange(0, (1 << 63) - 1)


@click.command()
@click.argument("scenario", required=False)
@click.option("--seed", type=SEED, default=0, show_default=True, help="The run to replay.")
@click.option(
    "--count", type=click.IntRange(min=1), default=1, help="Run so many seeds from it on."
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="Run so many seeds of SCENARIO, `pairs` or `all` on all cores, and sum up.",
)
@click.option(
    "--fresh",
    metavar="WORD",
    default="",
    help="With --seeds: each tenth one is drawn from the word, say a commit, and new with it.",
)
@click.option(
    "--floor", is_flag=True, help="With --seeds: fail where too little was run to say anything."
)
@click.option("--logs", is_flag=True, help="The programs' logs on stderr.")
@json_option
def sim(
    *,
    scenario: str | None,
    seed: int,
    count: int,
    seeds: int | None,
    fresh: str,
    floor: bool,
    logs: bool,
    as_json: bool,
) -> None:
    """Replay a simulated cluster run: SCENARIO is a name, or module:function; without one, list.

    Virtual hours take seconds, and nothing of this machine is touched.
    """
    if scenario is None:
        show_scenarios(as_json=as_json)
        return
    if seeds is not None:
        all_seeds = range(seed, seed + seeds)
        least = Floor() if floor else None
        if not run_many(names_for(scenario), all_seeds, as_json=as_json, fresh=fresh, floor=least):
            sys.exit(1)
        return
    if logs:
        from broker_trio.cli.roles import log_to_stderr  # noqa: PLC0415

        log_to_stderr(as_json=False)
    for each in range(seed, seed + count):
        show_run(scenario, each, logs=logs, as_json=as_json, alone=count == 1)


def show_scenarios(*, as_json: bool) -> None:
    """Name and first line of each."""
    from broker_trio.testing.scenarios import catalogue  # noqa: PLC0415

    rows = [(name, summary_of(function)) for name, function in catalogue.SCENARIOS.items()]
    if as_json:
        print_json([{"scenario": name, "summary": summary} for name, summary in rows])
    else:
        print_table("", ("SCENARIO", "WHAT"), rows)


def summary_of(function: object) -> str:
    """The first line of its docstring."""
    return (function.__doc__ or "").strip().partition("\n")[0]


def show_run(scenario: str, seed: int, *, logs: bool, as_json: bool, alone: bool) -> None:
    """Run one seed and print its numbers; a table where it is `alone`, else a line."""
    began = time.monotonic()
    result = replay(scenario, seed, logs=logs)
    numbers = result.value._asdict() if hasattr(result.value, "_asdict") else {}
    numbers["faults"] = len(result.struck)
    figures: dict[str, Any] = {
        "scenario": scenario,
        "seed": seed,
        "verdict": "passed",
        **numbers,
        "events": result.events,
        "virtual_seconds": round(result.seconds, 6),
        "real_seconds": round(time.monotonic() - began, 3),
        "trace": result.trace,
    }
    if as_json:
        told = {
            "struck": [one._asdict() for one in result.struck],
            "cells": [one._asdict() for one in result.reached],
        }
        print_json({**figures, **told})
        return
    if alone:
        print_facts([(name, value) for name, value in figures.items() if name != "trace"])
        show_faults(result.struck)
        show_cells(result.reached)
        click.echo(f"\nagain, event by event: broker-trio sim {scenario} --seed {seed} --logs")
        return
    counts = "".join(f", {name} {count}" for name, count in numbers.items())
    click.echo(
        f"{scenario} seed {seed}: passed{counts}; {result.events} events, "
        f"{result.seconds:.3f} virtual seconds in {figures['real_seconds']} s, "
        f"trace {result.trace[:16]}"
    )


def show_faults(struck: "Sequence[Struck]") -> None:
    """What broke, and the virtual clock at which it did."""
    if not struck:
        return
    click.echo()
    wide = len(f"{struck[-1].at_s:.3f}")
    rows = [
        (f"{one.at_s:>{wide}.3f}", one.what + (f", {one.times} times" * (one.times > 1)), one.where)
        for one in struck
    ]
    print_table("", ("AT S", "FAULT", "WHERE"), rows)


def show_cells(reached: "Sequence[Reached]") -> None:
    """Which cells of the promises those were, docs/operating/promises.md: the row of the master."""
    if reached:
        click.echo()
        rows = [(f"{one.at_s:.3f}", one.row, one.fault) for one in reached]
        print_table("", ("AT S", "PROMISE OF", "AT"), rows)


def replay(scenario: str, seed: int, *, logs: bool) -> "SimResult[Any]":
    """Run it. Raises a usage error that lists the names there are, and what the run raises."""
    from broker_trio.testing.scenarios import catalogue  # noqa: PLC0415
    from broker_trio.testing.simulate import simulate  # noqa: PLC0415

    if scenario in catalogue.SCENARIOS:
        return catalogue.run(scenario, seed, logs=logs)
    function = find(scenario, sorted(catalogue.SCENARIOS))
    with nullcontext() if logs else catalogue.silence():
        return simulate(seed, function)


def find(scenario: str, names: list[str]) -> "Callable[[World], Awaitable[Any]]":
    """The function of a `module:function`."""
    module, separator, name = scenario.partition(":")
    if not separator:
        raise click.BadParameter(
            f"no scenario named {scenario}; there are {', '.join(names)}, or give module:function",
            param_hint="SCENARIO",
        )
    if "" not in sys.path:
        sys.path.insert(0, "")  # scenarios of tests are found from the checkout's root
    try:
        function: Callable[[World], Awaitable[Any]] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise click.BadParameter(str(error), param_hint="SCENARIO") from error
    return function
