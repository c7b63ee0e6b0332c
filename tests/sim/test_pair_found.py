"""What simulated pairs have found, each made as small as it could be."""

import msgspec
import trio

from broker_trio.broker.replication.commands import plan_promote
from broker_trio.broker.replication.instruction import instruction
from broker_trio.broker.replication.view import View
from broker_trio.model.codes import RequestCode
from broker_trio.model.pair import Epoch, Kept, Record, Risk, Status
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient
from broker_trio.testing.cluster.cluster import NAMESERVER_PORT
from broker_trio.testing.cluster.pair import MODES, NAME, Pair
from broker_trio.testing.cluster.pair_operator import Operator
from broker_trio.testing.cluster.producer import SimProducer
from broker_trio.testing.scenarios.catalogue import silence
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import World
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.command import Command, Serialize

A, B, NEW = "a" * 32, "b" * 32, "c" * 32
FIRST = Epoch(2, A)
BOTH = Record(epoch=FIRST, members=(A, B), min=2, floor=FIRST, prev=Epoch(1, A), start=0)


def status(number: int, store_id: str, record: Record, **more: object) -> Status:
    """A replica that settled a record."""
    kept = more.pop("kept", None) or Kept(store_id=store_id, settled=record, promised=record.epoch)
    base = Status(broker_name=NAME, replica_id=number, address=f"h{number}:1", kept=kept)
    return msgspec.structs.replace(base, **more)


def seen(*replicas: Status, record: Record = BOTH) -> View:
    """Those, and three nameservers that hold the record."""
    witness = Status(broker_name=NAME, witness=True, record=record)
    return View(
        NAME, {one.address: one for one in replicas},
        {f"ns{number}:1": witness for number in range(3)}, {}, 3,
    )  # fmt: skip


def test_a_replaced_disk_is_named_though_it_follows() -> None:
    """pair_other_disk, seed 0: the slave came back with an empty disk and followed as a learner.
    `pair status` said ok, while every send was answered with 11 for ever."""
    master = status(1, A, BOTH, state="owner", follower=NEW, level=True)
    told = instruction(seen(master, status(2, NEW, BOTH, state="learner")))
    assert (told.verb, told.command) == ("degrade", "broker-trio degrade pair/1")
    assert "replaced disk" in told.text
    well = msgspec.structs.replace(master, follower=B)
    assert instruction(seen(well)).verb == "ok"


def test_a_promotion_that_its_slave_took_can_be_finished() -> None:
    """pair_eio, seed 3: a promoted slave died before its record was in force; the old master had
    settled that record meanwhile. The rerun was refused, because the other "held more"."""
    lone = msgspec.structs.replace(BOTH, min=1)
    mine = Record(
        epoch=Epoch(3, B), members=(A, B), min=1, floor=Epoch(3, B), prev=FIRST, start=9, wait=True
    )
    kept = Kept(store_id=B, settled=lone, proposed=mine, promised=mine.epoch)
    promoted = status(2, B, lone, kept=kept, state="proposing", log_end=9)
    view = seen(status(1, A, mine, state="slave", log_end=9), promoted, record=mine)
    assert instruction(view).command == "broker-trio promote pair/2"
    assert not plan_promote(view, promoted).refused


def test_a_forced_record_is_finished_as_one() -> None:
    """pair_loss, seed 13: a forced promotion waited for its lease, and `pair status` said to finish
    it by a plain `promote`, whose plan promised that nothing is lost."""
    degraded = Record(
        epoch=Epoch(3, A), members=(A,), min=1, floor=Epoch(3, A), prev=FIRST, start=9
    )
    forced = Record(
        epoch=Epoch(4, B), members=(B,), min=1, floor=Epoch(4, B), prev=FIRST, start=5, wait=True,
        risk=Risk("me", "a burnt", 1),
    )  # fmt: skip
    kept = Kept(store_id=B, settled=BOTH, proposed=forced, promised=forced.epoch)
    left = status(2, B, BOTH, kept=kept, state="proposing", log_end=5)
    told = instruction(seen(left, record=degraded))
    assert told.command == "broker-trio promote pair/2 --accept-loss"
    assert plan_promote(seen(left, record=forced), left).refused


