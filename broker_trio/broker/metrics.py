"""The broker's counters and tables as samples of the catalogue's families.

Generators over copies: the collector suspends them between samples while the program goes on. What
is summed per topic or group comes from the tables themselves: a series ends with its object.

Lag is offsets against queues, whoever is connected: it is there for groups that nobody consumes
with. A queue that the group has never committed is not counted, because where the group would begin
there is its client's choice.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import trio

from broker_trio import __version__
from broker_trio.broker.ages import Ages
from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.groups import Groups
from broker_trio.broker.held_pulls import HeldPulls
from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.registrar import Registrar
from broker_trio.broker.sessions import Sessions
from broker_trio.broker.settings import Settings
from broker_trio.broker.stats import BrokerStats, TopicStats
from broker_trio.broker.topics import Topics
from broker_trio.metrics.collector import Distribution, Sample, sample
from broker_trio.model.codes import LanguageCode, RequestCode, ResponseCode
from broker_trio.model.histogram import PUT_SECONDS, RPC_MILLISECONDS
from broker_trio.model.names import is_retry, is_system_group
from broker_trio.remoting.stats import LATENCY_BOUNDS_S, CodeStats, RemotingStats
from broker_trio.runtime.loop_lag import LoopLag
from broker_trio.runtime.seams import Usage
from broker_trio.store.scan import Progress
from broker_trio.store.store import Store

SEND_CODES: Final = frozenset(
    {RequestCode.SEND_MESSAGE, RequestCode.SEND_MESSAGE_V2, RequestCode.SEND_BATCH_MESSAGE}
)
PULL_CODES: Final = frozenset({RequestCode.PULL_MESSAGE, RequestCode.LITE_PULL_MESSAGE})
LOCAL: Final = ("local", "disk")
MASTER: Final = "master"
DECLARED: Final = frozenset({"NORMAL", "FIFO", "DELAY", "TRANSACTION"})
PROCESSOR_NAMES: Final = {
    "query": "query_message",
    "offset": "consumer_manager",
    "lock": "consumer_manager",
    "route": "client_manager",
}
"""RocketMQ's names of processors, where ours are others."""
OTHER_TOPICS: Final = "(other)"
"""Label of what is counted together: topics beyond the limit, and those that were deleted."""


class Observable(Protocol):
    """The broker's parts that have something to show; `broker.app.Parts` is one."""

    store: Store
    stats: BrokerStats
    topics: Topics
    groups: Groups
    offsets: ConsumerOffsets
    sessions: Sessions
    held: HeldPulls
    registrar: Registrar
    settings: Settings
    lag: LoopLag
    ages: Ages


def process_samples(
    config: BrokerConfig, address: str, *, ready: bool, role: str = MASTER
) -> Iterator[Sample]:
    """What is known from the first moment on, while the store is still being recovered.

    `role`: `master`, `slave`, or `joining` while a replica of a pair has not read its record.
    """
    python = ".".join(map(str, sys.version_info[:3]))
    yield sample("brokertrio_ready", float(ready))
    yield sample("brokertrio_build_info", 1.0, __version__, python, trio.__version__)
    broker_id = 0 if role == MASTER else config.replication.replica_id
    yield sample("brokertrio_broker_info", 1.0, str(broker_id), role, address)
    yield sample("brokertrio_insecure", float(config.allow_insecure_listen))


def recovery_samples(progress: Progress) -> Iterator[Sample]:
    """How far the start's recovery is; one series, whose label moves from phase to phase."""
    share = progress.bytes_done / max(1, progress.bytes_total)
    phase = progress.phase.replace(" ", "_")
    yield sample("brokertrio_store_recovery_ratio", 1.0 if phase == "done" else share, phase)


