"""A returning replica loses power at every disk operation by which it gets rid of its own tail.

    old log  ├── common ──┼── its own tail ──┤       cut: side file, marks, log, queues, index
    master   ├── common ──┼── other bytes ─────┤

Wherever it ends, it starts again, is told the same common point, cuts again and follows; then its
log is the master's, and what only it had is in the side file. The same for `begin_at`, which drops
a log that the master no longer has, and for the files that keep records.
"""

import random
from typing import NamedTuple

import pytest
import trio

from broker_trio.broker.replication.state_file import load_state, save_state
from broker_trio.model.pair import Epoch, Kept, Record
from broker_trio.namesrv.config import WitnessSection
from broker_trio.namesrv.witnessing import Witnessing
from broker_trio.store.config import TINY
from broker_trio.store.replica import DIVERGENT_FOLDER
from broker_trio.store.store import Store
from broker_trio.testing.checkers.stored import Journal, check_all
from broker_trio.testing.cluster.pair_closing import bytes_of
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.testing.simulate import simulate
from tests.sim.store_workload import SYNC, Use, Workload, live

OPERATIONS_MAX = 400
SEGMENT = TINY.commit_log_segment_bytes


class Logs(NamedTuple):
    """Of one pair that parted at `common`: the bytes of both, and what was sent to the master."""

    own: bytes
    master: bytes
    common: int
    journal: Journal


async def parted(share: float) -> Logs:
    """Two logs that are the same up to some record."""
    own, journal = b"", Journal()

    async def first(store: Store) -> None:
        nonlocal own
        await Workload(1, journal, steps=10).run(store, sync=False)
        own = await bytes_of(store, 0, store.log.max_offset)

    await live(SimDisk(random.Random(1)), SYNC, first)
    master, common = b"", 0

    async def second(store: Store) -> None:
        nonlocal master, common
        feed(store, own)
        ends = [one.at.next_physical_offset for one in journal.sent]
        common = max((end for end in ends if end <= len(own) * share), default=0)
        await store.replica().cut(common)
        journal.sent[:] = [one for one in journal.sent if one.at.next_physical_offset <= common]
        await Workload(2, journal, steps=10, prefix="other.").run(store, sync=False)
        master = await bytes_of(store, 0, store.log.max_offset)

    await live(SimDisk(random.Random(2)), SYNC, second)
    assert master[:common] == own[:common]
    assert master[common : common + 400] != own[common : common + 400]
    return Logs(own, master, common, journal)


def feed(store: Store, data: bytes) -> None:
    replica = store.replica()
    for whole in replica.splitter().feed(data):
        replica.append(whole)
        store.write_out()


async def filled(disk: SimDisk, data: bytes) -> None:
    """A store with that log, cleanly stopped."""

    async def use(store: Store) -> None:
        feed(store, data)
        await store.wait_flushed(store.log.max_offset)

    await live(disk, SYNC, use, stop=True)
    disk.restart()


async def dies(disk: SimDisk, use: Use) -> bool:
    """One life on a disk that may go down; whether it did. What else falls then is its fault."""
    died = False
    try:
        await live(disk, SYNC, use)
    except BaseExceptionGroup as error:
        died = error.subgroup(Dead) is not None
        if not died:
            raise
    disk.faults.clear()
    disk.restart()
    return died


async def dies_at(k: int, disk: SimDisk, use: Use, *, power: bool) -> bool:
    """Die at operation k of a use; whether k was reached."""

    async def armed(store: Store) -> None:
        (disk.faults.power_off_at if power else disk.faults.kill_at)(k)
        await use(store)

    return await dies(disk, armed)


async def crash_in_cut(logs: Logs, k: int, *, power: bool) -> bool:
    """Die at operation k of a cut and of what follows it; whether k was reached."""
    disk = SimDisk(random.Random(k))
    await filled(disk, logs.own)

    async def follow(store: Store) -> None:
        await store.replica().cut(logs.common)
        feed(store, logs.master[logs.common :])
        await store.wait_flushed(len(logs.master))

    died = await dies_at(k, disk, follow, power=power)

    async def again(store: Store) -> None:
        end = store.log.max_offset
        assert end >= logs.common
        found = await bytes_of(store, 0, end)
        if found != logs.own[:end]:  # it follows already: from where it is
            assert found == logs.master[:end]
            feed(store, logs.master[end:])
        else:
            await follow(store)
        assert await bytes_of(store, 0, len(logs.master)) == logs.master
        await store.wait_flushed(len(logs.master))

    await live(disk, SYNC, again)
    saved = [disk.read(f"{DIVERGENT_FOLDER}/{name}") for name in disk.list(DIVERGENT_FOLDER)]
    assert logs.own[logs.common :] in saved
    disk.crash(power=True)
    disk.restart()
    await live(disk, SYNC, lambda store: check_all(store, logs.journal))
    return died


