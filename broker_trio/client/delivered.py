"""A message in the hands of its consumer, until it is settled.

    async for message in subscription:
        async with message:            leaving normally     acknowledged
            …                          by an exception      tried again later
            message.reject()           then, either way     to the dead letters
            message.retry(delay=30)                         tried again in 30 s

Settling waits for nothing: what a broker must be told is told by the subscription's own tasks, and
the offset that is committed does not pass the message before that has happened.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum
from types import TracebackType
from typing import Final, NamedTuple, Self, final

from broker_trio.client.consumer_errors import MessageSettled
from broker_trio.client.message import Delay, level_of
from broker_trio.client.process_queue import Held, ProcessQueue
from broker_trio.client.received import Received

CAUSE_CHARS_MAX: Final = 200


class Verdict(Enum):
    """What became of a message."""

    ACKNOWLEDGED = "acknowledged"
    RETRY = "retry"
    REJECTED = "rejected"


class Outcome(NamedTuple):
    """A verdict; `level` is the delay level of a retry, 0 = longer each time."""

    verdict: Verdict
    level: int = 0
    cause: str = ""
    error: BaseException | None = None


Settle = Callable[["Delivered", Outcome], bool]
"""Told once for each message; whether the exception stays inside the `async with`."""

Span = Callable[["Delivered"], AbstractContextManager[None]]
"""What surrounds a message's handling: see tracing.py."""


@final
class Delivered(Received):
    """One message. Entered once by `async with`; its members can be read at any time."""

    __slots__ = ("_around", "_entered", "_outcome", "_settle", "_span", "held", "source")

    def __init__(
        self, source: ProcessQueue, held: Held, settle: Settle, span: Span | None = None
    ) -> None:
        super().__init__(held.message, source.queue.broker_name, failed=held.failed)
        self.source, self.held, self._settle = source, held, settle
        self._span = span
        self._around: AbstractContextManager[None] | None = None
        self._entered = False
        self._outcome: Outcome | None = None

    @property
    def revoked(self) -> bool:
        """Its queue went to another member, which gets it too: what is done now is done twice."""
        return self.source.dropped

    # ---- what becomes of it

    def reject(self, cause: str = "") -> None:
        """When the block is left, however: to the group's dead letters, and no further attempt.

        `cause` is kept with the dead letter, at most 200 characters of it.
        """
        self._outcome = Outcome(Verdict.REJECTED, cause=cause)

    def retry(self, delay: Delay | None = None, cause: str = "") -> None:
        """When the block is left, however: again later, after one of the 18 delays; None: longer
        with each attempt. Raises `UnsupportedDelay`.
        """
        self._outcome = Outcome(Verdict.RETRY, level_of(delay), cause)

    @property
    def entered(self) -> bool:
        return self._entered

    async def __aenter__(self) -> Self:
        if self._entered:
            raise MessageSettled(self.message_id)
        self._entered = True
        if self._span is not None:
            self._around = self._span(self)
            self._around.__enter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if self._around is not None:
            self._around.__exit__(kind, error, trace)
        cause = "" if error is None else f"{type(error).__name__}: {error}"[:CAUSE_CHARS_MAX]
        chosen = self._outcome
        if chosen is None:
            chosen = Outcome(Verdict.ACKNOWLEDGED if error is None else Verdict.RETRY)
        chosen = chosen._replace(error=error, cause=chosen.cause or cause)
        return self._settle(self, chosen)
