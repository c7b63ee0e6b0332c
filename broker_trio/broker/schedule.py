"""The 18 delay levels: messages wait in SCHEDULE_TOPIC_XXXX and are put again when they are due.

    send with DELAY=n ─▶ to_schedule ─▶ SCHEDULE_TOPIC_XXXX, queue n-1, with REAL_TOPIC, REAL_QID
                                              │ unit.tags_code = store time + delay: when it is due
    real topic ◀─ append ◀─ rebuild ◀─────────┘ one position per level, in store order

All messages of a level wait equally long, so that a queue is sorted by due time and its head
decides. One task serves all levels: it delivers what is due, then sleeps until the earliest head is
due, or until something arrives. While anything waits it looks at least once a second, because the
wall clock may step; a due time further ahead than the level's own delay can only come from such a
step, and counts as due now.

Delivered at least once, never skipped (storage.md §14.3 row 29):

* A position moves on only after the message was appended. A refused append (disk full, busy) leaves
  it, and the level tries again a moment later.
* What is *persisted* in delayOffset.json lags behind: a position is written there only once the
  delivered message is on disk. Power loss may repeat messages, by what was delivered since the last
  write; it cannot lose one.
* A record that may not be read yet is waited for: a new master shows what it has of earlier epochs
  when its slave confirms it.
* A record that is unreadable, or names no real topic, is counted and passed: one bad record must
  not stop a level for ever.
* Positions outside the queue are clamped whenever they are met, not only at start: above its end
  after a truncation (the level would wait for ever), below its begin after retention.
"""

from collections import deque
from typing import Final, NamedTuple, final

import msgspec
import structlog
import trio

from broker_trio.broker.metadata import MetadataFile
from broker_trio.broker.properties import checked
from broker_trio.broker.topics import Topics
from broker_trio.model import names
from broker_trio.model.errors import LocalProtocolError, Refused, RemoteProtocolError
from broker_trio.model.hashes import tags_code
from broker_trio.model.hosts import encode_host
from broker_trio.model.message import (
    DELAY_LEVELS_S,
    PROPERTY_DELAY,
    PROPERTY_REAL_QID,
    PROPERTY_REAL_TOPIC,
    PROPERTY_TAGS,
    PROPERTY_TIMER_DELAY_MS,
    PROPERTY_TIMER_DELAY_SEC,
    PROPERTY_TIMER_DELIVER_MS,
)
from broker_trio.model.topic import DataVersion
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.store.entry import Entry
from broker_trio.store.store import Draft, Store
from broker_trio.store.units import UNIT_BYTES, Unit, decode_unit
from broker_trio.wire.bodies.config_files import (
    decode_delay_offsets_file,
    encode_delay_offsets_file,
)
from broker_trio.wire.properties import format_properties, parse_properties
from broker_trio.wire.record import decode_record

log = structlog.get_logger()

PATH: Final = "config/delayOffset.json"
PERSIST_INTERVAL_S: Final = 2.0
LEVELS: Final = range(1, len(DELAY_LEVELS_S) + 1)
BATCH_MAX: Final = 256  # messages of a level in one go, then others get the loop
RETRY_S: Final = 0.1  # after a refused append
IDLE_S: Final = 3600.0  # longest sleep while nothing waits; an arrival wakes it
LOOK_S: Final = 1.0  # while anything waits: the wall clock may step
HALF_TOPICS: Final = frozenset({names.TRANS_HALF_TOPIC, names.TRANS_OP_HALF_TOPIC})
TIMER_PROPERTIES: Final = (
    PROPERTY_TIMER_DELAY_SEC, PROPERTY_TIMER_DELAY_MS, PROPERTY_TIMER_DELIVER_MS,
)  # fmt: skip


class Progress(NamedTuple):
    """Where a level stands: next to deliver, and the end of its queue."""

    level: int
    offset: int
    max_offset: int


class _Step(NamedTuple):
    """A level's position, and how far the log must be flushed before that may be persisted."""

    physical_end: int
    level: int
    offset: int


def to_schedule(draft: Draft, level: int) -> Draft:
    """The message as it waits. `level` above the highest means the highest; timers are dropped.

    Raises `Refused` 13 where there is no room for what is added to its properties.
    """
    level = min(level, len(DELAY_LEVELS_S))
    properties = parse_properties(draft.properties)
    for name in TIMER_PROPERTIES:
        properties.pop(name, None)
    properties[PROPERTY_DELAY] = str(level)
    properties[PROPERTY_REAL_TOPIC] = draft.topic
    properties[PROPERTY_REAL_QID] = str(draft.queue_id)
    return msgspec.structs.replace(
        draft,
        topic=names.SCHEDULE_TOPIC,
        queue_id=level - 1,
        properties=checked(format_properties(properties)),
        tags_code=0,  # the store puts the due time there: it knows the store timestamp
    )


