"""`broker-trio lab …`: boot hosts, look at them, go into them, end them.

The faults are in harm.py; both only translate between a command line and the lab.
"""

import os
import sys
import time
from typing import Any, Final

import click

from broker_trio.cli.lab import harm, needs
from broker_trio.cli.lab.base import base_folder, ensure_base
from broker_trio.cli.lab.faults import Faults, State
from broker_trio.cli.lab.machines import Lab, all_labs
from broker_trio.cli.lab.options import lab_option, told
from broker_trio.cli.output import json_option, print_json, print_table
from broker_trio.ops.lab import files
from broker_trio.ops.lab.plan import (
    DATA_BYTES,
    DATA_PATH,
    DISK_BYTES,
    GROUPS,
    Counts,
    Plan,
    Volume,
    counts_of,
    make_plan,
    parse_mount,
    parse_size,
    parse_volume,
    size_text,
)

DEFAULT_VOLUME: Final = Volume(DATA_PATH, DATA_BYTES)


@click.group()
def lab() -> None:
    """A fleet of real Debian hosts on this machine: boot it, break it, throw it away.

    Each host has its own systemd, sshd, address and disks. They reach each other and this machine,
    and nothing else. Needs root.
    """


@lab.command()
@click.option("-n", "hosts", type=click.IntRange(1), help="So many hosts, shared out: 8 if nothing is said.")  # fmt: skip  # noqa: E501
@click.option("--pairs", type=click.IntRange(0), help="Pairs of broker hosts.")
@click.option("--nameservers", type=click.IntRange(0), help="Nameserver hosts.")
@click.option("--monitors", type=click.IntRange(0), help="Hosts for Prometheus and its like.")
@click.option("--spares", type=click.IntRange(0), help="Hosts with nothing to do yet.")
@click.option("--disk", default=size_text(DISK_BYTES), show_default=True, help="Room a host has.")
@click.option(
    "--volume",
    "volumes",
    multiple=True,
    metavar="PATH=SIZE",
    help=f"A file system of its own at PATH; again for more, `none` for none. "
    f"[default: {DATA_PATH}={size_text(DATA_BYTES)}]",
)
@click.option(
    "--mount",
    "mounts",
    multiple=True,
    metavar="SOURCE:PATH",
    help="Show a file or folder of this machine at PATH in all hosts, read-only; again for more.",
)
@click.option("--mirror", default="", help="Debian mirror for the base.", metavar="URL")
@lab_option
@json_option
@told
def up(
    *,
    hosts: int | None,
    disk: str,
    volumes: tuple[str, ...],
    mounts: tuple[str, ...],
    mirror: str,
    lab_name: str,
    as_json: bool,
    **numbers: int | None,
) -> None:
    """Boot a lab; returns when every host answers over ssh.

    The first time a base of all hosts is made from Debian's mirror (two minutes) and kept in the
    cache; from then on eight hosts take seconds.
    """
    began = time.monotonic()
    named = [parse_volume(text) for text in volumes if text != "none"]
    plan = make_plan(
        lab_name,
        counted(hosts, numbers),
        disk=parse_size(disk),
        volumes=named if volumes else [DEFAULT_VOLUME],
        mounts=[parse_mount(text) for text in mounts],
    )
    lab = Lab(lab_name)
    lab.up(plan, mirror=mirror, say=lambda text: click.echo(text, err=True))
    show(lab, as_json=as_json)
    if not as_json:
        click.echo(f"up after {time.monotonic() - began:.1f} s; inventory {lab.folder}/hosts.yml")
        click.echo(f" next: broker-trio lab ssh {plan.hosts[0].name}")


def counted(hosts: int | None, numbers: dict[str, int | None]) -> Counts:
    """`-n`, or how many of each; both at once is wrong usage."""
    given = {name: number for name, number in numbers.items() if number is not None}
    if hosts is not None and given:
        raise click.UsageError(
            f"-n says how many in all; it does not go with --{next(iter(given))}"
        )
    return Counts(**given) if given else counts_of(hosts or 8)


