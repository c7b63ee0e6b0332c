"""The network between programs breaks, in one or both directions, or nameservers are gone.

    partition          clients and broker: cuts, one-way cuts, stalls, resets, slow links; the
                       broker's wall clock steps
    nameserver_loss    nameservers die, or are cut off from brokers; brokers leave in every way

How long a nameserver may show a broker that has gone:

    clean stop          it says goodbye: until it has stopped
    process killed      its connection is reset: a second
    machine or link     silence: 120 s after the last registration, which is at most 28 s old, and
    gone                a sweep every 5 s: from 90 s to 127 s after it went
"""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from broker_trio.runtime.seams import Entropy
from broker_trio.testing.checkers.consumers import LIVE_S
from broker_trio.testing.checkers.verdict import Verdict, Violation
from broker_trio.testing.cluster.closing import conclude
from broker_trio.testing.cluster.cluster import SMALL, SYNC, Cluster, Plant, sound
from broker_trio.testing.cluster.consumer import SimConsumer
from broker_trio.testing.cluster.producer import SimProducer
from broker_trio.testing.scenarios.plain import TOPIC, always
from broker_trio.testing.world import World

BROKER: Final = "b0"
ENDLESS: Final = 1_000_000
ROUNDS: Final = 5
CLOCK_STEPS_MS: Final = (-3_600_000, -1_000, 5_000, 86_400_000)


async def _break_link(world: World, rng: Entropy, client: str) -> None:
    """One fault between a client and the broker, healed at its end."""
    network = world.network
    kind = rng.randint(0, 5)
    lasts_s = 40.0 if rng.random() < 0.05 else rng.choice((0.05, 0.5, 2.0, 5.0))
    if kind == 0:
        network.cut(client, BROKER)
    elif kind == 1:
        network.cut_one_way(client, BROKER)
    elif kind == 2:
        network.cut_one_way(BROKER, client)
    elif kind == 3:
        network.stall(client, BROKER, lasts_s)
    elif kind == 4:
        network.reset(client, BROKER)
    else:
        world.strike("delay up to 1 s", f"{client} – {BROKER}")
        network.set_delay(client, BROKER, (0.01, 1.0))
    await trio.sleep(lasts_s)
    network.heal(client, BROKER)
    network.set_delay(client, BROKER, (0.000_1, 0.001))


async def partition(world: World, *, plant: Plant = sound) -> Verdict:
    """No broker dies, so nothing acknowledged may be lost in either flush mode."""
    rng = world.rng("faults")
    sync = rng.random() < 0.5
    cluster = Cluster(world, store=SYNC if sync else SMALL, plant=plant)
    producers = [SimProducer(cluster, f"p{number}", TOPIC, pause_s=0.15) for number in range(2)]
    consumers = [SimConsumer(cluster, f"c{number}", (TOPIC,)) for number in range(2)]
    clients = [one.name for one in producers] + [one.name for one in consumers]
    await cluster.start()
    for producer in producers:
        producer.go(ENDLESS)
    for consumer in consumers:
        consumer.go()
    for _ in range(ROUNDS):
        await trio.sleep(rng.uniform(0, 0.5))
        if rng.random() < 0.3:
            step_ms = rng.choice(CLOCK_STEPS_MS)
            world.strike(f"clock {step_ms / 1_000:+g} s", BROKER)
            cluster.node(BROKER).clock.step(step_ms)
        async with trio.open_nursery() as nursery:
            for client in rng.sample(clients, rng.randint(1, 2)):
                nursery.start_soon(_break_link, world, rng, client)
    for producer in producers:
        producer.halt()
    cluster.healed()
    for producer in producers:
        await producer.done()
    return await conclude(cluster, consumers, always(consumers, sync=sync), topics=(TOPIC,))


AT_ONCE_S: Final = 1.0
BACK_S: Final = 20.0
"""A registrar that knows of a failure tries every 10 s at least, and gives an attempt 6 s."""
STILL_THERE_S: Final = 90.0
GONE_S: Final = 127.0


