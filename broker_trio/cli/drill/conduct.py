"""Carrying a drill out on this machine: steady state, revert armed, steps, healing, proof.

    watch ─▶ steady? ─▶ arm the revert ─▶ T0 steps … heal ─▶ whole? ─▶ quiet ─▶ disarm ─▶ read back
               │ no: nothing is broken        │ anything goes wrong: heal all the same, aborted
               ▼                              ▼
           inconclusive                   inconclusive or fail

Whatever happens in between, Ctrl-C too, healing is tried, shielded, before the drill ends.
"""

import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Final, final

import trio

from broker_trio.cli.drill.human import Game
from broker_trio.cli.drill.laptop import Laptop
from broker_trio.cli.drill.observe import Observer
from broker_trio.cli.drill.waiting import until
from broker_trio.cli.failures import Failure
from broker_trio.ops.drill.catalogue import BREAKS, Drill, Step, fault_seconds
from broker_trio.ops.drill.state import beyond_plan, whom
from broker_trio.ops.drill.verdict import PATIENCE_S

TRY_S: Final = 60.0  # so long a promotion is tried again
AGAIN_S: Final = 0.3
WHOLE_S: Final = 180.0
QUIET_S: Final = 5.5  # after everything: what "lasting success" is measured by
QUIET_MAX_S: Final = 40.0
STEADY_MIN: Final = 10
REFUSED: Final = 3
FINISH_S: Final = 240.0  # of healing after an abort

Say = Callable[[str], None]


class Aborted(Exception):
    """It cannot go on: healed, and inconclusive."""