@lab.command()
@click.option("--all", "every", is_flag=True, help="All labs of this user.")
@lab_option
@told
def down(*, every: bool, lab_name: str) -> None:
    """End a lab and remove all of it; also what a killed `up` left. Repeating it does no harm."""
    for name in all_labs() if every else [lab_name]:
        Lab(name).down()
        click.echo(f"{name} is down")


@lab.command("list")
@click.option("--inventory", is_flag=True, help="As an Ansible inventory script answers --list.")
@lab_option
@json_option
@told
def list_(*, inventory: bool, lab_name: str, as_json: bool) -> None:
    """Hosts, addresses, and what is wrong with them."""
    lab = Lab(lab_name)
    if inventory:
        plan = lab.plan if lab.is_up else Plan(lab_name, ())
        print_json(files.script_form(files.inventory(plan, str(lab.folder))))
        return
    show(lab, as_json=as_json)


def show(lab: Lab, *, as_json: bool) -> None:
    """One row a host."""
    states = Faults(lab).states()
    if as_json:
        print_json([row(lab, state) for state in states])
        return
    print_table(
        "",
        ("HOST", "GROUP", "ADDRESS", "POWER", "MEMORY", "FAULTS"),
        [
            (
                state.host.name,
                state.host.group,
                state.host.address,
                state.power,
                f"{state.memory >> 20} MiB",
                ", ".join(state.faults),
            )
            for state in states
        ],
    )


def row(lab: Lab, state: State) -> dict[str, Any]:
    """A host for programs."""
    host = state.host
    return {
        "name": host.name,
        "group": host.group,
        "address": host.address,
        "user": "root",
        "key": str(lab.folder / "key"),
        "ssh_config": str(lab.folder / "ssh_config"),
        "broker_name": host.pair,
        "broker_id": host.broker_id,
        "power": state.power,
        "memory_bytes": state.memory,
        "faults": state.faults,
    }


@lab.command()
@click.argument("name")
@click.argument("group", type=click.Choice(GROUPS))
@lab_option
@told
def add(*, name: str, group: str, lab_name: str) -> None:
    """Boot one more host. A pair's brokers are called broker-c0, broker-c1."""
    host = Lab(lab_name).add(name, group)
    click.echo(f"{host.name} is up at {host.address}")


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("host")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@lab_option
@told
def ssh(*, host: str, command: tuple[str, ...], lab_name: str) -> None:
    """A shell on HOST, or COMMAND there."""
    replace(Lab(lab_name).ssh_command(host) + list(command))


@lab.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@lab_option
@told
def run(*, command: tuple[str, ...], lab_name: str) -> None:
    """Run COMMAND of this machine in the lab's network."""
    replace(Lab(lab_name).network_command(command))


def replace(command: list[str]) -> None:
    """Become that program: its terminal, its signals, its exit code."""
    sys.stdout.flush()
    path = needs.search_path()
    os.execvpe(command[0], command, {**os.environ, "PATH": path})  # noqa: S606


@lab.command("needs")
@click.option("-n", "hosts", type=click.IntRange(1), default=8, show_default=True, help="For so many hosts.")  # fmt: skip  # noqa: E501
@json_option
@told
def needs_(*, hosts: int, as_json: bool) -> None:
    """What this machine lacks for a lab; exits with 1 if anything. Installs nothing."""
    lacks, packages = needs.missing(hosts), needs.missing_packages()
    if as_json:
        print_json({"missing": lacks, "packages": packages, "base": str(base_folder())})
        sys.exit(1 if lacks else 0)
    needs.check(hosts)
    kept = "there" if base_folder().is_dir() else "made by the first `lab up`"
    click.echo(f"a lab can run here; the base {base_folder()}: {kept}")


@lab.command()
@click.option("--mirror", default="", help="Debian mirror for the base.", metavar="URL")
@told
def base(*, mirror: str) -> None:
    """Make the base of all hosts now. Prints where it is; cached, it takes no time."""
    needs.check(0)
    click.echo(ensure_base(mirror, lambda text: click.echo(text, err=True)))


for fault in harm.COMMANDS:
    lab.add_command(fault)
