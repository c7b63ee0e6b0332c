"""The CBOR header (serialisation 2), ours: a map with integer keys for the fixed members.

    {0: code, 1: language, 2: version, 3: opaque, 4: flag, 5: remark, 6: {name: value, …}}

Values in 6 keep their type: text, integers of 64 bits, booleans. What is 0, empty or missing may be
left out, and the writer leaves out remark and ext; a null value in 6 counts as missing.
Unknown integer keys are ignored, so that later versions may add members.
"""

from typing import Final

from broker_trio.model.codes import LanguageCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.wire import cbor
from broker_trio.wire.command import Command, Ext, Serialize

CODE: Final = 0
LANGUAGE: Final = 1
VERSION: Final = 2
OPAQUE: Final = 3
FLAG: Final = 4
REMARK: Final = 5
EXT: Final = 6

_I32_MAX: Final = 2**31 - 1
_I64_MAX: Final = 2**63 - 1


def decode(data: bytes | bytearray, at: int, end: int, body: bytes) -> Command:
    """The command whose header is `data[at:end]`. Raises RemoteProtocolError."""
    header = cbor.loads(bytes(data[at:end]))
    if type(header) is not dict:
        raise RemoteProtocolError("a CBOR header that is no map")
    numbers = [
        header.get(CODE, 0),
        header.get(OPAQUE, 0),
        header.get(FLAG, 0),
        header.get(LANGUAGE, LanguageCode.PYTHON),
        header.get(VERSION, 0),
    ]
    for number in numbers:
        if not isinstance(number, int) or not -_I32_MAX - 1 <= number <= _I32_MAX:
            raise RemoteProtocolError(f"CBOR header: {type(number).__name__} is no 32-bit integer")
    remark = header.get(REMARK)
    if remark is not None and type(remark) is not str:
        raise RemoteProtocolError(f"CBOR header: remark is {type(remark).__name__}")
    code, opaque, flag, language, version = map(int, numbers)
    ext = _ext(header.get(EXT))
    return Command(code, opaque, flag, ext, body, remark, language, version, Serialize.CBOR)


def _ext(value: object) -> Ext:
    if value is None:
        return {}
    if type(value) is not dict:
        raise RemoteProtocolError(f"CBOR header: fields are {type(value).__name__}, not a map")
    missing = False
    for name, field in value.items():
        if type(name) is not str:
            raise RemoteProtocolError(f"CBOR header: a field name is {type(name).__name__}")
        kind = type(field)
        if kind is str or kind is bool or (kind is int and -_I64_MAX - 1 <= field <= _I64_MAX):
            continue
        if field is not None:
            raise RemoteProtocolError(f"CBOR header: field {name!r} is {kind.__name__}")
        missing = True
    if missing:
        return {name: field for name, field in value.items() if field is not None}
    return value


def encode_header(command: Command) -> bytes:
    """The header's bytes. Raises LocalProtocolError for a value that has no plain form."""
    header: dict[int, object] = {
        CODE: int(command.code),
        LANGUAGE: int(command.language),
        VERSION: command.version,
        OPAQUE: command.opaque,
        FLAG: command.flag,
    }
    if command.remark:
        header[REMARK] = command.remark
    if command.ext:
        header[EXT] = command.ext
    return cbor.dumps(header)
