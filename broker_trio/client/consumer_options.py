"""How one subscription behaves: what `mq.subscribe` takes, checked before anything is sent."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import Final, Literal, TypedDict

from broker_trio.client.errors import InvalidArgument, InvalidName
from broker_trio.client.process_queue import Limits
from broker_trio.client.rebalance import Strategy, average
from broker_trio.client.tag_filter import EVERYTHING, TagFilter
from broker_trio.model.names import check_group, check_topic, is_retry, retry_topic
from broker_trio.model.route import MessageQueue
from broker_trio.model.subscription import SubscriptionData

Mode = Literal["cluster", "broadcast"]
OnError = Literal["retry", "raise"]
Start = Literal["first", "last"] | datetime | Mapping[MessageQueue, int]
"""Where a group begins that has committed nothing: at the first message, behind the last one, at a
time (aware of its zone), or at these offsets (queues that are not named begin at the first)."""

RETRIES_MAX: Final = 16
TOPICS_MAX: Final = 256
CONSUME_FROM: Final = {
    "first": "CONSUME_FROM_FIRST_OFFSET",
    "last": "CONSUME_FROM_LAST_OFFSET",
    "time": "CONSUME_FROM_TIMESTAMP",
}


class SubscribeNames(TypedDict, total=False):
    """What `subscribe(topics, group=…)` takes beside; `ConsumerOptions` explains each."""

    ordered: bool
    mode: Mode
    start: Start
    concurrency: int
    on_error: OnError
    retries_max: int | None
    suspend_s: float
    handle_timeout_s: float
    drain_s: float
    prefetch: Limits
    strategy: Strategy
    hold_s: float
    commit_s: float
    rebalance_s: float
    wait_for_topic: bool


CALLED: Final = {"tags": "filter", "tag": "filter", "expression": "filter", "topic": "topics"}
"""What others call it."""


def check_names(named: Mapping[str, object]) -> None:
    """Raises `TypeError` for an option that `subscribe` does not have, with the nearest it has."""
    known = (*SubscribeNames.__annotations__, "filter", "group", "topics")
    for name in named:
        if name not in known:
            near = [CALLED[name]] if name in CALLED else get_close_matches(name, known, n=1)
            told = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"
            raise TypeError(f"subscribe() has no option {name}; {told}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    """Everything that a subscription can be told; seconds end in `_s`."""

    group: str
    filters: Mapping[str, TagFilter]
    ordered: bool = False
    """One message of a queue at a time, the next only after it; the group's members take queues
    by the brokers' locks. A message that fails holds up its queue."""
    mode: Mode = "cluster"
    """Each message to one member of the group, or "broadcast": to every one. A broadcast message
    that fails is passed by, and offsets are kept only as long as the subscription."""
    start: Start = "last"
    concurrency: int = 32
    """Messages that may be out at once, over all queues; the next one waits."""
    on_error: OnError = "retry"
    """What an exception of a handler does beside letting its message come again: nothing, or
    "raise": it goes on out of the `async with`."""
    retries_max: int | None = None
    """Attempts after the first, before a message is a dead letter. None: what the broker says of
    the group, 16 by default; ordered messages for ever."""
    suspend_s: float = 1.0
    """How long an ordered queue rests before a failed message is tried again."""
    handle_timeout_s: float = 900.0
    """A message that is out for longer counts as failed."""
    drain_s: float = 10.0
    """How long leaving waits for messages that are being handled."""
    prefetch: Limits = field(default_factory=Limits)
    """What all queues together may hold that is not settled: messages and bytes."""
    strategy: Strategy = average
    """How members share queues; the same in all of them."""
    hold_s: float = 15.0
    """How long a broker holds a pull at a queue's end."""
    commit_s: float = 5.0
    rebalance_s: float = 20.0
    """How often to look who consumes what, if nobody tells of a change."""
    wait_for_topic: bool = False
    """Subscribe to topics that do not exist yet, instead of raising `NoRoute`."""

    def __post_init__(self) -> None:
        _check_names(self.group, self.filters)
        if self.mode not in {"cluster", "broadcast"}:
            raise InvalidArgument(f"mode = {self.mode!r}, known are 'cluster' and 'broadcast'")
        if self.ordered and self.broadcast:
            raise InvalidArgument("ordered=True needs mode='cluster': broadcasts have no locks")
        if self.on_error not in {"retry", "raise"}:
            raise InvalidArgument(f"on_error = {self.on_error!r}, known are 'retry' and 'raise'")
        _check_start(self.start)
        for name in ("concurrency", "suspend_s", "handle_timeout_s", "hold_s", "commit_s"):
            if getattr(self, name) <= 0:
                raise InvalidArgument(f"{name} = {getattr(self, name)!r}, must be above 0")
        if self.drain_s < 0 or min(self.prefetch) < 1:
            raise InvalidArgument(f"drain_s = {self.drain_s!r}, prefetch = {self.prefetch}")
        if self.retries_max is not None and self.retries_max < 0:
            raise InvalidArgument(f"retries_max = {self.retries_max!r}, must not be below 0")

    @property
    def broadcast(self) -> bool:
        return self.mode == "broadcast"

    @property
    def topics(self) -> list[str]:
        """All topics to consume; in a cluster also the one where the group's retries come."""
        if self.broadcast:
            return list(self.filters)
        return [*self.filters, retry_topic(self.group)]

    @property
    def from_where(self) -> str:
        """The start as heartbeats call it."""
        return CONSUME_FROM["time" if not isinstance(self.start, str) else self.start]

    def subscriptions(self, version: int) -> list[SubscriptionData]:
        """All topics as a heartbeat says them; `version` in ms."""
        return [
            self.filters.get(topic, EVERYTHING).subscription(topic, version)
            for topic in self.topics
        ]

    def spent(self, attempt: int) -> bool:
        """Whether a message that failed at this attempt (from 1) becomes a dead letter.

        Ordered messages are tried again for ever unless told otherwise: to skip one is to break
        the order.
        """
        if self.retries_max is None:
            return not self.ordered and attempt > RETRIES_MAX
        return attempt > self.retries_max


def _check_names(group: str, filters: Mapping[str, TagFilter]) -> None:
    try:
        check_group(group)
    except ValueError as error:
        raise InvalidName(f"group = {group!r}: {error}") from error
    if not 0 < len(filters) <= TOPICS_MAX:
        raise InvalidArgument(f"{len(filters)} topics in one subscription, allowed 1..{TOPICS_MAX}")
    for topic in filters:
        try:
            check_topic(topic)
        except ValueError as error:
            raise InvalidName(f"topic = {topic!r}: {error}") from error
        if is_retry(topic):
            raise InvalidName(f"topic = {topic!r}: retries of a group come to it by themselves")


def _check_start(start: Start) -> None:
    if isinstance(start, str) and start not in {"first", "last"}:
        raise InvalidArgument(f"start = {start!r}, known are 'first', 'last', a time, offsets")
    if isinstance(start, datetime) and start.tzinfo is None:
        raise InvalidArgument(f"start = {start!r} has no time zone")
