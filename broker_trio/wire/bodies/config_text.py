r"""Configuration as text: the bodies of 25/26 (broker) and 318/319 (nameserver), Java's properties.

    # comment, also with !            key ends at the first unescaped = : or blank
    key=value                         \t \n \r \f \uXXXX and \<char> are escapes
    long = first \                    a line that ends in \ goes on in the next one,
           second                     without that one's leading blanks

Reading takes all of this; writing makes one `key=value` a line, sorted, with what would be misread
escaped. A later line of the same key wins.
"""

import re
from collections.abc import Mapping
from typing import Final

from broker_trio.model.errors import RemoteProtocolError

LINES_MAX: Final = 10_000
_BLANKS: Final = " \t\f"
_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_KEY: Final = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_SPECIAL: Final = re.compile(r"[\\\t\n\r\f]")
_SPECIAL_IN_KEY: Final = re.compile(r"[\\\t\n\r\f =:#!]")


def parse_config(data: bytes) -> dict[str, str]:
    """All keys of the text, UTF-8. Raises `RemoteProtocolError` where it is none or too long."""
    try:
        text = data.decode()
    except UnicodeError as error:
        raise RemoteProtocolError(f"configuration text: {error}") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > LINES_MAX:
        raise RemoteProtocolError(f"configuration text has {len(lines)} lines, limit {LINES_MAX}")
    config = {}
    for line in _logical(lines):
        match = _KEY.match(line)
        assert match is not None, "every part of the pattern may be empty"
        config[_unescape(match[1])] = _unescape(match[2])
    return config


def format_config(config: Mapping[str, str]) -> bytes:
    """The same as text: one line a key, sorted."""
    lines = [
        f"{_escape(key, _SPECIAL_IN_KEY)}={_escape_value(value)}\n"
        for key, value in sorted(config.items())
    ]
    return "".join(lines).encode()


def _logical(lines: list[str]) -> list[str]:
    """Lines without comments and blank ones, continued ones joined."""
    logical: list[str] = []
    parts: list[str] = []
    for raw in lines:
        line = raw.lstrip(_BLANKS)
        if not parts and (not line or line[0] in "#!"):
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            parts.append(line[:-1])
            continue
        logical.append("".join([*parts, line]))
        parts = []
    if parts:
        logical.append("".join(parts))
    return logical


def _unescape(text: str) -> str:
    def meaning(match: re.Match[str]) -> str:
        found = match[1]
        if len(found) == 5:
            return chr(int(found[1:], 16))
        return _ESCAPES.get(found, found)

    unescaped = _ESCAPE.sub(meaning, text)
    if _SURROGATE.search(unescaped) is None:
        return unescaped
    units = unescaped.encode("utf-16-be", "surrogatepass")  # two escapes may make one character
    return units.decode("utf-16-be", "replace")


def _escape(text: str, special: re.Pattern[str]) -> str:
    names = {value: f"\\{name}" for name, value in _ESCAPES.items()}
    return special.sub(lambda match: names.get(match[0], f"\\{match[0]}"), text)


def _escape_value(text: str) -> str:
    """A blank at the beginning would be taken for the separator's."""
    escaped = _escape(text, _SPECIAL)
    return f"\\{escaped}" if escaped.startswith(" ") else escaped
