"""Tolerant JSON: fastjson's dialect in, two dialects out."""

import msgspec
import pytest

from broker_trio.model.errors import LocalProtocolError, RemoteProtocolError
from broker_trio.model.route import BrokerData, MessageQueue, QueueData, TopicRouteData
from broker_trio.wire import json_text
from broker_trio.wire.json_text import dumps, dumps_java, loads

QUEUE_KEY = (("brokerName", "b"), ("queueId", 0), ("topic", "T"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":[1,-2,1.5,true,false,null,"x"]}', {"a": [1, -2, 1.5, True, False, None, "x"]}),
        ('{0:"10.0.0.1:10911",1:"x"}', {"0": "10.0.0.1:10911", "1": "x"}),
        ("{-1:{2:[3]},}", {"-1": {"2": [3]}}),
        ('{{"brokerName":"b","queueId":0,"topic":"T"}:7}', {QUEUE_KEY: 7}),
        ('{{"topic":"T","queueId":0,"brokerName":"b"} : 7}', {QUEUE_KEY: 7}),
        ('{{0:[1,{"a":2}]}:7}', {(("0", (1, (("a", 2),))),): 7}),
        ("{'a':'it''s'}", None),
        ("{'a':\"it's\",\"b\":'\"'}", {"a": "it's", "b": '"'}),
        ("{a:1,_b$2:[1,2,],}", {"a": 1, "_b$2": [1, 2]}),
        ("[]", []),
        ("{}", {}),
        (" \ufeff[ ] ", []),
        (r"""{'a':"\u00e4\n\t\"\\\/\x41\ud83d\ude00\q"}""", {"a": 'ä\n\t"\\/A😀q'}),
        (r"['\ud800x\udc00']", ["\ufffdx\ufffd"]),
        ("[undefined,+7,1e3,1E-2]", [None, 7, 1000.0, 0.01]),
        ('{"a":1,"a":2,b:3}', {"a": 2, "b": 3}),
    ],
)
def test_reading(text, expected):
    """Standard JSON, bare keys, object keys, odd quotes, trailing commas, escapes."""
    if expected is None:
        with pytest.raises(RemoteProtocolError):
            loads(text.encode())
    else:
        assert expected == loads(text.encode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":{"x":1},"b":{"$ref":"$.a"}}', {"a": {"x": 1}, "b": {"x": 1}}),
        ('{"a":[{"x":1}],"b":[{"$ref":"$.a[0]"}]}', {"a": [{"x": 1}], "b": [{"x": 1}]}),
        ('{"a":1,"b":{"$ref":"$.nowhere"},"c":[{"$ref":"@"},2]}', {"a": 1, "c": [2]}),
        ('{"a":{"$ref":"$"}}', {}),
        ('{"a":{"b":{"$ref":"$.a"}}}', {"a": {}}),
        ('{"a":[1],"b":{"$ref":"$.a[7]"},"c":{"$ref":"$.a.x"},"d":{"$ref":"$..a"}}', {"a": [1]}),
        ('{"$ref":"$"}', None),
        ('{"t":{{"$ref":"$.mqPopTable.null"}:{"q":1},{"topic":"T"}:2}}',
         {"t": {(("topic", "T"),): 2}}),
        ('{"a":{"$ref":7}}', {"a": {"$ref": 7}}),
    ],
)  # fmt: skip
def test_references(text, expected):
    """A $ref is followed to a small value, and left out where it leads nowhere or to itself."""
    assert expected == loads(text.encode())


def test_references_cannot_multiply():
    """Neither many references nor references to references make much out of little."""
    big = ",".join("1" for _ in range(json_text.REF_VALUES_MAX + 1))
    assert loads(f'{{"a":[{big}],"b":{{"$ref":"$.a"}}}}'.encode()).keys() == {"a"}
    count = json_text.REFS_MAX + 5
    text = '{"a":[1],"b":[' + ",".join('{"$ref":"$.a"}' for _ in range(count)) + "]}"
    assert len(loads(text.encode())["b"]) == json_text.REFS_MAX
    bomb = '{"a":[1,1],"b":[{"$ref":"$.a"},{"$ref":"$.a"}],"c":[{"$ref":"$.b"},{"$ref":"$.b"}]}'
    assert loads(bomb.encode()) == {"a": [1, 1], "b": [[1, 1], [1, 1]], "c": []}


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "{", "[", "[1", "{a", "{a:", "{a:1", "{a 1}", "[1 2]", "[,]", "{,}", "nul", "'",
        '"a',
        "{[1]:2}", "NaN", "-", "01x", "--1", "[1]]", "{'a':1}}", "'\\", "1" * 50 + ",", "{:1}",
        "{" * 100_000, "[" * 100_000, "{a:" * 100_000, "{{" * 50 + "}", "[-" * 10, "\x00",
    ],
)  # fmt: skip
def test_refusals(text):
    """Whatever is no value ends in RemoteProtocolError, however deep it nests."""
    with pytest.raises(RemoteProtocolError):
        loads(text.encode())


