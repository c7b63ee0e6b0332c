"""Nothing breaks: what is sent is there, and everybody gets it at once.

send_and_pull    producers and consumers of one topic
long_poll        many consumers wait at the end of every queue: no wake-up is lost
delays           messages with delay levels: never early, at most a second late
"""

from typing import Final

import trio

from broker_trio.testing.checkers.acknowledged import AcknowledgedIsReadable, RefusedIsNotStored
from broker_trio.testing.checkers.consumers import (
    EverybodyGotEverything,
    HeldPullsAnswered,
    NeverEarly,
    OffsetsInsideQueue,
)
from broker_trio.testing.checkers.contents import (
    BatchesAreWhole,
    InProducersOrder,
    OneOffsetOneMessage,
    OnlyWhatWasSent,
    StoredOnce,
)
from broker_trio.testing.checkers.verdict import Checker, Verdict
from broker_trio.testing.cluster.closing import conclude
from broker_trio.testing.cluster.cluster import SMALL, SYNC, Cluster, Plant, sound
from broker_trio.testing.cluster.consumer import SimConsumer
from broker_trio.testing.cluster.producer import SimProducer
from broker_trio.testing.world import World

TOPIC: Final = "t"
WARM_S: Final = 1.0
"""Virtual seconds until consumers have found the topic and wait at its queues' ends."""


def always(consumers: list[SimConsumer], *, sync: bool) -> list[Checker]:
    """The promises that hold in every run."""
    return [
        AcknowledgedIsReadable(),
        RefusedIsNotStored(),
        OnlyWhatWasSent(),
        StoredOnce(),
        BatchesAreWhole(),
        OneOffsetOneMessage(sync=sync),
        InProducersOrder(),
        OffsetsInsideQueue(),
        EverybodyGotEverything([consumer.name for consumer in consumers]),
    ]


async def send_and_pull(world: World, *, plant: Plant = sound) -> Verdict:
    """Two producers, two consumers, either flush mode."""
    sync = world.rng("shape").random() < 0.5
    cluster = Cluster(world, store=SYNC if sync else SMALL, plant=plant)
    producers = [
        SimProducer(cluster, "p0", TOPIC),
        SimProducer(cluster, "p1", TOPIC, batches=(1, 2, 5)),
    ]
    consumers = [SimConsumer(cluster, f"c{number}", (TOPIC,)) for number in range(2)]
    await cluster.start()
    for producer in producers:
        producer.go(20)
    for consumer in consumers:
        consumer.go()
    for producer in producers:
        await producer.done()
    return await conclude(cluster, consumers, always(consumers, sync=sync), topics=(TOPIC,))


async def long_poll(world: World, *, plant: Plant = sound) -> Verdict:
    """Five consumers hold pulls on every queue while a few messages come, at any moment.

    Some holds are so short that they end about when a message comes: the race of RocketMQ #7358.
    """
    rng = world.rng("shape")
    sync = rng.random() < 0.5
    cold = rng.choice((0.0, 0.0, 0.2))
    cluster = Cluster(world, store=SYNC if sync else SMALL, cold=cold, plant=plant)
    producer = SimProducer(cluster, "p0", TOPIC, pause_s=rng.choice((0.005, 0.05, 0.3)))
    consumers = [
        SimConsumer(cluster, f"c{number}", (TOPIC,), hold_ms=rng.choice((300, 1_000, 20_000)))
        for number in range(5)
    ]
    await cluster.start()
    producer.go(1)  # makes the topic
    await producer.done()
    for consumer in consumers:
        consumer.go()
    await trio.sleep(WARM_S)
    producer.go(20)
    await producer.done()
    checkers = [*always(consumers, sync=sync), HeldPullsAnswered(since=WARM_S)]
    return await conclude(cluster, consumers, checkers, topics=(TOPIC,))


async def delays(world: World, *, plant: Plant = sound) -> Verdict:
    """Messages of the levels 1 s, 5 s and 10 s beside plain ones; nothing breaks."""
    cluster = Cluster(world, plant=plant)
    producers = [
        SimProducer(cluster, f"p{number}", TOPIC, pause_s=0.2, delays=(0, 1, 2, 3))
        for number in range(2)
    ]
    consumers = [SimConsumer(cluster, "c0", (TOPIC,))]
    await cluster.start()
    for consumer in consumers:
        consumer.go()
    for producer in producers:
        producer.go(20)
    for producer in producers:
        await producer.done()
    checkers = [*always(consumers, sync=False), NeverEarly()]
    return await conclude(cluster, consumers, checkers, topics=(TOPIC,), wait_s=12.0)
