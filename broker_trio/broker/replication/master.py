"""The master's side of the stream: who may follow, what they get, what their acks do.

    accept ─▶ who is it (line.py) ─▶ may it follow (`_admit`) ─▶ ATTACHED
                                                                   │
             log ── chunks ─▶ one task sends ── metadata ─▶        ├──▶ slave
             followers ◀─ acks ─ one task receives ◀───────────────┘

Sends never wait for a slave here: bytes are read from the log behind the appends, as far behind as
the slave is, from the page cache or a worker thread. A slave that is far behind gets a bounded
bandwidth and one chunk between two turns of the loop.

A connection belongs to one epoch. When the role changes, all of them end and slaves come again.
"""

from collections.abc import Callable
from typing import Final, final

import structlog
import trio

from broker_trio.broker.replication.acks import Acks
from broker_trio.broker.replication.common import common_point, end_of
from broker_trio.broker.replication.followers import Follower, Followers
from broker_trio.broker.replication.line import HANDSHAKE_S, Line, Who, greet_slave
from broker_trio.broker.replication.metadata_sync import COLLECT_S, Inbox, Outbox, Tables
from broker_trio.broker.replication.refusals import Refusals, RefusedPeerError
from broker_trio.broker.replication.role import Claim, Role
from broker_trio.broker.replication.streaming import (
    LINGER_S,
    Counts,
    Streaming,
    StreamStats,
    first_of,
)
from broker_trio.model.errors import Refused, RemoteProtocolError
from broker_trio.model.pair import Epoch, EpochStart, StoreId
from broker_trio.runtime.seams import Clock, Entropy
from broker_trio.store.replica import CRC_BYTES, Replica
from broker_trio.store.store import Store
from broker_trio.wire import replication as wire
from broker_trio.wire.replication import Ack, Attach, Attached, Chunk, Hello, Metadata

CONNECTIONS_MAX: Final = 32  # with those that did not say yet who they are

log = structlog.get_logger("replication")


