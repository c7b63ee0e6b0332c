"""The command line: `broker-trio COMMAND …`. Each command is imported when it is asked for.

Importing this module costs what Click costs, so that completion and `--help` answer at once; Trio,
Rich and the programs come with the command that needs them.
"""

import importlib
from typing import Final, final

import click

from broker_trio import __version__

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "up": ("broker_trio.cli.up.command:up", "Start nameservers and brokers here, in one terminal."),
    "nameserver": ("broker_trio.cli.roles:nameserver", "Run a nameserver in the foreground."),
    "broker": ("broker_trio.cli.roles:broker", "Run a broker in the foreground."),
    "doctor": ("broker_trio.cli.doctor.command:doctor", "Find what is wrong, and what next."),
    "topic": ("broker_trio.cli.topic:topic", "Create, list, describe, route and delete topics."),
    "group": ("broker_trio.cli.group:group", "Consumer groups, and how far behind they are."),
    "offset": ("broker_trio.cli.offset:offset", "Show and reset where groups stand."),
    "message": ("broker_trio.cli.message:message", "Get, find, send and follow messages."),
    "dlq": ("broker_trio.cli.dlq:dlq", "Count dead letters by cause, and send them back."),
    "cluster": ("broker_trio.cli.cluster:cluster", "List brokers, look at one, set it, drain it."),
    "client": ("broker_trio.cli.client:client", "Who is online, and how a consumer is."),
    "pair": ("broker_trio.cli.pair.command:pair", "Look at a master/slave pair, and what to do."),
    "promote": ("broker_trio.cli.pair.command:promote", "Make a replica master: the old is gone."),
    "switchover": ("broker_trio.cli.pair.command:switchover", "Hand ownership over without loss."),
    "degrade": ("broker_trio.cli.pair.command:degrade", "Go on with one copy: the slave is gone."),
    "restore": ("broker_trio.cli.pair.command:restore", "Count the slave's copy again."),
    "fence": ("broker_trio.cli.pair.command:fence", "Let a replica own nothing until it rejoins."),
    "produce": ("broker_trio.cli.produce:produce", "Send each line of stdin as a message."),
    "consume": ("broker_trio.cli.consume:consume", "Print the messages of a topic."),
    "bench": ("broker_trio.cli.bench.command:bench", "Measure sends, consumption and both."),
    "ledger": ("broker_trio.cli.ledger.command:ledger", "Prove that nothing acknowledged is lost."),
    "drill": ("broker_trio.cli.drill.command:drill", "Break it on purpose; prove it recovers."),
    "bundle": ("broker_trio.cli.bundle:bundle", "Build the wheelhouse that hosts install from."),
    "lab": ("broker_trio.cli.lab.command:lab", "Boot a fleet of real hosts here, and break it."),
    "completion": ("broker_trio.cli.completion:completion", "Print a shell's completion script."),
    "sim": ("broker_trio.cli.sim:sim", "Replay a simulated cluster run from its seed."),
}
"""Command to where it is and what it does: `--help` imports none of them."""


@final
class LazyGroup(click.Group):
    """A group that knows its commands' names before their modules are imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, _, name = found[0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="broker-trio")
def cli() -> None:
    """A message broker and nameserver that RocketMQ clients use unmodified.

    \b
    Exit codes: 0 ok, 1 failed, 2 usage, 3 refused by a guard,
                4 unreachable, 5 outcome unknown.
    Completion: eval "$(broker-trio completion bash)", or zsh, or fish.
    """


def main() -> None:
    """The entry point of the package."""
    cli(prog_name="broker-trio")
