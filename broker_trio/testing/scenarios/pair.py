"""What all scenarios of pairs share: one traffic, one watch, one end.

    async with trouble(world) as run:        a pair of the seed's mode, busy, watched
        …faults on run.pair, orders by run.operator…
    return run.verdict                       after the closing and all checkers

Producers and consumers go on whatever happens. The careful operator looks every few seconds, as
somebody on call would; a scenario that wants mistakes makes them itself.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

import trio

from broker_trio.runtime.seams import Entropy
from broker_trio.store.config import StoreConfig
from broker_trio.testing.checkers.acknowledged import RefusedIsNotStored
from broker_trio.testing.checkers.consumers import (
    EverybodyGotEverything,
    NeverEarly,
    OffsetsInsideQueue,
)
from broker_trio.testing.checkers.contents import InProducersOrder, OnlyWhatWasSent, StoredOnce
from broker_trio.testing.checkers.pair import (
    PairKeepsAcknowledged,
    PairOneOffsetOneMessage,
    Promised,
)
from broker_trio.testing.checkers.verdict import Checker, Verdict
from broker_trio.testing.cluster.cluster import Plant, sound
from broker_trio.testing.cluster.consumer import SimConsumer
from broker_trio.testing.cluster.pair import Mode, Pair, mode_of
from broker_trio.testing.cluster.pair_closing import conclude_pair
from broker_trio.testing.cluster.pair_operator import Operator
from broker_trio.testing.cluster.producer import SimProducer
from broker_trio.testing.world import World

TOPIC: Final = "t"
ENDLESS: Final = 1_000_000
DELAY_S: Final = 2.0  # of level 1, and a second
LOOKS_S: Final = 3.0  # of who is on call


@final
class Run:
    """One run of a pair, while faults go on."""

    def __init__(
        self,
        world: World,
        mode: Mode,
        plant: Plant,
        store: StoreConfig | None,
        *,
        light: bool = False,
    ) -> None:
        self.world, self.rng, self.mode = world, world.rng("faults"), mode
        self.pair = Pair(world, mode, plant=plant, store=store)
        self.operator = Operator(self.pair, may_force=True)
        self.delays = True
        self.producers = [
            SimProducer(self.pair, "p0", TOPIC, pause_s=0.4, batches=(1, 1, 1, 3)),
            SimProducer(self.pair, "p1", TOPIC, pause_s=0.4, delays=(0, 0, 1)),
        ]
        if not light:
            self.producers += [
                SimProducer(self.pair, "p2", TOPIC, pause_s=0.8, volley=16),
                SimProducer(self.pair, "p3", TOPIC, pause_s=0.4, batches=(12,), body=short),
            ]
        self.consumers = [SimConsumer(self.pair, "c0", (TOPIC,))]
        self.done: Verdict | None = None

    @property
    def verdict(self) -> Verdict:
        assert self.done is not None, "the run was not concluded"
        return self.done

    def master(self) -> str:
        """Who writes now, or else one of the two by chance."""
        return self.pair.owner() or self.rng.choice(self.pair.broker_names)

    async def down(self, name: str, *, power: bool) -> None:
        """End a broker at a disk operation that comes soon, or at once."""
        node = self.pair.node(name)
        if self.rng.random() < 0.7:
            operation = self.rng.randint(1, 60)
            arm = node.disk.faults.power_off_at if power else node.disk.faults.kill_at
            arm(operation)
            with trio.move_on_after(2.0):
                await node.stopped()
        node.kill(power=power)
        await node.stopped()

    async def up(self, name: str) -> None:
        """Start it again, if it is down; it may die of an armed fault meanwhile."""
        if not self.pair.node(name).running:
            await self.pair.up_again(name)

    async def on_call(self) -> None:
        """A careful operator, until cancelled."""
        while True:
            await trio.sleep(LOOKS_S)
            await self.operator.follow()

    def checkers(self) -> list[Checker]:
        """The promises that hold in every run of a pair."""
        promised = Promised(self.mode, self.pair.watch)
        early = [NeverEarly(late_s=None)] if self.delays else []
        return [
            PairKeepsAcknowledged(promised),
            RefusedIsNotStored(),
            OnlyWhatWasSent(),
            StoredOnce(),
            PairOneOffsetOneMessage(promised),
            InProducersOrder(),
            OffsetsInsideQueue(),
            *early,
            EverybodyGotEverything([consumer.name for consumer in self.consumers]),
        ]

    async def _conclude(self) -> None:
        for producer in self.producers:
            producer.halt()
        self.pair.healed()
        for producer in self.producers:
            await producer.done()
        self.done = await conclude_pair(
            self.pair, self.operator, self.consumers, self.checkers(), topics=(TOPIC,),
            wait_s=DELAY_S,
        )  # fmt: skip


@asynccontextmanager
async def trouble(
    world: World,
    plant: Plant = sound,
    *,
    letters: str = "DCBA",
    on_call: bool = True,
    store: StoreConfig | None = None,
    shift: int = 1,
    light: bool = False,
) -> AsyncIterator[Run]:
    """A busy pair for the block, judged at its end. `letters`: the modes to take turns.

    `shift`: after so many seeds the next one, where seeds take turns at something else, too.
    `light`: two producers only, where what is refused matters, and not how much is sent.

    Raises `Violation`, from the watch too.
    """
    run = Run(world, mode_of(world, letters, shift), plant, store, light=light)
    world.log("mode", run.mode.letter)
    async with trio.open_nursery() as nursery:
        await run.pair.whole()
        nursery.start_soon(run.pair.watch.run)
        for producer in run.producers:
            producer.go(ENDLESS)
        for consumer in run.consumers:
            consumer.go()
        await trio.sleep(run.rng.uniform(0.2, 1.0))
        async with trio.open_nursery() as calls:
            if on_call:
                calls.start_soon(run.on_call)
            yield run
            calls.cancel_scope.cancel()
        await run._conclude()
        nursery.cancel_scope.cancel()


def short(producer: str, number: int, entropy: Entropy) -> bytes:
    """A body of a batch: many of them cost little and are promises, too."""
    return f"{producer}#{number}:".encode() + entropy.randbytes(entropy.choice((0, 10, 40)))


def chance(rng: Entropy, probability: float) -> bool:
    """Whether it happens."""
    return rng.random() < probability
