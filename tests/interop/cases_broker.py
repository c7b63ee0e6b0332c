"""Requests to a broker, right and wrong, that both makes should answer alike."""

import json
from typing import Any, Final

from broker_trio.model.codes import RequestCode as Code
from tests.interop.differ import (
    MESSAGES,
    Case,
    Side,
    batch,
    create_topic,
    ext,
    heartbeat,
    pull,
    send,
)

MIB: Final = 1 << 20


def queue_of(side: Side, topic: str, code: int, **more: object) -> Any:
    return side.broker.ask(code, ext(topic=topic, queueId=0, **more))


def offset_of(side: Side, group: str, topic: str, **more: object) -> Any:
    fields = ext(consumerGroup=group, topic=topic, queueId=0, **more)
    return side.broker.ask(Code.QUERY_CONSUMER_OFFSET, fields)


def commit(side: Side, group: str, topic: str, offset: int) -> Any:
    fields = ext(consumerGroup=group, topic=topic, queueId=0, commitOffset=offset)
    return side.broker.ask(Code.UPDATE_CONSUMER_OFFSET, fields)


def committed(side: Side) -> Any:
    assert commit(side, side.group, side.filled, 7).code == 0
    return offset_of(side, side.group, side.filled)


def once_consumed(side: Side) -> Any:
    """Of a group that committed and has no member now."""
    posted(side, Code.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, {"groupName": side.lonely + "-past"})
    assert commit(side, side.lonely + "-past", side.filled, 2).code == 0
    return of(side, Code.QUERY_TOPICS_BY_CONSUMER, group=side.lonely + "-past")


def subscribed(side: Side) -> Any:
    """Of a group that has a member and has committed nothing."""
    assert heartbeat(side, side.lonely + "-new", side.filled).code == 0
    return of(side, Code.QUERY_TOPICS_BY_CONSUMER, group=side.lonely + "-new")


def query(side: Side, key: str) -> Any:
    times = {"beginTimestamp": 0, "endTimestamp": 1 << 42}
    return side.broker.ask(Code.QUERY_MESSAGE, ext(topic=side.filled, key=key, maxNum=8, **times))


def of(side: Side, code: int, **fields: object) -> Any:
    return side.broker.ask(code, ext(**fields))


def posted(side: Side, code: int, body: object, **fields: object) -> Any:
    return side.broker.ask(code, ext(**fields), json.dumps(body).encode())


def lock_body(side: Side, client: str) -> dict[str, object]:
    queue = {"brokerName": side.cluster.broker_name, "queueId": 0, "topic": side.filled}
    return {
        "clientId": client, "consumerGroup": side.group, "mqSet": [queue], "onlyThisBroker": False,
    }  # fmt: skip


def locked_by_another(side: Side) -> Any:
    assert posted(side, Code.LOCK_BATCH_MQ, lock_body(side, "first")).code == 0
    return posted(side, Code.LOCK_BATCH_MQ, lock_body(side, "second"))


def back(side: Side, group: str, offset: int) -> Any:
    return of(
        side, Code.CONSUMER_SEND_MSG_BACK,
        group=group, offset=offset, delayLevel=1, originTopic=side.filled, maxReconsumeTimes=16,
    )  # fmt: skip


def group_config(side: Side, group: str) -> Any:
    body = {"groupName": group, "retryMaxTimes": 3, "consumeBroadcastEnable": False}
    made = posted(side, Code.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, body)
    assert made.code == 0, made
    return of(side, Code.GET_SUBSCRIPTIONGROUP_CONFIG, group=group)


def topic_config(side: Side, topic: str) -> Any:
    made = create_topic(side, topic, readQueueNums=3, attributes="+message.type=NORMAL")
    assert made.code == 0, made
    return of(side, Code.GET_TOPIC_CONFIG, topic=topic)


