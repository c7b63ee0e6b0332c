"""Known data-loss bugs of single-node stores, one test a row of the specification's table (§14.1).

Rows 6 (timers) and 11 (transient pool) have no counterpart in this store.
"""

import errno
import random

import msgspec
import pytest
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, StoreFailed
from broker_trio.store.entry import Entry
from broker_trio.store.reader import GetStatus
from broker_trio.store.store import Store
from broker_trio.store.watermarks import Watermarks, load_watermarks, save_watermarks
from broker_trio.testing.checkers.stored import (
    Journal,
    check_acknowledged,
    check_all,
    check_bounds,
    check_dense,
    check_sent,
    records_of,
)
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.sim_disk import SimDisk
from tests.sim.store_workload import ASYNC, SYNC, Workload, dies, draft, live, nothing


def send(store: Store, journal: Journal, name: str, **changes: object) -> None:
    """One message, written out; the journal learns when it is durable."""
    one = draft(name, **changes)  # type: ignore[arg-type]
    at = store.append(one)
    store.when_durable(at.next_physical_offset, journal.add(name, one, at))
    store.write_out()


async def settle(store: Store) -> None:
    """Until all is on disk and the marks say so."""
    await store.wait_flushed(store.log.max_offset)
    await trio.sleep(0.3)


async def power_cut(disk: SimDisk, journal: Journal, count: int) -> None:
    """A life in which `count` messages reach the disk, and the power goes."""

    async def use(store: Store) -> None:
        for n in range(count):
            send(store, journal, f"m{n:031d}", queue_id=n % 2)
        await settle(store)
        disk.crash(power=True)
        disk.list("")  # the first call on a dead disk ends the life

    assert await dies(disk, SYNC, use)


