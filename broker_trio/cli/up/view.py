"""What `up` tells: a screen for people, lines of JSON for programs.

Both views get the same events. JSON: one line when everything is ready, then one line an event:

    {"nameservers": ["127.0.0.1:9876"], "brokers": [{"name": "broker-a", "id": 0, …}]}
    {"event": "died", "name": "broker-a-1", "pid": 4711, "exit_code": -9, "log": ["…"]}
    {"event": "stopping", "why": "SIGINT"}
    {"event": "stopped", "exit_code": 0}
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

import click

from broker_trio.cli.output import print_json, print_table
from broker_trio.cli.up.scrape import Totals

if TYPE_CHECKING:
    from rich.live import Live

    from broker_trio.cli.up.children import Child


class View(Protocol):
    """Whoever is told what happens."""

    live: bool

    def starting(self, folder: Path, *, ephemeral: bool) -> None: ...

    def waiting(self, child: "Child", why: str) -> None: ...

    def ready(self, children: list["Child"]) -> None: ...

    def rates(self, text: str) -> None: ...

    def died(self, child: "Child") -> None: ...

    def stopping(self, why: str) -> None: ...

    def stopped(self, exit_code: int) -> None: ...


def described(children: list["Child"]) -> dict[str, Any]:  # a JSON tree
    """The ready line of design §4."""
    return {
        "nameservers": [c.plan.address for c in children if c.plan.kind == "nameserver"],
        "brokers": [
            {
                "name": child.plan.broker_name,
                "id": child.plan.broker_id,
                "role": "master",
                "address": child.plan.address,
                "http": child.plan.http,
                "store": str(child.plan.store.absolute()),
                "pid": child.pid,
            }
            for child in children
            if child.plan.kind == "broker"
        ],
    }


@final
class JsonView:
    """Lines of JSON on stdout. Rates are not told: programs read /metrics themselves."""

    live = False

    def starting(self, folder: Path, *, ephemeral: bool) -> None:
        """Nothing: the first line is the ready one."""

    def waiting(self, child: "Child", why: str) -> None:
        """Nothing: /readyz has it for programs."""

    def ready(self, children: list["Child"]) -> None:
        print_json(described(children))

    def rates(self, text: str) -> None:
        """Nothing."""

    def died(self, child: "Child") -> None:
        print_json(
            {
                "event": "died",
                "name": child.plan.instance,
                "pid": child.pid,
                "exit_code": child.exit_code,
                "log": child.log_tail(),
            }
        )

    def stopping(self, why: str) -> None:
        print_json({"event": "stopping", "why": why})

    def stopped(self, exit_code: int) -> None:
        print_json({"event": "stopped", "exit_code": exit_code})


@final
class Screen:
    """A table, the next commands to try, and at a terminal a line of rates that moves."""

    def __init__(self, *, live: bool, flush_disk_type: str = "ASYNC_FLUSH") -> None:
        self.live = live
        self._flush_disk_type = flush_disk_type
        self._line: Live | None = None

    def starting(self, folder: Path, *, ephemeral: bool) -> None:
        fate = " (removed at the end)" if ephemeral else ""
        click.echo(f"starting in {folder}{fate}")

    def waiting(self, child: "Child", why: str) -> None:
        click.echo(f"{child.plan.instance}: {why}")

    def ready(self, children: list["Child"]) -> None:
        rows = [
            (
                child.plan.instance,
                "master" if child.plan.kind == "broker" else "nameserver",
                child.plan.address,
                f"http://{child.plan.http}/metrics",
                str(child.plan.store),
                child.pid,
            )
            for child in children
        ]
        print_table("", ("name", "role", "address", "metrics", "data", "pid"), rows)
        click.echo(advice(children, self._flush_disk_type))
        if self.live:
            from rich.console import Console  # noqa: PLC0415
            from rich.live import Live  # noqa: PLC0415

            self._line = Live("", console=Console(), auto_refresh=False)
            self._line.start()

    def rates(self, text: str) -> None:
        if self._line is not None:
            self._line.update(text, refresh=True)

    def died(self, child: "Child") -> None:
        self._end_line()
        click.echo(
            f"{child.plan.instance} (pid {child.pid}) ended with {ending(child.exit_code)}; "
            f"the end of its log, {child.plan.log}:",
            err=True,
        )
        for line in child.log_tail():
            click.echo(f"  {line}", err=True)

    def stopping(self, why: str) -> None:
        self._end_line()
        click.echo(f"stopping: {why}")

    def stopped(self, exit_code: int) -> None:
        click.echo("stopped" if exit_code == 0 else "stopped; something failed, see above")

    def _end_line(self) -> None:
        if self._line is not None:
            self._line.stop()
            self._line = None


def ending(exit_code: int | None) -> str:
    """An exit code in words; negative ones are signals, 74 is a failed disk."""
    if exit_code is None:
        return "no exit code"
    if exit_code < 0:
        return f"signal {-exit_code}"
    if exit_code == 74:
        return "exit code 74 (a write or fsync failed)"
    return f"exit code {exit_code}"


PROMISES = {
    "ASYNC_FLUSH": (
        "Each pair is a single master with ASYNC_FLUSH: a send is acknowledged from memory,",
        "and a power cut may take the last half second. There are no slaves yet.",
    ),
    "SYNC_FLUSH": (
        "Each pair is a single master with SYNC_FLUSH: what is acknowledged is on its disk,",
        "and lost with that disk. There are no slaves yet.",
    ),
}


def advice(children: list["Child"], flush_disk_type: str) -> str:
    """What stands below the table: what this cluster promises, and what to try next."""
    nameservers = [c.plan.address for c in children if c.plan.kind == "nameserver"]
    option = "" if nameservers == ["127.0.0.1:9876"] else f" -n {';'.join(nameservers)}"
    if ";" in option:
        option = f" -n '{';'.join(nameservers)}'"
    return "\n".join(
        [
            "",
            *PROMISES.get(flush_disk_type, ()),
            "",
            "Try, in another terminal:",
            f"  broker-trio produce{option} hello < /etc/services",
            f"  broker-trio consume{option} hello --group readers --from-first",
            f"  broker-trio topic list{option}",
            f"  broker-trio cluster list{option}",
            "Ctrl-C stops everything.",
            "",
        ]
    )


def waiting_text(body: bytes) -> str:
    """What /readyz says, on one line: reasons, and how far a recovery is."""
    try:
        tree = json.loads(body)
        reasons, progress = ", ".join(tree["reasons"]), tree["progress"]
        shares = [f"{name} {share:.0%}" for name, share in progress.items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "not ready, and its answer cannot be read"
    return " ".join([reasons or "not ready", *shares])


def rates_text(before: Totals, now: Totals, seconds: float) -> str:
    """The live line: what moved between two looks."""
    arrived = (now.messages_in - before.messages_in) / seconds
    left = (now.messages_out - before.messages_out) / seconds
    return (
        f"in {max(arrived, 0):>9,.0f}/s   out {max(left, 0):>9,.0f}/s   "
        f"lag {now.lag:>9,.0f}   connections {now.connections:.0f}   stored {now.messages_in:,.0f}"
    )
