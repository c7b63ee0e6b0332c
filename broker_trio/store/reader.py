"""Reading messages: by queue offset, by position, by time, by key.

    get_nowait   from memory, on the loop; WouldBlock where the device would have to be asked, then
    get          the same in smaller bites, waiting

Whether a record is "in memory" is not estimated from its age, as Apache does (40 % of the RAM),
but found out: a read that need not wait was hot and has the hot limits (32 records, 256 KiB); `get`
has the cold ones (8 records, 64 KiB), so that one consumer far behind does not fill the page cache
with what nobody else wants. A get that meets cold records after hot ones answers with the hot ones.

Records leave as they lie in the log. What the device may have changed since it was written is
compared with the units and with its checksum first (`verify.py`, decision 9): all that `get` reads,
and of what is in memory all but the newest `TRUSTED_BYTES`, as far as this process wrote them
itself. `record_at` checks everything. What cannot be read or is not what the unit says is never
served: it is skipped, counted and logged, so that one bad record does not stop a queue either.

Times are the log's store times, found by halving: they ascend with the queue offset unless the
clock stepped back. A record that is deleted counts as earlier than any time.
"""

from collections.abc import Callable
from itertools import accumulate, pairwise
from struct import Struct
from typing import Final, final

import msgspec
import structlog
import trio

from broker_trio.store.commit_log import CommitLog
from broker_trio.store.config import StoreConfig
from broker_trio.store.consume_queue import ConsumeQueue
from broker_trio.store.index import Index
from broker_trio.store.index_query import OFFSET_MAX
from broker_trio.store.queues import ConsumeQueues
from broker_trio.store.read_plan import GetStatus, Limits, Run, plan_reads
from broker_trio.store.stats import StoreStats
from broker_trio.store.units import decode_unit
from broker_trio.store.verify import good_records
from broker_trio.wire.properties import find_property
from broker_trio.wire.record import RECORD_SIZE_MIN, RecordInfo, check_record

__all__ = ["GetResult", "GetStatus", "Reader"]

RECORD_SIZE_MAX: Final = 16 << 20  # larger ones would fit no frame
QUERY_BYTES_MAX: Final = 8 << 20
QUERY_ROUNDS_MAX: Final = 8  # each goes on behind what the one before found to be of other keys
TIME_AT: Final = 36  # from sysFlag on, far enough to see storeTimestamp
TIME_BYTES: Final = 40
UNKNOWN: Final = -1
TRUSTED_BYTES: Final = 1 << 30
"""Of the log's end: what was written so lately and is in memory was there all the time."""
TOLD_MAX: Final = 1_000  # damaged records that are logged, each once

log = structlog.get_logger()
_INT: Final = Struct(">i")
_LONG: Final = Struct(">q")
Records = list[bytes]


class GetResult(msgspec.Struct):
    """What a get found. `records` are whole stored records, `bytes` long in total."""

    status: GetStatus
    next_begin_offset: int
    min_offset: int
    max_offset: int
    records: Records
    count: int = 0
    bytes: int = 0
    last_physical_offset: int = UNKNOWN


