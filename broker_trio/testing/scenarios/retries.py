"""retries: a consumer fails at some messages, a few times or always; the broker may be killed.

    t ──fails──▶ %RETRY%cg-c0 after a delay level ──fails──▶ again … ──▶ %DLQ%cg-c0

Which messages fail, how often and with which level is the body's: the same for every delivery.
"""

from typing import Final

import trio

from broker_trio.model.names import dlq_topic, retry_topic
from broker_trio.testing.checkers.retries import RetriesComeBack
from broker_trio.testing.checkers.verdict import Verdict
from broker_trio.testing.cluster.closing import conclude
from broker_trio.testing.cluster.cluster import SMALL, SYNC, Cluster, Plant, sound
from broker_trio.testing.cluster.consumer import SimConsumer, group_of
from broker_trio.testing.cluster.history import Got
from broker_trio.testing.cluster.producer import SimProducer
from broker_trio.testing.scenarios.plain import TOPIC, always
from broker_trio.testing.world import World

RETRIES_MAX: Final = 2
FAILURES: Final = (0, 0, 1, 2, 99)  # of a message, by its body; 99 is a dead letter
LEVELS: Final = (0, 1, 2)


def handle(got: Got) -> int | None:
    """Fail as often as the body says."""
    chance = sum(got.body)
    if got.reconsume_times >= FAILURES[chance % len(FAILURES)]:
        return None
    return LEVELS[chance % len(LEVELS)]


async def retries(world: World, *, plant: Plant = sound) -> Verdict:
    """SYNC_FLUSH with power losses, ASYNC_FLUSH with kills, or nothing at all."""
    rng = world.rng("faults")
    sync, faults = rng.random() < 0.5, rng.choice((0, 0, 2))
    cold = rng.choice((0.0, 0.2))
    cluster = Cluster(world, store=SYNC if sync else SMALL, cold=cold, plant=plant)
    again, dead = retry_topic(group_of("c0")), dlq_topic(group_of("c0"))
    consumer = SimConsumer(cluster, "c0", (TOPIC, again), handle=handle, retries_max=RETRIES_MAX)
    producer = SimProducer(cluster, "p0", TOPIC, pause_s=0.1)
    await cluster.start()
    consumer.go()
    producer.go(25)
    for _ in range(faults):
        await trio.sleep(rng.uniform(0, 6))
        cluster.kill("b0", power=sync)
        await cluster.up("b0")
    await producer.done()
    late_s = None if faults else 1.0
    checkers = [*always([consumer], sync=sync), RetriesComeBack(RETRIES_MAX, late_s=late_s)]
    wait_s = 60.0  # 10 and 30 s of the broker's own levels
    return await conclude(cluster, [consumer], checkers, topics=(TOPIC, again, dead), wait_s=wait_s)
