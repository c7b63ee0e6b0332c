"""Our slave of an Apache master: its log byte for byte, its tables every second, until promoted.

    ask who it is (26, 28) ─▶ report where to begin ─▶ compare the overlap ─▶ append, report, …
       ▲                                                   │ differs
       └────── wait a little ◀── anything wrong ◀── cut, the tail in a side file

Beside the stream a second task takes over the tables. Neither ever writes to the master.

What readers see here is all that was received: an Apache master confirms nothing. The log ends at
a whole record at every moment, so that a promotion has nothing to repair.

A log that was not made by following (a copied store, or a wrong folder) is compared like any other,
but never cut: where it differs, a person put the wrong one here.
"""

from collections.abc import Awaitable, Callable
from typing import Final, final

import structlog
import trio

from broker_trio.broker.replication.classic_start import (
    FIRST_BYTE,
    OVERLAP_BYTES,
    WIDER,
    Beginning,
    Facts,
    beginning,
    why_not,
)
from broker_trio.broker.replication.classic_tables import LOST, MasterTables
from broker_trio.broker.replication.metadata_sync import Tables
from broker_trio.broker.replication.refusals import RefusedPeerError
from broker_trio.broker.replication.streaming import first_of
from broker_trio.model.errors import Refused, RemoteProtocolError
from broker_trio.remoting.client import RemotingClient
from broker_trio.runtime.seams import Clock, Network
from broker_trio.store.replica import Splitter
from broker_trio.store.store import Store
from broker_trio.wire import classic_ha as wire

RETRY_S: Final = (0.2, 0.5, 1.0, 2.0)
CONNECT_S: Final = 3.0
READ_BYTES: Final = 256 << 10
TABLES_S: Final = 1.0
TABLES_SHARE: Final = 10  # a round that takes long is followed by so many times its length
UNFLUSHED_BYTES_MAX: Final = 64 << 20

log = structlog.get_logger("classic")


@final
class Watch:
    """What is known of the master, for people and for the guards of a promotion."""

    def __init__(self) -> None:
        self.facts: Facts | None = None
        self.following = False
        self.end = 0  # of the master's log, when last asked
        self.asked_at = self.moved_at = float("-inf")  # the clock then, and when the end was news
        self.tables_at = self.level_at = float("-inf")
        self.away = True  # the last question had no answer
        self.problem = ""
        self.sessions = self.cuts = self.cut_bytes = self.bytes_received = 0

    def ended_at(self, end: int, own_end: int, now: float) -> None:
        """The master said where its log ends."""
        if own_end >= end:
            self.level_at = now
        if end != self.end:
            self.end, self.moved_at = end, now
        self.asked_at, self.away = now, False


