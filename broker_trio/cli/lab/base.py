"""The cached Debian tree below all hosts: made once, under a lock, never half.

$XDG_CACHE_HOME/broker-trio/lab/
  lock                              one builder at a time
  bookworm-3f9a…/                   complete: only a rename brings it here
  building/                         what an interrupted build left; the next one removes it
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from broker_trio.cli.lab.needs import search_path
from broker_trio.ops.lab.base import DISABLED, MASKED, REMOVED, SUITE, debootstrap_command
from broker_trio.ops.lab.base import recipe_text as recipe
from broker_trio.ops.lab.plan import LabError

LOG_LINES: Final = 15


def cache_folder() -> Path:
    """The user's cache, as XDG has it."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(told) if told.startswith("/") else Path.home() / ".cache"
    return home / "broker-trio" / "lab"


def base_folder() -> Path:
    """Where the tree of this recipe is, or will be."""
    digest = hashlib.sha256(recipe().encode()).hexdigest()[:12]
    return cache_folder() / f"{SUITE}-{digest}"


def ensure_base(mirror: str, say: Callable[[str], None]) -> Path:
    """The tree, made now if it is not there: about two minutes, 250 MB from Debian's mirror."""
    base = base_folder()
    if base.is_dir():
        return base
    base.parent.mkdir(parents=True, exist_ok=True)
    with locked(base.parent / "lock"):
        if not base.is_dir():
            say(f"making the base of all hosts in {base}: once, about two minutes")
            build(base, mirror)
    return base


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for whoever builds; the kernel frees the lock of a dead one."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(base: Path, mirror: str) -> None:
    """debootstrap into a folder beside it, strip, rename."""
    building = base.parent / "building"
    shutil.rmtree(building, ignore_errors=True)
    log = base.parent / "debootstrap.log"
    with log.open("w") as file:
        done = subprocess.run(
            debootstrap_command(str(building), mirror),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": search_path(), "LC_ALL": "C"},
            check=False,
        )
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        raise LabError(
            f"debootstrap exited with {done.returncode}:\n{tail}",
            f"read {log}; another mirror: broker-trio lab up --mirror URL",
        )
    strip(building)
    building.rename(base)


def strip(tree: Path) -> None:
    """No services of the packages, no identity, nothing that nobody reads."""
    offline = ["systemctl", f"--root={tree}", "--quiet"]
    present = [unit for unit in DISABLED if (tree / "lib/systemd/system" / unit).exists()]
    subprocess.run([*offline, "disable", *present], check=True, capture_output=True)
    subprocess.run([*offline, "mask", *MASKED], check=True, capture_output=True)
    for pattern in REMOVED:
        for path in tree.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
