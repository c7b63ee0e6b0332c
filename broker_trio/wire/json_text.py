"""JSON as Apache's fastjson writes and reads it: a tolerant reader, and two writers.

Reading. Standard JSON goes through msgspec. What that refuses goes through the reader below, which
also takes what fastjson and third-party clients send:

    {0:"a", 1:"b"}                          bare integer keys    -> "0", "1": keys are always str
    {{"queueId":0,"topic":"T"}:7}           an object as a key   -> (("queueId", 0), ("topic", "T"))
    {"a": {"$ref":"$.b"}}                   a repeated object    -> the value at $.b, or left out
    {'a': 1, b: 2,}                         quotes, bare names, trailing commas

An object key becomes the tuple of its sorted (name, value) pairs: hashable, and `dict(key)` gives
the object back. `msgspec.convert(…, strict=False)` turns "0" into 0 where a struct says int.

Limits: depth, and the number of values in the slow reader (about 1 µs each). A `$ref` is followed
only to a small value without `$ref` in it, and only so often: otherwise few bytes could stand for
gigabytes or for a cycle once somebody walks the tree. What is not followed is left out, as an
entry of its map or list.

Writing. `dumps` is standard JSON, `dumps_java` has bare integer keys and object keys (frozen
structs or tuples as above), members in alphabetical order and no spaces, because Go's client takes
such texts apart by hand. Members that are None are left out of both; `$ref` is never written.
"""

import re
from base64 import b64encode
from typing import Any, Final, NoReturn

import msgspec

from broker_trio.model.errors import LocalProtocolError, RemoteProtocolError

DEPTH_MAX: Final = 64
VALUES_MAX: Final = 1_000_000
REFS_MAX: Final = 1024
REF_VALUES_MAX: Final = 64
NUMBER_LENGTH_MAX: Final = 40
REF: Final = "$ref"

_SPACE: Final = re.compile(r"[ \t\r\n\f\v\ufeff]*")
_WORD: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_NUMBER: Final = re.compile(r"[+-]?[0-9]++(\.[0-9]++)?([eE][+-]?[0-9]++)?")
_STRINGS: Final = {
    '"': re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL),
    "'": re.compile(r"'((?:[^'\\]++|\\.)*+)'", re.DOTALL),
}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
_WORDS: Final = {"true": True, "false": False, "null": None, "undefined": None}
_PATH: Final = re.compile(r"\.([^.\[\]]+)|\[([0-9]{1,9})\]")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_DROPPED: Final = object()


def loads(data: bytes, values_max: int = VALUES_MAX) -> Any:
    """The value of `data`. Raises RemoteProtocolError for anything else."""
    values = data.count(b",") + data.count(b"[") + data.count(b"{")  # or a few more: in texts
    if values > values_max:
        raise RemoteProtocolError(f"bad JSON: too many values, {values} of {values_max}")
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        reader = _Reader(str(data, "utf-8", "replace"), values_max)
        value = reader.whole()
    if b"$ref" not in data:
        return value
    resolved = _Resolver(value).resolve(value, 0)
    return None if resolved is _DROPPED else resolved


class _Reader:
    """Recursive descent over one text."""

    __slots__ = ("_at", "_left", "_text")

    def __init__(self, text: str, values_max: int) -> None:
        self._text = text
        self._at = 0
        self._left = values_max

    def whole(self) -> Any:
        value = self._value(0)
        if self._peek():
            self._fail("something after the value")
        return value

    def _fail(self, problem: str) -> NoReturn:
        raise RemoteProtocolError(f"bad JSON at character {self._at}: {problem}")

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        space = _SPACE.match(self._text, self._at)
        assert space is not None
        self._at = space.end()
        return self._text[self._at : self._at + 1]

    def _value(self, depth: int) -> Any:
        self._left -= 1
        if depth > DEPTH_MAX or self._left < 0:
            self._fail("too deep or too many values")
        first = self._peek()
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._array(depth)
        if first in _STRINGS:
            return self._string(first)
        return self._number() if first and first in "+-0123456789" else self._word()

    def _word(self) -> bool | None:
        word = _WORD.match(self._text, self._at)
        if word is None or word[0] not in _WORDS:
            self._fail("no value")
        self._at = word.end()
        return _WORDS[word[0]]

    def _number(self) -> int | float:
        number = _NUMBER.match(self._text, self._at)
        if number is None or number.end() - self._at > NUMBER_LENGTH_MAX:
            self._fail("no number")
        self._at = number.end()
        return float(number[0]) if number[1] or number[2] else int(number[0])

    def _string(self, quote: str) -> str:
        string = _STRINGS[quote].match(self._text, self._at)
        if string is None:
            self._fail("a string without an end")
        self._at = string.end()
        return _unescape(string[1]) if "\\" in string[1] else string[1]

    def _array(self, depth: int) -> list[Any]:
        values: list[Any] = []
        self._at += 1
        while self._peek() != "]":
            values.append(self._value(depth + 1))
            self._separator("]")
        self._at += 1
        return values

    def _object(self, depth: int) -> dict[Any, Any]:
        members: dict[Any, Any] = {}
        self._at += 1
        while self._peek() != "}":
            key = self._key(depth + 1)
            if self._peek() != ":":
                self._fail("no colon after a key")
            self._at += 1
            members[key] = self._value(depth + 1)
            self._separator("}")
        self._at += 1
        return members

    def _separator(self, closing: str) -> None:
        following = self._peek()
        if following == ",":
            self._at += 1
        elif following != closing:
            self._fail(f"neither a comma nor {closing}")

    def _key(self, depth: int) -> Any:
        first = self._peek()
        if first in _STRINGS:
            return self._string(first)
        if first == "{":
            return _frozen(self._value(depth))
        word = _WORD.match(self._text, self._at)
        if word is None:
            return str(self._number())
        self._at = word.end()
        return word[0]


