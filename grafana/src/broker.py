"""Broker: one broker name's puts, store, requests and process."""

from grafana.src import limits
from grafana.src.build import AMBER, GREEN, RED, Dashboard, q, steps
from grafana.src.overview import EPOCHS, RESTARTS

RATE = "[$__rate_interval]"


def dashboard() -> Dashboard:
    board = Dashboard(
        "bt-broker",
        "Broker Trio / Broker",
        "What a broker does, what it refuses, and what holds it up.",
        annotations=(EPOCHS, RESTARTS),
    )
    _puts(board)
    _store(board)
    _requests(board)
    _process(board)
    return board


def _puts(board: Dashboard) -> None:
    board.row("Sends")
    board.graph(
        "Stored by topic",
        "The ten busiest topics.",
        q(f'topk(10, sum by (topic) (rate(rocketmq_messages_in_total{{[n],is_system="false"}}{RATE})))', "{{topic}}"),
        unit="cps", width=6,
    )  # fmt: skip
    board.heatmap(
        "Time of sends",
        "How many sends took how long, waiting for disk and slave included.",
        q(f"sum by (le) (rate(brokertrio_store_put_duration_seconds_bucket{{[n]}}{RATE}))", "{{le}}"),
        width=6,
    )  # fmt: skip
    board.graph(
        "Receipts by durability",
        "What answers promised. flush_timeout, slave_not_available and slave_timeout are not SEND_OK.",
        q(f"sum by (durability) (rate(brokertrio_receipts_total{{[n]}}{RATE}))", "{{durability}}"),
        unit="cps", width=6, stack=True,
    )  # fmt: skip
    board.graph(
        "Refused, by cause",
        "Messages not accepted: by the store, and by the pair's rules before the append.",
        q(f"sum by (reason) (rate(brokertrio_store_refused_total{{[n]}}{RATE}))", "store: {{reason}}"),
        q(f"sum by (reason) (rate(brokertrio_replication_sends_refused_total{{[n]}}{RATE})) or sum by (reason) (0 * brokertrio_store_refused_total{{[n]}})", "pair: {{reason}}"),
        unit="cps", width=6,
    )  # fmt: skip


def _store(board: Dashboard) -> None:
    board.row("Store")
    board.graph(
        "Time of a flush",
        "p99 of flushes of the commit log. A slow disk shows here first.",
        q(f"histogram_quantile(0.99, sum by (le, instance) (rate(brokertrio_store_flush_duration_seconds_bucket{{[n]}}{RATE})))", "{{instance}}"),
        unit="s", width=6,
    )  # fmt: skip
    board.graph(
        "Behind",
        "Bytes that are not on disk yet, and that consumers cannot see yet.",
        q("rocketmq_storage_flush_behind_bytes{[n]}", "{{instance}} to flush"),
        q("rocketmq_storage_dispatch_behind_bytes{[n]}", "{{instance}} to dispatch"),
        unit="bytes", width=6, thresholds=steps(GREEN, (limits.BEHIND_BYTES, RED)),
    )  # fmt: skip
    board.graph(
        "Log kept",
        "Bytes between the first and the last position of the commit log.",
        q('max by (instance) (brokertrio_commitlog_offset_bytes{[n],end="max"}) - max by (instance) (brokertrio_commitlog_offset_bytes{[n],end="min"})', "{{instance}}"),
        unit="bytes", width=6,
    )  # fmt: skip
    board.graph(
        "Free on the store's disk",
        "Share that is free. The broker refuses below its own limit and recovers by itself.",
        q('brokertrio_store_filesystem_avail_bytes{[n],area="commitlog"} / brokertrio_store_filesystem_size_bytes{[n],area="commitlog"}', "{{instance}}"),
        unit="percentunit", width=6, thresholds=steps(RED, (limits.DISK_FREE_RATIO, GREEN)),
    )  # fmt: skip
    board.stat(
        "Recovery",
        "Share of the running phase of the start's recovery; 1 when done.",
        q("min by (instance, phase) (brokertrio_store_recovery_ratio{[n]})", "{{instance}} {{phase}}"),
        unit="percentunit", width=6, thresholds=steps(AMBER, (1, GREEN)),
    )  # fmt: skip
    board.stat(
        "Last recovery took",
        "Time of the last start's recovery.",
        q("brokertrio_store_recovery_seconds{[n]}", "{{instance}}"),
        unit="s", width=6,
    )  # fmt: skip
    board.stat(
        "Corrupt records",
        "Records met with a bad checksum since the start. Any is a page.",
        q("sum(brokertrio_store_corrupt_records_total{[n]})"),
        width=6, thresholds=steps(GREEN, (1, RED)),
    )  # fmt: skip
    board.stat(
        "Segments deleted in the last hour",
        "By age, or because the disk was short of space.",
        q("sum by (cause) (increase(brokertrio_store_expired_files_total{[n]}[1h]))", "{{cause}}"),
        width=6,
    )  # fmt: skip


