"""The key index: its bytes, its rules, what a crash leaves of it, and how keys are found."""

import random
import struct

import msgspec
import pytest
import trio
from trio.testing import MockClock

from broker_trio.model.errors import StoreCorrupt
from broker_trio.store import index as index_module
from broker_trio.store.config import TINY
from broker_trio.store.entry import Entry
from broker_trio.store.index import Index, file_name
from broker_trio.store.index_file import HEADER, HEADER_BYTES, ITEM, Header, file_size
from broker_trio.store.index_journal import INDEX_JOURNAL_PATH
from broker_trio.store.index_rows import rows_of
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.java import index_hash, topic_key_hash

SIZE = 100
START_MS = 1_700_000_000_000
FOREVER = 1 << 62

ITEMS_AT = HEADER_BYTES + 4 * TINY.index_slots


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(1))


def properties(uniq: str = "", keys: str = "") -> bytes:
    text = f"TAGS\x01T\x02KEYS\x01{keys}\x02" if keys else "TAGS\x01T\x02"
    return (f"{text}UNIQ_KEY\x01{uniq}\x02" if uniq else text).encode()


def entry(
    k: int, uniq: str = "", keys: str = "", *, sys_flag: int = 0, step_ms: int = 700
) -> Entry:
    """The k-th record of a log, SIZE bytes each, stored `step_ms` after the one before."""
    stored_ms = START_MS + k * step_ms
    return Entry("T", 0, k, SIZE * k, SIZE, 0, stored_ms, sys_flag, properties(uniq, keys))


def log_of(count: int) -> list[Entry]:
    """Records with one, two, three or no keys."""
    keys = ["", "a", "a b", "c a"]
    return [entry(k, f"U{k}" if k % 5 else "", keys[k % 4]) for k in range(count)]


def files(disk: SimDisk) -> dict[str, bytes]:
    return {name: disk.read(f"index/{name}") for name in disk.list("index")}


async def scratch(entries: list[Entry]) -> dict[str, bytes]:
    """The files of an index that is built at once, without any accident."""
    disk = SimDisk(random.Random(0))
    index = Index(disk, TINY)
    index.put_all(entries)
    await index.flush(settle=True)
    return files(disk)


async def restarted(disk: SimDisk, entries: list[Entry], *, clean: bool = False) -> Index:
    """A start as recovery does it."""
    index = Index(disk, TINY)
    index.load()
    begin = index.recover(0, clean=clean)
    index.put_all([one for one in entries if one.physical_offset >= begin])
    index.truncate(SIZE * len(entries))
    await index.flush(settle=True)
    return index


async def test_bytes_are_apaches(disk: SimDisk, autojump_clock: MockClock) -> None:
    """Header, slot and item of one key are where storage.md §3 says; t#k hashes to 112668."""
    index = Index(disk, TINY)
    one = Entry("t", 0, 0, 4096, 90, 0, START_MS, 0, properties("k"))
    index.put_all([one])
    await index.flush()
    (data,) = files(disk).values()
    assert len(data) == file_size(TINY.index_slots, TINY.index_items)
    assert HEADER.unpack_from(data) == (START_MS, START_MS, 4096, 4096, 1, 2)
    assert struct.unpack_from(">i", data, HEADER_BYTES + 4 * (112668 % 16)) == (1,)
    assert ITEM.unpack_from(data, ITEMS_AT + 20) == (112668, 4096, 0, 0)


def test_default_size_is_apaches() -> None:
    """5,000,000 slots and 20,000,000 items make 420,000,040 bytes."""
    assert file_size(5_000_000, 20_000_000) == 420_000_040


def test_keys_in_order() -> None:
    """UNIQ_KEY first, then each word of KEYS; runs of spaces make no key."""
    rows = rows_of([entry(3, "U", " x  y "), entry(4), entry(5, keys="z")])
    names = ["T#U", "T#x", "T#y", "T#z"]
    assert rows.hashes == [index_hash(name) for name in names]
    assert rows.positions == [300, 300, 300, 500]


@pytest.mark.parametrize(
    "raw",
    [
        b"UNIQ_KEY\x01U",
        b"X\x01UNIQ_KEY\x01\x02UNIQ_KEY\x01U\x02",
        b"UNIQ_KEY\x01U\x02XUNIQ_KEY\x01V",
    ],
)
def test_odd_properties(raw: bytes) -> None:
    """A missing separator, a name within a value or at the end of another name fools nobody."""
    odd = Entry("T", 0, 0, 0, SIZE, 0, START_MS, 0, raw)
    assert rows_of([odd]) == ([index_hash("T#U")], [0], [START_MS])


