"""A simulated world: machines with a disk, a clock and a network card, and processes that die.

    world = World(seed, nursery)                    usually made by `simulate`
    node = world.node("a", main)                    `async def main(node)` is the program
    node.start()
    node.kill(power=True); await node.restart()     the disk stays, as far as it survived

A process ends when `main` returns or raises, when somebody kills it, or when its disk reaches an
armed operation. Its seams die *first*, so no `finally` of the dying program can flush, delete or
say goodbye; then its tasks are cancelled. What they raise while dying is nobody's business.

Chance: `world.rng(name)` gives each purpose a stream of its own, so that drawing once more for one
of them changes no other. `world.log` feeds a hash: equal seeds must give equal hashes. Log what
happened, never an `id`, a `repr` of an object, or the order of a set.

`world.struck` lists the faults with the virtual time of each: deaths, cuts and disk errors by
themselves, everything else by `world.strike`, until the world is calm again.
"""

import errno
import hashlib
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, final

import trio

from broker_trio.runtime.seams import Entropy
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.promises import Cells
from broker_trio.testing.sim_clock import SimClock
from broker_trio.testing.sim_disk import SimDisk
from broker_trio.testing.sim_network import SimHost, SimNetwork

TAIL_MAX: Final = 200  # events kept to be shown beside a failure
STRUCK_MAX: Final = 10_000
TOLD_BY_TRACE: Final = {
    "net.cut": "cut",
    "net.cut_one_way": "cut one way",
    "net.stall": "stall",
    "net.reset": "reset",
}


class Struck(NamedTuple):
    """A fault: `at_s` is virtual time. `times`: so often in a row."""

    at_s: float
    what: str
    where: str
    times: int = 1


@final
class World:
    """Everything that one seed decides."""

    def __init__(self, seed: int, nursery: trio.Nursery) -> None:
        self.seed, self.nursery = seed, nursery
        self.events = 0
        self.tail: deque[tuple[object, ...]] = deque(maxlen=TAIL_MAX)
        self.nodes: dict[str, Node] = {}
        self.struck: list[Struck] = []
        self.cells: Cells | None = None  # which cells of the promises this run reaches
        self.calm = False  # from now on ends and kills belong to the judging
        self.network = SimNetwork(self.rng("network"), trace=self._of_network)
        self._trace, self._digested = hashlib.sha256(), 0
        self._now = trio.lowlevel.current_clock().current_time

    def rng(self, name: str) -> Entropy:
        """A stream of chance for one purpose; the same name gives the same stream again."""
        return random.Random(f"{self.seed}/{name}")

    def log(self, *what: object) -> None:
        """Add an event to the trace: plain values only."""
        self.tail.append((self._now(), *what))
        self.events += 1
        if self.events % TAIL_MAX == 0:
            self._digest()

    def _digest(self) -> None:
        """Feed the hash with what it does not know; all of it is still in the tail."""
        new = self.events - self._digested
        self._trace.update(repr(list(self.tail)[-new:] if new else []).encode())
        self._digested = self.events

    def strike(self, what: str, where: str) -> None:
        """Write down a fault that begins or hits now; what is told twice at once is one."""
        if self.cells is not None and not self.calm:
            self.cells.struck(what, where)
        new = Struck(round(trio.current_time(), 6), what, where)
        if not self.calm and len(self.struck) < STRUCK_MAX and new not in self.struck[-1:]:
            self.struck.append(new)

    def _of_network(self, what: str, *where: object) -> None:
        self.log(what, *where)
        if what in TOLD_BY_TRACE:
            one, other, *seconds = where
            arrow = "→" if what == "net.cut_one_way" else "–"
            lasts = "".join(f", {each} s" for each in seconds)
            self.strike(TOLD_BY_TRACE[what], f"{one} {arrow} {other}{lasts}")

    def of_disk(self, what: str, *where: object) -> None:
        """What a disk tells of itself."""
        self.log(what, *where)
        if what == "disk.error":
            name, kind, path, number = map(str, where)
            what = f"{errno.errorcode[int(number)]} at {kind}"
            self._strike_again(what, f"{name}{path.partition('/')[0]}")

    def _strike_again(self, what: str, where: str) -> None:
        """As `strike`; a disk that is full says so to each of a thousand writes: one line."""
        last = self.struck[-1] if self.struck else None
        if last is None or (last.what, last.where) != (what, where):
            self.strike(what, where)
        elif not self.calm:
            self.struck[-1] = last._replace(times=last.times + 1)

    @property
    def trace(self) -> str:
        self._digest()
        return self._trace.hexdigest()

    def node(
        self,
        name: str,
        main: "Callable[[Node], Awaitable[object]]",
        *,
        tolerates: tuple[type[Exception], ...] = (),
    ) -> "Node":
        """A machine, off. `tolerates`: what may end its program without failing the run."""
        assert name not in self.nodes, f"two machines called {name}"
        node = self.nodes[name] = Node(self, name, main, tolerates)
        return node

    def power_loss(self) -> None:
        """All machines at once."""
        for node in self.nodes.values():
            node.kill(power=True)


