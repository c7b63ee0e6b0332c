"""Names on a Disk: relative, with `/`, and unable to leave the root.

Both versions of the Disk seam check every name here, so that a name that came from outside (a topic
in a request, a file list from a peer) can never reach a file beyond the store.
"""

from collections.abc import Iterator
from typing import Final

NAME_BYTES_MAX: Final = 255  # a component's limit on every file system we run on (NAME_MAX)


def check_path(path: str) -> str:
    """The path itself, or ValueError: empty, absolute, NUL, or a component empty, `.` or `..`."""
    if not path or "\0" in path:
        raise ValueError(f"not a path on a disk: {path!r}")
    for name in path.split("/"):
        if name in {"", ".", ".."}:
            raise ValueError(f"path {path!r} leaves the disk or is not plain")
    return path


def check_folder(folder: str) -> str:
    """Like `check_path`; the empty string is the root."""
    return check_path(folder) if folder else folder


def parent_of(path: str) -> str:
    """The folder that holds it; empty for the root."""
    return path.rpartition("/")[0]


def ancestors(folder: str) -> Iterator[str]:
    """The folder's own path and those above it, outermost first; nothing for the root."""
    at = 0
    while folder and at != -1:
        at = folder.find("/", at + 1)
        yield folder if at == -1 else folder[:at]
