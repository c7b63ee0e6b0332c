"""Classic replication on simulated machines: our slave follows our own classic master.

The real Apache stands in tests/interop/test_migrate.py; here faults come from a seed.
"""

import pytest
import trio

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.config import BrokerConfig, ClassicSection, HttpSection, check
from broker_trio.broker.replication.classic import STATE_PATH
from broker_trio.broker.replication.classic_promotion import guards, loss, plan_classic
from broker_trio.broker.replication.view import View
from broker_trio.client.connect import connect
from broker_trio.client.errors import ClientError
from broker_trio.model.errors import Refused
from broker_trio.model.pair import Risk
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import HttpSection as NameserverHttp
from broker_trio.namesrv.config import NameserverConfig
from broker_trio.remoting.bridge import through
from broker_trio.store.config import StoreConfig
from broker_trio.testing.cluster.cluster import SMALL, SYNC
from broker_trio.testing.cluster.pair_closing import bytes_of
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import Node, World
from broker_trio.wire import classic_ha as wire

FOLLOW, SERVE = ClassicSection(follow="a:10911"), ClassicSection(serve=True)
TOPIC = "TopicTest"


class Programs:
    """A nameserver `ns`, the master `a`, and `b`, which follows it."""

    def __init__(self, world: World, store: StoreConfig = SMALL) -> None:
        self.world, self.store = world, store
        self.apps: dict[str, BrokerApp] = {}
        self.classic = {"a": SERVE, "b": FOLLOW}
        self._up: dict[str, trio.Event] = {}
        world.node("ns", self._nameserver)
        for name in "ab":
            world.node(name, self._broker)

    async def _nameserver(self, node: Node) -> None:
        config = NameserverConfig(
            listen="0.0.0.0:9876", allow_insecure_listen=True, http=NameserverHttp(address="")
        )
        app = NameserverApp(node.clock, node.disk, node.network, config)
        await self._serve(node, app)

    async def _broker(self, node: Node) -> None:
        config = BrokerConfig(
            broker_name="pair",
            listen="0.0.0.0:10911",
            address=f"{node.network.ip}:10911",
            vip_channel=False,
            nameservers=("ns:9876",),
            allow_insecure_listen=True,
            http=HttpSection(address=""),
            store=self.store,
            classic=self.classic[node.name],
        )
        app = BrokerApp(node.clock, node.disk, node.network, node.entropy, config)
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

    def parts(self, name: str):
        found = self.apps[name].parts
        assert found is not None
        return found

    @property
    def follower(self):
        found = self.parts("b").classic
        assert found is not None
        return found

    async def send(self, count: int) -> list:
        """Some messages from a machine of their own; receipts, or errors."""
        receipts: list = []

        async def main(node: Node) -> None:
            client = connect(
                ["ns:9876"], group="pg", call_timeout_s=5, connect=through(node.network),
                wall_ms=node.clock.wall_ms, entropy=node.entropy,
            )  # fmt: skip
            async with client as mq:
                for number in range(count):
                    try:
                        receipts.append(await mq.send(TOPIC, b"m%d" % number + b"." * 4_000))
                    except ClientError as error:
                        receipts.append(error)

        name = f"client{len(self.world.nodes)}"
        self.world.node(name, main).start()
        with trio.fail_after(120):
            await self.world.nodes[name].stopped()
        return receipts

    async def level(self) -> None:
        """Both logs end at one place and hold the same bytes."""
        a, b = self.parts("a").store, self.parts("b").store
        with trio.fail_after(30):
            while b.log.max_offset != a.log.max_offset:  # noqa: ASYNC110 virtual time
                await trio.sleep(0.05)
        assert a.log.max_offset > 0
        await self.same(a.log.max_offset)

    async def same(self, end: int) -> None:
        a, b = self.parts("a").store, self.parts("b").store
        begin = max(a.log.min_offset, b.log.min_offset)
        assert await bytes_of(a, begin, end) == await bytes_of(b, begin, end)


async def started(world: World, store: StoreConfig = SMALL, *, sent: int = 0) -> Programs:
    programs = Programs(world, store)
    await programs.up("ns", "a")
    if sent:
        await programs.send(sent)
    await programs.up("b")
    return programs


@pytest.mark.parametrize("store", [SMALL, SYNC], ids=["async", "sync"])
@pytest.mark.parametrize("sent", [0, 60])
def test_a_slave_has_the_whole_log_and_the_tables(store: StoreConfig, sent: int) -> None:
    """From the first byte on, over many segments, also where it came late."""

    async def main(world: World) -> None:
        programs = await started(world, store, sent=sent)
        await programs.send(40)
        await programs.level()
        a, b = programs.parts("a"), programs.parts("b")
        assert b.store.log.min_offset == 0
        assert len(b.store.log.segments.all) > 2
        await trio.sleep(2.5)
        assert b.topics.table.keys() == a.topics.table.keys()
        assert b.topics.get(TOPIC) == a.topics.get(TOPIC)
        for queue in range(8):
            ends = [one.store.queues.max_offset(TOPIC, queue) for one in (a, b)]
            assert ends[0] == ends[1]

    simulate(1, main)


