"""How old the oldest kept and unconsumed messages are: looked up now and then, for metrics.

A store time lies in the log, maybe on the device, and a scrape does not wait for devices. So a task
looks every ten seconds and keeps *moments*, from which ages are made when somebody asks: they go on
growing while the task waits. Of a group that was level, the moment is that of the look: whatever
waits by now was stored after it. So an age may be ten seconds too high, and is never too low.
"""

from typing import Final, final

import trio

from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.runtime.seams import Clock
from broker_trio.store.store import Store
from broker_trio.wire.record import store_timestamp_of

LOOK_INTERVAL_S: Final = 10.0
PAIRS_MAX: Final = 5_000
"""(topic, group) pairs of one look; what is beyond has no age, and still its lag in messages."""

Pair = tuple[str, str]  # topic, group


@final
class Ages:
    """A service. Times are ms since 1970, of the messages' storing; 0 where there is none."""

    def __init__(self, clock: Clock, store: Store, offsets: ConsumerOffsets) -> None:
        self._clock, self._store, self._offsets = clock, store, offsets
        self.oldest_ms = 0
        self.unconsumed_ms: dict[Pair, int] = {}
        self.unpulled_ms: dict[Pair, int] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look until cancelled."""
        task_status.started()
        while True:
            await self.look()
            await trio.sleep(LOOK_INTERVAL_S)

    async def look(self) -> None:
        """Look once. What changes meanwhile is seen the next time."""
        log = self._store.log
        oldest = None
        if log.min_offset < log.max_offset:
            oldest = await self._store.reader.record_at(log.min_offset)
        self.oldest_ms = 0 if oldest is None else store_timestamp_of(oldest)
        unconsumed: dict[Pair, int] = {}
        unpulled: dict[Pair, int] = {}
        for topic, group, queues in list(self._offsets.items())[:PAIRS_MAX]:
            for queue_id, offset in list(queues.items()):
                pulled = max(offset, self._offsets.query_pulled(group, topic, queue_id))
                await self._note(unconsumed, (topic, group), queue_id, offset)
                await self._note(unpulled, (topic, group), queue_id, pulled)
            await trio.lowlevel.checkpoint()
        self.unconsumed_ms, self.unpulled_ms = unconsumed, unpulled

    async def _note(self, found: dict[Pair, int], pair: Pair, queue_id: int, offset: int) -> None:
        """Keep the store time of the queue's message at `offset`, or now; the oldest counts."""
        store, topic = self._store, pair[0]
        begin = max(offset, store.queues.min_offset(topic, queue_id))
        stored_ms = self._clock.wall_ms()
        if begin < store.queues.max_offset(topic, queue_id):
            stored_ms = await store.reader.store_time_at(topic, queue_id, begin)
        if stored_ms > 0:
            found[pair] = min(stored_ms, found.get(pair, stored_ms))
