"""Bodies that their producer compressed, unpacked with a bound: a few KiB may claim gigabytes.

zlib is always there. LZ4 and zstd need the packages `lz4` and `zstandard`, which are looked for
when the first such message comes.
"""

import importlib
import zlib
from typing import Any, Final

from broker_trio.client.codecs import BodyUnreadable
from broker_trio.model.message import MessageExt, SysFlag

UNPACKED_MAX: Final = 64 << 20


def unpacked(message: MessageExt, limit: int = UNPACKED_MAX) -> bytes:
    """The body as its producer gave it. Raises `BodyUnreadable`."""
    if not message.sys_flag & SysFlag.COMPRESSED:
        return message.body
    kind = message.sys_flag & SysFlag.COMPRESSION_MASK
    name = message.uniq_key or message.message_id
    if kind == SysFlag.COMPRESSION_LZ4:
        body = _with(name, "lz4", "lz4.frame", _lz4, message.body, limit)
    elif kind == SysFlag.COMPRESSION_ZSTD:
        body = _with(name, "zstandard", "zstandard", _zstd, message.body, limit)
    elif kind in {0, SysFlag.COMPRESSION_ZLIB}:
        body = _zlib(name, message.body, limit)
    else:
        raise _unreadable(name, f"unknown compression, sysFlag {message.sys_flag:#x}")
    if len(body) > limit:
        raise _unreadable(name, f"more than {limit} bytes unpacked")
    return body


def _zlib(name: str, data: bytes, limit: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, limit + 1)
    except zlib.error as error:
        raise _unreadable(name, str(error)) from error


def _lz4(module: Any, data: bytes, limit: int) -> bytes:
    return bytes(module.LZ4FrameDecompressor().decompress(data, limit + 1))


def _zstd(module: Any, data: bytes, limit: int) -> bytes:
    return bytes(module.ZstdDecompressor().stream_reader(data).read(limit + 1))


def _with(name: str, package: str, module: str, unpack: Any, data: bytes, limit: int) -> bytes:
    try:
        return bytes(unpack(importlib.import_module(module), data, limit))
    except ImportError as error:
        why = f"it is compressed with {package}, which is not installed: pip install {package}"
        raise _unreadable(name, why) from error
    except (RuntimeError, ValueError, OSError) as error:
        raise _unreadable(name, str(error)) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] in {"zstandard", "lz4"}:
            raise _unreadable(name, str(error)) from error
        raise


def _unreadable(name: str, why: str) -> BodyUnreadable:
    return BodyUnreadable(f"the body of message {name} cannot be unpacked: {why}")
