"""A pair's counters as samples of the catalogue's families."""

from collections.abc import Iterator

from broker_trio.broker.replication.pairing import Pairing
from broker_trio.broker.replication.replication import Replication
from broker_trio.metrics.collector import Sample, sample
from broker_trio.model.pair import Lag


def pair_samples(pairing: Pairing, log_end: int, now: float, wall_ms: int) -> Iterator[Sample]:
    """Of both sides. `now`: the monotonic clock, `wall_ms` at the same moment."""
    replication, role = pairing.replication, pairing.records.replica
    yield sample("brokertrio_epoch", role.epoch.counter)
    yield sample("brokertrio_master", float(role.owns))
    yield sample("brokertrio_may_write", float(role.may_write(now) is None))
    yield sample("brokertrio_copies_min", role.min_copies)
    yield sample("brokertrio_role_changes_total", role.changes)
    waited_s = replication.acks.oldest_wait_s(now)
    yield sample("brokertrio_request_wait_seconds", waited_s, "send")
    yield from counter_samples(replication)
    followers = list(replication.followers.table.values())
    if role.leads:
        in_sync = [one for one in followers if replication.followers.in_sync(one, log_end, now)]
        counted = replication.followers.counted()
        states = ("attached", len(followers)), ("counted", int(counted is not None))
        for state, count in (*states, ("in_sync", len(in_sync))):
            yield sample("brokertrio_replication_replicas", count, state)
        for lag in replication.lags(now):
            yield from _lag(lag)
        for follower in followers:
            moved_s = wall_ms / 1_000 - (now - follower.moved_at)
            name = "brokertrio_replication_last_ack_timestamp_seconds"
            yield sample(name, moved_s, str(follower.replica_id))
        return
    yield sample(
        "brokertrio_replication_source_connected", float(replication.slave.source is not None)
    )
    none = Lag(replica_id=pairing.records.settings.replica_id, bytes=0, messages=0, ms=0)
    yield from _lag(replication.lag or none)


def counter_samples(replication: Replication) -> Iterator[Sample]:
    """What streams, waits and refusals have counted; they only rise."""
    stats, acks = replication.stats, replication.acks
    yield sample("brokertrio_replication_transferred_bytes_total", stats.bytes_sent, "sent")
    yield sample("brokertrio_replication_transferred_bytes_total", stats.bytes_received, "received")
    yield sample("brokertrio_replication_attached_total", stats.attached)
    yield sample("brokertrio_replication_waiting", acks.waiting_count)
    yield sample("brokertrio_replication_wait_seconds", acks.waits_s)
    for reason, count in replication.refusals.counts.items():
        yield sample("brokertrio_replication_refused_total", count, reason)
    yield sample("brokertrio_replication_sends_refused_total", acks.refused_no_slave, "no_slave")
    yield sample("brokertrio_replication_sends_refused_total", acks.refused_role, "role")
    yield sample("brokertrio_replication_cut_bytes_total", stats.cut_bytes)


def _lag(lag: Lag) -> Iterator[Sample]:
    replica = str(lag.replica_id)
    yield sample("brokertrio_replication_lag_bytes", lag.bytes, replica)
    yield sample("brokertrio_replication_lag_messages", lag.messages, replica)
    yield sample("brokertrio_replication_lag_seconds", lag.ms / 1_000, replica)
