"""`--watch`: the same look again and again, with what moved in between.

    look ──▶ value ──▶ show(value, Moved) ──▶ a table that stays in its place, or a line of JSON
     ▲                                                │
     └──────────────── every N seconds ◀──────────────┘

A look that fails is told in place of the table, and the next one is tried: whoever watches a broker
restart wants to see it come back. Only the first one ends the command. Ctrl-C is the way out, and
no failure.
"""

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

import click

from broker_trio.cli.access import Cluster, Target, failure_of, run
from broker_trio.cli.failures import Failure
from broker_trio.cli.output import console, print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

EVERY_S: Final = 2.0


@final
class Moved:
    """Rates from one look to the next. Numbers are known by name; `now_s` is any steady clock."""

    def __init__(self) -> None:
        self._before: Mapping[str, float] = {}
        self._now: Mapping[str, float] = {}
        self._seconds = 0.0
        self._at: float | None = None

    @property
    def moving(self) -> bool:
        """Whether this is at least the second look."""
        return self._seconds > 0

    def look(self, now_s: float, numbers: Mapping[str, float]) -> None:
        """The numbers of this look."""
        self._seconds = 0.0 if self._at is None else now_s - self._at
        self._at, self._before, self._now = now_s, self._now, dict(numbers)

    def per_s(self, name: str) -> float | None:
        """What the number gained a second; None at the first look, or where it was not there."""
        if self._seconds <= 0 or name not in self._before or name not in self._now:
            return None
        return round((self._now[name] - self._before[name]) / self._seconds, 1)


class Watch(Generic[T]):
    """What a command shows: how it looks, which numbers move, and both ways to print it.

    `as_table` gets the value and the rates; `as_tree` the value as JSON.
    """

    def __init__(
        self,
        look: Callable[[Cluster], Awaitable[T]],
        as_tree: Callable[[T], Any],
        as_table: "Callable[[T, Moved], RenderableType]",
        numbers: Callable[[T], Mapping[str, float]] = lambda _value: {},
    ) -> None:
        self.look, self.as_tree, self.as_table, self.numbers = look, as_tree, as_table, numbers


def watch_options(command: F) -> F:
    """--watch and --times."""
    watch = click.option(
        "--watch",
        "every_s",
        type=click.FloatRange(0.1, 3_600),
        is_flag=False,
        flag_value=EVERY_S,
        default=None,
        metavar="[SECONDS]",
        help=f"Look again every {EVERY_S:g} s, or as often as you say; Ctrl-C ends it.",
    )
    times = click.option(
        "--times", type=click.IntRange(1), default=None, help="With --watch: look so often."
    )
    return watch(times(command))


def show(
    target: Target, watch: Watch[T], *, as_json: bool, every_s: float | None, times: int | None
) -> None:
    """Print it once, or again and again. Raises the `Failure` of the first look."""
    if every_s is None:
        value = run(target, watch.look)
        if as_json:
            print_json(watch.as_tree(value))
        else:
            console().print(watch.as_table(value, Moved()))
        return
    screen = Lines() if as_json or not sys.stdout.isatty() else Screen()
    try:
        with screen:
            run(
                target,
                lambda cluster: _again(cluster, target, watch, screen, every_s, times, as_json),
            )
    except KeyboardInterrupt:
        return


async def _again(
    cluster: Cluster,
    target: Target,
    watch: Watch[T],
    screen: "Lines | Screen",
    every_s: float,
    times: int | None,
    as_json: bool,
) -> None:
    import trio  # noqa: PLC0415

    from broker_trio.model.errors import BrokerTrioError  # noqa: PLC0415

    moved, looks = Moved(), 0
    while True:
        began = trio.current_time()
        try:
            value = await watch.look(cluster)
        except BrokerTrioError as error:
            failure = failure_of(error, target, changes=False)
            if not looks or not isinstance(failure, Failure):
                raise
            screen.failed(failure.message, as_json=as_json)
        else:
            moved.look(began, watch.numbers(value))
            screen.show(watch.as_tree(value) if as_json else watch.as_table(value, moved))
        looks += 1
        if times is not None and looks >= times:
            return
        await trio.sleep_until(began + every_s)


@final
class Lines:
    """One line of JSON a look, or one table after the other in a pipe."""

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing is left behind."""

    def show(self, value: Any) -> None:
        if isinstance(value, dict):
            print_json(value)
        else:
            console().print(value)
            sys.stdout.flush()

    def failed(self, text: str, *, as_json: bool) -> None:
        if as_json:
            print_json({"error": text})
        else:
            click.echo(f"error: {text}")


@final
class Screen:
    """One table that stays in its place on a terminal."""

    def __init__(self) -> None:
        from rich.live import Live  # noqa: PLC0415

        self._live = Live(console=console(), auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> "Screen":
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def show(self, value: Any) -> None:
        self._live.update(value, refresh=True)

    def failed(self, text: str, *, as_json: bool) -> None:
        from rich.text import Text  # noqa: PLC0415

        del as_json
        self._live.update(Text(f"error: {text}", style="red"), refresh=True)
