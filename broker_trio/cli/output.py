"""What commands print: tables for people, JSON for programs.

`--json` prints one document a command (a line a thing where there may be many), keys in snake case,
bytes as text where they are UTF-8, else in base64 under `<name>_base64`. Rich is imported only
where a table is really drawn: it costs more than most commands.
"""

import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:  # a tree of what JSON knows, dataclasses or structs
    """One line of JSON on stdout, flushed: readers at the end of a pipe wait for it."""
    click.echo(msgspec.json.encode(value).decode())
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table as wide as it must be; numbers to the right."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    # Cut at a terminal's edge only: what goes into a pipe or a file stays whole.
    width = None if sys.stdout.isatty() else 240
    Console(width=width, soft_wrap=False).print(table)


def text_or_base64(name: str, data: bytes) -> dict[str, str]:
    """Bytes as a member of a JSON object."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode  # noqa: PLC0415

        return {f"{name}_base64": b64encode(data).decode()}
