"""The key index: which records carry a key. Built behind the acknowledgement, kept through crashes.

    dispatched entries ─▶ pending ─▶ rows (key hash, offset, time) ─▶ the newest file ─▶ journal
                          in memory    one a key                       page cache         durable

`index_rows.py` says which keys a record has. When a file is full the next key, of the
same record if it falls so, goes to a new file. A file is named by the local wall time of its first
record, yyyyMMddHHmmssSSS: then a rebuilt index has the same names. A name that would not come
after the one before (a clock went back) is that name plus one.

Offsets:

* `indexed_offset`: every record before it is in, in memory and page cache;
* `durable_offset`: the same after a crash, by the journal (`index_journal.py`).

A record is put once: what comes again below `indexed_offset` is skipped whole. (Apache compares
with the offset of the last record, and puts that one twice.)

Limits: `PENDING_MAX` entries wait, then `put_all` does the work itself; `CHANGED_MAX` slots may be
changed before `run` flushes without being asked.
"""

import errno
from datetime import UTC, datetime
from typing import Final, final

import structlog
import trio

from broker_trio.runtime.seams import Disk
from broker_trio.store import snapshot
from broker_trio.store.config import StoreConfig
from broker_trio.store.entry import Entry
from broker_trio.store.index_file import HEADER, INDEX_FOLDER, IndexFile
from broker_trio.store.index_journal import INDEX_JOURNAL_PATH, Journal, journal_file
from broker_trio.store.index_query import OFFSET_MAX, Window, find
from broker_trio.store.index_rows import Rows, rows_of
from broker_trio.store.index_start import IndexStart
from broker_trio.store.open_files import OpenFiles
from broker_trio.wire.java import topic_key_hash

PENDING_MAX: Final = 4_096  # entries, about a megabyte; indexing them takes some 10 ms
LINGER_S: Final = 0.01  # a put for many keys costs little more than one for a single key
BATCH: Final = 256  # entries indexed between two turns of the loop, half a millisecond
CHANGED_MAX: Final = 65_536  # slots; a journal of half a megabyte
OPEN_INDEX_FILES_MAX: Final = 16
NO_SPACE_RETRY_S: Final = 1.0
YEAR_10000_MS: Final = 253_402_300_800_000 - 86_400_000
NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

NO_ROWS: Final = Rows([], [], [])

log = structlog.get_logger()


