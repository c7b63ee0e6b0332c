"""One drill from the first look to the report: what `drill run` and `drill observe` share.

lock ─▶ look, guards ─▶ folder ─▶ topic ─▶ conduct │ wait for SIGTERM ─▶ read back ─▶ report
"""

import functools
import signal
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import click
import msgspec
import trio

from broker_trio.cli.access import Cluster, Target
from broker_trio.cli.access import run as run_cluster
from broker_trio.cli.connected import run_connected
from broker_trio.cli.drill import folders, laptop
from broker_trio.cli.drill.before import TOPIC, Asked, before
from broker_trio.cli.drill.conduct import Conductor
from broker_trio.cli.drill.human import Game
from broker_trio.cli.drill.observe import Observer, plan_of
from broker_trio.cli.drill.plan import refuse, show_plan
from broker_trio.cli.drill.waiting import until
from broker_trio.cli.drill.web import annotate
from broker_trio.cli.failures import GuardRefused
from broker_trio.model.errors import BrokerTrioError
from broker_trio.model.topic import TopicConfig
from broker_trio.ops.drill.catalogue import Drill
from broker_trio.ops.drill.records import Guard, Run
from broker_trio.ops.drill.state import beyond_plan
from broker_trio.ops.ledger.through_client import options_of

if TYPE_CHECKING:
    from broker_trio.client.connect import Client

QUEUES: Final = 4
WHOLE_S: Final = 120.0  # so long restoration is waited for where nobody ends the watching
LOOK_S: Final = 0.2
STEADY_SHARE: Final = 0.8  # of the steady time lies between two acknowledgements at least
READ_S: Final = 120.0


def look_before(
    what: Drill, target: Target, folder: Path | None, asked: Asked, *, fleet: bool = False
) -> tuple[Run, list[Guard]]:
    """The plan on this laptop, or on a fleet whose drills are kept in `folder`.

    Raises `Failure`, and on a laptop `GuardRefused` for a fault that needs root.
    """
    if not fleet:
        folder, target = found_here(what, target, folder)
    lock = folder / "drill.lock" if folder is not None and folder.is_dir() else None
    with folders.alone(lock) if lock else nullcontext("") as running:
        asked = replace(
            asked, running=running, nameservers=target.nameservers,
            where="fleet" if fleet else asked.where,
        )  # fmt: skip
        return run_cluster(target, lambda cluster: before(cluster, what, asked))


def found_here(what: Drill, target: Target, folder: Path | None) -> tuple[Path, Target]:
    """The folder of the `up` that is meant and its nameservers, whatever was said.

    Raises `Failure` where there is none, `GuardRefused` for a fault that needs root.
    """
    if what.laptop:
        raise GuardRefused(f"{what.title}: {what.laptop}", "broker-trio drill list")
    home = laptop.find_home(folder, target.nameservers)
    found = [c for c in laptop.children() if c.folder.parent == home and c.kind == "nameserver"]
    return home, replace(target, nameservers=tuple(sorted((c.who for c in found), key=port_of)))


def port_of(address: str) -> tuple[int, str]:
    """Addresses in the order of their ports."""
    return int(address.rpartition(":")[2]), address


