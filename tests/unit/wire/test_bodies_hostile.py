"""Every decoder, fed with damaged, random and foreign bytes: a value or RemoteProtocolError."""

import random
from collections.abc import Callable
from importlib import import_module

import msgspec
import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.topic import DataVersion
from broker_trio.wire import cbor
from broker_trio.wire.bodies import codec, shape
from broker_trio.wire.bodies.route import KVTable
from broker_trio.wire.command import Serialize

MODULES = ("client", "connection", "group", "heartbeat", "lock", "offsets", "route", "stats")
ALPHABET = b"{}[]:,\"'0123456789.-eE$refnulltrue \\u\xff"


def kinds() -> list[type[msgspec.Struct]]:
    """Every body struct of every module."""
    found: dict[type[msgspec.Struct], None] = {}
    for name in (*MODULES, "topic_config", "register", "config_files"):
        module = import_module(f"broker_trio.wire.bodies.{name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, msgspec.Struct):
                found[value] = None
    found.pop(msgspec.Struct, None)
    return list(found)


def sample(kind: object, rng: random.Random) -> object:
    """A random tree that looks like `kind`, with wrong types here and there."""
    if rng.random() < 0.1:
        return rng.choice([None, True, 7, -(2**70), 1.5, "7", "x", [], {}, [[]], {"$ref": "$.x"}])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return {f.encode_name: sample(f.type, rng) for f in fields if rng.random() < 0.9}
    arguments = getattr(kind, "__args__", ())
    if getattr(kind, "__origin__", None) is dict:
        return {str(rng.randrange(9)): sample(arguments[1], rng) for _ in range(2)}
    if arguments:
        return [sample(arguments[0], rng) for _ in range(2)]
    return {int: 5, float: 0.5, bool: True, str: "text"}.get(kind, {"any": [1]})  # type: ignore[call-overload]


def decode_all(data: bytes, kind: type[msgspec.Struct]) -> int:
    """How many serialisations made a value of it; what did is writable again."""
    made = 0
    for serialize in (Serialize.JSON, Serialize.CBOR):
        try:
            value = codec.decode_body(data, serialize, kind)
        except RemoteProtocolError:
            continue
        made += 1
        codec.encode_body(value, serialize)
        codec.encode_body(value, Serialize.JSON, bare_keys=True)
    return made


@pytest.mark.parametrize("seed", range(4))
def test_trees_of_about_the_right_form(seed: int) -> None:
    """Wrong types inside right structures, as JSON and as CBOR."""
    rng = random.Random(seed)
    made = 0
    for kind in kinds():
        for _ in range(5):
            tree = sample(kind, rng)
            made += decode_all(msgspec.json.encode(tree), kind)
            try:
                made += decode_all(cbor.dumps(tree), kind)
            except (OverflowError, ValueError):
                continue
    assert made > 100, "most samples were refused: they test too little"


@pytest.mark.parametrize("seed", range(4))
def test_texts_of_the_right_letters(seed: int) -> None:
    """Random text of JSON's own characters, and random bytes."""
    rng = random.Random(seed)
    some = rng.sample(kinds(), 8)
    for _ in range(100):
        text = bytes(rng.choice(ALPHABET) for _ in range(rng.randrange(40)))
        decode_all(text, rng.choice(some))
        decode_all(rng.randbytes(rng.randrange(40)), rng.choice(some))


@pytest.mark.parametrize(
    "data",
    [
        b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that contains itself
        b"\xc2\x49" + b"\xff" * 9,  # a bignum
        b"\xa1\x61a\xd8\x23\x61(",  # a regular expression
        b"\x81" * 5000,
        b"\x9b" + b"\xff" * 8,
        b"\xbf" * 3000,
        b"\xf7",
    ],
)
def test_cbor_that_is_more_than_data(data: bytes) -> None:
    """Tags, depth and absurd lengths never get further than the codec."""
    for kind in kinds():
        with pytest.raises(RemoteProtocolError):
            codec.decode_body(data, Serialize.CBOR, kind)


@pytest.mark.parametrize(
    "data",
    [
        b'{"table":{"\\ud800":"\\udc00"}}',
        b"{table:{'\\ud800':'\\udc00'}}",
        b'{"table":{"a":"\xed\xa0\x80"}}',
        b'{"table":{"a":"\x00"},}',
    ],
)
def test_text_that_is_no_unicode(data: bytes) -> None:
    """Half a surrogate pair is replaced or refused, so that it can be written again."""
    decode_all(data, KVTable)


def test_reading_bends_scalars() -> None:
    """The table in shape.py, row by row."""
    read: Callable[..., object] = shape.read
    assert [read(int, tree) for tree in ("7", 7.0, True, -(2**63))] == [7, 7, 1, -(2**63)]
    assert [read(float, tree) for tree in ("0.5", 3, 0.25)] == [0.5, 3.0, 0.25]
    trees = ("TRUE", "1", 1, True, "yes", 0, "", 2)
    assert [read(bool, tree) for tree in trees] == [True, True, True, True] + [False] * 4
    assert [read(str, tree) for tree in (7, 0.5, True, False)] == ["7", "0.5", "true", "false"]
    assert read(list[int], ["1", None, 2]) == [1, 2]
    assert read(frozenset[str], ["a", 1, "a"]) == {"a", "1"}
    assert read(dict[int, str], {"1": 2, "3": None}) == {1: "2"}


@pytest.mark.parametrize(
    ("kind", "tree"),
    [
        (int, 2**63),
        (int, "1" * 21),
        (int, float("inf")),
        (int, "\u0663x"),
        (float, float("nan")),
        (float, "1e400"),
        (float, 10**400),
        (float, None),
        (bool, []),
        (str, 2**64),
        (str, b"x"),
        (list[int], "ab"),
        (dict[str, int], [1]),
    ],
)
def test_reading_refuses_the_rest(kind: object, tree: object) -> None:
    """A wrong type or an absurd number names its place."""
    with pytest.raises(RemoteProtocolError, match=r"^\$: expected"):
        shape.read(kind, tree)


@pytest.mark.parametrize(
    ("body", "serialize"),
    [
        (b" " * (4 << 20) + b"{}", Serialize.JSON),
        (b"{'a':[" + b"1," * 100_001 + b"]}", Serialize.JSON),
        (b"\x9a\0\1\x86\xa1" + b"\x80" * 100_001, Serialize.CBOR),
    ],
    ids=["bytes", "values", "containers"],
)
def test_a_request_says_less_than_an_answer_may(body, serialize):
    """Its limits are those of a stranger; the same tree in an answer or a file is read."""
    with pytest.raises(RemoteProtocolError, match=r"4194304|100000"):
        codec.decode_request(body, serialize, DataVersion)
    try:
        codec.decode_body(body, serialize, DataVersion)
    except RemoteProtocolError as problem:
        assert "expected an object" in str(problem)  # noqa: PT017 -- of the list: it was read
