"""Recording rules: what a panel and an alert share, and rocketmq-exporter's names for old dashboards.

Both replicas of a pair know what their groups have consumed, so lag is taken once per broker name.
"""

from typing import Final, NamedTuple


class Recorded(NamedTuple):
    """A rule; `labels` are those of its series, for lint."""

    name: str
    expr: str
    labels: tuple[str, ...]


GROUP = ("cluster", "topic", "consumer_group")
RECORDING: Final = (
    Recorded(
        "cluster:brokertrio_ns_route_tables:count",
        'count by (cluster) (count_values by (cluster) ("table", brokertrio_ns_route_fingerprint))',
        ("cluster",),
    ),
    Recorded(
        "group:rocketmq_consumer_lag:messages",
        "sum by (cluster, topic, consumer_group) (max by (cluster, node_id, topic, consumer_group) (rocketmq_consumer_lag_messages))",
        GROUP,
    ),
    Recorded(
        "group:rocketmq_consumer_lag:seconds",
        "max by (cluster, topic, consumer_group) (rocketmq_consumer_lag_latency_milliseconds) / 1000",
        GROUP,
    ),
)


def _group(expr: str) -> str:
    """The exporter's label `group` from ours."""
    return f'label_replace({expr}, "group", "$1", "consumer_group", "(.+)")'


def _broker(expr: str) -> str:
    """The exporter's label `broker` from ours."""
    return f'label_replace({expr}, "broker", "$1", "node_id", "(.+)")'


def _runtime(name: str, expr: str) -> Recorded:
    by = "cluster, broker, brokerIP"
    text = _broker(f'label_replace({expr}, "brokerIP", "$1", "instance", "(.+)")')
    return Recorded(
        f"rocketmq_brokeruntime_{name}",
        f"max by ({by}) ({text})",
        ("cluster", "broker", "brokerIP"),
    )


_PRODUCER = ("cluster", "broker", "topic")
_CONSUMER = ("cluster", "broker", "topic", "group")
PMDT: Final = (
    ("0ms", "0", "0.0005"), ("0to10ms", "0.0005", "0.01"), ("10to50ms", "0.01", "0.05"),
    ("50to100ms", "0.05", "0.1"), ("100to200ms", "0.1", "0.25"), ("500msto1s", "0.25", "1"),
    ("1to2s", "1", "2.5"), ("2to3s", "2.5", "5"), ("5to10s", "5", "10"),
)  # fmt: skip
"""The exporter's classes of put times, by our nearest buckets: the name says about what."""


def _pmdt(name: str, low: str, high: str) -> Recorded:
    metric = "brokertrio_store_put_duration_seconds_bucket"
    upper = f'increase({metric}{{le="{high}"}}[1m])'
    expr = upper if low == "0" else f'{upper} - ignoring (le) increase({metric}{{le="{low}"}}[1m])'
    return _runtime(f"pmdt_{name}", expr)


COMPAT: Final = (
    Recorded("rocketmq_broker_tps", f"sum by (cluster, broker) ({_broker('rate(rocketmq_messages_in_total[1m])')})", ("cluster", "broker")),
    Recorded("rocketmq_broker_qps", f"sum by (cluster, broker) ({_broker('rate(rocketmq_messages_out_total[1m])')})", ("cluster", "broker")),
    Recorded("rocketmq_producer_tps", f"sum by (cluster, broker, topic) ({_broker('rate(rocketmq_messages_in_total[1m])')})", _PRODUCER),
    Recorded("rocketmq_producer_message_size", f"sum by (cluster, broker, topic) ({_broker('rate(rocketmq_throughput_in_total[1m])')})", _PRODUCER),
    Recorded("rocketmq_producer_offset", f"max by (cluster, broker, topic) ({_broker('brokertrio_topic_offset')})", _PRODUCER),
    Recorded("rocketmq_consumer_tps", f"sum by (cluster, broker, topic, group) ({_group(_broker('rate(rocketmq_messages_out_total[1m])'))})", _CONSUMER),
    Recorded("rocketmq_consumer_message_size", f"sum by (cluster, broker, topic, group) ({_group(_broker('rate(rocketmq_throughput_out_total[1m])'))})", _CONSUMER),
    Recorded("rocketmq_consumer_offset", f"max by (cluster, broker, topic, group) ({_group(_broker('brokertrio_consumer_offset'))})", _CONSUMER),
    Recorded("rocketmq_group_diff", f"sum by (cluster, topic, group) ({_group('group:rocketmq_consumer_lag:messages')})", ("cluster", "topic", "group")),
    Recorded("rocketmq_message_accumulation", f"sum by (cluster, topic, group) ({_group('group:rocketmq_consumer_lag:messages')})", ("cluster", "topic", "group")),
    Recorded("rocketmq_group_get_latency_by_storetime", f"max by (cluster, broker, topic, group) ({_group(_broker('rocketmq_consumer_lag_latency_milliseconds'))})", _CONSUMER),
    Recorded("rocketmq_group_count", f"max by (cluster, group) (sum by (cluster, instance, group) ({_group('rocketmq_consumer_connections')}))", ("cluster", "group")),
    Recorded("rocketmq_producer_count", f"sum by (cluster, broker) ({_broker('rocketmq_producer_connections')})", ("cluster", "broker")),
    Recorded("rocketmq_broker_commitlog_diff", f"max by (cluster, broker) ({_broker('brokertrio_replication_lag_bytes')})", ("cluster", "broker")),
    _runtime("commitlog_disk_ratio", '1 - brokertrio_store_filesystem_avail_bytes{area="commitlog"} / brokertrio_store_filesystem_size_bytes{area="commitlog"}'),
    _runtime("commitlogdir_capacity_total", 'brokertrio_store_filesystem_size_bytes{area="commitlog"}'),
    _runtime("commitlogdir_capacity_free", 'brokertrio_store_filesystem_avail_bytes{area="commitlog"}'),
    _runtime("commitlog_minoffset", 'brokertrio_commitlog_offset_bytes{end="min"}'),
    _runtime("commitlog_maxoffset", 'brokertrio_commitlog_offset_bytes{end="max"}'),
    _runtime("dispatch_behind_bytes", "rocketmq_storage_dispatch_behind_bytes"),
    _runtime("remain_howmanydata_toflush", "rocketmq_storage_flush_behind_bytes"),
    _runtime("send_threadpoolqueue_size", 'rocketmq_processor_watermark{processor="send"}'),
    _runtime("pull_threadpoolqueue_size", 'rocketmq_processor_watermark{processor="pull"}'),
    _runtime("send_threadpoolqueue_headwait_timemills", "1000 * brokertrio_request_wait_seconds"),
    _runtime("query_threadpoolqueue_size", 'rocketmq_processor_watermark{processor="query_message"}'),
    *[_pmdt(*one) for one in PMDT],
)  # fmt: skip
