"""Two replicas and their witnesses, our machines, in a world without mercy: for walks and scripts.

`actions` lists everything that may happen next as (label, thunk): deliveries, losses, crashes, lost
pages, replaced disks, clocks that drift, operators who order anything. Logs are lists of (epoch,
message); offsets are indexes. `Bad` is a broken promise:

    P1   who answers SEND_OK holds every message acknowledged before
    P2   never two that may acknowledge alone; no lone answer of an older epoch after a newer one
    P4   a follower's log is a prefix of its owner's

Behaviour follows the model of the failover rules, action by action; what decides is production
code: `Machine`, `Witness`, `at_start`. A planted bug is another class of these, or a patch.
"""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from broker_trio.broker.replication.machine import Machine, Timing, Wish
from broker_trio.broker.replication.state_file import at_start
from broker_trio.model.errors import Refused
from broker_trio.model.pair import NO_EPOCH, Epoch, EpochStart, Kept, Record, Risk
from broker_trio.namesrv.witness import Known, Witness

TIMING = Timing(lease_s=2.0, heartbeat_s=1.96)  # a wait of 4 ticks
WAIT = 4.0
NAME = "b"
Action = tuple[str, Callable[[], None]]
BUDGET = {
    "write": 3, "crash": 2, "power": 2, "claim": 3, "shape": 3, "force": 1, "witness": 2,
    "blank": 1, "tick": 14,
}  # fmt: skip


class Bad(AssertionError):
    """A promise was broken."""


@dataclass
class Replica:
    index: int
    machine: Machine
    gen: int = 0
    up: bool = True
    log: list[tuple[Epoch, int]] = field(default_factory=list)
    synced: int = 0
    attached: bool = False
    match: tuple[Epoch, str, int] = (NO_EPOCH, "", 0)
    clock: float = 0.0
    cache: int = 0

    @property
    def current(self) -> Record:
        return self.machine.current

    def common(self, other: list[tuple[Epoch, int]]) -> int:
        """By (epoch, offset) only, as on the wire."""
        count = 0
        while count < min(len(self.log), len(other)) and self.log[count][0] == other[count][0]:
            count += 1
        return count


@dataclass
class Node:
    index: int
    witness: Witness
    up: bool = True
    clock: float = 0.0


def show(epoch: Epoch) -> str:
    return f"({epoch.counter}, {epoch.owner[:1] or 9})"


