"""When a send may be answered, and what readers may see: rule 6 and 7 of a pair.

    append ─▶ wait(end) ─▶ [ end, deadline, done ] ─▶ …         in the order of the log
    run ────▶ wait_run ──▶ one entry for all, answered in as many parts as acks cut it into
    own copy ────────┐
                     ├─ min ─▶ confirm ─▶ readers' bound, then every waiter at or below it
    slave's ack ─────┘

With `min_copies` 2 a message is confirmed when this copy and the other member's hold it, with 1
when this one does and the lease still holds. "Hold" is meant as the flush mode says: on disk, or in
memory. Waiters are in the log's order and all wait equally long, so that whoever is confirmed or
late stands in front: one look at the head, and nobody waits behind another's deadline.

Who is late is told the truth: 10 own disk, 11 nobody in sync, 12 the slave did not answer in time,
or the right to answer was gone. All three mean: stored, not known to be kept.
"""

from collections import deque
from collections.abc import Callable
from enum import IntEnum
from itertools import groupby
from typing import Final, NamedTuple, Protocol, final

import trio

from broker_trio.broker.replication.followers import Followers
from broker_trio.broker.replication.role import Role
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.histogram import PUT_SECONDS, Histogram
from broker_trio.runtime.seams import Clock
from broker_trio.store.commit_log import CommitLog
from broker_trio.store.replica import NO_BOUND

WAITERS_MAX: Final = 200_000


class Outcome(IntEnum):
    """What became of a waiter, as the answer's code says it."""

    OK = ResponseCode.SUCCESS
    NOT_FLUSHED = ResponseCode.FLUSH_DISK_TIMEOUT
    NO_SLAVE = ResponseCode.SLAVE_NOT_AVAILABLE
    SLAVE_LATE = ResponseCode.FLUSH_SLAVE_TIMEOUT


Done = Callable[[Outcome], None]
RunDone = Callable[[Outcome, int], None]
"""Told of the next so many messages of a run."""

REMARKS: Final = {
    Outcome.NOT_FLUSHED: "stored, but not known to be on disk within store.flush_timeout_ms",
    Outcome.NO_SLAVE: "stored here, but no slave is in sync to hold it too",
    Outcome.SLAVE_LATE: (
        "stored here, but no second copy was confirmed within replication.slave_timeout_ms, or "
        "this broker lost the right to confirm alone"
    ),
}


class Copy(Protocol):
    """This replica's store."""

    log: CommitLog
    bound: int

    @property
    def own_end(self) -> int: ...

    @property
    def is_sync(self) -> bool: ...

    @property
    def confirm_offset(self) -> int: ...

    def raise_bound(self, physical_end: int) -> None: ...


class Waiter(NamedTuple):
    """Somebody who answers some messages, each once it is confirmed."""

    end: int  # of the last one
    size: int  # of each, so that the one before ends at `end - size`
    messages: int
    deadline: float
    done: RunDone
    began: float

    @property
    def first_end(self) -> int:
        return self.end - self.size * (self.messages - 1)


