"""The loads: N tasks that send at a pace, tasks that consume, and both ends of one message.

    produce   turn of the pace ─▶ send ─▶ receipt ─▶ meter
    consume   subscribe from the first message on ─▶ meter, until it is caught up
    e2e       produce, and in the same process subscribe: from due to delivered, on one clock

A paced load catches up after a stall: the messages that were due keep their turns, and what is
measured from a message's turn has the wait in it. Loads take what they send by and what they
consume from as arguments: a test gives its own.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple, final

import trio

from broker_trio.cli.bench.meter import Meter
from broker_trio.client.errors import ClientError, InvalidArgument
from broker_trio.ops.causes import cause_of
from broker_trio.ops.pace import Pace

FAILED_PAUSE_S: Final = 0.05  # without a pace: a task whose send failed waits a little
IDLE_S: Final = 2.0  # a consumer that got nothing for so long is caught up
SETTLE_S: Final = 5.0  # how long deliveries are waited for after the last send
STAMP_BYTES: Final = 64  # what an e2e body needs
FOREVER_S: Final = 365 * 86_400.0

Send = Callable[[bytes], Awaitable[None]]
"""Sends one body, or a batch of it. Raises `ClientError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of what. It ends after `seconds` of measuring or `count` messages."""

    tasks: int = 64
    rate: float = 0.0
    size: int = 128
    batch: int = 1  # messages that one send carries
    seconds: float | None = 10.0
    count: int | None = None
    warm_up_s: float = 2.0
    expected_s: float = 0.0


class Stamp(NamedTuple):
    """What an e2e message says of itself: whose it is, when it was sent and when it was due."""

    run: str
    sent: float
    due: float


def stamped(stamp: Stamp, size: int) -> bytes:
    """A body with a stamp, `size` bytes or as many as that takes."""
    return f"{stamp.run} {stamp.sent:.9f} {stamp.due:.9f} ".encode().ljust(size, b".")


def stamp_of(body: bytes, run: str) -> Stamp | None:
    """The stamp; None for a message of another run or program."""
    parts = body[:STAMP_BYTES].split(b" ", 3)
    if len(parts) != 4 or parts[0] != run.encode():
        return None
    try:
        return Stamp(run, float(parts[1]), float(parts[2]))
    except ValueError:
        return None


@final
class Producing:
    """A load of sends. `body` makes each one: it gets when it is sent and when it was due."""

    def __init__(
        self, send: Send, plan: Plan, meter: Meter, body: Callable[[float, float], bytes]
    ) -> None:
        self.plan, self.meter = plan, meter
        self.in_flight = self.begun = 0
        self._send, self._body = send, body
        self._pace = Pace(plan.rate / plan.batch, meter.begin, catch_up=True)

    @property
    def missed(self) -> int:
        """Messages that were due before the end and never left."""
        ended = self.meter.ended
        return 0 if ended is None else self._pace.missed(ended) * self.plan.batch

    async def run(self) -> None:
        """Until the time or the count is over; what is in flight then is given up."""
        plan, meter = self.plan, self.meter
        deadline = meter.measured_from + plan.seconds if plan.seconds is not None else None
        with trio.CancelScope() as scope:
            if deadline is not None:
                scope.deadline = deadline
            async with trio.open_nursery() as nursery:
                for _ in range(plan.tasks):
                    nursery.start_soon(self._task, scope)
        now = trio.current_time()
        meter.ended = now if deadline is None else min(now, deadline)

    async def _task(self, over: trio.CancelScope) -> None:
        plan, meter = self.plan, self.meter
        while True:
            due = self._pace.take(trio.current_time())
            await trio.sleep_until(max(due, trio.current_time()))
            sent = trio.current_time()
            if not plan.rate:
                due = sent
            self.in_flight += 1
            self.begun += plan.batch
            try:
                await self._send(self._body(sent, due))
                now = trio.current_time()
                size, expected_s = plan.size * plan.batch, plan.expected_s
                meter.done(now, sent, due, size, count=plan.batch, expected_s=expected_s)
            except InvalidArgument:
                raise
            except ClientError as error:
                meter.failed(trio.current_time(), cause_of(error), plan.batch)
                if not plan.rate:
                    await trio.sleep(FAILED_PAUSE_S)
            finally:
                self.in_flight -= 1
            if plan.count is not None and meter.messages + meter.failures >= plan.count:
                over.cancel()


@final
class Consuming:
    """Counts what arrives. It is over when `count` came, or nothing for `idle_s` (None: never)."""

    def __init__(self, meter: Meter, *, count: int | None, idle_s: float | None) -> None:
        self.meter, self._count, self._idle_s = meter, count, idle_s
        self._last = meter.begin
        self._over = trio.Event()

    def arrived(self, size: int, age_s: float) -> None:
        """One message is here. The first one begins the measurement: joining is no consumption."""
        now = trio.current_time()
        meter = self.meter
        if not meter.messages:
            meter.begin = meter.measured_from = now
        meter.done(now, now - age_s, now - age_s, size)
        self._last = now
        if self._count is not None and meter.messages >= self._count:
            self._over.set()

    async def wait(self, seconds: float | None) -> None:
        """Until it is over, at most `seconds`; then the measurement ends with the last arrival."""
        with trio.move_on_after(seconds if seconds is not None else FOREVER_S):
            while not self._over.is_set():
                if self._idle_s is None:
                    await self._over.wait()
                    break
                with suppress(trio.TooSlowError), trio.fail_at(self._last + self._idle_s):
                    await self._over.wait()
                if trio.current_time() >= self._last + self._idle_s:
                    break
        self.meter.ended = self._last


@final
class Delivering:
    """The other end of an e2e load: what was sent, due and now is here."""

    def __init__(self, run: str, meter: Meter) -> None:
        self.delivered = 0  # all of the run, also those of the warm-up
        self._run, self._meter = run, meter
        self._expected: int | None = None
        self._settled = trio.Event()

    def arrived(self, body: bytes) -> None:
        """Counted by when it was due, so that the slowest of the last second are not left out."""
        stamp = stamp_of(body, self._run)
        if stamp is None:
            return
        self.delivered += 1
        now = trio.current_time()
        self._meter.done(now, stamp.sent, stamp.due, len(body), at=stamp.due)
        if self._expected is not None and self.delivered >= self._expected:
            self._settled.set()

    async def settle(self, expected: int) -> None:
        """Wait until so many are here, at most SETTLE_S."""
        self._expected = expected
        if self.delivered < expected:
            with trio.move_on_after(SETTLE_S):
                await self._settled.wait()
