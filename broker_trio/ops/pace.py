"""When the next one is due: turns of a steady rate, given out to however many tasks.

    rate 100/s     due 0.00  0.01  0.02  0.03  …

What happens after a stall is the difference between two kinds of load. One that *catches up* keeps
every turn that was due, so that the wait behind the stall is seen in its measurements (a load that
skips them measures only the lucky: "coordinated omission"). One that *skips* goes on at its rate
from where it is, so that a cluster which comes back is not met by a burst.
"""

from typing import final


@final
class Pace:
    """Turns of `rate` a second from `begin` on; a rate of 0 is as fast as asked."""

    def __init__(self, rate: float, begin: float, *, catch_up: bool) -> None:
        assert rate >= 0
        self._interval = 1.0 / rate if rate else 0.0
        self._next, self._catch_up = begin, catch_up

    @property
    def interval(self) -> float:
        """Seconds between two turns; 0 where there is no rate."""
        return self._interval

    def take(self, now: float) -> float:
        """When the next turn is due: in the future, or `now` and before where it is late."""
        if not self._interval:
            return now
        due = self._next
        if not self._catch_up and due < now - self._interval:
            due = now
        self._next = due + self._interval
        return due

    def missed(self, now: float) -> int:
        """Turns that were due before `now` and that nobody took."""
        if not self._interval or self._next >= now:
            return 0
        return int((now - self._next) / self._interval)
