"""Consumer groups: made, changed, listed, looked at, deleted, barred from a topic.

A group has one configuration on every master, and the brokers do not compare them: `configs` shows
each broker's own, so that a difference can be seen.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, final

import msgspec

from broker_trio.client.admin.asking import Asked, ask_each
from broker_trio.client.admin.brokers import Brokers
from broker_trio.client.admin.problems import NoSuchGroup
from broker_trio.client.calls import Calls
from broker_trio.client.errors import BrokerRefused, InvalidName
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.group import SubscriptionGroupConfig
from broker_trio.model.names import check_group, is_system_group
from broker_trio.wire.bodies.group import (
    decode_group_config,
    decode_group_forbidden,
    decode_group_table,
    encode_group_config,
)
from broker_trio.wire.bodies.route import decode_topic_list
from broker_trio.wire.headers.admin import (
    DeleteSubscriptionGroupRequestHeader,
    GetAllSubscriptionGroupRequestHeader,
    GetSubscriptionGroupConfigRequestHeader,
    QueryTopicsByConsumerRequestHeader,
    UpdateGroupForbiddenRequestHeader,
)

FORBID_READ: Final = 1 << 2  # numbered like the permissions
TOOL_GROUPS: Final = frozenset(
    {
        "TOOLS_CONSUMER",
        "FILTERSRV_CONSUMER",
        "SELF_TEST_C_GROUP",
        "CID_ONS-HTTP-PROXY",
        "CID_ONSAPI_PULL",
        "CID_ONSAPI_PERMISSION",
        "CID_ONSAPI_OWNER",
    }
)
"""Groups that every broker has without anybody's asking."""


class GroupTable(NamedTuple):
    """The groups of one broker, and what they are barred from: group to topics."""

    configs: dict[str, SubscriptionGroupConfig]
    barred: dict[str, list[str]]


def is_hidden(group: str) -> bool:
    """Whether users did not make this group."""
    return is_system_group(group) or group in TOOL_GROUPS


@final
class Groups:
    """The consumer groups of one cluster."""

    def __init__(self, calls: Calls, brokers: Brokers) -> None:
        self._calls, self._brokers = calls, brokers

    # -- looking -------------------------------------------------------------------------------

    async def tables(self) -> Asked[str, GroupTable]:
        """Every group of every master, by broker name."""

        async def one(address: str) -> GroupTable:
            answer = await self._calls.ask(
                address,
                RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
                GetAllSubscriptionGroupRequestHeader(),
            )
            body = decode_group_table(answer.body, answer.serialize)
            barred = {
                group: sorted(topic for topic, bits in topics.items() if bits & FORBID_READ)
                for group, topics in body.forbidden_table.items()
            }
            return GroupTable(body.subscription_group_table, barred)

        return await ask_each(await self._brokers.masters(), one)

    async def names(self, *, system: bool = False) -> list[str]:
        """All groups, sorted; without `system` those that users made."""
        tables = (await self.tables()).some().values()
        found = {group for table in tables for group in table.configs}
        return sorted(group for group in found if system or not is_hidden(group))

    async def configs(self, group: str) -> dict[str, SubscriptionGroupConfig]:
        """The group on each master that has it. Raises `NoSuchGroup` where none does."""

        async def one(address: str) -> SubscriptionGroupConfig | None:
            header = GetSubscriptionGroupConfigRequestHeader(group=group)
            try:
                answer = await self._calls.ask(
                    address, RequestCode.GET_SUBSCRIPTIONGROUP_CONFIG, header
                )
            except BrokerRefused as refusal:
                if refusal.code == ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST:
                    return None
                raise
            return decode_group_config(answer.body, answer.serialize)

        asked = (await ask_each(await self._brokers.masters(), one)).some()
        found = {name: config for name, config in asked.items() if config is not None}
        if not found:
            raise NoSuchGroup(group, len(asked))
        return found

    async def topics_of(self, group: str) -> list[str]:
        """Topics that the group subscribes to now or has offsets in, on any master."""

        async def one(address: str) -> list[str]:
            header = QueryTopicsByConsumerRequestHeader(group=group)
            answer = await self._calls.ask(address, RequestCode.QUERY_TOPICS_BY_CONSUMER, header)
            return decode_topic_list(answer.body, answer.serialize).topic_list

        asked = await ask_each(await self._brokers.masters(), one)
        return sorted({topic for topics in asked.some().values() for topic in topics})

    # -- changing ------------------------------------------------------------------------------

    async def put(
        self, config: SubscriptionGroupConfig, cluster: str = "", broker: str = ""
    ) -> list[str]:
        """Create the group, or make it like this, on every master that fits; their names.

        Raises `InvalidName`, `NoSuchBroker`, what a broker answers that refuses.
        """
        try:
            check_group(config.group_name)
        except ValueError as error:
            raise InvalidName(str(error)) from error
        wanted = await self._brokers.masters(cluster, broker)
        for address in wanted.values():
            await self._put_at(address, config)
        return list(wanted)

    async def _put_at(self, address: str, config: SubscriptionGroupConfig) -> None:
        await self._calls.ask(
            address,
            RequestCode.UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
            body=lambda serialize: encode_group_config(config, serialize),
        )

    async def change(
        self, group: str, changes: Mapping[str, int | bool]
    ) -> dict[str, SubscriptionGroupConfig]:
        """Change these members on every master that has it and leave the rest; what it is now."""
        masters, found = await self._brokers.masters(), {}
        for name, config in (await self.configs(group)).items():
            found[name] = msgspec.structs.replace(config, **changes)
            await self._put_at(masters[name], found[name])
        return found

    async def delete(self, group: str, *, offsets: bool) -> list[str]:
        """Delete it where it is, with its offsets where `offsets`; the brokers' names.

        Its retry topic and its dead letters stay: they are messages. Raises `NoSuchGroup`.
        """
        masters, found = await self._brokers.masters(), list(await self.configs(group))
        header = DeleteSubscriptionGroupRequestHeader(group_name=group, clean_offset=offsets)
        for name in found:
            await self._calls.ask(masters[name], RequestCode.DELETE_SUBSCRIPTIONGROUP, header)
        return found

    async def allow(self, group: str, topic: str, *, readable: bool) -> dict[str, bool]:
        """Let the group read the topic, or bar it, on each of the topic's masters."""
        header = UpdateGroupForbiddenRequestHeader(group=group, topic=topic, readable=readable)
        found = {}
        for name, address in (await self._brokers.masters_of_topic(topic)).items():
            answer = await self._calls.ask(
                address, RequestCode.UPDATE_AND_GET_GROUP_FORBIDDEN, header
            )
            body = decode_group_forbidden(answer.body, answer.serialize)
            found[name] = bool(body.readable)
        return found