@final
class Node:
    """One machine and the process on it. `network`, `entropy` and `stopping` are the process's."""

    def __init__(
        self,
        world: World,
        name: str,
        main: "Callable[[Node], Awaitable[object]]",
        tolerates: tuple[type[Exception], ...],
    ) -> None:
        self.world, self.name = world, name
        self.clock = SimClock()
        self.disk = SimDisk(
            world.rng(f"disk/{name}"), clock=self.clock, name=name, trace=world.of_disk
        )
        self.disk.on_crash = self._crashed
        self.starts = 0
        self.network: SimHost = world.network.host(name)
        self.entropy: Entropy = world.rng(f"entropy/{name}")
        self.stopping = trio.Event()  # asks the program to end cleanly
        self.crash: BaseException | None = None  # what ended it, where tolerated
        self._main, self._tolerates = main, tolerates
        self._stopped = trio.Event()
        self._stopped.set()
        self._scope = trio.CancelScope()
        self._killed = False

    @property
    def running(self) -> bool:
        return not self._stopped.is_set()

    @property
    def alive(self) -> bool:
        """Whether it runs and nobody has killed it."""
        return self.running and not self._killed

    def start(self) -> None:
        """Power on if need be, and start the program. Only where none runs."""
        assert not self.running, f"{self.name} runs already"
        self.starts += 1
        self.disk.restart()  # a new disk is up: this is its first crash, of nobody
        self._stopped, self.stopping = trio.Event(), trio.Event()
        self._scope, self._killed, self.crash = trio.CancelScope(), False, None
        self.entropy = self.world.rng(f"entropy/{self.name}/{self.starts}")
        self.network = self.world.network.boot(self.name)
        self.world.log("node.start", self.name, self.starts)
        self.world.nursery.start_soon(self._live, name=f"node {self.name}")

    async def _live(self) -> None:
        stopped = self._stopped
        try:
            with self._scope:
                await self._main(self)
        except BaseException as error:
            if not self._ended_by(error):
                if self._killed:  # and cancelled with the world: only that goes on
                    raise cancelled_part(error) from None
                raise
        finally:
            if not self._killed:
                self._killed = True  # by nobody: it ended
                self.kill()
            self.world.log("node.end", self.name)
            stopped.set()

    def _ended_by(self, error: BaseException) -> bool:
        """Whether the run goes on: a death, or a crash that the scenario expects."""
        leaves = _leaves(error)
        if any(isinstance(leaf, trio.Cancelled) for leaf in leaves):
            return False  # the whole world ends, not this node
        if self._killed or any(isinstance(leaf, Dead) for leaf in leaves):
            return True
        if all(isinstance(leaf, self._tolerates) for leaf in leaves):
            self.crash = error
            self.world.strike(f"ended by {type(leaves[0]).__name__}", self.name)
            self.world.log("node.crash", self.name, *(type(leaf).__name__ for leaf in leaves))
            return True
        return False

    def kill(self, *, power: bool = False) -> None:
        """kill -9, or with `power` the machine. Power may also go while no process runs."""
        self.disk.crash(power=power)

    def _crashed(self, power: bool) -> None:
        """The disk went down, by `kill` or by an armed fault: so does the rest, seams first."""
        if power or (self.running and not self._killed):  # else it is the end of nobody
            self.world.strike("power off" if power else "kill -9", self.name)
        self.world.network.kill(self.name, power=power)
        self._killed = True
        self._scope.cancel()

    async def stopped(self) -> None:
        """Wait until its process has ended."""
        await self._stopped.wait()

    async def stop(self) -> None:
        """Ask the program to end (`node.stopping`) and wait until it has."""
        self.world.strike("stopped", self.name)
        self.stopping.set()
        await self.stopped()

    async def restart(self, *, power: bool = False) -> None:
        """Kill, wait until it is dead, start again."""
        self.kill(power=power)
        await self.stopped()
        self.start()


def cancelled_part(error: BaseException) -> BaseException:
    """What Trio needs to see again of an error that holds a cancellation; the rest is dropped."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    part = error.subgroup(trio.Cancelled)
    assert part is not None, "nothing was cancelled"
    return part


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
