"""A disk that is full, or slow: refuse by name, keep reading, stay within bounds, recover.

disk_full    the disk fills up under the broker: sends are refused with what is full, consumers
             read on, and all is well soon after there is space; a broker that is killed meanwhile
             comes up again without a free byte, and is read
queues_full  the same where only one kind of file finds no space: consume queues, index, or marks
overload     more is sent than a slow disk takes: memory stays within the configured limits,
             sends are refused as busy or told that durability is unknown, and it ends by itself
"""

import errno
from typing import Final

import msgspec
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.store.config import KIB, StoreConfig
from broker_trio.testing.checkers.store_files import DERIVED
from broker_trio.testing.checkers.verdict import Verdict, Violation
from broker_trio.testing.cluster.closing import conclude
from broker_trio.testing.cluster.cluster import SMALL, SYNC, Cluster, Plant, sound
from broker_trio.testing.cluster.consumer import SimConsumer
from broker_trio.testing.cluster.history import History, Outcome
from broker_trio.testing.cluster.producer import SimProducer
from broker_trio.testing.scenarios.plain import TOPIC, always
from broker_trio.testing.sim_device import CAPACITY_BYTES, FLUSH_S
from broker_trio.testing.world import World

BROKER: Final = "b0"
READ_LOOKS: Final = 200
ENDLESS: Final = 1_000_000
ROUND_FSYNCS: Final = 3  # of the flusher: two segments and their folder
NEVER_DELETES: Final = {
    "disk_used_ratio_delete": 0.999_999_7,
    "disk_used_ratio_force": 0.999_999_8,
    "disk_used_ratio_refuse": 0.999_999_9,
    "retention_interval_ms": 1_000,
}
"""So that a full disk is met by the log itself, and nothing is deleted for space."""


async def disk_full(world: World, *, plant: Plant = sound) -> Verdict:
    """ENOSPC wherever it comes; in half of the runs with a kill while the disk is full."""
    rng = world.rng("faults")
    sync = rng.random() < 0.5
    store = msgspec.structs.replace(SYNC if sync else SMALL, **NEVER_DELETES)
    cluster, producers, consumers = await _traffic(world, store, plant)
    await trio.sleep(rng.uniform(0.2, 1.0))
    disk = cluster.node(BROKER).disk
    usage = disk.usage()
    left = rng.randint(0, 64 * KIB)
    world.strike(f"disk full but for {left} B", BROKER)
    disk.capacity_bytes = usage.total - usage.free + left
    await _until_refused(cluster)
    await trio.sleep(rng.uniform(0, 2.0))
    if rng.random() < 0.5:
        await _restart_full(cluster, consumers[0])
        await trio.sleep(rng.uniform(0, 2.0))
    disk.capacity_bytes = CAPACITY_BYTES
    for producer in producers:
        producer.halt()
        await producer.done()
    _check_refusals(cluster.history)
    return await conclude(cluster, consumers, always(consumers, sync=sync), topics=(TOPIC,))


async def queues_full(world: World, *, plant: Plant = sound) -> Verdict:
    """ENOSPC for derived files or marks alone; in half of the runs with a kill meanwhile."""
    rng = world.rng("faults")
    sync = rng.random() < 0.5
    store = msgspec.structs.replace(SYNC if sync else SMALL, **NEVER_DELETES)
    cluster, producers, consumers = await _traffic(world, store, plant)
    await trio.sleep(rng.uniform(0.2, 1.0))
    disk = cluster.node(BROKER).disk
    victim = rng.choice(("consumequeue", "index", "broker_trio"))
    for kind in ("create", "write"):
        disk.faults.fail(kind, path=victim, number=errno.ENOSPC, times=None)
    await _until_refused(cluster)
    await trio.sleep(rng.uniform(0, 5.0))
    if rng.random() < 0.5:
        await _restart_full(cluster, consumers[0])
        await trio.sleep(rng.uniform(0, 2.0))
    disk.faults.clear()
    disk.capacity_bytes = CAPACITY_BYTES
    for producer in producers:
        producer.halt()
        await producer.done()
    _check_refusals(cluster.history)
    return await conclude(cluster, consumers, always(consumers, sync=sync), topics=(TOPIC,))


async def _traffic(
    world: World, store: StoreConfig, plant: Plant
) -> tuple[Cluster, list[SimProducer], list[SimConsumer]]:
    """One broker with two busy producers and a consumer."""
    cluster = Cluster(world, store=store, plant=plant)
    producers = [SimProducer(cluster, f"p{number}", TOPIC, pause_s=0.02) for number in range(2)]
    consumers = [SimConsumer(cluster, "c0", (TOPIC,))]
    await cluster.start()
    for producer in producers:
        producer.go(ENDLESS)
    consumers[0].go()
    return cluster, producers, consumers


