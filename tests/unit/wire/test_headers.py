"""Headers: wire names and required fields as the specification's table has them, Java's types."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker_trio.model.codes import RequestCode
from broker_trio.wire import headers
from broker_trio.wire.headers import (
    I32,
    I64,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    SEND_V2_KEYS,
    ConsumerSendMsgBackRequestHeader,
    GetMaxOffsetRequestHeader,
    Header,
    PullMessageRequestHeader,
    PullMessageResponseHeader,
    QueryConsumerOffsetRequestHeader,
    RegisterBrokerRequestHeader,
    SearchOffsetRequestHeader,
    SendMessageRequestHeader,
    SendMessageResponseHeader,
    SendMessageV2RequestHeader,
    UnregisterClientRequestHeader,
    from_ext,
    to_ext,
)

CODES_JSON = Path(__file__).parents[4] / "shared" / "spec" / "codes.json"

# Fields that travel in ext beside the header class (spec §2.1, §2.2, §3.1.7, §3.4, §3.10), and two
# that a broker reads although the code's own table does not list them (common field `bname`, `lo`).
BESIDE_THE_TABLE = {
    "cause",
    "storeId",
    "__ZONE_NAME",
    "__ZONE_MODE",
    "MSG_REGION",
    "TRACE_ON",
    "IS_SUPPORT_HEART_BEAT_V2",
    "IS_SUB_CHANGE",
    "_UNIQUE_KEY_QUERY",
    "bname",
    "lo",
}
# Paging starts at 0 where all three fields are absent (spec §4.1).
OPTIONAL_HERE = {(21, "topicSeq"), (201, "groupSeq")}
# POP, static topics, recall, access control, cleaning, containers, controllers: no header yet.
NOT_YET = {308, 321, 323, 326, 354, 355, 370, 513, 902, 903, 908}
NOT_YET_RANGES = ((1000, 4000), (200050, 200152))

SEND = {
    "producerGroup": "PG",
    "topic": "T1",
    "defaultTopic": "TBW102",
    "defaultTopicQueueNums": "4",
    "queueId": "-1",
    "sysFlag": "0",
    "bornTimestamp": "1700000000000",
    "flag": "0",
}
PULL = {
    "consumerGroup": "CG",
    "topic": "T1",
    "queueId": "0",
    "queueOffset": "9223372036854775807",
    "maxMsgNums": "32",
    "sysFlag": "6",
    "commitOffset": "0",
    "suspendTimeoutMillis": "15000",
    "subVersion": "1700000000000",
    "proxyFrowardClientId": "c@1",
}


def spec_codes() -> list[dict[str, Any]]:
    if not CODES_JSON.exists():
        pytest.skip("the specification is not beside this checkout")
    rows: list[dict[str, Any]] = json.loads(CODES_JSON.read_bytes())["request_codes"]
    return rows


def kind_of(field: msgspec.structs.FieldInfo) -> str:
    kind = field.type
    if (members := getattr(kind, "__args__", None)) and type(None) in members:
        kind = next(member for member in members if member is not type(None))
    names: dict[Any, str] = {str: "string", bool: "boolean", I32: "int", I64: "long"}
    return names[kind]


def compare(code: int, struct: type[Header], listed: list[dict[str, Any]]) -> list[str]:
    """Differences between a struct and the specification's field list, as text."""
    ours = {f.encode_name: f for f in msgspec.structs.fields(struct)}
    theirs = {field["name"]: field for field in listed}
    problems = [f"{code}: {name} is not in the table" for name in ours.keys() - theirs.keys()]
    problems = [p for p in problems if p.split()[1] not in BESIDE_THE_TABLE]
    for name, field in theirs.items():
        if name not in ours:
            problems.append(f"{code}: {name} is missing")
            continue
        if kind_of(ours[name]) != {"BoundaryType": "string"}.get(field["type"], field["type"]):
            problems.append(f"{code}: {name} is a {field['type']} there")
        if ours[name].required != field["required"] and (code, name) not in OPTIONAL_HERE:
            problems.append(f"{code}: {name} required there: {field['required']}")
    return problems


@pytest.mark.parametrize("part", ["request", "response"])
def test_every_struct_has_the_fields_of_the_specification(part: str) -> None:
    """Wire names, types and required flags equal codes.json for every code that has a struct."""
    table = REQUEST_HEADERS if part == "request" else RESPONSE_HEADERS
    problems = []
    for row in spec_codes():
        struct = table.get(row["code"])
        if struct is not None:
            problems += compare(row["code"], struct, row.get(f"{part}_fields", []))
    assert problems == []


@pytest.mark.parametrize("part", ["request", "response"])
def test_no_code_with_fields_lacks_a_struct(part: str) -> None:
    """A code with header fields has a struct, or is in the list of what is not there yet."""
    table = REQUEST_HEADERS if part == "request" else RESPONSE_HEADERS
    lacking = {
        row["code"]
        for row in spec_codes()
        if row.get(f"{part}_fields", []) and row["code"] not in table
    }
    later = {code for code in lacking if any(a <= code < b for a, b in NOT_YET_RANGES)}
    assert lacking - later - NOT_YET == set()


def test_send_v2_letters_name_the_same_fields() -> None:
    """SEND_MESSAGE and SEND_MESSAGE_V2 make equal attributes, and V2 is a SendMessage header."""
    long = from_ext(SEND, SendMessageRequestHeader)
    letters = {wire_name: letter for letter, wire_name in SEND_V2_KEYS.items()}
    short = from_ext({letters[k]: v for k, v in SEND.items()}, SendMessageV2RequestHeader)
    assert isinstance(short, SendMessageRequestHeader)
    assert msgspec.structs.asdict(short) == msgspec.structs.asdict(long)
    assert list(to_ext(short)) == ["a", "b", "c", "d", "e", "f", "g", "h", "k", "m"]


