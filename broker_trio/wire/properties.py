"""A message's properties as one string of bytes.

    name 0x01 value 0x02  name 0x01 value 0x02  …      the last 0x02 may be missing

Reading: pieces between 0x02 without 0x01, with an empty name or with an empty value are skipped; of
two pairs with one name the later wins; a second 0x01 in a piece belongs to the value. Writing: the
final 0x02 is always there, pairs with an empty value are left out since no reader sees them.

A stored string is at most 32767 bytes (`PROPERTIES_SIZE_MAX`); who stores checks that.
"""

from collections.abc import Mapping
from typing import Final

from broker_trio.model.errors import LocalProtocolError

NAME_VALUE: Final = "\x01"
PAIR: Final = "\x02"


def parse_properties(raw: bytes | str) -> dict[str, str]:
    """Name to value, in the order of the string. Any input is readable; bad UTF-8 is replaced."""
    text = raw if isinstance(raw, str) else str(raw, "utf-8", "replace")
    properties = {}
    for piece in text.split(PAIR):
        name, _, value = piece.partition(NAME_VALUE)
        if name and value:
            properties[name] = value
    return properties


def format_properties(properties: Mapping[str, str]) -> bytes:
    """The string of these properties.

    Raises LocalProtocolError for a name or value with a separator in it, or an empty name: such a
    pair would change its neighbours.
    """
    pieces = []
    for name, value in properties.items():
        if not name or NAME_VALUE in name or PAIR in name or PAIR in value:
            raise LocalProtocolError(f"property {name!r} holds a separator or has no name")
        if value:
            pieces.append(f"{name}\x01{value}\x02")
    return "".join(pieces).encode("utf-8", "replace")


def find_property(raw: bytes, name: bytes) -> bytes | None:
    """The value that `parse_properties` would find under `name`, without reading the others.

    A hit counts only where a pair begins, so neither a value that contains the name nor a longer
    name that ends in it can fool this. The search goes backwards since the last pair wins. 0.3 µs.
    """
    needle = name + b"\x01"
    limit = len(raw)
    while True:
        start = raw.rfind(needle, 0, limit)
        if start < 0:
            return None
        if start == 0 or raw[start - 1] == 2:
            begin = start + len(needle)
            end = raw.find(b"\x02", begin)
            value = raw[begin:] if end < 0 else raw[begin:end]
            if value:
                return value
        limit = start + len(name)
