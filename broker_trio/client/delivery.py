"""Bringing one request to a broker that takes it: attempts, pauses, one deadline over all.

    ┌─▶ route ──▶ which queue ──▶ carry ──▶ stored: done
    │                               │
    │                               ├─ refused for good ──────────────▶ raised at once
    │                               ├─ refused for now, not reached ──┐
    │                               └─ no answer (may be stored) ─────┤ only with resend_unknown
    └── another broker, fresh route where the refusal asks for it ◀───┘

What is raised at the end is the last failure, or one whose outcome is unknown if there was any; the
other attempts are notes on it.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar, final

import anyio

from broker_trio.client.errors import (
    DEPOSED,
    MOVED,
    BrokerRefused,
    ClientError,
    NoAnswer,
    NoPermission,
    NoRoute,
)
from broker_trio.client.events import BrokerSuspected, BrokerTrusted
from broker_trio.client.retry import FaultWindows, attempt_s, next_queue, pause_s, queue_of_key
from broker_trio.client.route_table import Routed
from broker_trio.client.routes import unwritable
from broker_trio.model.route import MessageQueue
from broker_trio.remoting.client import Unreachable

if TYPE_CHECKING:
    from broker_trio.client.session import Session

T = TypeVar("T")
Carry = Callable[[str, MessageQueue, float, int], Awaitable[T]]
"""`carry(address, queue, within_s, attempt)`: one attempt."""


class _Where(NamedTuple):
    """What decides about the queue."""

    topic: str
    ordering_key: str | None
    queue: MessageQueue | None


class _Failed(NamedTuple):
    """The attempts of one delivery: its errors, and the brokers; "" where it came to none."""

    errors: list[ClientError]
    brokers: list[str]

    def add(self, error: ClientError) -> None:
        """Waiting for a route says the same again and again: once is enough."""
        if self.errors and str(self.errors[-1]) == str(error):
            self.errors.pop()
        self.errors.append(error)


@final
class Deliveries:
    """All sends of one client: they share what is known of brokers, and whose turn it is."""

    def __init__(self, session: "Session") -> None:
        options = session.options
        self.windows = FaultWindows(options.fault_window_s, options.fault_window_max_s)
        self._session, self._routes = session, session.routes
        self._turns: dict[str, int] = {}

    async def deliver(
        self,
        topic: str,
        carry: "Carry[T]",
        *,
        timeout_s: float,
        ordering_key: str | None = None,
        queue: MessageQueue | None = None,
    ) -> T:
        """What `carry` returns. `queue` or `ordering_key` decide where; else all take turns.

        Raises a `ClientError` within `timeout_s`. Cancelled: the outcome is unknown.
        """
        deadline = anyio.current_time() + timeout_s
        attempts_max = self._session.options.send_attempts_max
        where = _Where(topic, ordering_key, queue)
        failed = _Failed([], [])
        attempt = 1
        while attempt <= attempts_max:
            broker_name = None
            try:
                address, chosen = await self._target(where, failed, deadline)
                broker_name = chosen.broker_name
                left_s = deadline - anyio.current_time()
                if left_s <= 0:
                    break
                within_s = attempt_s(left_s, attempts_max - attempt + 1)
                result = await carry(address, chosen, within_s, attempt)
            except ClientError as error:
                failed.add(error)
                if not self._again(error) or anyio.current_time() >= deadline:
                    if isinstance(error, NoAnswer | Unreachable):  # this send has no time to ask
                        self._routes.suspect()
                    break
                await self._learn(topic, broker_name, error, deadline)
                failed.brokers.append(broker_name or "")
                if attempts_max == 1 or not self._unknown(topic, error):
                    attempt += 1
            else:
                self._trust(chosen.broker_name)
                return result
        raise self._outcome(topic, failed.errors, timeout_s)

    async def _target(
        self, where: _Where, failed: _Failed, deadline: float
    ) -> tuple[str, MessageQueue]:
        """Whom to ask next; after a pause where the same has failed already."""
        again = failed.brokers and failed.brokers[-1] == ""
        if not again:
            routed = await self._route(where.topic, deadline)
            chosen = self._choose(where, routed, failed.brokers)
            if chosen.broker_name not in failed.brokers:
                return routed.masters[chosen.broker_name], chosen
        wait_s = pause_s(len(failed.brokers), self._session.entropy.random())
        await anyio.sleep(min(wait_s, max(deadline - anyio.current_time(), 0)))
        if anyio.current_time() >= deadline:
            raise failed.errors[-1]  # there is no time left to learn anything new
        routed = await self._route(where.topic, deadline)
        chosen = self._choose(where, routed, failed.brokers)
        return routed.masters[chosen.broker_name], chosen

    def _choose(self, where: _Where, routed: Routed, tried: list[str]) -> MessageQueue:
        queues = routed.queues
        now = anyio.current_time() if self.windows else 0.0
        if where.queue is not None:
            chosen = where.queue
            if tried and (brokers := unwritable(routed.route, chosen.broker_name)):
                raise NoPermission(where.topic, "write", brokers)
            if chosen.broker_name not in routed.masters:
                raise NoRoute(where.topic, f"broker {chosen.broker_name} has no master now")
        elif not queues:
            if brokers := unwritable(routed.route):
                raise NoPermission(where.topic, "write", brokers)
            raise NoRoute(where.topic, "none of its brokers takes messages now (no master)")
        elif where.ordering_key:
            chosen = queue_of_key(queues, where.ordering_key)
        else:
            chosen = next_queue(queues, self._turn(where.topic), self.windows, tried, now)
        if self.windows:
            self.windows.look(chosen.broker_name, now)
        return chosen

    def _turn(self, topic: str) -> int:
        turn = self._turns.get(topic)
        if turn is None:
            if len(self._turns) >= self._session.options.topics_max:
                del self._turns[next(iter(self._turns))]
            turn = self._session.entropy.getrandbits(16)  # clients begin at different queues
        self._turns[topic] = turn + 1
        return turn

    async def _route(self, topic: str, deadline: float) -> Routed:
        routed = self._routes.kept_for_send(topic)
        if routed is not None and routed.queues:
            return routed
        left_s = max(deadline - anyio.current_time(), 0)
        try:
            with anyio.fail_after(left_s):
                return await self._routes.refresh(topic, for_send=True)
        except TimeoutError as error:
            names = "; ".join(self._session.nameservers.addresses)
            why = f"{names} did not within {left_s:.3g} s"
            raise Unreachable("no nameserver answers", why, sent=False) from error

    def _again(self, error: ClientError) -> bool:
        if error.unknown:
            return self._session.options.resend_unknown
        return error.retriable

    def _unknown(self, topic: str, error: ClientError) -> bool:
        """Whether no nameserver knows the topic. That is waited for, within the send's timeout, and
        uses up no attempt: after a nameserver's restart its brokers come back one by one.
        """
        return isinstance(error, NoRoute) and self._routes.kept_for_send(topic) is None

    def _trust(self, broker_name: str) -> None:
        if self.windows and self.windows.succeeded(broker_name):
            self._session.events.emit(BrokerTrusted(broker_name))

    async def _learn(
        self, topic: str, broker_name: str | None, error: ClientError, deadline: float
    ) -> None:
        """What the failure says of the broker, and of the route."""
        moved = isinstance(error, BrokerRefused) and error.code in MOVED
        if broker_name is not None and not moved:  # else the topic is not there: no broker's fault
            now = anyio.current_time()
            known = self.windows.until(broker_name, now)
            window_s = self.windows.failed(broker_name, now)
            if not known:
                self._session.events.emit(BrokerSuspected(broker_name, window_s, str(error)))
        if moved or not isinstance(error, BrokerRefused) or error.code in DEPOSED:
            with anyio.move_on_after(max(deadline - anyio.current_time(), 0) / 2):
                await self._refresh(topic)

    async def _refresh(self, topic: str) -> None:
        try:
            await self._routes.refresh(topic, for_send=True)
        except ClientError as error:
            del error  # told by the route table's events; the next attempt asks once more

    def _outcome(self, topic: str, failures: list[ClientError], timeout_s: float) -> ClientError:
        if not failures:
            return NoRoute(topic, f"no attempt fitted into {timeout_s:g} s", certain=False)
        unknown = [error for error in failures if error.unknown]
        raised = (unknown or failures)[-1]
        for number, error in enumerate(failures, 1):
            if error is not raised:
                raised.add_note(f"attempt {number}: {error}")
        return raised
