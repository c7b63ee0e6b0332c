"""Which queue next, for how long, and whom to leave alone: the decisions of a send, without I/O.

    queues of the topic, in turns        a: 0  b: 0  a: 1  b: 1  …
      first    a broker that neither failed in this send nor is suspected
      then     one that is suspected, the one that is trusted again soonest
      at last  one that failed in this send already, after a pause

A broker that fails is suspected for a while: one window, twice as long with each failure in a row.
When the window ends one send looks how it is, and the others follow when that went well.

`ordering_key` picks by the highest weight of (key, queue): where queues come or go, only the keys
of those queues move, and all clients that know the same queues agree.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final, final
from zlib import crc32

from broker_trio.model.route import MessageQueue

ATTEMPT_LEAST_S: Final = 3.0  # as long as there is that much left
PAUSE_FIRST_S: Final = 0.1
PAUSE_MAX_S: Final = 2.0
SUSPECTS_MAX: Final = 1_024
_MASK: Final = (1 << 64) - 1


class _Fault:
    """A broker's failures in a row, and until when it is avoided."""

    __slots__ = ("count", "until")

    def __init__(self) -> None:
        self.count, self.until = 0, 0.0


@final
class FaultWindows:
    """Which brokers are suspected. `now` is seconds on any scale that only goes forward."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s, self._max_s = first_s, max_s
        self._faults: dict[str, _Fault] = {}

    def __bool__(self) -> bool:
        return bool(self._faults)

    def failed(self, broker_name: str, now: float) -> float:
        """Suspect it; for how many seconds.

        Failures of sends that were under way together count once: they learnt the same.
        """
        fault = self._faults.get(broker_name)
        if fault is None:
            if len(self._faults) >= SUSPECTS_MAX:
                del self._faults[next(iter(self._faults))]
            fault = self._faults[broker_name] = _Fault()
        if now >= fault.until or fault.count == 0:
            fault.count += 1
            fault.until = now + self._window_s(fault.count)
        return fault.until - now

    def _window_s(self, count: int) -> float:
        return float(min(self._first_s * 2.0 ** min(count - 1, 30), self._max_s))

    def succeeded(self, broker_name: str) -> bool:
        """Trust it again; whether it had been suspected."""
        return self._faults.pop(broker_name, None) is not None

    def until(self, broker_name: str, now: float) -> float:
        """When its window ends; 0 where it is not suspected now."""
        fault = self._faults.get(broker_name)
        return fault.until if fault is not None and fault.until > now else 0.0

    def look(self, broker_name: str, now: float) -> None:
        """A send goes there. Where its window just ended, others wait for what becomes of it."""
        fault = self._faults.get(broker_name)
        if fault is not None and fault.until <= now:
            fault.until = now + self._first_s
            fault.count = max(fault.count, 1)


def next_queue(
    queues: Sequence[MessageQueue],
    turn: int,
    windows: FaultWindows,
    tried: Collection[str],
    now: float,
) -> MessageQueue:
    """The queue whose turn it is among those of the best brokers. `queues` is not empty."""
    count = len(queues)
    if not windows and not tried:
        return queues[turn % count]

    def rank(place: int) -> tuple[bool, float, int]:
        name = queues[(turn + place) % count].broker_name
        return (name in tried, windows.until(name, now), place)

    return queues[(turn + min(range(count), key=rank)) % count]


def queue_of_key(queues: Sequence[MessageQueue], key: str) -> MessageQueue:
    """The queue of an ordering key: the same one as long as it exists. `queues` is not empty."""
    seed = crc32(key.encode("utf-8", "surrogatepass"))

    def weight(queue: MessageQueue) -> tuple[int, str, int]:
        name, queue_id = queue.broker_name, queue.queue_id
        return (_mixed(seed ^ _seed_of(name, queue_id)), name, queue_id)

    return max(queues, key=weight)


@lru_cache(4_096)
def _seed_of(broker_name: str, queue_id: int) -> int:
    return _mixed(crc32(broker_name.encode("utf-8", "replace")) << 32 | queue_id)


def _mixed(value: int) -> int:
    """64 bits of which each depends on each of `value` (the finalizer of splitmix64)."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def attempt_s(left_s: float, attempts_left: int) -> float:
    """How long this attempt may take, so that the ones after it get their chance."""
    return min(left_s, max(left_s / attempts_left, ATTEMPT_LEAST_S))


def pause_s(failures: int, jitter: float) -> float:
    """Before a broker that failed in this send is asked again; `jitter` from 0 to 1."""
    return min(PAUSE_FIRST_S * 3.0 ** (failures - 1), PAUSE_MAX_S) * (0.5 + jitter)
