"""Numbers for administrators: one statistic (315), and the state of the log's copying (907).

A statistic is a sum over a window and what follows from it: `tps` = sum / the window's seconds,
`avgpt` = value per event. Runtime information (28) is a KVTable: see route.py.
"""

import msgspec

from broker_trio.wire.bodies.codec import decode_body, encode_body
from broker_trio.wire.command import Serialize


class BrokerStatsItem(msgspec.Struct, frozen=True, rename="camel"):
    """One window of one statistic."""

    sum: int = 0
    tps: float = 0.0
    avgpt: float = 0.0


class BrokerStatsData(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to VIEW_BROKER_STATS_DATA."""

    stats_minute: BrokerStatsItem = BrokerStatsItem()
    stats_hour: BrokerStatsItem = BrokerStatsItem()
    stats_day: BrokerStatsItem = BrokerStatsItem()


class HAConnectionInfo(msgspec.Struct, frozen=True, rename="camel"):
    """One slave, as its master sees it; offsets and differences in bytes of the log."""

    addr: str
    slave_ack_offset: int = 0
    diff: int = 0
    in_sync: bool = False
    transferred_byte_in_second: int = 0
    transfer_from_where: int = 0


class HAClientInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A slave's own view. Times in ms."""

    master_addr: str | None = None
    transferred_byte_in_second: int = 0
    max_offset: int = 0
    last_read_timestamp: int = 0
    last_write_timestamp: int = 0
    master_flush_offset: int = 0


class HARuntimeInfo(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to GET_BROKER_HA_STATUS."""

    master: bool
    master_commit_log_max_offset: int = 0
    in_sync_slave_nums: int = 0
    ha_connection_info: list[HAConnectionInfo] = []
    ha_client_runtime_info: HAClientInfo = HAClientInfo()


def encode_broker_stats(stats: BrokerStatsData, serialize: Serialize) -> bytes:
    return encode_body(stats, serialize)


def decode_broker_stats(data: bytes, serialize: Serialize) -> BrokerStatsData:
    return decode_body(data, serialize, BrokerStatsData)


def encode_ha_status(info: HARuntimeInfo, serialize: Serialize) -> bytes:
    return encode_body(info, serialize)


def decode_ha_status(data: bytes, serialize: Serialize) -> HARuntimeInfo:
    return decode_body(data, serialize, HARuntimeInfo)
