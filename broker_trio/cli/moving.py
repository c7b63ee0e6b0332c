"""A line on stderr that replaces itself while a command works; stdout stays free for the result.

with moving_line() as line:
    line.show("00:12  2,417 attempts …")     in place of the one before; only on a terminal
    line.say("acknowledged again")           stays, above the line that moves; everywhere
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

import click

if TYPE_CHECKING:
    from rich.live import Live


@final
class MovingLine:
    """Made by `moving_line`. Without a `live` nothing moves; it begins with the first `show`."""

    def __init__(self, live: "Live | None") -> None:
        self._live = live

    def show(self, text: str) -> None:
        """The line as it is now, cut at the terminal's edge."""
        if self._live is not None:
            from rich.text import Text  # noqa: PLC0415

            if not self._live.is_started:
                self._live.start()
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def say(self, text: str) -> None:
        """A line for the log."""
        if self._live is None:
            click.echo(text, err=True)
        else:
            self._live.console.print(text, markup=False, highlight=False)


@contextmanager
def moving_line() -> Iterator[MovingLine]:
    """For as long as the work lasts; the line is gone afterwards."""
    if not sys.stderr.isatty():
        yield MovingLine(None)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    screen = Console(stderr=True)
    if screen.is_dumb_terminal:
        yield MovingLine(None)
        return
    live = Live("", console=screen, auto_refresh=False, transient=True)
    try:
        yield MovingLine(live)
    finally:
        live.stop()  # nothing where it was never shown
