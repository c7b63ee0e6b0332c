"""How a command ends when it does not end well: one class for each exit code.

    0  done         2  wrong usage (Click's own)          4  nobody reachable answered
    1  failed       3  refused by a guard: nothing done   5  asked, and the outcome is unknown

The text says the cause with the value and its limit; `advice` is the next command to try. Scripts
read the code, people the text; both go to stderr, so that stdout holds data only.
"""

from typing import IO, Any, ClassVar

import click


class Failure(click.ClickException):
    """Exit code 1: it did not work, and the text says why."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the text to stderr."""
        click.echo(f"error: {self.message}", file=file, err=file is None)
        if self.advice:
            click.echo(f" next: {self.advice}", file=file, err=file is None)


class GuardRefused(Failure):
    """Exit code 3: it could have been done, and a guard says no. Nothing was changed."""

    exit_code: ClassVar[int] = 3


class NobodyReached(Failure):
    """Exit code 4: no answer, and nothing that was asked can have been done."""

    exit_code: ClassVar[int] = 4


class OutcomeUnknown(Failure):
    """Exit code 5: the order left, its answer never came. It may have been carried out."""

    exit_code: ClassVar[int] = 5
