"""The store as a whole: its life, what a start does with damage, and stores of other makers."""

import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import trio

from broker_trio.model.errors import Refused, StoreCorrupt, StoreFailed
from broker_trio.store.checkpoint import Checkpoint, encode_checkpoint, load_checkpoint
from broker_trio.store.config import TINY
from broker_trio.store.entry import Entry
from broker_trio.store.reader import GetStatus
from broker_trio.store.store import Recovered, Store
from broker_trio.store.watermarks import WATERMARKS_PATH, load_watermarks
from broker_trio.testing.checkers.stored import Journal, check_all
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.record import record_parts
from tests.sim.store_workload import ASYNC, HOST, SYNC, Workload, draft, live, new_store, nothing

FIRST = "commitlog/" + "0" * 20


async def filled(disk: SimDisk, count: int = 60, *, stop: bool = True) -> Journal:
    """A store with small messages in two queues, stopped cleanly or left by a kill."""
    journal = Journal()

    async def use(store: Store) -> None:
        for n in range(count):
            one = draft(f"m{n:031d}", queue_id=n % 2)
            at = store.append(one)
            journal.add(f"m{n:031d}", one, at)(True)
            store.write_out()
            await trio.sleep(0.002)
        await store.wait_flushed(store.log.max_offset)
        await trio.sleep(0.3)

    await live(disk, SYNC, use, stop=stop)
    disk.restart()
    return journal


def checks(journal: Journal) -> Callable[[Store], Awaitable[None]]:
    return lambda store: check_all(store, journal)


# -- life -----------------------------------------------------------------------------------------


async def test_opening_refuses_and_then_reports(autojump_clock: object) -> None:
    """Before `started` appends are refused; afterwards the store says what it found."""
    disk = SimDisk(random.Random(1))
    store = new_store(disk, TINY)
    with pytest.raises(Refused, match="being recovered"):
        store.append(draft("a" * 32))
    async with trio.open_nursery() as nursery:
        recovered: Recovered = await nursery.start(store.run)
        assert recovered == store.recovered
        assert (recovered.clean, recovered.truncated_to, recovered.records) == (True, 0, 0)
        assert store.progress.phase == "done"
        assert store.append(draft("a" * 32)).queue_offset == 0
        nursery.cancel_scope.cancel()


async def test_a_clean_stop_leaves_nothing_to_do(autojump_clock: object) -> None:
    """After `stop`: no abort file, the next start scans nothing, cuts nothing and finds all."""
    disk = SimDisk(random.Random(1))
    journal = await filled(disk)
    assert not disk.exists("abort")
    recovered = await live(disk, SYNC, checks(journal), stop=True)
    assert (recovered.clean, recovered.records, recovered.was_cut) == (True, 0, False)
    assert recovered.newest is not None
    assert recovered.truncated_to == recovered.newest.physical_offset + recovered.newest.size


async def test_stopping_refuses_and_is_done_once(autojump_clock: object) -> None:
    """After `stop` appends are refused, and stopping again changes nothing."""
    disk = SimDisk(random.Random(1))

    async def use(store: Store) -> None:
        store.append(draft("a" * 32))
        await store.stop()
        with pytest.raises(Refused, match="stopping"):
            store.append(draft("b" * 32))
        operations = disk.faults.operations
        await store.stop()
        assert disk.faults.operations == operations

    await live(disk, SYNC, use)
    assert not disk.exists("abort")


async def test_cancelled_everything_written_is_kept(autojump_clock: object) -> None:
    """A cancelled run is an unclean stop, and the next start finds what was written out."""
    disk = SimDisk(random.Random(1))
    journal = await filled(disk, stop=False)
    assert disk.read("abort") == b"1"
    recovered = await live(disk, SYNC, checks(journal))
    assert not recovered.clean


async def test_a_store_that_is_in_use_is_not_opened(autojump_clock: object) -> None:
    """Two processes on one folder: the second one ends before it touches anything."""
    disk = SimDisk(random.Random(1))

    async def use(_: Store) -> None:
        operations = disk.faults.operations
        with pytest.RaisesGroup(BlockingIOError, allow_unwrapped=True):
            await live(disk, SYNC, nothing)
        assert disk.faults.operations == operations

    await live(disk, SYNC, use)


