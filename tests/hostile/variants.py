"""Hostile headers and bodies, made from a program's own dispatch table.

    plausible(route)     header fields that a real client might send, all about things called
                         "hostile", so that no good client loses anything
    headers(route)       each field in turn missing, empty, absurd, of another type, in each
                         serialisation that can say so
    bodies(route)        of routes that read one: empty, garbage, cut, deep, wide, wrong types,
                         references in a circle; every member of a valid body replaced in turn

What a field is worth trying with follows from its type in the header struct, so that a new route is
attacked without a change here.
"""

import itertools
import json
import random
import zlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import cbor2

from broker_trio.model.codes import RequestCode
from broker_trio.remoting.dispatch import Route
from broker_trio.wire.batch import BatchItem, encode_batch
from broker_trio.wire.command import Serialize
from broker_trio.wire.headers.base import wire_names
from tests.hostile.programs import frame

HUGE: Final = "x" * (60 << 10)
ILLEGAL_NAMES: Final = (
    "", " ", ".", "..", "../x", "a/b", "/etc/passwd", "a/../../x", "..\\x", "a\0b", "\0", "a\nb",
    "a\r\nb", "\x1b[2J", "\x01\x02", "a.b", "ü", "\U0001f600", "\u202egnp", "a b", "x" * 128,
    "%RETRY%../x", "%RETRY%a/b", "%DLQ%../x", "%LMQ%../x", "%RETRY%" + "x" * 256, HUGE,
)  # fmt: skip
"""No topic may have any of them; `x` * 128 is legal for nobody but retry topics."""

NUMBERS: Final = (
    "0", "-1", "1", "17", "2147483647", "2147483648", "-2147483648", "-2147483649",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808",
)  # fmt: skip
TEXTS: Final = (
    *ILLEGAL_NAMES, *NUMBERS, "9" * 400, "1e9", "0x10",
    "1_0", "+1", " 1", "1.0", "NaN", "true", "TRUE", "yes", "null", "{}", "$ref", "\uff11",
    "TBW102", "SCHEDULE_TOPIC_XXXX", "%RETRY%", "%DLQ%", "%RETRY%hostile", "rmq_sys_x",
    "DefaultCluster", "DELAY\x01999999\x02", "TRAN_MSG\x01true\x02", "TAGS\x01\x02", "a=b\n",
    "*||||*", "a||" * 5_000, "SQL92", "+message.type=FIFO", "-x,+y", "7F00000100002A9F" + "F" * 16,
)  # fmt: skip
"""Values of a field as text, for any type."""

TYPED: Final = (
    None, True, False, 0, -1, 2**31, -(2**63), 2**63 - 1, [], [1], {}, {"a": 1}, [[[[]]]], "text",
)  # fmt: skip
CBOR_ONLY: Final = (1.5, float("nan"), b"bytes", 2**64 - 1, cbor2.undefined, {1: 2}, [b""])
"""Values of other types: JSON headers take them as text, CBOR headers as they are."""

NAMES: Final = {
    "topic": "hostile", "consumerGroup": "hostile", "producerGroup": "hostile", "group": "hostile",
    "groupName": "hostile", "srcGroup": "hostile", "destGroup": "hostile2", "subscription": "*",
    "defaultTopic": "TBW102", "topicFilterType": "SINGLE_TAG", "properties": "KEYS\x01k\x02",
    "brokerName": "hostile", "brokerAddr": "10.9.9.9:10911", "clusterName": "hostile", "key": "k",
    "cluster": "hostile", "haServerAddr": "10.9.9.9:10912", "clientId": "hostile", "value": "v",
    "clientID": "hostile", "namespace": "hostile", "statsName": "TOPIC_PUT_NUMS", "msgId": "00",
    "perm": "6", "readQueueNums": "2", "writeQueueNums": "2", "maxMsgNums": "32",
    "suspendTimeoutMillis": "10", "expressionType": "TAG", "sysFlag": "4", "maxNum": "32",
    "a": "hostile", "b": "hostile", "c": "TBW102", "d": "2", "f": "0", "i": "KEYS\x01k\x02",
}  # fmt: skip
LEFT_OUT: Final = frozenset({"j", "l", "reconsumeTimes", "maxReconsumeTimes", "bodyCrc32"})
SUBSCRIPTION: Final = {
    "topic": "hostile", "subString": "a || b", "subVersion": 7, "tagsSet": ["a", "b"],
    "codeSet": [97, 98], "expressionType": "TAG", "classFilterMode": False,
}  # fmt: skip
QUEUE: Final = {"topic": "hostile", "brokerName": "b0", "queueId": 0}
TOPIC: Final = {
    "topicName": "hostile", "readQueueNums": 2, "writeQueueNums": 2, "perm": 6, "order": False,
    "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "attributes": {"message.type": "FIFO"},
}  # fmt: skip
GROUP: Final = {
    "groupName": "hostile", "retryQueueNums": 1, "retryMaxTimes": 16, "consumeEnable": True,
    "attributes": {"a": "b"}, "subscriptionDataSet": [{"topic": "hostile", "expression": "*"}],
    "groupRetryPolicy": {"type": "CUSTOMIZED", "customizedRetryPolicy": {"next": [1, 2]}},
}  # fmt: skip
VERSION: Final = {"stateVersion": 0, "timestamp": 1, "counter": 1}
WRAPPER: Final = {
    "dataVersion": VERSION, "topicConfigTable": {"hostile": TOPIC, "hostile2": TOPIC},
    "topicQueueMappingInfoMap": {"hostile": {"topic": "hostile", "bname": "hostile"}},
}  # fmt: skip

