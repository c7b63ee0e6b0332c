"""Headers in three serialisations: golden bytes, what is tolerated, what is refused."""

import json
import struct

import cbor2
import pytest

from broker_trio.model.codes import LanguageCode, RequestCode
from broker_trio.model.errors import LocalProtocolError, RemoteProtocolError
from broker_trio.wire.command import RESPONSE, Command, Serialize
from broker_trio.wire.serialize import (
    FRAME_SIZE_MAX,
    decode_header,
    encode,
    encode_head,
    encode_parts,
)
from tests.unit.wire.vectors import (
    JSON_REQUEST,
    JSON_REQUEST_FRAME,
    JSON_RESPONSE_HEADER,
    ROCKETMQ_COMMAND,
    ROCKETMQ_FRAME,
)

JSON, ROCKETMQ, CBOR = Serialize
POP_CODES = {
    200050: 3442, 200051: 3443, 200052: 3444, 200053: 3445, 200054: 3446, 200055: 3447,
    200056: 3448, 200151: 3543,
}  # fmt: skip


def header_of(command):
    return encode_head(command, 0)[8:]


def test_golden_rocketmq_frame():
    """The specification's binary frame is made byte for byte."""
    assert encode(ROCKETMQ_COMMAND) == ROCKETMQ_FRAME


def test_golden_json_request():
    """The specification's JSON request frame is made byte for byte."""
    assert encode(JSON_REQUEST) == JSON_REQUEST_FRAME


def test_golden_json_response():
    """Ours is the specification's response header with an empty extFields, which producers need."""
    response = Command(0, opaque=7, flag=1, language=0, version=0)
    assert header_of(response).replace(b'"extFields":{},', b"") == JSON_RESPONSE_HEADER
    assert decode_header(JSON, JSON_RESPONSE_HEADER) == response


@pytest.mark.parametrize("serialize", Serialize)
def test_round_trip(serialize):
    """A command with everything in it comes back equal."""
    command = Command(
        310, -2147483648, 1, {"a": "ä\x01\x02", "topic": "T"}, b"body", "注意", 9, 481, serialize
    )
    assert decode_header(serialize, header_of(command), b"body") == command


@pytest.mark.parametrize("serialize", [JSON, ROCKETMQ])
def test_typed_values_become_text(serialize):
    """Integers and booleans are written as text where Java expects text."""
    command = Command(0, ext={"n": 7, "yes": True, "no": False}, serialize=serialize)
    expected = {"n": "7", "yes": "true", "no": "false"}
    assert expected == decode_header(serialize, header_of(command)).ext


def test_cbor_keeps_types():
    """In CBOR an integer stays an integer and a boolean a boolean, in a map with integer keys."""
    command = Command(11, 5, 2, {"n": 2**40, "yes": True, "s": "t"}, remark="r", serialize=CBOR)
    header = header_of(command)
    assert cbor2.loads(header) == {
        0: 11, 1: LanguageCode.PYTHON, 2: 481, 3: 5, 4: 2, 5: "r",
        6: {"n": 2**40, "yes": True, "s": "t"},
    }  # fmt: skip
    assert decode_header(CBOR, header) == command


@pytest.mark.parametrize(("code", "short"), POP_CODES.items())
def test_pop_codes_survive_the_binary_header(code, short):
    """Requests 200050 and above travel in 16 bits and are mapped back; responses are not."""
    header = header_of(Command(code, serialize=ROCKETMQ))
    assert struct.unpack_from(">h", header) == (short,)
    assert decode_header(ROCKETMQ, header).code == code
    response = header_of(Command(short, flag=1, serialize=ROCKETMQ))
    assert decode_header(ROCKETMQ, response).code == short


def test_no_other_code_is_mapped():
    """The eight POP codes are all request codes beyond 16 bits, and no request uses their place."""
    assert set(POP_CODES) == {code for code in RequestCode if code > 0x7FFF}
    assert not {code for code in RequestCode if code in POP_CODES.values()}


@pytest.mark.parametrize("code", [-1006, 26000, 26999])
def test_negative_and_our_own_codes_fit(code):
    """Response codes below zero and 26000 to 26999 survive each serialisation."""
    for serialize in Serialize:
        header = header_of(Command(code, flag=1, serialize=serialize))
        assert decode_header(serialize, header).code == code


