"""Bad input on the replication port: refused, counted, logged once; nothing is OK because of it.

Counted is what the metric shows by its cause, `brokertrio_replication_refused_total{reason}`, and
logged once is one line for two attempts of the same kind.
"""

import random
from collections.abc import Awaitable, Callable

import pytest
import structlog
import trio

from broker_trio.broker.replication import line as lines
from broker_trio.broker.replication.acks import Outcome
from broker_trio.broker.replication.line import Line, Who, greet_master
from broker_trio.broker.replication.refusals import RefusedPeerError
from broker_trio.broker.replication.samples import counter_samples
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import Node, World
from broker_trio.wire import replication as wire
from broker_trio.wire.replication import Ack, Attach, Attached, Chunk, Rejection
from tests.sim.replication_rig import IDS, KEY, PORT, Program, Rig
from tests.sim.store_workload import SYNC, Workload
from tests.sim.test_replication_cases import burst

EVIL = "ee" * 16
Attack = Callable[[Line, Program], Awaitable[None]]


async def knock(rig: Rig, attack: Attack, times: int = 2) -> None:
    """Connect as a stranger's machine and do one thing, twice."""
    done = trio.Event()

    async def main(node: Node) -> None:
        for _ in range(times):
            stream = await node.network.connect(f"a:{PORT}")
            try:
                await attack(Line(stream), rig.programs["a"])
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                await trio.aclose_forcefully(stream)
        done.set()

    name = f"evil{len(rig.world.nodes)}"
    rig.world.node(name, main).start()
    with trio.fail_after(60):
        await done.wait()
    await trio.sleep(0.1)


async def told(line: Line) -> str:
    """What the master says at the end."""
    while True:
        message = await line.receive()
        if isinstance(message, Rejection):
            return message.reason
        if message is None:
            return ""


def hello_as(who: Who, key: bytes = KEY) -> Callable[[Line], Awaitable[None]]:
    return lambda line: greet_master(line, key, who, random.Random(1))


def attach_of(**changes: object) -> Attach:
    fields: dict[str, object] = {
        "settled": (0, ""), "promised": (0, ""), "epochs": [], "written_end": 0, "fsynced_end": 0,
        "segment_bytes": 4096, "crc_from": 0, "crc": 0,
    }  # fmt: skip
    return Attach(**(fields | changes))  # type: ignore[arg-type]


async def attached(line: Line, who: Who, attach: Attach | None = None) -> Attached:
    await hello_as(who)(line)
    await line.send(wire.encode(attach or attach_of()))
    return await line.expect(Attached)


def metric(program: Program) -> dict[str, float]:
    """Refusals by cause, as Prometheus reads them; causes that were not met are left out."""
    family = "brokertrio_replication_refused_total"
    shown = counter_samples(program.replication)
    return {one.labels[0]: one.value for one in shown if one.name == family and one.value}


def refused(reason: str, attack: Attack, *, count: int = 2, saying: str = "") -> None:
    """The attack is refused for that reason, counted each time, logged once; the pair goes on."""

    async def scenario(world: World) -> None:
        rig = Rig(world, SYNC)
        rig.first_record()
        master = await rig.up("a")
        heard: list[str] = []

        async def twice(line: Line, program: Program) -> None:
            await attack(line, program)
            heard.append(await told(line))

        waiting = burst(rig, "a", 1)
        with structlog.testing.capture_logs() as logs:
            await knock(rig, twice)
        assert metric(master) == {reason: count}
        seen = [one for one in logs if one["event"] == "replication.refused"]
        assert [one["reason"] for one in seen] == [reason]
        assert rig.told.outcomes[Outcome.OK] == 0
        assert all(saying in text for text in heard), heard
        await rig.up("b")
        await rig.level()
        late = sum(rig.told.outcomes.values())
        assert late == waiting
        assert len(master.replication.followers) == 1

    simulate(1, scenario)


def test_random_bytes():
    """No frame: the connection ends, whatever comes."""

    async def attack(line: Line, _: Program) -> None:
        await line.send(random.Random(1).randbytes(3_000))

    refused("protocol", attack)


@pytest.mark.parametrize("seed", range(20))
def test_random_frames(seed):
    """Frames with a right checksum and anything inside."""

    async def attack(line: Line, _: Program) -> None:
        rng = random.Random(seed)
        kind = rng.randrange(1, 12)
        await line.send(*wire._frame(kind, rng.randbytes(rng.randrange(200))))  # type: ignore[arg-type]

    refused("protocol", attack)


def test_a_long_frame_of_a_stranger():
    """Its first four bytes are enough."""

    async def attack(line: Line, _: Program) -> None:
        await line.send((1 << 20).to_bytes(4, "big"))

    refused("protocol", attack)