TREES: Final[dict[int, Any]] = {
    RequestCode.HEART_BEAT: {
        "clientID": "hostile", "heartbeatFingerprint": 0, "withoutSub": False,
        "producerDataSet": [{"groupName": "hostile"}],
        "consumerDataSet": [
            {
                "groupName": "hostile", "consumeType": "CONSUME_PASSIVELY",
                "messageModel": "CLUSTERING", "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
                "unitMode": False, "subscriptionDataSet": [SUBSCRIPTION],
            }
        ],
    },
    RequestCode.LOCK_BATCH_MQ: {
        "clientId": "hostile", "consumerGroup": "hostile", "mqSet": [QUEUE], "onlyThisBroker": True,
    },
    RequestCode.UPDATE_AND_CREATE_TOPIC_LIST: {"topicConfigList": [TOPIC]},
    RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: GROUP,
    RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: {"groupConfigList": [GROUP]},
    RequestCode.CHECK_CLIENT_CONFIG: {
        "clientId": "hostile", "group": "hostile", "subscriptionData": SUBSCRIPTION,
    },
    RequestCode.REGISTER_BROKER: {
        "topicConfigSerializeWrapper": WRAPPER, "filterServerList": ["hostile"],
    },
    RequestCode.QUERY_DATA_VERSION: VERSION,
    RequestCode.REGISTER_TOPIC_IN_NAMESRV: {
        "queueDatas": [{"brokerName": "hostile", "readQueueNums": 1, "perm": 6}],
        "brokerDatas": [{"cluster": "c", "brokerName": "hostile", "brokerAddrs": {"0": "a:1"}}],
        "filterServerTable": {},
    },
}  # fmt: skip
TREES[RequestCode.UNLOCK_BATCH_MQ] = TREES[RequestCode.LOCK_BATCH_MQ]
"""Valid bodies of the codes that read one, as trees."""

BATCH: Final = encode_batch(BatchItem(n, b"body", b"KEYS\x01k\x02") for n in range(3))
RAW: Final[dict[int, bytes]] = {
    RequestCode.SEND_MESSAGE: b"body",
    RequestCode.SEND_MESSAGE_V2: b"body",
    RequestCode.SEND_BATCH_MESSAGE: BATCH,
    RequestCode.UPDATE_BROKER_CONFIG: b"regionId=DefaultRegion\nunknown=1\n",
    RequestCode.UPDATE_NAMESRV_CONFIG: b"returnOrderTopicConfigToBroker=true\n",
}
"""Valid bodies of another kind."""

MEMBERS: Final = (
    None, "", "-1", "x" * 70_000, "../x", "a\0b", True, 0, -1, 2**31, 2**63 - 1, 1.5, 1e300, [], {},
    [[]], [None], {"$ref": "$"}, {"$ref": ".."}, {"a": {"b": {}}}, [0] * 3_000,
)  # fmt: skip
"""What a member of a body is replaced by. 2**63 and beyond do not exist in Java."""

