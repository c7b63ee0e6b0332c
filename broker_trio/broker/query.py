"""Looking for messages and offsets: requests 12, 29, 30, 31, 32 and 33.

Bounds of a queue are in memory and answered at once. Whatever reads the log or searches a queue may
have to wait for the device and is a `Later`. Answers carry records as they are stored; clients
filter by exact key themselves, so that a hash collision costs bytes and nothing else.
"""

from typing import Any, Final, final

from broker_trio.broker.topics import Topics
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.remoting.dispatch import Later, Request, Response, Route
from broker_trio.store.store import Store
from broker_trio.wire.headers.base import to_ext
from broker_trio.wire.headers.offset import (
    GetEarliestMsgStoretimeRequestHeader,
    GetEarliestMsgStoretimeResponseHeader,
    GetMaxOffsetRequestHeader,
    GetMaxOffsetResponseHeader,
    GetMinOffsetRequestHeader,
    GetMinOffsetResponseHeader,
    SearchOffsetRequestHeader,
    SearchOffsetResponseHeader,
)
from broker_trio.wire.headers.query import (
    QueryMessageRequestHeader,
    QueryMessageResponseHeader,
    ViewMessageRequestHeader,
)

UNIQUE_KEY_COUNT: Final = 32  # a query by UNIQ_KEY always asks for so many (defaultQueryMaxNum)
COUNT_MAX: Final = 64
KEY_CHARACTERS_MAX: Final = 4096


@final
class Query:
    """Reads of one store."""

    def __init__(self, store: Store, topics: Topics) -> None:
        self._store, self._topics = store, topics

    def routes(self) -> tuple[Route[Any], ...]:
        code = RequestCode
        return (
            Route(code.QUERY_MESSAGE, QueryMessageRequestHeader, self.by_key, processor="query"),
            Route(code.VIEW_MESSAGE_BY_ID, ViewMessageRequestHeader, self.by_id, processor="query"),
            Route(
                code.SEARCH_OFFSET_BY_TIMESTAMP,
                SearchOffsetRequestHeader,
                self.offset_by_time,
                processor="query",
            ),
            Route(
                code.GET_MAX_OFFSET, GetMaxOffsetRequestHeader, self.max_offset, processor="query"
            ),
            Route(
                code.GET_MIN_OFFSET, GetMinOffsetRequestHeader, self.min_offset, processor="query"
            ),
            Route(
                code.GET_EARLIEST_MSG_STORETIME,
                GetEarliestMsgStoretimeRequestHeader,
                self.earliest_store_time,
                processor="query",
            ),
        )

    def by_key(self, _request: Request, header: QueryMessageRequestHeader) -> Later:
        """12: messages whose KEYS or UNIQ_KEY hold the key, stored between two times; or 22."""
        if len(header.key) > KEY_CHARACTERS_MAX:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"a key of {len(header.key)} characters, allowed {KEY_CHARACTERS_MAX}",
            )
        wanted = UNIQUE_KEY_COUNT if header.unique_key_query else header.max_num
        count = min(max(wanted, 1), COUNT_MAX)

        async def later() -> Response:
            records = await self._store.reader.query_by_key(
                header.topic, header.key, count, header.begin_timestamp, header.end_timestamp
            )
            fields = to_ext(
                QueryMessageResponseHeader(
                    index_last_update_timestamp=self._store.index.end_ms,
                    index_last_update_phyoffset=self._store.index.indexed_offset,
                )
            )
            if not records:
                raise Refused(
                    ResponseCode.QUERY_NOT_FOUND,
                    "can not find message, maybe time range not correct",
                    {name: str(value) for name, value in fields.items()},
                )
            return Response(ext=fields, body=records)

        return later

    def by_id(self, _request: Request, header: ViewMessageRequestHeader) -> Later:
        """33: the message at a commit-log offset; 1 where there is none."""

        async def later() -> Response:
            record = await self._store.reader.record_at(header.offset)
            if record is None:
                raise Refused(
                    ResponseCode.SYSTEM_ERROR,
                    f"can not find message by the offset, {header.offset}",
                )
            return Response(body=record)

        return later

    def offset_by_time(self, _request: Request, header: SearchOffsetRequestHeader) -> Later:
        """29."""

        async def later() -> Response:
            offset = await self._store.reader.offset_by_time(
                header.topic, header.queue_id, header.timestamp, header.upper
            )
            return Response(ext=to_ext(SearchOffsetResponseHeader(offset=offset)))

        return later

    def max_offset(self, _request: Request, header: GetMaxOffsetRequestHeader) -> Response:
        """30: the offset that the next message gets."""
        offset = self._store.queues.max_offset(header.topic, header.queue_id)
        return Response(ext=to_ext(GetMaxOffsetResponseHeader(offset=offset)))

    def min_offset(self, _request: Request, header: GetMinOffsetRequestHeader) -> Response:
        """31."""
        offset = self._store.queues.min_offset(header.topic, header.queue_id)
        return Response(ext=to_ext(GetMinOffsetResponseHeader(offset=offset)))

    def earliest_store_time(
        self, _request: Request, header: GetEarliestMsgStoretimeRequestHeader
    ) -> Later:
        """32: -1 where the queue is empty."""

        async def later() -> Response:
            low = self._store.queues.min_offset(header.topic, header.queue_id)
            timestamp = await self._store.reader.store_time_at(header.topic, header.queue_id, low)
            fields = GetEarliestMsgStoretimeResponseHeader(timestamp=timestamp)
            return Response(ext=to_ext(fields))

        return later
