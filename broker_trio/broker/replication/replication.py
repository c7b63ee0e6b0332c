"""The bytes of a pair, put together: acks, the door for slaves, the search for a master.

    role.on_change ─▶ acks, master, slave, delay levels       who writes, who follows, who delivers
    store progress ─▶ acks, master, slave                     answers, chunks, acks
    Store.guard    ─▶ acks.check                              nothing is appended without the right

What readers may see survives a restart in `broker_trio/confirmed.cbor`, a moment old: recovery
dispatches all that the log holds, and what was not confirmed by then is hidden again.
"""

import errno
from collections.abc import Callable, Sequence
from typing import Final, Protocol, final

import msgspec
import structlog
import trio

from broker_trio.broker.replication.acks import Acks
from broker_trio.broker.replication.common import end_of
from broker_trio.broker.replication.followers import NEVER, Followers
from broker_trio.broker.replication.line import Who
from broker_trio.broker.replication.master import Master
from broker_trio.broker.replication.metadata_sync import Tables
from broker_trio.broker.replication.refusals import Refusals
from broker_trio.broker.replication.role import Role
from broker_trio.broker.replication.slave import Slave
from broker_trio.broker.replication.streaming import Streaming, StreamStats
from broker_trio.model.errors import StoreFailed
from broker_trio.model.pair import Lag
from broker_trio.model.route import MASTER_ID
from broker_trio.runtime.seams import Clock, Disk, Entropy, Listener, Network
from broker_trio.runtime.supervise import Service
from broker_trio.store import snapshot
from broker_trio.store.store import Store

CONFIRMED_PATH: Final = "broker_trio/confirmed.cbor"
SAVE_S: Final = 1.0

log = structlog.get_logger("replication")


class Confirmed(msgspec.Struct, frozen=True):
    """Readers have seen at most this much of the log, a moment ago."""

    offset: int


class Delivery(Protocol):
    """The delay levels' task."""

    def set_active(self, *, active: bool) -> None: ...


