"""The requests that clients make most, with room for what they should not say."""

import json

from broker_trio.model.codes import RequestCode
from broker_trio.wire.command import Command, Serialize

PULL_COMMIT, PULL_SUSPEND, PULL_INLINE = 1, 2, 4


def send(topic: str = "hostile", body: bytes = b"x", *, opaque: int = 1, **more: str) -> Command:
    """310. Letters as on the wire: `i` properties, `j` reconsumeTimes, `m` batch."""
    ext = {"a": "p", "b": topic, "c": "TBW102", "d": "1", "e": "0", "f": "0", "g": "1", "h": "0"}
    return Command(RequestCode.SEND_MESSAGE_V2, opaque, ext={**ext, **more}, body=body)


def pull(
    topic: str = "hostile",
    group: str = "hostile",
    *,
    offset: int = 0,
    opaque: int = 1,
    hold_ms: int = 0,
    commit: int | None = None,
    tags: str = "*",
    body: bytes = b"",
) -> Command:
    """11, with its subscription inline."""
    flags = PULL_INLINE
    flags |= PULL_SUSPEND if hold_ms else 0
    flags |= PULL_COMMIT if commit is not None else 0
    ext = {
        "consumerGroup": group,
        "topic": topic,
        "queueId": "0",
        "queueOffset": str(offset),
        "maxMsgNums": "32",
        "sysFlag": str(flags),
        "commitOffset": str(commit or 0),
        "suspendTimeoutMillis": str(hold_ms),
        "subscription": tags,
        "subVersion": "0",
    }
    return Command(RequestCode.PULL_MESSAGE, opaque, ext=ext, body=body)


def heartbeat(*groups: str, client: str = "c", opaque: int = 1, topics=("hostile",)) -> Command:
    """34 of a consumer of these groups."""
    subscriptions = [{"topic": topic, "subString": "*", "subVersion": 1} for topic in topics]
    consumers = [{"groupName": group, "subscriptionDataSet": subscriptions} for group in groups]
    body = json.dumps({"clientID": client, "consumerDataSet": consumers}).encode()
    return Command(RequestCode.HEART_BEAT, opaque, body=body)


def lock(group: str, *topics: str, client: str = "c", broker: str = "b0", opaque: int = 1):
    """41 of queue 0 of these topics."""
    queues = [{"topic": topic, "brokerName": broker, "queueId": 0} for topic in topics]
    body = json.dumps({"clientId": client, "consumerGroup": group, "mqSet": queues}).encode()
    return Command(RequestCode.LOCK_BATCH_MQ, opaque, body=body)


def create_topic(topic: str, *, opaque: int = 1, **more: str) -> Command:
    """17."""
    ext = {
        "topic": topic,
        "defaultTopic": "TBW102",
        "readQueueNums": "1",
        "writeQueueNums": "1",
        "perm": "6",
        "topicFilterType": "SINGLE_TAG",
        "order": "false",
    }
    return Command(RequestCode.UPDATE_AND_CREATE_TOPIC, opaque, ext={**ext, **more})


def put_topics(*topics: dict[str, object], opaque: int = 1) -> Command:
    """18."""
    body = json.dumps({"topicConfigList": topics}).encode()
    return Command(RequestCode.UPDATE_AND_CREATE_TOPIC_LIST, opaque, body=body)


def put_group(group: str, *, opaque: int = 1, **more: object) -> Command:
    """200."""
    body = json.dumps({"groupName": group, **more}).encode()
    return Command(RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, opaque, body=body)


def send_back(offset: int, group: str = "hostile", *, level: int = 0, opaque: int = 1) -> Command:
    """36."""
    ext = {
        "offset": str(offset),
        "group": group,
        "delayLevel": str(level),
        "maxReconsumeTimes": str(2**31 - 1),
    }
    return Command(RequestCode.CONSUMER_SEND_MSG_BACK, opaque, ext=ext)


def commit(group: str, topic: str, offset: int, *, queue_id: int = 0, opaque: int = 1) -> Command:
    """15."""
    ext = {
        "consumerGroup": group,
        "topic": topic,
        "queueId": str(queue_id),
        "commitOffset": str(offset),
    }
    return Command(RequestCode.UPDATE_CONSUMER_OFFSET, opaque, ext=ext)


def ask(code: int, *, opaque: int = 1, body: bytes = b"", serialize=Serialize.JSON, **ext: str):
    """Any other."""
    return Command(code, opaque, ext=ext, body=body, serialize=serialize)


def stored_at(answer: Command) -> int:
    """The commit-log offset in the answer to a send."""
    return int(str(answer.ext["msgId"])[-16:], 16)
