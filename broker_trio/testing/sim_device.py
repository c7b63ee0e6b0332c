"""The machine below a simulated disk: what is on it, when it waits, fails, fills up and goes down.

A `SimDisk` is this plus the Disk seam, a `SimFile` uses it for everything but its own bytes. It is
the machine's, not the process's: it lives through restarts with whatever survived a crash. Each
call of a process passes `alive` or `enter` first and `done` after its effect, so that a kill, an
armed error or a full disk has exactly one place each.
"""

import errno
import os
from collections.abc import Callable
from typing import Final

import trio

from broker_trio.runtime.paths import ancestors, parent_of
from broker_trio.runtime.seams import Clock, Entropy
from broker_trio.testing.disk_faults import Dead, DiskFaults, Kind
from broker_trio.testing.sim_clock import START_MS
from broker_trio.testing.sim_media import Inode, Names
from broker_trio.testing.sim_time import pass_time

FLUSH_S: Final = (0.000_5, 0.008)  # an SSD without and with a queue before it
READ_S: Final = (0.000_1, 0.002)
CAPACITY_BYTES: Final = 256 << 20  # also what a careless test may cost in memory


def ignore(*_: object) -> None:
    """The listener of whatever nobody listens to."""


class SimDevice:
    """One machine's disk. `cold`: share of `read_at_nowait` that find nothing cached."""

    def __init__(
        self,
        entropy: Entropy,
        *,
        clock: Clock | None = None,
        name: str = "sim",
        capacity_bytes: int = CAPACITY_BYTES,
        cold: float = 0.0,
        trace: Callable[..., None] = ignore,
    ) -> None:
        self.entropy, self.clock, self.trace = entropy, clock, trace
        self.root = f"{name}:"
        self.capacity_bytes = capacity_bytes
        self.cold = cold
        self.slow = 1.0  # every wait takes so many times as long
        self.faults = DiskFaults()
        self.on_crash: Callable[[bool], None] = ignore  # told `power`; a Node ends itself by it
        self.cache_life = "1"  # another one after each power loss
        self.boot = 1  # grows by each restart: handles of an earlier one are dead
        self.up = True
        self._names = Names()
        self._folders: dict[str, None] = {}
        self._hung: trio.Event | None = None
        self._used_bytes = 0
        self._locked = False
        self._replacing = trio.Lock()

    # ---- the machine's side: crashes and what survives them

    def crash(self, *, power: bool) -> None:
        """End the process that uses the disk: kill -9, or with `power` the whole machine.

        Power may also go after a kill: what that process wrote is then lost as any other.
        """
        if not self.up and not power:
            return
        self.up = False
        if power:
            self.cache_life = str(int(self.cache_life) + 1)
            for inode in self._inodes():
                inode.lose_power(self.entropy)
            self._names.lose_power(self.entropy)
            self._folders = {one: None for path in self._names.now for one in folders_above(path)}
            self._count_used()
        self.trace("disk.crash", self.root, power)
        self.resume()
        self.on_crash(power)

    def restart(self) -> None:
        """Serve the next process. Crashes the present one first (kill -9) if it still runs."""
        self.crash(power=False)
        self.boot += 1
        self.up = True
        self._locked = False
        self._replacing = trio.Lock()

    def image(self) -> Names:
        """A copy of all that is on it, as a backup of a machine that is off."""
        assert not self.up, "a copy of a disk in use is no copy"
        return self._names.copy()

    def put_in(self, image: Names | None) -> None:
        """Put another disk in: with the content of an image, or empty. The machine is off."""
        assert not self.up, f"{self.root} is in use"
        self._names = Names() if image is None else image.copy()
        self._folders = {one: None for path in self._names.now for one in folders_above(path)}
        self.cache_life = str(int(self.cache_life) + 1)
        self._count_used()

    def hang(self) -> None:
        """Waiting calls do not return until `resume`; writes and hot reads go on."""
        self._hung = self._hung or trio.Event()

    def resume(self) -> None:
        if self._hung is not None:
            self._hung.set()
            self._hung = None

    def durable(self, path: str) -> bytes | None:
        """What surely survives a power loss now; None where the name itself might not."""
        inode = self._names.durable.get(path)
        return None if inode is None else inode.durable.read(0, inode.durable.size)

    def peek(self, path: str, position: int, size: int) -> bytes:
        """What lies in a file now, as who judges a run sees it: no operation, hit by no fault."""
        inode = self._names.now.get(path)
        return b"" if inode is None else inode.cache.read(position, size)

    def flip_bit(self, path: str, bit: int) -> None:
        """Rot one bit, counted from the file's start, in the page cache and on the platter."""
        inode = self._names.now[path]
        for content in (inode.cache, inode.durable):
            if bit // 8 < len(content.data):
                content.data[bit // 8] ^= 1 << bit % 8

    # ---- what files and the calls below share

    def alive(self) -> None:
        """Every call of the process begins here, directly or by `enter`."""
        if not self.up:
            raise Dead

    def enter(self, kind: Kind, path: str) -> None:
        """Before an operation: the caller lives, and no armed error hits it."""
        self.alive()
        error = self.faults.error(kind, path)
        if error is not None:
            self.trace("disk.error", self.root, kind, path, error.errno)
            raise error

    def done(self, kind: Kind, path: str) -> None:
        """After its effect: count it, and go down here if a test asked for that."""
        self.trace("disk", self.root, kind, path)
        end = self.faults.counted(kind, path)
        if end is not None:
            self.crash(power=end == "power")
            raise Dead

    async def wait(self, bounds_s: tuple[float, float]) -> None:
        """A device's latency; longer while it is hung."""
        boot = self.boot
        await pass_time(self.entropy.uniform(*bounds_s) * self.slow)
        while self._hung is not None:
            await self._hung.wait()
        if not self.up or self.boot != boot:
            raise Dead

    def allocate(self, inode: Inode, end: int, path: str) -> None:
        """Take space so that the file reaches `end`. Raises `OSError(ENOSPC)`."""
        more = end - inode.allocated
        if more <= 0:
            return
        if more > self.capacity_bytes - self._used_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        inode.allocated = end
        self._used_bytes += more

    def release(self, inode: Inode, end: int) -> None:
        """Give back what it has beyond `end`."""
        self._used_bytes -= max(0, inode.allocated - end)
        inode.allocated = min(inode.allocated, end)

    @property
    def used_bytes(self) -> int:
        """What is allocated now; a capacity of as much is a full disk."""
        return self._used_bytes

    def _count_used(self) -> None:
        self._used_bytes = sum(inode.allocated for inode in self._names.now.values())

    def now_ms(self) -> int:
        return START_MS if self.clock is None else self.clock.wall_ms()

    def _inodes(self) -> list[Inode]:
        both = [*self._names.now.values(), *self._names.durable.values()]
        return list({id(inode): inode for inode in both}.values())


def folders_above(path: str) -> list[str]:
    """The folders on the way to a file, outermost first."""
    return list(ancestors(parent_of(path)))
