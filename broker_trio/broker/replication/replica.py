"""One replica at work: the machine's state on disk before its words, and what others are told.

    streams, send ──Role──▶ Replica ──▶ Machine (decides)
    requests, lease ───────▶   │
                               ├──▶ pair.cbor     fsynced before anything that depends on it
                               └──▶ on_change     streams end, the registrar registers again

`Role` (role.py) is what the data path sees of it. Everything that may make a record goes through
`propose`: appends are held, the log is fsynced to its end, then the record is made and kept.
"""

import errno
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol, final

import structlog
import trio

from broker_trio.broker.replication.machine import NEVER, Machine, Wish
from broker_trio.broker.replication.role import Claim
from broker_trio.broker.replication.state_file import STATE_PATH, save_state
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, RemoteProtocolError, StoreFailed
from broker_trio.model.pair import (
    NO_EPOCH,
    Epoch,
    EpochStart,
    Kept,
    Lag,
    Record,
    Status,
    StoreId,
    with_line,
)
from broker_trio.runtime.seams import Clock, Disk
from broker_trio.wire.bodies import pair as bodies

log = structlog.get_logger()

LEVEL_BYTES: Final = 4 << 20  # a follower that lacks less is level with its owner
SILENT_BEATS: Final = 1.5  # each heartbeat of a stream is acked; who does not is not restored
FOLLOWERS_MAX: Final = 16
RECORD_NAME: Final = "record"  # the name in front of a record that travels on a stream


class PairSettings(NamedTuple):
    """What a replica is told of its pair; addresses are remoting doors, host:port."""

    broker_name: str
    replica_id: int
    address: str
    peer: str
    witnesses: tuple[str, ...]
    first_role: str = "slave"  # "master" counts for the very first start of the name only
    mode: str = "sync"  # or "async"
    restore_after_s: float = 10.0
    others: tuple[str, ...] = ()  # replicas beyond the two

    @property
    def copies(self) -> int:
        """`min` of a record with two members."""
        return 2 if self.mode == "sync" else 1


class Log(Protocol):
    """What is asked of the store."""

    @property
    def max_offset(self) -> int: ...

    @property
    def flushed_offset(self) -> int: ...


class Follower:
    """A slave that is attached, as its acks tell."""

    __slots__ = ("fsynced_end", "heard_at", "level_since", "written_end")

    def __init__(self) -> None:
        self.written_end = self.fsynced_end = 0
        self.level_since: float | None = None
        self.heard_at = float("-inf")


