"""Topics: made, changed, listed, looked at, deleted.

A topic lives on brokers; nameservers only know it. So changes go to the masters, which register
them, and a deletion goes to the masters first and then to every nameserver: the other way round
the next registration would bring the topic back. Each step may be done again.
"""

from collections.abc import Mapping
from typing import NamedTuple, final

import msgspec

from broker_trio.client.admin.asking import Asked, ask_each
from broker_trio.client.admin.brokers import Brokers
from broker_trio.client.calls import Calls
from broker_trio.client.errors import InvalidName
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import RequestCode
from broker_trio.model.names import TBW102, check_topic, is_dlq, is_retry, is_system_topic
from broker_trio.model.route import MessageQueue, TopicRouteData
from broker_trio.model.topic import TopicConfig
from broker_trio.wire.bodies.group import decode_group_list
from broker_trio.wire.bodies.topic_config import (
    TopicOffset,
    decode_topic_config,
    decode_topic_config_table,
    decode_topic_stats,
)
from broker_trio.wire.headers.admin import (
    CreateTopicRequestHeader,
    DeleteTopicRequestHeader,
    GetAllTopicConfigRequestHeader,
    GetTopicConfigRequestHeader,
    GetTopicStatsInfoRequestHeader,
    QueryTopicConsumeByWhoRequestHeader,
)


class TopicState(NamedTuple):
    """What a topic's brokers say of it. `problems` are those that said nothing, with the reason."""

    queues: dict[MessageQueue, TopicOffset]
    puts_per_s: float
    problems: dict[str, str]

    @property
    def messages(self) -> int:
        """Messages that are still there."""
        return sum(each.max_offset - each.min_offset for each in self.queues.values())

    @property
    def ever(self) -> int:
        """Messages that ever were there: what moves is a rate."""
        return sum(each.max_offset for each in self.queues.values())


@final
class Topics:
    """The topics of one cluster."""

    def __init__(self, calls: Calls, nameservers: Nameservers, brokers: Brokers) -> None:
        self._calls, self._nameservers, self._brokers = calls, nameservers, brokers

    # -- looking -------------------------------------------------------------------------------

    async def names(self, *, system: bool = False) -> list[str]:
        """All topics, sorted. Without `system` those that users made: no retry, no dead letters."""
        topics = await self._nameservers.topics()
        if system:
            return topics
        info = await self._nameservers.cluster_info()
        hidden = {*info.cluster_addr_table, *info.broker_addr_table}
        hidden |= {f"{name}_REPLY_TOPIC" for name in info.cluster_addr_table}
        return [
            name
            for name in topics
            if not (is_system_topic(name) or is_retry(name) or is_dlq(name) or name in hidden)
        ]

    async def route(self, topic: str) -> TopicRouteData:
        """Its queues and brokers, as the nameservers tell it now. Raises `NoRoute`."""
        return await self._nameservers.route(topic)

    async def configs(self, topic: str) -> dict[str, TopicConfig]:
        """The topic's configuration on each of its masters, by broker name. Raises `NoRoute`."""

        async def one(address: str) -> TopicConfig:
            header = GetTopicConfigRequestHeader(topic=topic)
            answer = await self._calls.ask(address, RequestCode.GET_TOPIC_CONFIG, header)
            return decode_topic_config(answer.body, answer.serialize)

        return (await ask_each(await self._brokers.masters_of_topic(topic), one)).some()

    async def tables(self) -> Asked[str, dict[str, TopicConfig]]:
        """Every topic of every master: broker name to topic to configuration."""

        async def one(address: str) -> dict[str, TopicConfig]:
            answer = await self._calls.ask(
                address, RequestCode.GET_ALL_TOPIC_CONFIG, GetAllTopicConfigRequestHeader()
            )
            return decode_topic_config_table(answer.body, answer.serialize).topic_config_table

        return await ask_each(await self._brokers.masters(), one)

    async def state(self, topic: str) -> TopicState:
        """Bounds of every queue and the rate of the last minute. Raises `NoRoute`."""

        async def one(address: str) -> tuple[dict[MessageQueue, TopicOffset], float]:
            header = GetTopicStatsInfoRequestHeader(topic=topic)
            answer = await self._calls.ask(address, RequestCode.GET_TOPIC_STATS_INFO, header)
            table = decode_topic_stats(answer.body, answer.serialize)
            return table.offset_table, table.topic_put_tps

        asked = await ask_each(await self._brokers.readable_of_topic(topic), one)
        tables = asked.some().values()
        queues = {queue: offset for table, _ in tables for queue, offset in table.items()}
        return TopicState(
            dict(sorted(queues.items())),
            sum(rate for _, rate in tables),
            {name: str(problem) for name, problem in asked.problems.items()},
        )

    async def groups_of(self, topic: str) -> list[str]:
        """Groups that subscribe to the topic now or have offsets in it. Raises `NoRoute`."""

        async def one(address: str) -> list[str]:
            header = QueryTopicConsumeByWhoRequestHeader(topic=topic)
            answer = await self._calls.ask(address, RequestCode.QUERY_TOPIC_CONSUME_BY_WHO, header)
            return decode_group_list(answer.body, answer.serialize)

        asked = await ask_each(await self._brokers.masters_of_topic(topic), one)
        return sorted({group for groups in asked.some().values() for group in groups})

    # -- changing ------------------------------------------------------------------------------

    async def put(
        self, config: TopicConfig, cluster: str = "", broker: str = "", *, attributes: str = ""
    ) -> list[str]:
        """Create the topic, or make it like this, on every master that fits; gives their names.

        `attributes` is `+key=value,-key`. Raises `InvalidName`, before anything is
        asked; `NoSuchBroker`; what the first broker answers that refuses.
        """
        try:
            check_topic(config.topic_name)
        except ValueError as error:
            raise InvalidName(str(error)) from error
        wanted = await self._brokers.masters(cluster, broker)
        await self._put_on(wanted, config, attributes)
        return list(wanted)

    async def _put_on(
        self, addresses: Mapping[str, str], config: TopicConfig, attributes: str = ""
    ) -> None:
        header = CreateTopicRequestHeader(
            topic=config.topic_name,
            default_topic=TBW102,
            read_queue_nums=config.read_queue_nums,
            write_queue_nums=config.write_queue_nums,
            perm=config.perm,
            topic_filter_type=config.topic_filter_type,
            topic_sys_flag=config.topic_sys_flag,
            order=config.order,
            attributes=attributes or None,
        )
        for address in addresses.values():
            await self._calls.ask(address, RequestCode.UPDATE_AND_CREATE_TOPIC, header)

    async def change(
        self, topic: str, changes: Mapping[str, int | bool], broker: str = ""
    ) -> dict[str, TopicConfig]:
        """Change these members on the brokers that have it and leave the rest; what it is now.

        Members: read_queue_nums, write_queue_nums, perm, order. Raises `NoRoute`.
        """
        masters = await self._brokers.masters_of_topic(topic)
        found = {}
        for name, config in (await self.configs(topic)).items():
            if broker in {"", name}:
                found[name] = msgspec.structs.replace(config, **changes)
                await self._put_on({name: masters[name]}, found[name])
        return found

    async def delete(self, topic: str) -> list[str]:
        """Brokers first, then nameservers; gives the brokers' names. Raises `NoRoute`."""
        found = await self._brokers.masters_of_topic(topic)
        for address in found.values():
            header = DeleteTopicRequestHeader(topic=topic)
            await self._calls.ask(address, RequestCode.DELETE_TOPIC_IN_BROKER, header)
        await self._nameservers.forget_topic(topic)
        return sorted(found)
