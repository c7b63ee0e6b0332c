"""Bodies as values: both directions, and what is told where a body is something else."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

from broker_trio.client.codecs import (
    JSON,
    RAW,
    TEXT,
    BodyUnreadable,
    Codec,
    Json,
    Msgpack,
    Pydantic,
)
from broker_trio.client.errors import MessageIllegal


class Struct(msgspec.Struct):
    number: int


@dataclass
class Data:
    number: int


class Model(pydantic.BaseModel):
    number: int


@pytest.mark.parametrize(
    ("codec", "value", "body"),
    [
        (RAW, b"\x00\xff", b"\x00\xff"),
        (TEXT, "grün", "grün".encode()),
        (JSON, {"a": [1, None]}, b'{"a":[1,null]}'),
        (Json(Struct), Struct(7), b'{"number":7}'),
        (Json(Data), Data(7), b'{"number":7}'),
        (Json(list[int]), [1, 2], b"[1,2]"),
        (Msgpack(Struct), Struct(7), b"\x81\xa6number\x07"),
        (Pydantic(Model), Model(number=7), b'{"number":7}'),
    ],
)
def test_values_and_bodies(codec: Codec[Any], value: object, body: bytes):
    """There and back."""
    assert codec.encode(value) == body
    assert codec.decode(body) == value


@pytest.mark.parametrize(
    ("codec", "body", "said"),
    [
        (TEXT, b"\xff", "not UTF-8"),
        (JSON, b"{", "not the JSON that is expected"),
        (Json(Struct), b'{"number":"x"}', r"Expected `int`, got `str`"),
        (Msgpack(Struct), b"\xc1", "not the MessagePack"),
        (Pydantic(Model), b'{"number":"x"}', "not a Model"),
    ],
)
def test_bodies_of_another_kind(codec: Codec[Any], body: bytes, said: str):
    """One error for all codecs, with what the library says."""
    with pytest.raises(BodyUnreadable, match=said):
        codec.decode(body)


@pytest.mark.parametrize("codec", [JSON, Msgpack(object)])
def test_values_that_have_no_body(codec: Codec[Any]):
    """Told before anything is sent."""
    with pytest.raises(MessageIllegal, match="for this body"):
        codec.encode(object())
