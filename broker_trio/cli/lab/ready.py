"""Waiting until booting hosts greet on their ssh port."""

import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

PORT: Final = 22
TRY_S: Final = 1.0
PAUSE_S: Final = 0.05
GONE_LOOKS: Final = 10  # in the middle of an exec, of which a boot has some, a process has no words


def wait_for_ssh(
    addresses: Sequence[str], timeout: float, lives: Callable[[str], bool]
) -> list[str]:
    """Addresses that did not greet in `timeout` seconds, or whose host has ended.

    To be called in the lab's network.
    """
    limit = time.monotonic() + timeout
    waiting = list(addresses)
    missed = dict.fromkeys(waiting, 0)
    while waiting and time.monotonic() < limit:
        missed = {each: 0 if lives(each) else missed[each] + 1 for each in waiting}
        dead = [address for address in waiting if missed[address] >= GONE_LOOKS]
        if dead:
            return dead
        waiting = [address for address in waiting if not greets(address)]
        if waiting:
            time.sleep(PAUSE_S)
    return waiting


def greets(address: str) -> bool:
    """Whether an sshd answers there now."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((address, PORT), TRY_S) as connection,
    ):
        connection.settimeout(TRY_S)
        return connection.recv(4) == b"SSH-"
    return False