GARBAGE: Final = (
    b"", b"\0", b" ", b"null", b"[]", b"{}", b"{", b'"', b"[" * 100_000, b'{"a":' * 50_000,
    b"[" + b"{}," * 50_000 + b"{}]", b"'" + b"\\" * 1_001, b"9" * 5_000, b"-", b"1e999999",
    b'{"a":{"$ref":"$.b"},"b":{"$ref":"$.a"}}', b'{"$ref":"$"}', b'{{"$ref":"$.a"}:1}',
    b"\xff" * 64,
    bytes(range(256)), b"\x9f" * 3_000, b"\xbf" * 300, b"\x81" * 100_000, b"\xd8\x1c\x80",
    b"\xc2\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff", zlib.compress(b"\0" * (1 << 20)), b"\x80" * 50_000,
    b"GET / HTTP/1.1\r\n\r\n", b"\xef\xbb\xbf{}", b'{"a":1}garbage',
)  # fmt: skip


def compressed(*pieces: bytes | int) -> bytes:
    """A compressed registration: texts with their lengths, or bare integers."""
    parts = (
        piece.to_bytes(4, "big", signed=True)
        if isinstance(piece, int)
        else len(piece).to_bytes(4, "big") + piece
        for piece in pieces
    )
    return zlib.compress(b"".join(parts))


TOPIC_TEXT: Final = b"hostile 2 2 6 SINGLE_TAG {}"
COMPRESSED: Final = (
    compressed(b"{}", 1, TOPIC_TEXT, b"[]", 0),
    compressed(b"{}", 2**31 - 1, TOPIC_TEXT),
    compressed(b"{}", 100_001, *[b"t 1 1 6 SINGLE_TAG"] * 2_000),
    compressed(b"{}", -1),
    compressed(2**31 - 1),
    compressed(b"[" * 5_000, 0, b"[]", 0),
    compressed(b"{}", 1, b"a b c d e {", b"[]", 0),
    compressed(b"{}", 1, b"\xff 1 1 1 x", b"[]", 0),
    compressed(b"{}", 1, b"../x 1 1 1 SINGLE_TAG", b"[]", 0),
    compressed(b"{}", 0, b"{}", 0),
    compressed(b"{}", 0, b"[]", 2**31 - 1),
    compressed(b"{}", 0, b"[]", 1, b'{"topic":[]}'),
    compressed(b"{}", 1, TOPIC_TEXT, b"[]", 0)[:-3],
    b"not zlib at all",
)
"""Compressed bodies of a registration, whose lengths and counts lie."""


class Hostile(NamedTuple):
    """One frame, and what it is, for the message of a failed test."""

    what: str
    data: bytes
    code: int
    opaque: int


def plausible(route: Route[Any]) -> dict[str, str]:
    """Fields that this route takes; integers are 0 where nothing else is said."""
    if route.header is None:
        return {}
    names = [name for _, name in wire_names(route.header)]
    return {name: NAMES.get(name, "0") for name in names if name not in LEFT_OUT}


def valid_body(code: int, serialize: int) -> bytes:
    """A body that the code reads, or none."""
    if code not in TREES:
        return RAW.get(code, b"")
    tree = TREES[code]
    return cbor2.dumps(tree) if serialize == Serialize.CBOR else json.dumps(tree).encode()


