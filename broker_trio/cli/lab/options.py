"""What all commands of the lab share: which lab, and how they fail."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import click

from broker_trio.cli.failures import Failure
from broker_trio.cli.lab.machines import LAB
from broker_trio.ops.lab.plan import LabError

P = ParamSpec("P")

lab_option = click.option(
    "--lab",
    "lab_name",
    default=LAB,
    envvar="BROKER_TRIO_LAB",
    show_default=True,
    help="Which lab; several can be up.",
)


def told(function: Callable[P, None]) -> Callable[P, None]:
    """A LabError ends the command as any failure does: exit code 1, cause and next command."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except LabError as error:
            raise Failure(error.message, error.advice) from error

    return call
