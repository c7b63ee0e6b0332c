"""One nameserver or broker inside a test's process: started, killed and started again.

    start ──▶ run ──▶ ready ───┬──▶ kill: seams die, then the tasks ──▶ stopped ──▶ start …
                               └──▶ stop: in order, as after SIGTERM ──▶ stopped ──▶ start …

As in the simulator (world.py), the seams die *first*, so that no `finally` of a killed program can
flush or say goodbye. What it raises while dying is nobody's business; what it raises otherwise ends
the test.
"""

from collections.abc import Callable
from typing import Final, final

import trio

from broker_trio.testing.folder_disk import FolderDisk
from broker_trio.testing.loopback import Loopback
from broker_trio.testing.shape import App, NotRunning
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.testing.world import cancelled_part

READY_S: Final = 10.0


@final
class Program:
    """A program on a disk and a loopback card of its own."""

    def __init__(
        self,
        name: str,
        disk: SimDisk | FolderDisk,
        build: Callable[["Program"], App],
        serving: Callable[[App], None],
    ) -> None:
        """`build` makes the app over `disk` and `network`; `serving` is told when it serves."""
        self.name, self.disk = name, disk
        self.network = Loopback()
        self.address = self.network.reserve()
        self._app: App | None = None
        self._build, self._serving = build, serving
        self._stopping, self._stopped, self._ready = trio.Event(), trio.Event(), trio.Event()
        self._stopped.set()
        self._scope = trio.CancelScope()
        self._killed = False

    @property
    def app(self) -> App:
        """The app that serves now. Raises `NotRunning`."""
        if self._app is None or not self.running:
            raise NotRunning(self.name)
        return self._app

    @property
    def running(self) -> bool:
        return self._ready.is_set() and not self._stopped.is_set()

    async def start(self, nursery: trio.Nursery) -> None:
        """Start it and wait until it serves. Raises `RuntimeError` where it runs already."""
        if not self._stopped.is_set():
            raise RuntimeError(f"{self.name} runs already")
        self._stopping, self._stopped, self._ready = trio.Event(), trio.Event(), trio.Event()
        self._scope, self._killed = trio.CancelScope(), False
        self.disk.restart()
        self.network.boot()
        nursery.start_soon(self._live, name=f"rocketmq {self.name}")
        with trio.fail_after(READY_S):
            await self._ready.wait()

    async def _live(self) -> None:
        try:
            with self._scope:
                await self._run()
        except BaseException as error:
            if not self._killed:
                raise
            if _cancelled(error):  # with the whole test: that goes on, its own last words do not
                raise cancelled_part(error) from None
        finally:
            self._die()
            self._stopped.set()
            self._ready.set()  # whoever waits for it must not wait for ever

    async def _run(self) -> None:
        app = self._app = self._build(self)
        async with trio.open_nursery() as nursery:
            await nursery.start(app.run, self._stopping)
            self._serving(app)
            self._ready.set()

    def _die(self, *, power: bool = False) -> None:
        if isinstance(self.disk, SimDisk):
            self.disk.crash(power=power)
        else:
            self.disk.crash()
        self.network.kill()
        self.network.heal()

    async def kill(self, *, power: bool = False) -> None:
        """kill -9, or with `power` the machine: what was not flushed is lost in part or whole.

        Returns when nothing of it runs any more. Harmless where it is down.
        """
        if power and not isinstance(self.disk, SimDisk):
            raise ValueError("power=True needs a disk in memory: the kernel keeps real files")
        self._killed = True
        self._die(power=power)
        self._scope.cancel()
        await self._stopped.wait()

    async def stop(self) -> None:
        """As SIGTERM: it says goodbye, and brings everything to the disk."""
        self._stopping.set()
        await self._stopped.wait()


def _cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled)
