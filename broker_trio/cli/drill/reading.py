"""Reading throughout a drill: whether who knows a route gets its messages while sends are refused.

One message at a time, a queue after the other: the newest one that an earlier look had seen, so
that what is asked for is there. Each look is a sample: `read`, or the cause why not.
"""

from collections.abc import Callable
from typing import Final, final

import trio

from broker_trio.client.errors import ClientError
from broker_trio.model.errors import BrokerTrioError
from broker_trio.ops.causes import cause_of
from broker_trio.ops.drill.records import READ, READER, Sample
from broker_trio.ops.ledger.read import Source
from broker_trio.runtime.seams import Clock

LOOK_S: Final = 0.25
EMPTY: Final = "nothing there"


@final
class Looker:
    """A reader of one topic that notes how each of its looks went."""

    def __init__(self, source: Source, clock: Clock, note: Callable[[Sample], None]) -> None:
        self._source, self._clock, self._note = source, clock, note
        self._known: dict[tuple[str, int], int] = {}  # by queue: an offset that has a message

    async def run(self) -> None:
        """Until it is cancelled."""
        turn = 0
        while True:
            at_ms = self._clock.wall_ms()
            try:
                state = await self._look(turn)
            except ClientError as error:
                state = cause_of(error)
            except BrokerTrioError as error:
                state = type(error).__name__
            if state:
                self._note(Sample(at_ms=at_ms, who=READER, state=state))
            turn += 1
            await trio.sleep(LOOK_S)

    async def _look(self, turn: int) -> str:
        """READ, EMPTY where what had been counted is not given, "" where nothing is known yet."""
        queues = await self._source.queues()
        broker, queue = queues[turn % len(queues)]
        known = self._known.get((broker, queue))
        if known is None:
            _, end = await self._source.bounds(broker, queue)
            if end:
                self._known[broker, queue] = end - 1
            return ""
        batch = await self._source.pull(broker, queue, known, 1)
        if not batch.messages:
            del self._known[broker, queue]
            return EMPTY
        _, end = await self._source.bounds(broker, queue)
        self._known[broker, queue] = max(end - 1, 0)
        return READ
