"""`broker-trio drill`: prove how soon a cluster recovers, and that nothing acknowledged is lost.

drill list           what there is, and what it takes
drill plan NAME      what it would do here, and whether the guards let it: touches nothing
drill run NAME       on a cluster of `broker-trio up`; exit codes 0 pass, 1 fail, 3 refused, 5
drill report FOLDER  judge a kept folder again
drill observe FOLDER the part that playbooks/drills runs on a fleet
"""

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from broker_trio.cli.access import Target, cluster_options
from broker_trio.cli.output import json_option, print_json, print_table
from broker_trio.ops.drill.catalogue import BY_NAME, DRILLS, Drill, fault_seconds, find, seconds_of

if TYPE_CHECKING:
    from broker_trio.cli.drill.before import Asked

F = TypeVar("F", bound=Callable[..., Any])
EXIT: Final = {"pass": 0, "fail": 1, "inconclusive": 5}


class DrillName(click.ParamType[Drill]):
    """A drill, with dashes or underscores."""

    name = "drill"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Drill:
        if isinstance(value, Drill):
            return value
        found = find(str(value))
        if found is None:
            known = ", ".join(name.replace("_", "-") for name in BY_NAME)
            self.fail(f"no drill {value!r}; there are {known}", param, ctx)
        return found


def asks_first(command: F) -> F:
    """The options of every drill that looks at a cluster, handed over as `asked`."""

    @functools.wraps(command)
    def call(
        *args: object, confirm: str, pair: str, rate: float, steady_s: float, lost_max: int,
        prometheus: str, freeze: tuple[str, ...], send_timeout_s: float, **values: object,
    ) -> object:  # fmt: skip
        from broker_trio.cli.drill.before import Asked  # noqa: PLC0415

        asked = Asked(
            confirm=confirm, pair=pair, rate=rate, steady_s=steady_s, lost_max=lost_max,
            prometheus=prometheus, freeze=freeze, timeout_s=send_timeout_s,
        )  # fmt: skip
        return command(*args, asked=asked, **values)

    options = [
        click.option("--confirm", default="", metavar="CLUSTER", help="Its name: you mean it."),
        click.option("--pair", default="", help="The broker name; needed where there are several."),
        click.option("--rate", type=click.FloatRange(1, 10_000), default=100.0, show_default=True,
                     help="Sends a second throughout."),
        click.option("--steady", "steady_s", type=click.FloatRange(1, 600), default=10.0,
                     show_default=True, help="Seconds without any failure before the fault."),
        click.option("--lost-max", type=click.IntRange(0), default=0, show_default=True,
                     help="So many may be lost, where the mode promises no more."),
        click.option("--send-timeout", "send_timeout_s", type=click.FloatRange(0.1, 60),
                     default=2.0, show_default=True, help="Seconds that a send may take."),
        click.option("--prometheus", default="", metavar="URL", help="No alert of it may fire."),
        click.option("--freeze", multiple=True, metavar="START/END",
                     help="Refuse inside this window (ISO 8601); may be given again."),
    ]  # fmt: skip
    wrapped: Any = cluster_options(call)
    for option in reversed(options):
        wrapped = option(wrapped)
    return cast("F", wrapped)


keep_option = click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Where drills are kept."
)
textfile_option = click.option(
    "--textfile", type=click.Path(file_okay=False, path_type=Path),
    help="A node exporter's folder: the metrics go there, too.",
)  # fmt: skip
dir_option = click.option(
    "--dir", "folder", type=click.Path(path_type=Path), help="The folder of the `up`."
)


@click.group()
def drill() -> None:
    """Break a cluster on purpose, and prove recovery time and zero loss."""


