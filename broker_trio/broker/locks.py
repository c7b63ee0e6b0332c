"""Queue locks for orderly consumption: which client of a group may consume a queue now.

    group ─▶ (topic, broker name, queue id) ─▶ (client id, last renewed)

A lock is held until it is given back or was not renewed for 60 s; the client renews every 20 s and
stops trusting its own after 30 s, so that two clients never both believe. Locks live in memory
only: after a restart clients take them anew, and a queue may see two owners for up to those 30 s,
as with RocketMQ 5.3.
"""

from typing import Any, Final, NamedTuple, final

from broker_trio.model import names
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused
from broker_trio.model.route import MessageQueue
from broker_trio.remoting.dispatch import Request, Response, Route
from broker_trio.runtime.seams import Clock
from broker_trio.wire.bodies.lock import (
    LockRequest,
    decode_lock_request,
    encode_lock_result,
)

LOCK_S: Final = 60.0
LOCKS_MAX: Final = 100_000  # of all groups together
QUEUES_PER_REQUEST_MAX: Final = 10_000
NAME_CHARS_MAX: Final = 255  # of a client id or a broker's name
SWEEP_S: Final = 1.0  # between two looks for expired locks in a full table: each walks all of it


class Lock(NamedTuple):
    """Who holds a queue, and when it said so last (monotonic seconds)."""

    client_id: str
    renewed: float


@final
class Locks:
    """The table and requests 41 and 42; `now` is an argument, nothing here waits."""

    def __init__(self, clock: Clock, *, locks_max: int = LOCKS_MAX) -> None:
        self._clock = clock
        self._groups: dict[str, dict[MessageQueue, Lock]] = {}
        self.locks_max = locks_max
        self.held = self.refused = 0
        self._swept = float("-inf")

    def routes(self) -> tuple[Route[Any], ...]:
        return (
            Route(RequestCode.LOCK_BATCH_MQ, None, self.lock_batch, processor="lock"),
            Route(RequestCode.UNLOCK_BATCH_MQ, None, self.unlock_batch, processor="lock"),
        )

    def lock_batch(self, request: Request, _header: None) -> Response:
        """41: the queues of the request that the client holds from now on."""
        command = request.command
        body = decode_lock_request(command.body, command.serialize)
        _check(body)
        now = self._clock.monotonic()
        refused = self.refused
        locked = [
            queue
            for queue in body.mq_set
            if self.try_lock(body.consumer_group, queue, body.client_id, now)
        ]
        if self.refused > refused and not locked:
            raise Refused(
                ResponseCode.SYSTEM_BUSY,
                f"{self.held} queues are locked, limit {self.locks_max} (LOCKS_MAX)",
            )
        return Response(body=encode_lock_result(locked, command.serialize))

    def unlock_batch(self, request: Request, _header: None) -> Response:
        """42: give back those that the client holds."""
        command = request.command
        body = decode_lock_request(command.body, command.serialize)
        _check(body)
        for queue in body.mq_set:
            self.unlock(body.consumer_group, queue, body.client_id)
        return Response()

    def try_lock(self, group: str, queue: MessageQueue, client_id: str, now: float) -> bool:
        """Take or renew; False where another client's lock is younger than 60 s."""
        locks = self._groups.get(group)
        held = locks.get(queue) if locks else None
        if held is not None and held.client_id != client_id and now - held.renewed <= LOCK_S:
            return False
        if held is None:
            if self.held >= self.locks_max and now - self._swept >= SWEEP_S:
                self._swept = now
                self.forget_expired(now)
            if self.held >= self.locks_max:
                self.refused += 1
                return False  # as if another held it: the client asks again in 20 s
            self.held += 1
        self._groups.setdefault(group, {})[queue] = Lock(client_id, now)
        return True

    def unlock(self, group: str, queue: MessageQueue, client_id: str) -> bool:
        locks = self._groups.get(group, {})
        held = locks.get(queue)
        if held is None or held.client_id != client_id:
            return False
        del locks[queue]
        self.held -= 1
        if not locks:
            del self._groups[group]
        return True

    def group_holds_locks(self, group: str) -> bool:
        """Whether the group consumes orderly just now: its retries go to the dead letters."""
        now = self._clock.monotonic()
        return any(now - lock.renewed <= LOCK_S for lock in self._groups.get(group, {}).values())

    def forget_expired(self, now: float) -> None:
        """Drop locks that nobody renewed; called before the limit refuses anybody."""
        for group, locks in list(self._groups.items()):
            for queue in [queue for queue, lock in locks.items() if now - lock.renewed > LOCK_S]:
                del locks[queue]
                self.held -= 1
            if not locks:
                del self._groups[group]


def _check(body: LockRequest) -> None:
    """What is kept is bounded by its count only where no name is longer than names are."""
    count = len(body.mq_set)
    longest = max((len(queue.broker_name) for queue in body.mq_set), default=0)
    try:
        names.check_group(body.consumer_group)
        for topic in {queue.topic for queue in body.mq_set}:
            names.check_topic(topic)
    except ValueError as error:
        raise Refused(ResponseCode.INVALID_PARAMETER, str(error)) from error
    if count > QUEUES_PER_REQUEST_MAX or max(longest, len(body.client_id)) > NAME_CHARS_MAX:
        raise Refused(
            ResponseCode.INVALID_PARAMETER,
            f"{count} queues in one request, allowed {QUEUES_PER_REQUEST_MAX}; "
            f"client id and broker names may have {NAME_CHARS_MAX} characters",
        )
