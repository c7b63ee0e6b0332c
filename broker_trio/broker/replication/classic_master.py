"""The way back to Apache: a lone master of ours that a classic slave can follow.

    slave reports its end ─▶ the log from there, 32 KiB a chunk, none across a segment's end
    nothing new for 5 s   ─▶ a sign of life            silent for 20 s ─▶ the connection ends

The framing knows no identity and no key, so this is off unless `classic.serve` is set, and a report
releases nothing: receipts say what this broker's own disk holds. What is not yet as safe here as
the flush mode promises is not sent.

A fresh slave reports 0. Apache's master would begin at its newest segment; this one begins with the
oldest byte that it has, so that the slave's log is the whole one.
"""

from typing import Final, final

import structlog
import trio

from broker_trio.broker.replication.refusals import Refusals, RefusedPeerError
from broker_trio.broker.replication.streaming import first_of
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.runtime.seams import Network
from broker_trio.store.store import Store
from broker_trio.wire import classic_ha as wire

SLAVES_MAX: Final = 8  # connections, with those that did not report yet
READ_BYTES: Final = 4 << 10
CHUNKS_BETWEEN_TURNS: Final = 8

log = structlog.get_logger("classic")


@final
class ClassicSlaveLine:
    """One connected slave."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.reported = -1  # where it says that its log ends; nothing depends on it
        self.sent = -1
        self.news = trio.Event()


@final
class ClassicMaster:
    """Serves classic slaves on `listen`. `address` is the bound one once `run` has started."""

    def __init__(self, store: Store, network: Network, listen: str) -> None:
        self._store, self._network, self._listen = store, network, listen
        self.address = ""
        self.slaves: list[ClassicSlaveLine] = []
        self.refusals = Refusals()
        self.bytes_sent = 0

    def progressed(self) -> None:
        """Something was written or flushed."""
        for slave in self.slaves:
            slave.news.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Raises `OSError` where the address is taken."""
        listener = await self._network.listen(self._listen)
        self.address = listener.address
        log.warning("classic.serving", address=self.address, setting="classic.serve")
        task_status.started()
        await trio.serve_listeners(self.handle, [listener])

    async def handle(self, stream: trio.abc.Stream) -> None:
        """Serve an accepted stream until it ends; closes it."""
        slave = ClassicSlaveLine(getattr(stream, "peer_address", "unknown:0"))
        try:
            await self._serve(stream, slave)
        except RefusedPeerError as refused:
            self.refusals.note(refused, slave.address)
        except RemoteProtocolError as error:
            self.refusals.note(RefusedPeerError("protocol", str(error)), slave.address)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer has gone
        except OSError as error:
            self.refusals.note(RefusedPeerError("log", str(error)), slave.address)
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve(self, stream: trio.abc.Stream, slave: ClassicSlaveLine) -> None:
        if len(self.slaves) >= SLAVES_MAX:
            text = f"{len(self.slaves)} connections, limit {SLAVES_MAX}"
            raise RefusedPeerError("limit", text)
        self.slaves.append(slave)
        try:
            await first_of(lambda: self._receive(stream, slave), lambda: self._send(stream, slave))
        finally:
            self.slaves.remove(slave)
            log.info("classic.slave_left", peer=slave.address, reported=slave.reported)

    async def _receive(self, stream: trio.abc.Stream, slave: ClassicSlaveLine) -> None:
        reports = wire.Reports()
        while True:
            try:
                with trio.fail_after(wire.SILENCE_S):
                    data = await stream.receive_some(READ_BYTES)
            except trio.TooSlowError:
                text = f"it did not report for {wire.SILENCE_S:g} s"
                raise RefusedPeerError("timeout", text) from None
            if not data:
                return
            end = reports.receive_data(data)
            if end is None:
                continue
            if slave.reported < 0:
                slave.sent = self._begin(end, slave)
            elif end > slave.sent:
                text = f"it reports {end}, and was sent the log to {slave.sent}"
                raise RefusedPeerError("ack", text)
            slave.reported = end
            slave.news.set()

    def _begin(self, end: int, slave: ClassicSlaveLine) -> int:
        """Where to send from, after the first report."""
        own = self._store.log
        own.write_out()
        begin = end or own.min_offset
        if not own.min_offset <= begin <= max(1, own.max_offset):  # 1: see classic_start.py
            text = (
                f"its log ends at {end}, here are [{own.min_offset}, {own.max_offset}): start it "
                "with an empty store"
            )
            raise RefusedPeerError("log", text)
        log.info("classic.slave_attached", peer=slave.address, begin=begin)
        return begin

    async def _send(self, stream: trio.abc.Stream, slave: ClassicSlaveLine) -> None:
        chunks = 0
        while True:
            slave.news = trio.Event()
            news = slave.news  # what comes from here on wakes us
            if slave.reported < 0:
                await news.wait()
                continue
            behind = self._store.own_end - slave.sent
            if behind > 0:
                await self._send_chunk(stream, slave, min(behind, wire.CHUNK_BYTES))
                chunks += 1
                if not chunks % CHUNKS_BETWEEN_TURNS:
                    await trio.lowlevel.checkpoint()
                continue
            with trio.move_on_after(wire.HEARTBEAT_S) as waited:
                await news.wait()
            if waited.cancelled_caught:
                await stream.send_all(wire.encode_head(slave.sent, 0))

    async def _send_chunk(
        self, stream: trio.abc.Stream, slave: ClassicSlaveLine, size: int
    ) -> None:
        own, position = self._store.log, slave.sent
        try:
            data = own.read_nowait(position, size)
        except trio.WouldBlock:
            data = await own.read(position, size)
        if not data:
            raise RefusedPeerError("log", f"byte {position} expired while it was being sent")
        slave.sent += len(data)
        await stream.send_all(wire.encode_head(position, len(data)) + data)
        self.bytes_sent += len(data)
