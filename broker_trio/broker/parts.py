"""Everything that a running broker consists of, built in the order of who needs whom.

    tables      settings, topics, groups, offsets            what the broker knows, on disk
    services    schedule, sessions, locks, held pulls, registrar    what moves by itself
    requests    send, pull, queries, administration          what answers, by request code

Holds no behaviour; nothing below takes it as an argument.
"""

from collections.abc import Iterable
from typing import Any, Protocol, final

from broker_trio.broker.admin.connections import ConnectionAdmin
from broker_trio.broker.admin.facts import FactsAdmin
from broker_trio.broker.admin.groups import GroupAdmin
from broker_trio.broker.admin.offsets import OffsetAdmin
from broker_trio.broker.admin.queues import QueueAdmin
from broker_trio.broker.admin.runtime import RuntimeAdmin
from broker_trio.broker.admin.topics import TopicAdmin
from broker_trio.broker.ages import Ages
from broker_trio.broker.burst import Bursts
from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.groups import Groups
from broker_trio.broker.held_pulls import HeldPulls
from broker_trio.broker.locks import Locks
from broker_trio.broker.metadata import Persister
from broker_trio.broker.offsets import ConsumerOffsets, OffsetRequests
from broker_trio.broker.pull import Pull
from broker_trio.broker.query import Query
from broker_trio.broker.registrar import Identity, Registrar
from broker_trio.broker.replication.classic import Classic
from broker_trio.broker.replication.pairing import Pairing
from broker_trio.broker.retry import Retry
from broker_trio.broker.schedule import Schedule
from broker_trio.broker.send import Send
from broker_trio.broker.sessions import Sessions
from broker_trio.broker.settings import Settings
from broker_trio.broker.stats import BrokerStats
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import RequestCode
from broker_trio.model.hosts import encode_host
from broker_trio.remoting.client import RemotingClient
from broker_trio.remoting.dispatch import Dispatcher, Route, Session
from broker_trio.runtime.loop_lag import LoopLag
from broker_trio.runtime.seams import Clock, Disk, Entropy
from broker_trio.runtime.supervise import Service
from broker_trio.store.consume_queue import ConsumeQueue
from broker_trio.store.store import Store


class Routed(Protocol):
    """A service that answers requests."""

    def routes(self) -> tuple[Route[Any], ...]: ...


