"""Opening a store: what `recovery_plan` decided, done in an order that may be interrupted anywhere.

    load names ─▶ facts ─▶ ends of queues and index ─▶ scan, dispatching again ─▶ plan
       ─▶ marks of what is about to be cut ─▶ drop segments ─▶ cut ─▶ write the tail again ─▶ fsync
       ─▶ derived files to the same end ─▶ fsync ─▶ marks, checkpoint ─▶ open

* Dispatching while scanning is safe before the plan is known: only good records are dispatched, and
  what derived files hold behind the plan's end is cut off with the rest.
* Nothing of the log changes before the plan is known, and nothing if it says `lost`.
* The tail is written again because a page that can be read need not be on disk: an fsync that
  failed, or never came, leaves it clean in the page cache (reliability.md measured it). For the
  same reason the folder is synced: a name that can be listed need not be on disk.
* Cutting sets the file's length down and up again: all that lay behind the end becomes zero at
  once, so no stale record can stand where a later one happens to end. It is durable before the
  store opens, and so is the removal of later segments.
* A full disk stops only what needs space, and that is the last line of the drawing: the store opens
  to be read, what is missing in derived files waits in memory, and `finish` is tried until there is
  space. Until then nothing may be appended.
* Run again after a crash in the middle, it comes to the same end: it only removes what the plan
  did not keep, and if that had been durable the marks say so before anything is removed.
"""

import errno
from typing import Final, NamedTuple, final

import structlog
import trio

from broker_trio.model.errors import StoreCorrupt, StoreFailed
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.store import checkpoint as checkpoints
from broker_trio.store import scan as scans
from broker_trio.store import watermarks as watermarks_file
from broker_trio.store.commit_log import COMMIT_LOG_FOLDER, CommitLog
from broker_trio.store.entry import Entry
from broker_trio.store.index import Index
from broker_trio.store.queues import ConsumeQueues
from broker_trio.store.recovery_plan import Begin, Facts, FirstRecord, Plan, begin_at, make_plan
from broker_trio.store.segments import Segment
from broker_trio.store.units import Unit
from broker_trio.store.watermarks import Anchor, Watermarks
from broker_trio.wire.record import RecordInfo, check_record

COPY_BYTES: Final = 1 << 20  # of the tail written again, between two turns of the loop
NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
UNITS_MAX: Final = 2_000_000
"""Units that may wait in memory for space on a full disk: 40 MB."""
ENTRIES_MAX: Final = 200_000
"""Records that may wait for the index: some 60 MB."""

log = structlog.get_logger()


class Recovered(NamedTuple):
    """What a start found and did."""

    clean: bool  # whether the last stop was
    truncated_to: int  # the log's end: every position kept elsewhere is at most this
    scanned_from: int
    records: int  # scanned and dispatched again
    was_cut: bool
    plan: str
    seconds: float
    newest: Entry | None
    marks: Watermarks  # as they are on disk when the store opens
    full: OSError | None  # the disk had no space: `finish` has to come through before any append