async def commits(world: World) -> None:
    programs = await started(world, sent=10)
    a, b = programs.parts("a"), programs.parts("b")
    a.offsets.commit("g", TOPIC, 0, 7)
    a.offsets.commit("g", TOPIC, 1, 3)
    await trio.sleep(3)
    assert b.offsets.queues("g", TOPIC) == {0: 7, 1: 3}
    world.network.cut("a", "b")
    b.offsets.commit("g", TOPIC, 1, 9)  # a consumer that moved to the slave
    await trio.sleep(3)
    world.network.heal("a", "b")
    await trio.sleep(30)
    assert b.offsets.queues("g", TOPIC) == {0: 7, 1: 9}
    a.offsets.commit("g", TOPIC, 1, 12)
    await trio.sleep(3)
    a.offsets.commit("g", TOPIC, 1, 2)  # a reset: the master's word counts again
    await trio.sleep(3)
    assert b.offsets.queues("g", TOPIC) == {0: 7, 1: 2}


def test_offsets_follow_and_those_committed_here_are_not_turned_back() -> None:
    simulate(2, commits)


async def refusals(world: World) -> None:
    programs = await started(world, sent=10)
    await programs.level()
    store = programs.parts("b").store
    with pytest.raises(Refused, match="promote") as refused:
        store.check_writable(1)
    assert refused.value.code == 16
    with pytest.raises(Refused, match="is gone"):
        await programs.follower.promote(accept_loss=False)
    assert programs.follower.slave.watch.following
    await trio.sleep(3)
    shown = {one.name: one.value for one in programs.apps["b"]._samples()}
    assert shown["brokertrio_master"] == shown["brokertrio_replication_lag_bytes"] == 0
    assert shown["brokertrio_replication_source_connected"] == 1
    assert shown["brokertrio_replication_lag_seconds"] == 0


def test_a_slave_refuses_sends_and_a_promotion_beside_its_master() -> None:
    simulate(3, refusals)


async def promotion(world: World) -> None:
    programs = await started(world, sent=10)
    programs.parts("a").offsets.commit("g", TOPIC, 0, 1)
    await programs.level()
    await trio.sleep(5)
    end = programs.parts("b").store.log.max_offset
    await world.nodes["a"].stop()
    await trio.sleep(3)
    follower = programs.follower
    status = follower.status()
    assert status.classic is not None
    assert all(guard.ok for guard in guards(status, status.classic)), status
    assert loss(status, status.classic).startswith("nothing")
    await follower.promote(accept_loss=False)
    await follower.promote(accept_loss=False)  # again: nothing is left to do
    assert follower.status().state == "owner"
    assert programs.parts("b").offsets.queues("g", TOPIC) == {0: 1}
    receipts = await programs.send(10)
    assert {one.status for one in receipts} == {"SUCCESS"}
    store = programs.parts("b").store
    assert sum(store.queues.max_offset(TOPIC, queue) for queue in range(8)) == 20
    assert store.log.max_offset > end
    world.nodes["b"].kill(power=True)
    await programs.up("b")
    assert programs.follower.owns
    assert {one.status for one in await programs.send(5)} == {"SUCCESS"}


def test_a_promoted_slave_takes_writes_and_stays_promoted() -> None:
    """Also after a power loss, with the same settings."""
    simulate(4, promotion)


async def diverged(world: World) -> None:
    """`a` loses its unflushed tail, which `b` has, and writes something else there."""
    programs = await started(world, sent=10)
    await programs.level()
    await trio.sleep(2)
    flushed = programs.parts("a").store.log.flushed_offset
    for _ in range(3):
        await programs.send(3)
        world.nodes["a"].kill(power=True)
        await programs.up("a")
        await trio.sleep(1)
    await programs.send(30)
    await programs.level()
    watch = programs.follower.slave.watch
    assert programs.parts("b").store.log.max_offset > flushed
    total = sum(programs.parts("b").store.queues.max_offset(TOPIC, queue) for queue in range(8))
    assert total == sum(
        programs.parts("a").store.queues.max_offset(TOPIC, queue) for queue in range(8)
    )
    assert watch.cuts == len(world.nodes["b"].disk.list("divergent")) > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_master_that_lost_its_tail_is_found_out(seed: int) -> None:
    simulate(seed, diverged)


@pytest.mark.parametrize("seed", range(4))
def test_a_slave_comes_back_from_anything(seed: int) -> None:
    """Killed, without power, cut off: the log is a copy afterwards."""

    async def main(world: World) -> None:
        programs = await started(world, SMALL if seed % 2 else SYNC, sent=5)
        for power in (True, False):
            await programs.send(15)
            world.nodes["b"].kill(power=power)
            await programs.send(10)
            await programs.up("b")
            world.network.cut("a", "b")
            await programs.send(5)
            await trio.sleep(25)
            world.network.heal("a", "b")
        await programs.level()

    simulate(seed, main)


