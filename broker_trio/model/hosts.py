"""Socket addresses as records and message ids carry them.

stored   ip (4 or 16 bytes) + i32 port                    8 or 20 bytes
text     "10.0.0.1:10911" or "[2001:db8::1]:10911"
id       hex of stored host + i64 physical offset         32 or 56 upper-case digits
"""

import re
from functools import lru_cache
from ipaddress import ip_address
from struct import Struct, error
from typing import Final

from broker_trio.model.errors import LocalProtocolError, RemoteProtocolError

IPV4_HOST_SIZE: Final = 8
IPV6_HOST_SIZE: Final = 20
HOSTS_CACHED_MAX: Final = 1024

_PORT: Final = Struct(">i")
_OFFSET: Final = Struct(">q")
_PORT_TEXT: Final = re.compile(r"-?[0-9]{1,10}\Z")  # stored ports have a sign


@lru_cache(HOSTS_CACHED_MAX)
def encode_host(address: str) -> bytes:
    """Stored form of "ip:port". Raises LocalProtocolError for anything but an IP with a port."""
    host, _, port = address.rpartition(":")
    refusal = LocalProtocolError(f"not an address of the form ip:port: {address!r}")
    if _PORT_TEXT.match(port) is None:
        raise refusal
    try:
        return ip_address(host.strip("[]")).packed + _PORT.pack(int(port))
    except (ValueError, error) as problem:
        raise refusal from problem


@lru_cache(HOSTS_CACHED_MAX)
def decode_host(stored: bytes) -> str:
    """Text form of 8 or 20 stored bytes. Raises RemoteProtocolError for any other length."""
    if len(stored) not in (IPV4_HOST_SIZE, IPV6_HOST_SIZE):
        raise RemoteProtocolError(f"a host of {len(stored)} bytes, expected 8 or 20")
    (port,) = _PORT.unpack_from(stored, len(stored) - 4)
    host = ip_address(stored[:-4])
    return f"{host}:{port}" if len(stored) == IPV4_HOST_SIZE else f"[{host}]:{port}"


def message_id(stored_host: bytes, physical_offset: int) -> str:
    """The offset message id: where the record is, and on which broker."""
    return (stored_host + _OFFSET.pack(physical_offset)).hex().upper()


def decode_message_id(text: str) -> tuple[str, int]:
    """("ip:port", physical offset) of an id. Raises RemoteProtocolError for what is no such id."""
    if len(text) not in (32, 56):
        raise RemoteProtocolError(f"a message id of {len(text)} characters, expected 32 or 56")
    try:
        raw = bytes.fromhex(text)
    except ValueError as problem:
        raise RemoteProtocolError("a message id that is not hexadecimal") from problem
    if len(raw) * 2 != len(text):  # fromhex skips white space
        raise RemoteProtocolError("a message id with white space in it")
    (physical_offset,) = _OFFSET.unpack_from(raw, len(raw) - 8)
    return decode_host(raw[:-8]), physical_offset
