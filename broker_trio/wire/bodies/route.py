"""Bodies of the nameserver: routes, clusters, lists of topics, key-value tables.

Numeric keys of `brokerAddrs`: a route (105) is standard JSON for clients that say so or that are
new enough, bare for the others (old Go releases split the text themselves); ClusterInfo (106) and
BrokerMemberGroup (901) are always bare. Java reads both.
"""

from typing import Final

import msgspec

from broker_trio.model.route import BrokerData, TopicRouteData
from broker_trio.wire.bodies.codec import decode_body, encode_body
from broker_trio.wire.command import Serialize

STANDARD_JSON_VERSION: Final = 401  # V4_9_4: from here on clients get standard JSON routes


class ClusterInfo(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_BROKER_CLUSTER_INFO: broker names with their replicas, clusters with names."""

    broker_addr_table: dict[str, BrokerData] = {}
    cluster_addr_table: dict[str, list[str]] = {}


class TopicList(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to 206, 224, 304, 305, 311 to 313 and 343."""

    topic_list: list[str] = []
    broker_addr: str | None = None


class KVTable(msgspec.Struct, frozen=True, rename="camel"):
    """Texts by name: broker runtime information (28), order settings (103), a namespace (219)."""

    table: dict[str, str] = {}


class BrokerMemberGroup(msgspec.Struct, frozen=True, rename="camel"):
    """The replicas of one broker name that are registered: broker id -> address."""

    cluster: str
    broker_name: str
    broker_addrs: dict[int, str] = {}


class _MemberGroupAnswer(msgspec.Struct, frozen=True, rename="camel"):
    broker_member_group: BrokerMemberGroup


def wants_standard_json(version: int, *, accept_standard_json_only: bool) -> bool:
    """Whether a client with this version ordinal gets quoted numeric keys in its route."""
    return accept_standard_json_only or version >= STANDARD_JSON_VERSION


def encode_route(route: TopicRouteData, serialize: Serialize, *, standard: bool = True) -> bytes:
    return encode_body(route, serialize, bare_keys=not standard)


def decode_route(data: bytes, serialize: Serialize) -> TopicRouteData:
    return decode_body(data, serialize, TopicRouteData)


def encode_cluster_info(info: ClusterInfo, serialize: Serialize) -> bytes:
    return encode_body(info, serialize, bare_keys=True)


def decode_cluster_info(data: bytes, serialize: Serialize) -> ClusterInfo:
    return decode_body(data, serialize, ClusterInfo)


def encode_topic_list(
    topics: list[str], serialize: Serialize, *, broker_addr: str | None = None
) -> bytes:
    return encode_body(TopicList(topics, broker_addr), serialize)


def decode_topic_list(data: bytes, serialize: Serialize) -> TopicList:
    return decode_body(data, serialize, TopicList)


def encode_kv_table(table: dict[str, str], serialize: Serialize) -> bytes:
    return encode_body(KVTable(table), serialize)


def decode_kv_table(data: bytes, serialize: Serialize) -> dict[str, str]:
    return decode_body(data, serialize, KVTable).table


def encode_broker_member_group(group: BrokerMemberGroup, serialize: Serialize) -> bytes:
    return encode_body(_MemberGroupAnswer(group), serialize, bare_keys=True)


def decode_broker_member_group(data: bytes, serialize: Serialize) -> BrokerMemberGroup:
    return decode_body(data, serialize, _MemberGroupAnswer).broker_member_group
