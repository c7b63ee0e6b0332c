"""The broker program, put together: the only place that knows every part, and holds no behaviour.

    start   HTTP (so that recovery can be watched) -> store, recovered -> tables -> services -> doors
            -> first registration
    stop    unregister -> no new connections -> held pulls answered -> answers out -> tables on disk
            -> log flushed, checkpoint, abort file gone

Cancelled instead of asked to stop, it ends as if killed: recovery at the next start puts it right.
"""

from typing import Any, Final, Protocol, final

import structlog
import trio

from broker_trio.broker.admin.connections import ConnectionAdmin
from broker_trio.broker.admin.groups import GroupAdmin
from broker_trio.broker.admin.offsets import OffsetAdmin
from broker_trio.broker.admin.topics import TopicAdmin
from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.groups import Groups
from broker_trio.broker.held_pulls import HeldPulls
from broker_trio.broker.locks import Locks
from broker_trio.broker.metadata import Persister
from broker_trio.broker.offsets import ConsumerOffsets, OffsetRequests
from broker_trio.broker.pull import Pull
from broker_trio.broker.query import Query
from broker_trio.broker.registrar import Identity, Registrar
from broker_trio.broker.retry import Retry
from broker_trio.broker.schedule import Schedule
from broker_trio.broker.send import Send
from broker_trio.broker.sessions import Sessions
from broker_trio.broker.settings import Settings
from broker_trio.broker.stats import BrokerStats
from broker_trio.broker.topics import Topics
from broker_trio.model.hosts import encode_host
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient
from broker_trio.remoting.dispatch import Dispatcher, Route, Session
from broker_trio.remoting.server import RemotingServer
from broker_trio.runtime.loop_lag import LoopLag
from broker_trio.runtime.seams import Clock, Disk, Entropy, Listener, Network
from broker_trio.runtime.supervise import Service
from broker_trio.store.store import Store

log = structlog.get_logger("broker")
VIP_OFFSET: Final = 2  # clients of the "VIP channel" connect to the port two below


class Routed(Protocol):
    """A service that answers requests."""

    def routes(self) -> tuple[Route[Any], ...]: ...


@final
class Parts:
    """Everything that a running broker consists of, built in the order of who needs whom."""

    def __init__(
        self,
        clock: Clock,
        disk: Disk,
        entropy: Entropy,
        config: BrokerConfig,
        address: str,
        store: Store,
        client: RemotingClient,
    ) -> None:
        settings = self.settings = Settings(
            auto_create_topic_enable=config.topics.auto_create_topic_enable,
            auto_create_subscription_group=config.topics.auto_create_subscription_group,
            default_topic_queue_nums=config.topics.default_topic_queue_nums,
            long_polling_enable=config.pull.long_polling_enable,
            trace_on=config.trace_on,
        )
        self.store = store
        self.stats = BrokerStats(clock)
        self.lag = LoopLag()
        self.topics = Topics(disk, clock, settings, topics_max=config.topics.topics_max)
        self.groups = Groups(disk, clock, settings, groups_max=config.topics.groups_max)
        persist_s = config.pull.offsets_persist_interval_ms / 1_000
        self.offsets = ConsumerOffsets(disk, clock, persist_interval_s=persist_s)
        self.schedule = Schedule(disk, store, clock, settings)
        self.locks = Locks(clock)
        self.sessions = Sessions(self.topics, self.groups, clock)
        self.retry = Retry(
            store,
            self.topics,
            self.groups,
            self.locks,
            self.stats,
            settings,
            entropy,
            config.store,
        )
        self.held = HeldPulls(clock, config.pull.held_pulls_max)
        store.arrivals.append(self.held.arrived)
        self.send = Send(
            store,
            self.topics,
            self.retry,
            self.schedule,
            self.stats,
            entropy,
            config,
            encode_host(address),
            settings,
        )
        self.pull = Pull(
            store,
            clock,
            self.topics,
            self.groups,
            self.offsets,
            self.sessions,
            self.held,
            self.stats,
            config,
            settings,
        )
        self.query = Query(store, self.topics)
        self.offset_requests = OffsetRequests(
            self.offsets,
            self.topics,
            self.groups,
            store,
            memory_bytes=config.pull.young_queue_bytes,
        )
        identity = self.identity = Identity(
            config.cluster_name, config.broker_name, config.broker_id, address, _moved(address, 1)
        )
        self.registrar = Registrar(
            client,
            self.topics,
            settings,
            clock,
            entropy,
            identity,
            config.nameservers,
            interval_s=config.register_interval_s,
        )
        self.persister = Persister(
            [self.topics.file, self.groups.file, self.offsets.file, self.schedule.file]
        )
        self.admin = self._admin(config)

    def _admin(self, config: BrokerConfig) -> tuple[Routed, ...]:
        """The services behind the tools' requests."""
        return (
            TopicAdmin(
                self.store,
                self.topics,
                self.groups,
                self.offsets,
                self.sessions,
                self.stats,
                self.registrar,
                self.identity,
            ),
            GroupAdmin(self.groups, self.topics, self.offsets, self.stats),
            OffsetAdmin(
                self.store,
                self.topics,
                self.groups,
                self.offsets,
                self.sessions,
                self.schedule,
                self.stats,
                self.identity,
            ),
            ConnectionAdmin(
                self.store, self.sessions, self.topics, self.groups, config.broker_name
            ),
        )

    def load(self, config: BrokerConfig) -> None:
        """Read every table, and pull back what points beyond the recovered log."""
        empty = self.store.log.max_offset == 0
        for table in (self.topics, self.groups, self.offsets, self.schedule):
            table.load(log_is_empty=empty)
        self.topics.create_system_topics(config.cluster_name, config.broker_name)
        self.offsets.clamp(self.store.queues.max_offset)

    def closed(self, session: Session) -> None:
        """A connection ended: nobody may wait on it, count it or push to it any more."""
        self.held.session_closed(session)
        self.send.session_closed(session)
        self.sessions.closed(session)

    def dispatcher(self) -> Dispatcher:
        """All routes of the broker."""
        services: tuple[Routed, ...] = (
            self.send,
            self.pull,
            self.offset_requests,
            self.sessions,
            self.locks,
            self.retry,
            self.query,
            *self.admin,
        )
        return Dispatcher(route for service in services for route in service.routes())