async def _restart_full(cluster: Cluster, consumer: SimConsumer) -> None:
    """Kill it; without a free byte it comes up, and a consumer reads every queue to its end."""
    disk = cluster.node(BROKER).disk
    cluster.kill(BROKER)
    disk.capacity_bytes = min(disk.capacity_bytes, disk.used_bytes)
    await cluster.up(BROKER)
    parts = cluster.apps[BROKER].parts
    assert parts is not None
    queues = parts.store.queues.queues_of(TOPIC)
    for _ in range(READ_LOOKS):
        reached = consumer.reached
        if all(reached.get((BROKER, TOPIC, one.queue_id), 0) >= one.max_offset for one in queues):
            return
        await trio.sleep(0.1)
    raise Violation("I20", "started on a full disk, and not read within 20 s")


async def _until_refused(cluster: Cluster) -> None:
    """A full disk refuses within 20 s of traffic."""
    for _ in range(200):
        await trio.sleep(0.1)
        if cluster.history.count(Outcome.REFUSED):
            return
    raise Violation("I20", "the disk is full and nothing was refused for 20 s")


def _check_refusals(history: History) -> None:
    """Every refusal is 14 and says which file, or which disk, is full."""
    for sent in history.sent:
        if sent.outcome is not Outcome.REFUSED:
            continue
        named = any(path in sent.reason for path in (f"{BROKER}:", *DERIVED))
        if sent.code != ResponseCode.SERVICE_NOT_AVAILABLE or not named:
            raise Violation("I20", f"{sent} was refused with {sent.code}: {sent.reason}")


LIMIT: Final = 48 * KIB
"""unflushed_bytes_max of the overloaded broker."""


def _overloaded(sync: bool) -> StoreConfig:
    return msgspec.structs.replace(
        SYNC if sync else SMALL, unflushed_bytes_max=LIMIT, flush_timeout_ms=700
    )


def _large(producer: str, number: int, entropy: object) -> bytes:
    """A body of some kilobytes."""
    return f"{producer}#{number}:".encode().ljust(4_000, b".")


async def overload(world: World, *, plant: Plant = sound) -> Verdict:
    """Eight producers of large messages over a disk that takes a second for an fsync."""
    rng = world.rng("faults")
    sync = rng.random() < 0.5
    cluster = Cluster(world, store=_overloaded(sync), plant=plant)
    producers = [
        SimProducer(cluster, f"p{number}", TOPIC, pause_s=0.01, body=_large) for number in range(8)
    ]
    consumers = [SimConsumer(cluster, "c0", (TOPIC,))]
    await cluster.start()
    for producer in producers:
        producer.go(ENDLESS)
    consumers[0].go()
    slow = rng.choice((100.0, 300.0))
    world.strike(f"disk {slow:g} times slower", BROKER)
    cluster.node(BROKER).disk.slow = slow
    with trio.move_on_after(6.0):
        while True:
            await trio.sleep(0.05)
            _check_bounds(cluster)
    for producer in producers:
        producer.halt()
    cluster.healed()
    for producer in producers:
        await producer.done()
    _check_busy(cluster.history)
    flushed = slow * ROUND_FSYNCS * max(FLUSH_S)  # what began on the slow disk ends as slowly
    return await conclude(
        cluster, consumers, always(consumers, sync=sync), topics=(TOPIC,), wait_s=flushed
    )


def _check_bounds(cluster: Cluster) -> None:
    """I17: what the broker holds of messages is bounded by its settings."""
    parts = cluster.apps[BROKER].parts
    assert parts is not None
    log = parts.store.log
    if log.unflushed_bytes > LIMIT:
        raise Violation("I17", f"{log.unflushed_bytes} bytes unflushed, limit {LIMIT}")
    if parts.store.undispatched_bytes > LIMIT:
        raise Violation("I17", f"{parts.store.undispatched_bytes} bytes undispatched")


def _check_busy(history: History) -> None:
    """Overload was met, and every refusal says busy, with the limit's name."""
    refused = [sent for sent in history.sent if sent.outcome is Outcome.REFUSED]
    if not refused and not history.count(Outcome.UNKNOWN):
        raise Violation("I17", "nothing was refused: the scenario does not overload")
    for sent in refused:
        if sent.code != ResponseCode.SYSTEM_BUSY or "unflushed_bytes_max" not in sent.reason:
            raise Violation("I17", f"{sent} was refused with {sent.code}: {sent.reason}")