@pytest.mark.parametrize(("config", "visible"), [(ASYNC, True), (SYNC, False)])
async def test_readers_see_what_is_confirmed(
    config: object, visible: bool, autojump_clock: object
) -> None:
    """ASYNC_FLUSH shows a message once it is written, SYNC_FLUSH once it is on disk."""
    disk = SimDisk(random.Random(1))

    async def use(store: Store) -> None:
        seen: list[Entry] = []
        store.arrivals.append(seen.extend)
        at = store.append(draft("a" * 32))
        assert store.undispatched_bytes == at.size
        store.write_out()
        got = store.reader.get_nowait("T", 0, 0, count_max=1, codes=None)
        assert (got.status is GetStatus.FOUND) == visible == bool(seen)
        await store.wait_flushed(at.next_physical_offset)
        got = store.reader.get_nowait("T", 0, 0, count_max=1, codes=None)
        assert (got.count, len(seen), store.undispatched_bytes) == (1, 1, 0)

    await live(disk, config, use)  # type: ignore[arg-type]


async def test_a_failed_fsync_of_derived_files_ends_the_store(autojump_clock: object) -> None:
    """Consume queues and index obey the same rule as the log: an error is the end."""
    for path in ("consumequeue", "index", "broker_trio"):
        disk = SimDisk(random.Random(1))

        async def use(store: Store, path: str = path, disk: SimDisk = disk) -> None:
            disk.faults.fail("flush", path=path)
            store.append(draft("a" * 32))
            store.write_out()
            await trio.sleep(5)

        with pytest.RaisesGroup(StoreFailed, flatten_subgroups=True):
            await live(disk, SYNC, use)


# -- damage ---------------------------------------------------------------------------------------


async def damaged(disk: SimDisk) -> Journal:
    """An unclean stop, and a rotten bit in a record that had been on disk, below the newest marks.

    The marks that were there before the last records were stored are put back: the scan begins
    before the damage, as after a longer pause between checkpoints.
    """
    journal = await filled(disk, 5)
    marks = disk.read(WATERMARKS_PATH)

    async def more(store: Store) -> None:
        for n in range(5, 15):
            one = draft(f"m{n:031d}", queue_id=n % 2)
            journal.add(f"m{n:031d}", one, store.append(one))(True)
        await store.wait_flushed(store.log.max_offset)
        await trio.sleep(0.3)

    await live(disk, SYNC, more)
    disk.restart()
    disk.flip_bit(FIRST, (journal.sent[8].at.physical_offset + 90) * 8)
    await disk.replace("old-marks", marks)
    return journal


async def test_damage_below_the_marks_stops_the_start(autojump_clock: object) -> None:
    """What had been on disk and is rotten is for a person to decide: nothing is changed."""
    disk = SimDisk(random.Random(1))
    journal = await damaged(disk)
    disk.unlink("broker_trio/watermarks.cbor")  # the checkpoint still says what was on disk
    before = {name: disk.read(f"commitlog/{name}") for name in disk.list("commitlog")}
    for _ in range(2):
        with pytest.RaisesGroup(StoreCorrupt, allow_unwrapped=True) as caught:
            await live(disk, SYNC, nothing)
        disk.restart()
        found = caught.value.exceptions[0] if hasattr(caught.value, "exceptions") else caught.value
        assert isinstance(found, StoreCorrupt)
        assert (found.path, found.position) == (f"sim:/{FIRST}", journal.sent[8].at.physical_offset)
        assert f"follows at {journal.sent[9].at.physical_offset}" in found.problem
    assert before == {name: disk.read(f"commitlog/{name}") for name in disk.list("commitlog")}


async def test_accepted_damage_is_cut_for_good(autojump_clock: object) -> None:
    """With the flag the log ends before the damage, once: the next start is an ordinary one."""
    disk = SimDisk(random.Random(1))
    journal = await damaged(disk)
    disk.unlink("broker_trio/watermarks.cbor")
    end = journal.sent[8].at.physical_offset
    kept = Journal(journal.sent[:8])
    recovered = await live(disk, SYNC, checks(kept), accept_damage=True)
    assert recovered.truncated_to == end
    assert "ACCEPTED DAMAGE" in recovered.plan
    disk.restart()
    recovered = await live(disk, SYNC, checks(kept), stop=True)
    assert (recovered.truncated_to, "DAMAGE" in recovered.plan) == (end, False)


async def test_a_log_that_ends_before_its_marks_is_corrupt(autojump_clock: object) -> None:
    """A tail that was on disk and is zero now is not an ordinary end of the log."""
    disk = SimDisk(random.Random(1))
    journal = await filled(disk, stop=False)
    cut = journal.sent[-3].at.physical_offset
    segment = disk.open(f"commitlog/{cut // 4096 * 4096:020d}")
    segment.truncate(cut % 4096)
    segment.truncate(4096)
    disk.crash(power=False)
    disk.restart()
    with pytest.RaisesGroup(StoreCorrupt, allow_unwrapped=True):
        await live(disk, SYNC, nothing)
    disk.restart()
    recovered = await live(disk, SYNC, checks(Journal(journal.sent[:-3])), accept_damage=True)
    assert recovered.truncated_to == cut


