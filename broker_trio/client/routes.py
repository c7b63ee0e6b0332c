"""Where topics are: questions to nameservers, and the queues that their answers stand for.

Nameservers do not know each other, and each has the whole table: they are asked in turn until one
answers, beginning with the one that answered last. One that does not know a topic may have been
started a second ago, so a topic is unknown only when nobody knows it.
"""

from collections.abc import Iterator, Sequence
from typing import Final, final

from broker_trio.client.calls import Calls
from broker_trio.client.errors import BrokerRefused, NoAnswer, NoRoute
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.names import TBW102
from broker_trio.model.route import BrokerData, MessageQueue, QueueData, TopicRouteData
from broker_trio.remoting.client import Unreachable
from broker_trio.wire.bodies.route import (
    ClusterInfo,
    decode_cluster_info,
    decode_route,
    decode_topic_list,
)
from broker_trio.wire.command import Command
from broker_trio.wire.headers.base import Header
from broker_trio.wire.headers.route import (
    DeleteTopicFromNamesrvRequestHeader,
    GetRouteInfoRequestHeader,
)

NEW_TOPIC_QUEUES_MAX: Final = 4
"""Write queues of a topic that a send creates, as RocketMQ's clients have it."""


@final
class Nameservers:
    """The nameservers of one cluster, as a client uses them. `timeout_s`: one question to one."""

    def __init__(
        self, calls: Calls, addresses: Sequence[str], *, timeout_s: float | None = None
    ) -> None:
        assert addresses, "a client needs a nameserver"
        self.addresses = tuple(addresses)
        self.answered = self.addresses[0]  # the last one that did
        self._calls, self._timeout_s = calls, timeout_s
        self._first = 0

    def turn(self) -> None:
        """Begin with the next one: over time each is asked, so a stale one is not believed long."""
        self._first = (self._first + 1) % len(self.addresses)

    def _in_turn(self) -> Iterator[tuple[int, str]]:
        count = len(self.addresses)
        for step in range(self._first, self._first + count):
            yield step % count, self.addresses[step % count]

    async def ask(self, code: RequestCode, header: Header | None = None) -> Command:
        """The first answer. Raises `BrokerRefused`, or `Unreachable` where nobody answers.

        Reading questions only: one that changes something must go to each of them.
        """
        problems = []
        for index, address in self._in_turn():
            try:
                answer = await self._ask_one(address, code, header)
            except (Unreachable, NoAnswer) as error:
                problems.append(str(error))
                continue
            self._first, self.answered = index, address
            return answer
        raise self._silent(problems)

    async def _ask_one(self, address: str, code: RequestCode, header: Header | None) -> Command:
        return await self._calls.ask(address, code, header, within_s=self._timeout_s)

    def _silent(self, problems: list[str]) -> Unreachable:
        return Unreachable("no nameserver answers", "; ".join(problems), sent=False)

    async def route(self, topic: str) -> TopicRouteData:
        """Raises `NoRoute` where nobody knows the topic, `Unreachable` where nobody answers.

        One that shows a broker without its master may have woken up just now: the others are asked
        as well, and who shows most masters is believed.
        """
        header = GetRouteInfoRequestHeader(topic=topic, accept_standard_json_only=True)
        unknown, problems, headless = 0, [], list[tuple[int, int, TopicRouteData]]()
        for index, address in self._in_turn():
            try:
                answer = await self._ask_one(address, RequestCode.GET_ROUTEINFO_BY_TOPIC, header)
                route = decode_route(answer.body, answer.serialize)
            except BrokerRefused as error:
                if error.code == ResponseCode.TOPIC_NOT_EXIST:
                    unknown += 1
                else:
                    problems.append(str(error))
                continue
            except (Unreachable, NoAnswer, RemoteProtocolError) as error:
                problems.append(str(error))
                continue
            if len(masters(route)) < len(route.broker_datas):
                headless.append((len(masters(route)), index, route))
                continue
            self._first, self.answered = index, address
            return route
        if headless:
            _, index, route = max(headless, key=lambda one: one[0])
            self._first, self.answered = index, self.addresses[index]
            return route
        if not unknown:
            raise self._silent(problems)
        why = [f"unknown to {unknown} of {len(self.addresses)} nameservers", *problems]
        raise NoRoute(topic, "; ".join(why), certain=not problems)

    async def route_for_send(self, topic: str) -> TopicRouteData:
        """The topic's route, or where brokers would create it: TBW102's, with fewer queues."""
        try:
            return await self.route(topic)
        except NoRoute as error:
            unknown = error
        try:
            return template_of(await self.route(TBW102))
        except NoRoute as error:
            why = f"{unknown.why}, and no broker creates topics on first use"
            raise NoRoute(topic, why, certain=unknown.certain and error.certain) from error

    async def cluster_info(self) -> ClusterInfo:
        answer = await self.ask(RequestCode.GET_BROKER_CLUSTER_INFO)
        return decode_cluster_info(answer.body, answer.serialize)

    async def topics(self) -> list[str]:
        """All topics, sorted; system topics too."""
        answer = await self.ask(RequestCode.GET_ALL_TOPIC_LIST_FROM_NAMESERVER)
        return sorted(decode_topic_list(answer.body, answer.serialize).topic_list)

    async def forget_topic(self, topic: str) -> None:
        """Delete it at every nameserver. Raises what the first failing one answers."""
        header = DeleteTopicFromNamesrvRequestHeader(topic=topic)
        for address in self.addresses:
            await self._calls.ask(address, RequestCode.DELETE_TOPIC_IN_NAMESRV, header)


