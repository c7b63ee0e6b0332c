"""`broker-trio sim SCENARIO --seed N`: run a simulated cluster again, exactly as it was.

A scenario is a name of testing/scenarios/catalogue.py, or `module:function` for an async function
of a World (testing/world.py). A failing test prints seed and scenario; equal seeds give equal
traces, which are printed as a digest of all that happened.
"""

import importlib
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import click

from broker_trio.cli.output import json_option, print_json

if TYPE_CHECKING:
    from broker_trio.testing.simulate import SimResult
    from broker_trio.testing.world import World

SEED: Final = click.IntRange(0, (1 << 63) - 1)


@click.command()
@click.argument("scenario")
@click.option("--seed", type=SEED, required=True, help="The run to replay.")
@click.option("--logs", is_flag=True, help="The programs' logs on stderr.")
@json_option
def sim(*, scenario: str, seed: int, logs: bool, as_json: bool) -> None:
    """Replay a simulated cluster run: SCENARIO is a name, or module:function.

    Virtual hours take seconds, and nothing of this machine is touched. A failure is shown as it
    is, with what happened last, and exits with 1.
    """
    if logs:
        from broker_trio.cli.roles import log_to_stderr  # noqa: PLC0415

        log_to_stderr(as_json=False)
    began = time.monotonic()
    result = replay(scenario, seed, logs=logs)
    figures: dict[str, Any] = {
        "scenario": scenario,
        "seed": seed,
        "events": result.events,
        "virtual_seconds": round(result.seconds, 6),
        "real_seconds": round(time.monotonic() - began, 3),
        "trace": result.trace,
    }
    if as_json:
        print_json(figures)
        return
    click.echo(
        f"{scenario} seed {seed}: {result.events} events, {result.seconds:.3f} virtual seconds in "
        f"{figures['real_seconds']} s, trace {result.trace[:16]}"
    )


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
