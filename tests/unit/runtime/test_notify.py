import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_trio.runtime.notify import Notifier, watchdog_s


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


def received(sock: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sock.recv(4096))
        except BlockingIOError:
            return found


def test_states_arrive_as_datagrams(systemd: socket.socket) -> None:
    """Ready, status and stopping are one datagram each, in order."""
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname()})
    notifier.status("recovering 40 %")
    notifier.ready()
    notifier.stopping()
    assert received(systemd) == [b"STATUS=recovering 40 %", b"READY=1", b"STOPPING=1"]


def test_a_status_cannot_smuggle_other_keys(systemd: socket.socket) -> None:
    """A text with line breaks stays one line, and a long one is cut."""
    Notifier({"NOTIFY_SOCKET": systemd.getsockname()}).status("a\nREADY=1" + "x" * 9000)
    (line,) = received(systemd)
    assert line.startswith(b"STATUS=a READY=1xxx")
    assert len(line) < 600


def test_abstract_sockets_are_understood() -> None:
    """A leading @ means Linux's abstract namespace."""
    name = f"broker-trio-test-{id(object())}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.setblocking(False)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready()
        assert received(sock) == [b"READY=1"]


def test_nobody_listening_is_no_error(tmp_path: Path, systemd: socket.socket) -> None:
    """Without the variable nothing is sent; a socket that is gone or full is not our failure."""
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname()})
    for _ in range(1000):  # far more than a datagram socket queues
        notifier.ready()
    assert 0 < len(received(systemd)) < 1000


def test_a_start_asks_for_time_and_a_loop_says_that_it_turns(systemd: socket.socket) -> None:
    """The patience is in microseconds; a sign of life has no value but 1."""
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname()})
    notifier.still_starting(1.5)
    notifier.alive()
    assert received(systemd) == [b"EXTEND_TIMEOUT_USEC=1500000", b"WATCHDOG=1"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_a_watchdog_is_for_one_process(environ: dict[str, str], expected: float | None) -> None:
    """Nobody feeds a watchdog that is off, broken, or another process's."""
    assert watchdog_s(environ, 7) == expected
