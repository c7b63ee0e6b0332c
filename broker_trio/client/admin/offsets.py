"""Where groups stand: lag, resets that show first what they will do, copies.

    lag            208   what is there, what is consumed, since when it waits
    everything     317   the same for every group of a broker
    plan_reset     29 30 31   from where to where, queue by queue; nothing has changed yet
    reset          222   carries out a plan, queue by queue, with explicit offsets

A plan is made of explicit offsets, so that what was shown is what is done, however much arrives in
between. A reset happens in the broker: online clients follow with their next pull.
"""

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, final

from broker_trio.client.admin.asking import ask_each
from broker_trio.client.admin.brokers import Brokers
from broker_trio.client.admin.problems import BadPlace
from broker_trio.client.calls import Calls, answered
from broker_trio.client.errors import NoRoute
from broker_trio.client.routes import Nameservers, read_queues
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.route import MessageQueue
from broker_trio.wire.bodies.offsets import (
    ConsumeStats,
    OffsetWrapper,
    decode_broker_consume_stats,
    decode_consume_stats,
    decode_reset_offset,
)
from broker_trio.wire.headers.admin import (
    GetConsumeStatsInBrokerRequestHeader,
    GetConsumeStatsRequestHeader,
)
from broker_trio.wire.headers.offset import (
    CloneGroupOffsetRequestHeader,
    GetMaxOffsetRequestHeader,
    GetMaxOffsetResponseHeader,
    GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader,
    QueryConsumerOffsetRequestHeader,
    QueryConsumerOffsetResponseHeader,
    ResetOffsetRequestHeader,
    SearchOffsetRequestHeader,
    SearchOffsetResponseHeader,
    UpdateConsumerOffsetRequestHeader,
)

NONE: Final = -1


class AtTime(NamedTuple):
    """A place in a queue: the first message stored at or after this time (ms since 1970)."""

    timestamp_ms: int


Place = Literal["first", "last"] | int | AtTime
"""Where a group is put: a queue's beginning or end, an explicit offset, or a time."""


class Lag(NamedTuple):
    """A group's place in every queue that it reads, and what it consumed a second of late."""

    group: str
    queues: dict[MessageQueue, OffsetWrapper]
    consumed_per_s: float
    problems: dict[str, str]

    @property
    def messages(self) -> int:
        """Messages that wait to be consumed."""
        return sum(map(behind, self.queues.values()))

    @property
    def consumed(self) -> int:
        """Messages that ever were consumed: what moves is a rate."""
        return sum(each.consumer_offset for each in self.queues.values())

    @property
    def in_flight(self) -> int:
        """Messages that clients have pulled and not acknowledged."""
        return sum(max(each.pull_offset - each.consumer_offset, 0) for each in self.queues.values())

    def by_topic(self) -> dict[str, "Lag"]:
        """One for each topic, by name."""
        topics: dict[str, dict[MessageQueue, OffsetWrapper]] = {}
        for queue, place in self.queues.items():
            topics.setdefault(queue.topic, {})[queue] = place
        return {
            topic: Lag(self.group, queues, self.consumed_per_s, self.problems)
            for topic, queues in sorted(topics.items())
        }


def behind(place: OffsetWrapper) -> int:
    """Messages of one queue that wait."""
    return max(place.broker_offset - place.consumer_offset, 0)


class Move(NamedTuple):
    """One queue of a reset: from where to where. `before` is -1 where nothing was committed."""

    queue: MessageQueue
    before: int
    after: int
    low: int
    high: int

    @property
    def again(self) -> int:
        """Messages that will be consumed once more."""
        return max(self.stood - self.after, 0)

    @property
    def skipped(self) -> int:
        """Messages that will not be consumed."""
        return max(self.after - self.stood, 0)

    @property
    def stood(self) -> int:
        """Where the group reads now, as far as there is anything."""
        return max(self.before, self.low)


