"""The table of docs/operating/promises.md, cell by cell: a fault, and what is refused how long.

    seed % 48 = 8 × row + column      rows D, C, B, A, D degraded, C degraded; columns as there

Each run brings a pair into its row, strikes once, and looks at what the cell says of refusals and
times: from when on nothing is acknowledged, until when, by whose order, and that nothing is refused
where nothing should be. What is lost the checkers of every run find. Who comes back, which way a
cable is cut, whether one machine loses power or both: the seed draws it.
"""

import errno
from collections.abc import Awaitable, Callable
from typing import Final, final

import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.testing import promises
from broker_trio.testing.checkers.verdict import Verdict, Violation
from broker_trio.testing.cluster.cluster import Plant, sound
from broker_trio.testing.cluster.history import Outcome, Sent
from broker_trio.testing.cluster.pair_operator import HOST, RISK
from broker_trio.testing.disk_faults import Kind
from broker_trio.testing.scenarios.pair import Run, trouble
from broker_trio.testing.world import World

LEASE_S: Final = 6.0
WAIT_S: Final = 7.12  # a lease, 2 %, a heartbeat
SLAVE_TIMEOUT_S: Final = 3.0
SLACK_S: Final = 1.5  # for questions, routes, and a client's next attempt
BACK_S: Final = 15.0  # a start, its record, and the clients
DISK_KINDS: Final[tuple[Kind, ...]] = ("flush", "write")
ROWS: Final = ("D", "C", "B", "A", "D degraded", "C degraded")


async def pair_promises(world: World, *, plant: Plant = sound) -> Verdict:
    """Each cell of the promises: one fault, what is refused, for how long, and what is lost."""
    row, column = divmod(world.seed % (len(ROWS) * len(promises.FAULTS)), len(promises.FAULTS))
    fault = promises.FAULTS[column]
    world.log("cell", ROWS[row], fault)
    async with trouble(world, plant, letters=ROWS[row][0], on_call=False, light=True) as run:
        cell = Cell(run, degraded="degraded" in ROWS[row])
        if cell.degraded:
            await cell.degrade()
        await COURSES[fault](cell)
    return run.verdict