def file_name(store_timestamp_ms: int, previous: str) -> str:
    """Name of the file whose first record was stored then; it comes after `previous`."""
    stored_ms = min(max(store_timestamp_ms, 0), YEAR_10000_MS)
    local = datetime.fromtimestamp(stored_ms // 1000, UTC).astimezone()
    name = f"{local:%Y%m%d%H%M%S}{stored_ms % 1000:03d}"
    return name if name > previous else f"{int(previous) + 1:017d}"


@final
class Index:
    """All index files of a store."""

    def __init__(self, disk: Disk, config: StoreConfig) -> None:
        self._disk = disk
        self._slots, self._items = config.index_slots, config.index_items
        self._query_max = config.query_count_max
        self._open = OpenFiles(disk, OPEN_INDEX_FILES_MAX)
        self._files: list[IndexFile] = []  # oldest first; the last one is written
        self._dropped: list[IndexFile] = []  # unlinked once a journal says so
        self._pending: list[Entry] = []
        self._rows = NO_ROWS  # of records that are no longer pending
        self._start = IndexStart(disk, self._open, self._files, self._slots, self._items)
        self._wanted = trio.Event()
        self._flushing = trio.Lock()
        self._journal = Journal()
        self._accepted_offset = 0
        self.indexed_offset = self.durable_offset = 0
        self.key_count = 0

    @property
    def behind_count(self) -> int:
        """Entries that are dispatched and not indexed yet."""
        return len(self._pending)

    @property
    def file_count(self) -> int:
        return len(self._files)

    @property
    def changed_count(self) -> int:
        """Slots that the next flush writes."""
        return sum(file.changed_count for file in self._files)

    @property
    def end_ms(self) -> int:
        """Store time of the newest indexed record, 0 without one."""
        return self._files[-1].header.end_ms if self._files else 0

    # -- putting ----------------------------------------------------------------------------------

    def put_all(self, entries: list[Entry]) -> None:
        """Take dispatched records, in the order of the log; again is harmless.

        Raises `OSError` only when the work is done here; then what was taken stays taken.
        """
        if entries and entries[-1].physical_offset >= self._accepted_offset:
            if entries[0].physical_offset < self._accepted_offset:
                accepted = self._accepted_offset
                entries = [entry for entry in entries if entry.physical_offset >= accepted]
            last = entries[-1]
            self._pending += entries
            self._accepted_offset = last.physical_offset + last.size
            self._wanted.set()
        if len(self._pending) > PENDING_MAX:
            self.catch_up()

    def catch_up(self) -> None:
        """Index everything pending now. Raises `OSError`; the rest stays pending then."""
        while self._pending or self._rows.hashes:
            self._drain(PENDING_MAX)

    def _drain(self, count: int) -> None:
        """Index up to `count` entries, after the rows that a full disk left."""
        if self._rows.hashes:
            self._put_rows()
        batch = self._pending[:count]
        if batch:
            self._rows = rows_of(batch)
            del self._pending[:count]
            end = batch[-1].physical_offset + batch[-1].size
        else:
            end = self._accepted_offset
        self._put_rows()
        self.indexed_offset = end

    def _put_rows(self) -> None:
        while self._rows.hashes:
            file = self._files[-1] if self._files else None
            if file is None or file.is_full:
                file = self._new_file(self._rows.times_ms[0])
            part, rest = self._rows, NO_ROWS
            if len(part.hashes) > file.room:
                part, rest = part.cut(file.room)
            file.put(part)
            self.key_count += len(part.hashes)
            self._rows = rest

    def _new_file(self, stored_ms: int) -> IndexFile:
        # After a cut the dropped files lie there until a journal says so; records come meanwhile.
        previous = max((file.name for file in (*self._files[-1:], *self._dropped)), default="")
        name = file_name(stored_ms, previous)
        file = IndexFile(self._open, name, self._slots, self._items)
        file.create()
        self._files.append(file)
        return file

    async def run(self) -> None:
        """Index what comes, in small steps, until cancelled. Raises `OSError`."""
        while True:
            if not self._pending and not self._rows.hashes:
                self._wanted = trio.Event()
                await self._wanted.wait()
                await trio.sleep(LINGER_S)
            try:
                self._drain(BATCH)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                await trio.sleep(NO_SPACE_RETRY_S)
            if self.changed_count > CHANGED_MAX:
                await self.flush()
            await trio.lowlevel.checkpoint()

    # -- flushing ---------------------------------------------------------------------------------

    async def flush(self, *, settle: bool = False) -> None:
        """Make what was put so far survive a crash. Raises `OSError`.

        `settle` (at a clean stop): the files themselves are whole too, for Apache's broker.
        Cancelled, or without space for what is pending: nothing moved, the next one begins again.
        """
        async with self._flushing:
            self.catch_up()
            moved = self.indexed_offset != self._journal.physical_end
            if moved or self.changed_count or self._dropped:
                await self._flush()
            if settle:
                await self._open.flush_touched()

    async def _flush(self) -> None:
        """The three steps of `index_journal.py`."""
        end, dropped = self.indexed_offset, self._dropped
        headers = {file.name: HEADER.pack(*file.applied) for file in self._files}
        taken = [
            (file, file.header, file.take_changes()) for file in self._files if file.changed_count
        ]
        applied = False
        try:
            await self._open.flush_touched()
            parts = [journal_file(file.name, header, changes) for file, header, changes in taken]
            self._journal = Journal(
                physical_end=end,
                headers=headers,
                files=parts,
                dropped=[file.name for file in dropped],
            )
            await snapshot.save(self._disk, INDEX_JOURNAL_PATH, self._journal)
            for file in dropped:
                self._open.unlink(INDEX_FOLDER, file.path)
            self._dropped = []
            for file, header, changes in taken:
                await file.apply(header, changes)
            applied = True
        finally:
            if not applied:
                self._journal = Journal(physical_end=-1)
                for file, _, changes in taken:
                    file.give_back(changes)
        self.durable_offset = end
        for file in self._files[:-1]:
            file.release()

    # -- starting ---------------------------------------------------------------------------------

    def load(self) -> None:
        """Find the files. Raises `StoreCorrupt`."""
        assert not self._files, "loaded twice"
        self._start.load()

    def recover(self, durable: int, *, clean: bool = False, marks_hold: bool = True) -> int:
        """Bring the files to a known state; returns the offset from which to dispatch again.

        `durable` is what the watermarks say, and the result may lie on either side of it. `clean`:
        the last stop was one. `marks_hold`: nobody else wrote to this store since we did. Blocks;
        raises `OSError`.
        """
        begin, self._journal = self._start.recover(clean=clean, marks_hold=marks_hold)
        self.indexed_offset = self.durable_offset = self._accepted_offset = begin
        log.info("index.recovered", begin=begin, durable=durable, files=len(self._files))
        return begin

    # -- removing ---------------------------------------------------------------------------------

    def truncate(self, physical_end: int) -> None:
        """The log was cut at `physical_end`; the next `flush` makes it durable.

        Blocks; raises `OSError`.
        """
        self.catch_up()
        while self._files and self._files[-1].header.end_physical >= physical_end:
            file = self._files[-1]
            if file.header.item_count > 1 and file.remove_from(physical_end):
                break
            self._dropped.append(self._files.pop())
            if self._files:
                self._files[-1].load_slots()
        self.indexed_offset = min(self.indexed_offset, physical_end)
        self.durable_offset = min(self.durable_offset, physical_end)
        self._accepted_offset = min(self._accepted_offset, physical_end)

    async def delete_expired(self, min_physical: int) -> int:
        """Drop leading files whose last record is gone, never the newest; how many."""
        dropped = 0
        await trio.lowlevel.checkpoint()
        while len(self._files) > 1 and self._files[0].header.end_physical < min_physical:
            if self._files[0].changed_count:
                break  # still in a journal to come
            file = self._files.pop(0)
            self._open.unlink(INDEX_FOLDER, file.path)
            await self._disk.sync_folder(INDEX_FOLDER)  # or a crash could leave a gap
            dropped += 1
        return dropped

    async def close(self) -> None:
        """Flush, for Apache's broker too, and close the files. Raises `OSError`."""
        await self.flush(settle=True)
        self._open.close()

    # -- finding ----------------------------------------------------------------------------------

    async def query(
        self,
        topic: str,
        key: str,
        count_max: int,
        begin_ms: int,
        end_ms: int,
        *,
        below: int = OFFSET_MAX,
    ) -> list[int]:
        """Physical offsets of records that may carry the key, ascending: the newest `count_max`.

        Times are store times, inclusive, known to the second. Other keys with the same hash are
        among them. `below`: only records before that offset, to go on where a query ended.
        """
        await trio.lowlevel.checkpoint()
        try:
            self.catch_up()
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
        return await find(
            self._files,
            topic_key_hash(topic, key.encode("utf-8", "replace")),
            Window(min(count_max, self._query_max), begin_ms, end_ms, below),
        )
