"""Families of a broker in a pair: records, streams, refusals. A lone broker shows only zeros here.

What is about slaves is exposed by their master, what is about the source by the slave; `replica` is
the replica id of the inventory (1, 2, …), of which a pair has few.
"""

from typing import Final

from broker_trio.metrics.families import Family, Kind
from broker_trio.model.histogram import PUT_SECONDS

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
REFUSED_REASONS: Final = (
    "limit", "timeout", "protocol", "version", "cluster", "key", "duplicate", "role", "epoch",
    "segment", "log", "ack", "record", "metadata",
)  # fmt: skip
"""Why a peer was refused at the replication door, or refused us."""

PAIR_FAMILIES: Final = (
    Family("brokertrio_epoch", _G, "Number of the epoch that this replica promised last."),
    Family("brokertrio_master", _G, "1 while this replica owns its pair's record, else 0."),
    Family(
        "brokertrio_may_write",
        _G,
        "1 while this replica may append: it owns the record, and its lease runs.",
    ),
    Family("brokertrio_copies_min", _G, "Copies that SEND_OK needs by the settled record."),
    Family("brokertrio_role_changes_total", _C, "Changes of role, epoch or copies."),
    Family(
        "brokertrio_replication_replicas",
        _G,
        "Slaves that are attached, those whose acks count, and those in sync.",
        ("state",),
    ),
    Family(
        "brokertrio_replication_lag_bytes",
        _G,
        "Bytes of the master's log that a replica lacks, by the flush mode; a slave shows its own.",
        ("replica",),
        "bytes",
    ),
    Family(
        "brokertrio_replication_lag_messages",
        _G,
        "The same in messages, about.",
        ("replica",),
    ),
    Family(
        "brokertrio_replication_lag_seconds",
        _G,
        "How long ago a replica had all that the master had then.",
        ("replica",),
        "seconds",
    ),
    Family(
        "brokertrio_replication_last_ack_timestamp_seconds",
        _G,
        "When a slave last acked more than before, or everything.",
        ("replica",),
        "seconds",
    ),
    Family(
        "brokertrio_replication_transferred_bytes_total",
        _C,
        "Bytes of the log that were shipped.",
        ("direction",),
        "bytes",
        known=(("sent",), ("received",)),
    ),
    Family("brokertrio_replication_source_connected", _G, "1 while attached to the master."),
    Family("brokertrio_replication_attached_total", _C, "Times that a stream began."),
    Family("brokertrio_replication_waiting", _G, "Sends that wait for a second copy."),
    Family(
        "brokertrio_replication_refused_total",
        _C,
        "Peers refused at the replication door, or by it.",
        ("reason",),
        known=tuple((reason,) for reason in REFUSED_REASONS),
    ),
    Family(
        "brokertrio_replication_sends_refused_total",
        _C,
        "Sends refused before the append: no slave in sync, or not the right to write.",
        ("reason",),
        known=(("no_slave",), ("role",)),
    ),
    Family(
        "brokertrio_replication_cut_bytes_total",
        _C,
        "Bytes of a log that diverged, saved in a side file and cut.",
        unit="bytes",
    ),
    Family(
        "brokertrio_replication_wait_seconds",
        _H,
        "How long messages waited for a second copy, until it confirmed them or was late.",
        unit="seconds",
        buckets=PUT_SECONDS,
    ),
)
