"""The broker's tables on disk, in Apache's shape, so that a store can change hands both ways.

    topics.json              dataVersion, topicConfigTable
    subscriptionGroup.json   dataVersion, forbiddenTable, subscriptionGroupTable
    consumerOffset.json      dataVersion, offsetTable {"topic@group": {queue id: offset}}
    delayOffset.json         dataVersion, offsetTable {delay level: offset}

Written as Apache pretty-prints them: tabs, a member a line, but integer keys bare and all on one
line with the brace on the next:

    {
    \t"offsetTable":{
    \t\t"T@G":{0:12,1:7
    \t\t}
    \t}
    }

Reading takes any JSON that Apache's reader takes, and ignores unknown members.
"""

from typing import Any, Final, TypeVar

import msgspec

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.wire.bodies import shape
from broker_trio.wire.bodies.codec import decode_body
from broker_trio.wire.bodies.group import SubscriptionGroupWrapper
from broker_trio.wire.bodies.offsets import ConsumerOffsetsFile, DelayOffsetTable
from broker_trio.wire.command import Serialize

T = TypeVar("T", bound=msgspec.Struct)

_EMPTY: Final = b"\x00\t\n\r "


class TopicsFile(msgspec.Struct, frozen=True, rename="camel"):
    """topics.json."""

    data_version: DataVersion = DataVersion()
    topic_config_table: dict[str, TopicConfig] = {}


def decode_topics_file(data: bytes) -> TopicsFile:
    """Raises `RemoteProtocolError` for what is no such file, as all readers here do."""
    return _decode(data, TopicsFile)


def encode_topics_file(version: DataVersion, table: dict[str, TopicConfig]) -> bytes:
    return _encode(TopicsFile(version, table))


def decode_groups_file(data: bytes) -> SubscriptionGroupWrapper:
    """subscriptionGroup.json."""
    return _decode(data, SubscriptionGroupWrapper)


def encode_groups_file(
    version: DataVersion,
    table: dict[str, SubscriptionGroupConfig],
    forbidden: dict[str, dict[str, int]],
) -> bytes:
    return _encode(SubscriptionGroupWrapper(version, table, forbidden))


def decode_consumer_offsets_file(data: bytes) -> ConsumerOffsetsFile:
    """consumerOffset.json."""
    return _decode(data, ConsumerOffsetsFile)


def encode_consumer_offsets_file(
    version: DataVersion,
    table: dict[str, dict[int, int]],
    pair_epoch: str | None = None,
    pair_resets: dict[str, int] | None = None,
) -> bytes:
    return _encode(ConsumerOffsetsFile(version, table, pair_epoch, pair_resets))


def decode_delay_offsets_file(data: bytes) -> DelayOffsetTable:
    """delayOffset.json."""
    return _decode(data, DelayOffsetTable)


def encode_delay_offsets_file(version: DataVersion, table: dict[int, int]) -> bytes:
    return _encode(DelayOffsetTable(version, table))


def _decode(data: bytes, kind: type[T]) -> T:
    """A torn write leaves nothing, or zeroes: that is damage, never an empty table."""
    if not data.strip(_EMPTY):
        raise RemoteProtocolError(f"a file of {len(data)} bytes that says nothing")
    return decode_body(data, Serialize.JSON, kind)


def _encode(value: msgspec.Struct) -> bytes:
    parts: list[str] = []
    _print(shape.write(value, str), "\n", parts)
    return "".join(parts).encode()


def _print(tree: Any, newline: str, parts: list[str]) -> None:
    """`newline` is a line break and the tabs of the level that the tree stands on."""
    inner = newline + "\t"
    if isinstance(tree, dict) and tree:
        parts.append("{")
        for count, (key, member) in enumerate(tree.items()):
            comma = "," if count else ""
            name = key if isinstance(key, int) else f"{inner}{_text(key)}"
            if type(member) is int:
                parts.append(f"{comma}{name}:{member}")
            else:
                parts.append(f"{comma}{name}:")
                _print(member, inner, parts)
        parts.append(f"{newline}}}")
    elif isinstance(tree, list) and tree:
        parts.append("[")
        for count, member in enumerate(tree):
            parts.append(f",{inner}" if count else inner)
            _print(member, inner, parts)
        parts.append(f"{newline}]")
    else:
        parts.append(_text(tree))


def _text(scalar: object) -> str:
    return msgspec.json.encode(scalar).decode()
