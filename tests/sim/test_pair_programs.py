"""Whole programs: a pair of brokers, three nameservers, a client; the real records and streams."""

import msgspec
import pytest
import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.config import BrokerConfig, HttpSection, ReplicationSection
from broker_trio.client.connect import connect
from broker_trio.client.errors import ClientError
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import HttpSection as NameserverHttp
from broker_trio.namesrv.config import NameserverConfig, WitnessSection
from broker_trio.remoting.bridge import through
from broker_trio.store.config import StoreConfig
from broker_trio.testing.cluster.cluster import SMALL, SYNC
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import Node, World
from tests.sim.replication_rig import bytes_of

KEY = bytes(range(32))
NAMESERVERS = ("ns0", "ns1", "ns2")


class Programs:
    """Three nameservers, and `a` and `b` under one broker name; further ones are learners."""

    def __init__(self, world: World, store: StoreConfig, mode: str, names: str = "ab") -> None:
        self.world, self.apps, self.names = world, {}, names
        self.store, self.mode = store, mode
        self._up: dict[str, trio.Event] = {}
        for name in NAMESERVERS:
            world.node(name, self._nameserver)
        for name in names:
            world.node(name, self._broker)

    async def _nameserver(self, node: Node) -> None:
        config = NameserverConfig(
            listen="0.0.0.0:9876",
            allow_insecure_listen=True,
            http=NameserverHttp(address=""),
            witness=WitnessSection(
                others=tuple(f"{name}:9876" for name in NAMESERVERS if name != node.name),
                new=node.starts == 1,
            ),
        )
        app = NameserverApp(node.clock, node.disk, node.network, config)
        await self._serve(node, app)

    async def _broker(self, node: Node) -> None:
        number = self.names.index(node.name) + 1
        peer, *others = [f"{name}:10911" for name in self.names if name != node.name]
        config = BrokerConfig(
            broker_name="pair",
            listen="0.0.0.0:10911",
            address=f"{node.network.ip}:10911",
            vip_channel=False,
            nameservers=tuple(f"{name}:9876" for name in NAMESERVERS),
            allow_insecure_listen=True,
            http=HttpSection(address=""),
            store=self.store,
            replication=ReplicationSection(
                replica_id=number,
                role="master" if number == 1 else "slave",
                mode=self.mode,
                peer=peer,
                others=tuple(others),
                key_file="pair.key",
            ),
        )
        app = BrokerApp(node.clock, node.disk, node.network, node.entropy, config, pair_key=KEY)
        self.apps[node.name] = app
        await self._serve(node, app)

    async def _serve(self, node: Node, app: BrokerApp | NameserverApp) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(app.run, node.stopping)
            self._up[node.name].set()

    async def up(self, *names: str) -> None:
        for name in names:
            await self.world.nodes[name].stopped()
            self._up[name] = trio.Event()
            self.world.nodes[name].start()
        for name in names:
            with trio.fail_after(30):
                await self._up[name].wait()

    async def writable(self, name: str) -> None:
        """Wait until that broker may write and, in a synchronous pair, has its slave."""
        with trio.fail_after(60):
            while True:
                pairing = self.apps[name].parts.pairing
                role, followers = pairing.replication.role, pairing.replication.followers
                now = trio.current_time()
                sync = role.min_copies > 1
                if (
                    role.owns
                    and role.may_write(now) is None
                    and (not sync or followers.counted() is not None)
                ):
                    return
                await trio.sleep(0.1)

    async def send(self, count: int) -> list:
        """Some messages from a machine of their own; their receipts."""
        receipts, done = [], trio.Event()

        async def main(node: Node) -> None:
            client = connect(
                [f"{name}:9876" for name in NAMESERVERS],
                group="pg",
                call_timeout_s=5,
                connect=through(node.network),
                wall_ms=node.clock.wall_ms,
                entropy=node.entropy,
            )
            async with client as mq:
                for number in range(count):
                    try:
                        receipts.append(await mq.send("TopicTest", b"m%d" % number))
                    except ClientError as error:
                        receipts.append(error)
            done.set()

        name = f"client{len(self.world.nodes)}"
        self.world.node(name, main).start()
        with trio.fail_after(60):
            await done.wait()
        await self.world.nodes[name].stopped()
        return receipts


async def started(world: World, store: StoreConfig, mode: str, names: str = "ab") -> Programs:
    programs = Programs(world, store, mode, names)
    await programs.up(*NAMESERVERS)
    await programs.up(*names)
    await programs.writable("a")
    return programs


