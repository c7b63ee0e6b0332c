"""`broker-trio completion`: the script that a shell needs to complete commands, options and names.

    eval "$(broker-trio completion bash)"          in ~/.bashrc
    broker-trio completion fish > ~/.config/fish/completions/broker-trio.fish

Topics, groups and brokers are completed from the cluster of BROKER_TRIO_NAMESERVER; see names.py.
"""

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

PROGRAM = "broker-trio"
VARIABLE = "_BROKER_TRIO_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(*, shell: str | None) -> None:
    """Print the completion script of SHELL, the one in use without it.

    \b
    bash, in ~/.bashrc:    eval "$(broker-trio completion bash)"
    zsh, in ~/.zshrc:      eval "$(broker-trio completion zsh)"
    fish:                  broker-trio completion fish | source
    """
    wanted = shell or Path(os.environ.get("SHELL", "")).name
    if wanted not in SHELLS:
        raise click.UsageError(f"which shell? one of {', '.join(SHELLS)}")
    kind = get_completion_class(wanted)
    assert kind is not None, "Click knows these three"
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, PROGRAM, VARIABLE).source())
