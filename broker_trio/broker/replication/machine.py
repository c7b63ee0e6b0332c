"""One replica's part in its pair, decided: events in with `now`, state and permissions out. Pure.

                    propose                       first lease (+ wait)
      following ───────────────▶ proposing ─────────────────────────────▶ owner
          ▲                          │                                      │
          └────── take (rule 1) ─────┴──────────── take (rule 1) ───────────┘

The rules (failover.md §3, in docs/operating/promises.md) are methods here: one promise, one
proposal, one lease. What `state` says must be on disk before anybody may act on it: while `unsaved`
is not None nothing is written, acked, confirmed or announced, so that only restrictions come early.

    machine.take(record, …)           an event: at once, or `Refused`
    while (state := machine.unsaved) is not None:
        await save(state)
        machine.saved(state)          only now may an answer leave

Times are seconds on the monotonic clock of this process; a lease counts from the moment that the
question left, which the asker remembers itself.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from broker_trio.model import pair
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.pair import (
    NO_EPOCH,
    Epoch,
    EpochStart,
    Kept,
    Record,
    Risk,
    StoreId,
)

NEVER: Final = float("-inf")
PAUSE_S_MAX: Final = 10.0
SKEW: Final = 1.02  # clocks of two hosts may run 2 % apart

Want = Literal["first", "promote", "restart", "degrade", "restore", "handover", "force"]


class Timing(NamedTuple):
    """Seconds. A wait is long enough that every lease given before it began has run out."""

    lease_s: float = 6.0
    heartbeat_s: float = 1.0

    @property
    def wait_s(self) -> float:
        return self.lease_s * SKEW + self.heartbeat_s


class Wish(NamedTuple):
    """What a record is wanted for. `above`: the highest counter that the asker has seen."""

    want: Want
    above: int = 0
    follower: StoreId = ""  # restore: whose copy is to count
    min: int = 2  # first, restore: copies for SEND_OK
    risk: Risk | None = None  # force


class Machine:
    """One replica. `state` is what it decided, `kept` what of it is known to be on disk."""

    def __init__(self, kept: Kept, timing: Timing, witnesses: Sequence[str]) -> None:
        self.kept = self.state = kept
        self.timing, self.witnesses = timing, tuple(dict.fromkeys(witnesses))
        self.must_renew = self._must_renew()
        self.paused_until = NEVER
        self.held = False  # while a record is being made
        self.following: Record | None = None  # the owner's record, under which its bytes come
        self.agreed = False  # the other member confirmed the current epoch (handover)
        self._witness_sent: dict[str, float] = {}
        self._member_sent = NEVER
        self.active_at: float | None = None
        self._writable_until = NEVER
        self.unleased: Epoch | None = None  # an operator said that the other host is off

    # -- what it is ------------------------------------------------------------------------------

    @property
    def store_id(self) -> StoreId:
        return self.state.store_id

    @property
    def current(self) -> Record:
        return self.state.current

    @property
    def unsaved(self) -> Kept | None:
        return None if self.state is self.kept else self.state

    def saved(self, state: Kept) -> None:
        """This is on disk now, or something newer is."""
        self.kept = state

    @property
    def leads(self) -> bool:
        """Owner of the newest record, a proposal too: slaves may attach to it."""
        state = self.state
        return (
            state.current.owner == state.store_id
            and state.current.epoch == state.promised
            and not self.must_renew
            and not state.fenced
        )

    @property
    def owns(self) -> bool:
        """Owner of a settled record that is on disk (rule 5, but for the lease)."""
        return self.leads and self.state.proposed is None and self.unsaved is None

    @property
    def is_member(self) -> bool:
        return pair.is_member(self.store_id, self.state.settled)

    # -- rule 1, 2: taking a record --------------------------------------------------------------

    def take(self, record: Record, *, log_end: int) -> str:
        """Take a record of another store; the reason where it is not taken, "" where it is held.

        `log_end`: where this log ends now. A handover counts only at exactly its start (§5).
        """
        state = self.state
        if record.epoch == state.promised:
            return ""
        if record.owner == state.store_id:
            return f"epoch {record.epoch} is said to be of this very store, which never made it"
        why = pair.why_not(record, state.settled, state.promised)
        if why:
            return why
        member = pair.is_member(state.store_id, record)
        if record.handover and member and record.start != log_end:
            return f"the handover begins at {record.start}, but this log ends at {log_end}"
        self._change(promised=record.epoch, proposed=None)
        self._forget()
        return ""

    def follow(self, record: Record, *, log_end: int) -> str:
        """Rule 10, first step: the owner's record, as it says itself on its connection."""
        why = self.take(record, log_end=log_end)
        if not why and self.following != record:
            self.following = record
        return why

    def detached(self) -> None:
        """The owner's connection ended."""
        self.following = None

    def level(self, durable_end: int) -> bool:
        """Rule 11: settle what is followed, if that may be; whether the record changed."""
        record, state = self.following, self.state
        if record is None or record.epoch != state.promised or state.settled.epoch == record.epoch:
            return False
        if not pair.is_member(state.store_id, record):
            return False
        if state.settled.epoch < record.floor and durable_end < record.start:
            return False
        self._change(settled=record)
        self.must_renew = False
        return True

    def entered(self, line: EpochStart) -> None:
        """Bytes of this epoch come next."""
        if line not in self.state.epochs:
            self._change(epochs=pair.with_line(self.state.epochs, line))

    def cut(self, physical_end: int) -> None:
        """The log was cut."""
        left = pair.cut_lines(self.state.epochs, physical_end)
        if left != self.state.epochs:
            self._change(epochs=left)

    # -- rule 4: leases --------------------------------------------------------------------------

    def confirms(self, epoch: Epoch) -> bool:
        """As a member: whether exactly this epoch is settled here, and nothing higher promised."""
        state = self.state
        return (
            self.unsaved is None
            and state.settled.epoch == epoch == state.promised
            and state.proposed is None
            and self.is_member
        )

    def may_ack(self, epoch: Epoch) -> bool:
        """Rule 11: only a settled member that follows in this epoch acks."""
        following = self.following
        return self.confirms(epoch) and following is not None and following.epoch == epoch

    def witness_confirmed(self, witness: str, epoch: Epoch, sent: float, now: float) -> None:
        """A witness has exactly this epoch; the question left at `sent`."""
        if self.leads and epoch == self.current.epoch and witness in self.witnesses:
            self._witness_sent[witness] = max(sent, self._witness_sent.get(witness, NEVER))
            self.tick(now)

    def member_confirmed(self, store_id: StoreId, epoch: Epoch, sent: float, now: float) -> None:
        """The other member settled exactly this epoch and promised nothing higher."""
        other = self.current.other(self.store_id)
        if self.leads and epoch == self.current.epoch and other and store_id == other:
            self._member_sent = max(sent, self._member_sent)
            self.agreed = True
            self.tick(now)

    @property
    def witnesses_until(self) -> float:
        """When the lease of a majority of the witnesses ends."""
        return self._majority_sent() + self.timing.lease_s

    @property
    def lease_until(self) -> float:
        """When the lease ends; in the past where there is none."""
        if self.unleased is not None and self.unleased == self.current.epoch:
            return float("inf")
        return max(self._member_sent + self.timing.lease_s, self.witnesses_until)

    def _majority_sent(self) -> float:
        """The youngest time from which on a majority of the witnesses confirmed."""
        needed = pair.majority(len(self.witnesses))
        times = sorted(self._witness_sent.values(), reverse=True)
        return times[needed - 1] if len(times) >= needed else NEVER

    # -- rule 3, 12: a proposal comes into force -------------------------------------------------

    def tick(self, now: float) -> None:
        """Let time act: a proposal settles, a pause ends."""
        self._writable_until = NEVER
        if not self.leads or self.unsaved is not None or now >= self.lease_until:
            return
        if self.active_at is None:
            self.active_at = now + self._wait_s()
        if now < self.active_at:
            return
        proposed = self.state.proposed
        if proposed is not None:
            line = EpochStart(proposed.epoch, proposed.start)
            epochs = pair.with_line(self.state.epochs, line)
            self._change(settled=proposed, proposed=None, epochs=epochs)
        elif now >= self.paused_until and not self.held:
            self._writable_until = self.lease_until

    def _wait_s(self) -> float:
        """Rule 12: none where the other member agreed, or an operator says that it is off."""
        by_witnesses = not self.agreed and self.unleased is None
        return self.timing.wait_s if self.current.wait and by_witnesses else 0.0

    # -- rule 5, 6: writing ----------------------------------------------------------------------

    def may_write(self, now: float) -> Refused | None:
        """Rule 5, in front of every append; None = yes."""
        if now < self._writable_until:
            return None
        self.tick(now)
        return None if now < self._writable_until else self.refusal(now)

    def may_answer_alone(self, now: float) -> bool:
        """Rule 6 for `min` 1: whether the lease still holds; a pause does not matter."""
        active_at = self.active_at
        return (
            self.owns
            and self.state.settled.min == 1
            and now < self.lease_until
            and active_at is not None
            and now >= active_at
        )

    def counted(self, store_id: StoreId) -> bool:
        """Rule 6 for `min` 2: whether this store's acks count, in the epoch promised now."""
        other = self.state.settled.other(self.store_id)
        return self.owns and bool(other) and store_id == other

    def refusal(self, now: float) -> Refused:
        """Why nothing may be written now, with the code that clients retry on."""
        state = self.state
        code = ResponseCode.SERVICE_NOT_AVAILABLE
        if state.fenced:
            return Refused(code, "this broker is fenced by an operator: broker-trio pair rejoin")
        if not self.leads:
            text = f"this broker is {self.describe(now)}, not the master (epoch {state.promised})"
            return Refused(ResponseCode.NO_PERMISSION, text)
        if state.proposed is not None or self.unsaved is not None:
            return Refused(code, f"epoch {self.current.epoch} is proposed and not yet in force")
        if self.held:
            return Refused(code, "a record of the pair is being made")
        if now < self.paused_until:
            return Refused(code, f"paused for a switchover, {self.paused_until - now:.1f} s left")
        return Refused(code, self._no_lease())

    def _no_lease(self) -> str:
        other = self.current.other(self.store_id)
        need = pair.majority(len(self.witnesses))
        either = f"nor the other member ({other[:8]}) " if other else ""
        return (
            f"no lease: neither {need} of {len(self.witnesses)} nameservers {either}"
            f"confirmed epoch {self.current.epoch} within {self.timing.lease_s:g} s"
        )

    # -- making a record (§5) --------------------------------------------------------------------

    def propose(self, wish: Wish, *, log_end: int) -> Record:
        """The next record of this store; the log must be on disk up to `log_end`.

        Asked again for what is proposed already, it is that proposal. Raises `Refused` where this
        store may not make such a record; nothing is changed then.
        """
        self._check(wish)
        record = self._record(wish, log_end)
        proposed = self.state.proposed
        if proposed is not None and _same(proposed, record, wish.above):
            return proposed
        self._change(proposed=record, promised=record.epoch)
        self._forget()
        self.must_renew = False
        return record

    def _check(self, wish: Wish) -> None:
        state, settled = self.state, self.state.settled
        if state.fenced:
            raise refuse("it is fenced: broker-trio pair rejoin first")
        match wish.want:
            case "first" if settled.epoch != NO_EPOCH:
                raise refuse(f"it is in a pair already, epoch {settled.epoch}")
            case "promote" | "restart" | "handover" if not self.is_member:
                raise refuse(f"it is no member of epoch {settled.epoch}, which it settled last")
            case "degrade" | "restore":
                self._check_owner(wish)
            case "force" if wish.risk is None:
                raise refuse("a forced record names who accepts the loss, and why")

    def _check_owner(self, wish: Wish) -> None:
        proposed = self.state.proposed
        shape = self._shape(wish)
        unfinished = proposed is not None and shape != (proposed.members, proposed.min)
        if not self.leads or self.unsaved is not None:
            raise refuse("it is not the master")
        if unfinished:
            assert proposed is not None
            raise refuse(f"epoch {proposed.epoch} is proposed and not in force: finish it first")
        settled = self.state.settled
        if wish.want == "restore" and proposed is None and len(settled.members) != 1:
            raise refuse(f"epoch {settled.epoch} has two members already: degrade first")
        if wish.want == "restore" and wish.follower in {"", self.store_id}:
            raise refuse("nobody follows whose copy could count")

    def _shape(self, wish: Wish) -> tuple[tuple[StoreId, ...], int]:
        """Members and `min` of the wanted record."""
        settled, me = self.state.settled, self.store_id
        match wish.want:
            case "first":
                return (me,), wish.min
            case "degrade" | "force":
                return (me,), 1
            case "restore":
                return (me, wish.follower), wish.min
        return settled.members, settled.min

    def _record(self, wish: Wish, log_end: int) -> Record:
        state, settled = self.state, self.state.settled
        members, least = self._shape(wish)
        proposed = 0 if state.proposed is None else state.proposed.epoch.counter
        counter = max(state.promised.counter, settled.epoch.counter, proposed, wish.above) + 1
        epoch = Epoch(counter, state.store_id)
        own_floor = least == 1 or wish.want in {"first", "restore", "force"}
        changes_owner = settled.owner not in {"", state.store_id}
        wait = wish.want == "force" or (
            changes_owner and settled.min == 1 and wish.want in {"promote", "handover"}
        )
        return Record(
            epoch=epoch,
            members=members,
            min=least,
            floor=epoch if own_floor else settled.floor,
            prev=self._prev(),
            start=log_end,
            wait=wait,
            handover=wish.want == "handover",
            risk=wish.risk if wish.want == "force" else None,
        )

    def _prev(self) -> Epoch:
        """Rule 3: the settled epoch, never a proposed one."""
        return self.state.settled.epoch

    def may_announce(self) -> bool:
        """Whether the current record may be told at all: it is ours, and on disk."""
        return self.leads and self.unsaved is None

    def may_tell_witnesses(self) -> bool:
        """Rule 14: a handover is told to witnesses once the old owner agreed."""
        record = self.current
        first_to_member = record.handover and self.state.proposed is not None
        return self.may_announce() and (not first_to_member or self.agreed)

    # -- orders ----------------------------------------------------------------------------------

    def pause(self, now: float, seconds: float = PAUSE_S_MAX) -> None:
        """Switchover, step 1: write nothing for a while. `Refused` where it is no master."""
        if not self.owns:
            raise refuse(f"it is {self.describe(now)}: only the master can be paused")
        self.paused_until = now + min(seconds, PAUSE_S_MAX)
        self._writable_until = NEVER

    def resume(self) -> None:
        """End a pause before its time."""
        self.paused_until = NEVER

    def hold(self, *, held: bool) -> None:
        """Write nothing while the log is brought to the disk for a record."""
        self.held = held
        self._writable_until = NEVER

    def revert(self) -> None:
        """What is not on disk cannot be brought there: it never was decided.

        Nobody heard of it. An owner goes on in a new epoch only (rule 8), as after a restart.
        """
        self.state = self.kept
        self.must_renew = self._must_renew()
        self._writable_until = NEVER
        self._forget()

    def fence(self, *, fenced: bool) -> None:
        """Own nothing until told otherwise; removes abilities only."""
        if fenced != self.state.fenced:
            self._change(fenced=fenced)
            self._forget()

    def write_without_lease(self) -> None:
        """`--fenced HOST`: the operator answers for it that nobody else writes."""
        self.unleased = self.current.epoch

    # -- inside ----------------------------------------------------------------------------------

    def _must_renew(self) -> bool:
        """Rule 8: an owner that starts again never goes on in the same epoch."""
        state = self.state
        return state.proposed is None and state.settled.owner == state.store_id

    def _change(self, **members: object) -> None:
        self.state = msgspec.structs.replace(self.state, **members)
        self._writable_until = NEVER

    def _forget(self) -> None:
        """What held for one epoch only, and what holds of an owner only."""
        self._witness_sent.clear()
        self._member_sent = NEVER
        self.active_at = None
        self.agreed = False
        if self.following is not None and self.following.epoch != self.state.promised:
            self.following = None  # else its stream goes on, and so does what it is
        self.paused_until = NEVER
        self.unleased = None

    def describe(self, now: float) -> str:
        """The state of failover.md §4, in the words that people see."""
        state = self.state
        if state.fenced:
            return "fenced"
        if state.settled.epoch == NO_EPOCH and state.proposed is None and self.following is None:
            return "new"
        if state.proposed is not None:
            return "proposing"
        if state.settled.owner == state.store_id and state.settled.epoch == state.promised:
            return self._describe_owner(now)
        if self.following is not None:
            if not pair.is_member(state.store_id, self.following):
                return "learner"
            return "slave" if self.kept.settled.epoch == state.promised else "catching up"
        return "detached"

    def _describe_owner(self, now: float) -> str:
        if self.unsaved is not None:
            return "proposing"
        if self.must_renew:
            return "restarted owner"
        if now >= self.lease_until:
            return "owner, no lease"
        return "owner, paused" if now < self.paused_until else "owner"


def _same(proposed: Record, wanted: Record, above: int) -> bool:
    """Whether a rerun may finish this proposal instead of making another."""
    return (
        proposed.epoch.counter >= above
        and proposed.members == wanted.members
        and proposed.min == wanted.min
        and proposed.handover == wanted.handover
        and proposed.forced == wanted.forced
        and proposed.prev == wanted.prev
    )


def refuse(why: str) -> Refused:
    """The refusal of an order to this replica; nothing was changed."""
    return Refused(ResponseCode.ILLEGAL_OPERATION, f"this replica cannot do that: {why}")
