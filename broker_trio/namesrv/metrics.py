"""The nameserver's counters and tables as samples of the catalogue's families."""

import sys
from collections.abc import Iterator
from typing import final

import trio

from broker_trio import __version__
from broker_trio.metrics.collector import Distribution, Sample, sample
from broker_trio.namesrv import views
from broker_trio.namesrv.routes import RouteTable
from broker_trio.namesrv.stats import NameserverStats
from broker_trio.namesrv.witnessing import Witnessing
from broker_trio.remoting.stats import RemotingStats
from broker_trio.runtime.loop_lag import LoopLag
from broker_trio.runtime.seams import Clock


@final
class NameserverSource:
    """A source for `MetricsCollector`. Walks copies: the program goes on between two samples."""

    def __init__(
        self,
        clock: Clock,
        table: RouteTable,
        stats: NameserverStats,
        remoting: RemotingStats,
        loop_lag: LoopLag,
        *,
        insecure: bool = False,
        witnessing: Witnessing | None = None,
    ) -> None:
        self._clock, self._table, self._stats = clock, table, stats
        self._remoting, self._loop_lag = remoting, loop_lag
        self._insecure, self._witnessing = insecure, witnessing
        self.ready = False

    def __call__(self) -> Iterator[Sample]:
        yield sample("brokertrio_ready", float(self.ready))
        yield from self._process()
        yield from self._routes()
        yield from self._records()

    def _process(self) -> Iterator[Sample]:
        python = ".".join(map(str, sys.version_info[:3]))
        yield sample("brokertrio_build_info", 1.0, __version__, python, trio.__version__)
        yield sample("brokertrio_insecure", float(self._insecure))
        stats, lag = self._remoting, self._loop_lag
        yield sample("brokertrio_connections", stats.connections)
        yield sample("brokertrio_connections_accepted_total", stats.accepted)
        for kind, count in list(stats.protocol_errors.items()):
            yield sample("brokertrio_protocol_errors_total", count, kind)
        for reason, count in list(stats.refused.items()):
            yield sample("brokertrio_connections_refused_total", count, reason)
        yield sample("brokertrio_network_bytes_total", stats.bytes_in, "in")
        yield sample("brokertrio_network_bytes_total", stats.bytes_out, "out")
        late = Distribution(tuple(lag.buckets), lag.sum_us / 1e6)
        yield sample("brokertrio_event_loop_lag_seconds", late)

    def _routes(self) -> Iterator[Sample]:
        table, stats = self._table, self._stats
        yield sample("brokertrio_ns_topics", len(table.topics))
        yield sample("brokertrio_ns_route_fingerprint", table.fingerprint)
        for result, count in stats.registrations.items():
            yield sample("brokertrio_ns_registrations_total", count, result)
        yield sample("brokertrio_ns_route_requests_total", stats.route_found, "found")
        yield sample("brokertrio_ns_route_requests_total", stats.route_not_found, "not_found")
        yield sample("brokertrio_ns_route_duration_seconds", stats.route_duration)
        for name, count in list(stats.expirations.items()):
            yield sample("brokertrio_ns_expirations_total", count, name)
        for (cluster, role), count in views.broker_counts(table).items():
            yield sample("brokertrio_ns_brokers", count, cluster, role)
        for name in sorted(table.wiped):
            yield sample("brokertrio_ns_write_wiped", 1.0, name)
        yield from self._heartbeats()

    def _records(self) -> Iterator[Sample]:
        """What this nameserver witnesses; it has a record of each pair, lone brokers have none."""
        if self._witnessing is None:
            return
        known = self._witnessing.witness.state
        yield sample("brokertrio_ns_witness_forgot", float(known is None))
        if known is not None:
            for name, record in list(known.records.items()):
                yield sample("brokertrio_ns_record_epoch", record.epoch.counter, name)

    def _heartbeats(self) -> Iterator[Sample]:
        """Ages are monotonic; the page wants the wall's seconds since 1970."""
        began = self._clock.wall_ms() / 1_000 - self._clock.monotonic()
        family = "brokertrio_ns_broker_last_heartbeat_timestamp_seconds"
        heard: dict[tuple[str, str], float] = {}
        for live in self._table.live:
            key = (live.broker_name, str(live.broker_id))
            heard[key] = max(heard.get(key, 0.0), began + live.last_update)
        for (name, broker_id), when in heard.items():
            yield sample(family, when, name, broker_id)
