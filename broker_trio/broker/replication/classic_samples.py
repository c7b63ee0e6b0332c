"""A slave of an Apache master as samples of the pairs' families: the same panels show it."""

from collections.abc import Iterator

from broker_trio.broker.replication.classic import Classic
from broker_trio.metrics.collector import Sample, sample


def classic_samples(classic: Classic, now: float) -> Iterator[Sample]:
    """How far it is behind; nothing once it was promoted. `now`: the monotonic clock."""
    yield sample("brokertrio_master", float(classic.owns))
    yield sample("brokertrio_may_write", float(classic.owns))
    watch, replica = classic.slave.watch, str(classic.service.broker_id)
    yield sample("brokertrio_replication_transferred_bytes_total", watch.bytes_received, "received")
    yield sample("brokertrio_replication_attached_total", watch.sessions)
    yield sample("brokertrio_replication_cut_bytes_total", watch.cut_bytes)
    if classic.owns:
        return
    lacks = classic.lacks
    yield sample("brokertrio_replication_source_connected", float(watch.following))
    yield sample("brokertrio_replication_lag_bytes", lacks, replica)
    if watch.level_at > float("-inf"):
        behind_s = now - watch.level_at if lacks else 0.0
        yield sample("brokertrio_replication_lag_seconds", behind_s, replica)
