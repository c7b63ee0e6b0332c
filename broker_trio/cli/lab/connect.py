"""ssh's way into a lab: make a connection in the lab's network, hand its socket to ssh, be gone.

    ssh -F FOLDER/ssh_config broker-a1
      └─ connect.py FOLDER 10.86.0.14 22     (ProxyCommand with ProxyUseFdpass: no copying of bytes)

So Ansible, started anywhere, reaches the hosts, while they reach nothing outside. A thread may
enter a network namespace alone; `in_network` lets any function of a program do so, an event loop
with all its sockets too. Python's own library alone, for it is run for every connection.
"""

import array
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
CONNECT_TIMEOUT_S = 10.0


def find_holder(folder: Path) -> int:
    """The id of the lab's process 1 as seen from outside, 0 if the lab is not up.

    Looked up by its command line, so that no stale file can name a stranger's process.
    """
    wanted = str(folder).encode()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        # unshare has the same words behind its own; the holder itself is Python
        place = next((n for n, word in enumerate(words) if word.endswith(b"/lab/holder.py")), 0)
        if place and words[place + 1] == wanted and b"unshare" not in words[0]:
            return int(entry)
    return 0


def enter_network(pid: int) -> None:
    """Move the calling thread into that process's network. Raises OSError."""
    with open(f"/proc/{pid}/ns/net", "rb") as namespace:
        if sys.version_info >= (3, 12):
            os.setns(namespace.fileno(), CLONE_NEWNET)
            return
        import ctypes  # noqa: PLC0415  (slow, and not needed from 3.12 on)

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def in_network(pid: int, function: Callable[[], T]) -> T:
    """Call it in a thread that lives in that network; what it raises is raised here."""
    outcome: list[T] = []
    raised: list[BaseException] = []

    def call() -> None:
        try:
            enter_network(pid)
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that asked)
            raised.append(error)

    thread = threading.Thread(target=call, name="lab-network")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return outcome[0]


def main(folder: Path, address: str, port: int) -> None:
    """Connect and pass the socket to whoever is behind stdout."""
    holder = find_holder(folder)
    if not holder:
        sys.exit(f"the lab of {folder} is not up; next: broker-trio lab up")
    enter_network(holder)
    try:
        connection = socket.create_connection((address, port), CONNECT_TIMEOUT_S)
    except OSError as error:
        sys.exit(f"{address}:{port}: {error.strerror or error}")
    connection.setblocking(True)
    with socket.socket(fileno=os.dup(1)) as asker:
        sent = array.array("i", [connection.fileno()])
        asker.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
