"""`broker-trio lab cut|lose|limit|stall|kill|fill|clock|poweroff|…`, and `heal`."""

from typing import Final

import click

from broker_trio.cli.lab.faults import Faults
from broker_trio.cli.lab.machines import Lab
from broker_trio.cli.lab.options import lab_option, told
from broker_trio.ops.lab.plan import parse_size, size_text


@click.command()
@click.argument("host")
@click.argument("others", nargs=-1)
@click.option("--one-way", is_flag=True, help="Only what HOST sends vanishes.")
@click.option("--controller", is_flag=True, help="From this machine, too: ssh and Ansible.")
@lab_option
@told
def cut(
    *, host: str, others: tuple[str, ...], one_way: bool, controller: bool, lab_name: str
) -> None:
    """Cut HOST from OTHERS, or from all hosts.

    ssh from here goes on, unless --controller.
    """
    for line in Faults(Lab(lab_name)).cut(host, *others, one_way=one_way, controller=controller):
        click.echo(f"cut {line}")


@click.command()
@click.argument("host")
@click.argument("percent", type=click.IntRange(1, 99))
@click.argument("others", nargs=-1)
@click.option("--one-way", is_flag=True, help="Only of what HOST sends.")
@lab_option
@told
def lose(*, host: str, percent: int, others: tuple[str, ...], one_way: bool, lab_name: str) -> None:
    """Lose PERCENT of the packets from and to HOST.

    Between it and OTHERS, or all hosts.
    """
    Faults(Lab(lab_name)).lose(host, *others, percent=percent, one_way=one_way)


@click.command()
@click.argument("host")
@click.argument("rate")
@lab_option
@told
def limit(*, host: str, rate: str, lab_name: str) -> None:
    """Narrow HOST's link to RATE in both directions.

    10mbit, 512kbit; none: no limit.
    """
    Faults(Lab(lab_name)).limit(host, rate)


@click.command()
@click.argument("host")
@click.option("--unit", default="", help="Only the processes of this unit.")
@lab_option
@told
def stall(*, host: str, unit: str, lab_name: str) -> None:
    """Stop HOST in the middle of what it does.

    `resume` or `heal` lets it go on.
    """
    Faults(Lab(lab_name)).stall(host, unit)


@click.command()
@click.argument("host")
@click.option("--unit", default="", help="Only the processes of this unit.")
@lab_option
@told
def resume(*, host: str, unit: str, lab_name: str) -> None:
    """Let a stalled HOST go on."""
    Faults(Lab(lab_name)).resume(host, unit)


@click.command()
@click.argument("host")
@click.argument("unit")
@lab_option
@told
def kill(*, host: str, unit: str, lab_name: str) -> None:
    """SIGKILL to all processes of HOST's UNIT."""
    Faults(Lab(lab_name)).kill(host, unit)


@click.command()
@click.argument("host")
@click.option("--volume", default="/", show_default=True, help="Which of its file systems.")
@click.option("--leave", default="0", show_default=True, help="Room that stays, such as 1M.")
@lab_option
@told
def fill(*, host: str, volume: str, leave: str, lab_name: str) -> None:
    """Fill a disk of HOST."""
    taken = Faults(Lab(lab_name)).fill(host, volume, parse_size(leave))
    click.echo(f"took {size_text(taken)} of {volume} on {host}")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("shift")
@lab_option
@told
def clock(*, host: str, shift: str, lab_name: str) -> None:
    """Set HOST's clock off by SHIFT seconds (+30, -3600).

    Seen by what starts from now on.
    """
    Faults(Lab(lab_name)).clock(host, shift)
    click.echo("ssh sessions see it now, a service after its restart")


@click.command()
@click.argument("hosts", nargs=-1)
@lab_option
@told
def heal(*, hosts: tuple[str, ...], lab_name: str) -> None:
    """Undo the faults of HOSTS, or of all.

    Cuts, losses, limits, stalls, full disks, wrong clocks. Hosts that are off stay off.
    """
    Faults(Lab(lab_name)).heal(*hosts)


@click.command()
@click.argument("hosts", nargs=-1, required=True)
@click.option("--clean", is_flag=True, help="Shut down in order, as the host's own poweroff.")
@lab_option
@told
def poweroff(*, hosts: tuple[str, ...], clean: bool, lab_name: str) -> None:
    """Take HOSTS' power away: what no fsync covered is gone."""
    for host in hosts:
        Lab(lab_name).power_off(host, clean=clean)
        click.echo(f"{host} is off")


@click.command()
@click.argument("hosts", nargs=-1, required=True)
@lab_option
@told
def poweron(*, hosts: tuple[str, ...], lab_name: str) -> None:
    """Boot HOSTS again, with what their disks hold."""
    for host in hosts:
        Lab(lab_name).power_on(host)
        click.echo(f"{host} is on")


COMMANDS: Final = (
    cut, lose, limit, stall, resume, kill, fill, clock, heal, poweroff, poweron,
)  # fmt: skip