@final
class Cell:
    """One run: who is master, what is tried, and what is claimed of it."""

    def __init__(self, run: Run, *, degraded: bool) -> None:
        self.run, self.pair, self.rng = run, run.pair, run.rng
        self.network, self.operator = run.world.network, run.operator
        self.degraded, self.two = degraded, run.mode.copies == 2 and not degraded
        self.master = run.master()
        self.slave = self.pair.other(self.master)

    # ---- what is claimed

    def claim(self, holds: object, what: str) -> None:
        if not holds:
            raise Violation("I19", f"{self.run.mode.letter}, degraded {self.degraded}: {what}")

    def _since(self, since: float) -> list[Sent]:
        """Attempts that began and ended since then. A body that is too large proves nothing."""
        left_out = {Outcome.PENDING, Outcome.NOT_SENT}
        return [
            one
            for one in self.pair.history.sent
            if one.began >= since
            and one.outcome not in left_out
            and one.code != ResponseCode.MESSAGE_ILLEGAL
        ]

    async def nothing_refused(self, seconds: float) -> None:
        """Every attempt from now on is acknowledged."""
        since = trio.current_time()
        await trio.sleep(seconds)
        sent = self._since(since)
        bad = [one for one in sent if one.outcome is not Outcome.ACKED]
        self.claim(not bad, f"refused within {seconds:g} s: {shown(bad)}")
        self.claim(len(sent) > seconds, f"{len(sent)} attempts within {seconds:g} s")

    async def writes(self, name: str, within_s: float, *, least_s: float = 0.0) -> None:
        """That replica acknowledges within so many seconds from now, and not before the least."""
        begun = trio.current_time()
        with trio.move_on_after(within_s):
            while self.pair.owner() != name:  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(0.01)
        took = trio.current_time() - begun
        self.claim(self.pair.owner() == name, f"{name} does not write after {within_s:g} s")
        self.claim(took >= least_s, f"{name} wrote after {took:.3f} s, not {least_s:g}")

    async def acknowledged(self, within_s: float = BACK_S) -> None:
        """Some attempt from now on is."""
        begun = trio.current_time()
        with trio.move_on_after(within_s):
            while not any(one.outcome is Outcome.ACKED for one in self._since(begun)):  # noqa: ASYNC110
                await trio.sleep(0.05)
        done = [one for one in self._since(begun) if one.outcome is Outcome.ACKED]
        last = [one.reason for one in self._since(begun)][-1:]
        self.claim(done, f"nothing acknowledged within {within_s:g} s; the last: {last}")

    async def never_writes(self, name: str, seconds: float) -> None:
        """Whatever it was told, this replica acknowledges nothing."""
        until = trio.current_time() + seconds
        while trio.current_time() < until:
            self.claim(self.pair.owner() != name, f"{name} writes")
            await trio.sleep(0.05)

    async def refused_after_a_lease(self) -> None:
        """Acknowledged until the lease ends, a beat before that at most; then refused."""
        cut = trio.current_time()
        await self.nothing_refused(LEASE_S - SLACK_S)
        with trio.move_on_after(2 * SLACK_S):
            while self.pair.owner() == self.master:  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(0.01)
        took = trio.current_time() - cut
        self.claim(took <= LEASE_S + 0.1, f"it wrote {took:.2f} s after its last nameserver")
        await self._refused("no lease")

    async def refused_without_slave(self) -> None:
        """Nothing is acknowledged; from the timeout on nothing is even appended."""
        lost = trio.current_time()
        await trio.sleep(SLAVE_TIMEOUT_S + SLACK_S)
        late = [one for one in self._since(lost + 0.1) if one.outcome is Outcome.ACKED]
        self.claim(not late, f"acknowledged with one copy: {shown(late)}")
        await self._refused("SLAVE_NOT_AVAILABLE", "no lease")

    async def _refused(self, *reasons: str) -> None:
        """Every attempt of a few seconds, before the append, and with a reason."""
        parts = self.pair.apps[self.master].parts
        assert parts is not None
        since, end = trio.current_time(), parts.store.log.max_offset
        await trio.sleep(2 * SLACK_S)
        sent = self._since(since)
        refused = [one for one in sent if one.outcome is Outcome.REFUSED]
        other = [one for one in refused if not any(each in one.reason for each in reasons)]
        self.claim(sent and len(refused) == len(sent), f"not refused: {shown(sent)}")
        self.claim(not other, f"refused without {' or '.join(reasons)}: {shown(other)}")
        self.claim(parts.store.log.max_offset == end, "refused messages were appended")

    # ---- what happens

    async def degrade(self) -> None:
        """The slave is gone, and the master goes on alone."""
        self.pair.kill(self.slave)
        await self.pair.node(self.slave).stopped()
        await self.operator.order(self.master, "degrade")
        await self.writes(self.master, SLACK_S)
        await self.acknowledged()

    async def learner(self) -> None:
        """In a degraded pair: the slave comes back, and does not count yet."""
        await self.run.up(self.slave)
        with trio.fail_after(BACK_S):
            while not self.pair.follows(self.slave):  # noqa: ASYNC110 -- nobody tells
                await trio.sleep(0.01)

    async def end(self, name: str, *, power: bool) -> None:
        self.pair.kill(name, power=power)
        await self.pair.node(name).stopped()

    def cut(self, *others: str) -> None:
        """The master from those."""
        for other in others:
            self.pair.fault("cut", self.master, other)
            self.network.cut(self.master, other)

    async def promote(self) -> None:
        """The slave becomes master: at once where it holds all, else after a wait."""
        await self.operator.promote(self.slave)
        if self.two:
            await self.writes(self.slave, SLAVE_TIMEOUT_S)
        else:
            await self.writes(self.slave, WAIT_S + SLACK_S)
        await self.acknowledged()

    async def only_by_an_accepted_loss(self) -> None:
        """A degraded master is down: the other one may own only where an operator says so."""
        await self.run.up(self.slave)
        await self.operator.order(self.slave, "promote")
        await self.never_writes(self.slave, WAIT_S + SLACK_S)

    async def accept_loss(self) -> None:
        self.run.world.log("accepted", self.slave)
        self.pair.fault("accept-loss", self.slave)
        await self.operator.order(self.slave, "force", risk=RISK)
        await self.writes(self.slave, WAIT_S + SLACK_S)
        await self.acknowledged()


def shown(sent: list[Sent]) -> str:
    """The last of them, and what it was told."""
    return "".join(f"{one}, {one.code} {one.reason}" for one in sent[-1:])


async def kill(cell: Cell) -> None:
    """Refused until it is back, or until the other one owns."""
    await cell.end(cell.master, power=False)
    await _back_or_promoted(cell)


async def power(cell: Cell) -> None:
    """The same; of both machines at once, too."""
    both = not cell.degraded and cell.rng.random() < 0.5
    await cell.end(cell.master, power=True)
    if cell.degraded and cell.run.mode.letter == "C":
        await cell.only_by_an_accepted_loss()
        await cell.run.up(cell.master)  # it lacks what it answered for: the closing accepts that
        return
    if not both:
        await _back_or_promoted(cell)
        return
    await cell.end(cell.slave, power=True)
    await trio.sleep(SLACK_S)
    for name in cell.pair.broker_names:
        await cell.run.up(name)
    if cell.run.mode.letter != "C":  # there the log may end before what both acknowledged
        await cell.acknowledged()


