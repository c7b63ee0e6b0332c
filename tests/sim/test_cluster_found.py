"""What simulated clusters have found, each made as small as it could be."""

import random

import pytest
import trio

from broker_trio.store.store import Draft, Store
from broker_trio.testing.cluster.cluster import SMALL, Cluster
from broker_trio.testing.scenarios.catalogue import run, silence
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_device import SimDevice
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World

HOST = b"\x7f\x00\x00\x01\x00\x00\x2a\x9f"
DRAFT = Draft("t", 0, b"x" * 100, b"", 0, 0, 0, HOST, 0)


async def opened(disk: SimDisk, append: int = 0) -> int:
    """Open the store, append and write out so many messages, die; how many there were before."""
    disk.restart()
    store = Store(disk, SimClock(), random.Random(0), SMALL, HOST)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        found = store.queues.max_offset("t", 0)
        for _ in range(append):
            store.append(DRAFT)
        store.write_out()
        disk.crash(power=False)
        nursery.cancel_scope.cancel()
    return found


@pytest.mark.parametrize("seed", range(6))
def test_recovered_segment_survives_the_next_power_loss(seed: int) -> None:
    """kill9, seed 17: a kill came before the folder of a new segment was synced. The next start
    wrote the tail again and fsynced the file, not its name; a power loss then took all of it."""

    async def scenario(_: World) -> None:
        disk = SimDisk(random.Random(seed))
        await opened(disk, append=3)
        assert await opened(disk) == 3
        disk.crash(power=True)
        assert await opened(disk) == 3

    simulate(seed, scenario)


@pytest.mark.parametrize("seed", range(4))
def test_nameserver_knows_all_within_30_s_of_its_power_loss(seed: int) -> None:
    """nameserver_loss, seed 714: a nameserver lost power and was back in seconds. Nobody told its
    brokers, so that its table was empty until they registered by themselves, up to 34 s later."""

    async def scenario(world: World) -> None:
        cluster = Cluster(world)
        await cluster.start()
        await trio.sleep(12)  # past the second registration: the next one is an interval away
        cluster.kill("ns0", power=True)
        await cluster.up("ns0")
        await trio.sleep(30)
        assert "b0" in cluster.nameserver_apps["ns0"].table.brokers

    with silence():
        simulate(seed, scenario)


def slowest() -> int:
    """A seed of `overload` whose disk is the slowest, is flushed behind, and loses its power."""
    for seed in range(1_000):
        faults, closing = random.Random(f"{seed}/faults"), random.Random(f"{seed}/closing")
        sync, slow = faults.random() < 0.5, faults.choice((100.0, 300.0))
        if not sync and slow == 300.0 and closing.choice(("power", "kill", "stop")) == "power":
            return seed
    raise AssertionError("no seed draws that")


def test_power_does_not_go_within_an_fsync_that_began_on_a_slow_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """overload, seed 15: its disk was 300 times slower, and an fsync that began then went on for
    seconds after it was well again. The scenario cut the power in the middle of it, and took
    messages for lost that nobody had promised: it waits for such an fsync."""
    wait, crash = SimDevice.wait, SimDevice.crash
    slow: list[float] = []  # the waits of a slow disk that are not over
    at_power_loss: list[int] = []

    async def waits(self: SimDevice, bounds_s: tuple[float, float]) -> None:
        if self.slow == 1.0:
            return await wait(self, bounds_s)
        slow.append(self.slow)
        try:
            await wait(self, (max(bounds_s), max(bounds_s)))
        finally:
            slow.pop()

    def crashes(self: SimDevice, *, power: bool) -> None:
        if power and self.up:
            at_power_loss.append(len(slow))
        crash(self, power=power)

    monkeypatch.setattr(SimDevice, "wait", waits)
    monkeypatch.setattr(SimDevice, "crash", crashes)
    run("overload", slowest())
    assert at_power_loss
    assert not any(at_power_loss)
