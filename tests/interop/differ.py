"""One raw request to both makes, and where their answers differ.

    scene ──▶ Side("ours"), Side("apache"): the same topics, messages and groups on both
    case  ──▶ the same request to each ──▶ told(answer): code, header fields, body as a tree
              with addresses, ids and times replaced by words ──▶ paths at which the trees differ

Remarks are prose and are not compared, except a pull's, where Apache tells the status.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from broker_trio.model.codes import RequestCode
from broker_trio.wire.batch import BatchItem, encode_batch
from broker_trio.wire.command import Command, Ext
from broker_trio.wire.json_text import loads
from broker_trio.wire.properties import format_properties
from broker_trio.wire.record import decode_records
from tests.interop.clusters import Cluster
from tests.interop.raw import Connection, connected

MESSAGES: Final = 10
FIRST_TIME: Final = 1_500_000_000_000  # any larger number is a time in ms
_ID: Final = re.compile(r"\b[0-9A-F]{32}(?:[0-9A-F]{24})?\b")
_VERSION: Final = re.compile(r'\{"counter":\d+,"stateVersion":\d+,"timestamp":\d+\}')
_COUNTED: Final = {"totalTopicNum", "totalGroupNum", "indexLastUpdatePhyoffset"}  # others' too
_CLIENT: Final = re.compile(r"127\.0\.0\.1:\d+")


@dataclass
class Side:
    """One make: a connection to each of its programs, and names that mean the same on both."""

    cluster: Cluster
    broker: Connection
    nameserver: Connection
    names: dict[str, str] = field(default_factory=dict)

    def __getattr__(self, name: str) -> str:
        """`side.filled`, `side.empty`, `side.group`: the names of the scene."""
        try:
            return self.names[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True)
class Case:
    """A request, and how its answer's body is read: json, messages, text, raw or keys."""

    name: str
    ask: Callable[[Side], Command]
    read: str = "json"
    only: Callable[[Any, Side], Any] | None = None  # what of the body belongs to the question
    remark: bool = False


@contextmanager
def sides(ours: Cluster, apache: Cluster) -> Iterator[tuple[Side, Side]]:
    """Both makes with the same scene set."""
    mark = uuid.uuid4().hex[:8]
    names = {"mark": mark} | {
        name: f"{name}-{mark}" for name in ("filled", "empty", "spanned", "group", "made", "lonely")
    }
    with (
        connected(ours.broker) as a, connected(ours.nameserver) as b,
        connected(apache.broker) as c, connected(apache.nameserver) as d,
    ):  # fmt: skip
        pair = Side(ours, a, b, names), Side(apache, c, d, names)
        for side in pair:
            set_scene(side)
        yield pair


def set_scene(side: Side) -> None:
    """A topic with ten messages in one queue, one without any, and a group that is there."""
    for topic in (side.filled, side.empty, side.spanned):
        assert create_topic(side, topic).code == 0
    for number in range(MESSAGES):
        tag = "TagA" if number % 2 else "TagB"
        properties = {"TAGS": tag, "KEYS": f"key{number}", "WAIT": "true"}
        assert send(side, side.filled, b"body", properties=properties).code == 0
        assert send(side, side.spanned).code == 0
    assert heartbeat(side, side.group, side.filled).code == 0


def create_topic(side: Side, topic: str, **changes: object) -> Command:
    fields = {
        "topic": topic, "defaultTopic": "TBW102", "readQueueNums": 1, "writeQueueNums": 1,
        "perm": 6, "topicFilterType": "SINGLE_TAG", "topicSysFlag": 0, "order": False,
    } | changes  # fmt: skip
    return side.broker.ask(RequestCode.UPDATE_AND_CREATE_TOPIC, ext(**fields))


def send(
    side: Side,
    topic: str,
    body: bytes = b"body",
    code: int = RequestCode.SEND_MESSAGE_V2,
    *,
    properties: dict[str, str] | None = None,
    **changes: object,
) -> Command:
    """A send by letters; a change of None leaves the letter out."""
    fields: dict[str, object] = {
        "a": "differ", "b": topic, "c": "TBW102", "d": 4, "e": 0, "f": 0, "g": 1_600_000_000_000,
        "h": 0, "j": 0, "k": False, "m": code == RequestCode.SEND_BATCH_MESSAGE,
        "i": format_properties(properties or {}).decode(),
    } | changes  # fmt: skip
    return side.broker.ask(code, ext(**fields), body)


def batch(count: int) -> bytes:
    return encode_batch(BatchItem(0, b"item", b"KEYS\x01k\x02") for _ in range(count))


