"""From commands to frames, in the serialisation that the command names.

     0        4        8                      8+H
    | total  | S | H  |  header data (H)     |  body        |        total = 4 + H + len(body)

An answer has its request's serialisation; `Command.serialize` says it. A frame larger than 16 MiB
would make any peer drop the connection, so making one is refused here: who builds a body bounds it.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from broker_trio.model.errors import LocalProtocolError, RemoteProtocolError
from broker_trio.wire import serialize_binary, serialize_cbor, serialize_json
from broker_trio.wire.command import Command, Serialize

FRAME_SIZE_MAX: Final = 16 * 1024 * 1024  # of a whole frame with its first four bytes

_HEAD: Final = Struct(">iI")

Decode = Callable[[bytes | bytearray, int, int, bytes], Command]
DECODERS: Final[tuple[Decode, ...]] = (
    serialize_json.decode,
    serialize_binary.decode,
    serialize_cbor.decode,
)
_ENCODERS: Final = (
    serialize_json.encode_header,
    serialize_binary.encode_header,
    serialize_cbor.encode_header,
)


def decode_header(serialize: Serialize | int, header: bytes, body: bytes = b"") -> Command:
    """The command of one header and its body. Raises RemoteProtocolError."""
    if not 0 <= serialize < len(DECODERS):
        raise RemoteProtocolError(f"unknown header serialisation {serialize}")
    return DECODERS[serialize](header, 0, len(header), body)


def encode(command: Command) -> bytes:
    """The whole frame. Raises LocalProtocolError for what cannot be said in its serialisation."""
    body = command.body
    return encode_head(command, len(body)) + body


def encode_parts(command: Command, body: bytes | Sequence[bytes]) -> list[bytes]:
    """The frame as buffers for a gathering write; `body` is used in place of the command's own."""
    if isinstance(body, bytes):
        return [encode_head(command, len(body)), body] if body else [encode_head(command, 0)]
    return [encode_head(command, sum(map(len, body))), *body]


def encode_head(command: Command, body_size: int) -> bytes:
    """The frame up to its body."""
    serialize = command.serialize
    header = _ENCODERS[serialize](command)
    total = 4 + len(header) + body_size
    if total + 4 > FRAME_SIZE_MAX:
        raise LocalProtocolError(f"a frame of {total + 4} bytes, peers take {FRAME_SIZE_MAX}")
    return _HEAD.pack(total, serialize << 24 | len(header)) + header