def from_schedule(data: bytes) -> Draft:
    """The message as it is delivered, from its waiting record.

    REAL_TOPIC and REAL_QID stay among its properties, as RocketMQ 5.3 leaves them. Raises
    `RemoteProtocolError` where the record names no place to deliver it to.
    """
    message = decode_record(data)
    properties = dict(message.properties)
    topic, queue_id = properties.get(PROPERTY_REAL_TOPIC), properties.get(PROPERTY_REAL_QID)
    if topic is None or queue_id is None or not queue_id.isdecimal() or len(queue_id) > 9:
        raise RemoteProtocolError("a delayed message without REAL_TOPIC and REAL_QID")
    if topic in HALF_TOPICS or topic == names.SCHEDULE_TOPIC:
        raise RemoteProtocolError(f"a delayed message for {topic}")
    try:
        names.check_topic(topic)
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from error
    for name in (PROPERTY_DELAY, *TIMER_PROPERTIES):
        properties.pop(name, None)
    tags = properties.get(PROPERTY_TAGS)
    return Draft(
        topic=topic,
        queue_id=int(queue_id),
        body=message.body,
        properties=format_properties(properties),
        flag=message.flag,
        sys_flag=message.sys_flag,
        born_timestamp_ms=message.born_timestamp_ms,
        born_host=encode_host(message.born_host),
        tags_code=tags_code(tags) if tags else 0,
        reconsume_times=message.reconsume_times,
    )