def test_silence():
    """A stranger has five seconds."""

    async def attack(line: Line, _: Program) -> None:
        await trio.sleep(lines.HANDSHAKE_S + 1)

    refused("timeout", attack, saying="who it is")


def test_the_wrong_key():
    """Whoever does not know the key learns nothing and gets nothing."""

    async def attack(line: Line, _: Program) -> None:
        with pytest.raises(RefusedPeerError, match="this pair's key"):
            await hello_as(Who("C", "pair", 2, IDS["b"]), b"another key of a pair")(line)

    refused("key", attack)


def test_a_proof_sent_again():
    """What was overheard once is of no use: the nonce is another one."""
    overheard: list[bytes] = []

    async def attack(line: Line, _: Program) -> None:
        challenge = await line.expect(wire.Challenge)
        if not overheard:
            blank = wire.Hello(1, "C", "pair", 2, IDS["b"], bytes(32), bytes(32))
            proof = wire.slave_proof(KEY, challenge, blank)
            overheard.append(wire.encode(wire.Hello(1, "C", "pair", 2, IDS["b"], bytes(32), proof)))
            raise trio.ClosedResourceError
        await line.send(overheard[0])

    refused("key", attack, count=1)


@pytest.mark.parametrize("who", [Who("D", "pair", 2, IDS["b"]), Who("C", "other", 2, IDS["b"])])
def test_another_cluster_or_broker(who):
    """With the right key, in the wrong place: a person mixed up two files."""

    async def attack(line: Line, _: Program) -> None:
        with pytest.raises(RefusedPeerError, match="this is C/pair"):
            await hello_as(who)(line)

    refused("cluster", attack)


def test_a_later_version():
    """It is told which versions meet."""

    async def attack(line: Line, _: Program) -> None:
        challenge = await line.expect(wire.Challenge)
        blank = wire.Hello(2, "C", "pair", 2, IDS["b"], bytes(32), bytes(32))
        proof = wire.slave_proof(KEY, challenge, blank)
        await line.send(wire.encode(wire.Hello(2, "C", "pair", 2, IDS["b"], bytes(32), proof)))

    refused("version", attack, saying="version 2")


@pytest.mark.parametrize("who", [Who("C", "pair", 1, EVIL), Who("C", "pair", 2, IDS["a"])])
def test_the_master_s_own_ids(who):
    """A replica id given twice, or a copied data folder."""

    async def attack(line: Line, _: Program) -> None:
        await hello_as(who)(line)
        await line.send(wire.encode(attach_of()))

    refused("duplicate", attack, saying="this broker's")


def test_a_future_epoch():
    """It knows a master that this one does not know: neither follows the other."""

    async def attack(line: Line, _: Program) -> None:
        await hello_as(Who("C", "pair", 2, EVIL))(line)
        await line.send(wire.encode(attach_of(promised=(9, EVIL))))

    refused("epoch", attack, saying="9 by")


def test_segments_of_another_size():
    """Byte identity is of files, too."""

    async def attack(line: Line, _: Program) -> None:
        await hello_as(Who("C", "pair", 2, EVIL))(line)
        await line.send(wire.encode(attach_of(segment_bytes=8192)))

    refused("segment", attack, saying="commit_log_segment_bytes")


def test_other_bytes_under_the_same_epochs():
    """The checksum says what epoch lists cannot."""

    async def attack(line: Line, program: Program) -> None:
        await hello_as(Who("C", "pair", 2, EVIL))(line)
        epochs = [(1, IDS["a"], 0)]
        await line.send(wire.encode(attach_of(written_end=200, epochs=epochs, crc=1)))

    refused("log", attack, saying="the logs differ")


def forged(change: Callable[[Ack, Program], Ack]) -> Attack:
    """An attached slave whose acks are not true."""

    async def attack(line: Line, program: Program) -> None:
        answer = await attached(line, Who("C", "pair", 2, IDS["b"]))
        ack = Ack(IDS["b"], answer.epoch, 0, 0, settled=True)
        await line.send(wire.encode_ack(change(ack, program)))

    return attack


def beyond(ack: Ack, program: Program) -> Ack:
    return ack._replace(written=1 << 40, fsynced=1 << 40)


def before_it_was_sent(ack: Ack, program: Program) -> Ack:
    end = program.store.log.max_offset + 10_000
    return ack._replace(written=end, fsynced=end)


def of_another_store(ack: Ack, program: Program) -> Ack:
    return ack._replace(store_id=EVIL)


def of_another_epoch(ack: Ack, program: Program) -> Ack:
    return ack._replace(epoch=(2, IDS["a"]))