class World:
    """`mode`: sync (fsynced acks), mem (acks in memory), async (one copy is enough)."""

    def __init__(
        self,
        mode: str,
        *,
        nodes: int = 3,
        machine: type[Machine] = Machine,
        witness: type[Witness] = Witness,
        lazy: random.Random | None = None,
        force: bool = True,
        budget: dict[str, int] | None = None,
        early: bool | None = None,
        relearn_wait: float = WAIT,
    ) -> None:
        self.mode, self.lazy, self.force = mode, lazy, force
        self.machine_type, self.witness_type = machine, witness
        self.relearn_wait = relearn_wait
        self.early = mode == "mem" if early is None else early  # what rule 9 is told
        self.names = tuple(f"ns{j}" for j in range(nodes))
        first = Epoch(1, "0.0")
        record = Record(
            epoch=first,
            members=("0.0", "1.0"),
            min=1 if mode == "async" else 2,
            floor=first,
            prev=NO_EPOCH,
            start=0,
        )
        self.replicas = [
            Replica(i, self._machine(Kept(store_id=f"{i}.0", settled=record, promised=first)))
            for i in (0, 1)
        ]
        self.replicas[0].machine.must_renew = False
        self.replicas[1].machine.following = record
        self.replicas[1].attached = True
        self.nodes = [
            Node(j, witness(Known({NAME: record}), others=nodes - 1, wait_until=0.0))
            for j in range(nodes)
        ]
        self.net: list[tuple[Any, ...]] = []
        self.told: list[Record] = [record]  # to replicas, by anyone, ever
        self.told_witnesses: list[Record] = [record]
        self.acked: set[int] = set()
        self.excused: set[int] = set()
        self.excuse_all = False
        self.newest: tuple[Epoch, int] = (NO_EPOCH, 0)
        self.uid = 0
        self.left = dict(BUDGET if budget is None else budget)

    def _machine(self, kept: Kept) -> Machine:
        return self.machine_type(kept, TIMING, self.names)

    # -- after every step --------------------------------------------------------------------------

    def settle_down(self) -> None:
        """What happens by itself: time acts, states reach the disk, records are told."""
        for replica in self.replicas:
            if not replica.up:
                continue
            machine = replica.machine
            machine.tick(replica.clock)
            self._save(replica)
            machine.tick(replica.clock)
            self._save(replica)
            record = machine.current
            if machine.may_announce() and record not in self.told:
                self.told.append(record)
            if machine.may_tell_witnesses() and record not in self.told_witnesses:
                self.told_witnesses.append(record)
            late = getattr(machine, "late", None)  # a planted bug announces before it promises
            if late is not None and late not in self.told:
                self.told.append(late)
                self.told_witnesses.append(late)
        for node in self.nodes:
            state = node.witness.unsaved
            if state is not None:
                node.witness.saved(state)

    def _save(self, replica: Replica, *, surely: bool = False) -> None:
        state = replica.machine.unsaved
        if state is not None and (surely or self.lazy is None or self.lazy.random() < 0.7):
            replica.machine.saved(state)

    def check(self) -> None:
        a, b = self.replicas
        if a.up and b.up and all(r.machine.may_answer_alone(r.clock) for r in (a, b)):
            raise Bad("P2: both replicas may acknowledge alone")
        for owner, other in ((a, b), (b, a)):
            if not (owner.up and other.up and owner.machine.leads and other.attached):
                continue
            followed = other.machine.following
            same = followed is not None and followed.epoch == owner.current.epoch
            same = same and owner.machine.state.promised == other.machine.state.promised
            if same and other.log != owner.log[: len(other.log)]:
                raise Bad(f"P4: {other.log} follows {owner.log}")

    # -- actions -----------------------------------------------------------------------------------

    def actions(self) -> list[Action]:
        found: list[Action] = []
        for replica in self.replicas:
            other = self.replicas[1 - replica.index]
            if not replica.up:
                found.append((f"restart {replica.index}", lambda r=replica: self._restart(r)))
                continue
            found += self._faults(replica, other)
            if replica.machine.leads:
                found += self._as_owner(replica, other)
            elif replica.attached:
                found += self._as_follower(replica, other)
            found += self._orders(replica, other)
            found += self._records(replica, other)
        for node in self.nodes:
            found += self._witness(node)
        for message in list(self.net):
            found += self._delivery(message)
        found += self._ticks()
        return found

    def pay(self, what: str) -> None:
        self.left[what] -= 1

    def _restart(self, r: Replica) -> None:
        kept = r.machine.kept
        new = f"{r.index}.{r.gen + 1}"
        kept = at_start(
            kept, new, cache=str(r.cache), log_end=len(r.log), early=self.early, clean=False
        )
        if kept.store_id == new:
            r.gen += 1
        r.machine = self._machine(kept)
        r.up, r.attached, r.match = True, False, (NO_EPOCH, "", 0)

    def _faults(self, r: Replica, other: Replica) -> list[Action]:
        found: list[Action] = []

        def crash() -> None:
            self.pay("crash")
            r.up = False

        def power() -> None:
            self.pay("power")
            lost = [uid for _, uid in r.log[r.synced :]]
            elsewhere = {uid for _, uid in other.log}
            alone = self.mode == "async" or not elsewhere & set(lost)
            if alone and self.mode != "sync":
                self.excused |= set(lost)
            del r.log[r.synced :]
            r.cache += 1
            r.up = False

        def blank() -> None:
            self.pay("blank")
            r.gen += 1
            r.log.clear()
            r.synced, r.attached = 0, False
            r.machine = self._machine(Kept(store_id=f"{r.index}.{r.gen}", cache=str(r.cache)))

        def fsync() -> None:
            r.synced = len(r.log)

        i = r.index
        if self.left["crash"]:
            found.append((f"crash {i}", crash))
        if self.left["power"] and r.synced < len(r.log):
            found.append((f"power {i}", power))
        if self.left["blank"] and r.current.owner[:1] != str(i):
            found.append((f"blank disk {i}", blank))
        if r.synced < len(r.log):
            found.append((f"fsync {i}", fsync))
        if r.machine.unsaved is not None:
            found.append((f"save {i}", lambda: self._save(r, surely=True)))
        return found

    def _as_owner(self, r: Replica, q: Replica) -> list[Action]:
        found: list[Action] = []
        machine, record, i = r.machine, r.current, r.index

        def write() -> None:
            self.pay("write")
            r.log.append((record.epoch, self.uid))
            self.uid += 1

        if self.left["write"] and machine.may_write(r.clock) is None:
            found.append((f"write {i} m{self.uid}", write))
        if self._releasable(r) is not None:
            found.append((f"SEND_OK {i}", lambda: self._release(r)))
        follows = q.up and q.attached and q.machine.following is not None
        follows = follows and q.machine.following.epoch == record.epoch == q.machine.state.promised
        if follows and len(q.log) < len(r.log) and len(self.net) < 3:
            chunk = ("chunk", q.index, record.epoch, len(q.log), r.log[len(q.log)])
            found.append((f"chunk {i}->{q.index}", lambda: self.net.append(chunk)))
        if machine.may_announce() and len(self.net) < 3:
            found += self._lease_questions(r, q)
        return found

    def _lease_questions(self, r: Replica, q: Replica) -> list[Action]:
        found: list[Action] = []
        epoch, sent = r.current.epoch, r.clock
        known = {**r.machine._witness_sent, q.machine.store_id: r.machine._member_sent}
        for node in self.nodes:
            name = f"ns{node.index}"
            if node.up and node.witness.confirms(NAME, epoch) and known.get(name) != sent:
                message = ("conf", r.index, name, epoch, sent)
                label = f"ns{node.index} confirms {show(epoch)} to {r.index}"
                found.append((label, lambda m=message: self.net.append(m)))
        if q.up and q.machine.confirms(epoch) and known[q.machine.store_id] != sent:
            message = ("conf", r.index, q.machine.store_id, epoch, sent)
            label = f"slave {q.index} confirms {show(epoch)} to {r.index}"
            found.append((label, lambda m=message: self.net.append(m)))
        return found

    def _releasable(self, r: Replica) -> int | None:
        """The oldest message in its log that may be answered now."""
        held = len(r.log) if self.mode in {"mem", "async"} else r.synced
        at = next((x for x, (_, uid) in enumerate(r.log) if uid not in self.acked), None)
        if at is None or at >= held:
            return None
        if r.machine.state.settled.min == 1:
            return at if r.machine.may_answer_alone(r.clock) else None
        epoch, store_id, match = r.match
        if epoch != r.current.epoch or match <= at or not r.machine.counted(store_id):
            return None
        return at

    def _release(self, r: Replica) -> None:
        at = self._releasable(r)
        assert at is not None
        uid, epoch = r.log[at][1], r.current.epoch
        lost = self.acked - {one for _, one in r.log} - self.excused
        if lost and not self.excuse_all:
            raise Bad(f"P1: {r.index} answers m{uid} in {show(epoch)}, lacks {sorted(lost)}")
        newest, who = self.newest
        there = {one for _, one in self.replicas[who].log}
        if epoch < newest and self.mode != "async" and uid not in there:
            raise Bad(f"P1/P2: stale {r.index} answers m{uid} in {show(epoch)}")
        if r.machine.state.settled.min == 1 and epoch < newest:
            raise Bad(f"P2: {r.index} answers alone in {show(epoch)} after {show(newest)}")
        self.acked.add(uid)
        self.newest = max(self.newest, (epoch, r.index))

    def _as_follower(self, r: Replica, q: Replica) -> list[Action]:
        found: list[Action] = []
        record = r.machine.following
        if record is None or r.machine.unsaved is not None:
            return found
        held = len(r.log) if self.mode == "mem" else r.synced
        i, machine = r.index, r.machine
        if copy.copy(machine).level(held):
            label = f"{i} settles in {show(record.epoch)}"
            found.append((label, lambda: void(machine.level(held))))
        if machine.may_ack(record.epoch) and len(self.net) < 3 and held > q.match[2]:
            ack = ("ack", q.index, record.epoch, machine.store_id, held)
            label = f"{i} acks {held} in {show(record.epoch)}"
            found.append((label, lambda: self.net.append(ack)))
        return found

    def _orders(self, r: Replica, q: Replica) -> list[Action]:
        """Anything that an operator may order, with no guard but the machine's own."""
        found: list[Action] = []
        machine, i = r.machine, r.index
        if self.left["claim"] and machine.is_member:
            found.append((f"claim {i}", lambda: self._propose(r, "claim", "promote")))
        if self.left["claim"] and q.machine.paused_until > q.clock and q.up and r.attached:
            same = machine.following is not None and machine.following.epoch == q.current.epoch
            if q.machine.leads and same and r.log == q.log:
                label = f"switchover to {i}"
                found.append((label, lambda: self._propose(r, "claim", "handover")))
        if self.left["shape"] and machine.owns:
            if machine.current.min == 2:
                found.append((f"degrade {i}", lambda: self._propose(r, "shape", "degrade")))
            elif len(machine.current.members) == 1:
                found.append((f"restore {i}", lambda: self._propose(r, "shape", "restore")))
            if machine.paused_until > r.clock:
                found.append((f"pause {i}", machine.resume))
            else:
                found.append((f"pause {i}", lambda: machine.pause(r.clock)))
        if getattr(machine, "late", None) is not None:
            found.append((f"{i} late persist", lambda: machine.persist(r.clock)))
        if self.force and self.left["force"]:
            found.append((f"FORCED promote {i}", lambda: self._propose(r, "force", "force")))
        return found

    def _propose(self, r: Replica, budget: str, want: Any) -> None:
        machine, q = r.machine, self.replicas[1 - r.index]
        if want == "restore" and not (q.up and q.attached and q.log == r.log):
            return
        again = machine.state.proposed
        above = 0 if again is None else again.epoch.counter + 1
        follower = q.machine.store_id
        risk = Risk("walk", "", 0) if want == "force" else None
        least = 1 if self.mode == "async" else 2
        changes = machine.state.settled.owner != machine.store_id
        try:
            machine.propose(Wish(want, above, follower, least, risk), log_end=len(r.log))
        except Refused:
            return
        self.pay(budget)
        if getattr(machine, "late", None) is not None:
            return
        r.synced, r.attached, r.match = len(r.log), False, (NO_EPOCH, "", 0)
        if want == "force" or (self.mode == "async" and changes and want != "handover"):
            self.excuse_all = True  # loss up to the lag is the mode's; two writers are not

    def _records(self, r: Replica, q: Replica) -> list[Action]:
        """Any record, however old, can reach anyone at any time; and followers attach."""
        found: list[Action] = []
        machine, i = r.machine, r.index

        def learn(record: Record) -> None:
            if not machine.take(record, log_end=len(r.log)) and machine.following is None:
                r.attached, r.match = False, (NO_EPOCH, "", 0)

        for record in self.told:
            if record.epoch > machine.state.promised and record.owner != machine.store_id:
                label = f"{i} learns {show(record.epoch)}"
                found.append((label, lambda record=record: learn(record)))

        def attach() -> None:
            record = q.machine.current
            if machine.follow(record, log_end=len(r.log)):
                return
            self._save(r, surely=True)
            keep = r.common(q.log)
            del r.log[keep:]
            r.synced, r.attached = min(r.synced, keep), True
            machine.cut(keep)
            machine.entered(EpochStart(record.epoch, record.start))
            r.match = (NO_EPOCH, "", 0)

        if machine.state.proposed is None and q.up and not r.attached:
            if q.machine.may_announce() and machine.state.promised <= q.current.epoch:
                found.append((f"{i} attaches to {q.index} in {show(q.current.epoch)}", attach))
        elif r.attached:
            followed = machine.following
            gone = not (q.up and q.machine.leads)
            if gone or followed is None or followed.epoch != q.current.epoch:

                def detach() -> None:
                    machine.detached()
                    r.attached = False

                found.append((f"{i} detaches", detach))
        return found

    def _witness(self, n: Node) -> list[Action]:
        found: list[Action] = []
        j = n.index
        if not n.up:
            return [(f"ns{j} up", lambda: setattr(n, "up", True))]

        def down() -> None:
            self.pay("witness")
            n.up = False

        def lost() -> None:
            self.pay("witness")
            until = n.clock + self.relearn_wait
            n.witness = self.witness_type(None, others=len(self.nodes) - 1, wait_until=until)

        def relearn() -> None:
            others = [o.witness for o in self.nodes if o is not n and o.up]
            tables = [o.state.records for o in others if o.state is not None]
            n.witness.relearn(tables, n.clock)

        if self.left["witness"]:
            found.append((f"ns{j} down", down))
            forgetful = sum(o.witness.forgot for o in self.nodes)
            count = len(self.nodes)
            if forgetful < count - (count // 2 + 1) + (count < 3):
                found.append((f"ns{j} disk lost", lost))
        if n.witness.forgot:
            if n.clock >= n.witness.wait_until:
                found.append((f"ns{j} relearns", relearn))
            return found
        held = n.witness.record(NAME)
        for record in self.told_witnesses:
            if held is None or record.epoch > held.epoch:
                label = f"ns{j} takes {show(record.epoch)}"
                found.append((label, lambda record=record: void(n.witness.take(NAME, record))))
        return found

    def _delivery(self, message: tuple[Any, ...]) -> list[Action]:
        kind, to = message[:2]
        r = self.replicas[to]

        def drop() -> None:
            self.net.remove(message)

        def deliver() -> None:
            self.net.remove(message)
            self._arrived(r, message)

        found = [(f"drop {kind}", drop)]
        stale = kind == "conf" and message[3] != r.current.epoch
        if r.up and not stale:
            label = {
                "chunk": f"chunk at {to}",
                "ack": f"ack {message[-1]} at {to}",
                "conf": f"{to} gets confirm of {message[2]} sent at {message[-1]}",
            }[kind]
            found.append((label, deliver))
        return found

    def _arrived(self, r: Replica, message: tuple[Any, ...]) -> None:
        machine = r.machine
        match message:
            case ("chunk", _, epoch, offset, entry):
                followed = machine.following
                mine = r.attached and followed is not None and followed.epoch == epoch
                if mine and machine.state.promised == epoch and len(r.log) == offset:
                    r.log.append(entry)
            case ("ack", _, epoch, store_id, end):
                mine = machine.leads and machine.current.epoch == epoch
                if mine and (r.match[:2] != (epoch, store_id) or r.match[2] < end):
                    r.match = (epoch, store_id, end)
            case ("conf", _, who, epoch, sent):
                if who.startswith("ns"):
                    machine.witness_confirmed(who, epoch, sent, r.clock)
                else:
                    machine.member_confirmed(who, epoch, sent, r.clock)

    def _ticks(self) -> list[Action]:
        """Clocks run on; one may be slow, but none by more than a tick."""
        if not self.left["tick"]:
            return []
        things: list[Replica | Node] = [*self.replicas, *self.nodes]
        found: list[Action] = []
        for slow in (None, *things):
            after = [thing.clock + (thing is not slow) for thing in things]
            if max(after) - min(after) <= 1:

                def tick(slow: Any = slow) -> None:
                    self.pay("tick")
                    for thing in things:
                        thing.clock += thing is not slow

                found.append(("tick" if slow is None else f"tick, {things.index(slow)} slow", tick))
        return found


def void(_: object) -> None:
    """Thunks give nothing."""


WEIGHTS = (
    "tick", "drop", "crash", "claim", "degrade", "power", "FORCED", "ns", "restore", "blank",
    "pause", "switchover",
)  # fmt: skip


def walk(world: World, rng: random.Random, steps: int) -> list[str]:
    """Random steps until the end; gives their labels. Raises `Bad` with them as its note."""
    bias = {word: rng.choice((0.02, 0.1, 0.4, 1.5)) for word in WEIGHTS}
    trail: list[str] = []
    try:
        for _ in range(steps):
            world.settle_down()
            world.check()
            found = world.actions()
            if not found:
                break
            weights = [
                bias.get(label.split()[0].rstrip("0123456789,"), 6 if label[:7] == "SEND_OK" else 2)
                for label, _ in found
            ]
            label, act = rng.choices(found, weights)[0]
            trail.append(label)
            act()
    except Bad as bad:
        bad.add_note("\n".join(f"{n:3d} {label}" for n, label in enumerate(trail)))
        raise
    return trail


def play(world: World, script: list[str]) -> str:
    """Do exactly this, as far as it is possible: `word*3` is done thrice. Raises `Bad`."""
    for line in script:
        word, _, times = line.partition("*")
        for _ in range(int(times or 1)):
            world.settle_down()
            world.check()
            found = [
                act
                for label, act in world.actions()
                if (label == word if word.startswith("tick") else label.startswith(word))
            ]
            if not found:
                return f"blocked at {line!r}"
            found[0]()
    world.settle_down()
    world.check()
    return "done"
