"""Headers of the nameserver: registration, routes, lists, key-value settings.

Addresses are "ip:port". Broker id 0 is the master. Timeouts in ms.
"""

import msgspec

from broker_trio.wire.headers.base import I32, I64, Header


class RegisterBrokerRequestHeader(Header, frozen=True, kw_only=True):
    """103. `body_crc32` is CRC-32 & 0x7FFFFFFF of the body as sent, 0 unchecked.

    `enable_acting_master` None comes from an old broker and differs from false.
    """

    broker_name: str
    broker_addr: str
    cluster_name: str
    ha_server_addr: str
    broker_id: I64
    heartbeat_timeout_millis: I64 | None = None
    enable_acting_master: bool | None = None
    compressed: bool = False
    body_crc32: I32 = 0
    zone_name: str | None = msgspec.field(default=None, name="__ZONE_NAME")
    store_id: str | None = None  # ours: of a replica of a pair


class RegisterBrokerResponseHeader(Header, frozen=True, kw_only=True):
    """To 103; both set for a slave whose master is alive."""

    ha_server_addr: str | None = None
    master_addr: str | None = None


class UnRegisterBrokerRequestHeader(Header, frozen=True, kw_only=True):
    """104."""

    broker_name: str
    broker_addr: str
    cluster_name: str
    broker_id: I64


class QueryDataVersionRequestHeader(Header, frozen=True, kw_only=True):
    """322."""

    broker_name: str
    broker_addr: str
    cluster_name: str
    broker_id: I64


class QueryDataVersionResponseHeader(Header, frozen=True, kw_only=True):
    """To 322: must the broker register again?"""

    changed: bool


class BrokerHeartbeatRequestHeader(Header, frozen=True, kw_only=True):
    """904."""

    cluster_name: str
    broker_addr: str
    broker_name: str
    broker_id: I64 | None = None
    epoch: I32 | None = None
    max_offset: I64 | None = None
    confirm_offset: I64 | None = None
    heartbeat_timeout_mills: I64 | None = None  # misspelt on the wire
    election_priority: I32 | None = None


class GetRouteInfoRequestHeader(Header, frozen=True, kw_only=True):
    """105."""

    topic: str
    accept_standard_json_only: bool = False
    zone_mode: bool = msgspec.field(default=False, name="__ZONE_MODE")
    zone_name: str | None = msgspec.field(default=None, name="__ZONE_NAME")


class RegisterTopicRequestHeader(Header, frozen=True, kw_only=True):
    """217."""

    topic: str


class DeleteTopicFromNamesrvRequestHeader(Header, frozen=True, kw_only=True):
    """216."""

    topic: str
    cluster_name: str | None = None


class GetTopicsByClusterRequestHeader(Header, frozen=True, kw_only=True):
    """224."""

    cluster: str


class GetBrokerMemberGroupRequestHeader(Header, frozen=True, kw_only=True):
    """901."""

    cluster_name: str
    broker_name: str


class PutKVConfigRequestHeader(Header, frozen=True, kw_only=True):
    """100."""

    namespace: str
    key: str
    value: str


class GetKVConfigRequestHeader(Header, frozen=True, kw_only=True):
    """101."""

    namespace: str
    key: str


class GetKVConfigResponseHeader(Header, frozen=True, kw_only=True):
    """To 101."""

    value: str | None = None


class DeleteKVConfigRequestHeader(Header, frozen=True, kw_only=True):
    """102."""

    namespace: str
    key: str


class GetKVListByNamespaceRequestHeader(Header, frozen=True, kw_only=True):
    """219."""

    namespace: str


class WipeWritePermOfBrokerRequestHeader(Header, frozen=True, kw_only=True):
    """205."""

    broker_name: str


class WipeWritePermOfBrokerResponseHeader(Header, frozen=True, kw_only=True):
    """To 205."""

    wipe_topic_count: I32


class AddWritePermOfBrokerRequestHeader(Header, frozen=True, kw_only=True):
    """327."""

    broker_name: str


class AddWritePermOfBrokerResponseHeader(Header, frozen=True, kw_only=True):
    """To 327."""

    add_topic_count: I32