@final
class Recovery:
    """One start of one store; used once."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        commit_log: CommitLog,
        queues: ConsumeQueues,
        index: Index,
        process_id: int,
        *,
        accept_damage: bool,
    ) -> None:
        self._disk, self._clock, self._log = disk, clock, commit_log
        self._queues, self._index = queues, index
        self._process_id, self._accept_damage = process_id, accept_damage
        self._segments = commit_log.segments
        self.progress = scans.Progress()
        self._full: OSError | None = None
        self._end, self._was_cut = 0, False
        self._was_marked_cut = False  # by a replica, or by the recovery before
        self._newest: Entry | None = None

    async def run(self) -> Recovered:
        """Bring the store to one consistent end.

        Raises `StoreCorrupt`; `StoreFailed` for a disk that fails; `OSError` for one that is full,
        where more waits for space than may be kept in memory.
        """
        try:
            return await self._run()
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
            raise StoreFailed(f"{self._disk.root}: while recovering: {error}") from error

    async def _run(self) -> Recovered:
        begun = self._clock.monotonic()
        self.progress.begin("loading", 0)
        self._segments.load()
        facts = await self._facts()
        begin = begin_at(facts)
        scan_from = await self._open_derived(facts, begin)
        scan = await self._scan(begin, scan_from)
        durable = None if facts.marks is None else facts.marks.log_flushed
        later = None
        if durable is None or scan.end < durable or not scan.ends_in_zeros:
            later = await scans.find_later(self._segments, scan.end)
        plan = make_plan(facts, begin, scan, later)
        self._judge(plan)
        newest = scan.newest or await self._anchored(facts.marks, plan.end)
        marks = await self._carry_out(plan, facts, newest)
        self._log.open_at(plan.end, newest)
        self.progress.begin("done", 0)
        seconds = self._clock.monotonic() - begun
        report = Recovered(
            facts.clean,
            plan.end,
            scan_from,
            scan.records,
            plan.cut,
            str(plan),
            seconds,
            newest,
            marks,
            self._full,
        )
        log.info("recovery.done", clean=facts.clean, records=scan.records, plan=str(plan),
                 seconds=round(seconds, 3))  # fmt: skip
        return report

    # -- looking ----------------------------------------------------------------------------------

    async def _facts(self) -> Facts:
        marks = watermarks_file.load_watermarks(self._disk)
        if marks is not None and not await self._anchor_holds(marks):
            log.warning("recovery.watermarks_stale", log_flushed=marks.log_flushed)
            marks = None
        lowest = 0
        if marks is not None:
            lowest = marks.lowest
            self._segments.expect(marks.log_flushed)
        firsts = []
        for segment in self._segments.all:
            first = await scans.first_record(segment) if segment.end > lowest else None
            firsts.append(FirstRecord(segment.base, first and first.store_timestamp_ms))
        return Facts(
            clean=checkpoints.stopped_cleanly(self._disk),
            marks=marks,
            checkpoint=checkpoints.load_checkpoint(self._disk),
            segments=tuple(firsts),
            missing_from=self._segments.missing_from,
        )

    async def _anchor_holds(self, marks: Watermarks) -> bool:
        anchor = marks.anchor
        if anchor is None:
            begin = self._segments.all[0].base if self._segments.all else marks.log_flushed
            return marks.log_flushed in {0, begin}  # nothing lies before it
        segment = self._segments.find(anchor.physical_offset)
        if segment is None:  # deleted by somebody who wrote more than we did, or lost
            checkpoint = checkpoints.load_checkpoint(self._disk)
            return checkpoint is None or checkpoint.log_ms <= marks.checkpoint_ms
        data = await segment.file.read_at(anchor.physical_offset - segment.base, anchor.size)
        return watermarks_file.checksum(data) == anchor.crc and len(data) == anchor.size

    async def _anchored(self, marks: Watermarks | None, end: int) -> Entry | None:
        """The newest record where nothing was scanned: the one that the marks name."""
        anchor = None if marks is None else marks.anchor
        if anchor is None or anchor.physical_offset + anchor.size > end:
            return None
        segment = self._segments.find(anchor.physical_offset)
        found = None if segment is None else await scans.record_at(segment, anchor.physical_offset)
        return None if found is None else Entry(*found)

    async def _open_derived(self, facts: Facts, begin: Begin) -> int:
        """Find the ends of queues and index; where the scan has to begin for all of them."""
        self.progress.begin("opening queues and index", 0)
        self._queues.load()
        self._index.load()
        ours = await self._is_ours(facts)
        at_end = facts.marks is not None and begin.queues_from == facts.marks.log_flushed
        queues_from = self._queues.recover(
            begin.queues_from,
            self._is_unit_of_log,
            clean=facts.clean and ours and at_end,
            marks_hold=ours,
            log_min=facts.min_offset,
            cut_at=-1 if facts.marks is None else facts.marks.truncated_at,
        )
        index_from = self._index.recover(begin.index_from, clean=facts.clean, marks_hold=ours)
        self._was_marked_cut = facts.marks is not None and facts.marks.truncated_at >= 0
        if (
            self._was_marked_cut and index_from > begin.index_from
        ):  # it may know what was cut, not what came
            self._index.truncate(begin.index_from)
            index_from = begin.index_from
        await trio.lowlevel.checkpoint()
        scan_from = min(begin.scan_from, queues_from)
        if index_from < scan_from:
            scan_from = await self._record_start(index_from)
        return max(facts.min_offset, scan_from)

    async def _record_start(self, physical_offset: int) -> int:
        """A place to begin a scan: there, one byte before, or where the segment begins.

        An index file that somebody else wrote knows where its last record begins, not where it
        ends: it asks for what comes after that first byte.
        """
        segment = self._segments.find(physical_offset)
        if segment is None:
            return physical_offset
        for place in (physical_offset, physical_offset - 1):
            if place >= segment.base and await scans.record_at(segment, place) is not None:
                return place
        return segment.base

    async def _is_ours(self, facts: Facts) -> bool:
        """Whether nobody else wrote to this store since our marks."""
        marks = facts.marks
        if marks is None:
            return False
        if facts.checkpoint is not None and facts.checkpoint.log_ms > marks.checkpoint_ms:
            return False
        if not facts.clean:
            return True
        segment = self._segments.find(marks.log_flushed)
        return segment is None or await scans.record_at(segment, marks.log_flushed) is None

    def _is_unit_of_log(self, topic: str, queue_id: int, queue_offset: int, unit: Unit) -> bool:
        """Whether the log has exactly the record that a queue's unit names."""
        segment = self._segments.find(unit.physical_offset)
        if segment is None or unit.physical_offset + unit.size > segment.end:
            return unit.physical_offset < self._segments.min_offset  # expired: nothing to compare
        data = segment.file.read_at_blocking(unit.physical_offset - segment.base, unit.size)
        found = check_record(data, 0, unit.physical_offset, verify_crc=False)
        return (
            isinstance(found, RecordInfo)
            and found.size == unit.size
            and (found.topic, found.queue_id, found.queue_offset) == (topic, queue_id, queue_offset)
        )

    async def _scan(self, begin: Begin, scan_from: int) -> scans.Scan:
        self.progress.begin("scanning", self._segments.capacity_end - scan_from)
        return await scans.scan(
            self._segments,
            scan_from,
            doubt_from=begin.doubt_from,
            on_entries=self._dispatch,
            progress=self.progress,
        )

    def _dispatch(self, entries: list[Entry]) -> None:
        for derived in (self._queues, self._index):
            try:
                derived.put_all(entries)
            except OSError as error:  # what was put stays put, in memory
                self._bear(error)
        waiting = self._queues.buffered_count, self._index.behind_count
        if self._full is not None and (waiting[0] > UNITS_MAX or waiting[1] > ENTRIES_MAX):
            raise self._full

    def _bear(self, error: OSError) -> None:
        """A full disk is no reason not to be read."""
        if error.errno not in NO_SPACE:
            raise error
        if self._full is None:
            log.error("recovery.no_space", path=error.filename)
        self._full = error

    def _judge(self, plan: Plan) -> None:
        """Refuse to lose what was durable, unless somebody said that it may be lost."""
        if not plan.lost:
            return
        segment = self._segments.find(plan.end)
        path = COMMIT_LOG_FOLDER if segment is None else segment.path
        position = plan.end - (0 if segment is None else segment.base)
        log.error("recovery.damage", path=path, position=position, problem=plan.lost,
                  accepted=self._accept_damage)  # fmt: skip
        if not self._accept_damage:
            raise StoreCorrupt(
                f"{self._disk.root}/{path}", position,
                f"{plan.reason}; {plan.lost}; accept_damage opens the store without it",
            )  # fmt: skip

    # -- doing ------------------------------------------------------------------------------------

    async def _carry_out(self, plan: Plan, facts: Facts, newest: Entry | None) -> Watermarks:
        await checkpoints.mark_open(self._disk, self._process_id)
        if plan.lost:
            await self._forget_what_is_lost(plan, facts, newest)
        touched = await self._cut(plan) if plan.cut else []
        touched += await self._write_again(plan)
        self.progress.begin("syncing", 0)
        for segment in {segment.base: segment for segment in touched}.values():
            await segment.file.flush()
        self._queues.truncate(plan.end)
        self._queues.correct_min(self._segments.min_offset)
        self._end, self._was_cut, self._newest = plan.end, plan.cut, newest
        try:
            return await self.finish()
        except OSError as error:
            self._bear(error)
            kept = facts.marks or Watermarks()
            return kept.cut(plan.end) if plan.lost else kept

    async def finish(self) -> Watermarks:
        """What needs space: derived files to the log's end, durably, and the marks that say so.

        May be called again after an `OSError`. Nothing may have been appended.
        """
        self._index.truncate(self._end)
        await self._queues.flush(marks=self._was_marked_cut)
        await self._index.flush()
        return await self._record()

    async def _forget_what_is_lost(self, plan: Plan, facts: Facts, newest: Entry | None) -> None:
        """From now on nothing claims any more that the accepted damage was on disk."""
        known = facts.marks or Watermarks()
        await watermarks_file.save_watermarks(self._disk, known.cut(plan.end))
        newest_ms = 0 if newest is None else newest.store_timestamp_ms
        kept = checkpoints.Checkpoint(newest_ms, newest_ms, newest_ms)
        await checkpoints.save_checkpoint(self._disk, kept)

    async def _cut(self, plan: Plan) -> list[Segment]:
        """Remove what lies behind the end: whole segments from the newest, then the rest of one."""
        had_any = bool(self._segments.all or self._segments.behind_gap)
        while self._segments.behind_gap or self._is_last_behind(plan.end):
            path = self._segments.drop_last().path
            log.info("recovery.dropped", path=path, end=plan.end)
        if had_any:  # the names that are kept need not be on disk either
            await self._disk.sync_folder(COMMIT_LOG_FOLDER)
        touched = self._segments.repair()
        segment = self._segments.find(plan.end)
        if segment is not None:
            segment.file.truncate(plan.end - segment.base)
            segment.file.truncate(segment.end - segment.base)
            touched.append(segment)
        return touched

    def _is_last_behind(self, end: int) -> bool:
        """Whether the newest segment holds nothing of the log; the only one stays in any case."""
        segments = self._segments.all
        return len(segments) > 1 and segments[-1].base >= end

    async def _write_again(self, plan: Plan) -> list[Segment]:
        """The kept tail, byte for byte where it was."""
        self.progress.begin("writing the tail again", plan.end - plan.rewrite_from)
        position, touched = plan.rewrite_from, []
        while position < plan.end:
            segment = self._segments.find(position)
            assert segment is not None, f"the scan went over {position}"
            size = min(COPY_BYTES, plan.end - position, segment.end - position)
            data = await segment.file.read_at(position - segment.base, size)
            if position + size == segment.end:
                data = data.rstrip(b"\0")  # behind the filler nothing was ever written: no space
            segment.file.write_at(position - segment.base, data)
            touched.append(segment)
            position += size
            self.progress.bytes_done = position - plan.rewrite_from
        return touched

    async def _record(self) -> Watermarks:
        """The first marks of this run: whatever comes later is measured from here."""
        anchor, newest, end = None, self._newest, self._end
        if newest is not None:
            segment = self._segments.find(newest.physical_offset)
            assert segment is not None
            data = await segment.file.read_at(newest.physical_offset - segment.base, newest.size)
            anchor = Anchor(
                newest.physical_offset, newest.size, watermarks_file.checksum(data),
                newest.store_timestamp_ms,
            )  # fmt: skip
        marks = Watermarks(
            log_flushed=end,
            queues_durable=end,
            indexed_durable=end,
            truncated_at=end if self._was_cut else -1,
            anchor=anchor,
            checkpoint_ms=0 if newest is None else newest.store_timestamp_ms,
        )
        await watermarks_file.save_watermarks(self._disk, marks)
        return marks