def broker_samples(parts: Observable, usage: Usage, now_ms: int) -> Iterator[Sample]:
    """Everything of a running broker that is not about its connections.

    `usage` is of the store's file system; `now_ms` the wall clock, for ages.
    """
    yield from _traffic(parts)
    yield from _store(parts.store, usage)
    yield from _tables(parts)
    yield from _lags(parts, now_ms)
    yield from _clients(parts.sessions)
    if parts.ages.oldest_ms:
        age = max(0, now_ms - parts.ages.oldest_ms)
        yield sample("rocketmq_storage_message_reserve_time_milliseconds", age, *LOCAL)
    late = parts.lag
    yield sample(
        "brokertrio_event_loop_lag_seconds", Distribution(tuple(late.buckets), late.sum_us / 1e6)
    )


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _traffic(parts: Observable) -> Iterator[Sample]:
    stats, topics = parts.stats, parts.topics
    for topic, counted in [*stats.topics.items(), (OTHER_TOPICS, stats.other_topics)]:
        system = _flag(topics.is_system(topic))
        kind = _declared_type(topics, topic)
        delayed = None if kind == "delay" else counted.delayed
        yield from _stored(counted, delayed, topic, kind, system)
        if delayed is not None:
            yield from _stored(delayed, None, topic, "delay", system)
    for key, group in list(stats.groups.items()):
        topic, _, name = key.rpartition("@")
        labels = (topic, name, _flag(topics.is_system(topic)))
        yield sample("rocketmq_messages_out_total", group.gets, *labels)
        yield sample("rocketmq_throughput_out_total", group.get_bytes, *labels)
        if group.dead_letters:
            yield sample("rocketmq_send_to_dlq_messages_total", group.dead_letters, *labels)
    receipts = stats.receipts
    waiting = parts.store.flush_waiting_count
    yield sample("rocketmq_processor_watermark", waiting, "async_put")
    yield sample("brokertrio_request_wait_seconds", parts.store.flush_oldest_wait_s, "async_put")
    for durability, count in (
        ("memory", receipts.memory),
        ("disk", receipts.disk),
        ("replicated", receipts.replicated),
        ("replicated_disk", receipts.replicated_disk),
        ("flush_timeout", receipts.flush_timeouts),
        ("slave_not_available", receipts.no_slave),
        ("slave_timeout", receipts.slave_timeouts),
    ):
        yield sample("brokertrio_receipts_total", count, durability)


def _stored(counted: TopicStats, without: TopicStats | None, *labels: str) -> Iterator[Sample]:
    """What was put into one topic, but for a part of it."""
    less = without or TopicStats()
    size = counted.put_bytes - less.put_bytes
    sizes = [one - other for one, other in zip(counted.sizes(), less.sizes(), strict=True)]
    yield sample("rocketmq_messages_in_total", counted.puts - less.puts, *labels)
    yield sample("rocketmq_throughput_in_total", size, *labels)
    yield sample("rocketmq_message_size", Distribution(tuple(sizes), size), *labels)


def _declared_type(topics: Topics, topic: str) -> str:
    """What a topic's messages are by its attribute message.type; mixed ones count as normal.

    A delay is seen in the message itself and counted apart.
    """
    config = topics.get(topic)
    declared = "" if config is None else config.attributes.get("message.type", "")
    return declared.lower() if declared in DECLARED else "normal"


def _store(store: Store, usage: Usage) -> Iterator[Sample]:
    log, stats = store.log, store.stats
    for end, position in (
        ("min", log.min_offset),
        ("max", log.max_offset),
        ("flushed", log.flushed_offset),
        ("confirmed", store.confirm_offset),
    ):
        yield sample("brokertrio_commitlog_offset_bytes", position, end)
    yield sample("rocketmq_storage_flush_behind_bytes", log.unflushed_bytes, *LOCAL)
    yield sample("rocketmq_storage_dispatch_behind_bytes", store.undispatched_bytes, *LOCAL)
    yield sample("rocketmq_storage_size_bytes", usage.total - usage.free, *LOCAL)
    for area in ("commitlog", "queues"):
        yield sample("brokertrio_store_filesystem_size_bytes", usage.total, area)
        yield sample("brokertrio_store_filesystem_avail_bytes", usage.free, area)
    for reason, count in list(stats.refused.items()):
        yield sample("brokertrio_store_refused_total", count, reason)
    yield sample("brokertrio_store_flush_duration_seconds", stats.flush_seconds)
    yield sample("brokertrio_store_recovery_seconds", stats.recovery_seconds)
    yield sample("brokertrio_store_corrupt_records_total", stats.corrupt_records)
    yield sample("brokertrio_store_expired_files_total", stats.expired_by_age, "age")
    yield sample("brokertrio_store_expired_files_total", stats.expired_by_space, "space")


