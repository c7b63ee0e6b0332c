"""One direction between two simulated hosts: how long bytes travel, and whether they arrive at all.

A cut link loses nothing for ever: TCP sends again, so what was under way arrives when the link is
healed. A connection that must die is reset by the network instead. Everything is computed when
somebody looks, from times: `due(at)` is when something that would arrive at `at` really does. So
no task runs per link, and a heal only has to wake those who wait.
"""

from math import inf
from typing import final

import trio

from broker_trio.runtime.seams import Entropy
from broker_trio.testing.sim_time import Lot


@final
class Link:
    """From one host to another. `delay_s`: bounds of the travel time of each piece."""

    def __init__(self, entropy: Entropy, delay_s: tuple[float, float]) -> None:
        self.entropy, self.delay_s = entropy, delay_s
        self._closed_until = -inf
        self._waiting: dict[Lot, None] = {}

    def arrival(self) -> float:
        """When something sent now would arrive over an open link."""
        return trio.current_time() + self.entropy.uniform(*self.delay_s)

    def due(self, at: float) -> float:
        return max(at, self._closed_until)

    @property
    def is_closed(self) -> bool:
        return self._closed_until > trio.current_time()

    def close(self, until: float = inf) -> None:
        self._closed_until = until
        self._wake()

    def heal(self) -> None:
        self._closed_until = -inf
        self._wake()

    def _wake(self) -> None:
        for lot in list(self._waiting):
            lot.unpark_all()

    def watch(self, lot: Lot) -> None:
        """Unpark all of it whenever the link changes, until `forget`."""
        self._waiting[lot] = None

    def forget(self, lot: Lot) -> None:
        self._waiting.pop(lot, None)

    async def travel(self) -> None:
        """Return when something sent now has arrived."""
        at = self.arrival()
        lot = Lot()
        self.watch(lot)
        try:
            await trio.lowlevel.checkpoint()
            while (due := self.due(at)) > trio.current_time():
                await lot.park(due)
        finally:
            self.forget(lot)
