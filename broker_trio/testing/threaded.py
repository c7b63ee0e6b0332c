"""The embedded cluster on a loop in a thread of its own: for asyncio tests, and for plain ones.

    with open_threaded() as rocketmq:          real network and clock
        rocketmq.kill_broker()                 every method is a plain call; it returns when done

        ┌──── the test's thread ────┐      ┌──────── a Trio loop ────────┐
        │ asyncio, or none at all   │ ───▶ │ nameserver, broker, faults  │
        └───────────────────────────┘      └─────────────────────────────┘

A call waits for the other loop, some milliseconds at most. On a Trio loop use `open_embedded`.
"""

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar, final

import trio

from broker_trio.model.message import MessageExt
from broker_trio.testing.embedded import open_embedded
from broker_trio.testing.rocketmq import RocketMQ
from broker_trio.testing.shape import Fault, Options

STARTED_S: Final = 30.0
STOPPED_S: Final = 30.0
T = TypeVar("T")


@contextmanager
def open_threaded(options: Options | None = None) -> "Iterator[ThreadedRocketMQ]":
    """A cluster that runs inside the block. At its end everything is killed.

    Raises what ended the loop, where that was not us.
    """
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("open_threaded on a Trio loop would block it: use open_embedded")
    loop = _Loop(options or Options())
    loop.start()
    try:
        assert loop.rocketmq is not None
        yield ThreadedRocketMQ(loop, loop.rocketmq)
    finally:
        loop.stop()


@final
class _Loop:
    """The thread and what is in it."""

    def __init__(self, options: Options) -> None:
        self.rocketmq: RocketMQ | None = None
        self._options = options
        self._token: trio.lowlevel.TrioToken | None = None
        self._started = threading.Event()
        self._stopping: trio.Event | None = None
        self._error: BaseException | None = None
        # A daemon: an interpreter that is leaving must not wait for a cluster.
        self._thread = threading.Thread(target=self._run, name="rocketmq", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if not self._started.wait(STARTED_S):
            raise TimeoutError(f"the embedded cluster did not start within {STARTED_S:g} s")
        self._raise_error()

    def stop(self) -> None:
        """Kill everything and wait for the thread. Raises what had ended it before."""
        if self._token is not None and self._stopping is not None:
            try:
                trio.from_thread.run_sync(self._stopping.set, trio_token=self._token)
            except trio.RunFinishedError:
                self._raise_error()
        self._thread.join(STOPPED_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the embedded cluster did not stop within {STOPPED_S:g} s")
        self._raise_error()

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:  # noqa: BLE001 -- raised again in the test's thread
            self._error = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._token, self._stopping = trio.lowlevel.current_trio_token(), trio.Event()
        async with open_embedded(self._options) as self.rocketmq:
            self._started.set()
            await self._stopping.wait()

    def call(self, work: Callable[[], T]) -> T:
        """A plain call on the loop."""
        try:
            return trio.from_thread.run_sync(work, trio_token=self._token)
        except trio.RunFinishedError:
            self._raise_error()
            raise

    def wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """The same for something that waits there."""
        try:
            return trio.from_thread.run(work, trio_token=self._token)
        except trio.RunFinishedError:
            self._raise_error()
            raise


@final
class ThreadedRocketMQ:
    """A running cluster. The same methods as `RocketMQ`, and every one is a plain call."""

    def __init__(self, loop: _Loop, rocketmq: RocketMQ) -> None:
        self._loop, self._rocketmq = loop, rocketmq
        self.options = rocketmq.options
        self.address, self.nameserver = rocketmq.address, rocketmq.nameserver
        self.addresses, self.nameservers = rocketmq.addresses, rocketmq.nameservers
        self.url = rocketmq.url

    def messages(self, topic: str, *, broker: str | None = None) -> list[MessageExt]:
        return self._loop.call(lambda: self._rocketmq.messages(topic, broker=broker))

    def dead_letters(self, group: str) -> list[MessageExt]:
        return self._loop.call(lambda: self._rocketmq.dead_letters(group))

    def create_topic(self, topic: str, *, queues: int = 1) -> None:
        self._loop.wait(lambda: self._rocketmq.create_topic(topic, queues=queues))

    def kill_broker(self, broker: str | None = None, *, power: bool = False) -> None:
        self._loop.wait(lambda: self._rocketmq.kill_broker(broker, power=power))

    def stop_broker(self, broker: str | None = None) -> None:
        self._loop.wait(lambda: self._rocketmq.stop_broker(broker))

    def restart_broker(self, broker: str | None = None) -> None:
        self._loop.wait(lambda: self._rocketmq.restart_broker(broker))

    def kill_nameserver(self, number: int = 0) -> None:
        self._loop.wait(lambda: self._rocketmq.kill_nameserver(number))

    def restart_nameserver(self, number: int = 0) -> None:
        self._loop.wait(lambda: self._rocketmq.restart_nameserver(number))

    def partition(self, broker: str | None = None) -> Fault:
        return self._fault(lambda: self._rocketmq.partition(broker))

    def slow(self, seconds: float, broker: str | None = None) -> Fault:
        return self._fault(lambda: self._rocketmq.slow(seconds, broker))

    def disk_full(self, broker: str | None = None) -> Fault:
        return self._fault(lambda: self._rocketmq.disk_full(broker))

    def duplicate(self, times: int = 1, broker: str | None = None) -> None:
        self._loop.call(lambda: self._rocketmq.duplicate(times, broker))

    def _fault(self, begin: Callable[[], Fault]) -> Fault:
        fault = self._loop.call(begin)
        return Fault(lambda: self._loop.call(fault.end))
