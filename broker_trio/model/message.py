"""A message: its reserved property names, its flag bits, and one that was decoded from the log.

Properties are text, name to value. Their names below are RocketMQ's; a constant is called
PROPERTY_ and then the wire name, except where the wire name starts with underscores.
"""

from typing import Final

import msgspec

from broker_trio.model.hosts import encode_host, message_id

PROPERTY_KEYS: Final = "KEYS"  # index keys, separated by spaces
PROPERTY_TAGS: Final = "TAGS"
PROPERTY_WAIT: Final = "WAIT"  # "false": do not wait for the flush; not stored
PROPERTY_UNIQ_KEY: Final = "UNIQ_KEY"  # the client's message id, indexed
PROPERTY_DELAY: Final = "DELAY"  # delay level, 1 to 18
PROPERTY_REAL_TOPIC: Final = "REAL_TOPIC"  # where a delayed, timed or half message belongs
PROPERTY_REAL_QID: Final = "REAL_QID"
PROPERTY_RETRY_TOPIC: Final = "RETRY_TOPIC"
PROPERTY_ORIGIN_MESSAGE_ID: Final = "ORIGIN_MESSAGE_ID"
PROPERTY_RECONSUME_TIME: Final = "RECONSUME_TIME"
PROPERTY_MAX_RECONSUME_TIMES: Final = "MAX_RECONSUME_TIMES"
PROPERTY_CONSUME_START_TIME: Final = "CONSUME_START_TIME"
PROPERTY_MIN_OFFSET: Final = "MIN_OFFSET"
PROPERTY_MAX_OFFSET: Final = "MAX_OFFSET"
PROPERTY_MSG_REGION: Final = "MSG_REGION"
PROPERTY_TRACE_ON: Final = "TRACE_ON"
PROPERTY_CLUSTER: Final = "CLUSTER"
PROPERTY_MSG_TYPE: Final = "MSG_TYPE"
PROPERTY_SHARDING_KEY: Final = "__SHARDINGKEY"
PROPERTY_BORN_HOST: Final = "__BORNHOST"
PROPERTY_BORN_TIMESTAMP: Final = "BORN_TIMESTAMP"
PROPERTY_CRC32: Final = "__CRC32#"
PROPERTY_TRANSIENT_PREFIX: Final = "__RMQ.TRANSIENT."  # never stored
# Transactions
PROPERTY_TRAN_MSG: Final = "TRAN_MSG"
PROPERTY_PGROUP: Final = "PGROUP"
PROPERTY_TRANSACTION_ID: Final = "__transactionId__"
PROPERTY_TRAN_PREPARED_QUEUE_OFFSET: Final = "TRAN_PREPARED_QUEUE_OFFSET"
PROPERTY_TRANSACTION_CHECK_TIMES: Final = "TRANSACTION_CHECK_TIMES"
PROPERTY_CHECK_IMMUNITY_TIME_IN_SECONDS: Final = "CHECK_IMMUNITY_TIME_IN_SECONDS"
# Request and reply
PROPERTY_CORRELATION_ID: Final = "CORRELATION_ID"
PROPERTY_REPLY_TO_CLIENT: Final = "REPLY_TO_CLIENT"
PROPERTY_TTL: Final = "TTL"
PROPERTY_ARRIVE_TIME: Final = "ARRIVE_TIME"
PROPERTY_PUSH_REPLY_TIME: Final = "PUSH_REPLY_TIME"
# Pop
PROPERTY_POP_CK: Final = "POP_CK"  # the receipt; taken out of incoming sends
PROPERTY_POP_CK_OFFSET: Final = "POP_CK_OFFSET"
PROPERTY_1ST_POP_TIME: Final = "1ST_POP_TIME"
# Timers
PROPERTY_TIMER_DELAY_SEC: Final = "TIMER_DELAY_SEC"
PROPERTY_TIMER_DELAY_MS: Final = "TIMER_DELAY_MS"
PROPERTY_TIMER_DELIVER_MS: Final = "TIMER_DELIVER_MS"
PROPERTY_TIMER_OUT_MS: Final = "TIMER_OUT_MS"
PROPERTY_TIMER_ENQUEUE_MS: Final = "TIMER_ENQUEUE_MS"
PROPERTY_TIMER_DEQUEUE_MS: Final = "TIMER_DEQUEUE_MS"
PROPERTY_TIMER_ROLL_TIMES: Final = "TIMER_ROLL_TIMES"
PROPERTY_TIMER_DEL_UNIQKEY: Final = "TIMER_DEL_UNIQKEY"
PROPERTY_TIMER_DELAY_LEVEL: Final = "TIMER_DELAY_LEVEL"
# Inner batches and light queues
PROPERTY_INNER_NUM: Final = "INNER_NUM"
PROPERTY_INNER_BASE: Final = "INNER_BASE"
PROPERTY_INNER_MULTI_DISPATCH: Final = "INNER_MULTI_DISPATCH"
PROPERTY_INNER_MULTI_QUEUE_OFFSET: Final = "INNER_MULTI_QUEUE_OFFSET"
# Dead letters
PROPERTY_DLQ_ORIGIN_TOPIC: Final = "DLQ_ORIGIN_TOPIC"
PROPERTY_DLQ_ORIGIN_MESSAGE_ID: Final = "DLQ_ORIGIN_MESSAGE_ID"
OUR_DLQ_CAUSE: Final = "DLQ_CAUSE"  # ours: why a consumer gave it back the last time

