"""Headers of PULL_MESSAGE (11) and LITE_PULL_MESSAGE (361).

`sys_flag` of the request: 1 commit `commit_offset`, 2 hold the request where nothing is there,
4 `subscription` holds the expression, 8 (dead), 16 lite pull. Clients read the four offsets of a
response without looking whether they are there, so codes 0, 19, 20 and 21 always carry them.
"""

import msgspec

from broker_trio.wire.headers.base import I32, I64, Header


class PullMessageRequestHeader(Header, frozen=True, kw_only=True):
    """11, 361: messages of one queue from `queue_offset` on. Timeout in ms."""

    consumer_group: str
    topic: str
    queue_id: I32
    queue_offset: I64
    max_msg_nums: I32
    sys_flag: I32
    commit_offset: I64
    suspend_timeout_millis: I64
    subscription: str | None = None
    sub_version: I64
    expression_type: str | None = None
    max_msg_bytes: I32 | None = None
    request_source: I32 | None = None
    proxy_forward_client_id: str | None = msgspec.field(  # misspelt on the wire
        default=None, name="proxyFrowardClientId"
    )
    bname: str | None = None


class PullMessageResponseHeader(Header, frozen=True, kw_only=True):
    """Where to go on, and the queue's bounds. `forbidden_type` explains a code 16."""

    suggest_which_broker_id: I64
    next_begin_offset: I64
    min_offset: I64
    max_offset: I64
    offset_delta: I64 | None = None
    topic_sys_flag: I32 | None = None
    group_sys_flag: I32 | None = None
    forbidden_type: I32 | None = None
