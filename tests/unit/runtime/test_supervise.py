import signal
import socket
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from broker_trio.model.errors import StoreFailed
from broker_trio.runtime.notify import Notifier
from broker_trio.runtime.supervise import exit_code, run_stages, supervise

SILENT = Notifier({})


class Recorded:
    """A service that notes when it starts and stops."""

    def __init__(self, name: str, notes: list[str], *, stop_s: float = 0) -> None:
        self.name, self.notes, self.stop_s = name, notes, stop_s

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.notes.append(f"+{self.name}")
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(self.stop_s, shield=True):
                await trio.sleep_forever()
            self.notes.append(f"-{self.name}")


async def test_stages_stop_in_reverse(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """A stage starts when those before it serve, and stops when those after it have."""
    notes: list[str] = []
    stages = [
        [Recorded("store", notes).run],
        [Recorded("listener", notes, stop_s=5).run, Recorded("registrar", notes).run],
    ]
    stopping = trio.Event()

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await run_stages(stages, stopping, task_status=task_status)
        notes.append("end")

    await nursery.start(run)
    assert notes == ["+store", "+listener", "+registrar"]
    stopping.set()
    await trio.sleep(6)
    assert notes[3:] == ["-registrar", "-listener", "-store", "end"]


async def test_a_failing_start_stops_what_runs(autojump_clock: MockClock) -> None:
    """A service that raises before it serves ends the others, and its error comes out."""
    notes: list[str] = []

    async def broken(*, task_status: trio.TaskStatus[None]) -> None:
        raise OSError("port in use")

    with pytest.raises(ExceptionGroup) as caught:
        await run_stages([[Recorded("store", notes).run], [broken]], trio.Event())
    assert caught.group_contains(OSError, match="port in use")
    assert notes == ["+store", "-store"]


def nested(error: Exception) -> Exception:
    return ExceptionGroup("outer", [ValueError("x"), ExceptionGroup("inner", [error])])


def caused(error: Exception) -> Exception:
    outer = RuntimeError("while stopping")
    outer.__cause__ = nested(error)
    return outer


@pytest.mark.parametrize("wrap", [lambda error: error, nested, caused])
def test_a_failed_store_is_74_wherever_it_hides(wrap: object) -> None:
    """StoreFailed alone, in groups or as a cause gives 74; anything else at its place gives 1."""
    assert callable(wrap)
    assert exit_code(wrap(StoreFailed("fsync: EIO"))) == 74
    assert exit_code(wrap(OSError("EIO"))) == 1


async def test_a_signal_ends_the_role_cleanly(tmp_path: Path) -> None:
    """SIGTERM sets `stopping`, the role returns, the code is 0; systemd hears both."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": sock.getsockname()})
        sock.setblocking(False)

        async def role(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
            task_status.started()
            await trio.testing.wait_all_tasks_blocked()
            signal.raise_signal(signal.SIGINT)
            await stopping.wait()

        assert await supervise("broker", role, grace_s=5, notifier=notifier) == 0
        assert [sock.recv(100), sock.recv(100)] == [b"READY=1", b"STOPPING=1"]


class Told(Notifier):
    """What a notifier would have sent, with the times."""

    def __init__(self, watchdog: float) -> None:
        super().__init__({})
        self.watchdog_s = watchdog
        self.lines: list[tuple[float, str]] = []

    def _send(self, line: str) -> None:
        self.lines.append((trio.current_time(), line.partition("=")[0]))


async def test_systemd_hears_of_long_starts_and_of_a_living_loop(
    autojump_clock: MockClock,
) -> None:
    """Signs of a start end with READY; the watchdog is fed three times an interval throughout."""
    began, told = trio.current_time(), Told(30.0)

    async def role(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(25)
        task_status.started()
        await trio.sleep(10)

    assert await supervise("broker", role, grace_s=5, notifier=told) == 0
    extended = [at - began for at, key in told.lines if key == "EXTEND_TIMEOUT_USEC"]
    alive = [at - began for at, key in told.lines if key == "WATCHDOG"]
    assert extended == pytest.approx([10, 20])
    assert alive == pytest.approx([0, 10, 20, 30])
    assert [at - began for at, key in told.lines if key == "READY"] == pytest.approx([25])


async def test_grace_ends(autojump_clock: MockClock) -> None:
    """A role that does not return within the grace is cancelled, and that is a failure."""
    began = trio.current_time()

    async def role(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()

    assert await supervise("broker", role, grace_s=7, notifier=SILENT) == 1
    assert trio.current_time() - began == pytest.approx(7)


async def test_a_second_signal_ends_the_grace(autojump_clock: MockClock) -> None:
    """Whoever asks twice does not wait for the grace."""
    began = trio.current_time()

    async def role(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        signal.raise_signal(signal.SIGTERM)
        await stopping.wait()
        await trio.sleep(1)
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()

    assert await supervise("broker", role, grace_s=60, notifier=SILENT) == 1
    assert trio.current_time() - began == pytest.approx(1)


async def test_a_signal_while_starting_cancels_the_start(autojump_clock: MockClock) -> None:
    """A role still recovering when asked to stop is cancelled at once, and that is clean."""
    began = trio.current_time()

    async def role(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep(600)
        task_status.started()

    assert await supervise("broker", role, grace_s=60, notifier=SILENT) == 0
    assert trio.current_time() == pytest.approx(began)


@pytest.mark.parametrize(("error", "code"), [(StoreFailed("EIO"), 74), (ValueError("bug"), 1)])
async def test_a_crash_is_an_exit_code(
    autojump_clock: MockClock, error: Exception, code: int
) -> None:
    """A service's exception ends all of them and the process: its code, and one critical line."""
    notes: list[str] = []

    async def crashing(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep(3)
        raise error

    async def role(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        stages = [[Recorded("store", notes).run], [crashing]]
        await run_stages(stages, stopping, task_status=task_status)

    with capture_logs() as logs:
        assert await supervise("broker", role, grace_s=5, notifier=SILENT) == code
    assert notes == ["+store", "-store"]
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("process.ready", "info"),
        ("process.crashed", "critical"),
    ]
