"""Keeps a replica's lease: asks witnesses and the other replica, tells them its record.

    start      STATUS of all ─▶ take what is higher ─▶ else a new epoch (rule 8), or the very first
    each beat  CONFIRM? ─┬─ yes ─────────▶ machine, with the time at which the question left
       to each           ├─ no, lower ───▶ RECORD ─┬ taken ─▶ CONFIRM? again, at once
                         │                         └ below its floor ─▶ a new record above it
                         └─ no, higher ──▶ rule 1: follow it, or show an alarm

One task for each other program, so that one that hangs delays nobody. A question is given up after
a beat. Whoever is no owner asks nobody. A proposal is told again and again while this process runs;
after a restart only if this store was the owner before, else its operator decides again.
"""

from typing import Final, NamedTuple, final

import msgspec
import structlog
import trio

from broker_trio.broker.replication.machine import Wish
from broker_trio.broker.replication.replica import Replica
from broker_trio.model import pair
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused, RemoteProtocolError
from broker_trio.model.pair import NO_EPOCH, Epoch, Record, Status
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.runtime.seams import Clock
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.command import Command, Serialize

log = structlog.get_logger()

START_ASK_S: Final = 2.0
ASKED_TWICE: Final = 2  # after a record was taken, the question is repeated at once


class Target(NamedTuple):
    """Another program: a witness, or the other replica."""

    address: str
    witness: bool


