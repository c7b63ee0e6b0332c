"""Families of the nameserver, and those that both programs expose.

Upstream's nameserver has no metrics at all. The fingerprint is ours alone: nameservers never talk
to each other, so nothing else shows that two of them hand out different routes.
"""

from typing import Final

from broker_trio.metrics.families import BOTH, NAMESERVER, Family, Kind, Status
from broker_trio.model.histogram import PUT_SECONDS
from broker_trio.runtime.loop_lag import BOUNDS_S

PROTOCOL_ERRORS: Final = (
    "malformed", "too_large", "first_frame", "slow_frame", "stalled", "idle",
)  # fmt: skip
"""Why a connection was closed, as remoting/stats.py counts it."""

SHARED_FAMILIES: Final = (
    Family(
        "brokertrio_build_info",
        Kind.GAUGE,
        "Always 1; the labels say what runs.",
        ("version", "python", "trio"),
        roles=BOTH,
    ),
    Family("brokertrio_ready", Kind.GAUGE, "1 while the program serves requests.", roles=BOTH),
    Family("brokertrio_connections", Kind.GAUGE, "Open client connections.", roles=BOTH),
    Family(
        "brokertrio_connections_accepted_total",
        Kind.COUNTER,
        "Connections accepted since the start.",
        roles=BOTH,
    ),
    Family(
        "brokertrio_protocol_errors_total",
        Kind.COUNTER,
        "Connections closed because the peer broke the format or a limit.",
        ("kind",),
        roles=BOTH,
        known=tuple((kind,) for kind in PROTOCOL_ERRORS),
    ),
    Family(
        "brokertrio_connections_refused_total",
        Kind.COUNTER,
        "Connections refused, by the limit that was reached.",
        ("reason",),
        roles=BOTH,
        known=(("connections",), ("connections_per_address",)),
    ),
    Family(
        "brokertrio_network_bytes_total",
        Kind.COUNTER,
        "Bytes of the remoting connections.",
        ("direction",),
        "bytes",
        roles=BOTH,
        known=(("in",), ("out",)),
    ),
    Family(
        "brokertrio_event_loop_lag_seconds",
        Kind.HISTOGRAM,
        "How late timers of the event loop fire.",
        unit="seconds",
        roles=BOTH,
        buckets=BOUNDS_S,
    ),
    Family(
        "brokertrio_metrics_series",
        Kind.GAUGE,
        "Series that the previous scrape exposed.",
        roles=BOTH,
    ),
    Family(
        "brokertrio_metrics_dropped_series_total",
        Kind.COUNTER,
        "Series left out because the limit of series was reached.",
        roles=BOTH,
    ),
    Family(
        "brokertrio_insecure",
        Kind.GAUGE,
        "1 where allow_insecure_listen lets everybody in without authentication and TLS.",
        roles=BOTH,
    ),
    Family(
        "brokertrio_config_last_reload_success",
        Kind.GAUGE,
        "1 when the last reload of the configuration was taken.",
        roles=BOTH,
        status=Status.LATER,
    ),
    Family(
        "brokertrio_config_last_reload_timestamp_seconds",
        Kind.GAUGE,
        "When the configuration was last reloaded.",
        unit="seconds",
        roles=BOTH,
        status=Status.LATER,
    ),
)

NAMESERVER_FAMILIES: Final = (
    Family(
        "brokertrio_ns_brokers",
        Kind.GAUGE,
        "Brokers registered now.",
        ("broker_cluster", "role"),
        roles=NAMESERVER,
    ),
    Family("brokertrio_ns_topics", Kind.GAUGE, "Topics in the route table.", roles=NAMESERVER),
    Family(
        "brokertrio_ns_broker_last_heartbeat_timestamp_seconds",
        Kind.GAUGE,
        "When each broker was last heard of.",
        ("broker_name", "broker_id"),
        unit="seconds",
        roles=NAMESERVER,
    ),
    Family(
        "brokertrio_ns_registrations_total",
        Kind.COUNTER,
        "Registrations by their result.",
        ("result",),
        roles=NAMESERVER,
        known=(("new",), ("refresh",), ("unchanged",), ("rejected",)),
    ),
    Family(
        "brokertrio_ns_expirations_total",
        Kind.COUNTER,
        "Brokers dropped because they fell silent or their connection closed.",
        ("broker_name",),
        roles=NAMESERVER,
    ),
    Family(
        "brokertrio_ns_route_requests_total",
        Kind.COUNTER,
        "Questions for a topic's route by their result.",
        ("result",),
        roles=NAMESERVER,
        known=(("found",), ("not_found",)),
    ),
    Family(
        "brokertrio_ns_route_duration_seconds",
        Kind.HISTOGRAM,
        "Time to answer a question for a topic's route.",
        unit="seconds",
        roles=NAMESERVER,
        buckets=PUT_SECONDS,
    ),
    Family(
        "brokertrio_ns_route_fingerprint",
        Kind.GAUGE,
        "48 bits of a hash of the sorted route table; equal tables give equal numbers.",
        roles=NAMESERVER,
    ),
    Family(
        "brokertrio_ns_witness_forgot",
        Kind.GAUGE,
        "1 while this nameserver lost its record file and confirms no lease.",
        roles=NAMESERVER,
    ),
    Family(
        "brokertrio_ns_record_epoch",
        Kind.GAUGE,
        "Number of the epoch in the record that this nameserver keeps of a pair.",
        ("broker_name",),
        roles=NAMESERVER,
    ),
    Family(
        "brokertrio_ns_write_wiped",
        Kind.GAUGE,
        "1 while an operator has taken a broker's write permission away.",
        ("broker_name",),
        roles=NAMESERVER,
    ),
)
