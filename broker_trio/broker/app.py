"""The broker program: what starts when, what stops when.

    start   store, recovered -> tables -> services -> doors -> first registration -> HTTP
            (after an unclean stop HTTP comes first, so that recovery can be watched)
    stop    unregister -> no new connections -> held pulls answered -> answers out -> tables on disk
            -> log flushed, checkpoint, abort file gone

Cancelled instead of asked to stop, it ends as if killed: recovery at the next start puts it right.
"""

from collections.abc import Iterator
from typing import Final, final

import structlog
import trio

from broker_trio.broker.config import BrokerConfig, check
from broker_trio.broker.metrics import (
    broker_samples,
    process_samples,
    recovery_samples,
    remoting_samples,
)
from broker_trio.broker.parts import Parts, neighbour
from broker_trio.broker.replication.classic import Classic, serving
from broker_trio.broker.replication.classic_samples import classic_samples
from broker_trio.broker.replication.metadata_sync import Tables
from broker_trio.broker.replication.pairing import Pairing, check_key
from broker_trio.broker.replication.samples import pair_samples
from broker_trio.metrics import http
from broker_trio.metrics.collector import Identity, MetricsCollector, Sample
from broker_trio.metrics.exposition import Exposition
from broker_trio.model.errors import ConfigError
from broker_trio.model.hosts import encode_host
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient
from broker_trio.remoting.server import RemotingServer
from broker_trio.runtime.seams import Clock, Disk, Entropy, Listener, Network
from broker_trio.runtime.supervise import Service
from broker_trio.store.checkpoint import ABORT_PATH
from broker_trio.store.store import Store

log = structlog.get_logger("broker")
VIP_OFFSET: Final = -2  # clients of the "VIP channel" connect to the port two below