async def crash_in_begin_at(logs: Logs, k: int, *, power: bool) -> bool:
    """The master's log begins behind this one's end: all of it goes."""
    disk, begin = SimDisk(random.Random(k)), (logs.common // SEGMENT + 1) * SEGMENT
    await filled(disk, logs.own[: logs.common])

    async def follow(store: Store) -> None:
        await store.replica().begin_at(begin)
        feed(store, logs.master[begin:])
        await store.wait_flushed(len(logs.master))

    died = await dies_at(k, disk, follow, power=power)

    async def again(store: Store) -> None:
        low, end = store.log.min_offset, store.log.max_offset
        if low == begin and end > begin:
            assert await bytes_of(store, low, end) == logs.master[low:end]
            feed(store, logs.master[end:])
        else:
            await follow(store)
        await store.wait_flushed(len(logs.master))
        assert await bytes_of(store, begin, len(logs.master)) == logs.master[begin:]

    await live(disk, SYNC, again)
    disk.crash(power=True)
    disk.restart()
    kept = Journal([one for one in logs.journal.sent if one.at.physical_offset >= begin])
    await live(disk, SYNC, lambda store: check_all(store, kept))
    return died


async def everywhere(one, share: float, first: int, stride: int, *, power: bool) -> int:
    """Crash at each stride-th operation until one run completes; how many crashes."""
    logs = await parted(share)
    for crashes, k in enumerate(range(first, OPERATIONS_MAX, stride)):
        try:
            if not await one(logs, k, power=power):
                return crashes
        except BaseException as error:
            error.add_note(f"operation {k}, share {share}, power {power}")
            raise
    raise AssertionError("the run never completed")


@pytest.mark.parametrize("one", [crash_in_cut, crash_in_begin_at])
@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_crash_at_sampled_operations(one, power):
    """Nothing of the master's log is missing or twice afterwards, and the tail is saved."""
    assert simulate(1, lambda _: everywhere(one, 0.4, 3, 17, power=power)).value >= 1


@pytest.mark.slow
@pytest.mark.parametrize("one", [crash_in_cut, crash_in_begin_at])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_crash_at_every_operation(one, share, power):
    """The same at each operation."""
    assert simulate(1, lambda _: everywhere(one, share, 1, 1, power=power)).value > 10


async def cancelled(logs: Logs) -> None:
    disk = SimDisk(random.Random(1))

    async def use(store: Store) -> None:
        feed(store, logs.own)
        await store.wait_flushed(store.log.max_offset)
        store.bound = len(logs.own)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.replica().cut, logs.common)
            while store.log.max_offset != logs.common:  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(0.000_1)
            nursery.cancel_scope.cancel()
        assert store.bound == logs.common
        feed(store, logs.master[logs.common :])
        store.raise_bound(len(logs.master))
        await store.wait_flushed(len(logs.master))

    await live(disk, SYNC, use)
    disk.crash(power=True)
    disk.restart()
    await live(disk, SYNC, lambda store: check_all(store, logs.journal))


async def cancels(share: float) -> None:
    await cancelled(await parted(share))


def test_a_cut_is_not_given_up_half_way():
    """pair_loss, seed 54: an order to promote cancelled the cut of a returning master. The index
    still knew what had been cut, and after a crash not what came in its place; and readers' bound
    lay behind the log's end."""
    simulate(1, lambda _: cancels(0.4))


# ---- records

ONE = Kept(store_id="a" * 32, promised=Epoch(1, "a" * 32))
TWO = Kept(store_id="a" * 32, promised=Epoch(2, "b" * 32))
RECORD = Record(
    epoch=Epoch(2, "b" * 32), members=("b" * 32,), min=1, floor=Epoch(2, "b" * 32),
    prev=Epoch(1, "a" * 32), start=0,
)  # fmt: skip


async def crash_in_state(k: int, *, power: bool) -> bool:
    """Die at operation k of writing what a replica decided."""
    disk, returned = SimDisk(random.Random(k)), False
    await save_state(disk, ONE)
    (disk.faults.power_off_at if power else disk.faults.kill_at)(k)
    try:
        await save_state(disk, TWO)
        returned = True
        disk.crash(power=power)
    except Dead:
        pass
    disk.faults.clear()
    disk.restart()
    found = load_state(disk)
    assert found == TWO or (found == ONE and not returned)
    return not returned


async def crash_in_witness(k: int, *, power: bool) -> bool:
    """Die at operation k of writing a record that a nameserver took."""
    disk, returned = SimDisk(random.Random(k)), False
    section = WitnessSection(others=("ns1:1", "ns2:1"), new=True)
    witnessing = Witnessing(SimClock(), disk, section)
    witnessing.load()
    await witnessing._save()
    (disk.faults.power_off_at if power else disk.faults.kill_at)(k)
    assert witnessing.witness.take("pair", RECORD) == ""
    assert not witnessing.witness.confirms("pair", RECORD.epoch)
    try:
        await witnessing._save()
        returned = True
        disk.crash(power=power)
    except Dead:
        pass
    disk.faults.clear()
    disk.restart()
    again = Witnessing(SimClock(), disk, WitnessSection(others=section.others))
    again.load()
    assert not again.witness.forgot
    assert again.witness.confirms("pair", RECORD.epoch) or not returned
    return not returned


@pytest.mark.parametrize("one", [crash_in_state, crash_in_witness])
@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_crash_at_every_operation_of_a_record(one, power):
    """The old content or the new, and the new one once anybody was told."""

    async def all_of_them() -> int:
        for k in range(1, 40):
            if not await one(k, power=power):
                return k
        raise AssertionError("the write never completed")

    assert simulate(1, lambda _: all_of_them()).value > 5
