"""Programs run to their end, processes looked up in /proc, and waiting for what is not an event."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from broker_trio.cli.lab import needs
from broker_trio.ops.lab.plan import LabError

POLL_S: Final = 0.02
END_TIMEOUT_S: Final = 15.0
HOST_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST_ENVIRONMENT: Final = {"PATH": HOST_PATH, "LANG": "C.UTF-8", "HOME": "/root"}
EXT4_SHUTDOWN: Final = 0x8004587D  # ioctl: answer EIO from now on …
WITHOUT_FLUSH: Final = 2  # … and forget what is in memory, the journal's too
Text = subprocess.CompletedProcess[str]


def run(
    command: Sequence[str],
    *,
    text: str = "",
    check: bool = True,
    timeout: float = 60.0,
    in_host: bool = False,
) -> Text:
    """A program with its output as text; LabError says what it said. `in_host`: a host's path."""
    program = shutil.which(command[0], path=needs.search_path()) or command[0]
    try:
        done = subprocess.run(
            [program, *command[1:]],
            input=text,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
            env=HOST_ENVIRONMENT if in_host else {**os.environ, "PATH": needs.search_path()},
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)}: no end after {timeout:.0f} s") from None
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(command)} exited with {done.returncode}: {said}")
    return done


def children_of(pid: int) -> list[int]:
    """Direct children, by ids outside; empty for a process that is gone."""
    try:
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in told.split()]


def is_init(pid: int) -> bool:
    """Whether it is process 1 of the innermost namespace that it is in."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[-1] == "1"
    return False


def has_word(pid: int, word: str) -> bool:
    """Whether its command line has that word."""
    with contextlib.suppress(OSError):
        return word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return False


def end_process(pid: int) -> None:
    """Ask it to end, then insist."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        with contextlib.suppress(LabError):
            wait_until(lambda: not Path(f"/proc/{pid}/ns/net").exists(), "", END_TIMEOUT_S)
            return
    raise LabError(f"process {pid} of the lab does not end")


def cut_power(leader: int, disks: Iterable[Path]) -> None:
    """End a host's process 1, and with it all its others; then forget what its disks never got.

    The disks are opened first: with the last process their mounts would go, and be written back.
    """
    opened = [os.open(disk, os.O_RDONLY) for disk in disks]
    try:
        os.kill(leader, signal.SIGKILL)
        for disk in opened:
            fcntl.ioctl(disk, EXT4_SHUTDOWN, WITHOUT_FLUSH.to_bytes(4, sys.byteorder))
    finally:
        for disk in opened:
            os.close(disk)


def loops_of(folder: Path) -> list[str]:
    """Files below a folder that are attached as disks."""
    found = []
    for told in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):  # detached meanwhile
            found.append(told.read_text().strip())
    return [path for path in found if path.startswith(f"{folder}/")]


def weigh(group: Path, processes: int) -> None:
    """Let a control group have the processors' time of so many busy processes, not of one."""
    for name, one, most in (("cpu.shares", 1_024, 1 << 18), ("cpu.weight", 100, 10_000)):
        if (group / name).exists():
            (group / name).write_text(str(min(most, one * processes)))


def remove_group(group: Path) -> None:
    """A control group with those below it; the one above it, too, when it is empty."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    with contextlib.suppress(OSError):
        group.parent.rmdir()


def wait_until(condition: Callable[[], bool], what: str, timeout: float) -> None:
    """Poll; LabError names what did not come."""
    limit = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > limit:
            raise LabError(f"waited {timeout:.0f} s for {what}")
        time.sleep(POLL_S)