@final
class BrokerApp:
    """One broker process. `address` and `http_address` are known once `run` has started."""

    def __init__(
        self, clock: Clock, disk: Disk, network: Network, entropy: Entropy, config: BrokerConfig
    ) -> None:
        self.address = config.address
        self.http_address = ""
        self.parts: Parts | None = None
        self._clock, self._disk, self._network = clock, disk, network
        self._entropy, self._config = entropy, config
        self._server: RemotingServer | None = None
        self._problem = "starting"
        self._closed = trio.Event()
        self._store: Store | None = None

    async def run(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `stopping`, then stop in order. Raises `StoreFailed`, `StoreCorrupt`."""
        listener = None
        if self._config.listen.endswith(":0"):
            listener = await self._network.listen(self._config.listen)
        self.address = self.address or (listener.address if listener else self._config.listen)
        client = RemotingClient(through(self._network), on_disconnect=self._disconnected)
        async with client, trio.open_nursery() as nursery:
            await self._start_http(nursery)
            parts = await self._start_store(nursery, client)
            for service in (
                parts.persister.run,
                parts.schedule.run,
                parts.sessions.run,
                parts.held.run,
                parts.stats.run,
                parts.lag.run,
            ):
                await nursery.start(service)
            await nursery.start(self._open_doors, parts, listener or self._config.listen)
            registering = await nursery.start(_in_scope, parts.registrar.run)
            self._problem = ""
            self._say_hello()
            task_status.started()
            await stopping.wait()
            registering.cancel()
            await self._stop(parts)
            nursery.cancel_scope.cancel()

    async def _start_store(self, nursery: trio.Nursery, client: RemotingClient) -> Parts:
        self._problem = "recovering the store"
        self._disk.lock()
        store = self._store = Store(
            self._disk,
            self._clock,
            self._entropy,
            self._config.store,
            encode_host(self.address),
            accept_damage=self._config.accept_damage,
        )
        await nursery.start(store.run)
        self._problem = "reading topics, groups and offsets"
        parts = self.parts = Parts(
            self._clock, self._disk, self._entropy, self._config, self.address, store, client
        )
        parts.load(self._config)
        return parts

    async def _open_doors(
        self,
        parts: Parts,
        where: str | Listener,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on the port and, where it was chosen by name, on the VIP port two below."""
        server = self._server = RemotingServer(
            self._network,
            parts.dispatcher(),
            self._config.remoting,
            batch_done=parts.store.write_out,
            on_close=parts.closed,
        )
        async with trio.open_nursery() as doors:
            await doors.start(server.serve, where)
            if self._config.vip_channel and isinstance(where, str):
                await doors.start(server.serve, _moved(where, -VIP_OFFSET))
            task_status.started()
        self._closed.set()

    async def _stop(self, parts: Parts) -> None:
        """In the order of the module's theory; the supervisor's grace bounds it."""
        self._problem = "stopping"
        assert self._server is not None
        await parts.registrar.unregister()
        parts.held.wake_all()
        self._server.stop()
        await self._closed.wait()
        await parts.persister.persist_all()
        await parts.store.stop()
        log.info("broker.stopped", broker=self._config.broker_name)

    def _disconnected(self, address: str) -> None:
        if self.parts is not None:
            self.parts.registrar.disconnected(address)

    async def _start_http(self, nursery: trio.Nursery) -> None:
        """The HTTP door opens first, so that a long recovery can be watched."""
        if not self._config.http.address:
            return
        collector = MetricsCollector(
            "broker",
            Identity(self._config.cluster_name, "broker", self._config.broker_name),
            self._samples,
            series_max=self._config.http.series_max,
        )
        observed = Observed(Exposition(collector), self.readiness)
        self.http_address = await nursery.start(serve_http, observed, self._config.http.address)

    def readiness(self) -> Readiness:
        """What /readyz answers."""
        progress = {"recovery": self._store.recovery_share} if self._store is not None else {}
        if self._problem:
            return Readiness(ready=False, reasons=(self._problem,), progress=progress)
        return Readiness(ready=True)

    def _say_hello(self) -> None:
        config = self._config
        log.info(
            "broker.ready",
            broker=config.broker_name,
            address=self.address,
            http=self.http_address,
            data=self._disk.root,
            flush=config.store.flush_disk_type,
            durability="disk" if config.store.flush_disk_type == "SYNC_FLUSH" else "memory",
        )
        if config.allow_insecure_listen:
            log.warning("broker.insecure", address=self.address, why="allow_insecure_listen is set")


async def _in_scope(service: Service, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    """Run a service so that it can be stopped alone: `started` gives its cancel scope."""
    async with trio.open_nursery() as nursery:
        await nursery.start(service)
        task_status.started(nursery.cancel_scope)


def _moved(address: str, by: int) -> str:
    """The same host, a neighbouring port."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + by}"