def test_deep_is_refused_by_the_slow_reader():
    """Nesting as deep as the limit is read, one deeper is not."""
    depth = json_text.DEPTH_MAX
    assert loads(b"[" * depth + b"1," + b"]" * depth) is not None
    with pytest.raises(RemoteProtocolError, match="too deep"):
        loads(b"[" * (depth + 1) + b"1," + b"]" * (depth + 1))


def test_values_are_counted():
    """The slow reader stops at its number of values."""
    assert len(loads(b"[" + b"1," * 99 + b"]", values_max=100)) == 99
    with pytest.raises(RemoteProtocolError, match="too many values"):
        loads(b"[" + b"1," * 100 + b"]", values_max=100)


ROUTE = TopicRouteData(
    [QueueData("broker-a", 4, 4, 6)],
    [BrokerData("DefaultCluster", "broker-a", {0: "10.0.0.1:10911", 1: "10.0.0.2:10911"}, "z1")],
    {},
    "broker-a:4;broker-b:4",
)
STANDARD_ROUTE = {
    "brokerDatas": [
        {
            "brokerAddrs": {"0": "10.0.0.1:10911", "1": "10.0.0.2:10911"},
            "brokerName": "broker-a",
            "cluster": "DefaultCluster",
            "enableActingMaster": False,
            "zoneName": "z1",
        }
    ],
    "filterServerTable": {},
    "queueDatas": [
        {"brokerName": "broker-a", "perm": 6, "readQueueNums": 4, "topicSysFlag": 0,
         "writeQueueNums": 4}
    ],
    "orderTopicConf": "broker-a:4;broker-b:4",
}  # fmt: skip


def test_golden_route():
    """The specification's route sample, in standard JSON and with bare keys, reads back equal."""
    assert msgspec.json.decode(dumps(ROUTE)) == STANDARD_ROUTE
    assert b'"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"}' in dumps_java(ROUTE)
    for text in (dumps(ROUTE), dumps_java(ROUTE)):
        assert msgspec.convert(loads(text), TopicRouteData, strict=False) == ROUTE


def test_object_keys_are_written_for_go():
    """A MessageQueue key is an object without spaces, members in alphabetical order."""
    expected = b'{{"brokerName":"b","queueId":0,"topic":"T"}:7}'
    assert expected == dumps_java({MessageQueue("T", "b", 0): 7})
    assert expected == dumps_java({QUEUE_KEY: 7})
    assert loads(expected) == {QUEUE_KEY: 7}


def test_members_that_are_none_are_left_out():
    """Both writers leave out null members, of structs and of maps; list items stay."""
    value = {"a": None, "b": [None, BrokerData("c", "n", {})]}
    broker = {"cluster": "c", "brokerName": "n", "brokerAddrs": {}, "enableActingMaster": False}
    expected = {"b": [None, broker]}
    assert expected == loads(dumps(value)) == loads(dumps_java(value))


def test_java_scalars():
    """Text is escaped, bytes are base64, sets are sorted lists, what is no number is null."""
    value = [1, -1.5, True, False, None, 'ä"\n', b"\x02\x01", {3, 1}, (), {}, [], float("nan")]
    expected = '[1,-1.5,true,false,null,"ä\\"\\n","AgE=",[1,3],[],{},[],null]'
    assert expected == dumps_java(value).decode()


@pytest.mark.parametrize("value", [{"a": object()}, {"a": "\ud800"}])
def test_what_cannot_be_written(value):
    """Types and texts without a JSON form are our caller's mistake."""
    for write in (dumps, dumps_java):
        with pytest.raises(LocalProtocolError):
            write(value)


def test_standard_json_has_no_object_keys():
    """dumps refuses them, dumps_java refuses endless nesting."""
    with pytest.raises(LocalProtocolError):
        dumps({QUEUE_KEY: 7})
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(LocalProtocolError, match="too deep"):
        dumps_java(endless)