def _tables(parts: Observable) -> Iterator[Sample]:
    yield sample("rocketmq_topic_number", len(parts.topics.table))
    yield sample("rocketmq_consumer_group_number", len(parts.groups.table))
    yield sample("rocketmq_broker_permission", parts.settings.broker_permission)
    yield sample("brokertrio_long_polls", parts.held.count)
    yield sample("brokertrio_requests_rejected_total", parts.held.refused, "pull", "flow_control")
    queues = parts.store.queues
    for topic in queues.topics():
        ends = sum(queue.max_offset for queue in queues.queues_of(topic))
        yield sample("brokertrio_topic_offset", ends, topic)
    for status in parts.registrar.statuses:
        yield sample("brokertrio_nameserver_registered", float(status.registered), status.address)
        if status.last_success_ms:
            yield sample(
                "brokertrio_nameserver_last_success_timestamp_seconds",
                status.last_success_ms / 1_000,
                status.address,
            )


def _lags(parts: Observable, now_ms: int) -> Iterator[Sample]:
    """Per topic and group: committed, not committed, pulled and not, not even pulled; and ages.

    Ages grow from the moments that were looked up. 0 is said only where nothing waits; what waits
    and was not looked up yet has no age, because it is not known.
    """
    topics, ages = parts.topics, parts.ages
    for topic, group, committed in list(parts.offsets.items()):
        lag, ready = _behind(parts, topic, group, committed)
        labels = (topic, group, _flag(is_retry(topic)), _flag(topics.is_system(topic)))
        yield sample("rocketmq_consumer_lag_messages", lag, *labels)
        yield sample("rocketmq_consumer_inflight_messages", lag - ready, *labels)
        yield sample("rocketmq_consumer_ready_messages", ready, *labels)
        yield sample("brokertrio_consumer_offset", sum(list(committed.values())), topic, group)
        for name, count, moments in (
            ("rocketmq_consumer_lag_latency_milliseconds", lag, ages.unconsumed_ms),
            ("rocketmq_consumer_queueing_latency_milliseconds", ready, ages.unpulled_ms),
        ):
            stored_ms = moments.get((topic, group))
            if count == 0:
                yield sample(name, 0, *labels)
            elif stored_ms is not None:
                yield sample(name, max(0, now_ms - stored_ms), *labels)


def _behind(
    parts: Observable, topic: str, group: str, committed: Mapping[int, int]
) -> tuple[int, int]:
    """How many messages the group has not committed, and how many nobody pulled for it."""
    lag = ready = 0
    for queue_id, offset in list(committed.items()):
        end = parts.store.queues.max_offset(topic, queue_id)
        pulled = min(end, max(offset, parts.offsets.query_pulled(group, topic, queue_id)))
        lag += max(0, end - offset)
        ready += max(0, end - pulled)
    return lag, ready


def _clients(sessions: Sessions) -> Iterator[Sample]:
    producers: dict[tuple[str, str, str], int] = {}
    for channels in list(sessions.producers.values()):
        for channel in list(channels.values()):
            key = (language_of(channel.language), str(channel.version), "remoting")
            producers[key] = producers.get(key, 0) + 1
    for key, count in producers.items():
        yield sample("rocketmq_producer_connections", count, *key)
    consumers: dict[tuple[str, ...], int] = {}
    for group in list(sessions.consumers.values()):
        system = _flag(is_system_group(group.name))
        mode = group.message_model.lower()
        for channel in list(group.channels.values()):
            client = (language_of(channel.language), str(channel.version), mode, "remoting", system)
            consumers[(group.name, *client)] = consumers.get((group.name, *client), 0) + 1
    for labels, count in consumers.items():
        yield sample("rocketmq_consumer_connections", count, *labels)


