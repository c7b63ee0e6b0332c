"""Subscription groups as bodies: one (200, 352), a list (225), the whole table (201), names (300).

SubscriptionGroupWrapper   dataVersion, subscriptionGroupTable {group: config},
                           forbiddenTable {group: {topic: bits}}; bit 0 forbids reading
"""

import msgspec

from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.topic import DataVersion
from broker_trio.wire.bodies.codec import decode_body, decode_request, encode_body
from broker_trio.wire.command import Serialize


class SubscriptionGroupWrapper(msgspec.Struct, frozen=True, rename="camel"):
    """A broker's groups, or one page of them."""

    data_version: DataVersion = DataVersion()
    subscription_group_table: dict[str, SubscriptionGroupConfig] = {}
    forbidden_table: dict[str, dict[str, int]] = {}


class SubscriptionGroupList(msgspec.Struct, frozen=True, rename="camel"):
    """Request of UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST."""

    group_config_list: list[SubscriptionGroupConfig] = []


class GroupForbidden(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to UPDATE_AND_GET_GROUP_FORBIDDEN."""

    group: str
    topic: str
    readable: bool | None = None


class GroupList(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to QUERY_TOPIC_CONSUME_BY_WHO."""

    group_list: list[str] = []


def encode_group_config(config: SubscriptionGroupConfig, serialize: Serialize) -> bytes:
    return encode_body(config, serialize)


def decode_group_config(data: bytes, serialize: Serialize) -> SubscriptionGroupConfig:
    return decode_request(data, serialize, SubscriptionGroupConfig)


def encode_group_table(wrapper: SubscriptionGroupWrapper, serialize: Serialize) -> bytes:
    return encode_body(wrapper, serialize)


def decode_group_table(data: bytes, serialize: Serialize) -> SubscriptionGroupWrapper:
    return decode_body(data, serialize, SubscriptionGroupWrapper)


def encode_group_config_list(configs: list[SubscriptionGroupConfig], serialize: Serialize) -> bytes:
    return encode_body(SubscriptionGroupList(configs), serialize)


def decode_group_config_list(data: bytes, serialize: Serialize) -> list[SubscriptionGroupConfig]:
    return decode_request(data, serialize, SubscriptionGroupList).group_config_list


def encode_group_forbidden(body: GroupForbidden, serialize: Serialize) -> bytes:
    return encode_body(body, serialize)


def decode_group_forbidden(data: bytes, serialize: Serialize) -> GroupForbidden:
    return decode_body(data, serialize, GroupForbidden)


def encode_group_list(groups: list[str], serialize: Serialize) -> bytes:
    return encode_body(GroupList(groups), serialize)


def decode_group_list(data: bytes, serialize: Serialize) -> list[str]:
    return decode_body(data, serialize, GroupList).group_list
