"""Families of the broker: RocketMQ's own names first, then ours.

Units of the native names are RocketMQ's (milliseconds, sizes of body and overhead); `promtool check
metrics` objects to them, and its test allows exactly these.
"""

from typing import Final

from broker_trio.metrics.families import Family, Kind, Status
from broker_trio.model.histogram import MESSAGE_BYTES, PUT_SECONDS, RPC_MILLISECONDS

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_LATER: Final = Status.LATER

_IN: Final = ("topic", "message_type", "is_system")
_OUT: Final = ("topic", "consumer_group", "is_system")
_LAG: Final = ("topic", "consumer_group", "is_retry", "is_system")
_STORAGE: Final = ("storage_type", "storage_medium")
_LOCAL: Final = (("local", "disk"),)
_CREATE_MS: Final = (10.0, 100.0, 1000.0, 3000.0, 5000.0)
_SCAN_MS: Final = (1.0, 10.0, 100.0, 1000.0, 2000.0, 3000.0)
_DELAY_S: Final = (60.0, 600.0, 3600.0, 43200.0, 86400.0, 259200.0)
_FINISH_MS: Final = (5.0, 60.0, 600.0, 3600.0, 43200.0, 86400.0)

PROCESSORS: Final = (
    "send", "async_put", "pull", "ack", "query_message", "client_manager", "heartbeat",
    "lite_pull", "transaction", "consumer_manager", "admin", "reply",
)  # fmt: skip
"""Values of the label `processor`, RocketMQ's twelve."""

REFUSED_REASONS: Final = (
    "disk_full", "busy", "read_only", "too_large", "no_permission", "stopping",
)  # fmt: skip
"""Why a put was not accepted."""

REJECTED_REASONS: Final = ("flow_control", "not_authorised", "unsupported")
"""Why a request was answered without being looked at."""


def _later(name: str, kind: Kind, text: str, labels: tuple[str, ...] = ()) -> Family:
    """A family of a feature that is not built; a histogram's bounds come with the feature."""
    assert kind is not Kind.HISTOGRAM
    return Family(name, kind, text, labels, status=_LATER)


