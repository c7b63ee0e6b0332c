"""The store loses power, or its process, at every single disk operation of a mixed workload.

The smoke set takes a stride of the operations and each run another one; the whole of them, some
2,000 crashes and as many recoveries, is marked slow. One failing case: `crash_once(k, MODES[…])`.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import pytest

from broker_trio.model.errors import StoreCorrupt
from broker_trio.runtime.seams import Disk, File
from broker_trio.store.config import StoreConfig
from broker_trio.store.store import Store
from broker_trio.testing.checkers.stored import Journal, check_all
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.testing.simulate import simulate
from tests.sim.store_workload import ASYNC, SYNC, Workload, dies, live, nothing

OPERATIONS_MAX = 1_500  # a clean run of the workload has fewer


@dataclass(frozen=True)
class Mode:
    """What SEND_OK means, and what happens to the machine."""

    config: StoreConfig
    power: bool

    @property
    def sync(self) -> bool:
        return self.config.flush_disk_type == "SYNC_FLUSH"

    @property
    def keeps_promise(self) -> bool:
        """Power loss under ASYNC_FLUSH may lose acknowledged messages; nothing else may."""
        return self.sync or not self.power


MODES = {
    "sync_power": Mode(SYNC, power=True),
    "sync_kill": Mode(SYNC, power=False),
    "async_kill": Mode(ASYNC, power=False),
    "async_power": Mode(ASYNC, power=True),
}


def arm(disk: SimDisk, k: int, *, power: bool) -> None:
    if power:
        disk.faults.power_off_at(k)
    else:
        disk.faults.kill_at(k)


async def crash_once(k: int, mode: Mode, seed: int = 1) -> bool:
    """Crash at operation k, recover, check; whether k was reached."""
    disk, journal = SimDisk(random.Random(f"{seed}/{k}")), Journal()
    workload = Workload(seed, journal)
    arm(disk, k, power=mode.power)
    died = await dies(
        disk, mode.config, lambda store: workload.run(store, sync=mode.sync), stop=True
    )
    if not mode.keeps_promise:
        for one in journal.sent:
            one.acknowledged = False
    await live(disk, mode.config, lambda store: check_all(store, journal))
    return died


T = TypeVar("T")


def replayable(seed: int, one: Callable[..., Awaitable[T]], *arguments: object) -> T:
    """Run one case in a world of its own; a failure says how to run it again."""
    try:
        return simulate(seed, lambda _: one(*arguments)).value
    except BaseException as error:
        error.add_note(f"again: replayable({seed}, {one.__name__}, *{arguments})")
        raise


def until_unreached(one: Callable[[int], bool], first: int, stride: int) -> int:
    """Crash at each stride-th operation until the run completes; how many crashes."""
    for crashes, k in enumerate(range(first, OPERATIONS_MAX, stride)):
        if not one(k):
            return crashes
    raise AssertionError("the run never completed")


def crash_everywhere(mode: Mode, first: int, stride: int) -> int:
    return until_unreached(lambda k: replayable(k, crash_once, k, mode), first, stride)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_crash_at_sampled_operations(mode: Mode) -> None:
    """After a crash anywhere: nothing acknowledged lost, nothing else found, queues dense."""
    assert crash_everywhere(mode, first=random.randrange(1, 29), stride=29) > 15


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
def test_crash_at_every_operation(mode: Mode) -> None:
    """The same at every operation of the run, from the first lock to the clean stop."""
    assert crash_everywhere(mode, first=1, stride=1) > 400


async def crash_in_recovery(k: int, seed: int) -> bool:
    """Lose power in mid-workload, again at operation k of the recovery; check after a third."""
    disk, journal = SimDisk(random.Random(f"{seed}/{k}")), Journal()
    workload = Workload(seed, journal)
    disk.faults.power_off_at(300)
    assert await dies(disk, SYNC, lambda store: workload.run(store, sync=True))
    disk.faults.power_off_at(k)
    died = await dies(disk, SYNC, nothing, stop=True)
    await live(disk, SYNC, lambda store: check_all(store, journal), stop=True)
    disk.restart()
    await live(disk, SYNC, lambda store: check_all(store, journal))
    return died


def recover_with_crashes(seed: int, first: int, stride: int) -> int:
    return until_unreached(lambda k: replayable(k, crash_in_recovery, k, seed), first, stride)


def test_crash_while_recovering() -> None:
    """A recovery that loses power anywhere, and is run again, ends where it would have ended."""
    assert recover_with_crashes(seed=1, first=random.randrange(1, 8), stride=7) > 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_crash_at_every_operation_of_recovery(seed: int) -> None:
    """The same at each operation, for four states to recover from."""
    assert recover_with_crashes(seed, first=1, stride=1) > 40


async def many_lives(seed: int) -> None:
    """Two to six lives of one store, each ended by some crash at some time, or cleanly."""
    rng, disk, journal = random.Random(seed), SimDisk(random.Random(f"{seed}/disk")), Journal()
    config = checked = SYNC if rng.random() < 0.6 else ASYNC
    if rng.random() < 0.5:  # what is old enough goes at once, so that segments vanish all the time
        config = msgspec.structs.replace(
            config, retention_hours=0, disk_used_ratio_delete=0.0, retention_interval_ms=90
        )
    for life in range(rng.randrange(2, 7)):
        mode = Mode(config, power=rng.random() < 0.6)
        arm(disk, rng.choice((rng.randrange(1, 40), rng.randrange(1, 700))), power=mode.power)
        workload = Workload(seed, journal, steps=rng.randrange(2, 24), prefix=f"life{life}.")
        stop = rng.random() < 0.5

        async def use(
            store: Store, workload: Workload = workload, *, sync: bool = mode.sync
        ) -> None:
            await workload.run(store, sync=sync)

        if await dies(disk, config, use, stop=stop) and not mode.keeps_promise:
            for one in journal.sent:
                one.acknowledged = False
    await live(disk, checked, lambda store: check_all(store, journal))


def lives(seeds: range) -> None:
    for seed in seeds:
        replayable(seed, many_lives, seed)


def test_some_stores_of_many_lives() -> None:
    """Crash upon crash: what an earlier life lost never comes back, what it kept stays."""
    begin = random.randrange(10_000)
    lives(range(begin, begin + 20))


@pytest.mark.slow
def test_stores_of_many_lives() -> None:
    """The same for many more histories, half of them with retention at work."""
    lives(range(600))


class LyingFile:
    """A File whose flush comes back before anything is on disk: acking too early looks so."""

    def __init__(self, file: File) -> None:
        self._file = file

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    async def flush(self) -> None:
        """Nothing."""


class LyingDisk:
    """A Disk on which files below one folder are never synced, though they say so."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk, self._folder = disk, folder

    def __getattr__(self, name: str) -> object:
        return getattr(self._disk, name)

    def open(self, path: str, *, create: bool = False) -> object:
        file = self._disk.open(path, create=create)
        return LyingFile(file) if path.startswith(self._folder) else file


async def planted(seed: int, folder: str) -> None:
    disk, journal = SimDisk(random.Random(seed)), Journal()
    workload = Workload(seed, journal)
    disk.faults.power_off_at(400)
    lying = LyingDisk(disk, folder)
    await dies(lying, SYNC, lambda store: workload.run(store, sync=True))  # type: ignore[arg-type]
    await live(disk, SYNC, lambda store: check_all(store, journal))


def caught(folder: str) -> int:
    """In how many of twenty seeds a store that does not sync `folder` is found out."""
    found = 0
    for seed in range(20):
        try:
            replayable(seed, planted, seed, folder)
        except* (AssertionError, StoreCorrupt):
            found += 1
    return found


def test_a_planted_early_ack_is_caught() -> None:
    """A flusher that answers before the log is on disk does not get past these checks."""
    assert caught("commitlog/") >= 10


def test_planted_unsynced_queues_are_caught() -> None:
    """Marks that claim more than what was synced of the queues do not either."""
    assert caught("consumequeue/") >= 1
