"""One bit of the log rots while the store is closed: what is served is what was sent, or nothing.

A start that finds it in what it reads anyway may refuse. What it opens serves no damaged body,
topic or place, and all the rest.
"""

import random

import msgspec

from broker_trio.model.errors import StoreCorrupt
from broker_trio.store.store import Store
from broker_trio.testing.checkers.stored import Journal, Sent
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.wire.record import decode_record
from tests.sim.store_workload import SYNC, Workload, live

SEEDS = range(20)
ROLLS_SELDOM = msgspec.structs.replace(SYNC, commit_log_segment_bytes=16 << 10)


async def served(store: Store, journal: Journal) -> dict[tuple[str, int, int], bytes]:
    """Whatever pulls give, hot and cold, by place."""
    found: dict[tuple[str, int, int], bytes] = {}
    for topic, queue_id in {(one.draft.topic, one.draft.queue_id) for one in journal.sent}:
        for waits in (False, True):
            offset, end = 0, store.queues.max_offset(topic, queue_id)
            while offset < end:
                place = (topic, queue_id, offset)
                if waits:
                    got = await store.reader.get(*place, count_max=32)
                else:
                    got = store.reader.get_nowait(*place, count_max=32)
                for record in got.records:
                    message = decode_record(record)
                    found[topic, queue_id, message.queue_offset] = message.body
                assert got.next_begin_offset > offset, "one bad record stops a queue"
                offset = got.next_begin_offset
    return found


async def test_a_rotten_bit_is_never_served(autojump_clock: object) -> None:
    """Bodies and places are those that were sent; at most one record is missing, and is counted."""
    missing = refused = 0
    for seed in SEEDS:
        disk, journal = SimDisk(random.Random(seed)), Journal()
        workload = Workload(seed, journal)
        await live(disk, ROLLS_SELDOM, lambda s, w=workload: w.run(s, sync=True), stop=True)
        disk.restart()
        queued = [one for one in journal.sent if not one.draft.sys_flag & 0x4]
        sent = {place_of(one): one.draft.body for one in queued}
        rng = random.Random(f"rot {seed}")
        victim = rng.choice(journal.sent).at
        segment, inside = divmod(victim.physical_offset, ROLLS_SELDOM.commit_log_segment_bytes)
        path = f"commitlog/{segment * ROLLS_SELDOM.commit_log_segment_bytes:020d}"
        disk.flip_bit(path, 8 * inside + rng.randrange(8 * victim.size))

        async def use(store: Store, journal: Journal = journal, sent: dict = sent) -> None:
            nonlocal missing
            found = await served(store, journal)
            assert found.items() <= sent.items()
            lost = len(sent) - len(found)
            assert lost <= 1
            assert lost <= store.stats.corrupt_records
            missing += lost

        try:
            await live(disk, ROLLS_SELDOM, use)
        except* StoreCorrupt:
            refused += 1
    assert missing > len(SEEDS) // 3
    assert refused < len(SEEDS) // 3


def place_of(one: Sent) -> tuple[str, int, int]:
    return one.draft.topic, one.draft.queue_id, one.at.queue_offset