@final
class Reader:
    """Read access to one store."""

    def __init__(
        self,
        log: CommitLog,
        queues: ConsumeQueues,
        index: Index,
        config: StoreConfig,
        *,
        stats: StoreStats | None = None,
        query_bytes_max: int = QUERY_BYTES_MAX,
        trusted_bytes: int = TRUSTED_BYTES,
    ) -> None:
        self._log, self._queues, self._index = log, queues, index
        self._query_bytes_max = query_bytes_max
        self.visible_end: Callable[[], int] = lambda: log.max_offset
        self._hot = Limits(config.pull_count_hot_max, config.pull_bytes_hot_max)
        self._cold = Limits(config.pull_count_cold_max, config.pull_bytes_cold_max)
        self._scan_max = config.pull_scan_units_max
        self._stats = stats or StoreStats()
        self._trusted_bytes = trusted_bytes
        self._told: set[int] = set()
        self.written_from = 0  # what lies before was written by an earlier process

    # -- by queue offset --------------------------------------------------------------------------

    def get_nowait(
        self,
        topic: str,
        queue_id: int,
        offset: int,
        *,
        count_max: int,
        bytes_max: int | None = None,
        codes: frozenset[int] | None = None,
    ) -> GetResult:
        """Messages from `offset` on that are in memory; `codes` are the tags wanted, None for all.

        About 15 µs for 32 records. Raises `trio.WouldBlock` where not even the first one is.
        """
        queue = self._queues.get(topic, queue_id)
        if queue is None or not queue.min_offset <= offset < queue.max_offset:
            return outside(queue, offset)
        limits = self._hot.asked(count_max, bytes_max)
        units = queue.units_nowait(offset, self._scan_count(limits, count_max, codes))
        plan = plan_reads(units, offset, limits, codes, self._log.min_offset)
        result = self._result(queue, plan.status, plan.next_offset)
        for run in plan.runs:
            size = sum(run.sizes)
            try:
                data = self._log.read_nowait(run.physical_offset, size)
            except trio.WouldBlock:
                if not result.count:
                    raise
                result.next_begin_offset = run.queue_offset
                break
            self._take(queue, run, data, result, trusted=self._is_trusted(run))
        return self._finished(queue, offset, result)

    async def get(
        self,
        topic: str,
        queue_id: int,
        offset: int,
        *,
        count_max: int,
        bytes_max: int | None = None,
        codes: frozenset[int] | None = None,
    ) -> GetResult:
        """The same, waiting for the device, in smaller answers. Raises `OSError`."""
        queue = self._queues.get(topic, queue_id)
        if queue is None or not queue.min_offset <= offset < queue.max_offset:
            await trio.lowlevel.checkpoint()
            return outside(queue, offset)
        limits = self._cold.asked(count_max, bytes_max)
        units = await queue.units(offset, self._scan_count(limits, count_max, codes))
        plan = plan_reads(units, offset, limits, codes, self._log.min_offset)
        result = self._result(queue, plan.status, plan.next_offset)
        for run in plan.runs:
            size = sum(run.sizes)
            data = await self._read(run.physical_offset, size)
            self._take(queue, run, data, result, trusted=False)
        return self._finished(queue, offset, result)

    def _scan_count(self, limits: Limits, count_max: int, codes: frozenset[int] | None) -> int:
        """Units to look at: with a filter as many as a pull may scan."""
        return limits.records if codes is None else max(self._scan_max, count_max)

    @staticmethod
    def _result(queue: ConsumeQueue, status: GetStatus, next_offset: int) -> GetResult:
        return GetResult(status, next_offset, queue.min_offset, queue.max_offset, [])

    def _take(
        self, queue: ConsumeQueue, run: Run, data: bytes, result: GetResult, *, trusted: bool
    ) -> None:
        """Cut what was read into records; nothing of what is not what the units say."""
        sizes = run.sizes
        if len(sizes) == 1:
            records = [data]
        else:
            records = [data[begin:end] for begin, end in pairwise(accumulate(sizes, initial=0))]
        begin, size = run.physical_offset, len(data)
        whole = len(records[-1]) == sizes[-1] and data[:4] == _INT.pack(sizes[0])
        if not data:
            return  # it was deleted meanwhile
        if not whole or not trusted:
            place = (queue.topic, queue.queue_id, run.queue_offset, begin)
            records, bad = good_records(records, *place)
            if bad:
                size = sum(map(len, records))
                self._found_bad(queue, bad)
        if records:
            result.records += records
            result.count += len(records)
            result.bytes += size
            result.last_physical_offset = begin + sum(sizes) - sizes[-1]

    def _is_trusted(self, run: Run) -> bool:
        """Whether this process wrote it, and not long ago."""
        begin = run.physical_offset
        return begin >= self.written_from and begin >= self._log.max_offset - self._trusted_bytes

    def _found_bad(self, queue: ConsumeQueue, positions: list[int]) -> None:
        """Count each; log each once, with the file to look at."""
        self._stats.corrupt_records += len(positions)
        for position in positions:
            if position in self._told or len(self._told) >= TOLD_MAX:
                continue
            self._told.add(position)
            segment = self._log.segments.find(position)
            log.error(
                "reader.corrupt_record",
                topic=queue.topic, queue_id=queue.queue_id, position=position,
                path=None if segment is None else segment.path,
                at=None if segment is None else position - segment.base,
            )  # fmt: skip

    def _finished(self, queue: ConsumeQueue, offset: int, result: GetResult) -> GetResult:
        if result.status is GetStatus.FOUND and not result.count:
            result.status = GetStatus.MESSAGE_WAS_REMOVING
        elif result.status is GetStatus.OFFSET_FOUND_NULL:
            result.next_begin_offset = queue.next_file_offset(offset)
        return result

    # -- by position ------------------------------------------------------------------------------

    async def _read(self, physical_offset: int, size: int) -> bytes:
        try:
            return self._log.read_nowait(physical_offset, size)
        except trio.WouldBlock:
            return await self._log.read(physical_offset, size)

    async def record_at(self, physical_offset: int) -> bytes | None:
        """The record that begins exactly there; None where none does. Raises `OSError`.

        Magic, position, lengths and checksums are verified: the offset may come from a peer.
        """
        found = await self._checked_at(physical_offset)
        return None if found is None else found[0]

    async def _checked_at(self, physical_offset: int) -> tuple[bytes, RecordInfo] | None:
        await trio.lowlevel.checkpoint()
        if not self._log.min_offset <= physical_offset < self.visible_end():
            return None
        head = await self._read(physical_offset, _INT.size)
        if len(head) < _INT.size:
            return None
        (size,) = _INT.unpack(head)
        if not RECORD_SIZE_MIN <= size <= RECORD_SIZE_MAX:
            return None
        data = await self._read(physical_offset, size)
        info = check_record(data, 0, physical_offset)
        return (data, info) if isinstance(info, RecordInfo) else None

    # -- by time ----------------------------------------------------------------------------------

    async def offset_by_time(
        self, topic: str, queue_id: int, timestamp_ms: int, upper: bool
    ) -> int:
        """A queue offset for a store time, within [min, max]; 0 for an unknown or empty queue.

        Lower: the first message at or after it, max offset where there is none. Upper: the last one
        at or before it, min offset where there is none. Raises `OSError`.
        """
        await trio.lowlevel.checkpoint()
        queue = self._queues.get(topic, queue_id)
        if queue is None or queue.max_offset == 0:
            return 0
        low, high = queue.min_offset, queue.max_offset
        while low < high:
            middle = (low + high) // 2
            stored_ms = await self._stored_ms(queue, middle)
            if stored_ms < timestamp_ms or (upper and stored_ms == timestamp_ms):
                low = middle + 1
            else:
                high = middle
        return max(low - upper, queue.min_offset)

    async def store_time_at(self, topic: str, queue_id: int, queue_offset: int) -> int:
        """Store time of one message in ms, -1 where it cannot be read. Raises `OSError`."""
        await trio.lowlevel.checkpoint()
        queue = self._queues.get(topic, queue_id)
        if queue is None or not queue.min_offset <= queue_offset < queue.max_offset:
            return UNKNOWN
        return await self._stored_ms(queue, queue_offset)

    async def _stored_ms(self, queue: ConsumeQueue, queue_offset: int) -> int:
        """Eight bytes of the record; -1 where it is deleted."""
        try:
            data = queue.units_nowait(queue_offset, 1)
        except trio.WouldBlock:
            data = await queue.units(queue_offset, 1)
        unit = decode_unit(data)
        if unit is None or unit.physical_offset < self._log.min_offset:
            return UNKNOWN
        head = await self._read(unit.physical_offset + TIME_AT, TIME_BYTES)
        if len(head) < TIME_BYTES:
            return UNKNOWN
        (stored_ms,) = _LONG.unpack_from(head, 32 if head[3] & 0x10 else 20)
        return int(stored_ms)

    # -- by key -----------------------------------------------------------------------------------

    async def query_by_key(
        self, topic: str, key: str, count_max: int, begin_ms: int, end_ms: int
    ) -> list[bytes]:
        """The newest records of a topic with a key, oldest first; stored within [begin, end] ms.

        The key is a UNIQ_KEY or a word of KEYS. Deleted records and other keys of the same hash
        are left out. At most `query_count_max` records and 8 MiB, but one in any case. Raises
        `OSError`.
        """
        found: dict[int, bytes] = {}
        wanted, below, total = key.encode("utf-8", "replace"), OFFSET_MAX, 0
        for _ in range(QUERY_ROUNDS_MAX):
            missing = count_max - len(found)
            offsets = await self._index.query(topic, key, missing, begin_ms, end_ms, below=below)
            for offset in reversed(offsets):
                below = offset
                record = await self._checked_at(offset)
                if record is None or not carries(record[1], topic, wanted, begin_ms, end_ms):
                    continue
                total += len(record[0])
                if found and total > self._query_bytes_max:
                    return [found[at] for at in sorted(found)]
                found[offset] = record[0]
            if not offsets or len(found) >= count_max:
                break
        return [found[at] for at in sorted(found)]


