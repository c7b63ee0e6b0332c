"""What commands print: tables for people, JSON for programs.

`--json` prints one document a command (a line a thing where there may be many), keys in snake case,
bytes as text where they are UTF-8, else in base64 under `<name>_base64`. Tables are as wide as the
terminal at most: numbers and ids stay whole, texts are folded, the last column of a message (its
body) is cut. What goes into a pipe or a file is never cut. Rich is imported only where a table is
really drawn: it costs more than most commands.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

PIPE_WIDTH: Final = 240
GAP: Final = 2  # between two columns
CUT_WIDTH_MIN: Final = 12
STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "red", "dim": "dim"}


class Column(NamedTuple):
    """A heading and how its cells give way on a narrow terminal: `whole` never, `cut` first."""

    heading: str
    give: str = "fold"  # whole | fold | cut


class Styled(NamedTuple):
    """A cell that means something: ok, warn, fail or dim. Colour is never the only sign of it."""

    text: str
    style: str


def print_json(value: Any) -> None:  # a tree of what JSON knows, dataclasses or structs
    """One line of JSON on stdout, flushed: readers at the end of a pipe wait for it."""
    click.echo(msgspec.json.encode(value).decode())
    sys.stdout.flush()


def print_table(
    title: str,
    columns: Sequence[str | Column],
    rows: Sequence[Sequence[object]],
    *,
    empty: str = "",
) -> None:
    """A table as wide as it must be; `empty` is said instead of a table without rows."""
    console().print(make_table(title, columns, rows, empty=empty))


def width() -> int | None:
    """Cut at a terminal's edge only: what goes into a pipe or a file stays whole."""
    return None if sys.stdout.isatty() else PIPE_WIDTH


def console() -> "Console":
    """Where tables are printed."""
    from rich.console import Console  # noqa: PLC0415

    return Console(width=width(), soft_wrap=False, highlight=False)


def make_table(
    title: str,
    columns: Sequence[str | Column],
    rows: Sequence[Sequence[object]],
    *,
    empty: str = "",
) -> "RenderableType":
    """Numbers to the right, headings in bold, no lines; the title in a line of its own."""
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not rows and empty:
        return Text(empty)
    table = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[_cell(cell) for cell in row] for row in rows]
    named = [each if isinstance(each, Column) else Column(each) for each in columns]
    natural = [
        max([len(column.heading), *(row[index].cell_len for row in cells)])
        for index, column in enumerate(named)
    ]
    for index, column in enumerate(named):
        numeric = bool(rows) and all(is_number(row[index]) for row in rows)
        cut = column.give == "cut"
        table.add_column(
            Text(column.heading),
            justify="right" if numeric else "left",
            overflow="ellipsis" if cut else "fold",
            no_wrap=numeric or column.give != "fold",
            max_width=_room(natural, index) if cut else None,
        )
    for row in cells:
        table.add_row(*row)
    return Group(Text(title, style="bold"), table) if title else table


def _room(natural: Sequence[int], index: int) -> int:
    """What the other columns leave of the terminal to one that is cut."""
    others = sum(natural) - natural[index] + GAP * (len(natural) - 1)
    return max((width() or console().width) - others, CUT_WIDTH_MIN)


def is_number(cell: object) -> bool:
    """Whether a cell stands in a column of numbers; gaps do, too."""
    if isinstance(cell, Styled):
        return cell.text.removesuffix(" %").isdecimal()
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _cell(cell: object) -> "Text":
    from rich.text import Text  # noqa: PLC0415

    if isinstance(cell, Styled):
        return Text(cell.text, style=STYLES[cell.style])
    if cell is None:
        return Text("")
    if isinstance(cell, bool):
        return Text("yes" if cell else "no")
    if isinstance(cell, float):
        return Text(rate_text(cell))
    return Text(one_line(str(cell)))


def one_line(text: str) -> str:
    """Without control characters: a peer's text moves no cursor and colours no screen."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text)


def rate_text(value: float) -> str:
    """One digit behind the point below 100, none above."""
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def bytes_text(size: int) -> str:
    """`0 B`, `1.5 KiB`."""
    value, units = float(size), ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    unit = 0
    while abs(value) >= 1024 and unit < len(units) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} B" if unit == 0 else f"{value:.1f} {units[unit]}"


def print_facts(rows: Sequence[tuple[str, object]]) -> None:
    """Names and values, one a line, the values aligned."""
    for line in fact_lines(rows):
        click.echo(line)


def fact_lines(rows: Sequence[tuple[str, object]]) -> list[str]:
    """The lines of `print_facts`."""
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {one_line(str(value))}".rstrip() for name, value in rows]


def text_or_base64(name: str, data: bytes) -> dict[str, str]:
    """Bytes as a member of a JSON object."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode  # noqa: PLC0415

        return {f"{name}_base64": b64encode(data).decode()}
