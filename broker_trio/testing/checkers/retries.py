"""Messages that a consumer sends back: they come again, not early, and die only when they should.

sent back, n retries so far, n < retries_max    in %RETRY%<group> with n + 1, after the level
                            n >= retries_max    in %DLQ%<group>
"""

from typing import Final, final

from broker_trio.model.message import DELAY_LEVELS_S
from broker_trio.model.names import dlq_topic, retry_topic
from broker_trio.testing.checkers.consumers import CLOCK_S, LATE_S
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.history import Back, History

FIRST_LEVEL: Final = 3
"""Level 0 asks for the broker's own: 10 s first, then one longer each time."""


@final
class RetriesComeBack:
    """Every accepted send-back is seen again in the group's retry topic or its dead letters."""

    def __init__(self, retries_max: int, *, late_s: float | None = LATE_S) -> None:
        """`late_s` None where faults may hold messages up."""
        self._retries_max, self._late_s = retries_max, late_s

    def check(self, history: History) -> None:
        came: dict[tuple[str, bytes, int], list[float]] = {}
        for got in history.got:
            came.setdefault((got.topic, got.body, got.reconsume_times), []).append(got.at)
        dead = {(placed.topic, placed.body) for placed in history.placed}
        first: dict[tuple[str, bytes, int], Back] = {}
        for back in history.backs:
            key = (retry_topic(back.group), back.body, back.reconsume_times + 1)
            if back.reconsume_times < self._retries_max:
                self._check_early(first.setdefault(key, back), came.get(key, []))
            if back.accepted:
                if back.reconsume_times < self._retries_max:
                    self._check_came(back, came.get(key, []))
                elif (dlq_topic(back.group), back.body) not in dead:
                    raise Violation("I4", f"no dead letter of {_shown(back)}")
        self._check_dead(history)

    def _check_early(self, first: Back, came: list[float]) -> None:
        """None of the copies is there before the first send-back's time."""
        if came and came[0] < first.began + _delay(first) - CLOCK_S:
            raise Violation("I12", f"{_shown(first)} came early, at {came[0]:.4f} s")

    def _check_came(self, back: Back, came: list[float]) -> None:
        """Each accepted send-back has a copy of its own, which comes after its delay."""
        due = back.began + _delay(back) - CLOCK_S
        after = [at for at in came if at >= due]
        if not after:
            raise Violation("I4", f"{_shown(back)} never came again, only at {came}")
        if self._late_s is not None and after[0] > back.ended + _delay(back) + self._late_s:
            raise Violation("I12", f"{_shown(back)} came late, at {after[0]:.4f} s")

    def _check_dead(self, history: History) -> None:
        """Nothing dies whose retries are not used up."""
        given_up = {
            (dlq_topic(back.group), back.body)
            for back in history.backs
            if back.reconsume_times >= self._retries_max
        }
        for placed in history.placed:
            if (
                placed.topic.startswith(dlq_topic(""))
                and (placed.topic, placed.body) not in given_up
            ):
                raise Violation("I4", f"dead before its retries were used up: {placed[:4]}")


def _delay(back: Back) -> int:
    """Seconds until the copy is due."""
    return DELAY_LEVELS_S[(back.level or FIRST_LEVEL + back.reconsume_times) - 1]


def _shown(back: Back) -> str:
    return (
        f"{back.body[:20]!r}… ({back.reconsume_times} retries, level {back.level}, sent back "
        f"{back.began:.4f} to {back.ended:.4f} s)"
    )