def client_config(side: Side, kind: str, text: str) -> Any:
    subscription = {
        "topic": side.filled, "subString": text, "expressionType": kind, "tagsSet": [],
        "codeSet": [], "subVersion": 1, "classFilterMode": False,
    }  # fmt: skip
    body = {"clientId": "c", "group": side.group, "subscriptionData": subscription}
    return posted(side, Code.CHECK_CLIENT_CONFIG, body)


def units(side: Side, **more: object) -> Any:
    """Of the queue with ten messages, from the third on."""
    fields: dict[str, object] = {"topic": side.filled, "queueId": 0, "index": 2, "count": 3}
    return of(side, Code.QUERY_CONSUME_QUEUE, **fields | more)


def correction(side: Side, compared: str, left_out: str = "") -> Any:
    """Two groups at 3 and at 6 of a topic."""
    slow, fast = side.lonely + "-slow", side.lonely + "-fast"
    for group, offset in ((slow, 3), (fast, 6)):
        posted(side, Code.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, {"groupName": group})
        assert commit(side, group, side.spanned, offset).code == 0
    fields = {"topic": side.spanned, "compareGroup": side.lonely + compared}
    if left_out:
        fields["filterGroups"] = side.lonely + left_out
    return of(side, Code.QUERY_CORRECTION_OFFSET, **fields)


def spans(body: Any, _side: Side) -> Any:
    """Times are told apart from none; how long is measured at different moments."""
    rows = [each | {"delayTime": each["delayTime"] > 0} for each in body["consumeTimeSpanSet"]]
    texts = {"minTimeStampStr", "maxTimeStampStr", "consumeTimeStampStr"}  # any reader makes them
    return [{name: row[name] for name in row.keys() - texts} for row in rows]


def unit_sizes(body: Any, _side: Side) -> Any:
    """Positions and sizes are each log's own."""
    rows = [
        each | {"physicOffset": each["physicOffset"] >= 0, "physicSize": each["physicSize"] > 0}
        for each in body["queueData"]
    ]
    return body | {"queueData": rows}


def status(side: Side, group: str, **more: object) -> Any:
    return of(
        side, Code.INVOKE_BROKER_TO_GET_CONSUMER_STATUS, topic=side.filled, group=group, **more
    )


def own_topic(body: Any, side: Side) -> Any:
    """Of a table of all topics, the one of the scene."""
    return body["topicConfigTable"].get(side.filled)


def own_group(body: Any, side: Side) -> Any:
    return body["subscriptionGroupTable"].get(side.group)


def offsets(body: Any, _side: Side) -> Any:
    """Without rates, which are measured at different moments."""
    return body["offsetTable"]


def figures(body: Any, _side: Side) -> Any:
    """Names; those of a folder or a delay level appear in Apache's once there is one, and our
    version in ours only."""
    names = [name.partition("_")[0] for name in body["table"]]
    return sorted(set(names) - {"brokerTrioVersion", "commitLogDiskRatio", "scheduleMessageOffset"})


def members_only(body: Any, _side: Side) -> Any:
    return sorted(body)


