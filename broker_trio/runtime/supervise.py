"""The outer shape of a process: start in order, say ready, run, stop in reverse, or crash.

    stages   [ store, dispatcher ]  [ listeners, registrar ]        started left to right
               outlive the doors      the doors                     stopped right to left

    run_role:  signal ──> stopping ──> last stage cancelled and awaited ──> … ──> first ──> exit 0
                              └── grace_s later, or at a second signal: what is left is cancelled

A service is an `async def run(*, task_status)`. `start` returns once it says `started`, or raises;
so a stage begins only when all before it serve. A service is stopped by cancelling it; what it must
still do (a last flush, a goodbye) it does in a `finally` under a shield *with a deadline*, and the
services of earlier stages still run while it does. A service may return early only because it has
nothing left to do. A signal during the start cancels what has not said `started` and then stops.

Under systemd the start may last as long as the loop turns, and a loop that stands still afterwards
is ended by the watchdog: both are told by the same loop that serves.

Crash policy: nothing is caught here. An exception of any service cancels all others and ends the
process with a code for its unit:

    0    asked to stop, and did
    1    a defect, or the grace ran out: systemd starts us again and recovery runs
    74   StoreFailed: a write or fsync failed, so restarting would only repeat it on a dying disk
         (the unit has RestartPreventExitStatus=74; EX_IOERR of sysexits)
"""

import os
import signal
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol

import structlog
import trio

from broker_trio.model.errors import StoreFailed
from broker_trio.runtime.notify import Notifier

EXIT_OK: Final = 0
EXIT_CRASHED: Final = 1
EXIT_STORE_FAILED: Final = 74
SIGNS_A_WATCHDOG: Final = 3  # signs of life in each interval that systemd allows
STARTING_SIGN_S: Final = 10.0
STARTING_ALLOWED_S: Final = 60.0  # a recovery goes on for as long as the loop turns

_log = structlog.get_logger()


class Service(Protocol):
    """Something that runs until it is cancelled, and says once when it serves."""

    # Any: what a service reports by `started` differs and is dropped here.
    def __call__(self, *, task_status: trio.TaskStatus[Any]) -> Awaitable[object]: ...


class Role(Protocol):
    """A whole program: runs, says `started` when it is ready, and returns soon after `stopping`."""

    def __call__(
        self, stopping: trio.Event, *, task_status: trio.TaskStatus[None]
    ) -> Awaitable[None]: ...


async def run_stages(
    stages: Sequence[Sequence[Service]],
    stopping: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Start stage after stage, wait for `stopping`, then stop them last to first.

    Cancelled: all stages are cancelled at once.
    """
    if not stages:
        task_status.started()
        await stopping.wait()
        return
    async with trio.open_nursery() as nursery:
        for service in stages[0]:
            await nursery.start(service)
        await run_stages(stages[1:], stopping, task_status=task_status)
        nursery.cancel_scope.cancel()


def exit_code(error: BaseException) -> int:
    """The code for the unit: 74 where StoreFailed is the error, its cause, or one of a group."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, StoreFailed):
            return EXIT_STORE_FAILED
        if isinstance(seen, BaseExceptionGroup):
            inner = [exit_code(one) for one in seen.exceptions]
            if EXIT_STORE_FAILED in inner:
                return EXIT_STORE_FAILED
        seen = seen.__cause__ or seen.__context__
    return EXIT_CRASHED


class _Life:
    """What signals change: asked to stop, told to stop now."""

    def __init__(self, name: str, grace_s: float, notifier: Notifier) -> None:
        self.name, self.grace_s, self.notifier = name, grace_s, notifier
        self.stopping = trio.Event()
        self.scope = trio.CancelScope()
        self.starting = trio.CancelScope()

    def stop(self, why: str) -> None:
        """The first call starts the grace, any further one ends it."""
        if self.stopping.is_set():
            self.scope.cancel()
            return
        self.stopping.set()
        self.starting.cancel()
        self.scope.deadline = trio.current_time() + self.grace_s
        self.notifier.stopping()
        _log.info("process.stopping", role=self.name, why=why, grace_s=self.grace_s)

    async def heed_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                self.stop(signal.Signals(number).name)

    async def sign_of_start(self) -> None:
        """Extend systemd's patience until READY; before that no watchdog runs."""
        while True:
            await trio.sleep(STARTING_SIGN_S)
            self.notifier.still_starting(STARTING_ALLOWED_S)

    async def sign_of_life(self) -> None:
        """Feed systemd's watchdog, where it has one for us."""
        interval = self.notifier.watchdog_s
        while interval is not None:
            self.notifier.alive()
            await trio.sleep(interval / SIGNS_A_WATCHDOG)

    async def run(self, role: Role) -> int:
        with self.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.heed_signals)
                nursery.start_soon(self.sign_of_life)
                async with trio.open_nursery() as program:
                    with self.starting:
                        async with trio.open_nursery() as start:
                            start.start_soon(self.sign_of_start)
                            await program.start(role, self.stopping)
                            start.cancel_scope.cancel()
                    if not self.stopping.is_set():
                        self.notifier.ready()
                        _log.info("process.ready", role=self.name)
                nursery.cancel_scope.cancel()
        if self.scope.cancelled_caught:
            _log.error("process.grace_exceeded", role=self.name, grace_s=self.grace_s)
            return EXIT_CRASHED
        return EXIT_OK


async def supervise(name: str, role: Role, *, grace_s: float, notifier: Notifier) -> int:
    """Run a role inside a running loop until it ends, by signal or crash; gives the exit code.

    A role that returns unasked has done its work: 0.
    """
    life = _Life(name, grace_s, notifier)
    try:
        return await life.run(role)
    except Exception as error:  # noqa: BLE001 -- the process ends here; its log tells everything
        code = exit_code(error)
        notifier.status(f"crashed: {error}")
        _log.critical("process.crashed", role=name, exit_code=code, exc_info=error)
        return code


def run_role(name: str, role: Role, *, grace_s: float) -> int:
    """The same, as a whole process: what `broker-trio broker` and `nameserver` return."""
    notifier = Notifier(os.environ)

    async def main() -> int:
        return await supervise(name, role, grace_s=grace_s, notifier=notifier)

    return trio.run(main)
