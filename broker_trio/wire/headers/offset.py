"""Headers about offsets: a group's place in a queue, and a queue's bounds.

Offsets count messages of one queue from 0; a maximum is the offset that the *next* message gets.
Timestamps are store times in ms since 1970.
"""

from broker_trio.wire.headers.base import I32, I64, Header


class QueryConsumerOffsetRequestHeader(Header, frozen=True, kw_only=True):
    """14. Absent `set_zero_if_not_found` lets the young-queue rule decide."""

    consumer_group: str
    topic: str
    queue_id: I32
    set_zero_if_not_found: bool | None = None


class QueryConsumerOffsetResponseHeader(Header, frozen=True, kw_only=True):
    """To 14, code 0 only."""

    offset: I64


class UpdateConsumerOffsetRequestHeader(Header, frozen=True, kw_only=True):
    """15: usually one-way."""

    consumer_group: str
    topic: str
    queue_id: I32
    commit_offset: I64


class SearchOffsetRequestHeader(Header, frozen=True, kw_only=True):
    """29: the first message stored at or after `timestamp`, or (upper) the last not after it."""

    topic: str
    queue_id: I32
    timestamp: I64
    boundary_type: str | None = None

    @property
    def upper(self) -> bool:
        """LOWER is the default; the name comes in any case of letters."""
        return self.boundary_type is not None and self.boundary_type.upper() == "UPPER"


class SearchOffsetResponseHeader(Header, frozen=True, kw_only=True):
    """To 29."""

    offset: I64


class GetMaxOffsetRequestHeader(Header, frozen=True, kw_only=True):
    """30. `committed` false also counts what is not yet readable."""

    topic: str
    queue_id: I32
    committed: bool = True


class GetMaxOffsetResponseHeader(Header, frozen=True, kw_only=True):
    """To 30."""

    offset: I64


class GetMinOffsetRequestHeader(Header, frozen=True, kw_only=True):
    """31."""

    topic: str
    queue_id: I32


class GetMinOffsetResponseHeader(Header, frozen=True, kw_only=True):
    """To 31."""

    offset: I64


class GetEarliestMsgStoretimeRequestHeader(Header, frozen=True, kw_only=True):
    """32."""

    topic: str
    queue_id: I32


class GetEarliestMsgStoretimeResponseHeader(Header, frozen=True, kw_only=True):
    """To 32; -1 where the queue holds nothing."""

    timestamp: I64


class ResetOffsetRequestHeader(Header, frozen=True, kw_only=True):
    """222, and 220 from the broker to clients. `timestamp` -1 means the end of the queue."""

    group: str
    topic: str
    queue_id: I32 = -1
    offset: I64 | None = None
    timestamp: I64
    is_force: bool


class GetConsumerStatusRequestHeader(Header, frozen=True, kw_only=True):
    """223, and 221 from the broker to clients. `client_addr` is a client id."""

    topic: str
    group: str
    client_addr: str | None = None


class CloneGroupOffsetRequestHeader(Header, frozen=True, kw_only=True):
    """314."""

    src_group: str
    dest_group: str
    topic: str | None = None
    offline: bool = False


class QueryCorrectionOffsetRequestHeader(Header, frozen=True, kw_only=True):
    """308. `filter_groups`: names with commas between them that do not count."""

    topic: str
    compare_group: str
    filter_groups: str | None = None


class QueryConsumeQueueRequestHeader(Header, frozen=True, kw_only=True):
    """321: units from `index` on."""

    topic: str | None = None
    queue_id: I32 = 0
    index: I64 = 0
    count: I32 = 0
    consumer_group: str | None = None