def template_of(route: TopicRouteData) -> TopicRouteData:
    """What a topic will look like that brokers make from this template on its first message."""
    return TopicRouteData(
        queue_datas=[_clamped(queue) for queue in route.queue_datas],
        broker_datas=route.broker_datas,
    )


def _clamped(queue: QueueData) -> QueueData:
    count = min(queue.write_queue_nums, queue.read_queue_nums, NEW_TOPIC_QUEUES_MAX)
    return QueueData(queue.broker_name, count, count, queue.perm, queue.topic_sys_flag)


def masters(route: TopicRouteData) -> dict[str, str]:
    """Broker name to its master's address; names without a master are not in it."""
    return {data.broker_name: data.master for data in route.broker_datas if data.master}


def readable_address(data: BrokerData) -> str | None:
    """Whom to read from: the master, else the replica with the smallest id."""
    return data.broker_addrs[min(data.broker_addrs)] if data.broker_addrs else None


def write_queues(topic: str, route: TopicRouteData) -> list[MessageQueue]:
    """Queues that take messages now, those of one broker apart: 0 of a, 0 of b, 1 of a, …"""
    alive = masters(route)
    found = [
        MessageQueue(topic, data.broker_name, queue_id)
        for data in route.queue_datas
        if data.writable and data.broker_name in alive
        for queue_id in range(data.write_queue_nums)
    ]
    return sorted(found, key=lambda queue: (queue.queue_id, queue.broker_name))


def unwritable(route: TopicRouteData, broker_name: str | None = None) -> list[str]:
    """The brokers, where each is there with its master and takes nothing of this topic; else empty.

    Empty also where a slave may stand in for a master: its queues are shown read-only meanwhile.
    """
    alive = {
        data.broker_name
        for data in route.broker_datas
        if data.master and not data.enable_acting_master
    }
    asked = [data for data in route.queue_datas if broker_name in (None, data.broker_name)]
    final = all(data.broker_name in alive and not data.writable for data in asked)
    return sorted({data.broker_name for data in asked}) if final else []


def unreadable(route: TopicRouteData) -> list[str]:
    """The brokers, where each is there and lets nobody read this topic; else empty."""
    alive = {data.broker_name for data in route.broker_datas if data.broker_addrs}
    final = all(data.broker_name in alive and not data.readable for data in route.queue_datas)
    return sorted({data.broker_name for data in route.queue_datas}) if final else []


def read_queues(topic: str, route: TopicRouteData) -> list[MessageQueue]:
    """Queues that can be read, by broker name and queue id."""
    alive = {data.broker_name for data in route.broker_datas if data.broker_addrs}
    return sorted(
        MessageQueue(topic, data.broker_name, queue_id)
        for data in route.queue_datas
        if data.readable and data.broker_name in alive
        for queue_id in range(data.read_queue_nums)
    )