def pull(side: Side, topic: str, offset: int, **changes: object) -> Command:
    """A pull with its subscription inline, which does not wait."""
    fields: dict[str, object] = {
        "consumerGroup": side.group, "topic": topic, "queueId": 0, "queueOffset": offset,
        "maxMsgNums": 32, "sysFlag": 4, "commitOffset": 0, "suspendTimeoutMillis": 1_000,
        "subscription": "*", "subVersion": 0, "expressionType": "TAG",
    } | changes  # fmt: skip
    return side.broker.ask(RequestCode.PULL_MESSAGE, ext(**fields))


def heartbeat(side: Side, group: str, topic: str) -> Command:
    """A push consumer of one topic, and a producer, on this connection."""
    subscription = {
        "topic": topic, "subString": "*", "tagsSet": [], "codeSet": [], "subVersion": 5,
        "expressionType": "TAG", "classFilterMode": False,
    }  # fmt: skip
    consumer = {
        "groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
        "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "unitMode": False,
        "subscriptionDataSet": [subscription],
    }  # fmt: skip
    data = {
        "clientID": f"client-of-{group}", "heartbeatFingerprint": 0, "withoutSub": False,
        "producerDataSet": [{"groupName": f"producers-{group}"}], "consumerDataSet": [consumer],
    }  # fmt: skip
    return side.broker.ask(RequestCode.HEART_BEAT, {}, json.dumps(data).encode())


def ext(**fields: object) -> Ext:
    """Header fields as Java writes them: strings, and None left out."""
    texts = {name: str(value) for name, value in fields.items() if value is not None}
    return {
        name: text.lower() if isinstance(fields[name], bool) else text
        for name, text in texts.items()
    }


def told(case: Case, answer: Command, side: Side) -> dict[str, Any]:
    """What the answer says, in words that are the same on both sides."""
    body: Any = read(case.read, answer.body)
    if case.only is not None and body is not None:
        body = case.only(body, side)
    fields = {name: "<count>" if name in _COUNTED else each for name, each in answer.ext.items()}
    tree = {"code": answer.code, "ext": fields, "body": body}
    if case.remark:
        tree["remark"] = answer.remark
    renamed = rename(tree, side)
    assert isinstance(renamed, dict)
    return renamed


def read(how: str, body: bytes) -> Any:
    if not body or how == "raw":
        return body.decode()
    if how == "keys":
        return "bare" if re.search(rb"[{,]\d+:", body) else "quoted"
    if how == "text":
        return dict(line.split("=", 1) for line in body.decode().splitlines() if "=" in line)
    if how == "messages":
        return [
            {
                "topic": each.topic, "queue": [each.queue_id, each.queue_offset], "body": each.body,
                "flags": [each.flag, each.sys_flag], "reconsume_times": each.reconsume_times,
                "born": each.born_timestamp_ms, "store_host": each.store_host,
                "properties": each.properties,
            }
            for each in decode_records(body)
        ]  # fmt: skip
    return loads(body)


def rename(value: Any, side: Side) -> Any:
    """Addresses, ids and times by what they are. Maps keyed by objects get text keys."""
    if isinstance(value, dict):
        return {str(rename(key, side)): rename(each, side) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [rename(each, side) for each in value]
    if isinstance(value, str):
        if value.isdigit() and int(value) > FIRST_TIME:
            return "<time>"
        text = value.replace(side.cluster.broker, "<broker>")
        text = _VERSION.sub("<version>", text.replace(side.cluster.nameserver, "<nameserver>"))
        return _CLIENT.sub("<client>", _ID.sub("<id>", text))
    if isinstance(value, int) and not isinstance(value, bool) and value > FIRST_TIME:
        return "<time>"
    return value


def differences(ours: Any, apache: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Every path at which the trees differ, with both values; lists of names have no order."""
    if isinstance(ours, dict) and isinstance(apache, dict):
        found = {}
        for key in sorted(ours.keys() | apache.keys()):
            deeper = f"{path}.{key}" if path else key
            found |= differences(ours.get(key, "absent"), apache.get(key, "absent"), deeper)
        return found
    if isinstance(ours, list) and isinstance(apache, list):
        if all(isinstance(each, str) for each in [*ours, *apache]):
            ours, apache = sorted(ours), sorted(apache)
        elif len(ours) == len(apache):
            found = {}
            for left, right in zip(ours, apache, strict=True):
                found |= differences(left, right, f"{path}[]")
            return found
    return {} if ours == apache else {path: (ours, apache)}