async def lost_a_tail(world: World) -> None:
    """ASYNC_FLUSH, async: the slave's machine loses power with a tail that it acked unflushed."""
    pair = Pair(world, MODES[3])
    await pair.whole()
    producer = SimProducer(pair, "p", "t", pause_s=0.0)
    producer.go(60)
    await producer.done()
    pair.node("b1").disk.hang()
    producer.go(30)
    await producer.done()
    before = pair.apps["b1"].parts.store.log.max_offset
    pair.kill("b1", power=True)
    await pair.up("b1")
    assert pair.apps["b1"].parts.store.log.max_offset < before
    await pair.whole()


def test_a_slave_may_come_back_without_what_it_never_had_on_disk() -> None:
    """pair_switchover, seed 11: its master took the shorter log for an old copy of the disk, and
    refused the slave for ever; but only acks of copies that count are promises."""
    with silence():
        simulate(1, lost_a_tail)


async def passed_over(world: World) -> None:
    """A record of the other member that never came into force stands at all nameservers."""
    pair = Pair(world, MODES[3])
    operator = Operator(pair)
    await pair.whole()
    settled, other = pair.kept("b0").settled, pair.kept("b1").store_id
    for name in pair.nameserver_names:
        world.network.cut("b0", name)
    epoch = Epoch(settled.epoch.counter + 1, other)
    record = Record(
        epoch=epoch, members=settled.members, min=1, floor=epoch, prev=settled.epoch, start=0
    )
    telling = bodies.Telling(broker_name=NAME, record=record)
    command = Command(
        RequestCode.PAIR_RECORD, body=bodies.encode(telling), serialize=Serialize.CBOR
    )
    async with RemotingClient(through(world.network.host("operator"))) as client:
        for name in pair.nameserver_names:
            assert (await client.call(f"{name}:{NAMESERVER_PORT}", command)).code == 0
    await operator.order("b0", "promote", above=epoch.counter + 1)
    while pair.owner() != "b0":  # noqa: ASYNC110 -- nobody tells
        await trio.sleep(0.1)
    world.network.heal_all()
    await trio.sleep(5.0)
    app = pair.nameserver_apps["ns0"]
    assert app.witnessing.witness.owner(NAME) == pair.kept("b0").store_id
    assert pair.kept("b0").settled.epoch.counter == epoch.counter + 3
    await pair.whole()


def test_witnesses_that_keep_a_dropped_record_are_passed() -> None:
    """pair_kill, seed 2: the promoted slave dropped its proposal for the restarted master's. The
    nameservers had taken it, refused the master's record below its floor, and showed no master
    until somebody made a new record by hand: the master makes it now."""
    with silence():
        simulate(1, passed_over)


async def fenced_and_back(world: World) -> None:
    """The slave of a synchronous pair may own nothing for a moment, while its stream goes on."""
    pair = Pair(world, MODES[0])
    operator = Operator(pair)
    await pair.whole()
    before = pair.apps["b0"].parts.pairing.replication.stats.attached
    await operator.order("b1", "fence")
    assert pair.replica("b1").machine.describe(trio.current_time()) == "fenced"
    assert pair.is_whole()
    await operator.order("b1", "rejoin")
    assert pair.is_whole()
    assert pair.apps["b0"].parts.pairing.replication.stats.attached == before


def test_a_fenced_slave_still_counts() -> None:
    """pair_mistakes, seed 24: fence and rejoin made the slave forget whom it followed; its acks
    counted no more until the stream broke, and `pair status` said ok."""
    with silence():
        simulate(1, fenced_and_back)