def test_integers_are_decimal_strings() -> None:
    """Decimal strings become ints over the whole range of Java's long, and misspelt names work."""
    header = from_ext(PULL, PullMessageRequestHeader)
    assert header.queue_offset == 2**63 - 1
    assert header.max_msg_nums == 32
    assert header.proxy_forward_client_id == "c@1"


@pytest.mark.parametrize(
    "text", ["2147483648", "-2147483649", "", "x", "9" * 60_000, "1e400", "NaN", "0x10"]
)
def test_what_java_cannot_hold_is_refused_by_name(text: str) -> None:
    """A number outside i32, or none at all, is a ValidationError that names the wire field."""
    with pytest.raises(msgspec.ValidationError, match=r"\$\.queueId"):
        from_ext(PULL | {"queueId": text}, PullMessageRequestHeader)


def test_missing_field_is_named_as_on_the_wire() -> None:
    """A missing required field is a ValidationError with the wire name."""
    fields = {name: value for name, value in PULL.items() if name != "subVersion"}
    with pytest.raises(msgspec.ValidationError, match="subVersion"):
        from_ext(fields, PullMessageRequestHeader)
    with pytest.raises(msgspec.ValidationError, match="clientID"):
        from_ext({"clientId": "c"}, UnregisterClientRequestHeader)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("true", True),
        ("TRUE", True),
        ("True", True),
        (True, True),
        ("false", False),
        (False, False),
        ("1", False),
        ("yes", False),
        ("", False),
        (1, False),
        ([], False),
    ],
)
def test_booleans_are_java_s(text: object, meaning: bool) -> None:
    """`true` in any case of letters is true, everything else false, required or not."""
    assert from_ext(SEND | {"batch": text}, SendMessageRequestHeader).batch is meaning
    fields = {"consumerGroup": "g", "topic": "t", "queueId": "0", "setZeroIfNotFound": text}
    header = from_ext(fields, QueryConsumerOffsetRequestHeader)
    assert header.set_zero_if_not_found is meaning


def test_absent_booleans_take_their_default() -> None:
    """`committed` is true unless said otherwise; a tri-state boolean stays None."""
    assert from_ext({"topic": "t", "queueId": "1"}, GetMaxOffsetRequestHeader).committed is True
    fields = {"brokerName": "b", "brokerAddr": "a", "clusterName": "c", "haServerAddr": "h"}
    header = from_ext(fields | {"brokerId": "0"}, RegisterBrokerRequestHeader)
    assert header.enable_acting_master is None
    assert header.compressed is False


def test_the_ext_of_the_caller_is_left_alone() -> None:
    """Signatures cover ext as received: conversion does not write into it."""
    ext = SEND | {"batch": "yes"}
    from_ext(ext, SendMessageRequestHeader)
    assert ext["batch"] == "yes"


def test_unknown_fields_pass() -> None:
    """What a newer client adds is ignored."""
    header = from_ext(
        {"consumerGroup": "g", "ReqT": "0"}, headers.GetConsumerListByGroupRequestHeader
    )
    assert header.consumer_group == "g"


def test_cbor_values_need_no_strings() -> None:
    """Real ints and booleans, as CBOR commands carry them, make the same header."""
    native = {"offset": 7, "group": "g", "delayLevel": 0, "unitMode": True}
    text = {"offset": "7", "group": "g", "delayLevel": "0", "unitMode": "true"}
    expected = from_ext(text, ConsumerSendMsgBackRequestHeader)
    assert from_ext(native, ConsumerSendMsgBackRequestHeader) == expected


def test_boundary_type_is_read_in_any_case() -> None:
    """LOWER is the default, `upper` works as well as UPPER."""
    fields = {"topic": "t", "queueId": "0", "timestamp": "5"}
    assert from_ext(fields, SearchOffsetRequestHeader).upper is False
    assert from_ext(fields | {"boundaryType": "upper"}, SearchOffsetRequestHeader).upper is True


def test_to_ext_writes_strings_and_leaves_none_out() -> None:
    """Go refuses a value that is not a string; None has no place on the wire."""
    header = SendMessageResponseHeader(msg_id="A", queue_id=0, queue_offset=9, trace_on=False)
    assert to_ext(header) == {
        "msgId": "A",
        "queueId": "0",
        "queueOffset": "9",
        "TRACE_ON": "false",
    }
    pulled = PullMessageResponseHeader(
        suggest_which_broker_id=0, next_begin_offset=-1, min_offset=0, max_offset=2**40
    )
    assert from_ext(to_ext(pulled), PullMessageResponseHeader) == pulled


def test_every_header_survives_the_wire() -> None:
    """from_ext(to_ext(h)) is h for every struct, with every field set."""
    samples: dict[Any, object] = {str: "s", bool: True, I32: -(2**31), I64: 2**63 - 1}
    for struct in {*REQUEST_HEADERS.values(), *RESPONSE_HEADERS.values()}:
        values = {}
        for field in msgspec.structs.fields(struct):
            members = getattr(field.type, "__args__", ())
            kind = members[0] if type(None) in members else field.type
            values[field.name] = samples[kind]
        header = struct(**values)
        assert from_ext(to_ext(header), struct) == header, struct


def test_codes_of_the_table_are_known() -> None:
    """Every key is a RequestCode, so that a Route can be made of it."""
    assert all(isinstance(code, RequestCode) for code in REQUEST_HEADERS | RESPONSE_HEADERS)