@final
class ClassicSlave:
    """Follows `address`, the remoting door of an Apache master, while it runs."""

    def __init__(
        self,
        store: Store,
        tables: Tables,
        client: RemotingClient,
        network: Network,
        clock: Clock,
        address: str,
        door: str,
        *,
        broker_name: str,
        cluster: str,
        may_cut: Callable[[], bool],
        followed: Callable[[], Awaitable[None]],
    ) -> None:
        """`door`: its replication door where it is not the one that it tells. `may_cut`: whether
        this log came from following; `followed` is called when that is so from now on."""
        self._store, self._replica = store, store.replica()
        self._network, self._clock, self._address, self._door = network, clock, address, door
        self._name, self._cluster = broker_name, cluster
        self._may_cut, self._followed = may_cut, followed
        self._all = tables
        self._master = MasterTables(client, address, tables)
        self._overlap = OVERLAP_BYTES
        self._news, self._heard = trio.Event(), trio.Event()
        self._began = 0  # what is before it was not compared
        self._next = 0  # where the next byte of the stream must lie
        self._splitter: Splitter | None = None  # None while own bytes are compared
        self.watch = Watch()
        self.on_source: list[Callable[[], None]] = []  # the master is there again

    @property
    def source(self) -> object | None:
        """The master while it is followed: clients should be with that one."""
        return self.watch.facts if self.watch.following else None

    def progressed(self) -> None:
        """Something was written or flushed."""
        self._news.set()

    async def run(self) -> None:
        """Follow until cancelled. Raises `StoreFailed`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_tables)
            await self._keep_following()

    async def answers(self) -> bool:
        """Whether the master is there now; asked within a moment."""
        try:
            await self._master.facts()
        except LOST:
            return False
        return True

    def close(self) -> None:
        """After `run` was cancelled."""
        self.watch.following = False
        self._master.close()

    # -- the log ----------------------------------------------------------------------------------

    async def _keep_following(self) -> None:
        failures = 0
        while True:
            watch = self.watch
            received = watch.bytes_received
            try:
                await self._session()
                problem = "it closed the connection"
            except (RefusedPeerError, Refused) as refused:
                problem = str(refused)
            except LOST as lost:
                watch.away = True
                problem = str(lost) or type(lost).__name__
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
                problem = str(error) or type(error).__name__
            if problem != watch.problem or watch.following:
                log.warning("classic.not_following", master=self._address, problem=problem)
            watch.problem, watch.following = problem, False
            failures = failures + 1 if watch.bytes_received == received else 0
            await trio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])

    async def _session(self) -> None:
        """One connection, until the master ends it."""
        facts = self.watch.facts = await self._master.facts()
        self.watch.ended_at(facts.end, self._store.log.max_offset, self._clock.monotonic())
        store = self._store
        why = why_not(
            facts,
            broker_name=self._name,
            cluster=self._cluster,
            segment_bytes=store.log.segments.segment_bytes,
        )
        if why:
            raise RefusedPeerError("cluster", why)
        low, end = store.log.min_offset, store.log.max_offset
        found = beginning(low, end, facts, self._overlap)
        if isinstance(found, str):
            raise RefusedPeerError("log", found)
        if found.anew:
            await self._replica.begin_at(found.at)
        door = self._door or f"{self._address.rpartition(':')[0]}:{facts.door}"
        with trio.fail_after(CONNECT_S):
            stream = await self._network.connect(door)
        try:
            await self._follow(stream, found)
        finally:
            await trio.aclose_forcefully(stream)

    async def _follow(self, stream: trio.abc.Stream, found: Beginning) -> None:
        self._heard = trio.Event()
        self._splitter, self._began, self._next = None, found.at, found.at
        self.watch.sessions += 1
        await stream.send_all(wire.encode_report(found.first_report))
        if found.at == 0:
            await self._take(FIRST_BYTE)
        log.info("classic.attached", master=self._address, at=found.at,
                 own_end=self._store.log.max_offset, master_end=self.watch.end)  # fmt: skip
        await first_of(lambda: self._receive(stream), lambda: self._report(stream))

    async def _receive(self, stream: trio.abc.Stream) -> None:
        store, watch = self._store, self.watch
        chunks = wire.Chunks(store.log.segments.segment_bytes)
        while True:
            try:
                with trio.fail_after(wire.SILENCE_S):
                    data = await stream.receive_some(READ_BYTES)
            except trio.TooSlowError:
                text = f"nothing was heard of it for {wire.SILENCE_S:g} s"
                raise RemoteProtocolError(text) from None
            if not data:
                return
            chunks.receive_data(data)
            while (piece := chunks.next_piece()) is not None:
                if piece.offset != self._next:
                    text = f"a chunk at {piece.offset}, the next byte here is {self._next}"
                    raise RemoteProtocolError(text)
                if piece.data:
                    await self._take(piece.data)
            store.write_out()
            watch.bytes_received += len(data)
            watch.problem = ""
            if not watch.following:
                watch.following = True
                for hook in self.on_source:
                    hook()
            self._heard.set()
            self._news.set()
            if store.log.unflushed_bytes > UNFLUSHED_BYTES_MAX:
                await self._replica.flushed(store.log.max_offset)

    async def _take(self, data: bytes) -> None:
        """The next bytes of the master's log: compared where they are here, appended behind it."""
        if self._splitter is None:
            data = await self._compare(data)
        self._next += len(data)
        if self._splitter is not None:
            for whole in self._splitter.feed(data):
                self._replica.append(whole)

    async def _compare(self, data: bytes) -> bytes:
        """What lies behind this log's end. Raises `RefusedPeerError` where they differ."""
        own = self._store.log
        while data and self._next < own.max_offset:
            mine = await own.read(self._next, min(len(data), own.max_offset - self._next))
            if not mine:
                raise RefusedPeerError("log", f"byte {self._next} expired while it was compared")
            if mine != data[: len(mine)]:
                same = next(at for at, byte in enumerate(mine) if byte != data[at])
                await self._diverged(self._next + same)
            self._next += len(mine)
            data = data[len(mine) :]
        if self._next >= own.max_offset:
            self._splitter, self._overlap = self._replica.splitter(), OVERLAP_BYTES
            if not self._may_cut():
                await self._followed()
        return data

    async def _diverged(self, differs: int) -> None:
        """Own bytes from `differs` on are not the master's. Raises `RefusedPeerError`, always."""
        low, end = self._store.log.min_offset, self._store.log.max_offset
        common = await self._replica.boundary_before(differs)
        text = f"the master's log differs at {differs}"
        if not self._may_cut():
            text += ", and this log was not made by following: is it the right data folder?"
        elif common < self._began:
            self._overlap *= WIDER
            text += "; more is compared"
        elif common <= low:
            text += ", from this log's first record on: follow with an empty data folder"
        else:
            log.warning("classic.diverged", common=common, end=end, bytes=end - common)
            await self._replica.cut(common)
            self._all.offsets.clamp(self._store.queues.next_offset)
            self.watch.cuts += 1
            self.watch.cut_bytes += end - common
            text += f": {end - common} bytes went to a side file"
        raise RefusedPeerError("log", text)

    async def _report(self, stream: trio.abc.Stream) -> None:
        """Once the master spoke: it takes the newest report in its buffer for the first one."""
        await self._heard.wait()
        sent = -1
        while True:
            self._news = trio.Event()
            news, end = self._news, self._store.own_end
            if end != sent:
                await stream.send_all(wire.encode_report(end))
                sent = end
            with trio.move_on_after(wire.HEARTBEAT_S) as waited:
                await news.wait()
            if waited.cancelled_caught:
                sent = -1  # a sign of life

    # -- the tables -------------------------------------------------------------------------------

    async def _keep_tables(self) -> None:
        problem = ""
        while True:
            begun = self._clock.monotonic()
            facts = self.watch.facts
            if facts is not None and facts.broker_name == self._name:
                try:
                    end = await self._master.round()
                except (*LOST, Refused) as error:
                    self.watch.away = True
                    if str(error) != problem:
                        problem = str(error)
                        log.warning("classic.tables", master=self._address, problem=problem)
                else:
                    now = self._clock.monotonic()
                    self.watch.ended_at(end, self._store.log.max_offset, now)
                    self.watch.tables_at, problem = now, ""
            took = self._clock.monotonic() - begun
            await trio.sleep(max(TABLES_S, took * TABLES_SHARE))
