"""A mixed workload on one store, and running it until the disk goes down."""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import msgspec
import trio

from broker_trio.runtime.seams import Disk
from broker_trio.store.config import TINY, StoreConfig
from broker_trio.store.store import Draft, Recovered, Store
from broker_trio.testing.checkers.stored import Journal
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_disk import SimDisk

HOST = b"\x7f\x00\x00\x01\x00\x00\x2a\x9f"
# Everything happens within a run of a second: flushes, checkpoints, rolls of every kind of file.
ASYNC = msgspec.structs.replace(
    TINY, flush_interval_ms=30, queue_flush_interval_ms=40, checkpoint_interval_ms=60
)
SYNC = msgspec.structs.replace(ASYNC, flush_disk_type="SYNC_FLUSH")


def draft(name: str, topic: str = "T", queue_id: int = 0, *, body: bytes = b"hello") -> Draft:
    """A message that can be told from every other."""
    tags = f"UNIQ_KEY\x01{name}\x02TAGS\x01{topic}\x02"
    return Draft(topic, queue_id, body, tags.encode(), 7, 0, 1_699_000_000_000, HOST, _code(topic))


def _code(tags: str) -> int:
    code = 0
    for character in tags:
        code = (code * 31 + ord(character)) & 0xFFFFFFFF
    return code - (1 << 32) if code >= 1 << 31 else code


@dataclass
class Workload:
    """Sends to a store: some topics and queues, batches, large and odd ones, in bursts."""

    seed: int
    journal: Journal
    steps: int = 24
    prefix: str = "w"
    sent: int = 0
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed}/{self.prefix}")

    def _name(self) -> str:
        """A key as clients make them: 32 characters."""
        return self.prefix + f"{self.sent:0{32 - len(self.prefix)}d}"

    def _next(self) -> Draft:
        rng = self.rng
        self.sent += 1
        name = self._name()
        topic = rng.choice(("orders", "orders", "logs", "%RETRY%g"))
        size = rng.choice((0, 20, 90, 200, 700, 1500))
        one = draft(name, topic, rng.randrange(3), body=rng.randbytes(size))
        kind = rng.random()
        if kind < 0.08:
            one.sys_flag = rng.choice((0x4, 0xC))
        elif kind < 0.16:
            one.topic, one.queue_id = "SCHEDULE_TOPIC_XXXX", 2
            one.properties += b"DELAY\x013\x02"
        return one

    def step(self, store: Store, *, sync: bool) -> None:
        """What one socket read brings: some messages, one write."""
        sent: list[tuple[int, Callable[[bool], None]]] = []
        for burst in self.burst(store):
            sent += burst
        for end, tell in sent:
            if sync:
                store.when_durable(end, tell)
        store.write_out()
        if not sync:
            for _, tell in sent:
                tell(True)

    def burst(self, store: Store) -> Iterator[list[tuple[int, Callable[[bool], None]]]]:
        """Append what one read brings: for each append the ends, and who wants to be told."""
        for _ in range(self.rng.choice((1, 1, 2, 6))):
            if self.rng.random() < 0.2:
                yield self._batch(store)
                continue
            one = self._next()
            name = one.properties.split(b"\x02")[0][9:].decode()
            at = store.append(one)
            yield [(at.next_physical_offset, self.journal.add(name, one, at))]

    def _batch(self, store: Store) -> list[tuple[int, Callable[[bool], None]]]:
        first = draft("batch", "batches", self.rng.randrange(2))
        items, drafts = [], []
        for _ in range(self.rng.randrange(1, 6)):
            self.sent += 1
            name = self._name()
            body = self.rng.randbytes(self.rng.choice((1, 60, 300)))
            one = draft(name, "batches", first.queue_id, body=body)
            drafts.append((name, one))
            items.append((one.flag, one.body, one.properties, one.tags_code))
        return [
            (at.next_physical_offset, self.journal.add(name, one, at))
            for (name, one), at in zip(drafts, store.append_batch(first, items), strict=True)
        ]

    async def run(self, store: Store, *, sync: bool) -> None:
        """All steps, with pauses in which flushes and checkpoints happen."""
        for _ in range(self.steps):
            self.step(store, sync=sync)
            await trio.sleep(self.rng.choice((0.0, 0.001, 0.01, 0.04)))
        await store.wait_flushed(store.log.max_offset)


Use = Callable[[Store], Awaitable[None]]


def new_store(disk: Disk, config: StoreConfig, *, accept_damage: bool = False) -> Store:
    return Store(
        disk, SimClock(), random.Random(1), config, HOST, process_id=1, accept_damage=accept_damage
    )


async def live(
    disk: Disk, config: StoreConfig, use: Use, *, stop: bool = False, accept_damage: bool = False
) -> Recovered:
    """One life of a store: open it, use it, and end by a clean stop or by being cancelled."""
    store = new_store(disk, config, accept_damage=accept_damage)
    async with trio.open_nursery() as nursery:
        recovered: Recovered = await nursery.start(store.run)
        await use(store)
        if stop:
            await store.stop()
        nursery.cancel_scope.cancel()
    return recovered


async def dies(disk: SimDisk, config: StoreConfig, use: Use, *, stop: bool = False) -> bool:
    """Like `live`, on a disk that may go down; whether it did. The disk is up again afterwards."""
    died = False
    try:
        await live(disk, config, use, stop=stop)
    except* Dead:
        died = True
    disk.faults.clear()
    disk.restart()
    return died


async def nothing(store: Store) -> None:
    """A life in which nothing is sent."""
