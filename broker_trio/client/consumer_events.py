"""Events of consumers; see events.py for the rest and for how they are listened to."""

from dataclasses import dataclass

from broker_trio.client.events import Event
from broker_trio.model.route import MessageQueue


@dataclass(frozen=True, slots=True)
class MessageFailed(Event):
    """A handler raised, or the message was retried or rejected by it; `attempt` counts from 1."""

    group: str
    topic: str
    message_id: str
    attempt: int
    rejected: bool
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class MessageOverdue(Event):
    """Handed out and not settled in time: it is given back, and a later outcome is ignored."""

    group: str
    topic: str
    message_id: str
    after_s: float


@dataclass(frozen=True, slots=True)
class MessageDropped(Event):
    """A message failed that was broadcast: nobody keeps it for this client, so it is passed by."""

    group: str
    topic: str
    message_id: str


@dataclass(frozen=True, slots=True)
class PullFailed(Event):
    """A queue cannot be read; it is tried again. Told once, until a pull works again."""

    group: str
    queue: MessageQueue
    cause: str


@dataclass(frozen=True, slots=True)
class PullRecovered(Event):
    """A queue of which `PullFailed` told is read again."""

    group: str
    queue: MessageQueue


@dataclass(frozen=True, slots=True)
class OffsetMoved(Event):
    """Reading goes on elsewhere: messages were deleted, or an operator set the group back."""

    group: str
    queue: MessageQueue
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class LockLost(Event):
    """An ordered queue was given up because its lock could not be renewed."""

    group: str
    queue: MessageQueue
    cause: str


@dataclass(frozen=True, slots=True)
class CommitFailed(Event):
    """An offset could not be stored; it is tried again. Told once, until a commit works again."""

    group: str
    queue: MessageQueue
    cause: str


@dataclass(frozen=True, slots=True)
class ReturnFailed(Event):
    """A message that failed could not be given back to any broker; it is tried again."""

    group: str
    topic: str
    message_id: str
    cause: str


@dataclass(frozen=True, slots=True)
class TopicMissing(Event):
    """A subscribed topic has no route: it is looked for again and again."""

    group: str
    topic: str
    cause: str
