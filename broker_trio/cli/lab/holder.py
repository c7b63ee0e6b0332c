"""Process 1 of a lab: holds its namespaces, and takes everything with it when it goes.

Run by file name with Python's own library alone, in new network, mount and process namespaces:

    unshare --net --mount --pid --fork --kill-child
      └─ holder.py            process 1 of the lab: bridge, rules, a /run of its own
           ├─ systemd-nspawn ─ systemd (process 1 of ns1) ─ sshd, …
           ├─ systemd-nspawn ─ systemd (process 1 of ns2) ─ …

The kernel ends every process of the namespace with its process 1, and with the last process go
mounts, loop devices, links and rules. So a lab cannot be left in halves, whoever is killed: what
may be left are empty control groups and files, which the next `lab up` or `lab down` removes. A lab
that is tied to a program (its stdin) removes them itself when that program is gone.

    holder.py FOLDER SETUP      SETUP is JSON: commands, firewall, groups (paths), tied
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path


def main(folder: Path, setup: dict[str, object]) -> None:
    """Make the network, say `ready`, reap children until told to stop."""
    wake, woken = os.pipe()
    for way in (wake, woken):
        os.set_blocking(way, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    stopping: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    tied = bool(setup["tied"])
    build(setup)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    watched = [wake, 0] if tied else [wake]
    while not stopping:
        readable, _, _ = select.select(watched, [], [])
        if wake in readable:
            os.read(wake, 4096)
        if 0 in readable and not os.read(0, 4096):
            break  # the program that the lab is tied to has ended
        reap()
    end(setup)
    if tied:
        shutil.rmtree(folder, ignore_errors=True)


def build(setup: dict[str, object]) -> None:
    """Mounts and network that only this lab sees."""
    run(["mount", "--make-rprivate", "/"])
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "lab", "/run"])
    commands = setup["commands"]
    assert isinstance(commands, list)
    for command in commands:
        run(command)
    run(["nft", "-f", "-"], str(setup["firewall"]))


def run(command: list[str], text: str = "") -> None:
    """What fails is said on stderr, which `lab up` shows."""
    subprocess.run(command, input=text, text=True, check=True)


def reap() -> None:
    """Take the codes of ended children; orphans of the whole lab come here."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end(setup: dict[str, object]) -> None:
    """Kill everyone else in the namespace, then remove the hosts' control groups."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    groups = setup["groups"]
    assert isinstance(groups, list)
    for group in groups:
        remove_group(Path(group))


def remove_group(group: Path) -> None:
    """A control group with those below it, and the one above if it is empty now."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    with contextlib.suppress(OSError):
        group.parent.rmdir()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