KEYS_SEPARATOR: Final = " "
PROPERTIES_SIZE_MAX: Final = 32767  # bytes as stored: a signed short holds the length

# Delay levels 1 to 18 in seconds; index 0 is level 1.
DELAY_LEVELS_S: Final = (
    1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
)  # fmt: skip


class SysFlag:
    """Bits of a message's sysFlag, as stored and as sent."""

    COMPRESSED: Final = 0x1
    MULTI_TAGS: Final = 0x2
    TRANSACTION_NOT: Final = 0x0
    TRANSACTION_PREPARED: Final = 0x4
    TRANSACTION_COMMIT: Final = 0x8
    TRANSACTION_ROLLBACK: Final = 0xC
    TRANSACTION_MASK: Final = 0xC
    BORNHOST_V6: Final = 0x10
    STOREHOST_V6: Final = 0x20
    NEED_UNWRAP: Final = 0x40
    INNER_BATCH: Final = 0x80
    COMPRESSION_LZ4: Final = 0x100
    COMPRESSION_ZSTD: Final = 0x200
    COMPRESSION_ZLIB: Final = 0x300
    COMPRESSION_MASK: Final = 0x700  # 0 under COMPRESSED: zlib, by old clients


class PullSysFlag:
    """Bits of a pull request's sysFlag."""

    COMMIT_OFFSET: Final = 0x1
    SUSPEND: Final = 0x2
    SUBSCRIPTION: Final = 0x4
    CLASS_FILTER: Final = 0x8
    LITE_PULL: Final = 0x10


class MessageExt(msgspec.Struct, frozen=True, kw_only=True):
    """A stored message, decoded. Hosts are "ip:port"; times are milliseconds since 1970."""

    topic: str
    queue_id: int
    queue_offset: int
    physical_offset: int
    flag: int = 0
    sys_flag: int = 0
    born_timestamp_ms: int = 0
    born_host: str = "127.0.0.1:0"
    store_timestamp_ms: int = 0
    store_host: str = "127.0.0.1:0"
    reconsume_times: int = 0
    prepared_transaction_offset: int = 0
    body: bytes = b""
    properties: dict[str, str] = msgspec.field(default_factory=dict)
    size: int = 0  # of the whole record, in bytes
    body_crc: int = 0

    @property
    def uniq_key(self) -> str | None:
        """The id that the producer gave it."""
        return self.properties.get(PROPERTY_UNIQ_KEY)

    @property
    def tags(self) -> str | None:
        return self.properties.get(PROPERTY_TAGS)

    @property
    def keys(self) -> list[str]:
        """The index keys beside UNIQ_KEY."""
        return self.properties.get(PROPERTY_KEYS, "").split()

    @property
    def message_id(self) -> str:
        """The offset message id: broker address and physical offset."""
        return message_id(encode_host(self.store_host), self.physical_offset)
