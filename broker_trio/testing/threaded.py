"""The embedded cluster on a loop in a thread of its own: for asyncio tests, and for plain ones.

    with open_threaded() as rocketmq:          real network and clock
        rocketmq.kill_broker()                 every method is a plain call; it returns when done

        ┌──── the test's thread ────┐      ┌──────── a Trio loop ────────┐
        │ asyncio, or none at all   │ ───▶ │ nameserver, broker, faults  │
        └───────────────────────────┘      └─────────────────────────────┘

A call waits for the other loop, some milliseconds at most. Where the test has a Trio loop of its
own, `open_embedded` needs no thread.
"""

import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar, Unpack, final

import trio

from broker_trio.client.connect import Client, connect
from broker_trio.client.options import OptionNames
from broker_trio.client.received import Received
from broker_trio.testing.embedded import open_embedded
from broker_trio.testing.rocketmq import RocketMQ
from broker_trio.testing.shape import Fault, Options

STARTED_S: Final = 30.0
STOPPED_S: Final = 30.0
T = TypeVar("T")


@contextmanager
def open_threaded(options: Options | None = None) -> "Iterator[ThreadedRocketMQ]":
    """A cluster that runs inside the block. At its end everything is killed.

    Raises what ended the loop, where that was not us. Its caller's own loop, if any, stands still
    for some milliseconds while it starts.
    """
    loop = _Loop(options or Options())
    loop.start()
    try:
        assert loop.rocketmq is not None
        yield ThreadedRocketMQ(loop, loop.rocketmq)
    finally:
        loop.stop()


@final
class _Loop:
    """The thread and what is in it. Calls come from any other thread, be there a loop or none."""

    def __init__(self, options: Options) -> None:
        self.rocketmq: RocketMQ | None = None
        self._options = options
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._calls: set[Future[Any]] = set()  # not answered yet
        self._started = threading.Event()
        self._error: BaseException | None = None
        # A daemon: an interpreter that is leaving must not wait for a cluster.
        self._thread = threading.Thread(target=self._run, name="rocketmq", daemon=True)

    def start(self) -> None:
        """Returns when everything serves. Raises what kept it from that."""
        self._thread.start()
        if not self._started.wait(STARTED_S):
            raise TimeoutError(f"the embedded cluster did not start within {STARTED_S:g} s")
        self._raise_error()

    def stop(self) -> None:
        """Kill everything and wait for the thread. Raises what had ended it before."""
        with suppress(trio.RunFinishedError):
            self._soon(self._cancel)
        self._thread.join(STOPPED_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the embedded cluster did not stop within {STOPPED_S:g} s")
        self._raise_error()

    def _cancel(self) -> None:
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

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
            for call in list(self._calls):
                call.cancel()

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with (
            open_embedded(self._options) as self.rocketmq,
            trio.open_nursery() as self._nursery,
        ):
            self._started.set()
            await trio.sleep_forever()

    def _soon(self, work: Callable[[], None]) -> None:
        """Do it on the loop. Raises `RunFinishedError` where that has ended."""
        assert self._token is not None
        self._token.run_sync_soon(work)

    def wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run something on the loop; returns what it returned, raises what it raised.

        Raises what ended the loop, where it has ended.
        """
        call: Future[T] = Future()
        self._calls.add(call)
        try:
            self._soon(partial(self._begin, work, call))
            return call.result()
        except (trio.RunFinishedError, CancelledError):
            self._thread.join(STOPPED_S)
            self._raise_error()
            raise RuntimeError("the embedded cluster has ended") from None
        finally:
            self._calls.discard(call)

    def _begin(self, work: Callable[[], Awaitable[T]], call: "Future[T]") -> None:
        assert self._nursery is not None
        self._nursery.start_soon(_answer, work, call)

    def call(self, work: Callable[[], T]) -> T:
        """The same for what does not wait."""

        async def at_once() -> T:
            await trio.lowlevel.checkpoint()
            return work()

        return self.wait(at_once)


async def _answer(work: Callable[[], Awaitable[T]], call: "Future[T]") -> None:
    try:
        result = await work()
    except Exception as error:  # noqa: BLE001 -- it is the caller's
        call.set_exception(error)
    else:
        call.set_result(result)


@final
class ThreadedRocketMQ:
    """A running cluster. The same methods as `RocketMQ`, and every one is a plain call."""

    def __init__(self, loop: _Loop, rocketmq: RocketMQ) -> None:
        self._loop, self._rocketmq = loop, rocketmq
        self.options = rocketmq.options
        self.address, self.nameserver = rocketmq.address, rocketmq.nameserver
        self.addresses, self.nameservers = rocketmq.addresses, rocketmq.nameservers
        self.url = rocketmq.url

    def connect(self, **options: Unpack[OptionNames]) -> Client:
        """`broker_trio.connect(rocketmq.url, …)`, for the loop of the test. A test without one
        uses `broker_trio.client.blocking.connect(rocketmq.url)`.
        """
        return connect(self.nameservers, **options)

    def messages(self, topic: str, *, broker: str | None = None) -> list[Received]:
        return self._loop.call(lambda: self._rocketmq.messages(topic, broker=broker))

    def dead_letters(self, group: str) -> list[Received]:
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