async def receipts_of(world: World, store: StoreConfig, mode: str) -> tuple[set, set]:
    programs = await started(world, store, mode)
    receipts = await programs.send(20)
    await trio.sleep(3)
    a, b = (programs.apps[name].parts.store for name in "ab")
    assert a.log.max_offset == b.log.max_offset > 0
    end = a.log.max_offset
    assert await bytes_of(a, 0, end) == await bytes_of(b, 0, end)
    assert a.queues.max_offset("TopicTest", 0) == b.queues.max_offset("TopicTest", 0)
    assert programs.apps["b"].parts.topics.get("TopicTest") is not None
    for name in "ab":
        shown = {(one.name, one.labels): one.value for one in programs.apps[name]._samples()}
        for unit in ("bytes", "messages", "seconds"):
            assert shown[f"brokertrio_replication_lag_{unit}", ("2",)] == 0
        assert shown["brokertrio_master", ()] == (name == "a")
    return {one.status for one in receipts}, {one.durability for one in receipts}


@pytest.mark.parametrize(
    ("store", "mode", "durability"),
    [
        (SYNC, "sync", "replicated_disk"),
        (SMALL, "sync", "replicated"),
        (SYNC, "async", "disk"),
        (SMALL, "async", "memory"),
    ],
)
def test_a_receipt_says_what_was_reached(store, mode, durability):
    """The four modes of the promises, as a sender sees them; both logs are equal."""
    statuses, durabilities = simulate(1, lambda w: receipts_of(w, store, mode)).value
    assert statuses == {"SUCCESS"}
    assert {str(getattr(one, "value", one)) for one in durabilities} == {durability}


async def restarted(world: World) -> None:
    programs = await started(world, SYNC, "sync")
    await programs.send(10)
    world.nodes["a"].kill(power=True)
    await programs.up("a")
    await programs.writable("a")
    await programs.send(10)
    await world.nodes["a"].stop()
    await world.nodes["b"].stop()
    await programs.up("a", "b")
    await programs.writable("a")
    await programs.send(10)
    await trio.sleep(3)
    a, b = (programs.apps[name].parts.store for name in "ab")
    end = a.log.max_offset
    assert await bytes_of(a, 0, end) == await bytes_of(b, 0, end)
    total = sum(a.queues.max_offset("TopicTest", queue) for queue in range(8))
    assert total == 30 == sum(b.queues.max_offset("TopicTest", queue) for queue in range(8))
    role = programs.apps["a"].parts.pairing.replication.role
    assert role.epoch.counter >= 3


def test_a_master_that_starts_again_goes_on_in_a_new_epoch():
    """After a power loss and after a clean stop of both: nothing lost, logs equal."""
    simulate(2, restarted)


async def slave_away(world: World) -> None:
    programs = await started(world, SYNC, "sync")
    await programs.send(5)
    world.nodes["b"].kill()
    await trio.sleep(5)
    store = programs.apps["a"].parts.store
    end = store.log.max_offset
    stats = programs.apps["a"].parts.pairing.replication.acks
    (error,) = await programs.send(1)
    assert "SLAVE_NOT_AVAILABLE" in str(error)
    assert "broker-trio degrade" in str(error)
    assert store.log.max_offset == end
    assert stats.refused_no_slave > 0


def test_without_a_slave_nothing_is_appended():
    """Senders are refused, for another pair to take it, and the log does not grow."""
    simulate(3, slave_away)


def test_a_pair_s_settings_are_checked():
    """Every mistake at once, each with what to do."""
    from broker_trio.broker.config import check  # noqa: PLC0415

    section = ReplicationSection(
        replica_id=0, peer="here", in_sync_replicas_min=1, lease_ms=1_000, chunk_bytes=1
    )
    problems = "\n".join(check(BrokerConfig(listen="127.0.0.1:0", replication=section)))
    for text in ("replica_id", "peer", "in_sync", "lease_ms", "chunk_bytes", "key_file", ":0"):
        assert text in problems
    assert check(BrokerConfig(replication=ReplicationSection(key_file="x")))
    good = ReplicationSection(peer="127.0.0.1:20911", key_file="k")
    assert check(BrokerConfig(nameservers=("127.0.0.1:9876",), replication=good)) == []
    assert msgspec.structs.asdict(good)["role"] == "slave"
