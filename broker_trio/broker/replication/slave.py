"""The slave's side of the stream: find the master, agree on a common point, follow.

    connect ─▶ prove ─▶ ATTACH ─▶ take the record ─▶ same checksum? ─▶ save the tail, cut
       ▲                                                                        │
       └──── wait a little ◀── anything wrong ◀── chunks: epoch line, log, ack ◀┘

One task receives and appends, one acks. An ack says what is written and what is fsynced, and
whether it counts (rule 11). Under SYNC_FLUSH it leaves when the fsync is done, else after the
write. A disk that is full or slow stops the reading, and with it the master's sending; nothing is
kept in memory but one record.

What readers see follows the master's confirm offset: never more than the pair holds.
"""

from collections.abc import Callable, Sequence
from typing import Final, final

import structlog
import trio

from broker_trio.broker.replication.common import end_of
from broker_trio.broker.replication.line import HANDSHAKE_S, Line, Who, greet_master
from broker_trio.broker.replication.metadata_sync import Inbox, Tables, contribution
from broker_trio.broker.replication.refusals import Refusals, RefusedPeerError
from broker_trio.broker.replication.role import Role
from broker_trio.broker.replication.streaming import Streaming, StreamStats, first_of
from broker_trio.model.errors import Refused, RemoteProtocolError
from broker_trio.model.pair import Epoch, EpochStart
from broker_trio.runtime.seams import Clock, Entropy, Network
from broker_trio.store.replica import CRC_BYTES, Replica, Splitter
from broker_trio.store.store import Store
from broker_trio.wire import replication as wire
from broker_trio.wire.replication import Ack, Attach, Attached, Chunk, Metadata

RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
CONNECT_S: Final = 3.0
ATTACH_S: Final = 30.0
UNFLUSHED_BYTES_MAX: Final = 64 << 20  # received and not on disk yet; then reading pauses
HOLD_S: Final = 0.2  # for a record to be made after the log was held still
NEVER: Final = float("-inf")
FOR_EVER: Final = float("inf")

log = structlog.get_logger("replication")


@final
class Source:
    """The master that is followed, and how far behind it this slave is."""

    def __init__(self, address: str, epoch: Epoch, now: float) -> None:
        self.address, self.epoch = address, epoch
        self.attached_at = self.level_at = now
        self.end = self.confirm = 0
        self.messages = self.appended_before = 0


