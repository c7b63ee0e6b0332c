"""Telling systemd how we are: READY=1, STOPPING=1 and a line of STATUS, by its datagram protocol.

A datagram of `KEY=value` lines goes to the socket named in NOTIFY_SOCKET; a leading `@` stands for
Linux's abstract namespace. Where the variable is missing nothing is sent. Nobody waits for an
answer and a lost datagram harms nothing but the display, so errors are dropped.
"""

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

    def ready(self) -> None:
        self._send("READY=1")

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
