"""Headers that look for stored messages: by key (12) and by place in the commit log (33)."""

import msgspec

from broker_trio.wire.headers.base import I32, I64, Header


class QueryMessageRequestHeader(Header, frozen=True, kw_only=True):
    """12: messages with `key` stored between two times (ms). A unique key counts up to 32 hits."""

    topic: str
    key: str
    max_num: I32
    begin_timestamp: I64
    end_timestamp: I64
    unique_key_query: bool = msgspec.field(default=False, name="_UNIQUE_KEY_QUERY")


class QueryMessageResponseHeader(Header, frozen=True, kw_only=True):
    """To 12: how far the index is (ms; commit-log offset)."""

    index_last_update_timestamp: I64
    index_last_update_phyoffset: I64


class ViewMessageRequestHeader(Header, frozen=True, kw_only=True):
    """33: the message at commit-log `offset`."""

    topic: str | None = None
    offset: I64