@final
class Acks:
    """Waiters, confirm offset and the refusals in front of an append."""

    def __init__(
        self,
        store: Copy,
        role: Role,
        followers: Followers,
        clock: Clock,
        *,
        slave_timeout_s: float,
        flush_timeout_s: float,
    ) -> None:
        self._store, self._role, self._followers, self._clock = store, role, followers, clock
        self._slave_timeout_s, self._flush_timeout_s = slave_timeout_s, flush_timeout_s
        self._waiters: deque[Waiter] = deque()
        self.waiting_count = 0  # messages
        self._some = trio.Event()
        self._led = False
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.refused_no_slave = self.refused_role = 0
        self.waits_s = Histogram(PUT_SECONDS)  # for a second copy, until it confirmed or was late
        self.on_confirm: list[Callable[[], None]] = []
        self._confirmed = -1

    # -- in front of an append --------------------------------------------------------------------

    def check(self) -> None:
        """Rule 5, and no growth of a tail that nobody copies. Raises `Refused`."""
        now = self._clock.monotonic()
        refusal = self._role.may_write(now)
        if refusal is not None:
            self.refused_role += 1
            raise Refused(refusal.code, refusal.remark)
        if self._role.min_copies > 1:
            missing = self._followers.missing(self._store.log.max_offset, now)
            if missing >= self._slave_timeout_s:
                self.refused_no_slave += 1
                raise Refused(ResponseCode.SERVICE_NOT_AVAILABLE, self._no_slave(missing))
        if self.waiting_count >= WAITERS_MAX:
            raise Refused(
                ResponseCode.SYSTEM_BUSY,
                f"[OVERLOAD]{self.waiting_count} sends wait for a second copy, limit {WAITERS_MAX}",
            )

    def _no_slave(self, missing: float) -> str:
        attached = len(self._followers)
        what = f"{attached} attached, none in sync" if attached else "none is attached"
        return (
            f"SLAVE_NOT_AVAILABLE: two copies are needed and no slave has been in sync for "
            f"{missing:.1f} s ({what}); start it, or let this master go on alone: "
            "broker-trio degrade"
        )

    # -- waiting ----------------------------------------------------------------------------------

    @property
    def durability(self) -> str:
        """What an answer of OK says now."""
        if self._role.min_copies > 1:
            return "replicated_disk" if self._store.is_sync else "replicated"
        return "disk" if self._store.is_sync else "memory"

    @property
    def room(self) -> int:
        """How many more may wait."""
        return WAITERS_MAX - self.waiting_count

    def oldest_wait_s(self, now: float) -> float:
        """How long the first of those who wait has waited; 0 where nobody does."""
        return now - self._waiters[0].began if self._waiters else 0.0

    def wait(self, end: int, done: Done) -> None:
        """Call `done` once, later: when `end` is confirmed, or at the deadline of this mode."""
        self.wait_run(end, 1, 1, lambda outcome, _: done(outcome))

    def wait_run(self, end: int, size: int, count: int, done: RunDone) -> None:
        """The same for `count` messages of one size, the last of which ends at `end`.

        `done` is told the same as one waiter each would be, but of several at once where they end
        alike: a prefix that was confirmed never waits for the rest.
        """
        two = self._role.min_copies > 1
        timeout_s = self._slave_timeout_s if two else self._flush_timeout_s
        now = self._clock.monotonic()
        self._waiters.append(Waiter(end, size, count, now + timeout_s, done, now))
        self.waiting_count += count
        self._some.set()

    async def confirmed(self, end: int) -> Outcome:
        """The same for a task. Cancelled: nobody is told."""
        event, result = trio.Event(), [Outcome.SLAVE_LATE]

        def done(outcome: Outcome) -> None:
            result[0] = outcome
            event.set()

        self.wait(end, done)
        self.release()
        await event.wait()
        return result[0]

    # -- what moves the confirm offset ------------------------------------------------------------

    def release(self) -> None:
        """Something was written, flushed, acked or changed: raise the bound, answer who may be."""
        role, store = self._role, self._store
        if not role.owns:
            return
        if role.min_copies > 1:
            confirm = min(store.own_end, self._followers.held())
            if confirm > store.bound:
                store.raise_bound(confirm)
            self._answer(confirm)
        else:
            confirm = store.own_end
            if self._waiters and self._waiters[0].first_end <= confirm:
                alone = role.may_answer_alone(self._clock.monotonic())
                self._answer(confirm, Outcome.OK if alone else Outcome.SLAVE_LATE)
        if store.confirm_offset != self._confirmed:
            self._confirmed = store.confirm_offset
            role.confirm(self._confirmed)
            for tell in self.on_confirm:
                tell()

    def _answer(self, confirm: int, outcome: Outcome = Outcome.OK) -> None:
        """Everybody whose message ends at or before `confirm`."""
        waiters = self._waiters
        while waiters and waiters[0].end <= confirm:
            waiter = waiters.popleft()
            self._tell(waiter, outcome, waiter.messages)
        if waiters and waiters[0].first_end <= confirm:  # an ack in the middle of a run
            waiter = waiters[0]
            count = 1 + (confirm - waiter.first_end) // waiter.size
            waiters[0] = waiter._replace(messages=waiter.messages - count)
            self._tell(waiter, outcome, count)

    def _tell(self, waiter: Waiter, outcome: Outcome, count: int) -> None:
        self.outcomes[outcome] += count
        self.waiting_count -= count
        if self._role.min_copies > 1:
            self.waits_s.observe_many(self._clock.monotonic() - waiter.began, count)
        waiter.done(outcome, count)

    def role_changed(self) -> None:
        """Another epoch, or other copies: who waits in a lost one is told, readers keep theirs."""
        role, store = self._role, self._store
        if role.owns and role.min_copies == 1:
            store.raise_bound(NO_BOUND)
        elif store.bound == NO_BOUND:
            store.bound = store.confirm_offset  # what anybody has seen stays seen
        if role.leads and not self._led:
            self._followers.begin(self._clock.monotonic())
        self._led = role.leads
        if not role.leads:
            self._answer(NO_BOUND, Outcome.SLAVE_LATE)
        self.release()

    # -- deadlines --------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell who waited too long, until cancelled."""
        task_status.started()
        while True:
            if not self._waiters:
                self._some = trio.Event()
                await self._some.wait()
                continue
            await trio.sleep_until(self._waiters[0].deadline)
            self.expire()

    def expire(self) -> None:
        """Tell everybody whose deadline has come why."""
        now = self._clock.monotonic()
        while self._waiters and self._waiters[0].deadline <= now:
            waiter = self._waiters.popleft()
            ends = range(waiter.first_end, waiter.end + 1, waiter.size)
            for outcome, same in groupby([self._why(end, now) for end in ends]):
                self._tell(waiter, outcome, len(list(same)))

    def _why(self, end: int, now: float) -> Outcome:
        if self._role.min_copies == 1:
            late = self._store.own_end < end
            return Outcome.NOT_FLUSHED if late else Outcome.SLAVE_LATE
        if self._followers.held() >= end:
            return Outcome.NOT_FLUSHED
        in_sync = self._followers.look(self._store.log.max_offset, now)
        return Outcome.SLAVE_LATE if in_sync else Outcome.NO_SLAVE