@pytest.mark.parametrize("kind", ["flush", "write"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_row_1_no_ack_after_a_failed_fsync_or_write(
    kind: str, number: int, autojump_clock: object
) -> None:
    """An error of write or fsync ends the store; all that it acknowledged survives power loss."""
    for skip in range(0, 24, 3):
        disk, journal = SimDisk(random.Random(skip)), Journal()
        disk.faults.fail(kind, path="commitlog", number=number, skip=skip)  # type: ignore[arg-type]
        workload = Workload(skip, journal)
        failed = False
        try:
            await live(disk, SYNC, lambda store, w=workload: w.run(store, sync=True))
        except* StoreFailed:
            failed = True
        assert failed
        acknowledged = journal.acknowledged_count
        disk.crash(power=True)
        disk.restart()
        await live(disk, SYNC, lambda store, j=journal: check_all(store, j))
        assert journal.acknowledged_count == acknowledged < len(journal.sent)


async def test_row_2_queues_hold_what_the_log_holds(autojump_clock: object) -> None:
    """Power loss at any write: queues are exactly the log's records, whatever the marks said."""
    for k in range(150, 520, 23):
        disk, journal = SimDisk(random.Random(k)), Journal()
        workload = Workload(2, journal)
        disk.faults.power_off_at(k)
        assert await dies(disk, ASYNC, lambda store, w=workload: w.run(store, sync=False))

        async def check(store: Store) -> None:
            entries = await records_of(store)
            check_dense(store, entries)

        await live(disk, ASYNC, check)


@pytest.mark.parametrize("damage", ["folder", "first file", "last file", "last page", "all queues"])
async def test_row_3_a_damaged_queue_is_rebuilt_in_place(
    damage: str, autojump_clock: object
) -> None:
    """Whatever is missing of a queue comes back at the right index, byte for byte."""
    disk, journal = SimDisk(random.Random(3)), Journal()

    async def use(store: Store) -> None:
        for n in range(60):
            send(store, journal, f"m{n:031d}", queue_id=n % 3)
        await settle(store)

    await live(disk, SYNC, use, stop=True)
    disk.restart()
    folder = "consumequeue/T/1"
    before = {name: disk.read(f"{folder}/{name}") for name in disk.list(folder)}
    assert len(before) == 3
    victims = {
        "folder": sorted(before),
        "first file": sorted(before)[:1],
        "last file": sorted(before)[-1:],
        "last page": [],
        "all queues": sorted(before),
    }[damage]
    for name in victims:
        disk.unlink(f"{folder}/{name}")
    if damage == "last page":
        disk.open(f"{folder}/{sorted(before)[-1]}").truncate(20)
    if damage == "all queues":
        for queue_id in (0, 2):
            for name in disk.list(f"consumequeue/T/{queue_id}"):
                disk.unlink(f"consumequeue/T/{queue_id}/{name}")
    await live(disk, SYNC, lambda store: check_all(store, journal), stop=True)
    disk.restart()
    assert {name: disk.read(f"{folder}/{name}") for name in disk.list(folder)} == before


async def test_row_4_truncated_bytes_never_come_back(autojump_clock: object) -> None:
    """Records behind a cut stay gone, though later ones of the same sizes end where they began."""
    disk, journal = SimDisk(random.Random(4)), Journal()
    await power_cut(disk, journal, 6)
    # Six messages more that are written and never synced; then a hole where the first of them was.
    lost = Journal()

    async def unsynced(store: Store) -> None:
        begin = store.log.max_offset
        for n in range(6):
            send(store, lost, f"l{n:031d}")
        store.log.segments.find(begin).file.write_at(begin, bytes(40))  # type: ignore[union-attr]
        disk.crash(power=False)
        disk.list("")

    assert await dies(disk, SYNC, unsynced)
    ends: list[int] = []

    async def resend(store: Store) -> None:
        ends.append(store.recovered.truncated_to)  # type: ignore[union-attr]
        send(store, journal, f"n{0:031d}")
        await settle(store)

    # The new record has the size of the one that was cut: behind it the second one would be valid.
    await live(disk, SYNC, resend)
    disk.crash(power=True)
    disk.restart()

    async def check(store: Store) -> None:
        entries = await records_of(store)
        await check_sent(store, journal, entries)
        assert len(entries) == 7

    await live(disk, SYNC, check)
    assert ends == [lost.sent[0].at.physical_offset]


async def test_row_5_min_never_passes_max(autojump_clock: object) -> None:
    """Expiry, deletion and a cut that removes all files of a queue leave 0 <= min <= max."""
    disk, journal = SimDisk(random.Random(5)), Journal()
    config = msgspec.structs.replace(SYNC, retention_hours=0, disk_used_ratio_delete=0.0)

    async def use(store: Store) -> None:
        for n in range(80):
            send(store, journal, f"m{n:031d}", queue_id=n % 2)
            if n % 16 == 0:
                await settle(store)
                await store.retention.sweep()
                check_bounds(store)
        await settle(store)
        await store.retention.sweep()
        check_bounds(store)
        assert store.log.min_offset > 0
        queue = store.queues.get("T", 0)
        assert queue is not None
        assert 0 < queue.min_offset < queue.max_offset

    await live(disk, config, use, stop=True)
    disk.restart()
    for name in disk.list("commitlog")[1:]:
        disk.unlink(f"commitlog/{name}")
    first = disk.list("commitlog")[0]
    disk.open(f"commitlog/{first}").truncate(0)  # nothing of the log is left

    async def check(store: Store) -> None:
        check_bounds(store)
        assert store.log.max_offset == int(first)
        send(store, journal, f"n{0:031d}")
        check_bounds(store)

    await live(disk, config, check, accept_damage=True)


def lost_tail(store: Store, promised: int) -> bool:
    """Whether offsets that were given out are gone; if so, what the store says of them."""
    recovered = store.recovered
    assert recovered is not None
    assert recovered.truncated_to == store.log.max_offset
    end = store.queues.max_offset("T", 0)
    if end >= promised:
        return False
    found = store.reader.get_nowait("T", 0, promised, count_max=1, codes=None)
    assert found.status in {GetStatus.OFFSET_OVERFLOW_ONE, GetStatus.OFFSET_OVERFLOW_BADLY}
    assert found.next_begin_offset == end
    return True


async def test_row_7_positions_beyond_the_end_are_told(autojump_clock: object) -> None:
    """After a lost tail recovery says where the log ends, and a read beyond it says go back."""
    disk, journal = SimDisk(random.Random(7)), Journal()
    await power_cut(disk, journal, 8)
    seen: list[int] = []

    async def tail(store: Store) -> None:
        for n in range(8):
            one = draft(f"t{n:031d}")
            store.append(one)
        store.write_out()
        seen.append(store.queues.next_offset("T", 0))
        disk.crash(power=True)
        disk.list("")

    for attempt in range(20):  # until a power loss takes some of the tail
        disk.entropy.seed(attempt)
        assert await dies(disk, ASYNC, tail)

        lost: list[bool] = []

        async def use(store: Store, found: list[bool] = lost) -> None:
            found.append(lost_tail(store, seen[-1]))

        await live(disk, ASYNC, use)
        disk.restart()
        if lost == [True]:
            return
    raise AssertionError("no tail was ever lost")


async def test_row_8_a_small_file_is_old_or_new(autojump_clock: object) -> None:
    """Power loss at each operation of a replacement leaves one of the two values, never less."""
    old, new = Watermarks(log_flushed=1), Watermarks(log_flushed=2)
    found = set()
    for k in range(1, 8):
        for seed in range(6):
            disk = SimDisk(random.Random(seed))
            await save_watermarks(disk, old)
            disk.faults.power_off_at(k)
            with pytest.raises(Dead):
                await save_watermarks(disk, new)
            disk.restart()
            assert load_watermarks(disk) in {old, new}
            found.add(load_watermarks(disk))
    assert found == {old, new}


async def test_row_9_offsets_of_a_recreated_topic_go_on(autojump_clock: object) -> None:
    """A topic that was deleted and comes back continues its offsets, also over a power loss."""
    disk, journal = SimDisk(random.Random(9)), Journal()

    async def use(store: Store) -> None:
        for n in range(5):
            send(store, journal, f"m{n:031d}")
        await settle(store)
        await store.queues.delete_topic("T")
        assert store.queues.next_offset("T", 0) == 5
        disk.crash(power=True)
        disk.list("")

    assert await dies(disk, SYNC, use)

    async def again(store: Store) -> None:
        at = store.append(draft(f"n{0:031d}"))
        assert at.queue_offset == 5

    await live(disk, SYNC, again)


async def test_row_10_a_bad_record_stops_nobody(autojump_clock: object) -> None:
    """A rotten record is never handed out as good and blocks neither reads nor the next start."""
    disk, journal = SimDisk(random.Random(10)), Journal()
    await power_cut(disk, journal, 9)
    victim = journal.sent[4]
    disk.flip_bit("commitlog/" + "0" * 20, (victim.at.physical_offset + 90) * 8)

    async def check(store: Store) -> None:
        assert await store.reader.record_at(victim.at.physical_offset) is None
        for one in journal.sent:
            if one is not victim:
                assert await store.reader.record_at(one.at.physical_offset) is not None
        send(store, journal, f"n{0:031d}", queue_id=0)
        await settle(store)
        got = await store.reader.get("T", 0, 0, count_max=32, codes=None)
        assert got.next_begin_offset == store.queues.max_offset("T", 0) == 6

    await live(disk, SYNC, check, stop=True)
    disk.restart()
    await live(disk, SYNC, nothing)


class Broken(Exception):
    """A fault of our own in something that is told of arrivals or builds derived data."""


async def test_row_12_dispatch_never_passes_a_record(autojump_clock: object) -> None:
    """An exception in a dispatcher ends the run; the next start dispatches that very record."""
    disk, journal = SimDisk(random.Random(12)), Journal()
    dispatched: list[int] = []

    def listen(entries: list[Entry]) -> None:
        if len(dispatched) >= 3:
            raise Broken
        dispatched.extend(entry.physical_offset for entry in entries)

    async def use(store: Store) -> None:
        store.arrivals.append(listen)
        for n in range(6):
            send(store, journal, f"m{n:031d}")
            await store.wait_flushed(store.log.max_offset)

    with pytest.RaisesGroup(Broken, flatten_subgroups=True):
        await live(disk, SYNC, use)
    disk.restart()
    await live(disk, SYNC, lambda store: check_all(store, journal))


@pytest.mark.parametrize("used", [0.80, 0.92])
async def test_row_13_what_is_not_dispatched_is_not_deleted(
    used: float, autojump_clock: object
) -> None:
    """With the dispatcher stalled a full disk refuses messages rather than delete unread ones."""
    disk, journal = SimDisk(random.Random(13)), Journal()
    config = msgspec.structs.replace(SYNC, retention_hours=0, delete_when_hours=())

    async def use(store: Store) -> None:
        for n in range(80):
            send(store, journal, f"m{n:031d}")
        await settle(store)
        disk.faults.fail("create", path="consumequeue", number=errno.ENOSPC, times=None)
        for n in range(80, 160):  # new queues: their files cannot be made, nothing is flushed there
            send(store, journal, f"m{n:031d}", queue_id=n)
        await store.wait_flushed(store.log.max_offset)
        await trio.sleep(0.2)
        stalled_from = journal.sent[80].at.physical_offset
        disk.capacity_bytes = int((disk.usage().total - disk.usage().free) / used)
        for _ in range(5):
            await store.retention.sweep()
        assert 0 < store.log.min_offset <= stalled_from
        with pytest.raises(Refused, match="disk is full") as refused:
            store.check_writable(1)
        assert refused.value.code == ResponseCode.SERVICE_NOT_AVAILABLE
        disk.faults.clear()
        disk.capacity_bytes = 1 << 30
        await trio.sleep(5)
        await store.retention.sweep()
        store.check_writable(1)
        await check_acknowledged(store, journal)

    await live(disk, config, use)
