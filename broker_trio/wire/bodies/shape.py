"""Between a tree (what a JSON or CBOR text says) and body structs (what it means).

    tree      None, bool, int, float, str, bytes, list, dict with str, int or object keys
    struct    a msgspec.Struct whose annotations say what every member should be

Apache's reader bends values to the type that it wants, and third-party clients rely on it. So does
`read`:

    wanted   taken besides the type itself
    int      "7", 7.0, true           always within Java's long, else refused
    float    "0.5", 3
    bool     "true" in any case of letters, "1", 1; any other text is false
    str      7, 0.5, true             as JSON writes them
    list     null entries are dropped
    map      keys as text or numbers, MessageQueue keys as objects; null values are dropped

A member that is null counts as missing. Unknown members are ignored. A missing member takes the
struct's default; without a default the body is refused. `write` is the way back: members in
alphabetical order as Apache has them, None left out.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, Union, cast, get_args, get_origin

import msgspec

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.route import MessageQueue

LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1
DEPTH_MAX: Final = 32  # of a member that takes any tree
DIGITS_MAX: Final = 20  # of an integer as text; a long has 19 and a sign


class _Member(NamedTuple):
    attribute: str
    name: str
    kind: Any
    required: bool


@cache
def _members(kind: type[msgspec.Struct]) -> tuple[_Member, ...]:
    return tuple(
        _Member(f.name, f.encode_name, f.type, f.required) for f in msgspec.structs.fields(kind)
    )


@cache
def _members_to_write(kind: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((member.name, member.attribute) for member in _members(kind)))


@cache
def has_keys(kind: Any, key_kind: Any) -> bool:
    """Whether somewhere inside a map has keys of `key_kind`: int or MessageQueue."""
    if get_origin(kind) is dict and get_args(kind)[0] is key_kind:
        return True
    return any(has_keys(part, key_kind) for part in _parts(kind))


@cache
def is_open(kind: Any) -> bool:
    """Whether somewhere inside a member takes any tree."""
    return kind is object or any(is_open(part) for part in _parts(kind))


def _parts(kind: Any) -> tuple[Any, ...]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return tuple(member.kind for member in _members(kind))
    return get_args(kind)


def check_open(value: object) -> None:
    """Look at what another decoder put into the open members of a struct."""
    if isinstance(value, msgspec.Struct):
        for member in _members(type(value)):
            if is_open(member.kind):
                check_open(getattr(value, member.attribute))
    else:
        _check_plain(value, "$", DEPTH_MAX)


def _check_plain(tree: object, path: str, depth: int) -> None:
    if not depth:
        raise RemoteProtocolError(f"{path}: nested too deeply")
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            _SCALARS[int if isinstance(key, int) else str](key, path)
            _check_plain(value, path, depth - 1)
    elif isinstance(tree, list | tuple):
        for value in tree:
            _check_plain(value, path, depth - 1)
    elif isinstance(tree, int):
        _read_int(tree, path)
    elif isinstance(tree, float):
        _read_float(tree, path)
    elif tree is not None and not isinstance(tree, str):
        raise _wrong("plain data", tree, path)


def read(kind: Any, tree: object, path: str = "$") -> Any:
    """The tree as a value of `kind`. Raises `RemoteProtocolError` naming the place."""
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return scalar(tree, path)
    if kind is object:
        _check_plain(tree, path, DEPTH_MAX)
        return tree
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _read_struct(kind, tree, path)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        (wanted,) = (argument for argument in arguments if argument is not NoneType)
        return None if tree is None else read(wanted, tree, path)
    if origin is dict:
        return _read_map(arguments[0], arguments[1], tree, path)
    assert origin in {list, frozenset}, f"no reader for {kind}"
    entries = _entries(tree, path)
    return origin(read(arguments[0], entry, f"{path}[]") for entry in entries)


def _read_struct(kind: type[msgspec.Struct], tree: object, path: str) -> msgspec.Struct:
    if not isinstance(tree, Mapping):
        raise _wrong("an object", tree, path)
    values = {}
    for attribute, name, member_kind, required in _members(kind):
        member = tree.get(name)
        if member is not None:
            values[attribute] = read(member_kind, member, f"{path}.{name}")
        elif required:
            raise RemoteProtocolError(f"{path}: no {name}")
    return kind(**values)


def _read_map(key_kind: Any, value_kind: Any, tree: object, path: str) -> dict[Any, Any]:
    if not isinstance(tree, Mapping):
        raise _wrong("an object", tree, path)
    read_key = _SCALARS.get(key_kind, _queue_of_key)
    inside = f"{path}{{}}"
    return {
        read_key(key, inside): read(value_kind, value, inside)
        for key, value in tree.items()
        if value is not None
    }


def _queue_of_key(key: object, path: str) -> MessageQueue:
    """A MessageQueue out of the forms of a map key: see `codec.py`."""
    tree: object = key
    if isinstance(key, str):
        try:
            tree = msgspec.json.decode(key)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            raise _wrong("a message queue", key, path) from None
    if isinstance(tree, tuple) and all(isinstance(e, tuple) and len(e) == 2 for e in tree):
        tree = {name: value for name, value in tree if isinstance(name, str)}
    if isinstance(tree, list | tuple) and len(tree) == 3:
        tree = dict(zip(("topic", "brokerName", "queueId"), tree, strict=True))
    return cast("MessageQueue", _read_struct(MessageQueue, tree, path))


def _entries(tree: object, path: str) -> Iterable[object]:
    if not isinstance(tree, list | tuple):
        raise _wrong("a list", tree, path)
    return [entry for entry in tree if entry is not None]


def _read_int(tree: object, path: str) -> int:
    value: object = tree
    if isinstance(tree, str) and len(tree) <= DIGITS_MAX:
        try:
            value = int(tree)
        except ValueError:
            raise _wrong("an integer", tree, path) from None
    elif isinstance(tree, bool) or (
        isinstance(tree, float) and math.isfinite(tree) and tree.is_integer()
    ):
        value = int(tree)
    if not isinstance(value, int) or not LONG_MIN <= value <= LONG_MAX:
        raise _wrong("an integer of 64 bits", tree, path)
    return value


def _read_float(tree: object, path: str) -> float:
    if isinstance(tree, int | float | str):
        try:
            value = float(tree)
        except (ValueError, OverflowError):
            raise _wrong("a number", tree, path) from None
        if math.isfinite(value):
            return value
    raise _wrong("a number", tree, path)


def _read_bool(tree: object, path: str) -> bool:
    if isinstance(tree, bool):
        return tree
    if isinstance(tree, str):
        return tree.lower() in {"true", "1"}
    if isinstance(tree, int):
        return tree == 1
    raise _wrong("a boolean", tree, path)


def _read_str(tree: object, path: str) -> str:
    if isinstance(tree, str):
        return tree
    if isinstance(tree, bool):
        return "true" if tree else "false"
    if isinstance(tree, int | float):
        return str(_read_int(tree, path) if isinstance(tree, int) else tree)
    raise _wrong("a string", tree, path)


_SCALARS: Final[dict[Any, Callable[[object, str], Any]]] = {
    int: _read_int,
    float: _read_float,
    bool: _read_bool,
    str: _read_str,
}


def _wrong(wanted: str, tree: object, path: str) -> RemoteProtocolError:
    shown = repr(tree) if isinstance(tree, int | float | None) else type(tree).__name__
    return RemoteProtocolError(f"{path}: expected {wanted}, got {shown[:40]}")


def write(value: object, queue_key: Callable[[MessageQueue], Any]) -> Any:
    """The tree of a value; `queue_key` says how a MessageQueue looks as a map key."""
    if isinstance(value, msgspec.Struct):
        return {
            name: write(member, queue_key)
            for name, attribute in _members_to_write(type(value))
            if (member := getattr(value, attribute)) is not None
        }
    if isinstance(value, dict):
        return {
            queue_key(key) if isinstance(key, MessageQueue) else key: (
                member if type(member) is int else write(member, queue_key)
            )
            for key, member in value.items()
            if member is not None
        }
    if isinstance(value, list | tuple):
        return [write(member, queue_key) for member in value]
    if isinstance(value, frozenset | set):
        return [write(member, queue_key) for member in sorted(value)]
    return value