@final
class Master:
    """Serves slaves while its role leads."""

    def __init__(
        self,
        store: Store,
        replica: Replica,
        role: Role,
        acks: Acks,
        followers: Followers,
        tables: Tables,
        clock: Clock,
        entropy: Entropy,
        streaming: Streaming,
        who: Callable[[], Who],
        key: bytes,
        refusals: Refusals,
        stats: StreamStats,
    ) -> None:
        self._store, self._replica, self._role = store, replica, role
        self._acks, self._followers, self._tables = acks, followers, tables
        self._clock, self._entropy, self._streaming = clock, entropy, streaming
        self._who, self._key, self._refusals, self._stats = who, key, refusals, stats
        self._inbox = Inbox(tables)
        self._scopes: dict[StoreId, tuple[Epoch, trio.CancelScope]] = {}
        self._acknowledged: dict[StoreId, int] = {}
        self._connections = 0
        self._news = trio.Event()
        self.counts = Counts()

    # -- news from inside -------------------------------------------------------------------------

    def progressed(self) -> None:
        """Something was written, flushed or confirmed."""
        if self._scopes:
            self._news.set()

    def role_changed(self) -> None:
        """End what belongs to another epoch."""
        if not self._role.leads:
            self._acknowledged.clear()
        for epoch, scope in self._scopes.values():
            if epoch != self._role.epoch or not self._role.leads:
                scope.cancel()

    # -- one connection ---------------------------------------------------------------------------

    async def handle(self, stream: trio.abc.Stream) -> None:
        """Serve an accepted stream until it ends; closes it."""
        line = Line(stream)
        try:
            if self._connections >= CONNECTIONS_MAX:
                text = f"{self._connections} connections, limit {CONNECTIONS_MAX}"
                self._refusals.note(RefusedPeerError("limit", text), line.peer_address)
                return
            self._connections += 1
            try:
                await self._talk(line)
            finally:
                self._connections -= 1
        except RefusedPeerError as refused:
            self._refusals.note(refused, line.peer_address)
            await line.reject(refused.text)
        except RemoteProtocolError as error:
            self._refusals.note(RefusedPeerError("protocol", str(error)), line.peer_address)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer has gone
        except OSError as error:
            self._refusals.note(RefusedPeerError("log", str(error)), line.peer_address)
        finally:
            await trio.aclose_forcefully(stream)

    async def _talk(self, line: Line) -> None:
        try:
            with trio.fail_after(HANDSHAKE_S):
                hello = await greet_slave(line, self._key, self._who(), self._entropy)
        except trio.TooSlowError:
            text = f"it did not say who it is within {HANDSHAKE_S:g} s"
            raise RefusedPeerError("timeout", text) from None
        try:
            with trio.fail_after(self._streaming.silence_s):
                attach = await line.expect(Attach)
        except trio.TooSlowError:
            raise RefusedPeerError("timeout", "it did not say what it holds") from None
        attached = await self._admit(line, hello, attach)
        epoch = Epoch(*attached.epoch)
        now = self._clock.monotonic()
        follower = Follower(hello.store_id, hello.replica_id, line.peer_address, epoch, now)
        follower.sent_offset = max(attached.common, attached.begin)
        await self._follow(line, follower, attached)

    async def _admit(self, line: Line, hello: Hello, attach: Attach) -> Attached:
        """Whether this slave may follow, and from where. Raises `RefusedPeerError`."""
        role, own = self._role, self._who()
        if not role.leads:
            raise RefusedPeerError("role", f"this replica is no master (epoch {role.epoch})")
        if hello.store_id == role.store_id or hello.replica_id == own.replica_id:
            text = f"replica id {hello.replica_id}, store {hello.store_id}: those are this broker's"
            raise RefusedPeerError("duplicate", text)
        epoch = role.epoch
        claim = Claim(
            hello.store_id,
            Epoch(*attach.settled),
            Epoch(*attach.promised),
            attach.written_end,
            attach.fsynced_end,
        )
        why = role.refuse_attach(claim)
        if not why and claim.promised > epoch:
            why = f"it promised epoch {claim.promised}, this master leads in {epoch}"
        if why:
            raise RefusedPeerError("epoch", why)
        self._check_log(hello.store_id, attach)
        self._make_room(hello)
        self._store.write_out()
        lines = [EpochStart(Epoch(counter, by), start) for counter, by, start in attach.epochs]
        end = self._store.log.written_offset
        common = common_point(role.epochs, end, lines, attach.written_end)
        await self._compare(attach, common)
        crc_from, crc = await self._replica.tail_crc(common)
        if not self._leads_in(epoch):
            raise RefusedPeerError("role", "the epoch changed meanwhile, come again")
        return Attached(
            epoch=epoch,
            record=role.record,
            epochs=[(*one.epoch, one.start) for one in role.epochs][-wire.EPOCHS_MAX :],
            common=common,
            begin=self._store.log.min_offset,
            confirm=self._store.confirm_offset,
            crc_from=crc_from,
            crc=crc,
        )

    def _leads_in(self, epoch: Epoch) -> bool:
        return self._role.leads and self._role.epoch == epoch

    def _check_log(self, store_id: StoreId, attach: Attach) -> None:
        segment_bytes = self._store.log.segments.segment_bytes
        if attach.segment_bytes != segment_bytes:
            text = (
                f"its segments have {attach.segment_bytes} bytes, here {segment_bytes}: "
                "store.commit_log_segment_bytes must be equal in a pair"
            )
            raise RefusedPeerError("segment", text)
        end = attach.fsynced_end if self._store.is_sync else attach.written_end
        before = self._acknowledged.get(store_id, 0)
        may_lose = not self._store.is_sync and self._role.min_copies == 1  # power takes a tail
        if end < before and not may_lose:
            text = (
                f"store {store_id} holds {end} bytes, but it acknowledged {before}: an old copy of "
                "its disk? Start it with an empty data folder"
            )
            raise RefusedPeerError("log", text)

    def _make_room(self, hello: Hello) -> None:
        now = self._clock.monotonic()
        if why := self._followers.refuse(hello.store_id, hello.replica_id, now):
            raise RefusedPeerError("duplicate", why)
        for other in list(self._followers.table.values()):
            if hello.store_id == other.store_id or hello.replica_id == other.replica_id:
                self._scopes[other.store_id][1].cancel()  # it has been silent for long
                self._drop(other)

    async def _compare(self, attach: Attach, common: int) -> None:
        """The slave's checksum of its log's end, where that is the common point."""
        begin, end = attach.crc_from, attach.written_end
        if end - begin > CRC_BYTES:
            raise RemoteProtocolError(f"a checksum of {end - begin} bytes, limit {CRC_BYTES}")
        if common == end > begin >= self._store.log.min_offset:
            _, crc = await self._replica.tail_crc(common, begin)
            if crc != attach.crc:
                text = f"the logs differ within [{begin}, {end}), although their epochs agree"
                raise RefusedPeerError("log", text)

    async def _follow(self, line: Line, follower: Follower, attached: Attached) -> None:
        """Stream until either side ends it."""
        outbox = Outbox(self._tables)
        follower.written = min(follower.sent_offset, attached.common)
        self._make_sure_alone(follower)
        self._followers.table[follower.store_id] = follower
        self._stats.attached += 1
        log.info(
            "replication.attached",
            peer=line.peer_address,
            replica=follower.replica_id,
            store=follower.store_id,
            common=attached.common,
            epoch=str(follower.epoch),
        )
        try:
            with trio.CancelScope() as scope:
                self._scopes[follower.store_id] = (follower.epoch, scope)
                await line.send(wire.encode(attached))
                await first_of(
                    lambda: self._send(line, follower, outbox),
                    lambda: self._receive(line, follower),
                )
        finally:
            outbox.close()
            self._drop(follower)
            self._role.left(self._clock.monotonic(), follower.store_id)
            lacks = self._store.log.max_offset - follower.written
            log.info("replication.detached", peer=line.peer_address, replica=follower.replica_id,
                     acked=follower.written, lacks=lacks)  # fmt: skip

    def _make_sure_alone(self, follower: Follower) -> None:
        """Two attached at once while one waited for its checksum: the first one stays."""
        for other in self._followers.table.values():
            if follower.store_id == other.store_id or follower.replica_id == other.replica_id:
                raise RefusedPeerError("duplicate", f"{other.address} attached meanwhile")

    def _drop(self, follower: Follower) -> None:
        if self._followers.table.get(follower.store_id) is follower:
            del self._followers.table[follower.store_id]
            self._scopes.pop(follower.store_id, None)
            self._stats.detached += 1

    # -- sending ----------------------------------------------------------------------------------

    async def _send(self, line: Line, follower: Follower, outbox: Outbox) -> None:
        collect_at, sent_confirm, speak_at = 0.0, -1, 0.0
        while True:
            if self._news.is_set():
                self._news = trio.Event()
            news, now = self._news, self._clock.monotonic()  # what comes from here on wakes us
            if now >= collect_at:
                for frame in outbox.collect():
                    await line.send(frame)
                collect_at = now + COLLECT_S
            behind = self._store.log.written_offset - follower.sent_offset
            if behind > 0 or now >= speak_at:
                sent_confirm = await self._send_chunk(line, follower, behind)
                speak_at = now + self._streaming.heartbeat_s
                continue
            if self._store.confirm_offset != sent_confirm:
                speak_at = min(speak_at, now + LINGER_S)  # bytes may come that it can go with
            with trio.move_on_after(min(speak_at, collect_at) - now):
                await news.wait()

    async def _send_chunk(self, line: Line, follower: Follower, behind: int) -> int:
        """Some bytes of the log, or a sign of life; the confirm offset that went with it."""
        if not behind:
            return await self._send_data(line, follower, b"")
        log_, position = self._store.log, follower.sent_offset
        if position < log_.min_offset:
            raise RefusedPeerError("log", f"byte {position} expired while it was being sent")
        size = min(behind, self._streaming.chunk_bytes)
        try:
            data = log_.read_nowait(position, size)
        except trio.WouldBlock:
            data = await log_.read(position, size)
        if not data:
            raise RefusedPeerError("log", f"byte {position} expired while it was being sent")
        confirm = await self._send_data(line, follower, data)
        if behind > self._streaming.level_bytes:
            await trio.sleep(len(data) / self._streaming.catch_up_bytes_per_s)
        return confirm

    async def _send_data(self, line: Line, follower: Follower, data: bytes) -> int:
        store, offset = self._store, follower.sent_offset
        end, confirm = store.log.written_offset, store.confirm_offset
        messages = self.counts.between(offset, end)
        wall_ms = self._clock.wall_ms()
        chunk = Chunk(follower.epoch, offset, confirm, end, messages, wall_ms, data)
        follower.sent_offset = offset + len(data)
        await line.send(*wire.encode_chunk(chunk))
        follower.sent_bytes += len(data)
        self._stats.bytes_sent += len(data)
        return confirm

    # -- receiving --------------------------------------------------------------------------------

    async def _receive(self, line: Line, follower: Follower) -> None:
        while True:
            message = await line.hear(self._streaming.silence_s)
            if message is None:
                return
            if isinstance(message, Ack):
                self._acked(message, follower)
            elif isinstance(message, Metadata):
                self._merge(message)
            else:
                raise RemoteProtocolError(f"{type(message).__name__} from a slave")

    def _acked(self, ack: Ack, follower: Follower) -> None:
        if why := follower.problem(ack, follower.sent_offset):
            raise RefusedPeerError("ack", why)
        now, sync = self._clock.monotonic(), self._store.is_sync
        if not follower.acks:
            self._refusals.forget(follower.address)
        self._followers.acked(follower, ack, self._store.log.max_offset, now)
        self._stats.acks_received += 1
        if ack.settled:
            held = follower.held(fsynced=sync)
            self._acknowledged[follower.store_id] = held
        self._role.followed(now, follower.store_id, ack.written, ack.fsynced)
        self._acks.release()

    def _merge(self, part: Metadata) -> None:
        end = end_of(Epoch(*part.epoch), self._role.epochs, self._store.log.max_offset)
        try:
            merged = self._inbox.merge(part, self._replica.ends_before(end))
            self._stats.offsets_merged += merged
        except Refused as refusal:
            raise RefusedPeerError("metadata", refusal.remark) from None
