"""Headers by which a broker and its clients keep track of each other."""

import msgspec

from broker_trio.wire.headers.base import I32, Header


class HeartbeatResponseHeader(Header, frozen=True, kw_only=True):
    """To 34. Left out altogether, clients go back to version 1 of the heartbeat."""

    is_support_heart_beat_v2: bool | None = msgspec.field(
        default=None, name="IS_SUPPORT_HEART_BEAT_V2"
    )
    is_sub_change: bool | None = msgspec.field(default=None, name="IS_SUB_CHANGE")


class UnregisterClientRequestHeader(Header, frozen=True, kw_only=True):
    """35: the client leaves these groups."""

    client_id: str = msgspec.field(name="clientID")
    producer_group: str | None = None
    consumer_group: str | None = None


class GetConsumerListByGroupRequestHeader(Header, frozen=True, kw_only=True):
    """38."""

    consumer_group: str


class NotifyConsumerIdsChangedRequestHeader(Header, frozen=True, kw_only=True):
    """40, broker to client, one-way: rebalance now."""

    consumer_group: str


class GetConsumerConnectionListRequestHeader(Header, frozen=True, kw_only=True):
    """203."""

    consumer_group: str


class GetProducerConnectionListRequestHeader(Header, frozen=True, kw_only=True):
    """204."""

    producer_group: str


class GetConsumerRunningInfoRequestHeader(Header, frozen=True, kw_only=True):
    """307, relayed to the client with the same fields."""

    consumer_group: str
    client_id: str
    jstack_enable: bool = False


class ConsumeMessageDirectlyResultRequestHeader(Header, frozen=True, kw_only=True):
    """309, relayed to the client. `msg_id` is an offset message id."""

    consumer_group: str
    client_id: str | None = None
    msg_id: str | None = None
    broker_name: str | None = None
    topic: str | None = None
    topic_sys_flag: I32 | None = None
    group_sys_flag: I32 | None = None
