"""What the machine lacks for a lab: all of it at once, with the packages that bring it.

Nothing is installed here: whoever runs a machine decides what is on it.
"""

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from broker_trio.ops.lab.base import MACHINE_NEEDS
from broker_trio.ops.lab.plan import LabError

GROUP_ROOT: Final = Path("/sys/fs/cgroup")
SHARED_HIERARCHIES: Final = ("unified", "systemd", "memory", "cpu")
INOTIFY_LIMIT: Final = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_A_HOST: Final = 9  # systemd of a host has eight, logind one, as root, whom all hosts share
INOTIFY_ENOUGH: Final = 1_024


def missing(hosts: int = 8) -> list[str]:
    """One line a lack, in the words of an operator; empty where a lab of so many hosts can run."""
    if sys.platform != "linux":
        return [f"Linux: this is {sys.platform}"]
    told = []
    if os.geteuid():
        told.append(f"root: this is user {os.geteuid()}")
    programs = [name for name in MACHINE_NEEDS if shutil.which(name, path=search_path()) is None]
    told += [f"the program {name} (package {MACHINE_NEEDS[name]})" for name in programs]
    known = Path("/proc/filesystems").read_text()
    for kind, module in (("overlay", "overlay"), ("ext4", "ext4")):
        if f"\t{kind}\n" not in known:
            told.append(f"the file system {kind} (modprobe {module})")
    if not Path("/dev/loop-control").exists():
        told.append("loop devices (modprobe loop)")
    if freezer_root() is None:
        told.append(f"control groups version 2 with cgroup.freeze below {GROUP_ROOT}")
    wanted, free = hosts * INOTIFY_A_HOST, inotify_free()
    if wanted > free:
        told.append(
            f"room for {hosts} hosts' inotify instances: they take {wanted}, {free} of "
            f"{INOTIFY_LIMIT.read_text().strip()} are free (fs.inotify.max_user_instances)"
        )
    return told


def inotify_free() -> int:
    """How many inotify instances root may still make: a host's systemd does not boot without."""
    taken = sum(inotify_of(process) for process in Path("/proc").glob("[0-9]*"))
    return int(INOTIFY_LIMIT.read_text()) - taken


def inotify_of(process: Path) -> int:
    """Instances of a process by its folder in /proc; 0 for other users and for ended ones."""
    taken = 0
    with contextlib.suppress(OSError):
        if process.stat().st_uid == os.geteuid():
            for file in (process / "fd").iterdir():
                with contextlib.suppress(OSError):  # closed meanwhile
                    taken += os.readlink(file) == "anon_inode:inotify"
    return taken


def missing_packages() -> list[str]:
    """Debian's packages for the programs that are not there, each once, in order."""
    return sorted(
        {
            package
            for name, package in MACHINE_NEEDS.items()
            if shutil.which(name, path=search_path()) is None
        }
    )


def check(hosts: int = 8) -> None:
    """Raises LabError that lists what is missing for so many hosts, and the commands that help."""
    told = missing(hosts)
    if told:
        raise LabError("a lab cannot run here; missing: " + "; ".join(told), advice(hosts))


def advice(hosts: int) -> str:
    """What to type; empty where no command brings it."""
    if sys.platform != "linux":
        return ""
    packages = missing_packages()
    steps = [f"apt-get install --no-install-recommends {' '.join(packages)}"] if packages else []
    lacking = hosts * INOTIFY_A_HOST - inotify_free()
    if lacking > 0:
        wanted = max(INOTIFY_ENOUGH, int(INOTIFY_LIMIT.read_text()) + lacking)
        steps.append(f"sysctl -w fs.inotify.max_user_instances={wanted}")
    return " && ".join(steps)


def search_path() -> str:
    """Root's programs are not on everyone's path."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"


def group_roots() -> list[Path]:
    """Where a lab has its control groups: one place, or one in each hierarchy of old."""
    if (GROUP_ROOT / "cgroup.procs").exists():
        return [GROUP_ROOT]
    roots = (GROUP_ROOT / name for name in SHARED_HIERARCHIES)
    return [root for root in roots if (root / "cgroup.procs").exists()]


def freezer_root() -> Path | None:
    """The hierarchy of version 2, whose groups can be frozen."""
    for root in (GROUP_ROOT, GROUP_ROOT / "unified"):
        if (root / "cgroup.controllers").exists():
            return root
    return None