NATIVE_FAMILIES: Final = (
    Family("rocketmq_messages_in_total", _C, "Messages stored for producers.", _IN),
    Family("rocketmq_messages_out_total", _C, "Messages handed to consumers.", _OUT),
    Family("rocketmq_throughput_in_total", _C, "Bytes stored for producers.", _IN, "bytes"),
    Family("rocketmq_throughput_out_total", _C, "Bytes handed to consumers.", _OUT, "bytes"),
    Family(
        "rocketmq_message_size",
        _H,
        "Size of stored messages, body and overhead.",
        _IN,
        "bytes",
        buckets=MESSAGE_BYTES,
    ),
    Family(
        "rocketmq_rpc_latency_milliseconds",
        _H,
        "Time from a request's arrival to its answer.",
        ("protocol_type", "request_code", "response_code", "is_long_polling", "result"),
        "milliseconds",
        buckets=RPC_MILLISECONDS,
    ),
    Family(
        "rocketmq_consumer_lag_messages",
        _G,
        "Messages that the group has not acknowledged.",
        _LAG,
    ),
    Family(
        "rocketmq_consumer_lag_latency_milliseconds",
        _G,
        "Age of the oldest message that the group has not acknowledged.",
        _LAG,
        "milliseconds",
    ),
    Family("rocketmq_consumer_inflight_messages", _G, "Messages pulled and not committed.", _LAG),
    Family("rocketmq_consumer_ready_messages", _G, "Messages not pulled yet.", _LAG),
    Family(
        "rocketmq_consumer_queueing_latency_milliseconds",
        _G,
        "Age of the oldest message that was not pulled yet.",
        _LAG,
        "milliseconds",
    ),
    Family(
        "rocketmq_send_to_dlq_messages_total",
        _C,
        "Messages given up after their retries and kept as dead letters.",
        _OUT,
    ),
    Family(
        "rocketmq_producer_connections",
        _G,
        "Connections of producers.",
        ("language", "version", "protocol_type"),
    ),
    Family(
        "rocketmq_consumer_connections",
        _G,
        "Connections of consumers.",
        ("consumer_group", "language", "version", "consume_mode", "protocol_type", "is_system"),
    ),
    Family("rocketmq_topic_number", _G, "Configured topics."),
    Family("rocketmq_consumer_group_number", _G, "Configured consumer groups."),
    Family("rocketmq_broker_permission", _G, "Permission bits: 4 read, 2 write, 6 both."),
    Family(
        "rocketmq_processor_watermark",
        _G,
        "Requests that wait for a processor.",
        ("processor",),
        known=tuple((name,) for name in PROCESSORS),
    ),
    Family(
        "rocketmq_storage_size_bytes",
        _G,
        "Bytes used on the file system of the store.",
        _STORAGE,
        "bytes",
    ),
    Family(
        "rocketmq_storage_flush_behind_bytes",
        _G,
        "Bytes written and not yet on disk.",
        _STORAGE,
        "bytes",
        known=_LOCAL,
    ),
    Family(
        "rocketmq_storage_dispatch_behind_bytes",
        _G,
        "Bytes stored and not yet in the consume queues.",
        _STORAGE,
        "bytes",
        known=_LOCAL,
    ),
    Family(
        "rocketmq_storage_message_reserve_time_milliseconds",
        _G,
        "Age of the oldest message that is kept.",
        _STORAGE,
        "milliseconds",
    ),
    _later("rocketmq_timer_enqueue_lag", _G, "Scheduled messages not yet taken.", _STORAGE),
    _later("rocketmq_timer_dequeue_lag", _G, "Scheduled messages not yet delivered.", _STORAGE),
    _later("rocketmq_timer_enqueue_latency_milliseconds", _G, "How late taking is.", _STORAGE),
    _later("rocketmq_timer_dequeue_latency_milliseconds", _G, "How late delivery is.", _STORAGE),
    _later("rocketmq_timing_messages", _G, "Scheduled messages waiting.", (*_STORAGE, "topic")),
    _later(
        "rocketmq_timer_message_snapshot",
        _G,
        "Scheduled messages by horizon.",
        (*_STORAGE, "timer_bound_s"),
    ),
    _later("rocketmq_timer_enqueue_total", _C, "Messages scheduled.", ("topic",)),
    _later("rocketmq_timer_dequeue_total", _C, "Scheduled messages delivered.", ("topic",)),
    _later("rocketmq_half_messages", _G, "Open transactions.", ("topic",)),
    _later("rocketmq_commit_messages_total", _C, "Transactions committed.", ("topic",)),
    _later("rocketmq_rollback_messages_total", _C, "Transactions rolled back.", ("topic",)),
    Family(
        "rocketmq_finish_message_latency_milliseconds",
        _H,
        "Time from a half message to its decision.",
        ("topic",),
        "milliseconds",
        status=_LATER,
        buckets=_FINISH_MS,
    ),
    Family(
        "rocketmq_topic_create_execution_time_milliseconds",
        _H,
        "Time to create or change a topic.",
        ("invocation_status", "is_system"),
        "milliseconds",
        status=_LATER,
        buckets=_CREATE_MS,
    ),
    Family(
        "rocketmq_consumer_group_create_execution_time_milliseconds",
        _H,
        "Time to create or change a consumer group.",
        ("invocation_status", "is_system"),
        "milliseconds",
        status=_LATER,
        buckets=_CREATE_MS,
    ),
    _later(
        "rocketmq_pop_revive_lag_milliseconds", _G, "Checkpoints not yet revived.", ("queue_id",)
    ),
    _later("rocketmq_pop_revive_latency_milliseconds", _G, "How late revival is.", ("queue_id",)),
    _later("rocketmq_pop_checkpoint_buffer_size", _G, "Checkpoints kept in memory."),
    _later("rocketmq_pop_offset_buffer_size", _G, "Offsets kept in memory."),
    _later(
        "rocketmq_pop_revive_in_message_total",
        _C,
        "Checkpoints and acks stored.",
        ("consumer_group", "topic", "revive_message_type", "put_status"),
    ),
    _later(
        "rocketmq_pop_revive_out_message_total",
        _C,
        "Checkpoints and acks taken.",
        ("consumer_group", "topic", "queue_id", "revive_message_type"),
    ),
    _later(
        "rocketmq_pop_revive_retry_messages_total",
        _C,
        "Messages given out again.",
        ("consumer_group", "topic", "put_status"),
    ),
    Family(
        "rocketmq_pop_buffer_scan_time_consume_milliseconds",
        _H,
        "Time of one look through the checkpoints in memory.",
        (),
        "milliseconds",
        status=_LATER,
        buckets=_SCAN_MS,
    ),
    Family(
        "rocketmq_delay_message_latency_seconds",
        _H,
        "How long scheduled messages were to wait.",
        ("topic",),
        "seconds",
        status=_LATER,
        buckets=_DELAY_S,
    ),
)

