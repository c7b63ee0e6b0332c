"""A pair in a simulated world: two brokers under one name, three nameservers, in one of four modes.

    pair = Pair(world, mode_of(world))         b0 (first master), b1 (first slave), ns0 ns1 ns2
    await pair.whole()                         until one owns and the other follows, settled

    mode   flush   replication   SEND_OK means
    A      ASYNC   async         in the master's page cache
    B      SYNC    async         on the master's disk
    C      ASYNC   sync          in the page cache of both
    D      SYNC    sync          on the disks of both

The mode is the seed's, in turns, so that four seeds in a row are all four. `watch` writes down
every record that came into force and looks at both replicas many times a second.
"""

from typing import ClassVar, Final, NamedTuple, final

import msgspec
import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.config import BrokerConfig, ReplicationSection
from broker_trio.broker.replication.replica import Replica
from broker_trio.model.errors import StoreFailed
from broker_trio.model.pair import Kept
from broker_trio.namesrv.config import NameserverConfig, WitnessSection
from broker_trio.store.config import StoreConfig
from broker_trio.testing.cluster.cluster import (
    BROKER_PORT,
    NAMESERVER_PORT,
    SMALL,
    SYNC,
    Cluster,
    Plant,
    sound,
)
from broker_trio.testing.cluster.pair_watch import Watch
from broker_trio.testing.world import Node, World

NAME: Final = "pair"
BROKERS: Final = ("b0", "b1")
WHOLE_S: Final = 60.0
RESTORE_MS: Final = 2_000  # level for so long, a copy counts again: short, so that runs are
CHUNK_BYTES: Final = 2_000  # of replication: some acks end in the middle of a volley of sends
TOLD_BY_WORLD: Final = frozenset({"cut", "stall", "reset", "nameserver"})
"""Faults that the world writes down where they strike."""
WORDS: Final = {
    "step": "clock steps",
    "drift": "clock drifts",
    "disk": "disk slow",
    "eio": "next EIO armed",
    "emptied": "disk emptied",
    "full": "disk full",
    "hang": "disk hangs",
    "old": "old disk put in",
}


class Mode(NamedTuple):
    """One row of the promises. `flushes`: SEND_OK waits for disks; `copies`: for so many."""

    letter: str
    flushes: bool
    copies: int

    @property
    def store(self) -> StoreConfig:
        return SYNC if self.flushes else SMALL


MODES: Final = (Mode("D", True, 2), Mode("C", False, 2), Mode("B", True, 1), Mode("A", False, 1))


