"""`broker-trio sim SCENARIO --seed N`: run a simulated cluster again, exactly as it was.

A scenario is `module:function`, an async function of a World (testing/world.py), or the name of one
in `SCENARIOS`. A failing test prints seed and scenario; equal seeds give equal traces here too.
"""

import importlib
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
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
@click.option("--trace", type=click.Path(path_type=Path), help="Write the whole trace to a file.")
@json_option
def sim(*, scenario: str, seed: int, trace: Path | None, as_json: bool) -> None:
    """Replay a simulated cluster run: SCENARIO is a name, or module:function.

    Virtual hours take seconds, and nothing of this machine is touched.
    """
    from broker_trio.testing.simulate import simulate  # noqa: PLC0415

    function = find(scenario)
    began = time.monotonic()
    result = simulate(seed, function)  # a scenario's failure is shown as it is, and exits with 1
    if trace is not None:
        trace.write_text(result.trace + "\n")
    figures: dict[str, Any] = {
        "scenario": scenario,
        "seed": seed,
        "events": result.events,
        "virtual_seconds": round(result.seconds, 6),
        "real_seconds": round(time.monotonic() - began, 3),
        "trace_sha256": _digest(result.trace),
    }
    if as_json:
        print_json(figures)
        return
    click.echo(
        f"{scenario} seed {seed}: {result.events} events, {result.seconds:.3f} virtual seconds in "
        f"{figures['real_seconds']} s, trace {figures['trace_sha256'][:16]}"
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


def _digest(text: str) -> str:
    from hashlib import sha256  # noqa: PLC0415

    return sha256(text.encode()).hexdigest()
