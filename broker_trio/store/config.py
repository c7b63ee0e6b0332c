"""Settings of the store: section `[store]` of a broker's file. Units are in the names.

Sizes and times default to Apache's (storage.md §15) wherever an operator would compare the two.
"""

from typing import Final, Literal

import msgspec

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30


class StoreConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How messages are kept. `flush_disk_type` decides what SEND_OK means on this broker."""

    flush_disk_type: Literal["ASYNC_FLUSH", "SYNC_FLUSH"] = "ASYNC_FLUSH"
    commit_log_segment_bytes: int = GIB
    consume_queue_segment_units: int = 300_000
    index_slots: int = 5_000_000
    index_items: int = 20_000_000
    message_size_max: int = 4 * MIB
    flush_interval_ms: int = 500
    flush_timeout_ms: int = 5_000  # SYNC_FLUSH: past it the answer is FLUSH_DISK_TIMEOUT
    queue_flush_interval_ms: int = 1_000
    index_flush_rounds: int = 5  # of the queues' flushes to one of the index; sooner by need
    checkpoint_interval_ms: int = 1_000
    unflushed_bytes_max: int = 256 * MIB  # more than this not on disk yet: sends refused
    reserve_bytes: int = 16 * MIB  # space allocated ahead of the log's end
    retention_hours: int = 72
    delete_when_hours: tuple[int, ...] = (4,)
    disk_used_ratio_delete: float = 0.75  # delete expired segments at any hour
    disk_used_ratio_force: float = 0.85  # delete the oldest whatever their age
    disk_used_ratio_refuse: float = 0.90  # refuse sends
    retention_interval_ms: int = 10_000
    pull_bytes_hot_max: int = 256 * KIB
    pull_count_hot_max: int = 32
    pull_bytes_cold_max: int = 64 * KIB
    pull_count_cold_max: int = 8
    pull_scan_units_max: int = 800
    query_count_max: int = 64


TINY: Final = StoreConfig(
    commit_log_segment_bytes=4 * KIB,
    consume_queue_segment_units=8,
    index_flush_rounds=1,
    index_slots=16,
    index_items=32,
    message_size_max=2 * KIB,
    reserve_bytes=KIB,
    unflushed_bytes_max=64 * KIB,
)
"""Everything so small that each test rolls, wraps and recovers."""
