"""Settings: TOML and `BROKER_TRIO__SECTION__KEY` into frozen structs, or every mistake at once.

A program's settings are one msgspec struct whose members are its sections (structs too). The file's
tables are walked beside the struct's fields:

    [store]                         settings.store          StoreConfig
    retention_hours = 48            .retention_hours        int

Order: the struct's defaults, then the file, then the environment. A variable's value is text; it is
converted to the field's type ("48" to 48, "true" to True; a list is split at commas, or written as
TOML in brackets). Names are refused when nobody knows them, with the nearest one that exists: a
misspelt limit that silently keeps its default is found in an outage, not in a review.

The walk goes on after a mistake, so that one start tells all of them; only text that is no TOML at
all ends it at once. Messages carry names and types, never values: a value may be a secret.
"""

import difflib
import tomllib
import typing
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from broker_trio.model.errors import ConfigError

PREFIX: Final = "BROKER_TRIO__"

T = TypeVar("T", bound=msgspec.Struct)


def _nothing(_config: msgspec.Struct) -> list[str]:
    return []


def load(
    kind: type[T],
    text: str,
    environ: Mapping[str, str],
    check: Callable[[T], list[str]] = _nothing,
) -> T:
    """The settings of `text` (TOML) with the overrides of `environ`, as a `kind`.

    `check` tells what single fields cannot: it returns one sentence for each rule that two of them
    break together. Raises `ConfigError`, whose text has one mistake a line.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the configuration is not TOML: {error}") from error
    mistakes = _override(kind, tree, environ)
    _walk(kind, tree, "", mistakes)
    if mistakes:
        raise _refusal(mistakes)
    try:
        config = msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:  # a struct's own __post_init__
        raise _refusal([str(error)]) from error
    if mistakes := check(config):
        raise _refusal(mistakes)
    return config


def _refusal(mistakes: list[str]) -> ConfigError:
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return ConfigError("\n  ".join([f"{count} in the configuration:", *mistakes]))


def _override(
    kind: type[msgspec.Struct], tree: dict[str, object], environ: Mapping[str, str]
) -> list[str]:
    """Put the environment's values into the tree; what has no place is a mistake."""
    mistakes: list[str] = []
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX):
            continue
        *sections, key = variable.removeprefix(PREFIX).lower().split("__")
        table, here = tree, kind
        for section in sections:
            inner = _section(here, section)
            nested = table.setdefault(section, {})
            if inner is None or not isinstance(nested, dict):
                mistakes.append(f"{variable}: {_unknown('section', section, _sections(here))}")
                if not nested:
                    del table[section]  # told once, by the variable's name
                break
            table, here = nested, inner
        else:
            fields = _fields(here)
            if key in fields and _struct_of(fields[key].type) is None:
                table[key] = _value_of(value, fields[key].type)
            else:
                mistakes.append(f"{variable}: {_unknown('key', key, list(fields))}")
    return mistakes


def _value_of(text: str, kind: object) -> object:
    """Text, or the list that it spells where the field wants one."""
    if not _is_list(kind):
        return text
    if text.lstrip().startswith("["):
        try:
            spelled: object = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            return text  # refused by the walk: a list was expected
        return spelled
    return [part.strip() for part in text.split(",") if part.strip()]


def _walk(
    kind: type[msgspec.Struct], tree: Mapping[str, object], section: str, mistakes: list[str]
) -> None:
    """Compare one table with one struct, and the tables inside it."""
    fields = _fields(kind)
    where = f"[{section}] " if section else ""
    for name, value in tree.items():
        field = fields.get(name)
        if field is None:
            what = "section" if isinstance(value, dict) else "key"
            mistakes.append(f"{where}{_unknown(what, name, list(fields))}")
            continue
        inner = _struct_of(field.type)
        if inner is not None and isinstance(value, dict):
            _walk(inner, value, f"{section}.{name}" if section else name, mistakes)
            continue
        try:
            msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError as error:
            allowed = _allowed(field.type)
            mistakes.append(f"{where}{name}: {allowed or error}")
    mistakes.extend(
        f"{where}{name}: required, and not there"
        for name, field in fields.items()
        if field.required and name not in tree
    )


def _allowed(kind: object) -> str:
    """What a field of fixed words may be; "" for every other field."""
    if typing.get_origin(kind) is not typing.Literal:
        return ""
    return f"allowed: {', '.join(map(str, typing.get_args(kind)))}"


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"no {what} named {name}; did you mean {near[0]}?"
    return f"no {what} named {name}; there are: {', '.join(sorted(known)) or 'none'}"


def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _sections(kind: type[msgspec.Struct]) -> list[str]:
    return [name for name, field in _fields(kind).items() if _struct_of(field.type) is not None]


def _section(kind: type[msgspec.Struct], name: str) -> type[msgspec.Struct] | None:
    field = _fields(kind).get(name)
    return None if field is None else _struct_of(field.type)


def _struct_of(kind: object) -> type[msgspec.Struct] | None:
    """The struct that a field holds: its type, or the one member of its union that is one."""
    candidates = (kind, *typing.get_args(kind))
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate if not _is_list(kind) else None
    return None


def _is_list(kind: object) -> bool:
    origins = {typing.get_origin(kind), *(typing.get_origin(arg) for arg in typing.get_args(kind))}
    return bool(origins & {list, tuple, set, frozenset})