@final
class Parts:
    """One broker, put together over a recovered store."""

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
        self.store, self._client = store, client
        self.pairing: Pairing | None = None
        self.classic: Classic | None = None
        self.stats = BrokerStats(clock)
        self.stats.put_times = store.stats.put_times
        self.lag = LoopLag()
        self.identity = Identity(
            config.cluster_name,
            config.broker_name,
            config.broker_id,
            address,
            neighbour(address, 1),
        )
        self._build_tables(clock, disk, config)
        self._build_services(clock, disk, entropy, config, client)
        self.requests: tuple[Routed, ...] = (
            *self._for_clients(clock, entropy, config),
            *self._for_tools(clock, disk, config),
        )

    def _build_tables(self, clock: Clock, disk: Disk, config: BrokerConfig) -> None:
        self.settings = Settings(
            auto_create_topic_enable=config.topics.auto_create_topic_enable,
            auto_create_subscription_group=config.topics.auto_create_subscription_group,
            default_topic_queue_nums=config.topics.default_topic_queue_nums,
            long_polling_enable=config.pull.long_polling_enable,
        )
        self.topics = Topics(
            disk,
            clock,
            self.settings,
            topics_max=config.topics.topics_max,
            queues_max=config.topics.queues_per_topic_max,
        )
        self.groups = Groups(disk, clock, self.settings, groups_max=config.topics.groups_max)
        persist_s = config.pull.offsets_persist_interval_ms / 1_000
        self.offsets = ConsumerOffsets(disk, clock, persist_interval_s=persist_s)

    def _build_services(
        self,
        clock: Clock,
        disk: Disk,
        entropy: Entropy,
        config: BrokerConfig,
        client: RemotingClient,
    ) -> None:
        self.schedule = Schedule(disk, self.store, clock, self.topics)
        self.sessions = Sessions(self.topics, self.groups, clock)
        self.locks = Locks(clock)
        self.held = HeldPulls(clock, config.pull.held_pulls_max)
        self.store.arrivals.append(self.held.arrived)
        self.ages = Ages(clock, self.store, self.offsets)
        self.registrar = Registrar(
            client,
            self.topics,
            self.settings,
            clock,
            entropy,
            self.identity,
            config.nameservers,
            interval_s=config.register_interval_s,
        )
        tables = (self.topics, self.groups, self.offsets, self.schedule)
        self.persister = Persister([table.file for table in tables])

    def _for_clients(
        self, clock: Clock, entropy: Entropy, config: BrokerConfig
    ) -> tuple[Routed, ...]:
        """What producers and consumers ask."""
        store, topics, groups, stats = self.store, self.topics, self.groups, self.stats
        retry = self.retry = Retry(
            store, topics, groups, self.locks, stats, self.settings, entropy, config.store
        )
        self.send = Send(
            store,
            topics,
            retry,
            self.schedule,
            stats,
            entropy,
            config,
            encode_host(self.identity.address),
            self.settings,
        )
        pull = self.pull = Pull(
            store,
            clock,
            topics,
            groups,
            self.offsets,
            self.sessions,
            self.held,
            stats,
            config,
            self.settings,
            self.lag,
        )
        offsets = OffsetRequests(
            self.offsets, topics, groups, store, memory_bytes=config.pull.young_queue_bytes
        )
        return (self.send, pull, retry, offsets, self.sessions, self.locks, Query(store, topics))

    def _for_tools(self, clock: Clock, disk: Disk, config: BrokerConfig) -> tuple[Routed, ...]:
        """What administrators ask."""
        store, topics, groups, offsets = self.store, self.topics, self.groups, self.offsets
        sessions, stats = self.sessions, self.stats
        return (
            TopicAdmin(
                store, topics, groups, offsets, sessions, stats, self.registrar, self.identity
            ),
            GroupAdmin(groups, topics, offsets, stats),
            OffsetAdmin(
                store, topics, groups, offsets, sessions, self.schedule, stats, self.identity
            ),
            ConnectionAdmin(store, sessions, topics, groups, offsets, self.identity),
            FactsAdmin(disk, clock, self.registrar, stats, config, self.identity),
            QueueAdmin(store, clock, topics, offsets, sessions, self.identity),
            self._runtime(disk, clock, config),
        )

    def _runtime(self, disk: Disk, clock: Clock, config: BrokerConfig) -> RuntimeAdmin:
        self.runtime = RuntimeAdmin(
            disk,
            self.store,
            clock,
            self.topics,
            self.schedule,
            self.stats,
            self.settings,
            config,
            self.identity,
        )
        return self.runtime

    def load(self, config: BrokerConfig) -> None:
        """Read every table, and pull back what points beyond the recovered log."""
        empty = self.store.log.max_offset == 0
        self.topics.load(log_is_empty=empty)
        self.groups.load(log_is_empty=empty)
        self.offsets.load(log_is_empty=empty)
        self.schedule.load(log_is_empty=empty)
        self.topics.create_system_topics(config.cluster_name, config.broker_name)
        queues = self.store.queues
        counts = {topic: _queue_count(queues.queues_of(topic)) for topic in queues.topics()}
        self.topics.restore(counts)
        self.offsets.clamp(self.store.queues.max_offset)

    def join_classic(self, classic: Classic) -> None:
        """This broker is a slave of an Apache master: before its services start."""
        self.classic = classic
        self.requests += (classic,)
        self.pull.join_pair(classic.service)
        classic.slave.on_source.append(self.held.wake_all)
        self.runtime.replica = classic.service

    def join(self, pairing: Pairing) -> None:
        """This broker is in a pair: before its services start and its doors open."""
        self.pairing = pairing
        self.requests += (pairing,)
        pairing.join(self.send, self.retry, self.registrar, self.pull, self.held)
        self.runtime.replica = pairing.service

    def services(self) -> tuple[Service, ...]:
        """What runs beside the doors; the registrar is started after them."""
        pairing = () if self.pairing is None else self.pairing.services(self._client)
        classic = () if self.classic is None else self.classic.services()
        return (
            *pairing,
            *classic,
            self.persister.run,
            self.schedule.run,
            self.sessions.run,
            self.held.run,
            self.stats.run,
            self.ages.run,
            self.lag.run,
        )

    def closed(self, session: Session) -> None:
        """A connection ended: nobody may wait on it, count it or push to it any more."""
        self.held.session_closed(session)
        self.send.session_closed(session)
        self.sessions.closed(session)

    def dispatcher(self) -> Dispatcher:
        """All routes of the broker."""
        routes: Iterable[Route[Any]] = (
            route for service in self.requests for route in service.routes()
        )
        replica = self.pairing or self.classic
        if replica is not None:
            routes = map(replica.service.guarded, routes)
        return Dispatcher(routes, Bursts(self.send).take, RequestCode.SEND_MESSAGE_V2)


def _queue_count(queues: list[ConsumeQueue]) -> int:
    """How many queues a topic must have for all that was stored in it to be readable."""
    return max((queue.queue_id + 1 for queue in queues if queue.max_offset), default=0)


def neighbour(address: str, by: int) -> str:
    """The same host, a neighbouring port."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + by}"
