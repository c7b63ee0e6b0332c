"""A role's configuration as a file: every key, its default and what it means.

    class PullSection(Struct):              [pull]
        "Pulling and long polling."    ──▶  # Pulling and long polling.
        hold_ms_max: int = 25_000  # …      #hold_ms_max = 25000   # …

It is made from the structs that the program reads and from the comments beside them, so that it
cannot fall behind. Keys are commented out: what a file does not say stays the default of the
version that reads it. Where a key has no comment its name holds the unit.
"""

import inspect
import json
import re
import textwrap
import typing
from typing import Final

import msgspec

WIDTH: Final = 100
FIELD: Final = re.compile(r"^    (\w+): .*?(?:  # (.*))?$", re.MULTILINE)
HEADS: Final = {
    "broker": "A broker's configuration: broker-trio broker --config FILE",
    "nameserver": "A nameserver's configuration: broker-trio nameserver --config FILE",
}


def example_of(role: str) -> str:
    """The whole file as text that ends in a newline. `role`: broker or nameserver."""
    lines = [f"# {HEADS[role]}", "# Every key with its default; take the # away to change one.", ""]
    lines += section_lines(struct_of(role)(), "")
    return "\n".join(lines) + "\n"


def struct_of(role: str) -> type[msgspec.Struct]:
    """The settings of the role."""
    if role == "broker":
        from broker_trio.broker.config import BrokerConfig  # noqa: PLC0415

        return BrokerConfig
    from broker_trio.namesrv.config import NameserverConfig  # noqa: PLC0415

    return NameserverConfig


def section_lines(config: msgspec.Struct, section: str) -> list[str]:
    """One table: its heading, what it is about, its keys; then the tables inside it."""
    kind = type(config)
    lines = [f"[{section}]"] if section else []
    for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        text = " ".join(paragraph.split())
        lines += textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")
    comments = dict(FIELD.findall(inspect.getsource(kind)))
    inner: list[str] = []
    for field in msgspec.structs.fields(kind):
        value = getattr(config, field.name)
        if isinstance(value, msgspec.Struct):
            name = f"{section}.{field.encode_name}" if section else field.encode_name
            inner += ["", *section_lines(value, name)]
        else:
            key = f"#{field.encode_name} = {toml_text(value)}"
            lines += key_lines(key, comments.get(field.name, ""), field.type)
    return lines + inner


def key_lines(key: str, comment: str, kind: object) -> list[str]:
    """A key and its meaning: beside it, or above it where that would be too long."""
    if typing.get_origin(kind) is typing.Literal:
        words = f"one of {', '.join(map(str, typing.get_args(kind)))}"
        comment = f"{comment}; {words}" if comment else words
    line = f"{key}  # {comment}" if comment else key
    if len(line) <= WIDTH:
        return [line]
    above = textwrap.wrap(comment, WIDTH, initial_indent="# ", subsequent_indent="# ")
    return [*above, key]


def toml_text(value: object) -> str:
    """A default as TOML writes it. Our settings know no other types."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    assert isinstance(value, int | float), f"no TOML for {value!r}"
    return repr(value)
