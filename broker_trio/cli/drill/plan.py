"""A drill's plan and guards as a person reads them, and the refusal where one does not hold."""

import click

from broker_trio.cli.failures import GuardRefused
from broker_trio.ops.drill.catalogue import Drill, seconds_of
from broker_trio.ops.drill.guards import refused_by
from broker_trio.ops.drill.records import Guard, Run


def show_plan(what: Drill, run: Run, guards: list[Guard], *, hidden: bool = False) -> None:
    """For people, on stderr: the result alone goes to stdout."""

    def say(text: str) -> None:
        click.echo(text, err=True)

    if not hidden:
        say(f"{what.title}: proves that {what.proves}")
        steps = ", ".join(
            " ".join(filter(None, (s.do, s.whom, f"{s.seconds:g} s" if s.seconds else "")))
            for s in what.steps
        )
        say(f"  steps     {steps}")
        say(f"  harm      {what.harm}")
        say(f"  revert    {what.revert}; armed before the fault")
    hosts = ", ".join(f"{who} at {address}" for who, address in run.replicas.items())
    say(f"  hosts     {hosts}; nameservers {', '.join(run.nameservers)}")
    say(f"  master    {run.master or 'none'}, {run.mode} replication, {run.flush}")
    say(f"  takes     about {seconds_of(what, run.steady_s):.0f} s at {run.rate:g} sends/s")
    say(f"  touches   topic {run.topic} on {run.pair} alone")
    for guard in guards:
        say(f"  {'ok     ' if guard.ok else 'REFUSED'}  {guard.name}: {guard.fact}")


def refuse(what: Drill, guards: list[Guard]) -> None:
    """Raises `GuardRefused` where a guard does not hold."""
    refused = refused_by(guards)
    if refused:
        text = "; ".join(f"{guard.name}: {guard.fact}" for guard in refused)
        raise GuardRefused(text, f"broker-trio drill plan {what.name.replace('_', '-')}")
