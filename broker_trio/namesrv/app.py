"""The nameserver program, put together: the only place that knows every part.

    start   lock and read `data` -> remoting door -> HTTP door -> ready
    run     every `scan_interval_s` silent brokers go; a closed connection's brokers go at once
    stop    no new connections -> answers out -> HTTP door shut

Nameservers share no routes: each learns everything from the brokers, which register with all of
them. Only the key-value settings and the records of pairs (`witness.py`) are kept, and a restart
begins with an empty table that is whole again within one registration interval.
"""

from typing import Final, final

import structlog
import trio

from broker_trio.metrics import http
from broker_trio.metrics.collector import Identity, MetricsCollector
from broker_trio.metrics.exposition import Exposition
from broker_trio.model.errors import ConfigError
from broker_trio.namesrv.admin import AdminRequests
from broker_trio.namesrv.config import NameserverConfig, check
from broker_trio.namesrv.facts import FactsRequest
from broker_trio.namesrv.handlers import BrokerRequests, RouteRequests
from broker_trio.namesrv.hot import HotSwitches
from broker_trio.namesrv.kv import KeyValues
from broker_trio.namesrv.live import LiveBroker
from broker_trio.namesrv.metrics import NameserverSource
from broker_trio.namesrv.routes import RouteTable
from broker_trio.namesrv.stats import NameserverStats
from broker_trio.namesrv.witnessing import Witnessing
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient
from broker_trio.remoting.dispatch import Dispatcher, Session
from broker_trio.remoting.server import RemotingServer
from broker_trio.runtime.loop_lag import LoopLag
from broker_trio.runtime.seams import Clock, Disk, Network

log = structlog.get_logger("namesrv")

NOT_SERVING: Final = "the remoting listener is not open"


@final
class NameserverApp:
    """One nameserver. `address` and `http_address` are the bound ones once it has started.

    Raises `ConfigError` for settings that `check` refuses: nobody listens on a reachable address
    without the switch, whoever built the app.
    """

    def __init__(
        self, clock: Clock, disk: Disk, network: Network, config: NameserverConfig
    ) -> None:
        if problems := check(config):
            raise ConfigError("\n".join(problems))
        self.address = self.http_address = ""
        self.table = RouteTable(config.routes)
        self.kv = KeyValues(disk)
        self.hot = HotSwitches(config.hot)
        self.stats = NameserverStats()
        self._clock, self._disk, self._config = clock, disk, config
        self._network = network
        brokers = BrokerRequests(clock, self.table, self.kv, self.hot, self.stats)
        not_ready_s = config.routes.not_ready_s
        routes = RouteRequests(
            clock, self.table, self.kv, self.hot, self.stats, not_ready_s=not_ready_s
        )
        admin = AdminRequests(self.table, self.kv, self.hot, config)
        facts = FactsRequest(clock, disk, self.table, config)
        self.witnessing = Witnessing(clock, disk, config.witness)
        self.witnessing.on_owner.append(self.table.fence)
        self.table.owner_of = self._owner_of
        asked = (brokers, routes, admin, facts, self.witnessing)
        self.dispatcher = Dispatcher(route for each in asked for route in each.routes())
        self.server = RemotingServer(
            network, self.dispatcher, config.remoting, on_close=self._connection_closed
        )
        self.lag = LoopLag()
        self._source = NameserverSource(
            clock,
            self.table,
            self.stats,
            self.server.stats,
            self.lag,
            insecure=config.allow_insecure_listen,
            witnessing=self.witnessing,
        )

    @property
    def ready(self) -> bool:
        return self._source.ready

    async def run(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `stopping` is set; `started` once every door is open.

        Raises `OSError` where an address is taken, `BlockingIOError` where another process has the
        data folder, `StoreCorrupt` for a key-value file that cannot be read. Cancelled: every
        connection is cut at once; nothing is lost but answers.
        """
        self._disk.lock()
        self.kv.load()
        self.witnessing.load()
        client = RemotingClient(through(self._network))
        async with client, trio.open_nursery() as services:
            await services.start(self.lag.run)
            services.start_soon(self.witnessing.run, client)
            services.start_soon(self._expire)
            async with trio.open_nursery() as doors:
                self.address = await doors.start(self.server.serve, self._config.listen)
                if self._config.http.address:
                    observed = http.Observed(self._exposition(), self._readiness)
                    address = self._config.http.address
                    self.http_address = await services.start(http.serve, observed, address)
                self._source.ready = True
                log.info("nameserver.started", address=self.address, http=self.http_address)
                if self._config.allow_insecure_listen:
                    log.warning("nameserver.insecure", address=self.address)
                task_status.started()
                await stopping.wait()
                self._source.ready = False
                self.server.stop()
            services.cancel_scope.cancel()
        log.info("nameserver.stopped", address=self.address)

    def _owner_of(self, broker_name: str) -> str | None:
        return self.witnessing.witness.owner(broker_name)

    async def _expire(self) -> None:
        """Drop the silent; their connections go too, unless another broker speaks over them."""
        while True:
            await trio.sleep(self._config.routes.scan_interval_s)
            for live in self.table.expire(self._clock.monotonic()):
                self._lost(live, "silent")
                connection = self.server.connections.get(live.session_id)
                if connection is not None and not self.table.live.of_session(live.session_id):
                    connection.scope.cancel()

    def _connection_closed(self, session: Session) -> None:
        lost = self.table.connection_closed(session.id)
        if self.ready:  # else we are stopping, and nobody is lost
            for live in lost:
                self._lost(live, "connection closed")

    def _lost(self, live: LiveBroker, why: str) -> None:
        self.stats.expired(live.broker_name)
        log.warning(
            "broker.lost",
            why=why,
            cluster=live.cluster,
            broker=live.broker_name,
            broker_id=live.broker_id,
            address=live.broker_addr,
        )

    def _exposition(self) -> Exposition:
        config = self._config
        identity = Identity(config.cluster_name, "nameserver", config.name or self.address)
        series_max = config.http.series_max
        return Exposition(MetricsCollector(identity, [self._source], series_max=series_max))

    def _readiness(self) -> http.Readiness:
        return http.Readiness(True) if self.ready else http.Readiness(False, (NOT_SERVING,))
