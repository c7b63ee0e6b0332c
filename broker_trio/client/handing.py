"""Between the inbox and the handlers: what is out, what became of it, and what is over its time.

    inbox ──next()──▶ out (at most `concurrency`) ──settle──▶ resolved         acknowledged
                          │                                ├─▶ put back        ordered: rests, again
                          │ handle_timeout_s               ├─▶ Returns         to the broker
                          └──────── overdue ───────────────┘─▶ passed by       broadcast: told

A cancelled handler counts as failed: the message goes back. Where the whole subscription is being
cancelled it does not get there, stays unresolved, and comes to another member.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, final

import anyio
import anyio.lowlevel

from broker_trio.client.consumer_events import MessageDropped, MessageFailed, MessageOverdue
from broker_trio.client.delivered import Delivered, Outcome, Verdict
from broker_trio.client.errors import ClientError
from broker_trio.client.group_calls import REJECT
from broker_trio.client.membership import Membership
from broker_trio.client.process_queue import ProcessQueue
from broker_trio.client.returns import Return, Returns
from broker_trio.client.tracing import tracing_of
from broker_trio.model.message import DELAY_LEVELS_S
from broker_trio.model.route import MessageQueue

LOOK_S: Final = 1.0
YIELD_EVERY: Final = 16  # messages that are handed out at once before other tasks get a turn
UNENTERED_S: Final = 30.0


@final
class Handing:
    """Everything about messages that are out. `poke` is told of queues that may have room again."""

    def __init__(self, member: Membership, poke: Callable[[ProcessQueue], None]) -> None:
        self._member, self._poke = member, poke
        self._returns = Returns(member, self._resolved)
        session = member.session
        self._tracing = tracing_of(session.client_id, wanted=session.options.tracing)
        self._span = None if self._tracing is None else self._around
        self._out: dict[int, Delivered] = {}
        self._full = False  # whether somebody waits for a place among those that are out
        self._closed = False
        self._given = 0

    # ---- handing out

    async def next(self) -> Delivered:
        """The next message in turn. Raises `StopAsyncIteration` once closed."""
        self._given += 1
        if self._given % YIELD_EVERY:
            await anyio.lowlevel.checkpoint_if_cancelled()
        else:
            await anyio.lowlevel.checkpoint()
        member, limit = self._member, self._member.options.concurrency
        while not self._closed:
            if len(self._out) >= limit:
                await self._wait_for_place()
                continue
            taken = member.inbox.take(anyio.current_time())
            if taken is not None:
                message = Delivered(taken.source, taken.held, self.settle, self._span)
                self._out[id(message)] = message
                return message
            await member.wait(member.inbox.wake_at())
        raise StopAsyncIteration

    def _around(self, message: Delivered) -> AbstractContextManager[None]:
        """The span in which a message is handled: a child of the one in which it was sent."""
        assert self._tracing is not None
        return self._tracing.processing(
            message.topic, message.message_id, message.properties, self._member.group
        )

    async def _wait_for_place(self) -> None:
        self._full = True
        with anyio.move_on_after(UNENTERED_S) as late:
            await self._member.wait()
        if late.cancelled_caught and not any(each.entered for each in self._out.values()):
            raise ClientError(
                f"{len(self._out)} messages are out (concurrency), and none of them was entered: "
                "handle each inside `async with message`"
            )

    # ---- outcomes

    def settle(self, message: Delivered, outcome: Outcome) -> bool:
        """Whether the handler's exception ends here: it is told by an event, and tried again."""
        error = outcome.error
        stays = isinstance(error, Exception) and self._member.options.on_error == "retry"
        if self._out.pop(id(message), None) is not None:  # else it was overdue
            self._settled(message, outcome)
        return stays

    def _settled(self, message: Delivered, outcome: Outcome) -> None:
        source, offset = message.source, message.queue_offset
        if outcome.verdict is Verdict.ACKNOWLEDGED:
            source.resolve(offset)
        elif source.dropped:
            source.put_back(offset, 0.0)  # unresolved: whoever has the queue now gets it too
        else:
            self._failed(message, outcome)
        self._moved(source)

    def _failed(self, message: Delivered, outcome: Outcome) -> None:
        member, options, source = self._member, self._member.options, message.source
        rejected = outcome.verdict is Verdict.REJECTED
        member.emit(
            MessageFailed(
                member.group,
                message.topic,
                message.message_id,
                message.attempt,
                rejected,
                outcome.error,
            )
        )
        if options.broadcast:
            member.emit(MessageDropped(member.group, message.topic, message.message_id))
            source.resolve(message.queue_offset)
        elif options.ordered and not rejected and not options.spent(message.attempt):
            rest_s = DELAY_LEVELS_S[outcome.level - 1] if outcome.level else options.suspend_s
            source.put_back(message.queue_offset, anyio.current_time() + rest_s)
        else:
            level = REJECT if rejected or options.ordered else outcome.level
            held = source.give_back(message.queue_offset)
            assert held is not None, f"{message} is out and not handed out"
            self._returns.put(Return(source, held, level, outcome.cause))

    def _resolved(self, source: ProcessQueue, offset: int) -> None:
        """A broker keeps it now."""
        source.resolve(offset)
        self._moved(source)
        self._member.changed()

    def _moved(self, source: ProcessQueue) -> None:
        if source.ordered:
            self._member.inbox.mark(source)  # its next message was waiting for this one
        self._poke(source)
        if self._full or self._closed or source.ordered or source.dropped:
            self._full = False
            self._member.changed()

    # ---- time

    async def keep(self) -> None:
        """Give failed messages back, and those that nobody settles in time; until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._returns.keep)
            while True:
                await anyio.sleep(LOOK_S)
                self._give_up_overdue(anyio.current_time())

    def _give_up_overdue(self, now: float) -> None:
        limit_s = self._member.options.handle_timeout_s
        for message in [each for each in self._out.values() if now - each.held.since > limit_s]:
            member = self._member
            event = MessageOverdue(member.group, message.topic, message.message_id, limit_s)
            member.emit(event)
            cause = f"not handled within {limit_s:g} s"
            self.settle(message, Outcome(Verdict.RETRY, cause=cause))

    # ---- leaving

    @property
    def count(self) -> int:
        """Messages that are out."""
        return len(self._out)

    def busy(self) -> set[MessageQueue]:
        """Queues whose messages are being handled."""
        return {each.queue for each in self._out.values() if each.entered}

    def close(self) -> None:
        """Hand out nothing more; `async for` loops end."""
        self._closed = True
        self._member.changed()

    async def drain(self, within_s: float) -> None:
        """Until what was entered is settled and what failed is with a broker; at most so long."""
        with anyio.move_on_after(within_s):
            while len(self._returns) or any(each.entered for each in self._out.values()):
                await self._member.wait()
