"""Names of topics and groups: reserved ones, what is legal, how retry and DLQ topics are formed.

    %RETRY%<group>            a group's own retry topic      %RETRY%<group>_<topic>  pop retry, V1
    %DLQ%<group>              its dead letters               %RETRY%<group>+<topic>  pop retry, V2
    %LMQ%<name>               light queues, no topic config  <cluster>_REPLY_TOPIC   for replies
    rmq_sys_…                 the brokers' own topics        CID_RMQ_SYS_…           system groups

Legal characters are `%|a-zA-Z0-9_-`. That also keeps every name a harmless file name: no dot, no
slash, and at most 255 bytes.
"""

import re
from typing import Final

TBW102: Final = "TBW102"  # template of topics made on first use
SCHEDULE_TOPIC: Final = "SCHEDULE_TOPIC_XXXX"
TRANS_HALF_TOPIC: Final = "RMQ_SYS_TRANS_HALF_TOPIC"
TRANS_OP_HALF_TOPIC: Final = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
TRANS_CHECK_MAX_TIME_TOPIC: Final = "TRANS_CHECK_MAX_TIME_TOPIC"
TRACE_TOPIC: Final = "RMQ_SYS_TRACE_TOPIC"
SELF_TEST_TOPIC: Final = "SELF_TEST_TOPIC"
BENCHMARK_TOPIC: Final = "BenchmarkTest"
OFFSET_MOVED_EVENT: Final = "OFFSET_MOVED_EVENT"
CHECKPOINT_TOPIC: Final = "CHECKPOINT_TOPIC"
TIMER_TOPIC: Final = "rmq_sys_wheel_timer"

SYSTEM_TOPIC_PREFIX: Final = "rmq_sys_"
REVIVE_PREFIX: Final = "rmq_sys_REVIVE_LOG_"
SYNC_MEMBER_PREFIX: Final = "rmq_sys_SYNC_BROKER_MEMBER_"
TRACE_DATA_PREFIX: Final = "rmq_sys_TRACE_DATA_"
RETRY_PREFIX: Final = "%RETRY%"
DLQ_PREFIX: Final = "%DLQ%"
LMQ_PREFIX: Final = "%LMQ%"
REPLY_SUFFIX: Final = "REPLY_TOPIC"
SYSTEM_GROUP_PREFIX: Final = "CID_RMQ_SYS_"

TOPIC_LENGTH_MAX: Final = 127  # a V1 record has one signed byte for it
RETRY_TOPIC_LENGTH_MAX: Final = 255
GROUP_LENGTH_MAX: Final = 120

SYSTEM_TOPICS: Final = frozenset(
    {
        TBW102, SCHEDULE_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC,
        TRACE_TOPIC, SELF_TEST_TOPIC, BENCHMARK_TOPIC, OFFSET_MOVED_EVENT, CHECKPOINT_TOPIC,
    }
)  # fmt: skip

NOT_SENDABLE: Final = frozenset(
    {
        SCHEDULE_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC, TRANS_CHECK_MAX_TIME_TOPIC,
        SELF_TEST_TOPIC, OFFSET_MOVED_EVENT,
    }
)  # fmt: skip

_LEGAL: Final = re.compile(r"[%|a-zA-Z0-9_-]+\Z")


def retry_topic(group: str) -> str:
    return RETRY_PREFIX + group


def dlq_topic(group: str) -> str:
    return DLQ_PREFIX + group


def pop_retry_topic_v1(group: str, topic: str) -> str:
    return f"{RETRY_PREFIX}{group}_{topic}"


def pop_retry_topic_v2(group: str, topic: str) -> str:
    return f"{RETRY_PREFIX}{group}+{topic}"


def reply_topic(cluster: str) -> str:
    return f"{cluster}_{REPLY_SUFFIX}"


def is_retry(topic: str) -> bool:
    return topic.startswith(RETRY_PREFIX)


def is_dlq(topic: str) -> bool:
    return topic.startswith(DLQ_PREFIX)


def is_lmq(topic: str) -> bool:
    return topic.startswith(LMQ_PREFIX)


def is_system_topic(topic: str) -> bool:
    """True for every topic that brokers use themselves.

    The topics called like a cluster or a broker are not known here; who lists system topics adds
    them.
    """
    return topic in SYSTEM_TOPICS or topic.startswith(SYSTEM_TOPIC_PREFIX)


def is_system_group(group: str) -> bool:
    return group.startswith(SYSTEM_GROUP_PREFIX)


def check_topic(topic: str) -> None:
    """Raises ValueError, with a text for the user, for a name that no topic may have.

    A pop retry topic of the second form has a `+`, which Apache's check refuses too: such names are
    made by brokers and are not checked.
    """
    length_max = RETRY_TOPIC_LENGTH_MAX if is_retry(topic) or is_dlq(topic) else TOPIC_LENGTH_MAX
    _check("topic", topic, length_max)


def check_group(group: str) -> None:
    """Raises ValueError, with a text for the user, for a name that no group may have."""
    _check("group", group, GROUP_LENGTH_MAX)


def _check(kind: str, name: str, length_max: int) -> None:
    if not name.strip():
        raise ValueError(f"the {kind} is blank")
    if len(name) > length_max:
        raise ValueError(f"the {kind} has {len(name)} characters, at most {length_max} are allowed")
    if _LEGAL.match(name) is None:
        raise ValueError(f"the {kind} {name!r} has characters other than %|a-zA-Z0-9_-")