@pytest.mark.parametrize(("sys_flag", "count"), [(0, 1), (4, 1), (8, 1), (12, 0)])
def test_rollback_is_not_indexed(sys_flag: int, count: int) -> None:
    """Half messages and commits are found by key, rollbacks are not."""
    assert len(rows_of([entry(0, "U", sys_flag=sys_flag)]).hashes) == count


def test_items_chain_and_count_seconds(disk: SimDisk) -> None:
    """An item names its bucket's item before it, and its whole seconds after the file's begin."""
    index = Index(disk, TINY)
    index.put_all([entry(k, keys="a") for k in range(4)])
    index.catch_up()
    (data,) = files(disk).values()
    items = [ITEM.unpack_from(data, ITEMS_AT + 20 * n) for n in range(1, 5)]
    key_hash = topic_key_hash("T", b"a")
    assert items == [(key_hash, SIZE * k, k * 700 // 1000, k) for k in range(4)]


@pytest.mark.parametrize(
    ("stored_ms", "seconds"), [(0, 0), (START_MS - 1, 0), (1 << 62, 0x7FFFFFFF)]
)
def test_seconds_are_clamped(disk: SimDisk, stored_ms: int, seconds: int) -> None:
    """A clock that stepped, either way, gives a time that fits its field."""
    index = Index(disk, TINY)
    odd = entry(1, "V")._replace(store_timestamp_ms=stored_ms)
    index.put_all([entry(0, "U"), odd])
    index.catch_up()
    (data,) = files(disk).values()
    assert ITEM.unpack_from(data, ITEMS_AT + 40)[2] == seconds


def test_rolls_in_the_middle_of_a_record(disk: SimDisk) -> None:
    """A full file holds items - 1 keys; the next key of the same record begins the next file."""
    index = Index(disk, TINY)
    index.put_all([entry(k, f"U{k}", "a b") for k in range(15)])
    index.catch_up()
    names = disk.list("index")
    assert len(names) == index.file_count == 2
    data = disk.read(f"index/{names[1]}")
    assert ITEM.unpack_from(data, ITEMS_AT + 20)[:2] == (topic_key_hash("T", b"a"), 10 * SIZE)
    assert ITEM.unpack_from(data, ITEMS_AT + 20)[2] == 0


def test_file_names() -> None:
    """17 digits of local wall time, always after the file before, whatever the clock did."""
    name = file_name(START_MS + 7, "")
    assert len(name) == 17
    assert name.endswith("007")
    assert file_name(START_MS, name) == str(int(name) + 1)
    assert file_name(-5, "") < file_name(1 << 62, "") < "9" * 17


def test_put_again_is_ignored(disk: SimDisk) -> None:
    """Entries that were taken once are not taken again, in any overlap."""
    index, entries = Index(disk, TINY), log_of(20)
    index.put_all(entries[:12])
    index.put_all(entries[5:])
    index.put_all(entries[:3])
    index.catch_up()
    assert index.key_count == len(rows_of(entries).hashes)
    assert index.indexed_offset == 20 * SIZE


def test_works_behind_the_acknowledgement(disk: SimDisk) -> None:
    """A put only takes entries; past the limit it does the work itself."""
    index = Index(disk, msgspec.structs.replace(TINY, index_items=10_000))
    index.put_all(log_of(50))
    assert (index.behind_count, index.indexed_offset) == (50, 0)
    index.put_all(log_of(index_module.PENDING_MAX + 1))
    assert (index.behind_count, index.indexed_offset) == (0, SIZE * (index_module.PENDING_MAX + 1))


async def test_runs_in_small_steps(disk: SimDisk, autojump_clock: MockClock) -> None:
    """The task indexes what comes, and lets others run in between."""
    index = Index(disk, TINY)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(index.run)
        index.put_all(log_of(3 * index_module.BATCH))
        seen = set()
        while index.behind_count:
            seen.add(index.behind_count)
            await trio.lowlevel.checkpoint()
        assert len(seen) > 1
        nursery.cancel_scope.cancel()
    assert index.indexed_offset == 3 * index_module.BATCH * SIZE


async def test_full_disk_loses_no_key(autojump_clock: MockClock) -> None:
    """Without space keys wait; with space again the files are as if nothing had happened."""
    disk, entries = SimDisk(random.Random(1), capacity_bytes=2_000), log_of(200)
    index = Index(disk, TINY)
    index.put_all(entries[:100])
    with pytest.raises(OSError, match="No space"):
        index.catch_up()
    assert await index.query("T", "a", 64, 0, FOREVER)
    index.put_all(entries[50:])
    with pytest.raises(OSError, match="No space"):
        await index.flush()
    disk.capacity_bytes = 1 << 20
    await index.flush(settle=True)
    assert files(disk) == await scratch(entries)


# -- crashes --------------------------------------------------------------------------------------


async def worked_until_dead(disk: SimDisk, entries: list[Entry], entropy: random.Random) -> None:
    """The same until its disk dies; at the latest when all is put."""
    try:
        await worked(disk, entries, entropy)
    except* Dead:
        pass
    disk.faults.clear()
    disk.crash(power=False)
    disk.restart()


async def worked(disk: SimDisk, entries: list[Entry], entropy: random.Random) -> None:
    """A run that is going to be cut off: puts of any size, flushes now and then."""
    index = await restarted(disk, entries[:0])
    at = 0
    while at < len(entries):
        count = entropy.randrange(1, 25)
        index.put_all(entries[at : at + count])
        at += count
        if entropy.random() < 0.5:
            index.catch_up()
        if entropy.random() < 0.3:
            await index.flush()


@pytest.mark.parametrize("power", [True, False])
@pytest.mark.parametrize("operation", range(1, 90, 4))
async def test_survives_a_crash_at_any_operation(
    operation: int, power: bool, autojump_clock: MockClock
) -> None:
    """After a crash anywhere the index comes back, byte by byte as one built from scratch."""
    entries = log_of(120)
    disk = SimDisk(random.Random(operation))
    if power:
        disk.faults.power_off_at(operation)
    else:
        disk.faults.kill_at(operation)
    await worked_until_dead(disk, entries, random.Random(operation))
    await restarted(disk, entries)
    assert files(disk) == await scratch(entries)


async def test_a_crash_costs_what_was_not_flushed(disk: SimDisk, autojump_clock: MockClock) -> None:
    """The newest file is kept (Apache destroys it): dispatch begins where the last flush was."""
    index, entries = Index(disk, TINY), log_of(60)
    index.put_all(entries[:50])
    await index.flush()
    index.put_all(entries[50:])
    index.catch_up()
    disk.crash(power=True)
    disk.restart()
    again = Index(disk, TINY)
    again.load()
    assert again.recover(0) == index.durable_offset == 50 * SIZE


async def test_cancelled_flush_is_made_up_for(disk: SimDisk, autojump_clock: MockClock) -> None:
    """A flush cancelled at any point loses nothing for the next one."""
    entries = log_of(90)
    index = Index(disk, TINY)
    for step in range(30):
        index.put_all(entries[3 * step : 3 * step + 3])
        with trio.move_on_after(step * 0.000_7):
            await index.flush()
    await index.flush(settle=True)
    assert files(disk) == await scratch(entries)


@pytest.mark.parametrize("keep", range(0, 61, 6))
async def test_truncate_is_the_inverse_of_put(
    disk: SimDisk, keep: int, autojump_clock: MockClock
) -> None:
    """After a cut, and new records behind it, the files are those of the new log alone."""
    index, entries = Index(disk, TINY), log_of(60)
    index.put_all(entries)
    await index.flush()
    index.truncate(keep * SIZE)
    await index.flush()
    other = [one._replace(properties=properties("other")) for one in log_of(70)[keep:]]
    index.put_all(other)
    await index.flush(settle=True)
    assert files(disk) == await scratch(entries[:keep] + other)


async def test_records_come_while_a_cut_is_not_durable(
    disk: SimDisk, autojump_clock: MockClock
) -> None:
    """pair_other_disk, seed 21: a returning slave dispatched the kept end of its log while the cut
    was being flushed; a file of that very millisecond waited to be dropped, and the broker died."""
    index, entries = Index(disk, TINY), log_of(60)
    index.put_all(entries)
    await index.flush()
    index.truncate(0)
    index.put_all(entries[:20])
    index.catch_up()
    await index.flush(settle=True)
    again = Index(disk, TINY)
    again.load()
    assert again.recover(0) == 20 * SIZE
    assert await again.query("T", "U1", 8, 0, FOREVER) == [SIZE]
    assert await again.query("T", "U21", 8, 0, FOREVER) == []


@pytest.mark.parametrize("clean", [True, False])
async def test_foreign_files(disk: SimDisk, clean: bool, autojump_clock: MockClock) -> None:
    """Apache's files are taken as they are after a clean stop, else the newest is built again."""
    index, entries = Index(disk, TINY), log_of(60)
    index.put_all(entries[:50])
    await index.flush(settle=True)
    disk.unlink(INDEX_JOURNAL_PATH)
    again = Index(disk, TINY)
    again.load()
    newest = again._files[-1].header
    begin = again.recover(0, clean=clean)
    assert begin == newest.end_physical + 1 if clean else 0 < begin <= newest.begin_physical
    again.put_all([one for one in entries if one.physical_offset >= begin])
    await again.flush(settle=True)
    assert files(disk) == await scratch(entries)


async def test_somebody_wrote_since(disk: SimDisk, autojump_clock: MockClock) -> None:
    """A file with more items than the journal knows voids the journal."""
    index, entries = Index(disk, TINY), log_of(10)
    index.put_all(entries)
    await index.flush(settle=True)
    (name,) = disk.list("index")
    known = Header._make(HEADER.unpack_from(disk.read(f"index/{name}")))
    ahead = known._replace(item_count=known.item_count + 1)
    disk.open(f"index/{name}").write_at(0, HEADER.pack(*ahead))
    again = Index(disk, TINY)
    again.load()
    assert again.recover(0) == 0
    assert again.file_count == 0


@pytest.mark.parametrize("loss", ["journal", "files", "both"])
async def test_deleted_files_come_back(disk: SimDisk, loss: str, autojump_clock: MockClock) -> None:
    """Index files and journal may be deleted: the log brings back the same names and bytes."""
    index, entries = Index(disk, TINY), log_of(60)
    index.put_all(entries)
    await index.flush(settle=True)
    if loss != "journal":
        for name in disk.list("index"):
            disk.unlink(f"index/{name}")
    if loss != "files":
        disk.unlink(INDEX_JOURNAL_PATH)
    await restarted(disk, entries)
    assert files(disk) == await scratch(entries)


def test_longer_file_refused(disk: SimDisk) -> None:
    """A file of another setting stops the start, and says that it may be deleted."""
    size = file_size(TINY.index_slots, TINY.index_items) + 1
    disk.open("index/20240101000000000", create=True).truncate(size)
    with pytest.raises(StoreCorrupt, match="may be deleted"):
        Index(disk, TINY).load()


async def test_retention(disk: SimDisk, autojump_clock: MockClock) -> None:
    """Files whose last record is gone go, never the newest, and the next start does not mind."""
    index, entries = Index(disk, TINY), log_of(60)
    index.put_all(entries)
    await index.flush()
    count = index.file_count
    assert count > 2
    assert await index.delete_expired(1 << 40) == count - 1
    again = Index(disk, TINY)
    again.load()
    assert again.recover(0) == 60 * SIZE
    assert again.file_count == 1


# -- finding --------------------------------------------------------------------------------------


async def test_finds_across_files(disk: SimDisk, autojump_clock: MockClock) -> None:
    """Every record of a key, ascending, whatever file it is in, also before the first flush."""
    index, entries = Index(disk, TINY), log_of(60)
    index.put_all(entries)
    found = await index.query("T", "a", 64, 0, FOREVER)
    assert found == [SIZE * k for k in range(60) if k % 4]
    assert await index.query("T", "U7", 64, 0, FOREVER) == [7 * SIZE]
    await index.flush()
    disk.cold = 1.0
    assert await index.query("T", "a", 64, 0, FOREVER) == found
    assert await index.query("other", "a", 64, 0, FOREVER) == []


async def test_finds_the_newest_within_the_limit(disk: SimDisk, autojump_clock: MockClock) -> None:
    """A limit keeps the newest; `below` goes on where the last answer ended; 64 is the most."""
    index = Index(disk, TINY)
    index.put_all([entry(k, keys="a") for k in range(100)])
    newest = await index.query("T", "a", 3, 0, FOREVER)
    assert newest == [97 * SIZE, 98 * SIZE, 99 * SIZE]
    before = await index.query("T", "a", 3, 0, FOREVER, below=newest[0])
    assert before == [94 * SIZE, 95 * SIZE, 96 * SIZE]
    assert len(await index.query("T", "a", 1000, 0, FOREVER)) == 64


@pytest.mark.parametrize(("first", "last"), [(0, 0), (10, 20), (33, 34), (59, 59)])
async def test_no_record_within_the_times_is_missed(
    disk: SimDisk, first: int, last: int, autojump_clock: MockClock
) -> None:
    """Times are known to the second, so more may come, and never fewer."""
    index, entries = Index(disk, TINY), [entry(k, keys="a") for k in range(60)]
    index.put_all(entries)
    begin_ms, end_ms = (entries[k].store_timestamp_ms for k in (first, last))
    found = await index.query("T", "a", 64, begin_ms, end_ms)
    assert set(found) >= {SIZE * k for k in range(first, last + 1)}
    assert len(found) <= last - first + 1 + 4


async def test_key_listed_twice_is_found_once(disk: SimDisk, autojump_clock: MockClock) -> None:
    """A word that is in KEYS twice, or is the UNIQ_KEY too, gives one record."""
    index = Index(disk, TINY)
    index.put_all([entry(0, "a", "a a")])
    assert await index.query("T", "a", 64, 0, FOREVER) == [0]