@final
class Slave:
    """Follows whoever of its peers leads, while its role does not."""

    def __init__(
        self,
        store: Store,
        replica: Replica,
        role: Role,
        tables: Tables,
        clock: Clock,
        network: Network,
        entropy: Entropy,
        streaming: Streaming,
        who: Callable[[], Who],
        key: bytes,
        peers: Sequence[str],
        refusals: Refusals,
        stats: StreamStats,
    ) -> None:
        self._store, self._replica, self._role, self._tables = store, replica, role, tables
        self._clock, self._network, self._entropy = clock, network, entropy
        self._streaming, self._who, self._key = streaming, who, key
        self._peers, self._refusals, self._stats = tuple(peers), refusals, stats
        self.source: Source | None = None
        self.problems: dict[str, str] = {}  # of each peer, the last one
        self.on_source: list[Callable[[], None]] = []  # a master was found, or is gone
        self._changed = trio.Event()
        self._scope: trio.CancelScope | None = None
        self._idle = trio.Event()
        self._hold_until = NEVER
        self._epoch: Epoch | None = None
        self._news = trio.Event()
        self._speak = False

    # -- news from inside -------------------------------------------------------------------------

    def progressed(self) -> None:
        """Something was written or flushed."""
        if self.source is not None:
            self._news.set()

    def role_changed(self) -> None:
        """Begin, or end what belongs to another epoch."""
        self._changed.set()
        self._changed = trio.Event()
        self._news.set()
        scope, epoch = self._scope, self._epoch
        if scope is not None and (
            self._role.leads or (epoch is not None and epoch != self._role.epoch)
        ):
            scope.cancel()

    async def hold(self) -> None:
        """Follow nobody until `let_go`: nothing is appended any more once this returns."""
        self._hold_until = FOR_EVER
        while self._scope is not None:
            self._scope.cancel()
            await self._idle.wait()

    def let_go(self) -> None:
        """Follow again, in a moment: what was made of the held log comes first."""
        self._hold_until = self._clock.monotonic() + HOLD_S
        self._changed.set()
        self._changed = trio.Event()

    # -- finding a master -------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow until cancelled. Raises `StoreFailed`."""
        task_status.started()
        failures = 0
        while True:
            if not self._may_follow():
                held_s, changed = self._hold_until - self._clock.monotonic(), self._changed
                with trio.move_on_after(held_s if held_s > 0 else FOR_EVER):
                    await changed.wait()
                continue
            for peer in self._peers:
                failures = 0 if await self._try(peer) else failures + 1
                if not self._may_follow():
                    break
                pause = RETRY_S[min(failures // len(self._peers), len(RETRY_S) - 1)]
                changed = self._changed
                with trio.move_on_after(pause * self._entropy.uniform(0.8, 1.2)):
                    await changed.wait()

    def _may_follow(self) -> bool:
        held = self._hold_until > self._clock.monotonic()
        return bool(self._peers) and not self._role.leads and not held

    async def _try(self, peer: str) -> bool:
        """One connection; whether it got as far as to follow."""
        followed = False
        try:
            with trio.CancelScope() as self._scope:
                with trio.fail_after(CONNECT_S):
                    stream = await self._network.connect(peer)
                try:
                    followed = await self._talk(Line(stream), peer)
                finally:
                    await trio.aclose_forcefully(stream)
        except RefusedPeerError as refused:
            followed = followed or self.source is not None
            self._refusals.note(refused, peer)
            self._problem(peer, refused.text)
        except RemoteProtocolError as error:
            self._refusals.note(RefusedPeerError("protocol", str(error)), peer)
            self._problem(peer, str(error))
        except Refused as refusal:
            self._problem(peer, refusal.remark)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            self._problem(peer, f"{type(error).__name__} {error}")
        except OSError as error:
            self._problem(peer, str(error))
        finally:
            followed = followed or self.source is not None
            self._scope = self._epoch = self.source = None
            idle, self._idle = self._idle, trio.Event()
            idle.set()
        return followed

    def _problem(self, peer: str, problem: str) -> None:
        self._stats.failed_attempts += 1
        if problem != self.problems.get(peer) or self.source is not None:
            log.info("replication.not_following", peer=peer, problem=problem)
        self.problems[peer] = problem

    async def _talk(self, line: Line, peer: str) -> bool:
        with trio.fail_after(HANDSHAKE_S):
            await greet_master(line, self._key, self._who(), self._entropy)
        with trio.fail_after(ATTACH_S):
            attached = await self._attach(line)
        tables, offsets = self._tables, self._tables.offsets
        ended = end_of(offsets.epoch, self._role.epochs, self._store.log.max_offset)
        await self._join(attached)
        # Rule 16, before the master's tables replace them: none of an epoch that went on behind
        # the common point, where places mean other messages now.
        own = list(contribution(tables)) if ended <= attached.common else []
        offsets.enter(Epoch(*attached.epoch), self._store.queues.next_offset)
        now = self._clock.monotonic()
        source = self.source = Source(peer, Epoch(*attached.epoch), now)
        source.appended_before = self._replica.appended_count
        self._stats.attached += 1
        for tell in self.on_source:
            tell()
        log.info("replication.following", peer=peer, epoch=str(source.epoch),
                 common=attached.common, begin=self._store.log.max_offset)  # fmt: skip
        try:
            await first_of(
                lambda: self._receive(line, source, attached), lambda: self._ack(line, source, own)
            )
        finally:
            self._stats.detached += 1
        return True

    # -- attaching --------------------------------------------------------------------------------

    async def _attach(self, line: Line) -> Attached:
        role, store = self._role, self._store
        store.write_out()
        end = store.log.max_offset
        crc_from, crc = await self._replica.tail_crc(end)
        await role.persisted()  # nothing between here and the message: it says what is on disk
        attach = Attach(
            settled=role.settled,
            promised=role.epoch,
            epochs=[(*one.epoch, one.start) for one in role.epochs][-wire.EPOCHS_MAX :],
            written_end=end,
            fsynced_end=store.log.flushed_offset,
            segment_bytes=store.log.segments.segment_bytes,
            crc_from=crc_from,
            crc=crc,
        )
        await line.send(wire.encode(attach))
        attached = await line.expect(Attached)
        if why := await role.take(attached.record):
            raise RefusedPeerError("record", why)
        if role.leads or role.epoch != attached.epoch:
            text = f"it leads in {Epoch(*attached.epoch)}, promised here is {role.epoch}"
            raise RefusedPeerError("epoch", text)
        self._epoch = role.epoch
        return attached

    async def _join(self, attached: Attached) -> None:
        """Make this log a beginning of the master's."""
        store, role, common = self._store, self._role, attached.common
        end = store.log.max_offset
        if common > end:
            raise RemoteProtocolError(f"a common point {common} behind this log's end {end}")
        if common - attached.crc_from > CRC_BYTES:
            raise RemoteProtocolError(f"a checksum of {common - attached.crc_from} bytes")
        if common > attached.crc_from >= store.log.min_offset:
            _, crc = await self._replica.tail_crc(common, attached.crc_from)
            if crc != attached.crc:
                text = (
                    f"the logs differ within [{attached.crc_from}, {common}), although their "
                    "epochs agree: follow it with an empty data folder"
                )
                raise RefusedPeerError("log", text)
        if common < end:
            await self._cut(common, attached.begin)
        if attached.begin > common:
            await role.cut(0)
            await self._replica.begin_at(attached.begin)
        await role.cut(store.log.max_offset)  # lines under which nothing was written
        self._tables.offsets.clamp(store.queues.next_offset)
        store.bound = attached.confirm
        store.dispatch()

    async def _cut(self, common: int, begin: int) -> None:
        """The list first: a line that is missing is written again, one too many would be a lie."""
        low, end = self._store.log.min_offset, self._store.log.max_offset
        if begin <= common < low:
            text = (
                f"the logs parted at {common}, before this one begins ({low}): follow the master "
                "with an empty data folder"
            )
            raise RefusedPeerError("log", text)
        log.warning("replication.diverged", common=common, end=end, bytes=end - common)
        await self._role.cut(common)
        await self._replica.cut(max(common, low))
        self._stats.cuts += 1
        self._stats.cut_bytes += end - max(common, low)

    # -- following --------------------------------------------------------------------------------

    async def _receive(self, line: Line, source: Source, attached: Attached) -> None:
        splitter, inbox = self._replica.splitter(), Inbox(self._tables)
        lines = self._lines_to_come(attached)
        while True:
            message = await line.hear(self._streaming.silence_s)
            if message is None:
                return
            if isinstance(message, Chunk):
                await self._chunk(message, source, splitter, lines)
            elif isinstance(message, Metadata):
                inbox.take(message)
            elif isinstance(message, wire.Rejection):
                raise RefusedPeerError("role", f"the master ends it: {message.reason[:300]}")
            else:
                raise RemoteProtocolError(f"{type(message).__name__} from a master")
            if inbox.gone:
                await self._drop_queues(inbox.gone)

    async def _drop_queues(self, gone: dict[str, int]) -> None:
        """Of deleted topics. Nothing of the stream is appended or shown meanwhile."""
        queues, topics = self._store.queues, self._tables.topics
        for topic, log_end in list(gone.items()):
            if queues.dispatched_offset < log_end:
                continue
            del gone[topic]
            wanted = topic in topics.table or topics.is_system(topic)
            if not wanted and not self._replica.came_back(topic, log_end):
                await queues.delete_topic(topic, log_end)

    def _lines_to_come(self, attached: Attached) -> list[EpochStart]:
        """Lines of the master's list that are newer than all that this log has."""
        own = self._role.epochs
        last = own[-1].epoch if own else None
        lines = [EpochStart(Epoch(counter, by), start) for counter, by, start in attached.epochs]
        return [line for line in lines if last is None or line.epoch > last]

    async def _chunk(
        self, chunk: Chunk, source: Source, splitter: Splitter, lines: list[EpochStart]
    ) -> None:
        store = self._store
        if chunk.epoch != source.epoch:
            text = f"a chunk in epoch {Epoch(*chunk.epoch)} on a connection in {source.epoch}"
            raise RefusedPeerError("epoch", text)
        if chunk.offset != splitter.next_offset:
            raise RemoteProtocolError(
                f"a chunk at {chunk.offset}, the next byte here is {splitter.next_offset}"
            )
        if chunk.data:
            while lines and lines[0].start < chunk.offset + len(chunk.data):
                await self._role.entered(lines.pop(0))
            for whole in splitter.feed(chunk.data):
                self._replica.append(whole)
            store.write_out()
            self._stats.bytes_received += len(chunk.data)
        else:
            self._speak = True
        store.raise_bound(chunk.confirm)
        if self.problems.pop(source.address, None):
            self._refusals.forget(source.address)
        self._note(chunk, source)
        if not chunk.data:
            self._news.set()
        if store.log.unflushed_bytes > UNFLUSHED_BYTES_MAX:
            await self._replica.flushed(store.log.max_offset)

    def _note(self, chunk: Chunk, source: Source) -> None:
        """For people: how far behind."""
        source.end, source.confirm = chunk.end, chunk.confirm
        behind = chunk.messages if chunk.end > self._store.log.max_offset else 0
        source.messages, source.appended_before = behind, self._replica.appended_count
        if self._store.log.max_offset >= chunk.end:
            source.level_at = self._clock.monotonic()

    async def _ack(self, line: Line, source: Source, own: list[bytes]) -> None:
        """Say how far this log is: when that changed, and when the master shows a sign of life."""
        for frame in own:
            await line.send(frame)
        role, log_ = self._role, self._store.log
        told: tuple[int, bool] | None = None
        while True:
            news = self._news
            await role.level(log_.flushed_offset)  # a handover waits for it, too
            written, fsynced = log_.written_offset, log_.flushed_offset
            settled = role.may_ack(source.epoch)
            state = (fsynced if self._store.is_sync else written, settled)
            if state != told or self._speak:
                self._speak = False
                ack = Ack(role.store_id, source.epoch, written, fsynced, settled)
                await line.send(wire.encode_ack(ack))
                self._stats.acks_sent += 1
                told = state
            elif news.is_set():
                self._news = trio.Event()
            else:
                await news.wait()
