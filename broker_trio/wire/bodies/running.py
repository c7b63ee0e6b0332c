"""What a consumer says of itself (307): its settings, its queues, its rates.

{"properties":{…},"subscriptionSet":[…],"mqTable":{{MessageQueue}:{…}},"statusTable":{topic:{…}}}

Clients of different languages leave out what they do not have, so that everything is optional.
Times in ms since 1970, durations in ms, rates a second.
"""

import msgspec

from broker_trio.model.route import MessageQueue
from broker_trio.model.subscription import SubscriptionData
from broker_trio.wire.bodies.codec import decode_body, encode_body
from broker_trio.wire.command import Serialize


class QueueInfo(msgspec.Struct, frozen=True, rename="camel"):
    """One queue that the client works on: what it has fetched and not acknowledged yet."""

    commit_offset: int = 0
    cached_msg_min_offset: int = 0
    cached_msg_max_offset: int = 0
    cached_msg_count: int = 0
    cached_msg_size_in_mi_b: int = msgspec.field(default=0, name="cachedMsgSizeInMiB")
    locked: bool = False
    try_unlock_times: int = 0
    last_lock_timestamp: int = 0
    droped: bool = False  # misspelt on the wire
    last_pull_timestamp: int = 0
    last_consume_timestamp: int = 0


class ConsumeStatus(msgspec.Struct, frozen=True, rename="camel"):
    """How consuming a topic goes in this client."""

    pull_rt: float = msgspec.field(default=0.0, name="pullRT")
    pull_tps: float = msgspec.field(default=0.0, name="pullTPS")
    consume_rt: float = msgspec.field(default=0.0, name="consumeRT")
    consume_ok_tps: float = msgspec.field(default=0.0, name="consumeOKTPS")
    consume_failed_tps: float = msgspec.field(default=0.0, name="consumeFailedTPS")
    consume_failed_msgs: int = 0


class RunningInfo(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_CONSUMER_RUNNING_INFO."""

    properties: dict[str, str] = {}
    subscription_set: list[SubscriptionData] = []
    mq_table: dict[MessageQueue, QueueInfo] = {}
    status_table: dict[str, ConsumeStatus] = {}
    user_consumer_info: dict[str, str] = {}
    jstack: str | None = None


def encode_running_info(info: RunningInfo, serialize: Serialize) -> bytes:
    return encode_body(info, serialize)


def decode_running_info(data: bytes, serialize: Serialize) -> RunningInfo:
    return decode_body(data, serialize, RunningInfo)
