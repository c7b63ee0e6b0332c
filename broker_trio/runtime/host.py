"""What the operating system tells: how many files this process may open, and what errors mean.

Segments, indexes and connections are files. A broker that runs out of them refuses connections
first and fails to roll a segment next, so that operators look here before it happens.
"""

import os
import resource
from typing import NamedTuple

DESCRIPTORS = "/proc/self/fd"


class OpenFiles(NamedTuple):
    """Descriptors in use (-1 where the system does not tell) and the soft limit (-1: none)."""

    used: int
    limit: int


def system_text(number: int) -> str:
    """What the system calls an error number: 111 is "Connection refused"."""
    return os.strerror(number)


def open_files() -> OpenFiles:
    """This process, now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir(DESCRIPTORS)) - 1  # the listing's own
    except OSError:
        used = -1
    return OpenFiles(used, -1 if soft == resource.RLIM_INFINITY else soft)