def _requests(board: Dashboard) -> None:
    board.row("Requests")
    board.graph(
        "Requests by kind",
        "Answers per second.",
        q(f"topk(10, sum by (request_code) (rate(rocketmq_rpc_latency_milliseconds_count{{[n]}}{RATE})))", "{{request_code}}"),
        unit="reqps", width=6,
    )  # fmt: skip
    board.graph(
        "Time of requests",
        "p99 by kind, held pulls apart.",
        q(f'histogram_quantile(0.99, sum by (le, request_code) (rate(rocketmq_rpc_latency_milliseconds_bucket{{[n],is_long_polling="false"}}{RATE})))', "{{request_code}}"),
        unit="ms", width=6,
    )  # fmt: skip
    board.graph(
        "Answers by code",
        "All but successes are refusals, or things not found.",
        q(f"sum by (response_code) (rate(rocketmq_rpc_latency_milliseconds_count{{[n]}}{RATE}))", "{{response_code}}"),
        unit="reqps", width=6,
    )  # fmt: skip
    board.graph(
        "Waiting",
        "Requests that wait for a processor, and pulls held until a message arrives.",
        q("sum by (processor) (rocketmq_processor_watermark{[n]})", "{{processor}}"),
        q("sum(brokertrio_long_polls{[n]})", "held pulls"),
        width=6,
    )  # fmt: skip


def _process(board: Dashboard) -> None:
    board.row("Process and clients")
    board.graph(
        "Event loop late",
        "p99 of how late timers fire: whatever blocks the loop delays everything.",
        q(f'histogram_quantile(0.99, sum by (le, instance) (rate(brokertrio_event_loop_lag_seconds_bucket{{[n],node_type="broker"}}{RATE})))', "{{instance}}"),
        unit="s", width=6, thresholds=steps(GREEN, (limits.LOOP_LAG_P99_S, RED)),
    )  # fmt: skip
    board.graph(
        "CPU",
        "Cores used. One loop uses one core at most.",
        q(f'rate(process_cpu_seconds_total{{[n],node_type="broker"}}{RATE})', "{{instance}}"),
        unit="none", width=6, thresholds=steps(GREEN, (0.9, RED)),
    )  # fmt: skip
    board.graph(
        "Memory",
        "Resident memory.",
        q('process_resident_memory_bytes{[n],node_type="broker"}', "{{instance}}"),
        unit="bytes", width=4,
    )  # fmt: skip
    board.graph(
        "Open files",
        "Share of the file descriptors that the process may open. At 1 it takes no connection.",
        q('process_open_fds{[n],node_type="broker"} / process_max_fds{[n],node_type="broker"}', "{{instance}}"),
        unit="percentunit", width=4, thresholds=steps(GREEN, (limits.FD_RATIO, RED)),
    )  # fmt: skip
    board.graph(
        "Connections",
        "Open connections, and producers and consumers by language.",
        q('sum by (instance) (brokertrio_connections{[n],node_type="broker"})', "{{instance}}"),
        q("sum by (language) (rocketmq_producer_connections{[n]}) or vector(0)", "producers, {{language}}"),
        q("sum by (language) (rocketmq_consumer_connections{[n]}) or vector(0)", "consumers, {{language}}"),
        width=4,
    )  # fmt: skip