@pytest.mark.parametrize("victim", [0, 1, -1])
async def test_a_missing_segment_is_corrupt(victim: int, autojump_clock: object) -> None:
    """A segment that had been on disk and is gone stops the start, wherever it was."""
    disk = SimDisk(random.Random(1))
    await filled(disk, 100, stop=False)
    names = [
        name for name in disk.list("commitlog") if disk.read(f"commitlog/{name}")[4:8] != bytes(4)
    ]
    assert len(names) == 4
    disk.unlink(f"commitlog/{names[victim]}")
    if victim == 0:  # as retention would have done: the log begins later, and that is all
        await live(disk, SYNC, nothing)
        return
    with pytest.RaisesGroup(StoreCorrupt, allow_unwrapped=True):
        await live(disk, SYNC, nothing)


# -- marks and other makers -----------------------------------------------------------------------


async def test_marks_follow_what_is_on_disk(autojump_clock: object) -> None:
    """After a checkpoint the marks name the end of all files, Apache's file the newest times."""
    disk = SimDisk(random.Random(1))
    journal = await filled(disk, stop=False)
    marks, checkpoint, last = load_watermarks(disk), load_checkpoint(disk), journal.sent[-1].at
    assert marks is not None
    assert marks.anchor is not None
    end = last.next_physical_offset
    assert (marks.log_flushed, marks.queues_durable, marks.indexed_durable) == (end, end, end)
    assert marks.anchor.physical_offset == last.physical_offset
    stored_ms = last.store_timestamp_ms
    # Without our journal the index files may lack slots: to Apache they are safe after a stop only.
    assert checkpoint == Checkpoint(stored_ms, stored_ms, 0)
    recovered = await live(disk, SYNC, checks(journal), stop=True)
    assert (recovered.scanned_from, recovered.records) == (end, 0)
    assert load_checkpoint(disk) == Checkpoint(stored_ms, stored_ms, stored_ms)


async def test_an_idle_store_does_not_write(autojump_clock: object) -> None:
    """Without messages no checkpoint, no fsync, no file is written."""
    disk = SimDisk(random.Random(1))

    async def use(store: Store) -> None:
        store.append(draft("a" * 32))
        await trio.sleep(4)
        operations = disk.faults.operations
        await trio.sleep(120)
        assert disk.faults.operations == operations

    await live(disk, TINY, use)


@pytest.mark.parametrize("lost", ["marks", "queues and index", "all of it"])
@pytest.mark.parametrize("stop", [True, False])
async def test_derived_files_come_back_byte_for_byte(
    lost: str, stop: bool, autojump_clock: object
) -> None:
    """Consume queues and index can be deleted, and our own small files too."""
    disk, journal = SimDisk(random.Random(1)), Journal()
    workload = Workload(5, journal)
    await live(disk, SYNC, lambda store: workload.run(store, sync=True), stop=True)
    disk.restart()
    queues, index = files(disk, "consumequeue"), files(disk, "index")
    assert len(queues) > 8
    if not stop:
        await live(disk, SYNC, nothing)
        disk.restart()
    if lost != "queues and index":
        for path in files(disk, "broker_trio"):
            disk.unlink(path)
    if lost != "marks":
        for path in [*queues, *index]:
            disk.unlink(path)
    await live(disk, SYNC, checks(journal), stop=True)
    assert files(disk, "consumequeue") == queues
    assert list(files(disk, "index").values()) == list(index.values())


def files(disk: SimDisk, folder: str) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    found: dict[str, bytes] = {}
    for name in disk.list(folder):
        path = f"{folder}/{name}"
        try:
            found[path] = disk.read(path)
        except IsADirectoryError:
            found |= files(disk, path)
    return found


