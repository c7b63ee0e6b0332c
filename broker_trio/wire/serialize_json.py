"""The JSON header (serialisation 0), which most clients speak.

    {"code":0,"extFields":{"name":"text"},"flag":1,"language":"JAVA","opaque":7,"remark":"…",
     "serializeTypeCurrentRPC":"JSON","version":0}

Written: every value in `extFields` is a string (Go's client refuses a whole command otherwise), and
the member is there even when it is empty (Java's producer reads it unchecked); `remark` only where
there is one. Read: unknown members are ignored, missing ones take their defaults. The quick way is
a typed msgspec decoder; what it refuses (numbers for strings, single quotes, bad UTF-8) goes
through the tolerant reader of json_text.py, so that a client is closed only for what is no command.
From frame to Command a typical send takes 2.2 µs, its answer 1.6 µs (2-core x86, CPython 3.11).
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from broker_trio.model.codes import LanguageCode
from broker_trio.model.errors import LocalProtocolError, RemoteProtocolError
from broker_trio.wire import json_text
from broker_trio.wire.command import Command, Ext, Serialize
from broker_trio.wire.serialize_binary import text_of

VALUES_MAX: Final = 4_096  # of a header that only the tolerant reader takes: 1 µs each

_I32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_LANGUAGES: Final[dict[str | None, int]] = {code.name: int(code) for code in LanguageCode}
_LANGUAGE_NAMES: Final = {int(code): code.name for code in LanguageCode}


class _Incoming(msgspec.Struct, rename={"ext": "extFields"}, gc=False):
    code: _I32 = 0
    language: str | None = "JAVA"
    version: _I32 = 0
    opaque: _I32 = 0
    flag: _I32 = 0
    remark: str | None = None
    ext: dict[str, str] | None = None


class _Outgoing(
    msgspec.Struct, rename={"ext": "extFields", "kind": "serializeTypeCurrentRPC"}, gc=False
):
    code: int
    ext: Mapping[str, object]
    flag: int
    language: str
    opaque: int
    remark: str | msgspec.UnsetType
    kind: str
    version: int


_decoder: Final = msgspec.json.Decoder(_Incoming)
_encoder: Final = msgspec.json.Encoder()


def decode(data: bytes | bytearray, at: int, end: int, body: bytes) -> Command:
    """The command whose header is `data[at:end]`. Raises RemoteProtocolError."""
    header = data[at:end]
    try:
        incoming = _decoder.decode(header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        incoming = _tolerant(bytes(header))
    ext: Ext = incoming.ext or {}  # type: ignore[assignment]  # str is one of ExtValue
    return Command(
        incoming.code,
        incoming.opaque,
        incoming.flag,
        ext,
        body,
        incoming.remark,
        _LANGUAGES.get(incoming.language, LanguageCode.OTHER),
        incoming.version,
        Serialize.JSON,
    )


def _tolerant(header: bytes) -> _Incoming:
    value = json_text.loads(header, VALUES_MAX)
    if not isinstance(value, dict):
        raise RemoteProtocolError("a JSON header that is no object")
    fields = value.get("extFields")
    if fields is None:
        fields = {}
    if not isinstance(fields, dict):
        raise RemoteProtocolError("extFields that are no object")
    known = {name: value[name] for name in _Incoming.__struct_encode_fields__ if name in value}
    known["extFields"] = {
        str(name): _text(field) for name, field in fields.items() if field is not None
    }
    language = known.get("language")
    if isinstance(language, int):
        known["language"] = _LANGUAGE_NAMES.get(language)
    try:
        return msgspec.convert(known, _Incoming, strict=False)
    except msgspec.ValidationError as problem:
        raise RemoteProtocolError(f"bad JSON header: {problem}") from None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return text_of(value)
    try:
        return json_text.dumps_java(value).decode()
    except LocalProtocolError as problem:
        raise RemoteProtocolError(f"bad JSON header: {problem}") from None


def encode_header(command: Command) -> bytes:
    """The header's bytes. Raises LocalProtocolError for text that has no UTF-8."""
    ext = {
        name: value if type(value) is str else text_of(value) for name, value in command.ext.items()
    }
    outgoing = _Outgoing(
        command.code,
        ext,
        command.flag,
        _LANGUAGE_NAMES.get(command.language, "OTHER"),
        command.opaque,
        command.remark or msgspec.UNSET,
        "JSON",
        command.version,
    )
    try:
        return _encoder.encode(outgoing)
    except UnicodeEncodeError as problem:
        raise LocalProtocolError(f"no JSON header for {command!r}") from problem
