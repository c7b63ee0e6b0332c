"""Ports of this machine: which are free, and which process has the one that is not.

Linux tells who listens in two steps: /proc/net/tcp has the port with the socket's inode, and some
/proc/<pid>/fd/<n> is a link to `socket:[inode]`. Processes of other users stay nameless to whoever
is not root, which is said instead of guessed.
"""

import errno
import os
import random
import socket
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

LISTEN_STATE: Final = "0A"
BLOCK_RANGE: Final = (20_000, 30_000)  # below what Linux hands out for outgoing connections
TRIES_MAX: Final = 500


class Holder(NamedTuple):
    """Who listens on a port; pid 0 where /proc does not tell."""

    pid: int
    command: str

    def __str__(self) -> str:
        if self.pid == 0:
            return "a process that this user may not see"
        return f"pid {self.pid} ({self.command})"


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether we could listen there now. A closed connection's aftermath counts as free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def free_block(offsets: Collection[int], taken: Collection[int], entropy: random.Random) -> int:
    """A port p where p + each offset is free and not in `taken`. Raises `OSError` when all is full.

    Another process may take one in the meantime; whoever binds finds that out.
    """
    low, high = BLOCK_RANGE
    given = set(taken)
    for _ in range(TRIES_MAX):
        base = entropy.randrange(low, high)
        wanted = [base + offset for offset in offsets]
        if given.isdisjoint(wanted) and all(is_free(port) for port in wanted):
            return base
    raise OSError(errno.EADDRINUSE, f"no free ports found between {low} and {high}")


def holder_of(port: int, proc: Path = Path("/proc")) -> Holder | None:
    """The process that listens on the port, None where nobody does."""
    inodes = set(_listening_inodes(port, proc))
    if not inodes:
        return None
    links = {f"socket:[{inode}]" for inode in inodes}
    for folder in sorted(proc.iterdir()):
        if folder.name.isdigit() and _has_link(folder / "fd", links):
            return Holder(int(folder.name), _command_of(folder))
    return Holder(0, "")


def _listening_inodes(port: int, proc: Path) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue  # no IPv6 here, or no /proc at all
        for line in lines:
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if state == LISTEN_STATE and int(local.rpartition(":")[2], 16) == port:
                yield inode


def _has_link(folder: Path, links: set[str]) -> bool:
    try:
        return any(_target(entry) in links for entry in folder.iterdir())
    except OSError:
        return False  # another user's, or it has just ended


def _target(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except OSError:
        return ""  # closed since the folder was listed


def _command_of(folder: Path) -> str:
    try:
        words = (folder / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "ended meanwhile"
    return b" ".join(words).decode(errors="replace").strip()[:120] or "no command line"
