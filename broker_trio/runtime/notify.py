"""Telling systemd how we are: READY=1, WATCHDOG=1, STOPPING=1, STATUS, by its datagram protocol.

A datagram of `KEY=value` lines goes to the socket named in NOTIFY_SOCKET; a leading `@` stands for
Linux's abstract namespace. Where the variable is missing nothing is sent. Nobody waits for an
answer and a lost datagram harms nothing but the display, so errors are dropped. `watchdog_s` is
how often systemd wants a sign of life (WATCHDOG_USEC), None where it does not ask this process.
"""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import final


@final
class Notifier:
    """Made from the process's environment, which says whether anybody listens."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s(environ, os.getpid()) if self._address else None

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self) -> None:
        """The loop turns: sent several times in each `watchdog_s`."""
        self._send("WATCHDOG=1")

    def still_starting(self, seconds: float) -> None:
        """Recovery goes on: systemd waits for READY for at least `seconds` from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; longer texts are cut."""
        self._send("STATUS=" + text.replace("\n", " ")[:500])

    def _send(self, line: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(line.encode(errors="replace"), self._address)


def watchdog_s(environ: Mapping[str, str], process_id: int) -> float | None:
    """Seconds between two signs of life at most; None where none are wanted of this process."""
    usec, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or int(usec) == 0 or (meant and meant != str(process_id)):
        return None
    return int(usec) / 1_000_000