def language_of(code: int) -> str:
    """A client's language in words; codes that nobody knows share one."""
    return LanguageCode(code).name.lower() if code in set(LanguageCode) else "unknown"


def remoting_samples(stats: RemotingStats) -> Iterator[Sample]:
    """Connections, bytes, refusals, and how long answers took."""
    yield sample("brokertrio_connections", stats.connections)
    yield sample("brokertrio_connections_accepted_total", stats.accepted)
    yield sample("brokertrio_inflight_bytes", stats.buffered_bytes + stats.outbound_bytes)
    yield sample("brokertrio_network_bytes_total", stats.bytes_in, "in")
    yield sample("brokertrio_network_bytes_total", stats.bytes_out, "out")
    for processor, count in _watermarks(dict(stats.waiting)).items():
        yield sample("rocketmq_processor_watermark", count, processor)
    for kind, count in list(stats.protocol_errors.items()):
        yield sample("brokertrio_protocol_errors_total", count, kind)
    for reason, count in list(stats.refused.items()):
        yield sample("brokertrio_connections_refused_total", count, reason)
    yield from latency_samples(dict(stats.by_code))


def _watermarks(waiting: dict[str, int]) -> dict[str, int]:
    """Requests that wait for the device or a client, under RocketMQ's names of processors."""
    found: dict[str, int] = {}
    for processor, count in waiting.items():
        name = PROCESSOR_NAMES.get(processor, processor)
        found[name] = found.get(name, 0) + count
    return found


def latency_samples(by_code: dict[tuple[int, int, bool], CodeStats]) -> Iterator[Sample]:
    """RocketMQ's latency per pair of codes in ms; our own of sends and of unheld pulls in s."""
    empty = (0,) * (len(LATENCY_BOUNDS_S) + 1)
    per_pair: dict[tuple[str, str, str], tuple[list[int], float]] = {}
    sends, pulls = (list(empty), 0.0), (list(empty), 0.0)
    for (request, response, parked), stats in by_code.items():
        held = parked and request in PULL_CODES
        key = (request_name(request), response_name(response), _flag(held))
        per_pair[key] = _sum(per_pair.get(key, (list(empty), 0.0)), stats)
        if request in SEND_CODES:
            sends = _sum(sends, stats)
        elif request in PULL_CODES and not held:
            pulls = _sum(pulls, stats)
    bounds_s = tuple(bound / 1_000 for bound in RPC_MILLISECONDS)
    for (request_text, response_text, long_polling), (counts, total_s) in per_pair.items():
        yield sample(
            "rocketmq_rpc_latency_milliseconds",
            Distribution(rebinned(counts, bounds_s), total_s * 1_000),
            "remoting",
            request_text,
            response_text,
            long_polling,
            "success",
        )
    for name, (counts, total_s) in (
        ("brokertrio_store_put_duration_seconds", sends),
        ("brokertrio_pull_duration_seconds", pulls),
    ):
        yield sample(name, Distribution(rebinned(counts, PUT_SECONDS), total_s))


def _sum(before: tuple[list[int], float], stats: CodeStats) -> tuple[list[int], float]:
    counts, total_s = before
    pairs = zip(counts, stats.buckets, strict=True)
    return [one + other for one, other in pairs], total_s + stats.sum_s


def rebinned(counts: list[int], bounds: tuple[float, ...]) -> tuple[int, ...]:
    """Counts of the fine buckets added up to coarser ones, whose bounds are among the fine ones."""
    result = [0] * (len(bounds) + 1)
    at = 0
    for fine, count in zip((*LATENCY_BOUNDS_S, None), counts, strict=True):
        while at < len(bounds) and (fine is None or fine > bounds[at]):
            at += 1
        result[at] += count
    return tuple(result)


def request_name(code: int) -> str:
    """A request code as RocketMQ labels it; codes that nobody serves share one."""
    return RequestCode(code).name.lower() if code in set(RequestCode) else "unknown"


def response_name(code: int) -> str:
    """A response code as RocketMQ labels it."""
    return ResponseCode(code).name.lower() if code in set(ResponseCode) else "unknown"
