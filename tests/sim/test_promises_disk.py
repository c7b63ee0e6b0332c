"""Nothing leaves a machine of a pair before what it depends on is on that machine's platter.

    SimStream.send_all ─▶ frames, as the peer will read them ─▶ what each of them says
    SimDisk            ─▶ pair.cbor, witness.cbor, as a power loss right now would leave them

    what is sent                         from         must be on the sender's disk
    RECORD, CONFIRM? of an epoch         owner        that record, made or settled; promised
    CONFIRM yes                          member       that epoch, settled
    RECORD yes                           member       it, or a higher one, promised
    CONFIRM yes, RECORD yes              nameserver   it, or a higher one, in witness.cbor
    SEND_OK with an epoch                master       that epoch, settled
    ATTACH: settled, promised            slave        both
    ATTACHED, bytes of the log           master       that epoch, promised
    ACK that counts                      slave        that epoch, settled

The other half, that whatever is read back after a crash at any operation is the old or the new
state and never less than what was said, stands in test_replica_crash.py, and so does the divergent
file, which is whole before the log is cut.
"""

from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from broker_trio.broker.replication.state_file import STATE_PATH
from broker_trio.model.codes import RequestCode
from broker_trio.model.pair import Epoch, Kept
from broker_trio.namesrv.witness import Known
from broker_trio.namesrv.witnessing import FILE as WITNESS_PATH
from broker_trio.store import snapshot
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.cluster import BROKER_PORT
from broker_trio.testing.cluster.pair import NAME
from broker_trio.testing.scenarios.catalogue import run
from broker_trio.testing.sim_stream import SimStream
from broker_trio.testing.world import Node, World
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.command import RESPONSE, Command
from broker_trio.wire.frame import FrameBuffer
from broker_trio.wire.replication import Ack, Attach, Attached, Chunk, ReplicationFrames
from tests.sim.test_pair_bugs import skips_the_epoch_fsync

REPLICATION_PORT = f":{BROKER_PORT + 1}"
ASKED = {RequestCode.PAIR_CONFIRM: bodies.Question, RequestCode.PAIR_RECORD: bodies.Telling}