class Apache:
    """Writes records as another broker would: the log alone, no file of ours."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.journal = Journal()
        self.offsets: dict[int, int] = {}

    def write(self, at: int, count: int, begin_ms: int) -> int:
        """Append records one second apart from `at` on, in the segment that holds it."""
        base = at // 4096 * 4096
        file = self.disk.open(f"commitlog/{base:020d}", create=True)
        if not file.size():
            file.truncate(4096)
        for n in range(count):
            name = f"a{at:031d}"
            one = draft(name, queue_id=n % 2)
            offset = self.offsets.get(n % 2, 0)
            self.offsets[n % 2] = offset + 1
            parts = record_parts(
                one.topic, one.queue_id, offset, at, one.flag, 0, one.born_timestamp_ms, HOST,
                begin_ms + n * 1000, HOST, 0, 0, one.body, one.properties,
            )  # fmt: skip
            record = b"".join(parts)
            file.write_at(at - base, record)
            self.place(name, at, offset, len(record), one)
            at += len(record)
        return at

    def place(self, name: str, at: int, offset: int, size: int, one: object) -> None:
        from broker_trio.store.entry import Appended  # noqa: PLC0415

        appended = Appended(at, offset, size, 0, at + size)
        self.journal.add(name, one, appended)(True)  # type: ignore[arg-type]


@pytest.mark.parametrize("abort", [True, False])
@pytest.mark.parametrize("checkpoint", [True, False])
async def test_a_store_of_apaches_opens(
    abort: bool, checkpoint: bool, autojump_clock: object
) -> None:
    """A log without any file of ours is scanned by the checkpoint, or whole, and served."""
    disk = SimDisk(random.Random(1))
    apache = Apache(disk)
    end = apache.write(0, 20, 1_600_000_000_000)
    if checkpoint:
        newest_ms = 1_600_000_000_000 + 19_000
        await disk.replace("checkpoint", encode_checkpoint(Checkpoint(newest_ms, newest_ms, 0)))
    if abort:
        await disk.replace("abort", b"4711")
    recovered = await live(disk, SYNC, checks(apache.journal), stop=True)
    assert (recovered.truncated_to, recovered.records) == (end, 20)
    disk.restart()
    recovered = await live(disk, SYNC, checks(apache.journal))
    assert (recovered.clean, recovered.records) == (True, 0)


async def test_a_store_that_apache_went_on_with(autojump_clock: object) -> None:
    """Our marks are older than the log: what another broker appended since is found and queued."""
    disk = SimDisk(random.Random(1))
    journal = await filled(disk, 11)
    apache = Apache(disk)
    apache.offsets = {0: 6, 1: 5}
    later_ms = 1_700_000_100_000
    end = apache.write(journal.sent[-1].at.next_physical_offset, 6, later_ms)
    await disk.replace("checkpoint", encode_checkpoint(Checkpoint(later_ms, later_ms, 0)))
    journal.sent += apache.journal.sent
    recovered = await live(disk, SYNC, checks(journal), stop=True)
    assert (recovered.clean, recovered.truncated_to) == (True, end)
    assert recovered.records == 7  # and the last one that the index has, to find where it ends


async def test_a_log_that_apache_cut_and_grew_again(autojump_clock: object) -> None:
    """Where the record that our marks name is gone the marks are void: the log is what counts."""
    disk = SimDisk(random.Random(1))
    journal = await filled(disk, 11)
    cut = journal.sent[4].at.physical_offset
    file = disk.open(FIRST)
    file.truncate(cut)
    file.truncate(4096)
    apache = Apache(disk)
    apache.offsets = {0: 2, 1: 2}
    later_ms = 1_700_000_100_000
    end = apache.write(cut, 12, later_ms)
    await disk.replace("checkpoint", encode_checkpoint(Checkpoint(later_ms, later_ms, 0)))
    await disk.replace("abort", b"4711")
    kept = Journal(journal.sent[:4] + apache.journal.sent)
    recovered = await live(disk, SYNC, checks(kept), stop=True)
    assert (recovered.truncated_to, recovered.scanned_from) == (end, 0)


async def test_recovery_tells_how_far_it_is(autojump_clock: object) -> None:
    """While a long log is scanned the progress moves, and appends are refused."""
    disk = SimDisk(random.Random(1))
    config = msgspec.structs.replace(
        SYNC, commit_log_segment_bytes=8 << 20, message_size_max=1 << 20
    )

    async def use(store: Store) -> None:
        for n in range(12):
            store.append(draft(f"m{n:031d}", body=bytes(300_000)))
            store.write_out()
            await store.wait_flushed(store.log.max_offset)

    await live(disk, config, use)
    disk.restart()
    disk.unlink(WATERMARKS_PATH)
    seen: set[tuple[str, int]] = set()
    store = new_store(disk, config)

    async def watch() -> None:
        while True:
            seen.add((store.progress.phase, store.progress.bytes_done))
            await trio.sleep(0.000_1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await nursery.start(store.run)
        nursery.cancel_scope.cancel()
    assert len({done for phase, done in seen if phase == "scanning"}) >= 3
    assert {"writing the tail again", "syncing"} <= {phase for phase, _ in seen}