BROKER_FAMILIES: Final = (
    Family(
        "brokertrio_broker_info",
        _G,
        "Always 1; the labels say which replica this is.",
        ("broker_id", "role", "address"),
    ),
    Family(
        "brokertrio_store_put_duration_seconds",
        _H,
        "Time from a send's arrival to its answer, waiting for the flush included.",
        unit="seconds",
        buckets=PUT_SECONDS,
    ),
    Family(
        "brokertrio_pull_duration_seconds",
        _H,
        "Time from a pull's arrival to its answer, unless it was held.",
        unit="seconds",
        buckets=PUT_SECONDS,
    ),
    Family(
        "brokertrio_store_flush_duration_seconds",
        _H,
        "Time of one flush of the commit log.",
        unit="seconds",
        buckets=PUT_SECONDS,
    ),
    Family(
        "brokertrio_store_refused_total",
        _C,
        "Messages that were not accepted.",
        ("reason",),
        known=tuple((reason,) for reason in REFUSED_REASONS),
    ),
    Family(
        "brokertrio_store_filesystem_size_bytes",
        _G,
        "Size of the file system.",
        ("area",),
        "bytes",
    ),
    Family(
        "brokertrio_store_filesystem_avail_bytes",
        _G,
        "Free bytes of the file system.",
        ("area",),
        "bytes",
    ),
    Family(
        "brokertrio_commitlog_offset_bytes",
        _G,
        "Positions in the commit log.",
        ("end",),
        "bytes",
    ),
    Family(
        "brokertrio_store_recovery_seconds",
        _G,
        "How long the last start's recovery took.",
        unit="seconds",
    ),
    Family(
        "brokertrio_store_recovery_ratio",
        _G,
        "Share of the running phase of a start's recovery that is done; 1 when all of it is.",
        ("phase",),
    ),
    Family("brokertrio_store_corrupt_records_total", _C, "Records met with a bad checksum."),
    Family(
        "brokertrio_store_expired_files_total",
        _C,
        "Segments deleted.",
        ("cause",),
        known=(("age",), ("space",)),
    ),
    Family("brokertrio_topic_offset", _G, "Sum of the ends of the topic's queues.", ("topic",)),
    Family(
        "brokertrio_consumer_offset",
        _G,
        "Sum of the offsets that the group has committed.",
        ("topic", "consumer_group"),
    ),
    Family(
        "brokertrio_requests_rejected_total",
        _C,
        "Requests answered without being looked at.",
        ("processor", "reason"),
        known=tuple((name, "flow_control") for name in ("send", "pull", "admin")),
    ),
    Family(
        "brokertrio_request_wait_seconds",
        _G,
        "Age of the oldest send that waits: for a second copy (send), for the disk (async_put).",
        ("processor",),
        "seconds",
        known=(("send",), ("async_put",)),
    ),
    Family(
        "brokertrio_receipts_total",
        _C,
        "Sends acknowledged, by the durability that their answer states.",
        ("durability",),
        known=(
            ("memory",),
            ("disk",),
            ("replicated",),
            ("replicated_disk",),
            ("flush_timeout",),
            ("slave_not_available",),
            ("slave_timeout",),
        ),
    ),
    Family("brokertrio_long_polls", _G, "Pulls held until a message arrives."),
    Family(
        "brokertrio_inflight_bytes",
        _G,
        "Bytes of unfinished requests, and of answers that no peer has taken yet.",
        (),
        "bytes",
    ),
    Family(
        "brokertrio_nameserver_registered",
        _G,
        "1 when the last registration with this nameserver worked.",
        ("nameserver",),
    ),
    Family(
        "brokertrio_nameserver_last_success_timestamp_seconds",
        _G,
        "When the last registration with this nameserver worked.",
        ("nameserver",),
        "seconds",
    ),
)