def mode_of(world: World, letters: str = "DCBA", shift: int = 1) -> Mode:
    """The seed's: one of these, in turns of `shift` seeds."""
    modes = [mode for mode in MODES if mode.letter in letters]
    return modes[world.seed // shift % len(modes)]


@final
class Pair(Cluster):
    """A cluster of one pair."""

    pair_key: ClassVar[bytes] = bytes(range(32))

    def __init__(
        self,
        world: World,
        mode: Mode,
        *,
        plant: Plant = sound,
        store: StoreConfig | None = None,
        cold: float = 0.0,
    ) -> None:
        """`store` instead of the mode's own, flushing alike. A failed store ends a process."""
        self.mode = mode

        def watched(app: BrokerApp) -> None:
            plant(app)
            assert app.parts is not None
            assert app.parts.pairing is not None
            app.parts.pairing.records.replica.on_change.append(self.watch.look)

        super().__init__(
            world,
            brokers=2,
            nameservers=3,
            store=store or mode.store,
            cold=cold,
            tolerates=(StoreFailed,),
            plant=watched,
        )
        self.watch = Watch(self.running_apps, self._peek, two_disks=mode.letter == "D")
        self.watch.on_look.append(self.cells.look)

    def nameserver_config(self, node: Node) -> NameserverConfig:
        """As of a cluster that begins: later starts have a file, or forgot."""
        others = [name for name in self.nameserver_names if name != node.name]
        witness = WitnessSection(
            others=tuple(f"{name}:{NAMESERVER_PORT}" for name in others), new=node.starts == 1
        )
        return msgspec.structs.replace(super().nameserver_config(node), witness=witness)

    def broker_config(self, node: Node) -> BrokerConfig:
        """Both alike but for their places in the inventory."""
        number = BROKERS.index(node.name)
        replication = ReplicationSection(
            replica_id=number + 1,
            role="slave" if number else "master",
            mode="sync" if self.mode.copies == 2 else "async",
            peer=f"{BROKERS[1 - number]}:{BROKER_PORT}",
            key_file="pair.key",
            restore_after_ms=RESTORE_MS,
            chunk_bytes=CHUNK_BYTES,
        )
        config = super().broker_config(node)
        return msgspec.structs.replace(config, broker_name=NAME, replication=replication)

    # ---- what they are

    def _peek(self, name: str, path: str, position: int, size: int) -> bytes:
        return self.node(name).disk.peek(path, position, size)

    def running_apps(self) -> dict[str, BrokerApp]:
        """Host name to the broker that runs there and knows what it is."""
        return {
            name: app
            for name, app in self.apps.items()
            if self.node(name).running and app.parts is not None and app.parts.pairing is not None
        }

    def replica(self, name: str) -> Replica | None:
        """The replica at work on this host, if there is one."""
        app = self.running_apps().get(name)
        if app is None or app.parts is None or app.parts.pairing is None:
            return None
        return app.parts.pairing.records.replica

    def kept(self, name: str) -> Kept | None:
        """What it has on disk about records."""
        replica = self.replica(name)
        return None if replica is None else replica.machine.kept

    def owner(self) -> str:
        """Who may write now; "" where nobody may."""
        now = trio.current_time()
        for name in self.broker_names:
            replica = self.replica(name)
            if replica is not None and replica.machine.may_write(now) is None:
                return name
        return ""

    def other(self, name: str) -> str:
        """The partner's host name."""
        return BROKERS[1 - BROKERS.index(name)]

    def partner(self, name: str) -> str:
        return self.other(name)

    def row(self, name: str) -> str:
        """The row of the promises in which this replica acknowledges now; "" where it does not."""
        replica = self.replica(name)
        if replica is None or not self.node(name).alive:
            return ""
        machine = replica.machine
        if not machine.owns or trio.current_time() >= machine.lease_until:
            return ""
        lone = self.mode.copies == 2 and machine.state.settled.min == 1
        return "degraded" if lone else self.mode.letter

    def follows(self, name: str) -> bool:
        """Whether it is attached to the other one."""
        replica = self.replica(name)
        return replica is not None and replica.machine.following is not None

    def is_whole(self) -> bool:
        """One writes, and the other's copy counts, follows and is settled in the same epoch."""
        name = self.owner()
        replica, partner = (self.replica(one) for one in (name, self.other(name))) if name else (
            None, None
        )  # fmt: skip
        if replica is None or partner is None:
            return False
        machine = partner.machine
        settled = replica.machine.state.settled
        follows = machine.following is not None and machine.following.epoch == settled.epoch
        return follows and machine.confirms(settled.epoch)

    async def whole(self, within_s: float = WHOLE_S) -> None:
        """Start what is off and wait until both copies are there. Raises `TooSlowError`."""
        await self.start()
        with trio.fail_after(within_s):
            while not self.is_whole():  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(0.05)

    # ---- what happens to them

    def fault(self, *what: object) -> None:
        """Something else than the end of a broker breaks now: count it."""
        self.history.faults += 1
        self.world.log("fault", *what)
        kind, *where = map(str, what)
        if kind not in TOLD_BY_WORLD:
            machines = where[:1] if kind in {"disk", "hang"} else where
            self.world.strike(WORDS.get(kind, kind), " ".join(machines))