def _unescape(text: str) -> str:
    plain = _ESCAPE.sub(_escaped, text)
    if _SURROGATE.search(plain) is None:
        return plain
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _escaped(escape: re.Match[str]) -> str:
    code = escape[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    return _ESCAPED.get(code, code)


def _frozen(value: Any) -> Any:
    """A hashable stand-in for a value that is used as a key."""
    if isinstance(value, dict):
        pairs = [(str(name), _frozen(member)) for name, member in value.items()]
        return tuple(sorted(pairs, key=_first))
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _first(pair: tuple[str, Any]) -> str:
    return pair[0]


class _Resolver:
    """Replaces `{"$ref": path}` in one tree, within limits."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = REFS_MAX

    def resolve(self, value: Any, depth: int) -> Any:
        """The value with its references followed; `_DROPPED` where it was one that cannot be."""
        if depth > DEPTH_MAX:
            raise RemoteProtocolError("bad JSON: too deep")
        if isinstance(value, list):
            items = [self.resolve(item, depth + 1) for item in value]
            return [item for item in items if item is not _DROPPED]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and isinstance(value.get(REF), str):
            return self._target(value[REF])
        members = {}
        for key, member in value.items():
            resolved = self.resolve(member, depth + 1)
            if resolved is not _DROPPED and not _is_frozen_ref(key):
                members[key] = resolved
        return members

    def _target(self, path: str) -> Any:
        self._left -= 1
        if self._left < 0 or not path.startswith("$"):
            return _DROPPED
        value = self._root
        at = 1
        while at < len(path):
            step = _PATH.match(path, at)
            if step is None:
                return _DROPPED
            at = step.end()
            if step[1] is not None and isinstance(value, dict):
                value = value.get(step[1], _DROPPED)
            elif step[2] is not None and isinstance(value, list) and int(step[2]) < len(value):
                value = value[int(step[2])]
            else:
                return _DROPPED
        return value if _is_small(value) else _DROPPED


def _is_frozen_ref(key: Any) -> bool:
    return isinstance(key, tuple) and any(isinstance(p, tuple) and p[:1] == (REF,) for p in key)


def _is_small(value: Any) -> bool:
    """At most REF_VALUES_MAX values, none of them a reference."""
    pending, seen = [value], 0
    while pending:
        item = pending.pop()
        seen += 1
        if isinstance(item, dict):
            if REF in item or any(map(_is_frozen_ref, item)):
                return False
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        if seen + len(pending) > REF_VALUES_MAX:
            return False
    return True


def dumps(value: object) -> bytes:
    """Standard JSON. Raises LocalProtocolError for what has none, such as object keys."""
    try:
        text = msgspec.json.encode(value)
        if b":null" in text:
            text = msgspec.json.encode(_without_none(msgspec.to_builtins(value)))
    except (TypeError, ValueError, RecursionError) as problem:
        raise LocalProtocolError(f"no JSON for this: {problem}") from problem
    return text


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(member) for key, member in value.items() if member is not None}
    return list(map(_without_none, value)) if isinstance(value, list) else value


def dumps_java(value: object) -> bytes:
    """fastjson's flavour. Raises LocalProtocolError for a type that JSON does not have."""
    pieces: list[str] = []
    _write(value, pieces, 0)
    try:
        return "".join(pieces).encode()
    except UnicodeEncodeError as problem:
        raise LocalProtocolError(f"no JSON for this: {problem}") from problem


def _write(value: Any, out: list[str], depth: int) -> None:
    if depth > DEPTH_MAX:
        raise LocalProtocolError("no JSON for this: too deep")
    if isinstance(value, msgspec.Struct):
        value = _members(value)
    if isinstance(value, str):
        out.append(_quoted(value))
    elif isinstance(value, dict):
        _write_object(value, out, depth)
    elif isinstance(value, list | tuple):
        _write_array(value, out, depth)
    elif isinstance(value, set | frozenset):
        _write_array(sorted(value), out, depth)
    else:
        out.append(_scalar(value))


def _members(value: msgspec.Struct) -> dict[str, Any]:
    names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
    return {encoded: getattr(value, name) for encoded, name in sorted(names)}


def _quoted(text: str) -> str:
    try:
        return msgspec.json.encode(text).decode()
    except UnicodeEncodeError as problem:
        raise LocalProtocolError(f"no JSON for this: {problem}") from problem


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(value) if value - value == 0 else "null"  # neither nan nor infinite
    if isinstance(value, bytes):
        return f'"{b64encode(value).decode()}"'
    raise LocalProtocolError(f"no JSON for {type(value).__name__}")


def _write_array(values: Any, out: list[str], depth: int) -> None:
    out.append("[")
    for index, value in enumerate(values):
        if index:
            out.append(",")
        _write(value, out, depth + 1)
    out.append("]")


def _write_object(members: dict[Any, Any], out: list[str], depth: int) -> None:
    separator = "{"
    for key, value in members.items():
        if value is None:
            continue
        out.append(separator)
        separator = ","
        _write(dict(key) if isinstance(key, tuple) else key, out, depth + 1)
        out.append(":")
        _write(value, out, depth + 1)
    out.append("{}" if separator == "{" else "}")
