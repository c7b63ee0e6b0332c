"""Nothing breaks: what is sent is there, and everybody gets it at once.

    send_and_pull    producers and consumers of one topic
    long_poll        many consumers wait at the end of every queue: no wake-up is lost
    delays           messages with delay levels: never early, at most a second late
"""

from typing import Final

import trio

from broker_trio.broker.config import PullSection
from broker_trio.testing.checkers.acknowledged import AcknowledgedIsReadable, RefusedIsNotStored
from broker_trio.testing.checkers.consumers import (
    EverybodyGotEverything,
    HeldPullsAnswered,
    NeverEarly,
    OffsetsInsideQueue,
)
from broker_trio.testing.checkers.contents import (
    InProducersOrder,
    OneOffsetOneMessage,
    OnlyWhatWasSent,
    StoredOnce,
)
from broker_trio.testing.checkers.verdict import Checker, Verdict
from broker_trio.testing.cluster.clients import SimConsumer, SimProducer
from broker_trio.testing.cluster.closing import conclude
from broker_trio.testing.cluster.cluster import SMALL, SYNC, Cluster, Plant, sound
from broker_trio.testing.world import World

TOPIC: Final = "t"


def always(consumers: list[SimConsumer], *, sync: bool) -> list[Checker]:
    """The promises that hold in every run."""
    return [
        AcknowledgedIsReadable(),
        RefusedIsNotStored(),
        OnlyWhatWasSent(),
        StoredOnce(),
        OneOffsetOneMessage(sync=sync),
        InProducersOrder(),
        OffsetsInsideQueue(),
        EverybodyGotEverything([consumer.name for consumer in consumers]),
    ]


async def send_and_pull(world: World, *, plant: Plant = sound) -> Verdict:
    """Two producers, two consumers, either flush mode."""
    sync = world.rng("shape").random() < 0.5
    cluster = Cluster(world, store=SYNC if sync else SMALL, plant=plant)
    producers = [SimProducer(cluster, f"p{number}", TOPIC) for number in range(2)]
    consumers = [SimConsumer(cluster, f"c{number}", (TOPIC,)) for number in range(2)]
    await cluster.start()
    for producer in producers:
        producer.go(20)
    for consumer in consumers:
        consumer.go()
    for producer in producers:
        await producer.done()
    return await conclude(cluster, consumers, always(consumers, sync=sync), topics=(TOPIC,))