TOLERATED = [
    (b"{}", Command(0, language=0, version=0)),
    (b'{"code":10,"extFields":null,"remark":null}', Command(10, language=0, version=0)),
    (b'{"code":10,"extFields":{"q":3,"b":true,"n":null}}',
     Command(10, ext={"q": "3", "b": "true"}, language=0, version=0)),
    (b'{"code":10,"extFields":{"f":1.5,"o":{"a":[1]}}}',
     Command(10, ext={"f": "1.5", "o": '{"a":[1]}'}, language=0, version=0)),
    (b'{"code":"10","opaque":"7"}', Command(10, opaque=7, language=0, version=0)),
    (b"{'code':10,extFields:{topic:'T',},}",
     Command(10, ext={"topic": "T"}, language=0, version=0)),
    (b'{"language":"COBOL"}', Command(0, language=LanguageCode.OTHER, version=0)),
    (b'{"language":null}', Command(0, language=LanguageCode.OTHER, version=0)),
    (b'{"language":9}', Command(0, language=LanguageCode.GO, version=0)),
    (b'{"unknown":[{"deep":1}],"code":3}', Command(3, language=0, version=0)),
    (b'{"extFields":{"i":"\xff"}}', Command(0, ext={"i": "\ufffd"}, language=0, version=0)),
    (b'{"extFields":{"i":"\\ud800"}}', Command(0, ext={"i": "\ufffd"}, language=0, version=0)),
    (b'{"extFields":{7:"x"}}', Command(0, ext={"7": "x"}, language=0, version=0)),
]  # fmt: skip


@pytest.mark.parametrize(("header", "expected"), TOLERATED)
def test_tolerated_json(header, expected):
    """What fastjson reads we read: missing members, numbers for strings, odd quotes, bad UTF-8."""
    assert expected == decode_header(JSON, header)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"7",
        b"null",
        b'{"code":1e3000}',
        b'{"code":2147483648}',
        b'{"opaque":"x"}',
        b'{"extFields":[]}',
        b'{"extFields":"x"}',
        b'{"remark":{}}',
        b'{"language":[]}',
        b'{"code":1}x',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"extFields":{"a":' + b"[" * 500 + b"]" * 500 + b"}}",
    ],
)
def test_refused_json(header):
    """No object, integers beyond 32 bits, other types, endless nesting: RemoteProtocolError."""
    with pytest.raises(RemoteProtocolError):
        decode_header(JSON, header)


def binary(*, remark=b"", remark_size=None, entries=b"", size=None, extra=b""):
    fixed = struct.pack(">hBhii", 10, 0, 0, 1, 0)
    remark_size = len(remark) if remark_size is None else remark_size
    size = len(entries) if size is None else size
    return (
        fixed + struct.pack(">i", remark_size) + remark + struct.pack(">i", size) + entries + extra
    )


def entry(name, value, *, name_size=None, value_size=None):
    name_size = len(name) if name_size is None else name_size
    value_size = len(value) if value_size is None else value_size
    return struct.pack(">h", name_size) + name + struct.pack(">i", value_size) + value


@pytest.mark.parametrize(
    ("header", "ext"),
    [
        (binary(), {}),
        (binary(entries=entry(b"a", b"1") + entry(b"topic", b"T")), {"a": "1", "topic": "T"}),
        (binary(entries=entry(b"a", b"") + entry(b"b", b"1")), {"b": "1"}),
        (binary(entries=entry(b"a", b"1"), extra=b"\xff" * 9), {"a": "1"}),
        (binary(entries=entry(b"a", b"\xff") + entry("ä".encode(), b"1")),
         {"a": "\ufffd", "ä": "1"}),
        (binary(entries=entry(b"\xff", b"1")), {"\ufffd": "1"}),
        (binary(entries=entry(b"a", b"x" * 300)), {"a": "x" * 300}),
    ],
)  # fmt: skip
def test_tolerated_binary(header, ext):
    """Empty values mean null, bytes after the fields are ignored, bad UTF-8 is replaced."""
    assert ext == decode_header(ROCKETMQ, header).ext