@final
class Schedule:
    """Positions of all levels, and the task that moves them."""

    def __init__(self, disk: Disk, store: Store, clock: Clock, topics: Topics) -> None:
        self.file = MetadataFile(disk, PATH, interval_s=PERSIST_INTERVAL_S)
        self.data_version = DataVersion()
        self.delivered = 0
        self.passed = 0  # records that could not be delivered, ever
        self.refused = 0
        self._store, self._clock, self._topics = store, clock, topics
        self._positions: dict[int, int] = {}
        self._durable: dict[int, int] = {}
        self._steps: deque[_Step] = deque()
        self._wake = trio.Event()
        self._active = True
        store.arrivals.append(self._arrived)

    def load(self, *, log_is_empty: bool) -> None:
        """Read the file. Raises `StoreCorrupt` (see metadata.py)."""
        loaded = self.file.load(decode_delay_offsets_file, self._encode, log_is_empty=log_is_empty)
        if loaded is not None:
            self.data_version = loaded.data_version
            self._durable = {level: loaded.offset_table.get(level, 0) for level in LEVELS}
            self._positions = dict(self._durable)

    def to_schedule(self, draft: Draft, level: int) -> Draft:
        """See the function of this name; what is appended wakes the task by itself."""
        return to_schedule(draft, level)

    # -- what is persisted ---------------------------------------------------------------------

    def _encode(self) -> bytes:
        self._settle()
        self.data_version = self.data_version.next(self._clock.wall_ms())
        return encode_delay_offsets_file(self.data_version, self._durable)

    def _settle(self) -> None:
        """Take over the positions whose delivered messages are on disk by now."""
        flushed = self._store.log.flushed_offset
        while self._steps and self._steps[0].physical_end <= flushed:
            step = self._steps.popleft()
            self._durable[step.level] = step.offset

    def offsets(self) -> dict[int, int]:
        """Level -> next offset to deliver, for request 45 and slaves."""
        return {level: self._positions.get(level, 0) for level in LEVELS}

    def progress(self) -> list[Progress]:
        """All levels, for runtime information and metrics."""
        queues = self._store.queues
        return [
            Progress(level, offset, queues.max_offset(names.SCHEDULE_TOPIC, level - 1))
            for level, offset in self.offsets().items()
        ]

    # -- pairs ---------------------------------------------------------------------------------

    def set_active(self, *, active: bool) -> None:
        """Only a master delivers. It begins where what was delivered is known to be on this disk:
        the price of a failover is a message twice, never one that was skipped."""
        if active and not self._active:
            self._settle()
            self._steps.clear()
            self._positions = dict(self._durable)
            self._wake.set()
        self._active = active

    def adopt(self, positions: dict[int, int], physical_end: int) -> None:
        """As a slave: where the master stood when its log ended at `physical_end`."""
        self._settle()
        self._steps = deque(step for step in self._steps if step.physical_end < physical_end)
        self._steps.extend(
            _Step(physical_end, level, offset)
            for level, offset in sorted(positions.items())
            if level in LEVELS
        )
        self._settle()
        self.file.touch()

    # -- delivery ------------------------------------------------------------------------------

    def _arrived(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.topic == names.SCHEDULE_TOPIC:
                self._wake.set()
                return

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until cancelled. A cancelled delivery was appended or not begun."""
        task_status.started()
        while True:
            self._wake = trio.Event()
            pause = IDLE_S
            for level in LEVELS if self._active else ():
                pause = min(pause, await self._deliver_level(level))
            if self._steps:
                pause = min(pause, LOOK_S)
                if self._steps[0].physical_end <= self._store.log.flushed_offset:
                    self.file.touch()
                    self._settle()
            with trio.move_on_after(pause):
                await self._wake.wait()

    async def _deliver_level(self, level: int) -> float:
        """Deliver what is due, a batch at most; seconds until it is worth looking again."""
        begin = offset = self._clamped(level)
        end = self._store.queues.max_offset(names.SCHEDULE_TOPIC, level - 1)
        if begin == end:
            return IDLE_S
        pause = 0.0
        for unit in await self._units(level, begin, min(end - begin, BATCH_MAX)):
            pause = await self._deliver_one(level, offset, unit)
            if pause > 0:
                break
            offset += 1
        if offset > begin:
            self._store.write_out()
            self._positions[level] = offset
            self._steps.append(_Step(self._store.log.max_offset, level, offset))
            self.file.touch()
            await trio.lowlevel.checkpoint()
        return min(pause, LOOK_S)

    async def _units(self, level: int, begin: int, count: int) -> list[Unit | None]:
        """Units from `begin`, at least one; what is None cannot be read."""
        queue = self._store.queues.get(names.SCHEDULE_TOPIC, level - 1)
        if queue is None:
            return [None]
        try:
            data = queue.units_nowait(begin, count)
        except trio.WouldBlock:
            data = await queue.units(begin, count)
        if not data:
            return [None]
        return [decode_unit(data[at : at + UNIT_BYTES]) for at in range(0, len(data), UNIT_BYTES)]

    async def _deliver_one(self, level: int, offset: int, unit: Unit | None) -> float:
        """0 once the message is delivered or must be passed, else seconds until the next try."""
        if unit is None:
            return self._pass(level, offset, "no unit in the queue")
        wait_s = (unit.tags_code - self._clock.wall_ms()) / 1000
        if 0 < wait_s <= DELAY_LEVELS_S[level - 1]:
            return wait_s
        if self._store.bound <= unit.physical_offset < self._store.log.max_offset:
            return RETRY_S  # it was confirmed under another master
        data = await self._store.reader.record_at(unit.physical_offset)
        if data is None:
            return self._pass(level, offset, "no readable record")
        try:
            draft = from_schedule(data)
            self._make_readable(draft)
            self._store.append(draft)
        except (RemoteProtocolError, LocalProtocolError) as error:
            return self._pass(level, offset, str(error))
        except Refused as refusal:
            self.refused += 1
            log.info("schedule.refused", level=level, offset=offset, reason=refusal.remark)
            return RETRY_S
        self.delivered += 1
        return 0.0

    def _make_readable(self, draft: Draft) -> None:
        """Where that cannot be, it is delivered all the same: one message stops no level."""
        try:
            self._topics.make_readable(draft.topic, draft.queue_id)
        except Refused as refusal:
            log.warning("schedule.unreadable", topic=draft.topic, reason=refusal.remark)

    def _pass(self, level: int, offset: int, problem: str) -> float:
        self.passed += 1
        log.warning("schedule.passed", level=level, offset=offset, problem=problem)
        return 0.0

    def _clamped(self, level: int) -> int:
        offset = self._positions.get(level, 0)
        queues = self._store.queues
        low = queues.min_offset(names.SCHEDULE_TOPIC, level - 1)
        high = queues.max_offset(names.SCHEDULE_TOPIC, level - 1)
        clamped = min(max(offset, low), high)
        if clamped != offset:
            log.warning(
                "schedule.clamped", level=level, before=offset, after=clamped, min=low, max=high
            )
            self._positions[level] = clamped
            self._steps = deque(one for one in self._steps if one.level != level)
            self._durable[level] = min(self._durable.get(level, 0), clamped)
            self.file.touch()
        return clamped