@final
class Conductor:
    """One drill on one `up`."""

    def __init__(
        self, drill: Drill, observer: Observer, laptop: Laptop, say: Say, game: Game | None = None
    ) -> None:
        self._drill, self._observer, self._laptop = drill, observer, laptop
        self._say, self._game = say, game
        self._fault_ms: int | None = None
        self._healed = False

    async def run(self) -> None:
        """All of it, but for reading back. Never raises for what a cluster can cause."""
        observer = self._observer
        async with observer.watching():
            try:
                await self._steady()
                person_s = PATIENCE_S if self._game is not None else 0.0
                self._laptop.arm(fault_seconds(self._drill) + person_s)
                for step in self._drill.steps:
                    await self._step(step)
                await self._quiet()
            except (Aborted, Failure) as error:
                text = error.message if isinstance(error, Failure) else str(error)
                observer.mark("aborted", text)
                self._say(f"aborted: {text}")
            except BaseException:  # Ctrl-C: heal, then on with it
                observer.mark("aborted", "interrupted")
                raise
            finally:
                with trio.CancelScope(shield=True), trio.move_on_after(FINISH_S):
                    await self._make_good()

    async def _make_good(self) -> None:
        if self._fault_ms is not None and not self._healed:
            await self._heal()
        self._laptop.disarm()

    async def _steady(self) -> None:
        """The load runs and nothing fails. Raises `Aborted`, with nothing broken yet."""
        seconds = self._observer.run.steady_s
        self._say(f"steady state for {seconds:g} s")
        with trio.move_on_after(seconds):  # the first message makes the topic known everywhere
            await until(lambda: self._observer.acknowledged)
        self._observer.mark("steady")
        await trio.sleep(seconds)
        enough = self._observer.acknowledged >= STEADY_MIN
        if not enough or self._observer.quiet_s() < 0.8 * seconds:
            raise Aborted(f"no steady state: {self._observer.acknowledged} sends acknowledged")

    async def _step(self, step: Step) -> None:
        if self._game is not None and step.do in {"promote", "hold"}:
            if step.do == "promote":
                await self._person()
            return
        if step.do in BREAKS:
            at_ms = self._observer.mark("fault", f"{step.do} {step.whom}")
            self._fault_ms = self._fault_ms or at_ms
            if self._game is None:
                names = ", ".join(whom(step, self._observer.run))
                self._tell(f"{step.do} {step.whom}: {names}")
            await self._laptop.carry_out(step)
            return
        if step.do == "hold":
            await self._hold(step.seconds)
            return
        verbs: dict[str, Callable[[], Awaitable[None]]] = {
            "heal": self._heal,
            "whole": self._whole,
            "start": functools.partial(self._laptop.carry_out, step),
            "refused": functools.partial(self._refused, step),
        }
        await verbs.get(step.do, functools.partial(self._order, step))()

    async def _hold(self, seconds: float) -> None:
        """Raises `Aborted` where there is more harm than planned."""
        with trio.move_on_after(seconds):
            await until(self._beyond)
        if text := self._beyond():
            raise Aborted(text)

    def _beyond(self) -> str:
        observer = self._observer
        now_ms = observer.clock.wall_ms()
        return beyond_plan(self._drill, observer.run, observer.heard, now_ms)

    def _tell(self, text: str) -> None:
        since = 0.0
        if self._fault_ms is not None:
            since = (self._observer.clock.wall_ms() - self._fault_ms) / 1_000
        self._say(f"T0{since:+6.1f} s  {text}")

    # -- what a person would type ----------------------------------------------------------------

    def _words(self, step: Step) -> list[str]:
        run = self._observer.run
        (who,) = whom(step, run)
        if step.do == "switchover":
            return ["switchover", run.master, run.slave]
        if step.do == "degrade":
            return ["degrade", who]
        return ["promote", who, "--one-copy"]

    async def _command(self, words: list[str]) -> tuple[int, str]:
        run = self._observer.run
        addresses = ";".join(run.replicas.values())
        command = [
            sys.executable, "-m", "broker_trio", *words, "-n", ";".join(run.nameservers),
            "--replica", addresses, "--yes", "--json", "--timeout", "2",
        ]  # fmt: skip
        done = await trio.run_process(
            command, stdin=b"", capture_stdout=True, capture_stderr=True, check=False
        )
        return done.returncode, done.stderr.decode(errors="replace").strip()

    async def _order(self, step: Step) -> None:
        """Until it is done. Raises `Aborted` where it never is."""
        words, code, text = self._words(step), -1, ""
        self._observer.mark("decided", " ".join(words))
        self._tell(f"broker-trio {' '.join(words)}")
        with trio.move_on_after(TRY_S):
            while code:
                code, text = await self._command(words)
                if code:
                    await trio.sleep(AGAIN_S)
        if code:
            raise Aborted(f"{' '.join(words)} was not done within {TRY_S:g} s: {text}")
        self._observer.mark("promoted" if step.do == "promote" else step.do, " ".join(words))
        self._tell("done")

    async def _refused(self, step: Step) -> None:
        words = self._words(step)
        self._observer.mark("decided", " ".join(words))
        code, text = await self._command(words)
        name = "refused" if code == REFUSED else "not_refused"
        self._observer.mark(name, text or f"exit code {code}")
        self._tell(f"broker-trio {' '.join(words)}: {text.splitlines()[0] if text else code}")

    async def _person(self) -> None:
        """Human mode: the game goes on until sends go well again. Raises `Aborted`."""
        assert self._game is not None, "only where there is one"
        if not await self._game.played(self._observer, self._fault_ms or 0):
            raise Aborted("nobody brought it back in time")

    # -- the end of it -----------------------------------------------------------------------------

    async def _heal(self) -> None:
        self._tell("heal")
        await self._laptop.heal()
        self._healed = True
        self._observer.mark("healed")

    async def _whole(self) -> None:
        """Wait until both copies count; noted, or why not."""
        began = self._observer.clock.wall_ms()
        why = await self._observer.note_whole(began, WHOLE_S)
        self._tell(f"not whole: {why}" if why else "whole: both copies count")
        if why:
            raise Aborted(f"not whole after {WHOLE_S:g} s: {why}")

    async def _quiet(self) -> None:
        """Sends go well for some seconds, or have every chance to."""
        with trio.move_on_after(QUIET_MAX_S):
            end = trio.current_time() + QUIET_S
            await trio.sleep_until(end)
            await until(lambda: self._observer.quiet_s() >= QUIET_S)
