"""Human mode: the tool is the game master. It breaks something, says nothing, and takes the time.

    "something is wrong"  ─▶ the person looks, acts; Enter asks for a hint ─▶ sends go well again

The first act is seen in the pair's records, not asked for; hints come on Enter, the dearest last,
and are counted.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

import trio

from broker_trio.cli.drill.observe import Observer
from broker_trio.cli.drill.waiting import until
from broker_trio.ops.drill.catalogue import Drill
from broker_trio.ops.drill.records import Sample
from broker_trio.ops.drill.state import acted
from broker_trio.ops.drill.verdict import PATIENCE_S

QUIET_S: Final = 5.0
LOOK_S: Final = 0.2
HINT_S: Final = 60.0


@final
class Game:
    """One person, one fault."""

    def __init__(self, drill: Drill, say: Callable[[str], None]) -> None:
        self._hints, self._say = list(drill.hints), say
        self.hints_used = 0

    async def played(self, observer: Observer, fault_ms: int) -> bool:
        """Wait for the person; whether sends went well again."""
        before = dict(observer.latest)
        commands = f"-n '{';'.join(observer.run.nameservers)}'"
        self._say(
            f"Something is wrong with {observer.run.pair}. Sends must go well again.\n"
            f"Your clock runs. Enter gives a hint ({len(self._hints)} there). Commands need "
            f"{commands}"
        )
        done = False
        with trio.move_on_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                if sys.stdin.isatty():
                    nursery.start_soon(self._give_hints)
                nursery.start_soon(self._watch_acts, observer, before)
                await trio.sleep(QUIET_S)
                await until(lambda: observer.quiet_s() >= QUIET_S, LOOK_S)
                done = True
                nursery.cancel_scope.cancel()
        if done:
            took = (observer.clock.wall_ms() - fault_ms) / 1_000 - QUIET_S
            self._say(f"Sends go well again after {took:.1f} s; {self.hints_used} hints used.")
        observer.mark("hints", str(self.hints_used))
        return done

    async def _watch_acts(self, observer: Observer, before: dict[str, Sample]) -> None:
        await until(lambda: acted(observer.run, before, observer.latest), LOOK_S)
        observer.mark("decided", "a person acted")
        self._say("You acted.")

    async def write_hints(self, path: Path) -> None:
        """For who has no terminal of ours: one more a minute, in a file to look into."""
        for number, hint in enumerate(tuple(self._hints)):
            await trio.sleep(HINT_S)
            self.hints_used = number + 1
            with path.open("a") as file:
                file.write(f"{hint}\n")

    async def _give_hints(self) -> None:
        while self._hints:
            line = await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
            if not line:
                return
            self.hints_used += 1
            self._say(f"hint: {self._hints.pop(0)}")
