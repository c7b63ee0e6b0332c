"""PULL_MESSAGE and LITE_PULL_MESSAGE: check, commit, read, answer or hold.

The checks run in the order of protocol.md §3.2. The first attempt commits the consumer's offset if
it asks for it and may be held; the run after a wake-up does neither. Messages leave as they lie in
the log, never decoded. Cold messages are read by a `Later`, off the loop; if that finds nothing
after all, the pull is held like any other, unless something arrived while the device was asked.

Where the reader should go on is in each answer (`suggestWhichBrokerId`): the master, or a slave in
sync where the reader is far behind or the master loaded, so that cold reads do not disturb it
(`pull.slave_read_enable`). How far, and what a slave serves, stands in slave_service.py.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, final

import msgspec
import trio

from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.groups import Groups
from broker_trio.broker.held_pulls import Held, HeldPulls
from broker_trio.broker.offsets import ConsumerOffsets
from broker_trio.broker.replication.slave_service import (
    REDIRECT_MS,
    STAY_SHARE,
    SlaveService,
)
from broker_trio.broker.sessions import Sessions
from broker_trio.broker.settings import Settings
from broker_trio.broker.stats import BrokerStats
from broker_trio.broker.topics import Topics
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.subscription import SubscriptionData, build_subscription
from broker_trio.remoting.dispatch import PARKED, Later, Parked, Request, Response, Route, Session
from broker_trio.runtime.loop_lag import LoopLag
from broker_trio.runtime.seams import Clock
from broker_trio.store.reader import GetResult, GetStatus
from broker_trio.store.store import Store
from broker_trio.wire.headers.pull import PullMessageRequestHeader

COMMIT_OFFSET: Final = 1
SUSPEND: Final = 2
SUBSCRIPTION: Final = 4
MASTER: Final = "0"
COUNT_MAX: Final = 1_024
COLD_NOW_LOADED: Final = 8  # pulls that wait for the device at once: it is the bottleneck
BROKER, GROUP, TOPIC, BROADCASTING, SUBSCRIBED = 1, 2, 3, 4, 5  # forbiddenType of a 16

_CODE_OF: Final = {
    GetStatus.FOUND: ResponseCode.SUCCESS,
    GetStatus.NO_MATCHED_MESSAGE: ResponseCode.PULL_RETRY_IMMEDIATELY,
    GetStatus.MESSAGE_WAS_REMOVING: ResponseCode.PULL_RETRY_IMMEDIATELY,
    GetStatus.OFFSET_TOO_SMALL: ResponseCode.PULL_OFFSET_MOVED,
    GetStatus.OFFSET_OVERFLOW_BADLY: ResponseCode.PULL_OFFSET_MOVED,
    GetStatus.OFFSET_RESET: ResponseCode.PULL_OFFSET_MOVED,
    GetStatus.OFFSET_OVERFLOW_ONE: ResponseCode.PULL_NOT_FOUND,
    GetStatus.OFFSET_FOUND_NULL: ResponseCode.PULL_NOT_FOUND,
}
"""The two statuses of an empty queue are missing: their code depends on the offset asked for."""
_NO_PLACE: Final = frozenset(
    {
        GetStatus.OFFSET_TOO_SMALL,
        GetStatus.OFFSET_OVERFLOW_BADLY,
        GetStatus.NO_MATCHED_LOGIC_QUEUE,
        GetStatus.NO_MESSAGE_IN_QUEUE,
    }
)
"""What a slave does not correct: it does not know what the master has there."""


@final
class Pull:
    """The pull codes of one broker."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        topics: Topics,
        groups: Groups,
        offsets: ConsumerOffsets,
        sessions: Sessions,
        held: HeldPulls,
        stats: BrokerStats,
        config: BrokerConfig,
        settings: Settings,
        lag: LoopLag,
    ) -> None:
        self._store, self._clock, self._topics, self._groups = store, clock, topics, groups
        self._offsets, self._sessions, self._held, self._stats = offsets, sessions, held, stats
        self._config, self._settings = config.pull, settings
        self._slave_service: SlaveService | None = None
        self._lag, self._cold_now = lag, 0

    def routes(self) -> tuple[Route[PullMessageRequestHeader], ...]:
        note = "tag filters; SQL92 is refused as switched off"
        pull = Route(
            RequestCode.PULL_MESSAGE,
            PullMessageRequestHeader,
            self._handle,
            support="partial",
            note=note,
            processor="pull",
        )
        lite = Route(
            RequestCode.LITE_PULL_MESSAGE,
            PullMessageRequestHeader,
            self._handle_lite,
            support="partial",
            note=note,
            processor="lite_pull",
        )
        return (pull, lite)

    def join_pair(self, service: SlaveService) -> None:
        """From now on this broker may be a slave."""
        self._slave_service = service

    def _handle_lite(
        self, request: Request, header: PullMessageRequestHeader
    ) -> Response | Parked | Later:
        if not self._config.lite_pull_enable:
            raise _forbidden(
                BROKER, "lite pull is switched off on this broker (pull.lite_pull_enable)"
            )
        return self._handle(request, header)

    def _handle(
        self, request: Request, header: PullMessageRequestHeader
    ) -> Response | Parked | Later:
        codes = self._checked(header)
        reset = self._offsets.take_reset(header.consumer_group, header.topic, header.queue_id)
        if reset is not None:
            return self._moved(header, reset)
        if header.sys_flag & COMMIT_OFFSET and header.commit_offset >= 0:
            end = self._store.queues.max_offset(header.topic, header.queue_id)
            self._offsets.commit_within(  # past the end it would skip what comes next, as with 15
                header.consumer_group, header.topic, header.queue_id, header.commit_offset, end
            )
        hold = bool(header.sys_flag & SUSPEND) and header.suspend_timeout_millis > 0
        return self._attempt(request, header, codes, hold=hold)

    def _attempt(
        self,
        request: Request,
        header: PullMessageRequestHeader,
        codes: frozenset[int] | None,
        *,
        hold: bool,
    ) -> Response | Parked | Later:
        count = min(max(header.max_msg_nums, 1), COUNT_MAX)
        reader, size = self._store.reader, header.max_msg_bytes
        place = (header.topic, header.queue_id, header.queue_offset)
        try:
            result = reader.get_nowait(*place, count_max=count, bytes_max=size, codes=codes)
        except trio.WouldBlock:
            cold = partial(reader.get, *place, count_max=count, bytes_max=size, codes=codes)
            return partial(self._finish_cold, request, header, codes, cold, hold=hold)
        response = self._respond(header, result)
        elsewhere = self._redirects and result.status is GetStatus.OFFSET_TOO_SMALL
        if response.code != ResponseCode.PULL_NOT_FOUND or not hold or elsewhere:
            return self._placed(response)
        return self._hold(request, header, codes)

    async def _finish_cold(
        self,
        request: Request,
        header: PullMessageRequestHeader,
        codes: frozenset[int] | None,
        cold: Callable[[], Awaitable[GetResult]],
        *,
        hold: bool,
    ) -> Response | Parked:
        self._stats.totals.cold_reads += 1
        self._cold_now += 1
        try:
            result = await cold()
        finally:
            self._cold_now -= 1
        response = self._respond(header, result)
        if response.code != ResponseCode.PULL_NOT_FOUND or not hold or request.session.closed:
            return self._placed(response)
        if self._store.queues.max_offset(header.topic, header.queue_id) != result.max_offset:
            return self._placed(response)  # it arrived meanwhile: nobody would wake this pull
        return self._hold(request, header, codes)

    def _hold(
        self,
        request: Request,
        header: PullMessageRequestHeader,
        codes: frozenset[int] | None,
    ) -> Parked:
        held, config = self._held, self._config
        if held.full or request.session.parked_full:
            held.refused += 1
            raise Refused(
                ResponseCode.SYSTEM_BUSY,
                f"[OVERLOAD]{held.count} pulls are held, limit {held.held_max} "
                f"(pull.held_pulls_max), for {held.codes} tags, limit {held.codes_max} "
                "(CODES_MAX), or remoting.parked_max of this connection",
            )
        wait_ms = min(header.suspend_timeout_millis, config.hold_ms_max)
        if not self._settings.long_polling_enable:
            wait_ms = min(wait_ms, 1_000)
        if self._redirects:
            wait_ms = min(wait_ms, REDIRECT_MS)
        deadline = self._clock.monotonic() + wait_ms / 1_000
        header = msgspec.structs.replace(
            header,
            subscription=None,
            expression_type=None,
            proxy_forward_client_id=None,
            bname=None,
        )
        rerun = partial(self._attempt, request, header, codes, hold=False)
        command = request.command  # nothing that a peer made long is kept while it waits
        command.ext, command.body, command.remark = {}, b"", None
        held.hold(
            Held(
                request, header.topic, header.queue_id, header.queue_offset, codes, deadline, rerun
            )
        )
        return PARKED

    @property
    def _redirects(self) -> bool:
        return self._slave_service is not None and self._slave_service.redirects

    def _respond(self, header: PullMessageRequestHeader, result: GetResult) -> Response:
        status, next_begin = result.status, result.next_begin_offset
        code = _CODE_OF.get(status)
        service = self._slave_service
        if service is not None and not service.owns and status in _NO_PLACE:
            code, next_begin = ResponseCode.PULL_NOT_FOUND, header.queue_offset
        elif code is None:
            first = header.queue_offset == 0
            code = ResponseCode.PULL_NOT_FOUND if first else ResponseCode.PULL_OFFSET_MOVED
        if result.count:
            self._stats.got(header.topic, header.consumer_group, result.count, result.bytes)
        else:
            self._stats.totals.get_misses += 1
        return Response(
            code,
            None if code == ResponseCode.SUCCESS else status.name,
            _four(next_begin, result.min_offset, result.max_offset, self._suggest(header, result)),
            result.records,
        )

    def _placed(self, response: Response) -> Response:
        """A slave with nothing to give sends the reader to a master that is there."""
        if response.code == ResponseCode.PULL_NOT_FOUND and self._redirects:
            response.code = ResponseCode.PULL_RETRY_IMMEDIATELY
        return response

    def _suggest(self, header: PullMessageRequestHeader, result: GetResult) -> str:
        """Which broker id the reader should ask next."""
        service, config = self._slave_service, self._config
        if service is None or not result.count or not config.slave_read_enable:
            return MASTER
        group = self._groups.get(header.consumer_group)
        if group is None:
            return MASTER
        behind = self._store.log.max_offset - result.last_physical_offset
        if behind <= config.far_behind_bytes // STAY_SHARE:
            return str(group.broker_id)
        loaded = self._cold_now >= COLD_NOW_LOADED or self._lag.is_late
        return str(service.reads_at(behind, config.far_behind_bytes, group, loaded=loaded))

    def _moved(self, header: PullMessageRequestHeader, offset: int) -> Response:
        """A pending server-side reset: the client goes on at `offset`."""
        queues = self._store.queues
        low = queues.min_offset(header.topic, header.queue_id)
        high = queues.max_offset(header.topic, header.queue_id)
        name = GetStatus.OFFSET_RESET.name
        return Response(ResponseCode.PULL_OFFSET_MOVED, name, _four(offset, low, high))

    def _checked(self, header: PullMessageRequestHeader) -> frozenset[int] | None:
        """Every check before the store is asked; returns the tag codes wanted, None = all."""
        if not self._settings.readable:
            raise _forbidden(BROKER, "this broker is not readable (brokerPermission)")
        group = self._groups.find_or_create(header.consumer_group)
        if group is None:
            raise Refused(
                ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST,
                f"subscription group [{header.consumer_group}] does not exist",
            )
        if not group.consume_enable:
            raise _forbidden(
                GROUP, f"group {header.consumer_group} may not consume (consumeEnable)"
            )
        topic = self._topics.get(header.topic)
        if topic is None:
            raise Refused(
                ResponseCode.TOPIC_NOT_EXIST,
                f"topic[{header.topic}] not exist, apply first please!",
            )
        if not topic.perm & 4:
            raise _forbidden(TOPIC, f"topic {header.topic} is not readable (perm {topic.perm})")
        if not 0 <= header.queue_id < topic.read_queue_nums:
            raise Refused(
                ResponseCode.INVALID_PARAMETER,
                f"queueId {header.queue_id} is illegal, topic {header.topic} has "
                f"{topic.read_queue_nums} read queues",
            )
        subscription = self._subscription(header, broadcast=group.consume_broadcast_enable)
        return codes_of(subscription)

    def _subscription(
        self, header: PullMessageRequestHeader, *, broadcast: bool
    ) -> SubscriptionData:
        kind = header.expression_type or "TAG"
        if header.sys_flag & SUBSCRIPTION:
            _refuse_sql(kind)
            try:
                return build_subscription(header.topic, header.subscription or "*", kind)
            except ValueError as error:
                raise Refused(ResponseCode.SUBSCRIPTION_PARSE_FAILED, str(error)) from error
        group = self._sessions.consumer_group(header.consumer_group)
        if group is None:
            raise Refused(
                ResponseCode.SUBSCRIPTION_NOT_EXIST,
                f"the consumer's group {header.consumer_group} has not sent a heartbeat yet",
            )
        if group.is_broadcasting and not broadcast:
            raise _forbidden(
                BROADCASTING,
                f"group {header.consumer_group} may not broadcast (consumeBroadcastEnable)",
            )
        if not self._groups.may_read(header.consumer_group, header.topic):
            raise _forbidden(
                SUBSCRIBED, f"group {header.consumer_group} may not read {header.topic}"
            )
        found = self._sessions.subscription(header.consumer_group, header.topic)
        if found is None:
            raise Refused(
                ResponseCode.SUBSCRIPTION_NOT_EXIST,
                f"group {header.consumer_group} has not subscribed to {header.topic}",
            )
        if found.sub_version < header.sub_version:
            raise Refused(
                ResponseCode.SUBSCRIPTION_NOT_LATEST,
                "the subscription known here is older than the request's",
            )
        _refuse_sql(found.expression_type)
        return found

    def session_closed(self, session: Session) -> None:
        """Drop what the connection waited for."""
        self._held.session_closed(session)


def codes_of(subscription: SubscriptionData) -> frozenset[int] | None:
    """The tag codes that pass, None = all of them."""
    if subscription.sub_string in {"", "*"} or not subscription.code_set:
        return None
    return frozenset(subscription.code_set)


def _four(
    next_begin: int, low: int, high: int, suggested: str = MASTER
) -> dict[str, str | int | bool]:
    """The fields that clients unbox without looking: all four, in every pull answer."""
    return {
        "suggestWhichBrokerId": suggested,
        "nextBeginOffset": str(next_begin),
        "minOffset": str(low),
        "maxOffset": str(high),
    }


def _forbidden(kind: int, remark: str) -> Refused:
    return Refused(ResponseCode.NO_PERMISSION, remark, {"forbiddenType": str(kind)})


def _refuse_sql(kind: str | None) -> None:
    if kind not in {None, "", "TAG"}:
        raise Refused(
            ResponseCode.SYSTEM_ERROR,
            f"The broker does not support consumer to filter message by {kind}",
        )