@pytest.mark.parametrize(
    "header",
    [
        b"",
        binary()[:-1],
        binary(remark_size=-1),
        binary(remark_size=1),
        binary(remark_size=2**31 - 1),
        binary(size=-1),
        binary(size=1),
        binary(size=2**31 - 1),
        binary(entries=b"\0\1a\0\0\0"),
        binary(entries=entry(b"", b"x")),
        binary(entries=entry(b"a", b"x", name_size=-1)),
        binary(entries=entry(b"a", b"x", name_size=32767)),
        binary(entries=entry(b"a", b"x", value_size=-5)),
        binary(entries=entry(b"a", b"x", value_size=2)),
        binary(entries=entry(b"a", b"x", value_size=2), extra=b"y"),
        binary(entries=entry(b"a", b"x", value_size=2**31 - 1)),
        binary(entries=entry(b"topic", b"x", value_size=2**31 - 1)),
    ],
)
def test_refused_binary(header):
    """Lengths that are negative or reach beyond their part: RemoteProtocolError."""
    with pytest.raises(RemoteProtocolError):
        decode_header(ROCKETMQ, header)


@pytest.mark.parametrize(
    ("header", "ext"),
    [
        ({}, {}),
        ({6: None}, {}),
        ({6: {"a": None, "b": 1}}, {"b": 1}),
        ({99: [1, {2: 3}], 6: {"a": -(2**63)}}, {"a": -(2**63)}),
    ],
)
def test_tolerated_cbor(header, ext):
    """Missing members take defaults, null fields are left out, unknown keys are ignored."""
    assert ext == decode_header(CBOR, cbor2.dumps(header)).ext


@pytest.mark.parametrize(
    "header",
    [
        [], 7, None, {0: "10"}, {0: 2**31}, {3: -(2**31) - 1}, {4: 1.0}, {5: 7}, {6: []},
        {6: {1: "x"}}, {6: {"a": 1.5}}, {6: {"a": []}}, {6: {"a": b"x"}}, {6: {"a": 2**63}},
        {6: {"a": {}}},
    ],
)  # fmt: skip
def test_refused_cbor(header):
    """Other types than the fixed ones, and integers beyond their width: RemoteProtocolError."""
    with pytest.raises(RemoteProtocolError):
        decode_header(CBOR, cbor2.dumps(header))


def test_unknown_serialisation():
    """A serialisation byte beyond ours is refused."""
    with pytest.raises(RemoteProtocolError, match="serialisation 3"):
        decode_header(3, b"{}")


def test_parts_are_not_joined():
    """The buffers of a body are passed on as they are, and the frame's length counts them."""
    command = Command(0, flag=1, serialize=ROCKETMQ)
    body = [b"abc", b"", b"defg"]
    head, *rest = encode_parts(command, body)
    assert all(sent is given for sent, given in zip(rest, body, strict=True))
    command.body = b"abcdefg"
    assert head + b"".join(rest) == encode(command)
    assert encode_parts(command, b"abcdefg") == [head, b"abcdefg"]
    assert b"".join(encode_parts(command, b"")) == encode(Command(0, flag=1, serialize=ROCKETMQ))


def test_json_values_are_strings():
    """Go's client refuses a command with anything else in extFields."""
    header = json.loads(header_of(Command(0, ext={"queueId": 3, "ok": True})))
    assert header["extFields"] == {"queueId": "3", "ok": "true"}
    assert "remark" not in header


@pytest.mark.parametrize(
    "command",
    [
        Command(200_000, serialize=ROCKETMQ),
        Command(10, opaque=2**31, serialize=ROCKETMQ),
        Command(10, language=256, serialize=ROCKETMQ),
        Command(10, ext={"a": object()}, serialize=CBOR),
        Command(10, ext={"a": "\ud800"}, serialize=JSON),
        Command(10, remark="\ud800", serialize=CBOR),
        Command(10, body=b"x" * FRAME_SIZE_MAX),
    ],
)
def test_what_cannot_be_said(command):
    """A value that does not fit its field, or a frame that peers refuse: LocalProtocolError."""
    with pytest.raises(LocalProtocolError):
        encode(command)


def test_the_largest_frame():
    """A frame of exactly 16 MiB can be made."""
    room = FRAME_SIZE_MAX - len(encode_head(Command(10), 0))
    assert len(encode_head(Command(10), room)) + room == FRAME_SIZE_MAX
    with pytest.raises(LocalProtocolError):
        encode_head(Command(10), room + 1)


def test_a_field_without_a_name_is_left_out_of_a_binary_header():
    """JSON and CBOR can say it, and a broker relays what its clients say; no reader takes it."""
    command = Command(0, 1, RESPONSE, {"": "x", "a": "1", "n" * 300: "2"})
    command.serialize = Serialize.ROCKETMQ
    read = decode_header(Serialize.ROCKETMQ, encode(command)[8:])
    assert read.ext == {"a": "1", "n" * 300: "2"}
