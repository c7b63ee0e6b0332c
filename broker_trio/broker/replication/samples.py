"""A pair's counters as samples of the catalogue's families."""

from collections.abc import Iterator

from broker_trio.broker.replication.followers import NEVER, Follower
from broker_trio.broker.replication.pairing import Pairing
from broker_trio.metrics.collector import Sample, sample


def pair_samples(pairing: Pairing, log_end: int, now: float, wall_ms: int) -> Iterator[Sample]:
    """Of both sides. `now`: the monotonic clock, `wall_ms` at the same moment."""
    replication, role = pairing.replication, pairing.records.replica
    yield sample("brokertrio_epoch", role.epoch.counter)
    yield sample("brokertrio_master", float(role.owns))
    yield sample("brokertrio_may_write", float(role.may_write(now) is None))
    yield sample("brokertrio_copies_min", role.min_copies)
    yield sample("brokertrio_role_changes_total", role.changes)
    yield from _counters(pairing)
    followers = list(replication.followers.table.values())
    if role.leads:
        in_sync = [one for one in followers if replication.followers.in_sync(one, log_end, now)]
        counted = replication.followers.counted()
        states = ("attached", len(followers)), ("counted", int(counted is not None))
        for state, count in (*states, ("in_sync", len(in_sync))):
            yield sample("brokertrio_replication_replicas", count, state)
        for follower in followers:
            yield from _follower(pairing, follower, log_end, now, wall_ms)
        return
    replica = str(pairing.records.settings.replica_id)
    yield sample(
        "brokertrio_replication_source_connected", float(replication.slave.source is not None)
    )
    yield sample("brokertrio_replication_lag_bytes", replication.lag_bytes, replica)
    yield sample("brokertrio_replication_lag_messages", replication.lag_messages, replica)
    yield sample("brokertrio_replication_lag_seconds", replication.lag_seconds, replica)


def _counters(pairing: Pairing) -> Iterator[Sample]:
    replication = pairing.replication
    stats, acks = replication.stats, replication.acks
    yield sample("brokertrio_replication_transferred_bytes_total", stats.bytes_sent, "sent")
    yield sample("brokertrio_replication_transferred_bytes_total", stats.bytes_received, "received")
    yield sample("brokertrio_replication_attached_total", stats.attached)
    yield sample("brokertrio_replication_waiting", acks.waiting_count)
    for reason, count in replication.refusals.counts.items():
        yield sample("brokertrio_replication_refused_total", count, reason)
    yield sample("brokertrio_replication_sends_refused_total", acks.refused_no_slave, "no_slave")
    yield sample("brokertrio_replication_sends_refused_total", acks.refused_role, "role")
    yield sample("brokertrio_replication_cut_bytes_total", stats.cut_bytes)


def _follower(
    pairing: Pairing, follower: Follower, log_end: int, now: float, wall_ms: int
) -> Iterator[Sample]:
    replica, lacks = str(follower.replica_id), max(0, log_end - follower.written)
    counts = pairing.replication.master.counts
    since = follower.level_at if follower.level_at > NEVER else follower.attached_at
    seen_s = wall_ms / 1_000 - (now - follower.seen_at)
    yield sample("brokertrio_replication_lag_bytes", lacks, replica)
    messages = counts.between(follower.written, log_end)
    yield sample("brokertrio_replication_lag_messages", messages, replica)
    yield sample("brokertrio_replication_lag_seconds", now - since if lacks else 0.0, replica)
    yield sample("brokertrio_replication_last_ack_timestamp_seconds", seen_s, replica)