@final
class BrokerApp:
    """One broker process. `address` and `http_address` are the bound ones once it has started.

    Raises `ConfigError` for settings that `check` refuses, whoever built the app. `process_id` is
    what the file `abort` shows to people.
    """

    def __init__(
        self,
        clock: Clock,
        disk: Disk,
        network: Network,
        entropy: Entropy,
        config: BrokerConfig,
        *,
        process_id: int = 0,
        pair_key: bytes = b"",
    ) -> None:
        """`pair_key`: what `replication.key_file` holds."""
        if problems := check(config):
            raise ConfigError("\n".join(problems))
        check_key(config, pair_key)
        self._pair_key = pair_key
        self.address = config.address
        self.http_address = ""
        self.parts: Parts | None = None
        self._clock, self._disk, self._network = clock, disk, network
        self._entropy, self._config = entropy, config
        self._process_id = process_id
        self._server: RemotingServer | None = None
        self._store: Store | None = None
        self._not_ready = "starting"
        self._doors_closed = trio.Event()

    async def run(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until `stopping` is set, then stop in order; `started` once everything serves.

        Raises `OSError` where an address is taken, `BlockingIOError` where another process has the
        data folder, `StoreCorrupt` for damage that a person must look at, `StoreFailed` for a disk
        that failed.
        """
        where: str | Listener = self._config.listen
        if isinstance(where, str) and where.endswith(":0"):
            where = await self._network.listen(where)
        bound = where if isinstance(where, str) else where.address
        self.address = self.address or bound
        client = RemotingClient(through(self._network), on_disconnect=self._disconnected)
        async with client, trio.open_nursery() as nursery:
            watched = self._disk.exists(ABORT_PATH)
            if watched:  # recovery may be long
                await self._open_http(nursery)
            parts = await self._open_store(nursery, client)
            for service in parts.services():
                await nursery.start(service)
            await nursery.start(self._open_doors, parts, where)
            registering = await nursery.start(_in_scope, parts.registrar.run)
            if not watched:  # its libraries are a third of the start: sends need not wait for them
                await self._open_http(nursery)
            self._not_ready = ""
            self._say_hello()
            task_status.started()
            await stopping.wait()
            registering.cancel()
            await self._stop(parts)
            nursery.cancel_scope.cancel()

    async def _open_http(self, nursery: trio.Nursery) -> None:
        config = self._config
        if not config.http.address:
            return
        identity = Identity(config.cluster_name, "broker", config.broker_name)
        collector = MetricsCollector(identity, [self._samples], series_max=config.http.series_max)
        observed = http.Observed(Exposition(collector), self.readiness)
        self.http_address = await nursery.start(http.serve, observed, config.http.address)

    async def _open_store(self, nursery: trio.Nursery, client: RemotingClient) -> Parts:
        """Recover the log and read the tables; after this the broker could answer."""
        self._not_ready = "recovering the store"
        store = self._store = Store(
            self._disk,
            self._clock,
            self._entropy,
            self._config.store,
            encode_host(self.address),
            process_id=self._process_id,
            accept_damage=self._config.accept_damage,
        )
        await nursery.start(store.run)
        self._not_ready = "reading topics, groups and offsets"
        parts = self.parts = Parts(
            self._clock, self._disk, self._entropy, self._config, self.address, store, client
        )
        parts.load(self._config)
        if self._config.replication.is_on:
            await self._open_pair(parts, store)
        if self._config.classic.follow:
            tables = Tables(parts.topics, parts.groups, parts.offsets, parts.schedule, store)
            classic = Classic(
                store, tables, parts.schedule, parts.registrar, self._clock, self._disk,
                self._network, client, self._config, self.address,
            )  # fmt: skip
            parts.join_classic(classic)
        if self._config.classic.serve:
            await nursery.start(serving(store, self._network, self._config).run)
        self._not_ready = "opening the doors"
        return parts

    async def _open_pair(self, parts: Parts, store: Store) -> None:
        self._not_ready = "joining the pair"
        tables = Tables(parts.topics, parts.groups, parts.offsets, parts.schedule, store)
        pairing = await Pairing.open(
            self._clock, self._disk, self._network, self._entropy, self._config, self.address,
            self._pair_key, store, tables, parts.schedule, parts.stats,
        )  # fmt: skip
        parts.join(pairing)

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
            batch_done=parts.store.write_log,
            batch_sent=parts.store.dispatch_written,
            on_close=parts.closed,
        )
        async with trio.open_nursery() as doors:
            await doors.start(server.serve, where)
            if self._config.vip_channel and isinstance(where, str):
                await doors.start(server.serve, neighbour(where, VIP_OFFSET))
            task_status.started()
        self._doors_closed.set()

    async def _stop(self, parts: Parts) -> None:
        """In the order of the module's theory; the supervisor's grace bounds it."""
        self._not_ready = "stopping"
        assert self._server is not None
        await parts.registrar.unregister()
        parts.held.wake_all()
        self._server.stop()
        await self._doors_closed.wait()
        # What the tables point to comes first: no delay position may be ahead of its messages.
        parts.store.write_out()
        await parts.store.wait_flushed(parts.store.log.max_offset)
        await parts.persister.persist_all()
        if parts.pairing is not None:
            await parts.pairing.replication.close()
        await parts.store.stop()
        log.info("broker.stopped", broker=self._config.broker_name)

    def _disconnected(self, address: str) -> None:
        if self.parts is not None:
            self.parts.registrar.disconnected(address)

    def _samples(self) -> Iterator[Sample]:
        """What one scrape shows: little while starting, everything afterwards."""
        ready = not self._not_ready
        yield from process_samples(self._config, self.address, ready=ready, role=self._role())
        if self._store is not None:
            yield from recovery_samples(self._store.progress)
        parts, server = self.parts, self._server
        if parts is not None and server is not None:
            yield from broker_samples(parts, self._disk.usage(), self._clock.wall_ms())
            yield from remoting_samples(server.stats)
            if parts.pairing is not None:
                end, now = parts.store.log.max_offset, self._clock.monotonic()
                yield from pair_samples(parts.pairing, end, now, self._clock.wall_ms())
            if parts.classic is not None:
                yield from classic_samples(parts.classic, self._clock.monotonic())

    def _role(self) -> str:
        """As metrics show it: the record's, never the configuration's."""
        if self._config.classic.follow and self.parts is not None:
            classic = self.parts.classic
            return "slave" if classic is not None and not classic.owns else "master"
        if not self._config.replication.is_on:
            return "master"
        if self.parts is None or self.parts.pairing is None:
            return "joining"
        return "master" if self.parts.pairing.records.replica.owns else "slave"

    def readiness(self) -> http.Readiness:
        """What /readyz answers."""
        if not self._not_ready:
            return http.Readiness(ready=True)
        shares = {}
        if self._store is not None:
            progress = self._store.progress
            shares[progress.phase] = progress.bytes_done / max(1, progress.bytes_total)
        return http.Readiness(ready=False, reasons=(self._not_ready,), progress=shares)

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
            log.warning("broker.insecure", address=self.address, setting="allow_insecure_listen")


async def _in_scope(service: Service, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    """Run a service so that it can be stopped alone: `started` gives its cancel scope."""
    async with trio.open_nursery() as nursery:
        await nursery.start(service)
        task_status.started(nursery.cancel_scope)