@pytest.mark.parametrize("change", [beyond, before_it_was_sent, of_another_store, of_another_epoch])
def test_forged_acks(change):
    """An ack beyond what was sent, of somebody else, in another epoch: nothing is answered OK."""
    refused("ack", forged(change))


def test_two_slaves_with_one_id():
    """The first one stays; the second is told who has its id."""

    async def scenario(world: World) -> None:
        rig = Rig(world, SYNC, names="abc")
        rig.replica_ids = {"b": 2, "c": 2}
        rig.first_record()
        master = await rig.up("a")
        await rig.up("b")
        await rig.level()
        with structlog.testing.capture_logs() as logs:
            second = await rig.up("c")
            await trio.sleep(20)
        assert [one.address for one in master.replication.followers.table.values()]
        assert set(master.replication.followers.table) == {IDS["b"]}
        assert metric(master).keys() == {"duplicate"}
        assert metric(master)["duplicate"] > 5
        seen = [one for one in logs if one["event"] == "replication.refused"]
        assert len([one for one in seen if one["reason"] == "duplicate"]) == 1
        assert "attached as replica id 2" in second.replication.slave.problems[f"a:{PORT}"]
        count = burst(rig, "a", 1)
        await trio.sleep(0.5)
        assert rig.told.outcomes[Outcome.OK] == count
        rig.kill("b")
        await trio.sleep(20)
        assert set(master.replication.followers.table) == {IDS["c"]}, "the place is free"
        unsure = burst(rig, "a", 2)
        await rig.level("c")
        await trio.sleep(5)
        assert rig.told.outcomes[Outcome.OK] == count, "its copy does not count"
        assert sum(rig.told.outcomes.values()) == count + unsure

    simulate(1, scenario)


def test_a_false_master():
    """A slave believes nobody who does not know the key, and appends nothing of his."""

    async def scenario(world: World) -> None:
        rig = Rig(world, SYNC)
        rig.first_record()
        rig.keys["b"] = b"the other one has another"
        await rig.up("a")
        slave = await rig.up("b")
        burst(rig, "a", 1)
        await trio.sleep(10)
        assert slave.store.log.max_offset == 0
        assert slave.replication.slave.source is None
        assert "this pair's key" in slave.replication.slave.problems[f"a:{PORT}"]

    simulate(1, scenario)


@pytest.mark.parametrize("what", ["place", "bytes", "epoch"])
def test_a_master_that_sends_nonsense(what):
    """Other bytes than records, another place, another epoch: the slave ends it, and says why."""

    async def scenario(world: World) -> None:
        rig = Rig(world, SYNC)
        rig.first_record()
        await rig.up("a")
        slave = await rig.up("b")
        await rig.level()
        master = rig.programs["a"].replication.master
        real = wire.encode_chunk

        def bent(chunk: Chunk) -> list[wire.Buffer]:
            if chunk.data:
                offset = chunk.offset + (what == "place")
                data = b"\xff" * len(chunk.data) if what == "bytes" else chunk.data
                epoch = (9, EVIL) if what == "epoch" else chunk.epoch
                end = chunk.end + 1
                chunk = chunk._replace(offset=offset, data=data, epoch=epoch, end=end)
            return real(chunk)

        wire.encode_chunk = bent  # type: ignore[assignment]
        try:
            rig.programs["a"].send(Workload(1, rig.journal), rig.told)
            await trio.sleep(2.0)
        finally:
            wire.encode_chunk = real
        assert master is not None
        assert slave.store.log.max_offset == 0
        assert sum(slave.replication.refusals.counts.values()) > 0
        await rig.level()

    simulate(1, scenario)


def test_a_table_that_is_none():
    """Names with a slash, offsets below zero, other types: the connection ends, nothing changes."""
    from broker_trio.broker.replication.metadata_sync import Inbox  # noqa: PLC0415
    from broker_trio.wire.replication import Metadata  # noqa: PLC0415

    async def scenario(world: World) -> None:
        rig = Rig(world, SYNC)
        rig.first_record()
        program = await rig.up("a")
        inbox, before = Inbox(program.tables), dict(program.topics.table)
        for table, put in (
            ("topics", {"../x": {"topicName": "../x"}}),
            ("topics", {"T": {"topicName": "U"}}),
            ("topics", {"T": 5}),
            ("groups", {"G": {"groupName": 5}}),
            ("offsets", {"T@G": {"0": -1}}),
            ("offsets", {"T@G": {"0": 1 << 70}}),
            ("offsets", {"T@G": {"x": 1}}),
            ("delays", {"1": "x"}),
        ):
            part = Metadata(table, put, [], (0, 0, 0), full=False, last=True, log_end=0)
            with pytest.raises(RemoteProtocolError):
                inbox.take(part)
        assert program.topics.table == before
        assert program.offsets.table == {}

    simulate(1, scenario)
