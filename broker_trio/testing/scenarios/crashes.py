"""A broker's process or machine ends, again and again, while clients go on.

    power_loss     SYNC_FLUSH; power off at a random disk operation, also while it recovers:
                   nothing acknowledged is ever lost
    kill9          ASYNC_FLUSH; kill −9 at a random disk operation loses nothing acknowledged, nor
                   does a clean stop; a power loss may take what was not flushed, and no more;
                   each third seed SYNC_FLUSH, where it takes nothing
    fsync_error    a write, fsync or rename fails: the broker ends by StoreFailed, and nothing that
                   it acknowledged is lost even if the power goes next

Operations, not moments, are drawn: the windows inside an fsync or between append and answer are a
few milliseconds wide, and random moments would hardly ever hit them.
"""

import errno
from typing import Final

import trio

from broker_trio.model.errors import StoreFailed
from broker_trio.testing.checkers.consumers import NeverEarly
from broker_trio.testing.checkers.verdict import Verdict, Violation
from broker_trio.testing.cluster.closing import conclude
from broker_trio.testing.cluster.cluster import SMALL, SYNC, Cluster, Plant, sound
from broker_trio.testing.cluster.consumer import SimConsumer
from broker_trio.testing.cluster.producer import SimProducer
from broker_trio.testing.disk_faults import Kind
from broker_trio.testing.scenarios.plain import TOPIC, always
from broker_trio.testing.world import World

BROKER: Final = "b0"
ENDLESS: Final = 1_000_000  # attempts: until halted
OPERATIONS_MAX: Final = 80  # an armed operation comes within a second or two of traffic
RECOVERY_OPERATIONS_MAX: Final = 30  # of a start
ROUNDS: Final = 4
DELAY_S: Final = 2.0  # of level 1, and a second


class _Traffic:
    """Two producers, one of delayed messages too, and a consumer that go on whatever happens."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.producers = [
            SimProducer(cluster, "p0", TOPIC, pause_s=0.06, batches=(1, 1, 1, 3)),
            SimProducer(cluster, "p1", TOPIC, pause_s=0.06, delays=(0, 0, 1)),
        ]
        self.consumers = [SimConsumer(cluster, "c0", (TOPIC,))]

    def go(self) -> None:
        for producer in self.producers:
            producer.go(ENDLESS)
        for consumer in self.consumers:
            consumer.go()

    async def halt(self) -> None:
        for producer in self.producers:
            producer.halt()
        for producer in self.producers:
            await producer.done()

    async def conclude(self, *, sync: bool) -> Verdict:
        """Heal and judge; delayed messages get their time."""
        checkers = [*always(self.consumers, sync=sync), NeverEarly(late_s=None)]
        return await conclude(
            self.cluster, self.consumers, checkers, topics=(TOPIC,), wait_s=DELAY_S
        )


async def _end_by_operation(cluster: Cluster, operation: int, *, power: bool) -> None:
    """Let the broker die at that disk operation, or after three seconds without so many."""
    node = cluster.node(BROKER)
    if power:
        node.disk.faults.power_off_at(operation)
    else:
        node.disk.faults.kill_at(operation)
    with trio.move_on_after(3.0):
        await node.stopped()
    node.kill(power=power)


async def power_loss(world: World, *, plant: Plant = sound) -> Verdict:
    """SYNC_FLUSH: what was acknowledged survives any number of power losses, at any operation."""
    cluster, rng = Cluster(world, store=SYNC, plant=plant), world.rng("faults")
    traffic = _Traffic(cluster)
    await cluster.start()
    traffic.go()
    for _ in range(ROUNDS):
        await _end_by_operation(cluster, rng.randint(1, OPERATIONS_MAX), power=True)
        if rng.random() < 0.5:  # and again while it recovers
            cluster.node(BROKER).disk.faults.power_off_at(rng.randint(1, RECOVERY_OPERATIONS_MAX))
        await cluster.up_again(BROKER)
        await trio.sleep(rng.uniform(0, 1.5))
    await traffic.halt()
    return await traffic.conclude(sync=True)


async def kill9(world: World, *, plant: Plant = sound) -> Verdict:
    """ASYNC_FLUSH: kill −9 costs nothing, a power loss the last half second; or SYNC_FLUSH."""
    rng, sync = world.rng("faults"), world.seed % 3 == 2
    store = SYNC if sync else SMALL
    cluster = Cluster(world, store=store, cold=rng.choice((0.0, 0.0, 0.2)), plant=plant)
    traffic = _Traffic(cluster)
    await cluster.start()
    traffic.go()
    for _ in range(ROUNDS):
        await trio.sleep(rng.uniform(0, 1.5))
        if rng.random() < 0.2:
            await cluster.stop(BROKER)
        else:
            operation = rng.randint(1, OPERATIONS_MAX)
            await _end_by_operation(cluster, operation, power=rng.random() < 0.3)
        if rng.random() < 0.3:
            cluster.node(BROKER).disk.faults.kill_at(rng.randint(1, RECOVERY_OPERATIONS_MAX))
        await cluster.up_again(BROKER)
    await traffic.halt()
    return await traffic.conclude(sync=sync)


FAILING: Final[tuple[tuple[Kind, str], ...]] = (
    ("flush", "commitlog"),
    ("flush", "commitlog"),
    ("write", "commitlog"),
    ("sync", "commitlog"),
    ("flush", "consumequeue"),
    ("write", "consumequeue"),
    ("flush", "index"),
    ("flush", "broker_trio"),
    ("rename", "checkpoint"),
    ("flush", "config"),
)
"""Operations that must not fail, and where; the log's own fsync twice as often as the others."""


async def fsync_error(world: World, *, plant: Plant = sound) -> Verdict:
    """One EIO ends the process for good; whatever it said before holds, power loss or not."""
    rng = world.rng("faults")
    sync = world.seed % 4 != 3
    store = SYNC if sync else SMALL
    cluster = Cluster(world, store=store, tolerates=(StoreFailed,), plant=plant)
    traffic, node = _Traffic(cluster), cluster.node(BROKER)
    await cluster.start()
    traffic.go()
    for _ in range(2):
        await trio.sleep(rng.uniform(0.2, 1.0))
        kind, path = rng.choice(FAILING)
        times = rng.choice((1, None))
        node.disk.faults.fail(
            kind, path=path, number=errno.EIO, times=times, skip=rng.randint(0, 3)
        )
        world.log("armed", kind, path, times)
        await _until_failed(cluster)
        if rng.random() < 0.5:
            node.kill(power=True)
        node.disk.faults.clear()  # the operator changed the disk's cable
        await cluster.up(BROKER)
    await traffic.halt()
    return await traffic.conclude(sync=sync)


async def _until_failed(cluster: Cluster) -> None:
    """Within 4 s the armed error was met; then the process ends at once, and by StoreFailed."""
    node = cluster.node(BROKER)
    met = node.disk.faults.errors
    for _ in range(400):
        if not node.running or node.disk.faults.errors != met:
            break
        await trio.sleep(0.01)
    if node.disk.faults.errors == met:
        node.kill()  # nothing of that kind happened: a roll of a segment is rare
        await node.stopped()
        return
    with trio.move_on_after(1.0):
        await node.stopped()
    if node.running or not cluster.store_failed(BROKER):
        raise Violation("I21", f"a disk error did not end the broker: {node.crash!r}")
