"""A log that follows another one: cut anywhere, byte for byte the same, and cut back."""

import random

import pytest
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, RemoteProtocolError
from broker_trio.store.config import TINY
from broker_trio.store.replica import NO_BOUND, Splitter
from broker_trio.store.store import Store
from broker_trio.testing.checkers.stored import Journal, check_all
from broker_trio.testing.cluster.pair_closing import bytes_of
from broker_trio.testing.sim_disk import SimDisk
from tests.sim.store_workload import ASYNC, SYNC, Workload, draft, live, new_store

SEGMENT = TINY.commit_log_segment_bytes


async def written(seed: int = 1, steps: int = 24) -> tuple[bytes, Journal]:
    """The log of a mixed workload, with fillers and all."""
    journal, result = Journal(), b""

    async def use(store: Store) -> None:
        nonlocal result
        await Workload(seed, journal, steps=steps).run(store, sync=False)
        result = await bytes_of(store, 0, store.log.max_offset)

    await live(SimDisk(random.Random(1)), ASYNC, use)
    assert len(result) > 3 * SEGMENT
    return result, journal


def feed(store: Store, data: bytes, rng: random.Random) -> None:
    """Hand `data` over in pieces of any size."""
    replica, at = store.replica(), 0
    splitter = replica.splitter()
    while at < len(data):
        size = rng.choice((1, 7, 90, 1000, 9000))
        assert splitter.next_offset == store.log.max_offset + len(splitter._kept)
        for whole in splitter.feed(data[at : at + size]):
            replica.append(whole)
            store.write_out()
        at += size


@pytest.mark.parametrize("config", [ASYNC, SYNC], ids=["async", "sync"])
async def test_a_followed_log_is_the_same(config, autojump_clock):
    """However the bytes are cut: same log, same queues and keys, also after a restart."""
    data, journal = await written()
    disk = SimDisk(random.Random(2))

    async def follow(store: Store) -> None:
        feed(store, data, random.Random(3))
        assert await bytes_of(store, 0, len(data)) == data
        await store.wait_flushed(store.log.max_offset)
        await trio.sleep(0.1)
        await check_all(store, journal)

    await live(disk, config, follow)
    disk.crash(power=True)
    disk.restart()
    await live(disk, config, lambda store: check_all(store, journal), stop=True)


async def test_a_follower_goes_on_by_itself(autojump_clock):
    """Once it is a master its own messages get the next queue offsets, dispatched or not."""
    data, _ = await written()

    async def use(store: Store) -> None:
        store.bound = 2 * SEGMENT
        feed(store, data, random.Random(3))
        assert store.queues.max_offset("orders", 0) < store.queues.next_offset("orders", 0)
        assert store.confirm_offset == 2 * SEGMENT
        before = store.queues.next_offset("orders", 0)
        appended = store.append(draft("own", "orders", 0))
        assert appended.queue_offset == before
        assert appended.physical_offset >= len(data)
        store.write_out()
        store.raise_bound(NO_BOUND)
        assert store.queues.max_offset("orders", 0) == before + 1

    await live(SimDisk(random.Random(2)), ASYNC, use)