SENDS: Final = [
    Case("send, by letters", lambda s: send(s, s.empty + "-sent", body=b"x")),
    Case("send, batch", lambda s: send(s, s.empty + "-sent", batch(3), Code.SEND_BATCH_MESSAGE)),
    Case("send, broker picks the queue", lambda s: send(s, s.empty + "-one", e=-1, d=1)),
    Case("send, topic with a space", lambda s: send(s, "bad topic")),
    Case("send, topic with a slash", lambda s: send(s, "../../etc/passwd")),
    Case("send, topic of 128 characters", lambda s: send(s, "t" * 128)),
    Case("send, empty topic", lambda s: send(s, "")),
    Case("send, queue out of range", lambda s: send(s, s.filled, e=99)),
    Case("send, body over 4 MiB", lambda s: send(s, s.empty, b"x" * (4 * MIB + 1))),
    Case("send, empty body", lambda s: send(s, s.empty, b"")),
    Case("send, forbidden topic", lambda s: send(s, "SCHEDULE_TOPIC_XXXX")),
    Case("send, half topic", lambda s: send(s, "RMQ_SYS_TRANS_HALF_TOPIC")),
    Case("send, no template", lambda s: send(s, s.made + "-none", c="nothing-such")),
    Case("send, template without INHERIT", lambda s: send(s, s.made + "-none", c=s.filled)),
    Case("send, retry topic of nobody", lambda s: send(s, f"%RETRY%{s.lonely}")),
    Case(
        "send, half message",
        lambda s: send(s, s.empty, f=4, properties={"TRAN_MSG": "true", "PGROUP": "p"}),
    ),
    Case("send, timer", lambda s: send(s, s.empty, properties={"TIMER_DELAY_SEC": "3"})),
    Case("send, properties too long", lambda s: send(s, s.empty, properties={"p": "x" * 33_000})),
    Case("send, delay level 99", lambda s: send(s, s.empty, properties={"DELAY": "99"})),
    Case("send, no queue id", lambda s: send(s, s.filled, e=None)),
    Case("send, a word for a queue id", lambda s: send(s, s.filled, e="five")),
    Case("send, garbage as a batch", lambda s: send(s, s.filled, b"\1" * 9, m=True)),
]
PULLS: Final = [
    Case("pull, found", lambda s: pull(s, s.filled, 0), "messages", remark=True),
    Case("pull, two", lambda s: pull(s, s.filled, 3, maxMsgNums=2), "messages", remark=True),
    Case(
        "pull, one tag of two",
        lambda s: pull(s, s.filled, 0, subscription="TagA"),
        "messages",
        remark=True,
    ),
    Case("pull, none matches", lambda s: pull(s, s.filled, 0, subscription="No"), remark=True),
    Case("pull, below the first", lambda s: pull(s, s.filled, -1), remark=True),
    Case("pull, at the end", lambda s: pull(s, s.filled, MESSAGES), remark=True),
    Case("pull, one past the end", lambda s: pull(s, s.filled, MESSAGES + 1), remark=True),
    Case("pull, far past the end", lambda s: pull(s, s.filled, 999), remark=True),
    Case("pull, empty queue at 0", lambda s: pull(s, s.empty, 0), remark=True),
    Case("pull, empty queue at 5", lambda s: pull(s, s.empty, 5), remark=True),
    Case("pull, queue out of range", lambda s: pull(s, s.filled, 0, queueId=9)),
    Case("pull, unknown topic", lambda s: pull(s, "nothing-such", 0)),
    Case("pull, by registration", lambda s: pull(s, s.filled, 9, sysFlag=0), "messages"),
    Case("pull, not registered", lambda s: pull(s, s.empty, 0, sysFlag=0)),
    Case("pull, group not there", lambda s: pull(s, s.empty, 0, sysFlag=0, consumerGroup="g-none")),
    Case("pull, newer registration", lambda s: pull(s, s.filled, 0, sysFlag=0, subVersion=99)),
    Case("pull, SQL92", lambda s: pull(s, s.filled, 0, expressionType="SQL92", subscription="a>1")),
    Case("pull, unknown expression", lambda s: pull(s, s.filled, 0, expressionType="NO")),
    Case("pull, lite", lambda s: pull(s, s.filled, 0, sysFlag=20), "messages"),
]
OFFSETS: Final = [
    Case("offset, committed", committed),
    Case("offset, none in a young queue", lambda s: offset_of(s, s.lonely, s.filled)),
    Case(
        "offset, none and no zero",
        lambda s: offset_of(s, s.lonely, s.filled, setZeroIfNotFound=False),
    ),
    Case("offset, none in an unknown topic", lambda s: offset_of(s, s.lonely, "nothing-such")),
    Case("commit, unknown group", lambda s: commit(s, "g-none", s.filled, 1)),
    Case("commit, unknown topic", lambda s: commit(s, s.group, "nothing-such", 1)),
    Case("max offset", lambda s: queue_of(s, s.filled, Code.GET_MAX_OFFSET)),
    Case("max offset, unknown topic", lambda s: queue_of(s, "none-such", Code.GET_MAX_OFFSET)),
    Case("min offset", lambda s: queue_of(s, s.filled, Code.GET_MIN_OFFSET)),
    Case("min offset, unknown topic", lambda s: queue_of(s, "none-such", Code.GET_MIN_OFFSET)),
    *[
        Case(
            f"offset by time {stamp}, {bound}, of {topic}",
            lambda s, stamp=stamp, bound=bound, topic=topic: queue_of(  # type: ignore[misc]
                s,
                s.names.get(topic, topic),
                Code.SEARCH_OFFSET_BY_TIMESTAMP,
                timestamp=stamp,
                boundaryType=bound,
            ),
        )
        for topic in ("filled", "empty", "none-such")
        for stamp in (0, 1 << 42)
        for bound in ("LOWER", "UPPER")
    ],
    Case("first store time", lambda s: queue_of(s, s.filled, Code.GET_EARLIEST_MSG_STORETIME)),
    Case("first store time, none", lambda s: queue_of(s, s.empty, Code.GET_EARLIEST_MSG_STORETIME)),
    Case(
        "all consumer offsets", lambda s: of(s, Code.GET_ALL_CONSUMER_OFFSET), "json", members_only
    ),
    Case("all delay offsets", lambda s: of(s, Code.GET_ALL_DELAY_OFFSET), "json", members_only),
    Case("query, one key", lambda s: query(s, "key3"), "messages"),
    Case("query, no such key", lambda s: query(s, "key99")),
    Case("view, nothing there", lambda s: of(s, Code.VIEW_MESSAGE_BY_ID, offset=1 << 40)),
]
SESSIONS: Final = [
    Case("heartbeat", lambda s: heartbeat(s, s.group, s.filled)),
    Case("consumers, one", lambda s: of(s, Code.GET_CONSUMER_LIST_BY_GROUP, consumerGroup=s.group)),
    Case("consumers, none", lambda s: of(s, Code.GET_CONSUMER_LIST_BY_GROUP, consumerGroup="none")),
    Case("unregister, nobody", lambda s: of(s, Code.UNREGISTER_CLIENT, clientID="nobody")),
    Case("check, tags", lambda s: client_config(s, "TAG", "a||b")),
    Case("check, SQL92", lambda s: client_config(s, "SQL92", "a > 1")),
    Case("lock, free", lambda s: posted(s, Code.LOCK_BATCH_MQ, lock_body(s, "first"))),
    Case("lock, another's", locked_by_another),
    Case("unlock", lambda s: posted(s, Code.UNLOCK_BATCH_MQ, lock_body(s, "stranger"))),
    Case("send back, unknown group", lambda s: back(s, "g-none", 0)),
    Case("send back, nothing there", lambda s: back(s, s.group, 1 << 40)),
]
ADMIN: Final = [
    Case("make a topic", lambda s: create_topic(s, s.made)),
    Case("make a topic again", lambda s: create_topic(s, s.filled)),
    Case("make a topic, bad name", lambda s: create_topic(s, "bad topic")),
    Case("make a topic, system's", lambda s: create_topic(s, "TBW102")),
    Case("make a topic, bad attribute", lambda s: create_topic(s, s.made, attributes="+no=1")),
    Case("topic config", lambda s: topic_config(s, s.made + "-config")),
    Case("topic config, unknown", lambda s: of(s, Code.GET_TOPIC_CONFIG, topic="none-such")),
    Case("topic stats", lambda s: of(s, Code.GET_TOPIC_STATS_INFO, topic=s.filled), only=offsets),
    Case("topic stats, unknown", lambda s: of(s, Code.GET_TOPIC_STATS_INFO, topic="none-such")),
    Case("all topics", lambda s: of(s, Code.GET_ALL_TOPIC_CONFIG), "json", own_topic),
    Case("all topics, members", lambda s: of(s, Code.GET_ALL_TOPIC_CONFIG), "json", members_only),
    Case("system topics", lambda s: of(s, Code.GET_SYSTEM_TOPIC_LIST_FROM_BROKER)),
    Case("delete a topic, unknown", lambda s: of(s, Code.DELETE_TOPIC_IN_BROKER, topic="no-such")),
    Case("group config", lambda s: group_config(s, s.lonely + "-made")),
    Case("group config, none", lambda s: of(s, Code.GET_SUBSCRIPTIONGROUP_CONFIG, group="no-such")),
    Case("all groups", lambda s: of(s, Code.GET_ALL_SUBSCRIPTIONGROUP_CONFIG), "json", own_group),
    Case("who consumes", lambda s: of(s, Code.QUERY_TOPIC_CONSUME_BY_WHO, topic=s.filled)),
    Case("what it subscribes to", subscribed),
    Case("what it consumed", once_consumed),
    Case("consume stats", lambda s: of(s, Code.GET_CONSUME_STATS, consumerGroup=s.lonely)),
    Case("connections", lambda s: of(s, Code.GET_CONSUMER_CONNECTION_LIST, consumerGroup=s.group)),
    Case(
        "connections, none", lambda s: of(s, Code.GET_CONSUMER_CONNECTION_LIST, consumerGroup="n")
    ),
    Case(
        "producers",
        lambda s: of(s, Code.GET_PRODUCER_CONNECTION_LIST, producerGroup=f"producers-{s.group}"),
    ),
    Case(
        "producers, none", lambda s: of(s, Code.GET_PRODUCER_CONNECTION_LIST, producerGroup="none")
    ),
    Case("run-time figures", lambda s: of(s, Code.GET_BROKER_RUNTIME_INFO), "json", figures),
    Case("broker config", lambda s: of(s, Code.GET_BROKER_CONFIG), "text", members_only),
    Case(
        "time spans",
        lambda s: of(s, Code.QUERY_CONSUME_TIME_SPAN, topic=s.filled, group=s.group),
        only=spans,
    ),
    Case(
        "time spans, a group that never was",
        lambda s: of(s, Code.QUERY_CONSUME_TIME_SPAN, topic=s.filled, group="none-such"),
        only=spans,
    ),
    Case(
        "time spans, no messages",
        lambda s: of(s, Code.QUERY_CONSUME_TIME_SPAN, topic=s.empty, group=s.group),
        only=spans,
    ),
    Case(
        "time spans, unknown topic",
        lambda s: of(s, Code.QUERY_CONSUME_TIME_SPAN, topic="none-such", group=s.group),
    ),
    Case("correction, of the slow", lambda s: correction(s, "-slow")),
    Case("correction, of the fast", lambda s: correction(s, "-fast")),
    Case("correction, of nobody", lambda s: correction(s, "-none")),
    Case("correction, without the slow", lambda s: correction(s, "-slow", "-slow")),
    Case("units", units, only=unit_sizes),
    Case("units, for a group", lambda s: units(s, consumerGroup=s.group), only=unit_sizes),
    Case("units, for nobody", lambda s: units(s, consumerGroup="none-such"), only=unit_sizes),
    Case("units, more than there are", lambda s: units(s, count=99), only=unit_sizes),
    Case("units, past the end", lambda s: units(s, index=99)),
    Case("units, unknown queue", lambda s: units(s, queueId=99)),
    Case("status, nobody there", lambda s: status(s, "none-such")),
    Case("status, another client", lambda s: status(s, s.group, clientAddr="none-such")),
    Case("a reset for clients", lambda s: of(s, Code.RESET_CONSUMER_CLIENT_OFFSET)),
    Case("a status for clients", lambda s: of(s, Code.GET_CONSUMER_STATUS_FROM_CLIENT)),
    Case("unknown code", lambda s: of(s, 9_999)),
]
BROKER: Final = [*SENDS, *PULLS, *OFFSETS, *SESSIONS, *ADMIN]
