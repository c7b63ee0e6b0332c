"""Sending numbered messages, each on record before it leaves and again when its end is known.

    N tasks:   turn of the rate ─▶ Attempt n on record ─▶ send ─▶ Outcome n on record ─▶ next turn

The numbers of one run rise in the order of the attempts. A task sends one message at a time, so
that N bounds what is in flight. How a send ends is what `Send` says: it raises nothing that a
cluster can cause. Whoever is cancelled in a send leaves an attempt without an outcome behind, which
is the truth: it is unknown.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple, final

import trio

from broker_trio.ops.ledger.file import LedgerFile
from broker_trio.ops.ledger.payload import SIZE_MIN, WRITER_DIGITS, body_of, key_of
from broker_trio.ops.ledger.records import TEXT_MAX, Attempt, Ended, How, Outcome, Writing
from broker_trio.ops.pace import Pace
from broker_trio.runtime.seams import Clock

GAP_S: Final = 0.5
FAILED_PAUSE_S: Final = 0.1  # without a rate: a task whose send failed does not try at once


class Sent(NamedTuple):
    """How one send ended; see `records.Outcome` for the members."""

    how: How
    broker: str = ""
    queue: int = -1
    offset: int = -1
    durability: str = ""
    epoch: int = 0
    tries: int = 1
    cause: str = ""
    why: str = ""


Send = Callable[[bytes, str], Awaitable[Sent]]
"""Sends a body with a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run sends. `count` and `seconds`: it ends at whichever comes first; None: never."""

    topic: str
    rate: float = 100.0
    tasks: int = 8
    size: int = 256
    count: int | None = None
    seconds: float | None = None
    attempts: int = 1
    resend: bool = False

    def __post_init__(self) -> None:
        assert self.size >= SIZE_MIN
        assert self.tasks > 0


@dataclass(slots=True)
class Tally:
    """What a run did so far, for whoever watches."""

    attempts: int = 0
    ok: int = 0
    fail: int = 0
    unknown: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    last_ok: float | None = None
    longest_gap_s: float = 0.0
    last_gap_s: float = 0.0  # the last one that was not a matter of milliseconds
    last_why: str = ""
    first: float | None = None  # when the first attempt began
    seconds: float = 0.0  # from then to the end of the run

    def begin(self, t: float) -> None:
        """One more attempt."""
        self.attempts += 1
        if self.first is None:
            self.first = t

    def end(self, t: float) -> None:
        """The run is over: what no acknowledgement ended is a gap, too."""
        if self.first is not None:
            self.seconds = t - self.first
            self._gap_to(t)

    def _gap_to(self, t: float) -> None:
        """As `gaps.gaps_of` has it: from the first attempt, between acknowledgements, to the end"""
        since = self.first if self.last_ok is None else self.last_ok
        assert since is not None, "something was attempted"
        gap_s = t - since
        self.longest_gap_s = max(self.longest_gap_s, gap_s)
        self.last_gap_s = gap_s if gap_s >= GAP_S else self.last_gap_s

    def note(self, outcome: Outcome) -> None:
        """How one attempt ended."""
        if outcome.how == "ok":
            self._gap_to(outcome.t)
            self.last_ok = outcome.t
            self.ok += 1
            return
        if outcome.how == "fail":
            self.fail += 1
        else:
            self.unknown += 1
        self.causes[outcome.cause] += 1
        self.last_why = outcome.why


@final
class LedgerWriter:
    """One run. `stop` lets it end after what is in flight; `tally` may be looked at any time."""

    def __init__(self, file: LedgerFile, send: Send, clock: Clock, writer: str, plan: Plan) -> None:
        assert len(writer) == WRITER_DIGITS
        self.writer, self.plan, self.tally = writer, plan, Tally()
        self._file, self._send, self._clock = file, send, clock
        self._waits: set[trio.CancelScope] = set()  # at most one a task
        self._ends = inf
        self._why = "done"
        self._begun = 0.0

    @property
    def begun(self) -> float:
        return self._begun

    def stop(self, why: str) -> None:
        """Begin no further attempt."""
        self._why, self._ends = why, -inf
        for scope in self._waits:
            scope.cancel()

    async def run(self) -> None:
        """Until the plan is done or `stop`. Raises `OSError` where the ledger cannot be written."""
        plan, clock = self.plan, self._clock
        self._begun = clock.monotonic()
        self._file.add(
            Writing(
                writer=self.writer, topic=plan.topic, t=self._begun, wall_ms=clock.wall_ms(),
                rate=plan.rate, tasks=plan.tasks, attempts=plan.attempts, resend=plan.resend,
                size=plan.size,
            )
        )  # fmt: skip
        if plan.seconds is not None:
            self._ends = min(self._ends, self._begun + plan.seconds)
        pace = Pace(plan.rate, self._begun, catch_up=False)
        async with trio.open_nursery() as flushing:
            flushing.start_soon(self._file.keep_flushed)
            async with trio.open_nursery() as sending:
                for _ in range(plan.tasks):
                    sending.start_soon(self._task, pace)
            flushing.cancel_scope.cancel()
        ended = Ended(t=clock.monotonic(), wall_ms=clock.wall_ms(), why=self._why)
        self._file.add(ended)
        self.tally.end(ended.t)
        await self._file.flush()

    async def _task(self, pace: Pace) -> None:
        while await self._turn(pace):
            clock = self._clock
            now = clock.monotonic()
            self.tally.begin(now)
            n = self.tally.attempts
            body = body_of(self.writer, n, self.plan.size)
            self._file.add(Attempt(n=n, t=now, wall_ms=clock.wall_ms()))
            sent = await self._send(body, key_of(self.writer, n))
            told = sent._asdict() | {"cause": sent.cause[:TEXT_MAX], "why": sent.why[:TEXT_MAX]}
            outcome = Outcome(n=n, t=clock.monotonic(), wall_ms=clock.wall_ms(), **told)
            self._file.add(outcome)
            self.tally.note(outcome)
            if sent.how != "ok" and not pace.interval:
                await self._pause()

    async def _turn(self, pace: Pace) -> bool:
        """Wait for the next turn; False where there is none any more."""
        if self._all_begun():
            return False
        due = pace.take(self._clock.monotonic())
        return await self._wait_until(max(due, self._clock.monotonic())) and not self._all_begun()

    async def _pause(self) -> None:
        await self._wait_until(self._clock.monotonic() + FAILED_PAUSE_S)

    async def _wait_until(self, moment: float) -> bool:
        """False where the run ended meanwhile. Sends are waited for, waits are cut short."""
        with trio.CancelScope(deadline=self._ends) as scope:
            self._waits.add(scope)
            try:
                await trio.sleep_until(moment)
            finally:
                self._waits.discard(scope)
        return not scope.cancelled_caught and self._clock.monotonic() < self._ends

    def _all_begun(self) -> bool:
        return self.plan.count is not None and self.tally.attempts >= self.plan.count