@drill.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the drills.

    What each proves, how long it takes, where it can be done.
    """
    if as_json:
        print_json([told_of(one) for one in DRILLS])
        return
    rows = [
        (one.name.replace("_", "-"), one.proves, f"{seconds_of(one, 10):.0f} s",
         "fleet" if one.laptop else "laptop, fleet")
        for one in DRILLS
    ]  # fmt: skip
    print_table("", ("drill", "proves that", "about", "where"), rows)


def told_of(one: Drill) -> dict[str, Any]:
    """A drill for programs, playbooks among them."""
    return {
        "name": one.name,
        "title": one.title,
        "proves": one.proves,
        "harm": one.harm,
        "revert": one.revert,
        "seconds": seconds_of(one, 10),
        "revert_s": fault_seconds(one),
        "playable": one.playable,
        "laptop": one.laptop,
        "steps": [
            {"do": step.do, "whom": step.whom, "seconds": step.seconds} for step in one.steps
        ],
    }


@drill.command()
@click.argument("what", metavar="DRILL", type=DrillName())
@dir_option
@click.option("--fleet", is_flag=True, help="By a playbook; --dir is where drills are kept.")
@json_option
@asks_first
def plan(
    *, what: Drill, folder: Path | None, fleet: bool, as_json: bool, asked: "Asked",
    nameservers: tuple[str, ...], timeout_s: float,
) -> None:  # fmt: skip
    """Print what a drill would do here.

    And its guards; nothing is touched.
    """
    from broker_trio.cli.drill.plan import refuse, show_plan  # noqa: PLC0415
    from broker_trio.cli.drill.session import look_before  # noqa: PLC0415

    run, guards = look_before(what, Target(nameservers, timeout_s), folder, asked, fleet=fleet)
    if as_json:
        print_json({"drill": told_of(what), "run": run, "guards": guards})
    else:
        show_plan(what, run, guards)
    refuse(what, guards)


@drill.command()
@click.argument("what", metavar="[DRILL]", type=DrillName(), required=False)
@dir_option
@keep_option
@textfile_option
@click.option("--human", is_flag=True, help="You are drilled: the cause is hidden, time is taken.")
@click.option("--grafana", default="", metavar="URL", help="Where an annotation goes.")
@click.option("--grafana-token", "token", type=click.Path(path_type=Path), help="A file.")
@json_option
@asks_first
def run(
    *, what: Drill | None, folder: Path | None, keep: Path | None, textfile: Path | None,
    human: bool, grafana: str, token: Path | None, as_json: bool, asked: "Asked",
    nameservers: tuple[str, ...], timeout_s: float,
) -> None:  # fmt: skip
    """Carry a drill out on a cluster of `broker-trio up`.

    \b
    Exit codes: 0 pass, 1 fail, 3 refused by a guard, 5 inconclusive.
    """
    from broker_trio.cli.drill.session import Session  # noqa: PLC0415

    if what is None:
        if not human:
            raise click.UsageError("which drill? broker-trio drill list")
        what = random.SystemRandom().choice(playable())
    if bool(grafana) != (token is not None):
        raise click.UsageError("--grafana and --grafana-token go together")
    if human and what not in playable():
        raise click.UsageError(f"{what.name} leaves a person nothing to do")
    session = Session(what, Target(nameservers, timeout_s), asked, human=human)
    made = session.run(folder, keep, textfile, (grafana, token) if token else None)
    if as_json:
        print_json(made)
    else:
        show_result(made)
    click.get_current_context().exit(EXIT[made["verdict"]])


def playable() -> list[Drill]:
    """Those where a person has something to do, on a laptop."""
    return [one for one in DRILLS if not one.laptop and one.playable]


def show_result(made: dict[str, Any]) -> None:
    """Figures, then reasons, then the verdict and where the report is."""

    def told(key: str) -> str:
        return "–" if made[key] is None else f"{made[key]:.2f} s"

    click.echo(
        f"acknowledged {made['acknowledged']:,}, lost {made['lost']}, stored twice "
        f"{made['duplicated']}, out of order {made['out_of_order']}, refused {made['failed']}, "
        f"unknown {made['unknown']}"
    )
    click.echo(f"fault to lasting success (RTO) {told('rto_s')}, longest gap {told('gap_s')}")
    for reason in made["reasons"]:
        click.echo(f"  {reason}")
    click.secho(made["verdict"].upper(), bold=True)
    click.echo(f"{made['folder']}/report.html")


@drill.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@textfile_option
@json_option
def report(*, folder: Path, textfile: Path | None, as_json: bool) -> None:
    """Judge a kept folder again, and write its report anew.

    \b
    Exit codes: 0 pass, 1 fail, 5 inconclusive.
    """
    from broker_trio.cli.drill.folders import write_metrics, write_report  # noqa: PLC0415

    made = write_report(folder) | {"folder": str(folder)}
    write_metrics(folder.absolute().parent, textfile, made["run"]["cluster"])
    if as_json:
        print_json(made)
    else:
        show_result(made)
    click.get_current_context().exit(EXIT[made["verdict"]])


@drill.command()
@click.argument("what", metavar="DRILL", type=DrillName())
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@textfile_option
@click.option("--human", is_flag=True, help="A person recovers it.")
@click.option(
    "--most",
    "most_s",
    type=click.FloatRange(1, 86_400),
    default=3_600.0,
    show_default=True,
    help="Seconds; then it ends by itself, inconclusive.",
)
@asks_first
def observe(
    *, what: Drill, folder: Path, textfile: Path | None, human: bool, most_s: float,
    asked: "Asked", nameservers: tuple[str, ...], timeout_s: float,
) -> None:  # fmt: skip
    """Watch somebody else's drill, then judge it.

    Until SIGTERM. It checks the guards, writes and samples, and notes when the pair is whole
    after a mark `healed`. Others append their marks to FOLDER/marks.jsonl.
    """
    from broker_trio.cli.drill.session import Session  # noqa: PLC0415

    session = Session(what, Target(nameservers, timeout_s), asked, human=human)
    made = session.observe(folder, textfile, most_s)
    print_json(made)
    click.get_current_context().exit(EXIT[made["verdict"]])
