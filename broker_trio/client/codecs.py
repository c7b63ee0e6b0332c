"""Bodies that are values: how they become bytes on one side, and values again on the other.

    await mq.send("orders", order, codec=Json(Order))       message.decode(Json(Order))

`RAW` and `TEXT` are what a body without a codec is. `Json` and `Msgpack` take any type that msgspec
knows, also a dataclass; `Pydantic` any model, without this package depending on it. A codec of your
own is any object with the two methods.
"""

from typing import Any, Final, Generic, Protocol, Self, TypeVar, final

import msgspec

from broker_trio.client.errors import ClientError, MessageIllegal

T = TypeVar("T")


class BodyUnreadable(ClientError):
    """A body that is not what the codec expects: the message is not this program's, or older."""


class Codec(Protocol[T]):
    """Both directions. Whatever it raises reaches the caller as it is."""

    def encode(self, value: T, /) -> bytes: ...

    def decode(self, body: bytes, /) -> T: ...


@final
class Raw:
    """Bytes as they are."""

    def encode(self, value: bytes, /) -> bytes:
        return value

    def decode(self, body: bytes, /) -> bytes:
        return body


@final
class Text:
    """Text as UTF-8."""

    def encode(self, value: str, /) -> bytes:
        return value.encode()

    def decode(self, body: bytes, /) -> str:
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise BodyUnreadable(f"not UTF-8: {error}") from error


@final
class Json(Generic[T]):
    """JSON of a type that msgspec knows: structs, dataclasses, typed dicts, builtins."""

    def __init__(self, kind: type[T]) -> None:
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(kind)

    def encode(self, value: T, /) -> bytes:
        try:
            return self._encoder.encode(value)
        except TypeError as error:
            raise MessageIllegal(f"no JSON for this body: {error}") from error

    def decode(self, body: bytes, /) -> T:
        try:
            return self._decoder.decode(body)
        except msgspec.DecodeError as error:
            raise BodyUnreadable(f"not the JSON that is expected: {error}") from error


@final
class Msgpack(Generic[T]):
    """MessagePack of a type that msgspec knows; smaller than JSON."""

    def __init__(self, kind: type[T]) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)

    def encode(self, value: T, /) -> bytes:
        try:
            return self._encoder.encode(value)
        except TypeError as error:
            raise MessageIllegal(f"no MessagePack for this body: {error}") from error

    def decode(self, body: bytes, /) -> T:
        try:
            return self._decoder.decode(body)
        except msgspec.DecodeError as error:
            raise BodyUnreadable(f"not the MessagePack that is expected: {error}") from error


class Model(Protocol):
    """What `Pydantic` needs of a model: version 2 of that library has it."""

    def model_dump_json(self) -> str: ...

    @classmethod
    def model_validate_json(cls, json_data: bytes, /) -> Self: ...


M = TypeVar("M", bound=Model)


@final
class Pydantic(Generic[M]):
    """JSON of a pydantic model, checked by it on the way in."""

    def __init__(self, model: type[M]) -> None:
        self._model = model

    def encode(self, value: M, /) -> bytes:
        return value.model_dump_json().encode()

    def decode(self, body: bytes, /) -> M:
        try:
            return self._model.model_validate_json(body)
        except ValueError as error:
            raise BodyUnreadable(f"not a {self._model.__name__}: {error}") from error


RAW: Final = Raw()
TEXT: Final = Text()
JSON: Final[Json[Any]] = Json[Any](object)
"""JSON of builtins: dict, list, str, int, float, bool and None."""
