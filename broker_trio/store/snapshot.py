"""Small files of our own: one value in CBOR, replaced as a whole.

    array(2)  [ crc32 of the payload : uint,  payload : bytes = CBOR map of the value's fields ]

`Disk.replace` makes each file old or new and never a mixture; the checksum tells what a disk did
to it later. Whatever is kept this way is optional: it makes a start faster, and the log can replace
it. Therefore a damaged file reads as an absent one, which is logged.
"""

from io import BytesIO
from typing import Final, TypeVar
from zlib import crc32

import cbor2
import msgspec
import structlog

from broker_trio.runtime.seams import Disk

SNAPSHOT_BYTES_MAX: Final = 64 << 20
"""Larger files are not read: ten thousand queues take less than a megabyte."""

T = TypeVar("T")
log = structlog.get_logger()


def encode(value: msgspec.Struct) -> bytes:
    """The file's content for a value; equal values give equal bytes."""
    payload = cbor2.dumps(msgspec.to_builtins(value, builtin_types=(bytes,)), canonical=True)
    return cbor2.dumps([crc32(payload), payload])


def decode(data: bytes, kind: type[T]) -> T | None:
    """The value, or None where the bytes are not what `encode` made of such a value."""
    try:
        outer = _loads(data)
        if not isinstance(outer, list) or len(outer) != 2 or not isinstance(outer[1], bytes):
            return None
        if outer[0] != crc32(outer[1]):
            return None
        return msgspec.convert(_loads(outer[1]), kind)
    except (cbor2.CBORDecodeError, msgspec.ValidationError, RecursionError, ValueError):
        return None


def _loads(data: bytes) -> object:
    """Exactly one CBOR value; what follows it would be damage."""
    stream = BytesIO(data)
    value: object = cbor2.CBORDecoder(stream).decode()
    if stream.read(1):
        raise ValueError("bytes after the value")
    return value


def load(disk: Disk, path: str, kind: type[T]) -> T | None:
    """The value kept at `path`; None where it is missing or damaged (logged)."""
    if not disk.exists(path):
        return None
    if disk.stat(path).size > SNAPSHOT_BYTES_MAX:
        log.warning("snapshot.too_large", path=path, limit=SNAPSHOT_BYTES_MAX)
        return None
    value = decode(disk.read(path), kind)
    if value is None:
        log.warning("snapshot.damaged", path=path)
    return value


async def save(disk: Disk, path: str, value: msgspec.Struct) -> None:
    """Durable once it returns. Raises `OSError`; the old content stays then."""
    await disk.replace(path, encode(value))