@final
class Replication:
    """One broker's side of its pair. `address` is the bound one once `services` run."""

    def __init__(
        self,
        store: Store,
        role: Role,
        tables: Tables,
        delivery: Delivery,
        clock: Clock,
        disk: Disk,
        network: Network,
        entropy: Entropy,
        streaming: Streaming,
        who: Callable[[], Who],
        key: bytes,
        peers: Sequence[str],
        listen: str | Listener,
        *,
        flush_timeout_s: float,
    ) -> None:
        """`peers`: the other replicas' replication doors; `listen`: this one's."""
        self._store, self._disk, self._network = store, disk, network
        self._clock, self._delivery, self._listen = clock, delivery, listen
        self.role, self.streaming = role, streaming
        self.address = "" if isinstance(listen, str) else listen.address
        self.stats, self.refusals = StreamStats(), Refusals()
        self.replica = store.replica()
        self.followers = Followers(
            role,
            fsynced=store.is_sync,
            slave_timeout_s=streaming.slave_timeout_s,
            gap_bytes_max=streaming.gap_bytes_max,
        )
        self.acks = Acks(
            store,
            role,
            self.followers,
            clock,
            slave_timeout_s=streaming.slave_timeout_s,
            flush_timeout_s=flush_timeout_s,
        )
        shared = (who, key)
        self._who = who
        self.master = Master(
            store, self.replica, role, self.acks, self.followers, tables, clock, entropy,
            streaming, *shared, self.refusals, self.stats,
        )  # fmt: skip
        self.slave = Slave(
            store, self.replica, role, tables, clock, network, entropy,
            streaming, *shared, peers, self.refusals, self.stats,
        )  # fmt: skip
        self._offsets, self._topics = tables.offsets, tables.topics
        self._saved, self._closed = -1, False

    async def open(self) -> None:
        """Hide what was not confirmed, and take the part that the role says. Before any door."""
        known = snapshot.load(self._disk, CONFIRMED_PATH, Confirmed)
        if known is not None:
            self._saved = known.offset
            hidden = await self.replica.hide_from(known.offset)
            log.info("replication.opened", confirmed=known.offset, hidden=hidden)
        self._hold_offsets()
        self._store.guard(self.acks.check)
        self._store.on_progress = self._progressed
        self.acks.on_confirm.append(self.master.progressed)
        self.role.on_change.append(self._role_changed)
        self._role_changed()

    def _hold_offsets(self) -> None:
        """The file of the offsets may be older than the log: what came in the place of bytes that
        were cut must not be skipped."""
        log_end = self._store.log.max_offset
        end = end_of(self._offsets.epoch, self.role.epochs, log_end)
        self._offsets.clamp(self.replica.ends_before(end))

    def services(self) -> tuple[Service, ...]:
        """What runs while the broker does."""
        return (self.acks.run, self._serve, self.slave.run, self._keep_confirmed)

    async def make_durable(self) -> None:
        """The log on disk to its end, and nobody appends to it for a moment: before a record.

        Its owner holds its own appends; what comes from a master is stopped here. Raises
        `StoreFailed`.
        """
        log_ = self._store.log
        await self.slave.hold()
        try:
            self._store.write_out()
            await self.replica.flushed(log_.max_offset)
        finally:
            self.slave.let_go()
        assert log_.flushed_offset == log_.max_offset, "something was appended to a log held still"

    # -- news -------------------------------------------------------------------------------------

    def _progressed(self) -> None:
        store = self._store
        appended = store.stats.appended_count + self.replica.appended_count
        self.master.counts.note(store.log.written_offset, appended)
        self.acks.release()
        self.master.progressed()
        self.slave.progressed()

    def _know_topics(self) -> None:
        """Whoever leads has a topic for each message of its log."""
        self._topics.restore(self._store.queues.held_topics())

    def _role_changed(self) -> None:
        role = self.role
        if role.leads:
            self._know_topics()
        self.acks.role_changed()
        self.master.role_changed()
        self.slave.role_changed()
        self._delivery.set_active(active=role.owns)
        if role.leads:  # nobody else appends to this log from here on
            self._offsets.enter(role.epoch, self._store.queues.next_offset)

    # -- tasks ------------------------------------------------------------------------------------

    async def _serve(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        listener = self._listen
        if isinstance(listener, str):
            listener = await self._network.listen(listener)
        self.address = listener.address
        task_status.started()
        await trio.serve_listeners(self.master.handle, [listener])

    async def _keep_confirmed(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await self._save()
        task_status.started()
        while True:
            await trio.sleep(SAVE_S)
            await self._save()

    async def _save(self) -> None:
        offset = self._store.confirm_offset
        if offset == self._saved or self._closed:
            return
        try:
            await snapshot.save(self._disk, CONFIRMED_PATH, Confirmed(offset))
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise StoreFailed(f"{self._disk.root}/{CONFIRMED_PATH}: {error}") from error
        else:
            self._saved = offset

    async def close(self) -> None:
        """Before the store stops, which shows everything to write it down."""
        await self._save()
        self._closed = True

    # -- readers ----------------------------------------------------------------------------------

    def readable_at(self, now: float) -> int:
        """The replica id of a slave that is in sync, for readers far behind; 0 without one."""
        end = self._store.log.max_offset
        for follower in self.followers.table.values():
            if self.followers.in_sync(follower, end, now):
                return follower.replica_id
        return MASTER_ID

    # -- what people see --------------------------------------------------------------------------

    @property
    def lag(self) -> Lag | None:
        """This slave's own; None on a master or without a source."""
        if self.slave.source is None:
            return None
        return Lag(
            replica_id=self._who().replica_id,
            bytes=self.lag_bytes,
            messages=self.lag_messages,
            ms=int(self.lag_seconds * 1_000),
        )

    def lags(self, now: float) -> tuple[Lag, ...]:
        """Of the slaves that are attached here."""
        end, result = self._store.log.max_offset, []
        for one in self.followers.table.values():
            held = self.followers.held_by(one)
            lacks = max(0, end - held)
            since = one.level_at if one.level_at > NEVER else one.attached_at
            result.append(
                Lag(
                    replica_id=one.replica_id,
                    bytes=lacks,
                    messages=self.master.counts.between(held, end),
                    ms=int((now - since) * 1_000) if lacks else 0,
                    in_sync=self.followers.in_sync(one, end, now),
                )
            )
        return tuple(result)

    @property
    def lag_bytes(self) -> int:
        """What this slave lacks of its master's log; 0 on a master or without a source."""
        source = self.slave.source
        return 0 if source is None else max(0, source.end - self._store.log.max_offset)

    @property
    def lag_messages(self) -> int:
        """The same in messages, about."""
        source = self.slave.source
        if source is None or not self.lag_bytes:
            return 0
        return max(0, source.messages - (self.replica.appended_count - source.appended_before))

    @property
    def lag_seconds(self) -> float:
        """How long ago this slave had all that its master had then."""
        source = self.slave.source
        if source is None or not self.lag_bytes:
            return 0.0
        return self._clock.monotonic() - source.level_at