@final
class Replica:
    """Implements `Role` over the machine.

    `make_durable` fsyncs the log to its end, at which nobody else appends meanwhile. Who owns a
    slave's stream, which appends, puts its own in place of the given one.
    """

    def __init__(
        self,
        machine: Machine,
        clock: Clock,
        disk: Disk,
        commit_log: Log,
        settings: PairSettings,
        make_durable: Callable[[], Awaitable[None]],
    ) -> None:
        self.machine, self.settings = machine, settings
        self._clock, self._disk, self._log = clock, disk, commit_log
        self.make_durable = make_durable
        self._saving = trio.Lock()
        self._proposing = trio.Lock()
        self._seen: tuple[object, ...] = ()
        self._acked: dict[StoreId, int] = {}  # fsynced ends in this epoch, also of who left
        self.followers: dict[StoreId, Follower] = {}
        state = machine.state
        self.telling = state.proposed is None or state.settled.owner == state.store_id
        self.confirm_offset = 0
        self.changes = 0  # of role, for metrics
        self.warning = ""  # a higher record that may not be taken: an alarm
        self.wakes: trio.Event = trio.Event()
        self._progress = trio.Event()
        self.on_change: list[Callable[[], None]] = []
        self.is_spare: Callable[[StoreId], bool] = lambda _store_id: False  # never to be counted
        self.lag: Callable[[], Lag | None] = lambda: None  # of the streams, for people
        self.lags: Callable[[float], tuple[Lag, ...]] = lambda _now: ()
        self.on_taken: list[Callable[[str], None]] = []  # which nameserver took our record

    # -- Role: what it is ------------------------------------------------------------------------

    @property
    def store_id(self) -> StoreId:
        return self.machine.store_id

    @property
    def leads(self) -> bool:
        return self.machine.may_announce()

    @property
    def owns(self) -> bool:
        return self.machine.owns

    @property
    def epoch(self) -> Epoch:
        return self.machine.state.promised

    @property
    def settled(self) -> Epoch:
        return self.machine.state.settled.epoch

    @property
    def members(self) -> tuple[StoreId, ...]:
        return self.machine.state.settled.members

    @property
    def min_copies(self) -> int:
        return self.machine.state.settled.min

    @property
    def record(self) -> bytes:
        told = bodies.Telling(broker_name=RECORD_NAME, record=self.machine.current)
        return bodies.encode(told)

    @property
    def epochs(self) -> tuple[EpochStart, ...]:
        state = self.machine.state
        if state.proposed is not None and self.leads:
            return with_line(state.epochs, EpochStart(state.proposed.epoch, state.proposed.start))
        return state.epochs

    def may_write(self, now: float) -> Refused | None:
        """Rule 5, in front of every append; None = yes."""
        refusal = self.machine.may_write(now)
        if refusal is not None and self.machine.unsaved is not None:
            self.wake()
        return refusal

    def may_answer_alone(self, now: float) -> bool:
        """Rule 6 for one copy."""
        return self.machine.may_answer_alone(now)

    def counted(self, store_id: StoreId) -> bool:
        """Rule 6 for two copies."""
        return self.machine.counted(store_id)

    # -- Role: as owner --------------------------------------------------------------------------

    def refuse_attach(self, claim: Claim) -> str:
        """Why this store may not follow now; "" = it may."""
        if not self.leads:
            return f"this replica is {self.machine.describe(self._clock.monotonic())}"
        if claim.store_id == self.store_id:
            return "it has this store's own id: a copied data folder? move its pair.cbor away"
        if claim.promised > self.epoch:
            self.warning = f"store {claim.store_id} promised epoch {claim.promised}"
            return f"it promised epoch {claim.promised}, this replica only {self.epoch}"
        if claim.store_id not in self.followers and len(self.followers) >= FOLLOWERS_MAX:
            return f"{FOLLOWERS_MAX} slaves follow already, limit {FOLLOWERS_MAX} (FOLLOWERS_MAX)"
        acked = self._acked.get(claim.store_id, 0)
        if claim.fsynced_end < acked:
            return (
                f"it acked {acked} bytes on disk in this epoch and has {claim.fsynced_end} now: "
                "its data was rolled back; move its pair.cbor away, it comes back as a learner"
            )
        return ""

    def followed(self, now: float, store_id: StoreId, written_end: int, fsynced_end: int) -> None:
        """A slave that is attached in this epoch has so much."""
        follower = self.followers.get(store_id)
        if follower is None:
            if len(self.followers) >= FOLLOWERS_MAX:
                return
            follower = self.followers[store_id] = Follower()
            self.wake()
        follower.written_end, follower.fsynced_end = written_end, fsynced_end
        follower.heard_at = now
        if self.machine.counted(store_id):
            self._acked[store_id] = max(fsynced_end, self._acked.get(store_id, 0))
        if self._log.max_offset - fsynced_end > LEVEL_BYTES:
            follower.level_since = None
        elif follower.level_since is None:
            follower.level_since = now

    def left(self, now: float, store_id: StoreId) -> None:
        """The slave's connection ended."""
        del now
        self.followers.pop(store_id, None)

    def confirm(self, offset: int) -> None:
        """Everything before it has the copies that the record asks for."""
        self.confirm_offset = max(self.confirm_offset, offset)

    @property
    def candidate(self) -> StoreId:
        """Who follows and may be made to count, level or not; "" where nobody is."""
        return next((one for one in self.followers if not self.is_spare(one)), "")

    def to_restore(self, now: float) -> StoreId:
        """Whose copy should be made to count: level for long enough, and a lease is sure. Or "".

        One that is silent is asked for nothing: with its copy counted nothing could be written.
        """
        machine, record = self.machine, self.machine.state.settled
        if not machine.owns or len(record.members) != 1 or machine.state.fenced:
            return ""
        if machine.witnesses_until <= now:
            return ""
        after_s = 0.0 if record.min == 2 else self.settings.restore_after_s
        silent_s = SILENT_BEATS * machine.timing.heartbeat_s
        for store_id, follower in self.followers.items():
            if self.is_spare(store_id) or now - follower.heard_at > silent_s:
                continue
            if follower.level_since is not None and now - follower.level_since >= after_s:
                return store_id
        return ""

    # -- Role: as slave --------------------------------------------------------------------------

    async def take(self, record: bytes) -> str:
        """Rule 1 with the owner's record, as it came on its stream."""
        try:
            told = bodies.decode(record, bodies.Telling).record
        except RemoteProtocolError as error:
            return str(error)
        why = self.machine.follow(told, log_end=self._log.max_offset)
        try:
            await self.save()
        except Refused as refusal:
            return refusal.remark
        if not why and self.machine.following != told:
            return f"epoch {self.epoch} was promised meanwhile"
        return why

    async def persisted(self) -> None:
        """What was decided before is on disk. Raises `Refused`, `StoreFailed`."""
        await self.save()

    async def cut(self, physical_end: int) -> None:
        """The log was cut there."""
        self.machine.cut(physical_end)
        await self.save()

    async def entered(self, line: EpochStart) -> None:
        """The bytes that come next are of this epoch."""
        self.machine.entered(line)
        await self.save()

    async def level(self, fsynced_end: int) -> None:
        """The log is durable up to there."""
        progress, self._progress = self._progress, trio.Event()
        progress.set()
        if self.machine.level(fsynced_end):
            await self.save()

    async def reached(self, end: int) -> None:
        """Return once the log of this slave is durable up to there; no timeout."""
        while self._log.flushed_offset < end:
            await self._progress.wait()

    def may_ack(self, epoch: Epoch) -> bool:
        """Rule 11."""
        return self.machine.may_ack(epoch)

    # -- records ---------------------------------------------------------------------------------

    async def take_told(self, record: Record) -> str:
        """A record that came by request, or was found elsewhere; durable when it returns."""
        why = self.machine.take(record, log_end=self._log.max_offset)
        if why and record.epoch > self.epoch:
            self.warning = why
            log.error("pair.higher_record", epoch=str(record.epoch), reason=why)
        await self.save()
        return why

    async def propose(self, wish: Wish) -> Record:
        """Make the next record, on disk when it returns. Raises `Refused`, `StoreFailed`."""
        async with self._proposing:
            self.machine.hold(held=True)
            try:
                await self.make_durable()
                record = self.machine.propose(wish, log_end=self._log.max_offset)
                self.warning, self.telling = "", True
            finally:
                self.machine.hold(held=False)
            await self.save()
            self.wake()
            return record

    # -- the state file --------------------------------------------------------------------------

    async def save(self) -> None:
        """Return once all that was decided before is on disk. Raises `Refused`, `StoreFailed`."""
        if self.machine.unsaved is not None:
            async with self._saving:
                while (state := self.machine.unsaved) is not None:
                    with trio.CancelScope(shield=True):
                        await self._write(state)
                    self.machine.saved(state)
                    self.machine.tick(self._clock.monotonic())
        self.look()

    async def _write(self, state: Kept) -> None:
        path = f"{self._disk.root}/{STATE_PATH}"
        try:
            await save_state(self._disk, state)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                self.machine.revert()
                text = f"no space for {path}"
                raise Refused(ResponseCode.SYSTEM_ERROR, text) from error
            raise StoreFailed(f"{path}: {error}") from error

    def look(self) -> None:
        """Tell whoever hooked in, if role, epoch, members or `min` are not as they were."""
        machine = self.machine
        state = machine.state
        seen = (machine.leads, self.owns, state.promised, state.settled, state.fenced)
        if seen == self._seen:
            return
        first = not self._seen
        self._seen = seen
        self._acked.clear()
        for follower in self.followers.values():
            follower.level_since = None
        if not first:
            self.changes += 1
        now = self._clock.monotonic()
        log.warning(
            "pair.changed",
            state=machine.describe(now),
            epoch=str(state.promised),
            settled=str(state.settled.epoch),
            members=len(state.settled.members),
            min=state.settled.min,
        )
        for hook in self.on_change:
            hook()
        self.wake()

    def wake(self) -> None:
        """Something is to be asked or written now: whoever waits for `wakes` goes on."""
        wakes, self.wakes = self.wakes, trio.Event()
        wakes.set()

    # -- what people see -------------------------------------------------------------------------

    def status(self) -> Status:
        """Everything durable, and how it stands now."""
        machine, settings, now = self.machine, self.settings, self._clock.monotonic()
        member = machine.state.settled.other(self.store_id)
        who = member if member in self.followers else self.candidate
        follower = self.followers.get(who)
        left = machine.lease_until - now if machine.leads else NEVER
        waits = 0.0 if machine.active_at is None else machine.active_at - now
        return Status(
            broker_name=settings.broker_name,
            kept=machine.kept,
            replica_id=settings.replica_id,
            address=settings.address,
            peer=settings.peer,
            witnesses=machine.witnesses,
            mode=settings.mode,
            state=machine.describe(now),
            paused=machine.paused_until > now,
            lease_ms=int(min(max(left, 0.0), 3_600.0) * 1_000),
            wait_ms=int(max(waits, 0.0) * 1_000),
            log_end=self._log.max_offset,
            durable_end=self._log.flushed_offset,
            confirm_offset=self.confirm_offset,
            lag=self.lag(),
            slaves=self.lags(now) if machine.leads else (),
            follower=who,
            level=follower is not None and follower.level_since is not None,
            warning=self.warning,
        )

    @property
    def known_record(self) -> Record | None:
        """The settled record; None where there never was one."""
        settled = self.machine.kept.settled
        return None if settled.epoch == NO_EPOCH else settled

    @property
    def is_new(self) -> bool:
        """Whether this store never was in a pair."""
        state = self.machine.state
        return state.settled.epoch == state.promised == NO_EPOCH and state.proposed is None
