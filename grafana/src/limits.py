"""Thresholds that a panel and an alert share: one place, so that red and the page agree."""

from typing import Final

LAG_AGE_S: Final = 300.0
LAG_MESSAGES: Final = 1_000_000
PUT_P99_S: Final = 0.5
DISK_FREE_RATIO: Final = 0.15
DISK_FORECAST_S: Final = 6 * 3600
REPLICATION_LAG_BYTES: Final = 64 << 20
ACK_AGE_S: Final = 30.0
BEHIND_BYTES: Final = 64 << 20
LOOP_LAG_P99_S: Final = 0.25
FD_RATIO: Final = 0.8
MEMORY_RATIO: Final = 0.8
CLOCK_S: Final = 0.5
NOT_FOUND_RATIO: Final = 0.05
SEND_ERROR_RATIO: Final = 0.01
HEARTBEAT_AGE_S: Final = 90.0
DRILL_AGE_DAYS: Final = 90
