"""The four seams: everything a program here knows of the world comes through one of them.

Clock, Disk (with File), Network and Entropy each have a real version in this folder and a
simulated one in `broker_trio.testing`; `testing/contracts/` holds one suite that both must pass.
Nothing above `runtime/` imports `os`, `socket`, `time`, `random` or `threading`.

Rules that every version keeps:

* `def` never waits. Writes go to the page cache on the loop; what may wait is `async`.
* A failed write or fsync is an `OSError` to the caller. Callers above treat it as the end of the
  process, except `ENOSPC` from `reserve`, which is asked *before* anything is appended.
* Names are paths with `/`, relative to the Disk's root; no component is `..`, empty or absolute.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import trio

Entropy = random.Random  # the one place that names it: ids, jitter and choices come from a seed
Buffer = bytes | bytearray | memoryview


class Clock(Protocol):
    """Two clocks: one that people read and that may step, one that only goes forward."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as stored in records; may step either way."""
        ...

    def monotonic(self) -> float:
        """Seconds on `trio.current_time()`'s scale; deadlines, ages and leases are made of it."""
        ...


class Usage(NamedTuple):
    """Bytes of the file system that holds a Disk's root; blocks reserved for others count nowhere.

    `1 - free / total` is what df shows and what Apache compares with its watermarks.
    """

    total: int
    free: int


class Stat(NamedTuple):
    """What retention and loading need of a file."""

    size: int
    modified_ms: int


class File(Protocol):
    """One open file. Offsets are bytes from its start."""

    @property
    def path(self) -> str: ...

    def size(self) -> int: ...

    def write_at(self, position: int, data: Buffer) -> None:
        """Write all of it to the page cache; grows the file if need be. Never awaits."""
        ...

    def write_parts_at(self, position: int, parts: Sequence[Buffer]) -> None:
        """Like `write_at` of the parts joined, in as few system calls as they allow."""
        ...

    def read_at_nowait(self, position: int, size: int) -> bytes:
        """Up to `size` bytes that are in the page cache; short only at the end of the file.

        Raises `trio.WouldBlock` where any of them would have to come from the device.
        """
        ...

    async def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes, short only at the end of the file; waits off the loop."""
        ...

    def read_at_blocking(self, position: int, size: int) -> bytes:
        """The same on the loop, waiting for the device: only before any door opens."""
        ...

    def reserve(self, position: int, size: int) -> None:
        """Allocate space so that later writes there cannot fail for lack of it.

        Never shrinks or changes content. Raises `OSError(ENOSPC)`.
        """
        ...

    def truncate(self, size: int) -> None:
        """Set the file's length; new bytes read as zero and take no space."""
        ...

    async def flush(self) -> None:
        """Make every write that returned before this call durable (fdatasync off the loop).

        After an `OSError` nothing may be assumed of what was written since the last success;
        cancelled: the flush still runs to its end, its result is lost.
        """
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """A folder that belongs to one process."""

    @property
    def root(self) -> str:
        """How people call it in messages: an absolute path, or a name in the simulator."""
        ...

    def open(self, path: str, *, create: bool = False) -> File:
        """Open for reading and writing. `create` makes missing folders and an empty file;
        without it a missing file is `FileNotFoundError`."""
        ...

    def exists(self, path: str) -> bool: ...

    def list(self, folder: str) -> list[str]:
        """Sorted names in a folder; empty where there is none."""
        ...

    def stat(self, path: str) -> Stat: ...

    def read(self, path: str) -> bytes:
        """A small file, whole, on the loop. `FileNotFoundError` where it is not."""
        ...

    async def replace(self, path: str, data: Buffer) -> None:
        """Write beside, fsync, rename, fsync the folder: afterwards old or new, never a mixture."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Atomic; durable after `sync_folder` of both folders."""
        ...

    def unlink(self, path: str) -> None:
        """Remove a file, or an empty folder. Open files stay readable."""
        ...

    async def sync_folder(self, folder: str) -> None:
        """Make creations, renames and removals in the folder durable."""
        ...

    def usage(self) -> Usage: ...

    @property
    def cache_life(self) -> str:
        """Names the life of the page cache: under the same name nothing that was written is gone.

        A power loss or a new kernel begins another one. "" where nobody can tell.
        """
        ...

    def lock(self) -> None:
        """Take the root for this process until it ends; `BlockingIOError` where another has it."""
        ...


class Listener(trio.abc.Listener[trio.abc.Stream]):
    """A Trio listener that knows where it listens (port 0 becomes the real one)."""

    address: str


class Peer(Protocol):
    """What a server knows of an accepted or connected stream's other end."""

    peer_address: str


class Network(Protocol):
    """Byte streams between addresses `host:port` (IPv6 in brackets)."""

    async def connect(self, address: str) -> trio.abc.Stream:
        """A connected stream with a `peer_address`. Raises `OSError`; no timeout of its own."""
        ...

    async def listen(self, address: str) -> Listener:
        """Bind and listen; port 0 takes a free one. Accepted streams carry `peer_address`.

        Raises `OSError` (`EADDRINUSE` with the address in its text).
        """
        ...