class Tap:
    """Reads along. `seen`: how often each dependency was looked at; `early`: those not on disk."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.early: list[str] = []
        self._world: World | None = None
        self._frames: dict[SimStream, Any] = {}
        self._asked: dict[tuple[SimStream, int], tuple[str, Epoch]] = {}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Into every world and stream that is made from now on."""
        begin, send_all = World.__init__, SimStream.send_all

        def made(world: World, *arguments: Any) -> None:
            begin(world, *arguments)
            self._world = world

        async def tapped(stream: SimStream, data: bytes) -> None:
            node = self._sender(stream)
            if node is not None:
                self._read(node, stream, bytes(data))
            await send_all(stream, data)

        patch.setattr(World, "__init__", made)
        patch.setattr(SimStream, "send_all", tapped)

    def _sender(self, stream: SimStream) -> Node | None:
        assert self._world is not None
        for node in self._world.nodes.values():
            if node.network.streams is stream._owned:
                return node
        return None  # whoever gives orders

    def _read(self, node: Node, stream: SimStream, data: bytes) -> None:
        ends = (stream.peer_address, stream.other.peer_address)
        is_replication = any(one.endswith(REPLICATION_PORT) for one in ends)
        frames = self._frames.get(stream)
        if frames is None:
            frames = ReplicationFrames(1 << 20) if is_replication else FrameBuffer()
            self._frames[stream] = frames
        frames.receive_data(data)
        if is_replication:
            while (message := frames.next_message()) is not None:
                self._of_stream(node, message)
            return
        while (command := frames.next_command()) is not None:
            self._of_command(node, stream, command)

    # ---- what is on the platter

    def _durable(self, node: Node, path: str, kind: type[Any]) -> Any:
        inode = node.disk._names.durable.get(path)
        if inode is None:
            return kind() if kind is Known else Kept(store_id="")
        found = snapshot.decode(inode.durable.read(0, inode.durable.size), kind)
        return found or (kind() if kind is Known else Kept(store_id=""))

    def _kept(self, node: Node) -> Kept:
        kept = self._durable(node, STATE_PATH, Kept)
        assert isinstance(kept, Kept)
        return kept

    def _need(self, node: Node, what: str, epoch: Epoch, *held: Epoch) -> None:
        """One of these is that epoch or a later one."""
        self.seen[what] += 1
        if max(held, default=Epoch(0, "")) < epoch:
            self.early.append(f"{node.name} sends {what} of {epoch}, on disk is {held}")

    # ---- what is said

    def _of_stream(self, node: Node, message: object) -> None:
        kept = self._kept(node)
        match message:
            case Attach():
                self._need(node, "attach settled", Epoch(*message.settled), kept.settled.epoch)
                self._need(node, "attach promised", Epoch(*message.promised), kept.promised)
            case Attached():
                self._need(node, "attached", Epoch(*message.epoch), kept.promised)
            case Chunk() if message.data:
                self._need(node, "bytes", Epoch(*message.epoch), kept.promised)
            case Ack() if message.settled:
                self._need(node, "ack", Epoch(*message.epoch), kept.settled.epoch)

    def _of_command(self, node: Node, stream: SimStream, command: Command) -> None:
        if command.flag & RESPONSE:
            self._of_answer(node, stream, command)
        elif command.code in ASKED and node.name.startswith("b"):
            asked = bodies.decode(command.body, ASKED[RequestCode(command.code)])
            epoch = asked.epoch if isinstance(asked, bodies.Question) else asked.record.epoch
            what = RequestCode(command.code).name
            kept = self._kept(node)
            made = [one.epoch for one in (kept.settled, kept.proposed) if one is not None]
            self._need(node, f"question {what}", epoch, *made)
            self._need(node, f"promise {what}", epoch, kept.promised)
            self._asked[stream.other, command.opaque] = (what, epoch)

    def _of_answer(self, node: Node, stream: SimStream, command: Command) -> None:
        what, epoch = self._asked.pop((stream, command.opaque), ("", Epoch(0, "")))
        if what and not command.code and bodies.decode(command.body, bodies.Verdict).yes:
            if node.name.startswith("ns"):
                known = self._durable(node, WITNESS_PATH, Known).records.get(NAME)
                held = [] if known is None else [known.epoch]
                self._need(node, f"nameserver {what}", epoch, *held)
            elif what == "PAIR_CONFIRM":
                self._need(node, "member CONFIRM", epoch, self._kept(node).settled.epoch)
            else:
                self._need(node, "member RECORD", epoch, self._kept(node).promised)
        if not command.code and "epoch" in command.ext and node.name.startswith("b"):
            counter, settled = int(command.ext["epoch"]), self._kept(node).settled.epoch
            self._need(node, "SEND_OK", Epoch(counter, ""), Epoch(settled.counter, ""))


KINDS = {
    "question PAIR_CONFIRM", "question PAIR_RECORD", "promise PAIR_CONFIRM", "promise PAIR_RECORD",
    "nameserver PAIR_CONFIRM", "nameserver PAIR_RECORD", "member CONFIRM", "member RECORD",
    "SEND_OK", "attach settled", "attach promised", "attached", "bytes", "ack",
}  # fmt: skip


def test_what_is_said_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A promotion after a power loss, and the old master's return: every kind of word is said."""
    tap = Tap()
    tap.install(monkeypatch)
    run("pair_promises", 16)  # B, kill −9
    assert tap.early == []
    assert tap.seen.keys() == KINDS
    assert min(tap.seen.values()) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pair_mistakes", "pair_power", "pair_switchover", "pair_rules"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_said_is_on_disk_whatever_happens(
    monkeypatch: pytest.MonkeyPatch, name: str, seed: int
) -> None:
    """Careless orders, power losses, switchovers and the unlucky courses, in all modes."""
    tap = Tap()
    tap.install(monkeypatch)
    run(name, seed)
    assert tap.early == []
    assert sum(tap.seen.values()) > 500


@pytest.mark.slow
def test_a_replica_that_speaks_first_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug of an epoch that is written and not fsynced."""
    tap = Tap()
    tap.install(monkeypatch)
    skips_the_epoch_fsync(monkeypatch)
    with suppress(Violation):  # its checkers may find it, too
        run("pair_promises", 16)
    assert tap.early