def test_a_slave_that_does_not_count_is_told() -> None:
    """The same: a follower that is level says nothing of whether its acks count."""
    master = status(1, A, BOTH, state="owner", follower=B, level=True)
    told = instruction(seen(master, status(2, B, BOTH, state="detached")))
    assert (told.verb, told.text) == ("wait", "pair/2 follows and does not count yet: detached")
    assert instruction(seen(master, status(2, B, BOTH, state="slave"))).verb == "ok"


async def promoted_without_a_topic(world: World) -> None:
    """The slave has the messages of a topic, and not yet the topic."""
    pair = Pair(world, MODES[3])
    operator = Operator(pair)
    await pair.whole()
    producer = SimProducer(pair, "p", "t", pause_s=0.0)
    producer.go(40)
    await producer.done()
    await trio.sleep(1.0)
    ends = {q.queue_id: q.max_offset for q in pair.apps["b0"].parts.store.queues.queues_of("t")}
    pair.kill("b0")
    pair.apps["b1"].parts.topics.table.pop("t")
    await operator.promote("b1")
    await pair.node("b0").stopped()
    while pair.owner() != "b1":  # noqa: ASYNC110 -- nobody tells
        await trio.sleep(0.1)
    assert pair.apps["b1"].parts.topics.get("t").read_queue_nums > max(ends)
    await pair.up("b0")
    await pair.whole()
    await trio.sleep(1.0)
    for name in pair.broker_names:
        queues = pair.apps[name].parts.store.queues.queues_of("t")
        assert {q.queue_id: (q.min_offset, q.max_offset) for q in queues} == {
            queue_id: (0, end) for queue_id, end in ends.items()
        }


def test_a_promoted_master_knows_the_topics_of_its_log() -> None:
    """pair_clock, seed 2: a topic was made a moment before a switchover. Its new master had the
    messages and not the topic, so nobody found them; and the old one dropped its queues for it."""
    with silence():
        simulate(1, promoted_without_a_topic)


async def two_that_exclude_each_other(world: World) -> None:
    """Only nameservers: one holds a lone owner's record, one a proposal that lacks what it has."""
    pair = Pair(world, MODES[1])
    for name in pair.nameserver_names:
        pair.begin(name)
        await pair.ready(name)
    lone = Epoch(3, A)
    degraded = Record(epoch=lone, members=(A,), min=1, floor=lone, prev=FIRST, start=9)
    behind = Record(epoch=Epoch(4, B), members=(A, B), min=2, floor=FIRST, prev=FIRST, start=5)
    above = msgspec.structs.replace(degraded, epoch=Epoch(5, A), floor=Epoch(5, A), prev=lone)
    await told(world, degraded, "ns0", "ns2")
    await told(world, behind, "ns1")
    pair.kill("ns2", power=True)
    await pair.node("ns2").stopped()
    pair.node("ns2").disk.put_in(None)
    await pair.up("ns2")
    await trio.sleep(20.0)
    witness = pair.nameserver_apps["ns2"].witnessing.witness
    assert witness.forgot, f"it took {witness.record(NAME)}"
    await told(world, above, "ns0", "ns1")
    await trio.sleep(5.0)
    assert witness.owner(NAME) == A


async def told(world: World, record: Record, *names: str) -> None:
    """These nameservers have taken the record."""
    body = bodies.encode(bodies.Telling(broker_name=NAME, record=record))
    command = Command(RequestCode.PAIR_RECORD, body=body, serialize=Serialize.CBOR)
    async with RemotingClient(through(world.network.host("operator"))) as client:
        for name in names:
            answer = await client.call(f"{name}:{NAMESERVER_PORT}", command)
            assert bodies.decode(answer.body, bodies.Verdict).yes


def test_a_nameserver_that_forgot_does_not_choose_between_two_owners() -> None:
    """pair_rules, seed 5: a degraded master had two of three nameservers, of which one lost its
    disk. It read the master's record and a higher one of the slave, proposed before, took the
    higher one and gave the slave a majority: a second owner, without the messages of the first."""
    with silence():
        simulate(1, two_that_exclude_each_other)
