"""When a simulated disk fails: errors on demand, and power off at the k-th operation.

Every operation that changes something counts one, and is a point where the power can go: the
operation has reached the page cache (a flush: nothing yet) and its caller is never told. What waits
has two points: inside, and at its end when all is durable and only the answer is missing.

    write, reserve, truncate, create, rename, unlink      1 each
    flush, sync (of a folder)                             2 each: inside, and at the end
    replace                                               create, write, 2 x flush, rename, 2 x sync

So "for every k: run, power off at k, restart, check" visits every window, those of a few
milliseconds too, which random moments would hardly hit:

    for k in itertools.count(1):
        disk = SimDisk(random.Random(k))
        disk.faults.power_off_at(k)
        …run; break where no Dead was raised…
        disk.restart()
        …recover; check…
"""

import errno
import os
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, final

Kind = Literal[
    "write", "read", "flush", "reserve", "truncate", "create", "rename", "unlink", "sync"
]
HISTORY_MAX: Final = 64


class Dead(BaseException):
    """Raised by every seam call of a process that has been killed; no handler may survive it."""


@dataclass(slots=True)
class _Error:
    """An armed error: skip so many matching calls, then fail so many (None: for ever)."""

    kind: Kind
    path: str
    number: int
    skip: int
    times: int | None


@final
class DiskFaults:
    """The plan of one simulated disk. Outlives restarts until `clear`."""

    def __init__(self) -> None:
        self.operations = 0  # counted since the disk was made
        self.errors = 0  # raised, likewise
        self.history: deque[str] = deque(maxlen=HISTORY_MAX)
        self._power_off_at: int | None = None
        self._power = True
        self._errors: list[_Error] = []

    def power_off_at(self, operation: int) -> None:
        """Lose power at the so-manyth operation counted from now; 1 is the next."""
        assert operation > 0
        self._power_off_at, self._power = self.operations + operation, True

    def kill_at(self, operation: int) -> None:
        """The same as kill -9: the page cache stays."""
        self.power_off_at(operation)
        self._power = False

    def fail(
        self,
        kind: Kind,
        *,
        path: str = "",
        number: int = errno.EIO,
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        """Make matching calls raise `OSError(number)`: paths that start with `path`, after `skip`
        calls that pass, `times` times (None: for ever)."""
        self._errors.append(_Error(kind, path, number, skip, times))

    @property
    def next_is_last(self) -> bool:
        return self.operations + 1 == self._power_off_at

    def clear(self) -> None:
        """Forget what is armed; the count goes on."""
        self._errors.clear()
        self._power_off_at = None

    def error(self, kind: Kind, path: str) -> OSError | None:
        """What the call must raise now, if anything."""
        for armed in self._errors:
            if armed.kind != kind or not path.startswith(armed.path):
                continue
            if armed.skip:
                armed.skip -= 1
                continue
            if armed.times is not None:
                armed.times -= 1
                if not armed.times:
                    self._errors.remove(armed)
            self.errors += 1
            return OSError(armed.number, os.strerror(armed.number), path)
        return None

    def counted(self, kind: Kind, path: str) -> Literal["power", "kill"] | None:
        """Count one operation; says whether the process ends at it, and how."""
        self.operations += 1
        self.history.append(f"{self.operations} {kind} {path}")
        if self.operations != self._power_off_at:
            return None
        self._power_off_at = None
        return "power" if self._power else "kill"