@final
class Lease:
    """The tasks of one replica that talk about records."""

    def __init__(self, replica: Replica, client: RemotingClient, clock: Clock) -> None:
        settings = replica.settings
        self._replica, self._client, self._clock = replica, client, clock
        self._targets = [Target(address, witness=True) for address in settings.witnesses]
        replicas = [settings.peer, *settings.others] if settings.peer else []
        self._targets += [Target(address, witness=False) for address in replicas]
        self._beat_s = replica.machine.timing.heartbeat_s
        self.unanswered: dict[str, str] = {}  # address to what was wrong, for people
        self._passed_over = NO_EPOCH  # an epoch of ours that a witness may not take any more

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Raises `StoreFailed`."""
        if self._replica.machine.unsaved is not None:
            await self._replica.save()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tick)
            for target in self._targets:
                nursery.start_soon(self._keep, target)
            task_status.started()

    # -- time ------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        replica, machine = self._replica, self._replica.machine
        while True:
            wakes = replica.wakes
            try:
                await self._step()
            except Refused as refusal:
                log.warning("pair.refused", reason=refusal.remark)
            now = self._clock.monotonic()
            pause = self._beat_s
            if machine.active_at is not None and now < machine.active_at:
                pause = min(pause, machine.active_at - now)
            with trio.move_on_after(pause):
                await wakes.wait()

    async def _step(self) -> None:
        """What is to be done now. Raises `Refused` where it must be tried again."""
        replica, machine = self._replica, self._replica.machine
        machine.tick(self._clock.monotonic())
        await replica.save()
        if machine.must_renew and not machine.state.fenced:
            await self._renew()
        elif replica.is_new and replica.settings.first_role == "master":
            await self._begin()
        elif machine.owns and machine.current.epoch == self._passed_over:
            log.warning("pair.passed_over", epoch=str(self._passed_over))
            await replica.propose(Wish("restart"))
        elif follower := replica.to_restore(self._clock.monotonic()):
            wish = Wish("restore", follower=follower, min=replica.settings.copies)
            log.info("pair.restore", follower=follower)
            await replica.propose(wish)

    # -- the start -------------------------------------------------------------------------------

    async def _statuses(self) -> list[Status]:
        """What everybody says that answers within two seconds."""
        found: list[Status] = []
        naming = bodies.Naming(broker_name=self._replica.settings.broker_name)

        async def ask(target: Target) -> None:
            status = await self._ask(target, RequestCode.PAIR_STATUS, naming, Status)
            if status is not None:
                found.append(status)

        with trio.move_on_after(START_ASK_S):
            async with trio.open_nursery() as nursery:
                for target in self._targets:
                    nursery.start_soon(ask, target)
        return found

    async def _renew(self) -> None:
        """Rule 8: follow whoever owns now, else own in a new epoch."""
        replica, machine = self._replica, self._replica.machine
        statuses = await self._statuses()
        for record in sorted(records_in(statuses), key=lambda one: one.epoch):
            if record.epoch > replica.epoch and record.owner != replica.store_id:
                await replica.take_told(record)
        state = machine.state
        if machine.must_renew and state.promised == state.settled.epoch:
            # Above what others promised for a command that ended half way: they can follow again.
            above = max(
                (s.kept.promised.counter for s in statuses if s.kept is not None), default=0
            )
            await replica.propose(Wish("restart", above))
        else:
            machine.must_renew = False

    async def _begin(self) -> None:
        """The very first record of a name that a majority of the witnesses never heard of."""
        replica = self._replica
        statuses = await self._statuses()
        known = [record for record in records_in(statuses) if record.epoch > replica.epoch]
        if known:
            newest = max(known, key=lambda one: one.epoch)
            log.warning("pair.known", epoch=str(newest.epoch), reason="it is followed, not begun")
            await replica.take_told(newest)
            return
        blank = sum(status.witness and not status.forgot for status in statuses)
        needed = pair.majority(len(replica.settings.witnesses))
        if blank < needed:
            text = f"{blank} of {needed} nameservers answered that they know no such pair"
            raise Refused(ResponseCode.SERVICE_NOT_AVAILABLE, text)
        await replica.propose(Wish("first", min=replica.settings.copies))

    # -- questions -------------------------------------------------------------------------------

    async def _keep(self, target: Target) -> None:
        while True:
            wakes = self._replica.wakes
            for _ in range(ASKED_TWICE):
                if not self._may_ask(target) or not await self._round(target):
                    break
            with trio.move_on_after(self._beat_s):
                await wakes.wait()

    def _may_ask(self, target: Target) -> bool:
        machine = self._replica.machine
        if machine.state.proposed is not None and not self._replica.telling:
            return False
        return machine.may_tell_witnesses() if target.witness else machine.may_announce()

    async def _round(self, target: Target) -> bool:
        """Ask once, and tell where that is needed; whether to ask again at once."""
        replica, machine = self._replica, self._replica.machine
        record, sent = machine.current, self._clock.monotonic()
        name = replica.settings.broker_name
        question = bodies.Question(broker_name=name, epoch=record.epoch)
        verdict = await self._ask(target, RequestCode.PAIR_CONFIRM, question, bodies.Verdict)
        if verdict is None or machine.current.epoch != record.epoch:
            return False
        if verdict.yes:
            self._confirmed(target, verdict, record.epoch, sent)
            return False
        held = verdict.record
        if held is not None and held.epoch > record.epoch:
            await self._heard(held)
            return False
        if held is not None and held.epoch == record.epoch and not target.witness:
            return False  # it has taken it and not settled yet
        telling = bodies.Telling(broker_name=name, record=record)
        answer = await self._ask(target, RequestCode.PAIR_RECORD, telling, bodies.Verdict)
        if answer is None:
            return False
        if answer.yes:
            for hook in replica.on_taken if target.witness else ():
                hook(target.address)
            return True
        if answer.record is not None and answer.record.epoch > record.epoch:
            await self._heard(answer.record)
        elif target.witness and answer.record is not None:
            self._compare(record, answer.record)
        self.unanswered[target.address] = answer.why
        return False

    def _compare(self, record: Record, held: Record) -> None:
        """A witness keeps a lower record, below whose floor ours goes back.

        That was a proposal of the other member, which dropped it and confirmed ours. Witnesses
        would show nobody as master for ever; a record that starts from ours is above that floor.
        """
        machine = self._replica.machine
        if machine.owns and machine.current == record and record.epoch >= held.floor:
            self._passed_over = record.epoch
            self._replica.wake()

    def _confirmed(
        self, target: Target, verdict: bodies.Verdict, epoch: Epoch, sent: float
    ) -> None:
        machine, now = self._replica.machine, self._clock.monotonic()
        if target.witness:
            machine.witness_confirmed(target.address, epoch, sent, now)
        else:
            machine.member_confirmed(verdict.store_id, epoch, sent, now)
        if machine.unsaved is not None:
            self._replica.wake()

    async def _heard(self, record: Record) -> None:
        try:
            await self._replica.take_told(record)
        except Refused as refusal:
            log.warning("pair.refused", reason=refusal.remark)

    async def _ask(
        self, target: Target, code: RequestCode, asked: msgspec.Struct, kind: type[bodies.T]
    ) -> bodies.T | None:
        """The answer; None where there was none in time, or not one of ours."""
        address = target.address
        command = Command(code, body=bodies.encode(asked), serialize=Serialize.CBOR)
        problem = f"no answer within {self._beat_s:g} s"
        with trio.move_on_after(self._beat_s) as limit:
            try:
                answer = await self._client.call(address, command)
                if answer.code == ResponseCode.SUCCESS:
                    found = bodies.decode(answer.body, kind)
                    self.unanswered.pop(address, None)
                    return found
                problem = f"code {answer.code}: {answer.remark}"
            except (Unreachable, RemoteProtocolError) as error:
                problem = str(error)
        if limit.cancelled_caught:
            await self._client.drop(address)
        if self.unanswered.get(address) != problem:
            log.warning("pair.unanswered", address=address, problem=problem)
            self.unanswered[address] = problem
        return None


def records_in(statuses: list[Status]) -> list[Record]:
    """Every record that somebody else than its owner vouches for: settled, or at a witness."""
    settled = [status.kept.settled for status in statuses if status.kept is not None]
    return settled + [status.record for status in statuses if status.record is not None]