async def _back_or_promoted(cell: Cell) -> None:
    if cell.degraded:
        await cell.only_by_an_accepted_loss()
    elif cell.rng.random() < 0.5:
        begun = trio.current_time()
        await cell.promote()
        took = trio.current_time() - begun
        cell.claim(cell.two or took >= WAIT_S, f"two masters: it wrote after {took:.3f} s")
    await cell.run.up(cell.master)
    await cell.acknowledged()


async def disk(cell: Cell) -> None:
    """The first error ends the master for good, and its disk is replaced by an empty one."""
    node = cell.pair.node(cell.master)
    kind = cell.rng.choice(DISK_KINDS)
    cell.pair.fault("eio", cell.master, kind, "commitlog")
    node.disk.faults.fail(kind, path="commitlog", number=errno.EIO, times=None)
    with trio.move_on_after(SLAVE_TIMEOUT_S):
        await node.stopped()
    cell.claim(cell.pair.store_failed(cell.master), f"{cell.master} goes on after EIO at {kind}")
    node.disk.faults.clear()
    cell.pair.fault("emptied", cell.master)
    node.disk.put_in(None)
    if cell.degraded:
        await cell.only_by_an_accepted_loss()
        await cell.accept_loss()
    else:
        await cell.promote()
    await cell.run.up(cell.master)
    await cell.acknowledged()


async def slave(cell: Cell) -> None:
    """One copy: nothing refused. Two copies: refused until it is back, or `degrade`."""
    if cell.degraded:
        await cell.learner()
    await cell.end(cell.slave, power=cell.rng.random() < 0.5)
    if cell.two:
        await cell.refused_without_slave()
        await _slave_again(cell)
    else:
        await cell.nothing_refused(LEASE_S)


async def _slave_again(cell: Cell) -> None:
    if cell.rng.random() < 0.5:
        await cell.operator.order(cell.master, "degrade")
        await cell.writes(cell.master, SLACK_S)
        await cell.acknowledged(SLAVE_TIMEOUT_S)
    else:
        cell.network.heal_all()
        await cell.run.up(cell.slave)
        await cell.acknowledged()


async def between(cell: Cell) -> None:
    """The nameservers are the lease; a slave that hears nothing is a lost one."""
    if cell.degraded:
        await cell.learner()
    cell.cut(cell.slave)
    if cell.two:
        await cell.refused_without_slave()
        await _slave_again(cell)
        return
    await cell.nothing_refused(LEASE_S + SLACK_S)
    ends = [cell.pair.running_apps()[name].parts for name in (cell.master, cell.slave)]
    lag = [parts.store.log.max_offset for parts in ends if parts is not None]
    cell.claim(lag[0] > lag[1], f"the lag does not grow: {lag}")


async def nameservers(cell: Cell) -> None:
    """The slave's word is the lease; without one only nameservers can give it."""
    names = cell.rng.sample(cell.pair.nameserver_names, cell.rng.choice((2, 3)))
    cell.cut(*names)
    if cell.degraded:
        await cell.refused_after_a_lease()
    else:
        await cell.nothing_refused(LEASE_S + SLACK_S)


async def both(cell: Cell) -> None:
    """Alone in the world: refused, and the side with the nameservers may own."""
    if cell.degraded:
        await cell.learner()
    cell.cut(cell.slave, *cell.pair.nameserver_names, HOST)
    if cell.two:
        await cell.refused_without_slave()
        await trio.sleep(LEASE_S - SLAVE_TIMEOUT_S)
    else:
        await cell.refused_after_a_lease()
    if cell.degraded:
        await cell.operator.order(cell.slave, "promote")
        await cell.never_writes(cell.slave, WAIT_S + SLACK_S)
    else:
        await cell.promote()


async def clock(cell: Cell) -> None:
    """Leases are measured on another clock."""
    cell.run.delays = False  # what is due follows the wall clock
    for name in (cell.master, *cell.rng.sample(cell.pair.nameserver_names, 1)):
        cell.pair.fault("step", name)
        cell.pair.node(name).clock.step(cell.rng.choice((-3_600_000, 5_000, 86_400_000)))
    await cell.nothing_refused(LEASE_S + SLACK_S)


COURSES: Final[dict[str, Callable[[Cell], Awaitable[None]]]] = {
    promises.KILL: kill,
    promises.POWER: power,
    promises.DISK: disk,
    promises.SLAVE: slave,
    promises.BETWEEN: between,
    promises.NAMESERVERS: nameservers,
    promises.BOTH: both,
    promises.CLOCK: clock,
}