class _Routes:
    """What each nameserver shows, compared with who should be there."""

    def __init__(self, cluster: Cluster, rng: Entropy) -> None:
        self.cluster, self.rng = cluster, rng
        self.broker = rng.choice(cluster.broker_names)
        self.nameserver = rng.choice(cluster.nameserver_names)

    def shown(self, nameserver: str, broker: str) -> bool:
        table = self.cluster.nameserver_apps[nameserver].table
        table.check_invariants()
        return broker in table.brokers

    def expect(self, shown: bool, why: str, *nameservers: str) -> None:
        for nameserver in nameservers or self.cluster.nameserver_names:
            if self.shown(nameserver, self.broker) != shown:
                state = "does not show" if shown else "still shows"
                raise Violation("I19", f"{nameserver} {state} {self.broker}: {why}")

    async def killed_broker(self) -> None:
        """Gone at once, back at once."""
        self.cluster.kill(self.broker)
        await trio.sleep(AT_ONCE_S)
        self.expect(False, "its process was killed a second ago")
        await self.cluster.up(self.broker)
        await trio.sleep(AT_ONCE_S)
        self.expect(True, "it serves again for a second")

    async def stopped_broker(self) -> None:
        """It says goodbye."""
        await self.cluster.stop(self.broker)
        self.expect(False, "it was stopped")
        await self.cluster.up(self.broker)

    async def dead_machine(self) -> None:
        """Nobody is told: it stays for the timeout, and no longer."""
        self.cluster.kill(self.broker, power=True)
        await trio.sleep(STILL_THERE_S)
        self.expect(True, f"silent for {STILL_THERE_S} s only")
        await trio.sleep(GONE_S - STILL_THERE_S)
        self.expect(False, f"silent for {GONE_S} s")
        await self.cluster.up(self.broker)
        await trio.sleep(AT_ONCE_S)
        self.expect(True, "it serves again for a second")

    async def silent_cut(self) -> None:
        """One nameserver loses the broker after its timeout; the other one never does."""
        network = self.cluster.world.network
        others = [one for one in self.cluster.nameserver_names if one != self.nameserver]
        network.cut(self.broker, self.nameserver)
        await trio.sleep(STILL_THERE_S)
        self.expect(True, f"cut off for {STILL_THERE_S} s only")
        await trio.sleep(GONE_S - STILL_THERE_S)
        self.expect(False, f"cut off for {GONE_S} s", self.nameserver)
        self.expect(True, "it was never cut off from there", *others)
        network.heal(self.broker, self.nameserver)
        await trio.sleep(BACK_S)
        self.expect(True, f"healed for {BACK_S} s")

    async def restarted_nameserver(self) -> None:
        """A nameserver that comes back knows everything again soon."""
        power = self.rng.random() < 0.5  # then nobody is told that it went
        self.cluster.kill(self.nameserver, power=power)
        await trio.sleep(self.rng.uniform(0, 30))
        await self.cluster.up(self.nameserver)
        back_s = LIVE_S if power else BACK_S
        await trio.sleep(back_s)
        self.expect(True, f"serves again for {back_s} s")

    async def lost_all(self) -> None:
        """All nameservers at once: clients go on with the routes that they have."""
        names = self.cluster.nameserver_names
        for name in names:
            self.cluster.kill(name)
        await trio.sleep(self.rng.uniform(0, 30))
        for name in names:
            await self.cluster.up(name)
        await trio.sleep(BACK_S)
        self.expect(True, f"all serve again for {BACK_S} s")


async def nameserver_loss(world: World, *, plant: Plant = sound) -> Verdict:
    """Two nameservers, two brokers, three ways in which somebody is lost, one after the other."""
    rng, sync = world.rng("faults"), world.seed % 2 == 0
    store = SYNC if sync else SMALL
    cluster = Cluster(world, brokers=2, nameservers=2, store=store, plant=plant)
    producers = [SimProducer(cluster, "p0", TOPIC, pause_s=2.0)]
    consumers = [SimConsumer(cluster, "c0", (TOPIC,), hold_ms=20_000)]
    await cluster.start()
    producers[0].go(ENDLESS)
    consumers[0].go()
    await trio.sleep(2.0)
    kinds: list[Callable[[_Routes], Awaitable[None]]] = [
        _Routes.killed_broker,
        _Routes.stopped_broker,
        _Routes.restarted_nameserver,
        _Routes.lost_all,
    ]
    slow = rng.choice((_Routes.dead_machine, _Routes.silent_cut))  # two minutes each
    for lose in rng.sample([*rng.sample(kinds, 2), slow], 3):
        world.log("losing", lose.__name__)
        await lose(_Routes(cluster, rng))
    producers[0].halt()
    await producers[0].done()
    return await conclude(cluster, consumers, always(consumers, sync=sync), topics=(TOPIC,))
