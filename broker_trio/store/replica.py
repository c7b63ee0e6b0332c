"""A log that follows another one: its bytes as they are, to the last bit.

    bytes of any cut ──▶ Splitter ──▶ whole records, whole fillers ──▶ log, page cache
                         keeps the beginning of a record            └▶ entries, until visible

The log's end is the end of a whole record at every moment, so that recovery, watermarks and acks
mean here what they mean on a master. A filler counts with everything that it fills: what stands
behind it up to the segment's end is copied too, byte for byte.

Before a log that diverged is cut, the tail goes to a file of its own, `divergent/<begin>-<end>.log`
(whole records as they lay in the log), and is on disk. Then marks and checkpoint stop claiming it,
then log, queues and index end at one place. A crash between any two steps leaves a log that ends
at the cut or where it ended before; the same attach cuts it again.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, final
from zlib import crc32

import structlog
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, RemoteProtocolError
from broker_trio.runtime.seams import Disk
from broker_trio.store import scan as scans
from broker_trio.store.appender import Appender
from broker_trio.store.commit_log import CommitLog
from broker_trio.store.dispatcher import Dispatcher
from broker_trio.store.durability import Durability
from broker_trio.store.entry import Entry
from broker_trio.store.flush import Flusher
from broker_trio.store.index import Index
from broker_trio.store.queues import ConsumeQueues
from broker_trio.wire.record import Blank, Flaw, RecordInfo, check_record

NO_BOUND: Final = (1 << 63) - 1
"""The bound of a store that is not part of a synchronous pair."""
CRC_BYTES: Final = 64 << 10  # of a log's end that two replicas compare when they meet
COPY_BYTES: Final = 1 << 20
DIVERGENT_FOLDER: Final = "divergent"
DIVERGENT_FILES_MAX: Final = 1_000  # more means that nobody looks: refuse to cut

log = structlog.get_logger()


class Whole(NamedTuple):
    """Bytes that may be appended: whole records, or a filler with what it fills."""

    data: bytes
    entries: list[Entry]


@final
class Splitter:
    """Cuts a stream of log bytes into whole records. Buffered: less than one record, or filler."""

    def __init__(self, position: int, segment_bytes: int, record_bytes_max: int) -> None:
        """`position`: where the stream begins, the end of the log."""
        self._position, self._segment_bytes = position, segment_bytes
        self._record_bytes_max = record_bytes_max
        self._kept = b""

    @property
    def next_offset(self) -> int:
        """Where the next bytes must lie."""
        return self._position + len(self._kept)

    def feed(self, data: bytes) -> list[Whole]:
        """What became whole. Raises `RemoteProtocolError` for bytes that are no record."""
        data = self._kept + data if self._kept else data
        begin, result, at = self._position, [], 0
        entries: list[Entry] = []
        first = 0
        while True:
            size, entry = self._next(data, at, begin + at)
            if not size:
                break
            if entry is not None:
                entries.append(entry)
            at += size
            if entry is None or (begin + at) % self._segment_bytes == 0:
                result.append(Whole(data[first:at], entries))
                entries, first = [], at
        if at > first:
            result.append(Whole(data[first:at], entries))
        self._kept = data[at:]
        self._position = begin + at
        return result

    def _next(self, data: bytes, at: int, position: int) -> tuple[int, Entry | None]:
        """Size of what begins there, 0 for not whole yet; and its entry if it is a record."""
        left = self._segment_bytes - position % self._segment_bytes
        found = check_record(data, at, position)
        if isinstance(found, RecordInfo):
            if found.size >= left:
                raise self._corrupt(position, f"a record of {found.size}, {left} bytes are left")
            return found.size, Entry(*found)
        if isinstance(found, Blank):
            if found.size != left or left > self._record_bytes_max:
                raise self._corrupt(position, f"a filler of {found.size}, {left} bytes are left")
            return (left, None) if len(data) - at >= left else (0, None)
        if found.flaw is Flaw.SHORT:
            return 0, None
        if found.flaw is Flaw.CUT and found.size <= min(left, self._record_bytes_max):
            return 0, None
        raise self._corrupt(position, str(found))

    @staticmethod
    def _corrupt(position: int, problem: str) -> RemoteProtocolError:
        return RemoteProtocolError(f"no record of the log at {position}: {problem}")


class Followed(Protocol):
    """The store, as a replica of it needs it."""

    log: CommitLog
    queues: ConsumeQueues
    index: Index
    bound: int

    def write_out(self) -> None: ...

    def raise_bound(self, physical_end: int) -> None: ...


@final
class Replica:
    """Raw appends, cuts and checksums of one open store. Its owner appends nothing meanwhile."""

    def __init__(
        self,
        disk: Disk,
        store: Followed,
        appender: Appender,
        dispatcher: Dispatcher,
        flusher: Flusher,
        durability: Durability,
    ) -> None:
        self._disk, self._store, self._log = disk, store, store.log
        self._appender, self._dispatcher = appender, dispatcher
        self._flusher, self._durability = flusher, durability
        self.appended_count = self.appended_bytes = 0

    # -- appending --------------------------------------------------------------------------------

    def splitter(self) -> Splitter:
        """For the bytes that come behind the log's end as it is now."""
        segment_bytes = self._log.segments.segment_bytes
        return Splitter(self._log.max_offset, segment_bytes, scans.RECORD_BYTES_MAX)

    def append(self, whole: Whole) -> None:
        """To the page cache. Raises `Refused` for a full disk, `StoreFailed`."""
        self._log.append_raw(whole.data)
        entries = whole.entries
        if entries:
            self._log.newest = entries[-1]
            self._dispatcher.pending.extend(entries)
            self._store.queues.assigned(entries)
            self._appender.newest_ms = max(
                self._appender.newest_ms, *[one.store_timestamp_ms for one in entries]
            )
            self.appended_count += len(entries)
        self.appended_bytes += len(whole.data)

    async def flushed(self, physical_end: int) -> None:
        """Wait until the log is durable up to there. Raises `StoreFailed`."""
        await self._flusher.wait_flushed(physical_end)

    # -- comparing --------------------------------------------------------------------------------

    async def tail_crc(self, end: int, begin: int | None = None) -> tuple[int, int]:
        """(begin, CRC-32) of the log's bytes before `end`: the last 64 KiB, or from `begin` on.

        Raises `OSError`.
        """
        at = max(self._log.min_offset, end - CRC_BYTES) if begin is None else begin
        begin, crc = min(at, end), 0
        at = begin
        while at < end:
            data = await self._log.read(at, min(COPY_BYTES, end - at))
            if not data:
                break  # deleted meanwhile: another checksum, and a refusal that is repeated
            crc = crc32(data, crc)
            at += len(data)
        return begin, crc

    async def boundary_before(self, position: int) -> int:
        """The nearest place at or before it where a record ends, or the log begins."""
        low = self._log.min_offset
        last = await self._last_before(position)
        if last is None:
            return low
        end = last.physical_offset + last.size
        return max(low, end if end <= position else last.physical_offset)

    def ends_before(self, physical_end: int) -> Callable[[str, int], int]:
        """Where each queue ended, (topic, queue id) to offset, when the log ended there."""
        hidden: dict[tuple[str, int], int] = {}
        for entry in self._dispatcher.pending:
            if entry.physical_offset >= physical_end:
                hidden.setdefault((entry.topic, entry.queue_id), entry.queue_offset)
        queues = self._store.queues

        def end(topic: str, queue_id: int) -> int:
            queue = queues.get(topic, queue_id)
            if queue is not None and queue.physical_end > physical_end:
                return queue.end_before(physical_end)
            known = hidden.get((topic, queue_id))
            return queues.next_offset(topic, queue_id) if known is None else known

        return end

    def came_back(self, topic: str, physical_end: int) -> bool:
        """Whether something of a topic that was deleted there is behind it, or on its way."""
        behind = (q.physical_end > physical_end for q in self._store.queues.queues_of(topic))
        return any(behind) or any(one.topic == topic for one in self._dispatcher.pending)

    # -- hiding -----------------------------------------------------------------------------------

    async def hide_from(self, physical_end: int) -> int:
        """Let readers see only what ends before it; how many records that hides.

        At a start: recovery dispatched everything that the log holds. Raises `OSError`.
        """
        store, end = self._store, max(physical_end, self._log.min_offset)
        store.bound = end
        if end >= self._log.max_offset:
            return 0
        newest = await self._last_before(end)
        await self._durability.around_cut(end, newest, self._nothing)
        self._dispatcher.cut(end, 0 if newest is None else newest.store_timestamp_ms)
        self._cut_derived(end)
        await self._flush_derived()
        hidden: list[Entry] = []
        await scans.scan(
            self._log.segments,
            end,
            doubt_from=NO_BOUND,
            on_entries=hidden.extend,
            progress=scans.Progress(),
        )
        self._dispatcher.pending.extend(hidden)
        store.queues.assigned(hidden)
        return len(hidden)

    async def _nothing(self) -> None:
        """The log itself stays as it is."""

    # -- cutting ----------------------------------------------------------------------------------

    async def cut(self, physical_end: int) -> str:
        """End the log there, the tail in a side file; the file's path, empty where nothing was cut.

        Cancelled: nothing is cut, or all of it is.
        Raises `OSError` or `Refused` for a full disk, before anything changed; `StoreFailed`.
        """
        end = self._log.max_offset
        if physical_end >= end:
            return ""
        path = await self._save_tail(physical_end, end)
        newest = await self._last_before(physical_end)
        newest_ms = 0 if newest is None else newest.store_timestamp_ms

        def change() -> None:
            self._dispatcher.cut(physical_end, newest_ms)
            self._cut_derived(physical_end)
            self._log.cut(physical_end, newest)

        with trio.CancelScope(shield=True):  # half a cut would leave a bound behind the log's end
            await self._carry_out(physical_end, newest, change)
        log.warning("replica.cut", end=physical_end, bytes=end - physical_end, saved=path)
        return path

    async def begin_at(self, physical_offset: int) -> None:
        """Forget the whole log, which was not diverging but expired, and begin there."""

        def change() -> None:
            self._dispatcher.cut(0, 0)
            self._cut_derived(0)
            self._log.begin_at(physical_offset)

        dropped = self._log.max_offset - self._log.min_offset
        with trio.CancelScope(shield=True):
            await self._carry_out(0, None, change)
            self._dispatcher.open_at(physical_offset, 0)
            await self._durability.begun_at(physical_offset)
        log.warning("replica.begins_anew", begin=physical_offset, dropped_bytes=dropped)

    async def _carry_out(
        self, physical_end: int, newest: Entry | None, change: Callable[[], None]
    ) -> None:
        async def cut() -> None:
            await self._flusher.around(change)
            try:
                await self._flush_derived()
            except OSError as error:
                raise self._log.fail(error) from error

        await self._durability.around_cut(physical_end, newest, cut)
        self._appender.newest_ms = 0 if newest is None else newest.store_timestamp_ms
        if self._store.bound != NO_BOUND:
            self._store.bound = min(self._store.bound, self._log.max_offset)

    def _cut_derived(self, physical_end: int) -> None:
        self._store.queues.truncate(physical_end)
        self._store.index.truncate(physical_end)
        self._store.queues.assigned(self._dispatcher.pending)

    async def _flush_derived(self) -> None:
        await self._store.queues.flush(marks=True)  # the old ones name places of what was cut
        await self._store.index.flush()

    async def _last_before(self, physical_end: int) -> Entry | None:
        """The last record that ends at or before it."""
        for entry in reversed(self._dispatcher.pending):
            if entry.physical_offset < physical_end:
                return entry
        last = max(
            (
                unit.physical_offset
                for queue in self._store.queues
                if (unit := queue.last_before(physical_end)) is not None
            ),
            default=-1,
        )
        segments, found = self._log.segments, None
        segment = segments.find(max(last, 0) if last >= 0 else max(0, physical_end - 1))
        position = last if segment is None or last >= segment.base else segment.base
        while segment is not None and position < physical_end:
            record = await scans.record_at(segment, position)
            if record is None:
                position = segment.end
            else:
                found, position = Entry(*record), position + record.size
            if position >= segment.end:
                segment = segments.find(position)
        return found

    async def _save_tail(self, begin: int, end: int) -> str:
        """Copy [begin, end) to a side file and make it durable. Raises `OSError`."""
        names = self._disk.list(DIVERGENT_FOLDER)
        if len(names) >= DIVERGENT_FILES_MAX:
            raise Refused(
                ResponseCode.SERVICE_NOT_AVAILABLE,
                f"{self._disk.root}/{DIVERGENT_FOLDER} holds {len(names)} saved tails, limit "
                f"{DIVERGENT_FILES_MAX}: look at them and move them away",
            )
        path = f"{DIVERGENT_FOLDER}/{begin:020d}-{end:020d}.log"
        file = self._disk.open(path, create=True)
        try:
            file.truncate(0)
            file.reserve(0, end - begin)
            position = begin
            while position < end:
                data = await self._log.read(position, min(COPY_BYTES, end - position))
                if not data:
                    raise OSError(5, "the tail cannot be read", path)
                file.write_at(position - begin, data)
                position += len(data)
                await trio.lowlevel.checkpoint()
            await file.flush()
        finally:
            file.close()
        await self._disk.sync_folder(DIVERGENT_FOLDER)
        return path