async def wrong_folder(world: World) -> None:
    """`b` was a master of its own: it is compared, and left alone."""
    programs = Programs(world)
    programs.classic["b"] = ClassicSection()
    await programs.up("ns", "b")
    await programs.send(5)
    own = programs.parts("b").store.log.max_offset
    await world.nodes["b"].stop()
    programs.classic["b"] = FOLLOW
    await programs.up("a")
    await programs.send(20)
    await programs.up("b")
    await trio.sleep(10)
    assert programs.parts("b").store.log.max_offset == own
    assert "right data folder" in programs.follower.status().classic.problem
    assert not world.nodes["b"].disk.exists(STATE_PATH)
    with pytest.raises(Refused):
        await programs.follower.promote(accept_loss=False)


def test_a_log_that_was_not_made_by_following_is_never_cut() -> None:
    simulate(5, wrong_folder)


async def hostile(world: World) -> None:
    programs = await started(world, sent=5)
    await programs.level()
    for data in (wire.encode_report(1 << 40), b"\xff" * 8, wire.encode_report(1 << 62) * 3):
        stream = await world.network.host("mallory").connect("a:10912")
        await stream.send_all(data)
        with trio.fail_after(5):
            assert await stream.receive_some(1) == b""
        await trio.aclose_forcefully(stream)
    programs.parts("a").store.check_writable(1)
    assert {one.status for one in await programs.send(5)} == {"SUCCESS"}
    await programs.level()


def test_reports_beyond_the_log_are_refused_and_acknowledge_nothing() -> None:
    simulate(6, hostile)


class Mallory:
    """A door that says whatever the test says, to whoever follows."""

    def __init__(self, world: World) -> None:
        self.says: list[bytes] = []
        self.heard: list[bytes] = []
        world.node("mallory", self._main)

    async def _main(self, node: Node) -> None:
        listener = await node.network.listen("0.0.0.0:10912")
        await trio.serve_listeners(self._talk, [listener])

    async def _talk(self, stream: trio.abc.Stream) -> None:
        async with stream:
            report = b""
            while len(report) < wire.REPORT_BYTES:  # a read may bring less
                report += await stream.receive_some(wire.REPORT_BYTES - len(report))
            self.heard.append(report)
            if self.says:
                await stream.send_all(self.says.pop(0))
            await trio.sleep(60)


async def bad_master(world: World) -> None:
    mallory = Mallory(world)
    world.nodes["mallory"].start()
    programs = Programs(world)
    programs.classic["b"] = ClassicSection(follow="a:10911", door="mallory:10912")
    await programs.up("ns", "a")
    await programs.send(3)
    record = await bytes_of(programs.parts("a").store, 0, 300)
    mallory.says = [
        wire.encode_head(1, 500) + b"\xff" * 500,  # no record
        wire.encode_head(77, 0),  # another place
        wire.encode_head(1, -1),  # no chunk
        wire.encode_head(1, 4) + (1 << 28).to_bytes(4, "big"),  # not beginning with a size
        wire.encode_head(1, 200) + record[1:150] + b"\0" * 51,  # cut short, and then silence
    ]
    await programs.up("b")
    await trio.sleep(60)
    assert not mallory.says
    assert set(mallory.heard) == {wire.encode_report(1)}
    follower, store = programs.follower, programs.parts("b").store
    assert store.log.max_offset == 0
    assert not follower.slave.watch.following or follower.slave.watch.bytes_received
    assert follower.slave.watch.problem or follower.slave.watch.following
    world.nodes["a"].kill()
    with pytest.raises(Refused, match="it lacks"):
        await programs.follower.promote(accept_loss=False)


def test_a_door_that_sends_anything_else_adds_nothing_to_the_log() -> None:
    """Neither garbage nor half a record: the slave ends the connection and comes again."""
    simulate(8, bad_master)


def test_the_plan_overrules_its_guards_only_with_a_risk() -> None:
    async def main(world: World) -> tuple:
        programs = await started(world, sent=5)
        await programs.level()
        await trio.sleep(3)
        status = programs.follower.status()
        view = View("pair", {}, {}, {}, 1, {status.address: status})
        risk = Risk("me", "the host burnt", 1)
        return plan_classic(view, status, None), plan_classic(view, status, risk)

    refused, forced = simulate(7, main).value
    assert refused.refused
    assert "brokerPermission" in refused.next
    assert not refused.steps
    assert not forced.refused
    assert [step.order.verb for step in forced.steps] == ["promote"]


@pytest.mark.parametrize(
    ("section", "text"),
    [
        (ClassicSection(follow="here"), "no host:port"),
        (ClassicSection(follow="a:1", serve=True), "exclude"),
        (ClassicSection(follow="a:1", broker_id=0), "broker_id = 0"),
        (ClassicSection(door="a:1"), "without classic.follow"),
    ],
)
def test_settings_are_checked(section: ClassicSection, text: str) -> None:
    assert text in "\n".join(check(BrokerConfig(classic=section)))
