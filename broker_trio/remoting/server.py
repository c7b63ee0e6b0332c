"""The listening side: accept, keep each connection's deadlines, stop in order.

Once a second a sweep looks at every connection's plain attributes and cuts those that are silent,
drip an unfinished frame, or do not take their answers. A connection's own errors end that
connection; any other exception ends the process.
"""

from collections.abc import Callable
from typing import Final, final

import structlog
import trio

from broker_trio.remoting.connection import Connection
from broker_trio.remoting.dispatch import Dispatcher
from broker_trio.remoting.limits import RemotingLimits
from broker_trio.remoting.stats import RemotingStats
from broker_trio.runtime.seams import Listener, Network

log = structlog.get_logger("remoting")
SWEEP_S: Final = 1.0


def _nothing() -> None:
    """Nobody to tell."""


@final
class RemotingServer:
    """Serves a dispatcher on any number of addresses.

    `batch_done` is called once after each socket read whose requests were handled, before their
    answers leave, `batch_sent` once they left. `on_open` and `on_close` get each connection as a
    Session.
    """

    def __init__(
        self,
        network: Network,
        dispatcher: Dispatcher,
        limits: RemotingLimits,
        *,
        batch_done: Callable[[], None] = _nothing,
        batch_sent: Callable[[], None] = _nothing,
        on_open: Callable[[Connection], None] | None = None,
        on_close: Callable[[Connection], None] | None = None,
    ) -> None:
        self.stats = RemotingStats()
        self.connections: dict[int, Connection] = {}
        self._network, self._dispatcher, self._limits = network, dispatcher, limits
        self._batch_done, self._batch_sent = batch_done, batch_sent
        self._on_open, self._on_close = on_open, on_close
        self._next_id = 0
        self._per_host: dict[str, int] = {}
        self._doors: list[trio.CancelScope] = []

    async def serve(
        self,
        where: str | Listener,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen until `stop`, on an address or what was bound before; `started` gives the address.

        Returns when the last connection has ended. Cancelled: everything is cut at once. Raises
        `OSError` where the address cannot be bound.
        """
        listener = await self._network.listen(where) if isinstance(where, str) else where
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as doors:
                self._doors.append(doors.cancel_scope)
                doors.start_soon(self._sweep)
                task_status.started(listener.address)
                await trio.serve_listeners(self._serve_one, [listener], handler_nursery=connections)
            connections.cancel_scope.deadline = trio.current_time() + self._limits.stop_grace_s
            self._cut_idle()

    def stop(self) -> None:
        """Take no new connection; open ones get `stop_grace_s` to take what is queued for them."""
        for scope in self._doors:
            scope.cancel()

    def _cut_idle(self) -> None:
        """Connections with nothing to send go at once; the others get the grace."""
        for connection in list(self.connections.values()):
            if connection.send_began is None:
                connection.scope.cancel()

    async def _serve_one(self, stream: trio.abc.Stream) -> None:
        peer: str = getattr(stream, "peer_address", "unknown")
        host = peer.rpartition(":")[0]
        if not self._admit(host, peer):
            await trio.aclose_forcefully(stream)
            return
        self._next_id += 1
        connection = Connection(
            self._next_id,
            stream,
            peer,
            self._dispatcher,
            self._limits,
            self.stats,
            self._batch_done,
            self._batch_sent,
            self._relieve,
        )
        self.connections[connection.id] = connection
        self._per_host[host] = self._per_host.get(host, 0) + 1
        self.stats.connections += 1
        self.stats.accepted += 1
        if self._on_open is not None:
            self._on_open(connection)
        try:
            await connection.run()
        finally:
            self._forget(connection, host)
            await trio.aclose_forcefully(stream)

    def _admit(self, host: str, peer: str) -> bool:
        limits = self._limits
        if len(self.connections) >= limits.connections_max:
            reason, limit = "connections", limits.connections_max
        elif self._per_host.get(host, 0) >= limits.connections_per_address_max:
            reason, limit = "connections_per_address", limits.connections_per_address_max
        else:
            return True
        self.stats.refuse(reason)
        log.warning("connection.refused", peer=peer, limit=limit, setting=f"remoting.{reason}_max")
        return False

    def _forget(self, connection: Connection, host: str) -> None:
        del self.connections[connection.id]
        self.stats.connections -= 1
        left = self._per_host[host] - 1
        if left:
            self._per_host[host] = left
        else:
            del self._per_host[host]
        if self._on_close is not None:
            self._on_close(connection)

    def _relieve(self) -> None:
        """A limit of all together is passed: who holds most of it goes, not who came last."""
        limits, stats = self._limits, self.stats
        while stats.buffered_bytes > limits.buffered_bytes_max:
            largest = max(self.connections.values(), key=lambda one: one.buffered)
            self._give_up(largest, "too_large", "buffered_bytes_max", largest.buffered)
        while stats.outbound_bytes > limits.outbound_total_bytes_max:
            largest = max(self.connections.values(), key=lambda one: one.unsent)
            self._give_up(largest, "stalled", "outbound_total_bytes_max", largest.unsent)

    def _give_up(self, connection: Connection, cause: str, setting: str, held: int) -> None:
        assert held, f"remoting.{setting} is passed by nobody"
        self.stats.count_error(cause)
        log.warning(
            "connection.given_up",
            peer=connection.peer_address,
            bytes=held,
            limit=getattr(self._limits, setting),
            setting=f"remoting.{setting}",
        )
        connection.give_up()

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_S)
            now = trio.current_time()
            for connection in list(self.connections.values()):
                cause = overdue(connection, now, self._limits)
                if cause is not None:
                    self.stats.count_error(cause)
                    log.info("connection.timeout", peer=connection.peer_address, cause=cause)
                    connection.scope.cancel()


def overdue(connection: Connection, now: float, limits: RemotingLimits) -> str | None:
    """Why this connection must go now, or None: "first_frame", "slow_frame", "stalled", "idle"."""
    if connection.send_began is not None and now - connection.send_began > limits.write_stall_s:
        return "stalled"
    if connection.frame_began is not None:
        first = connection.frames_seen == 0
        allowed = limits.first_frame_s if first else limits.frame_s
        if now - connection.frame_began > allowed:
            return "first_frame" if first else "slow_frame"
    if now - connection.last_active > limits.idle_s:
        return "idle"
    return None