@final
class Session:
    """What both ways of being drilled have in common."""

    def __init__(self, what: Drill, target: Target, asked: Asked, *, human: bool) -> None:
        self._what, self._target, self._human = what, target, human
        self._asked = replace(asked, human=human)

    def say(self, text: str) -> None:
        """A line for whoever follows."""
        click.echo(text, err=True)

    # -- on a laptop -----------------------------------------------------------------------------

    def run(
        self, folder: Path | None, keep: Path | None, textfile: Path | None,
        grafana: tuple[str, Path] | None,
    ) -> dict[str, Any]:  # fmt: skip
        """The whole drill. Raises `Failure`; the document of its report."""
        what = self._what
        home, self._target = found_here(what, self._target, folder)
        keep = keep or folders.default_keep()
        with folders.alone(home / "drill.lock") as running:
            run = self._checked(running)
            made = folders.make_folder(keep, run)
            stage = laptop.Laptop(home, run)
            game = Game(what, self.say) if self._human else None

            async def conduct(observer: Observer) -> None:
                await Conductor(what, observer, stage, self.say, game).run()

            document = self._drilled(run, made, keep, textfile, conduct)
        if grafana is not None:
            annotate(*grafana, document["annotation"])
        return document

    # -- on a fleet ------------------------------------------------------------------------------

    def observe(self, folder: Path, textfile: Path | None, most_s: float) -> dict[str, Any]:
        """Watch until SIGTERM, or so long. Raises `Failure`; the document of its report."""
        self._asked = replace(self._asked, where="fleet")
        with folders.alone(folder.parent / "drill.lock") as running:
            run = msgspec.structs.replace(self._checked(running), run=folder.name)
            made = folders.make_folder(folder.parent, run)
            until_asked = functools.partial(self._until_asked, most_s)
            return self._drilled(run, made, folder.parent, textfile, until_asked)

    async def _until_asked(self, most_s: float, observer: Observer) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with observer.watching():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._note_steady, observer)
                    nursery.start_soon(self._note_whole, observer)
                    nursery.start_soon(self._note_harm, observer)
                    if self._human:
                        nursery.start_soon(self._follow_person, observer)
                    with trio.move_on_after(most_s) as patience:
                        await anext(signals)
                    if patience.cancelled_caught:
                        await end_alone(most_s, observer)
                    nursery.cancel_scope.cancel()

    async def _note_steady(self, observer: Observer) -> None:
        """`steady` when sends go well, again after each that does not; `ready` when it lasted."""
        await until(lambda: observer.acknowledged, LOOK_S)
        seconds = observer.run.steady_s
        while True:
            failed = observer.failed
            observer.mark("steady")
            await trio.sleep(seconds)
            if observer.failed == failed and observer.quiet_s() >= STEADY_SHARE * seconds:
                break
        observer.mark("ready")

    async def _note_harm(self, observer: Observer) -> None:
        """`beyond` once there is more harm than planned."""
        run, clock, text = observer.run, observer.clock, ""
        while not text:
            await trio.sleep(LOOK_S)
            text = beyond_plan(self._what, run, observer.heard, clock.wall_ms())
        observer.mark("beyond", text)

    async def _note_whole(self, observer: Observer) -> None:
        """`whole` once the pair is, after each mark that waits for it."""
        noted = 0
        while True:
            await trio.sleep(LOOK_S)
            healed = [m.at_ms for m in observer.marks() if m.name in {"healed", "awaited"}]
            if healed and healed[-1] > noted and not observer.why_not_whole(healed[-1]):
                observer.mark("whole")
                noted = healed[-1]

    async def _follow_person(self, observer: Observer) -> None:
        """Somebody else broke it: note the first act, and when sends go well; hints by the minute.

        `served` is noted once sends went well again after the fault; `given_up` if never.
        """
        await until(lambda: any(mark.name == "fault" for mark in observer.marks()), LOOK_S)
        fault, game = observer.mark("game"), Game(self._what, self.say)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(game.write_hints, observer.folder / "hints.txt")
            served = await game.played(observer, fault)
            nursery.cancel_scope.cancel()
        observer.mark("served" if served else "given_up")

    # -- both ------------------------------------------------------------------------------------

    def _checked(self, running: str) -> Run:
        """Look, show the plan, refuse. Raises `Failure`."""
        asked = replace(self._asked, running=running, nameservers=self._target.nameservers)
        run, guards = run_cluster(self._target, lambda cluster: before(cluster, self._what, asked))
        show_plan(self._what, run, guards, hidden=self._human)
        refuse(self._what, guards)
        return run

    def _drilled(
        self, run: Run, folder: Path, keep: Path, textfile: Path | None,
        conduct: Callable[[Observer], Awaitable[None]],
    ) -> dict[str, Any]:  # fmt: skip
        """Topic, watching, reading back, report."""

        async def work(mq: "Client") -> None:
            config = TopicConfig(TOPIC, QUEUES, QUEUES)
            cluster = Cluster(mq.session.calls, mq.session.nameservers)
            await cluster.admin.topics.put(config, "", run.pair)
            observer = Observer(mq, run, folder, self._asked.prometheus)
            try:
                await conduct(observer)
                with trio.move_on_after(READ_S):
                    await read_back(observer)
            finally:
                observer.close()

        folders.write_metrics(keep, textfile, run.cluster, (run.drill, "running"))
        try:
            run_connected(self._target, work, options_of(plan_of(run), run.timeout_s), sends=True)
        finally:
            document = folders.write_report(folder) | {"folder": str(folder)}
            folders.write_metrics(keep, textfile, run.cluster)
        return document


async def end_alone(most_s: float, observer: Observer) -> None:
    """Nobody ended it: the hosts have healed themselves by now, which is looked at."""
    observer.mark("aborted", f"nobody ended it in {most_s:g} s; hosts heal by their timers")
    await observer.note_whole(observer.mark("awaited"), WHOLE_S)


async def read_back(observer: Observer) -> None:
    """What cannot be read is noted: the verdict then says what is not proved."""
    try:
        await observer.read_back()
    except BrokerTrioError as error:
        observer.mark("not_read", str(error))
