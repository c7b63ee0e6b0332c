"""What the machine lacks for a lab: all of it at once, with the packages that bring it.

Nothing is installed here: whoever runs a machine decides what is on it.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from broker_trio.ops.lab.base import MACHINE_NEEDS
from broker_trio.ops.lab.plan import LabError

GROUP_ROOT: Final = Path("/sys/fs/cgroup")
SHARED_HIERARCHIES: Final = ("unified", "systemd", "memory", "cpu")


def missing() -> list[str]:
    """One line a lack, in the words of an operator; empty where a lab can run."""
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
    return told


def missing_packages() -> list[str]:
    """Debian's packages for the programs that are not there, each once, in order."""
    return sorted(
        {
            package
            for name, package in MACHINE_NEEDS.items()
            if shutil.which(name, path=search_path()) is None
        }
    )


def check() -> None:
    """Raises LabError that lists what is missing, and the command that installs it."""
    told = missing()
    if told:
        packages = missing_packages()
        advice = f"apt-get install --no-install-recommends {' '.join(packages)}" if packages else ""
        raise LabError("a lab cannot run here; missing: " + "; ".join(told), advice)


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
