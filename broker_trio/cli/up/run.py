"""The running `up`: one nursery with the children's watchers, the signals and the live line."""

import signal
from typing import Final, final

import trio

from broker_trio.cli.up.children import Child, Fleet
from broker_trio.cli.up.pairs import Pairs
from broker_trio.cli.up.plan import Plan
from broker_trio.cli.up.scrape import Totals, http_get, totals_of
from broker_trio.cli.up.view import View, memory_text, rates_text, waiting_text

LOOK_S: Final = 1.0


@final
class Ending:
    """Why it ends. The first cause counts."""

    def __init__(self, view: View) -> None:
        self.asked = trio.Event()
        self.failed = False
        self._view = view

    def signalled(self, number: int) -> None:
        """Somebody pressed Ctrl-C or sent SIGTERM; once more changes nothing."""
        if not self.asked.is_set():
            self._view.stopping(signal.Signals(number).name)
            self.asked.set()

    def died(self, child: Child, again_s: float) -> None:
        """A child ended unasked: the others follow, unless it starts again in `again_s` seconds."""
        self._view.died(child, again_s)
        if again_s:
            return
        self.failed = True
        if not self.asked.is_set():
            self._view.stopping(f"{child.plan.instance} ended")
            self.asked.set()


async def run(
    plan: Plan, view: View, environ: dict[str, str], *, restart_after_s: float = 0.0
) -> int:
    """Start, show, wait, stop. The exit code: 0 when stopped by signal and all ended cleanly."""
    ending = Ending(view)
    fleet = Fleet(plan, environ, ending.died, view.restarted, restart_after_s=restart_after_s)
    async with trio.open_nursery() as nursery:
        await nursery.start(_heed_signals, ending)
        async with trio.open_nursery() as watchers:
            try:
                await _start_and_wait(fleet, view, ending, watchers)
            finally:
                with trio.CancelScope(shield=True):  # bounded: children are killed after a grace
                    clean = await fleet.stop()
        nursery.cancel_scope.cancel()
    code = 0 if clean and not ending.failed else 1
    view.stopped(code)
    return code


async def _start_and_wait(fleet: Fleet, view: View, ending: Ending, watchers: trio.Nursery) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_when_asked, ending, nursery.cancel_scope)
        nursery.start_soon(_tell_what_waits, fleet, view)
        await fleet.start(watchers)
        if fleet.failed:
            await ending.asked.wait()
            return
        pairs = Pairs(fleet.plan)
        await pairs.whole(view.missing)
        view.ready(fleet.children, pairs.seen)
        nursery.start_soon(pairs.watch, view.changed)
        if view.live:
            nursery.start_soon(_show_rates, fleet, view)
        await ending.asked.wait()


async def _end_when_asked(ending: Ending, scope: trio.CancelScope) -> None:
    await ending.asked.wait()
    scope.cancel()


async def _heed_signals(
    ending: Ending, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            ending.signalled(number)


async def _tell_what_waits(fleet: Fleet, view: View) -> None:
    """While a child is not ready: what it says of itself, a long recovery above all."""
    while True:
        await trio.sleep(LOOK_S)
        waiting = [child for child in fleet.children if not child.ready.is_set()]
        for child in waiting:
            answer = await http_get(child.plan.http, "/readyz")
            if answer is not None and not child.ready.is_set():
                view.waiting(child, waiting_text(answer.body))
        if fleet.children and not waiting:
            return


async def _show_rates(fleet: Fleet, view: View) -> None:
    """The live line, once a second; what does not answer is said instead of a figure."""
    brokers = [process.http for process in fleet.plan.brokers]
    before, since = Totals(), trio.current_time()
    first = True
    while True:
        now = await totals_of(brokers)
        at = trio.current_time()
        if now is None:
            silent = [address for address in brokers if await http_get(address, "/livez") is None]
            view.rates(f"no answer from {', '.join(silent) or 'a broker'}")
        else:
            if not first:
                text = rates_text(before, now, max(at - since, 0.001))
                view.rates(f"{text}   memory {memory_text(fleet.children)}")
            before, since, first = now, at, False
        await trio.sleep(LOOK_S)