def outside(queue: ConsumeQueue | None, offset: int) -> GetResult:
    """The answer to an offset at which the queue has nothing to read."""
    if queue is None:
        return GetResult(GetStatus.NO_MATCHED_LOGIC_QUEUE, 0, 0, 0, [])
    low, high = queue.min_offset, queue.max_offset
    if high == 0:
        return GetResult(GetStatus.NO_MESSAGE_IN_QUEUE, 0, low, high, [])
    if offset < low:
        return GetResult(GetStatus.OFFSET_TOO_SMALL, low, low, high, [])
    if offset == high:
        return GetResult(GetStatus.OFFSET_OVERFLOW_ONE, offset, low, high, [])
    assert offset > high, f"{offset} is inside [{low}, {high})"
    return GetResult(GetStatus.OFFSET_OVERFLOW_BADLY, high, low, high, [])


def carries(info: RecordInfo, topic: str, key: bytes, begin_ms: int, end_ms: int) -> bool:
    """Whether a record is of that topic, key and time."""
    if info.topic != topic or not begin_ms <= info.store_timestamp_ms <= end_ms:
        return False
    if find_property(info.properties, b"UNIQ_KEY") == key:
        return True
    keys = find_property(info.properties, b"KEYS")
    return keys is not None and key in keys.split(b" ")