@final
class Offsets:
    """The consumer offsets of one cluster."""

    def __init__(self, calls: Calls, nameservers: Nameservers, brokers: Brokers) -> None:
        self._calls, self._nameservers, self._brokers = calls, nameservers, brokers

    # -- lag -----------------------------------------------------------------------------------

    async def lag(self, group: str, topic: str = "") -> Lag:
        """The group's place in each queue, of one topic or of all that it consumes."""
        header = GetConsumeStatsRequestHeader(consumer_group=group, topic=topic or None)

        async def one(address: str) -> ConsumeStats:
            answer = await self._calls.ask(address, RequestCode.GET_CONSUME_STATS, header)
            return decode_consume_stats(answer.body, answer.serialize)

        asked = await ask_each(await self._brokers.masters(), one)
        stats = asked.some().values()
        table = {queue: place for each in stats for queue, place in each.offset_table.items()}
        problems = {name: str(problem) for name, problem in asked.problems.items()}
        rate = sum(each.consume_tps for each in stats)
        return Lag(group, dict(sorted(table.items())), rate, problems)

    async def everything(self) -> dict[str, Lag]:
        """The lag of every group that ever committed anything, by name."""
        header = GetConsumeStatsInBrokerRequestHeader(is_order=False)

        async def one(address: str) -> list[dict[str, list[ConsumeStats]]]:
            answer = await self._calls.ask(address, RequestCode.GET_BROKER_CONSUME_STATS, header)
            body = decode_broker_consume_stats(answer.body, answer.serialize)
            return body.consume_stats_list

        asked = await ask_each(await self._brokers.masters(), one)
        problems = {name: str(problem) for name, problem in asked.problems.items()}
        found: dict[str, Lag] = {}
        for groups in (table for tables in asked.some().values() for table in tables):
            for group, stats in groups.items():
                lag = found.get(group) or Lag(group, {}, 0.0, problems)
                for each in stats:
                    lag.queues.update(each.offset_table)
                rate = lag.consumed_per_s + sum(each.consume_tps for each in stats)
                found[group] = lag._replace(consumed_per_s=rate)
        return dict(sorted(found.items()))

    # -- one queue -----------------------------------------------------------------------------

    async def queues(self, topic: str, only: int | None = None) -> dict[MessageQueue, str]:
        """The topic's readable queues with the masters that have them.

        Raises `NoRoute` where none can be read, `BadPlace` for a queue id that no broker has.
        """
        route = await self._nameservers.route(topic)
        addresses = {data.broker_name: data.master for data in route.broker_datas}
        queues = read_queues(topic, route)
        found = {
            queue: address
            for queue in queues
            if (address := addresses.get(queue.broker_name)) and only in {None, queue.queue_id}
        }
        if not queues:
            raise NoRoute(topic, "none of its queues may be read")
        if not found:
            last = max(queue.queue_id for queue in queues)
            raise BadPlace(f"topic {topic} has no queue {only} on a master: queue ids 0 to {last}")
        return found

    async def bounds(self, queue: MessageQueue, address: str) -> tuple[int, int]:
        """The queue's first offset, and the next one to be written."""
        low = await self._calls.ask(
            address,
            RequestCode.GET_MIN_OFFSET,
            GetMinOffsetRequestHeader(topic=queue.topic, queue_id=queue.queue_id),
        )
        high = await self._calls.ask(
            address,
            RequestCode.GET_MAX_OFFSET,
            GetMaxOffsetRequestHeader(topic=queue.topic, queue_id=queue.queue_id),
        )
        return (
            answered(low, GetMinOffsetResponseHeader).offset,
            answered(high, GetMaxOffsetResponseHeader).offset,
        )

    async def at_time(self, queue: MessageQueue, address: str, timestamp_ms: int) -> int:
        """The offset of the first message stored at or after that time."""
        header = SearchOffsetRequestHeader(
            topic=queue.topic, queue_id=queue.queue_id, timestamp=timestamp_ms
        )
        answer = await self._calls.ask(address, RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, header)
        return answered(answer, SearchOffsetResponseHeader).offset

    async def committed(self, group: str, queue: MessageQueue, address: str) -> int:
        """The next message that the group will consume, -1 where it committed nothing."""
        header = QueryConsumerOffsetRequestHeader(
            consumer_group=group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            set_zero_if_not_found=False,
        )
        answer = await self._calls.ask(
            address,
            RequestCode.QUERY_CONSUMER_OFFSET,
            header,
            accept=(ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND),
        )
        if answer.code != ResponseCode.SUCCESS:
            return NONE
        return answered(answer, QueryConsumerOffsetResponseHeader).offset

    async def commit(self, group: str, queue: MessageQueue, address: str, offset: int) -> None:
        """Everything below `offset` is done with."""
        header = UpdateConsumerOffsetRequestHeader(
            consumer_group=group,
            topic=queue.topic,
            queue_id=queue.queue_id,
            commit_offset=offset,
        )
        await self._calls.ask(address, RequestCode.UPDATE_CONSUMER_OFFSET, header)

    # -- changes -------------------------------------------------------------------------------

    async def plan_reset(
        self, group: str, topic: str, to: Place, *, queue_id: int | None = None
    ) -> list[Move]:
        """What a reset would do, queue by queue. Raises `NoRoute`, and `BadPlace` for an explicit
        offset or a queue id that the topic does not have."""
        moves = []
        for queue, address in (await self.queues(topic, queue_id)).items():
            low, high = await self.bounds(queue, address)
            before = await self.committed(group, queue, address)
            if isinstance(to, AtTime):
                after = min(max(await self.at_time(queue, address, to.timestamp_ms), low), high)
            elif isinstance(to, int):
                after = to
            else:
                after = low if to == "first" else high
            moves.append(checked(Move(queue, before, after, low, high)))
        return moves

    async def reset(self, group: str, moves: Iterable[Move]) -> dict[MessageQueue, int]:
        """Carry out a plan; gives the new offsets. May be repeated. Raises what a broker answers:
        code 26 for a group that it does not have."""
        masters, found = await self._brokers.masters(), {}
        for move in moves:
            queue = move.queue
            header = ResetOffsetRequestHeader(
                group=group,
                topic=queue.topic,
                queue_id=queue.queue_id,
                offset=move.after,
                timestamp=0,
                is_force=True,
            )
            answer = await self._calls.ask(
                masters[queue.broker_name], RequestCode.INVOKE_BROKER_TO_RESET_OFFSET, header
            )
            found.update(decode_reset_offset(answer.body, answer.serialize))
        return found

    async def clone(self, source: str, target: str, topic: str = "") -> list[str]:
        """Give `target` the places of `source`, in one topic or in all; the brokers' names."""
        header = CloneGroupOffsetRequestHeader(
            src_group=source, dest_group=target, topic=topic or None
        )
        wanted = await self._brokers.masters()
        for address in wanted.values():
            await self._calls.ask(address, RequestCode.CLONE_GROUP_OFFSET, header)
        return list(wanted)


def checked(move: Move) -> Move:
    """The same move. Raises `BadPlace` for an explicit offset that the queue does not have."""
    if not move.low <= move.after <= move.high:
        raise BadPlace(
            f"offset {move.after} is outside of queue {move.queue.queue_id} of "
            f"{move.queue.broker_name}, which has {move.low} to {move.high}"
        )
    return move
