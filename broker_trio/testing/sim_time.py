"""Virtual time that is cheap: what a run waits for is found at once, and costs no cancellation.

    tasks all wait ─▶ the clock jumps to whatever is first: a deadline of Trio, or an alarm
                                                               │
    a Parked: a task that waits for a word or for a time  ◀────┘

Trio waits for a time by a cancel scope: a piece of bytes that arrives then costs a scope, and a
`Cancelled` that is raised through all frames of its reader. Networks and disks of a simulated world
do little else but arrive, so theirs are alarms: a heap beside Trio's own deadlines, and a task is
simply rescheduled. On any other clock than `jumping_clock` the same waits are cancel scopes.

Private names of Trio are touched here and in simulate.py only; what each is for stands beside it.
"""

from heapq import heappop, heappush
from math import inf
from typing import Any, Final, final

import trio
import trio._core._run as scheduler  # private: see above
from trio.testing import MockClock

IO_EVERY: Final = 500  # rounds of the scheduler: Ctrl-C comes by a socket, and nothing else does


@final
class Alarms:
    """Who waits for which time, on one clock. Equal times ring in the order of setting."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Parked]] = []
        self._count = 0

    def set(self, at: float, parked: "Parked") -> None:
        self._count += 1
        heappush(self._heap, (at, self._count, parked))

    def first(self) -> float:
        """When somebody who still waits is to be woken next."""
        heap = self._heap
        while heap and heap[0][2].task is None:
            heappop(heap)
        return heap[0][0] if heap else inf

    def ring(self, now: float) -> None:
        """Wake all whose time has come."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            heappop(heap)[2].wake()


@final
class Lot:
    """Where tasks wait for a word, or for a time if that is first."""

    def __init__(self) -> None:
        self.parked: dict[Parked, None] = {}

    async def park(self, until: float = inf) -> None:
        """Return when somebody unparks this task, or at a virtual time."""
        await Parked(self, until).over()

    def unpark(self) -> None:
        """Wake whoever waits longest."""
        for parked in self.parked:
            parked.wake()
            return

    def unpark_all(self) -> None:
        for parked in list(self.parked):
            parked.wake()


@final
class Parked:
    """One wait of one task. `task` is None before and after."""

    __slots__ = ("_alarms", "_lot", "_scope", "_until", "task")

    def __init__(self, lot: Lot, until: float) -> None:
        self.task: trio.lowlevel.Task | None = None
        self._lot, self._until = lot, until
        self._scope: trio.CancelScope | None = None
        self._alarms: Alarms | None = getattr(trio.lowlevel.current_clock(), "alarms", None)

    async def over(self) -> None:
        """Wait; a checkpoint, as any wait."""
        if self._alarms is None:
            with trio.CancelScope(deadline=self._until) as self._scope:
                await self._wait()
            return
        if self._until < inf:
            self._alarms.set(self._until, self)
        await self._wait()

    async def _wait(self) -> None:
        self.task = trio.lowlevel.current_task()
        self._lot.parked[self] = None
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._leave()
        return trio.lowlevel.Abort.SUCCEEDED

    def _leave(self) -> None:
        self.task = None
        del self._lot.parked[self]

    def wake(self) -> None:
        """Let it go on, if it waits."""
        if self.task is not None:
            task = self.task
            self._leave()
            trio.lowlevel.reschedule(task)

    def hurry(self, until: float) -> None:
        """It has to end at this time at the latest."""
        if until >= self._until:
            return
        self._until = until
        if self._scope is not None:
            self._scope.deadline = until
        elif self._alarms is not None:
            self._alarms.set(until, self)


async def pass_time(seconds: float) -> None:
    """As `trio.sleep`, for what a simulated machine does itself."""
    if seconds <= 0 or getattr(trio.lowlevel.current_clock(), "alarms", None) is None:
        await trio.sleep(seconds)
    else:
        await Parked(Lot(), trio.current_time() + seconds).over()


def jumping_clock() -> MockClock:
    """Time that stands still while anything can run, then jumps to whatever is awaited first."""
    clock, alarms = MockClock(autojump_threshold=0), Alarms()

    def jump() -> None:
        runner = scheduler.GLOBAL_RUN_CONTEXT.runner
        at = min(alarms.first(), runner.deadlines.next_deadline())
        if at < inf:
            clock._virtual_base = max(clock._virtual_base, at)
            alarms.ring(clock._virtual_base)

    for name, value in {
        "current_time": lambda: clock._virtual_base,
        "_autojump": jump,  # called by the scheduler when nothing can run
        "alarms": alarms,
    }.items():
        setattr(clock, name, value)
    return clock


@final
class _NoInput:
    """Trio's I/O, which is looked at once in `IO_EVERY` rounds: a world has none."""

    def __init__(self, io: Any) -> None:
        self._io, self._rounds = io, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._io, name)

    def get_events(self, timeout: float) -> Any:
        self._rounds += 1
        return () if self._rounds % IO_EVERY else self._io.get_events(timeout)

    def process_events(self, events: Any) -> None:
        if events:
            self._io.process_events(events)


def without_io() -> None:
    """Let the scheduler of this run ask the kernel hardly ever."""
    runner = scheduler.GLOBAL_RUN_CONTEXT.runner
    setattr(runner, "io_manager", _NoInput(runner.io_manager))  # noqa: B010 -- another type
