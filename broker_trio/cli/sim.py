"""`broker-trio sim SCENARIO --seed N`: run a simulated cluster again, exactly as it was.

A scenario is `module:function`, an async function of a World (testing/world.py), or the name of one
in `SCENARIOS`. A failing test prints seed and scenario; equal seeds give equal traces, which are
printed as a digest of all that happened.
"""

import importlib
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import click

from broker_trio.cli.output import json_option, print_json

if TYPE_CHECKING:
    from broker_trio.testing.world import World

SCENARIOS: Final[dict[str, str]] = {}
"""Names that stand for `module:function`, as scenarios come to be."""

SEED: Final = click.IntRange(0, (1 << 63) - 1)


@click.command()
@click.argument("scenario")
@click.option("--seed", type=SEED, required=True, help="The run to replay.")
@json_option
def sim(*, scenario: str, seed: int, as_json: bool) -> None:
    """Replay a simulated cluster run: SCENARIO is a name, or module:function.

    Virtual hours take seconds, and nothing of this machine is touched.
    """
    from broker_trio.testing.simulate import simulate  # noqa: PLC0415

    function = find(scenario)
    began = time.monotonic()
    result = simulate(seed, function)  # a scenario's failure is shown as it is, and exits with 1
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


def find(scenario: str) -> "Callable[[World], Awaitable[Any]]":
    """The scenario's function. Raises a usage error that lists the names there are."""
    place = SCENARIOS.get(scenario, scenario)
    module, separator, name = place.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # scenarios of tests are found from the checkout's root
    try:
        if separator:
            function: Callable[[World], Awaitable[Any]] = getattr(
                importlib.import_module(module), name
            )
            return function
    except (ImportError, AttributeError) as error:
        raise click.BadParameter(str(error), param_hint="SCENARIO") from error
    known = ", ".join(sorted(SCENARIOS)) or "none yet"
    raise click.BadParameter(
        f"no scenario named {scenario} (known: {known}); give module:function",
        param_hint="SCENARIO",
    )