async def test_hidden_is_not_seen_by_anyone(autojump_clock):
    """What lies behind the bound is in no queue and cannot be read by its position."""
    data, _ = await written()
    disk = SimDisk(random.Random(2))
    ends: dict[tuple[str, int], int] = {}

    async def follow(store: Store) -> None:
        feed(store, data, random.Random(3))
        ends.update({(one.topic, one.queue_id): one.max_offset for one in store.queues})

    await live(disk, ASYNC, follow, stop=True)
    disk.restart()

    async def hidden(store: Store) -> None:
        orders = store.queues.get("orders", 0)
        assert orders is not None
        position = orders.unit_at(orders.max_offset // 2).physical_offset
        assert await store.replica().hide_from(position) > 0
        assert store.queues.max_offset("orders", 0) == orders.max_offset
        assert await store.reader.record_at(position) is None
        assert all(one.physical_end <= position for one in store.queues)
        store.raise_bound(position + 1)
        assert await store.reader.record_at(position) is not None
        store.raise_bound(NO_BOUND)
        assert {(one.topic, one.queue_id): one.max_offset for one in store.queues} == ends

    await live(disk, ASYNC, hidden)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
async def test_a_cut_saves_the_tail_and_leaves_a_prefix(share, autojump_clock):
    """The tail is in the side file, byte for byte; what remains is whole, and can grow again."""
    data, _ = await written()
    disk = SimDisk(random.Random(2))

    async def cut(store: Store) -> None:
        feed(store, data, random.Random(3))
        wanted = int(len(data) * share)
        end = max(
            (u.physical_offset for q in store.queues for u in [q.last_before(wanted)] if u),
            default=0,
        )
        path = await store.replica().cut(end)
        assert disk.read(path) == data[end:]
        assert store.log.max_offset == end
        assert await bytes_of(store, 0, end) == data[:end]
        assert all(one.physical_end <= end for one in store.queues)
        feed(store, data[end:], random.Random(4))
        assert await bytes_of(store, 0, len(data)) == data

    await live(disk, ASYNC, cut)
    disk.crash(power=False)
    disk.restart()
    _, journal = await written()
    await live(disk, ASYNC, lambda store: check_all(store, journal))


async def test_a_cut_of_nothing_is_nothing(autojump_clock):
    """The log's own end is no cut, and leaves no file."""
    disk = SimDisk(random.Random(2))

    async def use(store: Store) -> None:
        feed(store, (await written())[0], random.Random(3))
        assert await store.replica().cut(store.log.max_offset) == ""

    await live(disk, ASYNC, use)
    assert disk._names.now.keys() & {"divergent"} == set()


async def test_beginning_anew_at_a_later_segment(autojump_clock):
    """A replica that is older than the whole log of its master takes what there is."""
    data, _ = await written()
    disk = SimDisk(random.Random(2))

    async def use(store: Store) -> None:
        feed(store, data[:500], random.Random(3))
        await store.replica().begin_at(2 * SEGMENT)
        assert (store.log.min_offset, store.log.max_offset) == (2 * SEGMENT, 2 * SEGMENT)
        feed(store, data[2 * SEGMENT :], random.Random(4))
        assert await bytes_of(store, 2 * SEGMENT, len(data)) == data[2 * SEGMENT :]
        await store.wait_flushed(store.log.max_offset)

    await live(disk, ASYNC, use)
    disk.crash(power=True)
    disk.restart()

    async def again(store: Store) -> None:
        assert (store.log.min_offset, store.log.max_offset) == (2 * SEGMENT, len(data))

    await live(disk, ASYNC, again)


async def test_bytes_that_are_no_record_of_this_place_are_refused(autojump_clock):
    """A flipped bit, another place, a record that crosses a segment: nothing of it is appended."""
    data, _ = await written()
    second = int.from_bytes(data[:4], "big")
    for bad in (b"\xff" + data[1:], data[:5] + b"\xff" + data[6:], data[second:], b"\0" * 100):
        with pytest.raises(RemoteProtocolError):
            Splitter(0, SEGMENT, 1 << 20).feed(bad)


async def test_a_full_disk_refuses_and_appends_nothing(autojump_clock):
    """So that the same bytes can come again when there is room."""
    data, _ = await written()
    disk = SimDisk(random.Random(2))

    async def use(store: Store) -> None:
        replica = store.replica()
        splitter = replica.splitter()
        first, *_ = splitter.feed(data)
        disk.capacity_bytes = 0
        with pytest.raises(Refused, match="disk is full"):
            replica.append(first)
        assert store.log.max_offset == 0

    await live(disk, ASYNC, use)


async def test_a_guard_is_asked_before_every_append(autojump_clock):
    """While it says no nothing is appended, alone or in a batch."""

    async def use(store: Store) -> None:
        answers = [None, Refused(ResponseCode.SERVICE_NOT_AVAILABLE, "no lease")]

        def check() -> None:
            if (answer := answers.pop(0)) is not None:
                raise answer

        store.guard(check)
        store.append(draft("one"))
        with pytest.raises(Refused, match="no lease"):
            store.append_batch(draft("two"), [(0, b"x", b"", 0)])
        assert store.log.max_offset > 0

    await live(SimDisk(random.Random(2)), ASYNC, use)


async def test_checksums_of_two_logs_agree_on_what_is_equal(autojump_clock):
    """The last 64 KiB, or what there is from a place on; one other byte shows."""
    data, _ = await written()
    seen = []

    async def use(store: Store) -> None:
        replica = store.replica()
        feed(store, data, random.Random(3))
        seen.append(await replica.tail_crc(2 * SEGMENT))
        seen.append(await replica.tail_crc(2 * SEGMENT, 100))

    for seed in (2, 3):
        await live(SimDisk(random.Random(seed)), ASYNC, use)
    assert seen[:2] == seen[2:]
    assert new_store(SimDisk(random.Random(1)), ASYNC).replica() is not None
