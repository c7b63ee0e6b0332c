"""The slaves that are attached, as their master sees them: how far, since when, in sync or not.

    ack ─▶ written, fsynced, settled          log end at an earlier ack ─▶ mark
                                              ack ≥ mark: it was level when the mark was made

A slave is *in sync* while its acks count (a settled member, in this epoch), it was level within the
last `slave_timeout_s`, and lacks less than `gap_bytes_max`. A slave under load is never quite level
with the log's end, but always soon with where that end was a moment ago.

Plain decisions over plain numbers; `now` is the monotonic clock.
"""

from typing import Final, final

from broker_trio.broker.replication.role import Role
from broker_trio.model.pair import Epoch, StoreId
from broker_trio.wire.replication import Ack

FOLLOWERS_MAX: Final = 8
PAIR_IDS_MAX: Final = 2  # replicas 1 and 2 are the pair, further ones are learners
NEVER: Final = float("-inf")


@final
class Follower:
    """One slave's connection."""

    def __init__(
        self, store_id: StoreId, replica_id: int, address: str, epoch: Epoch, now: float
    ) -> None:
        self.store_id, self.replica_id, self.address = store_id, replica_id, address
        self.epoch = epoch
        self.written = self.fsynced = 0
        self.settled = False
        self.attached_at = self.seen_at = self.moved_at = now
        self.level_at = NEVER
        self.sent_offset = self.sent_bytes = self.acks = 0
        self._mark_end, self._mark_at = -1, now
        self._moved_to = -1

    def problem(self, ack: Ack, log_end: int) -> str:
        """What makes an ack impossible; empty where it is possible."""
        if ack.store_id != self.store_id:
            return f"an ack of store {ack.store_id} on the connection of {self.store_id}"
        if ack.epoch != self.epoch:
            return f"an ack in epoch {Epoch(*ack.epoch)} on a connection in {self.epoch}"
        if ack.written > log_end:
            return f"an ack of {ack.written} bytes, the log ends at {log_end}"
        if ack.written < self.written or ack.fsynced < self.fsynced:
            return f"an ack of {ack.written} bytes after one of {self.written}"
        return ""

    def acked(self, ack: Ack, log_end: int, now: float) -> None:
        """Take a possible ack."""
        self.written, self.fsynced, self.settled = ack.written, ack.fsynced, ack.settled
        self.seen_at = now
        self.acks += 1
        if ack.written >= log_end:
            self.level_at = now
        elif self._mark_end >= 0 and ack.written >= self._mark_end:
            self.level_at = max(self.level_at, self._mark_at)
        if ack.written >= self._mark_end:
            self._mark_end, self._mark_at = log_end, now

    def held(self, *, fsynced: bool) -> int:
        return self.fsynced if fsynced else self.written

    def moved(self, held: int, log_end: int, now: float) -> None:
        """After an ack: `moved_at` is when it held more than before, or everything."""
        if held > self._moved_to or held >= log_end:
            self._moved_to, self.moved_at = held, now


@final
class Followers:
    """All of one master."""

    def __init__(
        self, role: Role, *, fsynced: bool, slave_timeout_s: float, gap_bytes_max: int
    ) -> None:
        """`fsynced`: an ack counts as far as it is on the slave's disk, not in its memory."""
        self._role, self._fsynced = role, fsynced
        self._timeout_s, self._gap_bytes_max = slave_timeout_s, gap_bytes_max
        self.table: dict[StoreId, Follower] = {}
        self._in_sync_at = NEVER  # when one was, as far as acks tell

    def __len__(self) -> int:
        return len(self.table)

    def is_spare(self, store_id: StoreId) -> bool:
        """Whether that slave is one beyond the two of the pair, by its replica id."""
        follower = self.table.get(store_id)
        return follower is not None and follower.replica_id > PAIR_IDS_MAX

    def refuse(self, store_id: StoreId, replica_id: int, now: float) -> str:
        """Why one more slave with these ids may not come in; empty = it may."""
        if len(self.table) >= FOLLOWERS_MAX and store_id not in self.table:
            return f"{len(self.table)} slaves are attached, limit {FOLLOWERS_MAX}"
        for other in self.table.values():
            if replica_id != other.replica_id and store_id != other.store_id:
                continue
            if now - other.seen_at < self._timeout_s:
                return (
                    f"replica id {replica_id}, store {store_id}: {other.address} is attached as "
                    f"replica id {other.replica_id}, store {other.store_id}"
                )
        return ""

    def counted(self) -> Follower | None:
        """The slave whose acks count now."""
        for follower in self.table.values():
            if (
                follower.settled
                and follower.epoch == self._role.epoch
                and self._role.counted(follower.store_id)
            ):
                return follower
        return None

    def held_by(self, follower: Follower) -> int:
        """Up to where a slave has the log, as the flush mode means it."""
        return follower.held(fsynced=self._fsynced)

    def acked(self, follower: Follower, ack: Ack, log_end: int, now: float) -> None:
        """Take a possible ack of one of them."""
        follower.acked(ack, log_end, now)
        follower.moved(self.held_by(follower), log_end, now)
        self.look(log_end, now)

    def held(self) -> int:
        """Up to where the counted slave has the log; -1 without one."""
        follower = self.counted()
        return -1 if follower is None else self.held_by(follower)

    def in_sync(self, follower: Follower, log_end: int, now: float) -> bool:
        """See the module's theory."""
        return (
            follower.settled
            and follower.epoch == self._role.epoch
            and self._role.counted(follower.store_id)
            and now - follower.level_at <= self._timeout_s
            and log_end - follower.written <= self._gap_bytes_max
        )

    def look(self, log_end: int, now: float) -> bool:
        """Whether one is in sync now; after each ack, so that it is known since when none is."""
        if any(self.in_sync(one, log_end, now) for one in self.table.values()):
            self._in_sync_at = now
            return True
        return False

    def begin(self, now: float) -> None:
        """This replica leads from now on: slaves get their time to come."""
        self._in_sync_at = now

    def missing(self, log_end: int, now: float) -> float:
        """Seconds for which no slave has been in sync; 0 while one is."""
        return 0.0 if self.look(log_end, now) else now - self._in_sync_at
