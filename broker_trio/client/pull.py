"""The pull API: queues and offsets in the program's own hands.

    queues(topic) ──▶ begin_offset ──▶ pull ──▶ the program handles the messages ──▶ commit ──▶ …

No heartbeat is sent and no other member of the group is told: two pullers of one group both read
everything. Sharing queues, retries and order are what `subscribe` is for.
"""

from datetime import datetime
from typing import Literal, NamedTuple, final

from broker_trio.client.errors import InvalidArgument, InvalidName, NoRoute
from broker_trio.client.group_calls import GroupCalls
from broker_trio.client.process_queue import PULL_MAX
from broker_trio.client.received import Received
from broker_trio.client.routes import read_queues
from broker_trio.client.session import Session
from broker_trio.client.tag_filter import TagFilter
from broker_trio.model.names import check_group, check_topic
from broker_trio.model.route import MessageQueue

COUNT_MAX = 1_024
WAIT_MAX_S = 60.0


class Bounds(NamedTuple):
    """A queue's first offset, and the one that its next message will get."""

    begin: int
    end: int


class Pull(NamedTuple):
    """What one pull brought. The next one goes on at `next_offset`, whatever was in this one.

    `at_end`: there was nothing more just now. `moved`: the offset asked for is not in the queue.
    """

    messages: list[Received]
    next_offset: int
    bounds: Bounds
    at_end: bool
    moved: bool


@final
class Puller:
    """Reads queues of one cluster in the name of one group.

    Every method raises `Unreachable`, `NoAnswer` or `BrokerRefused` within the client's
    `call_timeout_s`, and `NoRoute` for a queue whose broker is not known. `queues` raises
    `NoPermission` for a topic that may not be read.
    """

    def __init__(self, session: Session, group: str) -> None:
        try:
            check_group(group)
        except ValueError as error:
            raise InvalidName(f"group = {group!r}: {error}") from error
        self._session, self.group = session, group
        self._calls = GroupCalls(session.calls, group, session.client_id)

    async def queues(self, topic: str) -> list[MessageQueue]:
        """The topic's readable queues, by broker name and number."""
        try:
            check_topic(topic)
        except ValueError as error:
            raise InvalidName(f"topic = {topic!r}: {error}") from error
        found = read_queues(topic, await self._session.routes.get_readable(topic))
        if not found:
            raise NoRoute(topic, "none of its brokers is there")
        return found

    async def committed(self, queue: MessageQueue) -> int | None:
        """Where the group stands; None where it never committed."""
        return await self._calls.committed(await self._address(queue), queue)

    async def begin_offset(
        self, queue: MessageQueue, start: Literal["first", "last"] | datetime = "last"
    ) -> int:
        """Where the group stands, else the queue's first message, its end, or that time."""
        committed = await self.committed(queue)
        if committed is not None:
            return committed
        if isinstance(start, datetime):
            return await self.offset_of_time(queue, start)
        bounds = await self.bounds(queue)
        return bounds.begin if start == "first" else bounds.end

    async def bounds(self, queue: MessageQueue) -> Bounds:
        """What the queue holds now."""
        return Bounds(*await self._calls.bounds(await self._address(queue), queue))

    async def offset_of_time(self, queue: MessageQueue, when: datetime) -> int:
        """The first message stored then or later; the queue's end where there is none."""
        if when.tzinfo is None:
            raise InvalidArgument(f"{when!r} has no time zone")
        ms = int(when.timestamp() * 1_000)
        return await self._calls.offset_of_time(await self._address(queue), queue, ms)

    async def pull(
        self,
        queue: MessageQueue,
        offset: int,
        *,
        filter: str = "*",  # noqa: A002 -- what RocketMQ calls it
        count: int = PULL_MAX,
        wait_s: float = 0.0,
    ) -> Pull:
        """Messages from `offset` on, at most `count`; brokers may send fewer.

        With `wait_s` the broker holds the question at the queue's end until a message comes.
        """
        if not 1 <= count <= COUNT_MAX or not 0 <= wait_s <= WAIT_MAX_S or offset < 0:
            raise InvalidArgument(
                f"offset = {offset}, count = {count} (1 to {COUNT_MAX}), "
                f"wait_s = {wait_s} (0 to {WAIT_MAX_S:g})"
            )
        tags = TagFilter.parse(filter)
        address = await self._address(queue)
        pulled = await self._calls.pull(
            address, queue, offset, filter=tags, count=count, wait_ms=int(wait_s * 1_000)
        )
        return Pull(
            [Received(message, queue.broker_name) for message in pulled.messages],
            pulled.next_offset,
            Bounds(pulled.min_offset, pulled.max_offset),
            pulled.at_end,
            pulled.moved,
        )

    async def commit(self, queue: MessageQueue, offset: int) -> None:
        """Everything below `offset` is consumed by the group."""
        if offset < 0:
            raise InvalidArgument(f"offset = {offset}, must not be below 0")
        await self._calls.commit(await self._address(queue), queue, offset)

    async def _address(self, queue: MessageQueue) -> str:
        return await self._session.broker_address(queue.broker_name, read=True)
