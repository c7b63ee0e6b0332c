"""A store on a disk without a free byte opens, is read, refuses appends by name, and goes on.

Whatever the last life left: a clean stop, or a crash at any operation with anything half done. The
disk may be full for several lives. Nothing that was acknowledged is missing, at any time.
"""

import random

import msgspec
import pytest
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.store.store import Store
from broker_trio.testing.checkers.stored import (
    Journal,
    check_acknowledged,
    check_all,
    check_bounds,
    check_dense,
    check_sent,
    records_of,
)
from broker_trio.testing.sim_device import CAPACITY_BYTES
from broker_trio.testing.sim_disk import SimDisk
from tests.sim import store_workload as workloads
from tests.sim.store_workload import Workload, dies, draft, live

# No watermark stands before the end, and nothing is deleted: the last byte itself is missing.
SYNC = msgspec.structs.replace(
    workloads.SYNC,
    disk_used_ratio_delete=2.0, disk_used_ratio_force=2.0, disk_used_ratio_refuse=2.0,
)  # fmt: skip
EVERYWHERE = tuple(range(60, 400, 23))


async def read_only(store: Store, journal: Journal) -> None:
    """All queues are read; no append is taken, and the refusal names the place.

    Keys that the index has no room for are found later.
    """
    entries = await records_of(store)
    await check_acknowledged(store, journal)
    await check_sent(store, journal, entries)
    check_dense(store, entries)
    check_bounds(store)
    with pytest.raises(Refused) as refused:
        store.append(draft("x" * 32))
    assert refused.value.code == ResponseCode.SERVICE_NOT_AVAILABLE
    assert "the disk is full" in refused.value.remark
    places = ("broker_trio/", "consumequeue/", "index/", "commitlog")
    assert any(place in refused.value.remark for place in places)


async def recovered(store: Store, journal: Journal) -> None:
    """Within two rounds appends are taken again."""
    await trio.sleep(0.3)
    one = draft("a" * 32)
    at = store.append(one)
    store.when_durable(at.next_physical_offset, journal.add("a" * 32, one, at))
    store.write_out()
    await store.wait_flushed(store.log.max_offset)
    await check_all(store, journal)


async def full_lives(disk: SimDisk, journal: Journal, *, lives: int, stop: bool) -> None:
    """Some lives without a free byte, the last of which gets space."""
    for number in range(lives):
        disk.capacity_bytes = disk.used_bytes

        async def use(store: Store, last: bool = number == lives - 1) -> None:
            disk.capacity_bytes = disk.used_bytes  # what opening gave back is somebody else's
            await trio.sleep(0.3)
            await read_only(store, journal)
            if last:
                disk.capacity_bytes = CAPACITY_BYTES
                await recovered(store, journal)

        await live(disk, SYNC, use, stop=stop)
        disk.crash(power=not stop)
        disk.restart()
    disk.capacity_bytes = CAPACITY_BYTES
    await live(disk, SYNC, lambda store: check_acknowledged(store, journal), stop=True)


@pytest.mark.parametrize("power", [True, False])
async def test_a_crashed_store_opens_on_a_full_disk(power: bool, autojump_clock: object) -> None:
    """Wherever it crashed, and however often it was started since."""
    for k in EVERYWHERE:
        disk, journal = SimDisk(random.Random(k)), Journal()
        workload = Workload(k, journal)
        if power:
            disk.faults.power_off_at(k)
        else:
            disk.faults.kill_at(k)
        assert await dies(disk, SYNC, lambda store, w=workload: w.run(store, sync=True))
        await full_lives(disk, journal, lives=1 + k % 3, stop=k % 2 == 0)


async def test_a_stopped_store_opens_on_a_full_disk(autojump_clock: object) -> None:
    """After a clean stop there is no `abort` to write into: its name alone is made."""
    for seed in range(6):
        disk, journal = SimDisk(random.Random(seed)), Journal()
        workload = Workload(seed, journal)
        await live(disk, SYNC, lambda store, w=workload: w.run(store, sync=True), stop=True)
        disk.restart()
        disk.capacity_bytes = disk.used_bytes

        async def use(store: Store, disk: SimDisk = disk) -> None:
            assert disk.exists("abort")

        await live(disk, SYNC, use)
        disk.crash(power=True)
        disk.restart()
        await full_lives(disk, journal, lives=2, stop=seed % 2 == 0)


async def test_lost_queues_are_rebuilt_in_memory_until_there_is_space(
    autojump_clock: object,
) -> None:
    """Consume queues and index were deleted by hand: all of them are read on a full disk."""
    disk, journal = SimDisk(random.Random(1)), Journal()
    workload = Workload(1, journal)
    await live(disk, SYNC, lambda store: workload.run(store, sync=True), stop=True)
    disk.restart()
    for topic in disk.list("consumequeue"):
        for queue in disk.list(f"consumequeue/{topic}"):
            for name in disk.list(f"consumequeue/{topic}/{queue}"):
                disk.unlink(f"consumequeue/{topic}/{queue}/{name}")
    for name in disk.list("index"):
        disk.unlink(f"index/{name}")
    await full_lives(disk, journal, lives=3, stop=False)