def headers(route: Route[Any], opaques: Iterator[int]) -> Iterator[Hostile]:
    """Every field in turn made hostile, the others plausible; the serialisations take turns."""
    base, code = plausible(route), int(route.code)
    turn = itertools.cycle(Serialize)
    for name in base:
        rest = {key: value for key, value in base.items() if key != name}
        for serialize in Serialize:
            yield made(f"{name} missing", code, serialize, rest, opaques)
        for text in TEXTS:
            what = f"{name} = {text[:40]!r}"
            yield made(what, code, next(turn), {**rest, name: text}, opaques)
        for value in (*TYPED, *CBOR_ONLY):
            what = f"{name} = {value!r:.40}"
            yield made(what, code, Serialize.CBOR, {**rest, name: value}, opaques)
        for value in TYPED:
            what = f"{name} = {value!r:.40}"
            yield made(what, code, Serialize.JSON, {**rest, name: value}, opaques)
        raw = {key.encode(): value.encode() for key, value in rest.items()}
        for junk in (b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\x80" * 300):
            header = binary_header(code, next(opaques), {**raw, name.encode(): junk})
            yield Hostile(f"{name} = {junk[:4]!r}", frame(1, header), code, opaque_of(header))
    for serialize in Serialize:
        yield made("no fields at all", code, serialize, {}, opaques)
        yield made("unknown fields", code, serialize, {**base, "\0": "x", "../x": HUGE}, opaques)


def bodies(route: Route[Any], opaques: Iterator[int]) -> Iterator[Hostile]:
    """Every kind of broken body, under a plausible header."""
    base, code = plausible(route), int(route.code)
    for serialize in Serialize:
        valid = valid_body(code, serialize)
        cuts = [valid[: len(valid) * part // 7] for part in range(7)]
        for number, body in enumerate((*GARBAGE, *cuts, valid + valid, valid[::-1], valid)):
            yield made(f"body {number} {body[:30]!r}", code, serialize, base, opaques, body)
    if code == RequestCode.REGISTER_BROKER:
        for number, body in enumerate(COMPRESSED):
            fields = {**base, "compressed": "true"}
            yield made(f"compressed body {number}", code, Serialize.JSON, fields, opaques, body)
    if code in TREES:
        for what, tree in replaced(TREES[code]):
            for serialize in (Serialize.JSON, Serialize.CBOR):
                body = cbor2.dumps(tree) if serialize else json.dumps(tree).encode()
                yield made(f"body with {what}", code, serialize, base, opaques, body)


def replaced(tree: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
    """The tree with one member after the other replaced by each of `MEMBERS`, or left out."""
    for member in MEMBERS:
        yield f"{path} = {member!r:.30}", member
    if isinstance(tree, dict):
        for key, value in tree.items():
            rest = {name: one for name, one in tree.items() if name != key}
            yield f"no {path}.{key}", rest
            for what, changed in replaced(value, f"{path}.{key}"):
                yield what, {**rest, key: changed}
    elif isinstance(tree, list):
        for what, changed in replaced(tree[0], f"{path}[]"):
            yield what, [changed, *tree[1:]]


def made(
    what: str,
    code: int,
    serialize: int,
    fields: dict[str, Any],
    opaques: Iterator[int],
    body: bytes | None = None,
) -> Hostile:
    """A frame with these fields; without a body it gets the valid one."""
    opaque = next(opaques)
    body = valid_body(code, serialize) if body is None else body
    if serialize == Serialize.CBOR:
        header = cbor2.dumps({0: code, 1: 3, 2: 481, 3: opaque, 4: 0, 6: fields})
    elif serialize == Serialize.JSON:
        header = json_header(code, opaque, fields)
    else:
        raw = {name.encode(): str(value).encode() for name, value in fields.items()}
        header = binary_header(code, opaque, raw)
    described = f"{code} {Serialize(serialize).name}: {what}"
    return Hostile(described, frame(serialize, header, body), code, opaque)


def json_header(code: int, opaque: int, fields: dict[str, Any], **members: Any) -> bytes:
    """A header as JSON says it; members of other types as they are."""
    members = {
        "code": code,
        "opaque": opaque,
        "flag": 0,
        "language": "JAVA",
        "version": 481,
    } | members
    return json.dumps({**members, "extFields": fields}).encode()


def binary_header(code: int, opaque: int, fields: dict[bytes, bytes]) -> bytes:
    """A ROCKETMQ header of any bytes."""
    entries = b"".join(
        len(name).to_bytes(2, "big") + name + len(value).to_bytes(4, "big") + value
        for name, value in fields.items()
    )
    fixed = (code & 0xFFFF).to_bytes(2, "big") + b"\0\x01\xe1" + opaque.to_bytes(4, "big")
    return fixed + bytes(8) + len(entries).to_bytes(4, "big") + entries


def opaque_of(header: bytes) -> int:
    """The opaque of a ROCKETMQ header."""
    return int.from_bytes(header[5:9], "big")


def storm(routes: dict[int, Route[Any]], seed: int, share: float = 1.0) -> list[Hostile]:
    """All of it for a dispatch table, or a share of the frames, in an order of the seed."""
    rng, opaques = random.Random(seed), itertools.count(1)
    frames = [
        one
        for route in routes.values()
        for kind in (headers(route, opaques), bodies(route, opaques))
        for one in kind
        if share == 1.0 or rng.random() < share
    ]
    rng.shuffle(frames)
    return frames
