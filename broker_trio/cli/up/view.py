"""What `up` tells: a screen for people, lines of JSON for programs.

Both views get the same events. JSON: one line when everything is ready, then one line an event:

    {"nameservers": ["127.0.0.1:9876"], "brokers": [{"name": "broker-a", "id": 0, …}]}
    {"event": "died", "name": "broker-a-1", "pid": 4711, "exit_code": -9, "restart_s": 30.0, …}
    {"event": "pair", "name": "broker-a-2", "role": "master", "id": 0, "state": "owner, epoch 3 …"}
    {"event": "restarted", "name": "broker-a-1", "pid": 4712}
    {"event": "stopping", "why": "SIGINT"}
    {"event": "stopped", "exit_code": 0}
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

import click

from broker_trio.cli.output import print_json, print_table
from broker_trio.cli.up.scrape import Totals

if TYPE_CHECKING:
    from rich.live import Live

    from broker_trio.cli.up.children import Child
    from broker_trio.cli.up.pairs import Seen


class View(Protocol):
    """Whoever is told what happens."""

    live: bool

    def starting(self, folder: Path, *, ephemeral: bool) -> None: ...

    def waiting(self, child: "Child", why: str) -> None: ...

    def missing(self, why: str) -> None: ...

    def ready(self, children: Sequence["Child"], seen: Mapping[str, "Seen"]) -> None: ...

    def rates(self, text: str) -> None: ...

    def changed(self, seen: "Seen") -> None: ...

    def died(self, child: "Child", again_s: float) -> None: ...

    def restarted(self, child: "Child") -> None: ...

    def stopping(self, why: str) -> None: ...

    def stopped(self, exit_code: int) -> None: ...


def ordered(
    children: Sequence["Child"], seen: Mapping[str, "Seen"]
) -> list[tuple["Child", int, str]]:
    """Brokers with broker id and role, of each name the master first."""
    found = []
    for child in children:
        if child.plan.kind == "broker":
            known = seen.get(child.plan.instance)
            broker_id, role = (0, "master") if known is None else (known.broker_id, known.role)
            found.append((child, broker_id, role))
    return sorted(found, key=lambda one: (one[0].plan.broker_name, one[1]))


def described(
    children: Sequence["Child"], seen: Mapping[str, "Seen"]
) -> dict[str, Any]:  # a JSON tree
    """The ready line of design §4."""
    return {
        "nameservers": [c.plan.address for c in children if c.plan.kind == "nameserver"],
        "brokers": [
            {
                "name": child.plan.broker_name,
                "id": broker_id,
                "role": role,
                "address": child.plan.address,
                "http": child.plan.http,
                "store": str(child.plan.store.absolute()),
                "pid": child.pid,
            }
            for child, broker_id, role in ordered(children, seen)
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

    def missing(self, why: str) -> None:
        """Nothing, as above."""

    def ready(self, children: Sequence["Child"], seen: Mapping[str, "Seen"]) -> None:
        print_json(described(children, seen))

    def rates(self, text: str) -> None:
        """Nothing."""

    def changed(self, seen: "Seen") -> None:
        print_json(
            {
                "event": "pair",
                "name": seen.process.instance,
                "role": seen.role,
                "id": seen.broker_id,
                "state": seen.state,
            }
        )

    def died(self, child: "Child", again_s: float) -> None:
        again = {"restart_s": again_s} if again_s else {}
        print_json(
            {
                "event": "died",
                "name": child.plan.instance,
                "pid": child.pid,
                "exit_code": child.exit_code,
                **again,
                "log": child.log_tail(),
            }
        )

    def restarted(self, child: "Child") -> None:
        print_json({"event": "restarted", "name": child.plan.instance, "pid": child.pid})

    def stopping(self, why: str) -> None:
        print_json({"event": "stopping", "why": why})

    def stopped(self, exit_code: int) -> None:
        print_json({"event": "stopped", "exit_code": exit_code})


@final
class Screen:
    """A table, the next commands to try, and at a terminal a line of rates that moves."""

    def __init__(
        self, *, live: bool, flush_disk_type: str = "ASYNC_FLUSH", mode: str = "sync"
    ) -> None:
        self.live = live
        self._flush_disk_type, self._mode = flush_disk_type, mode
        self._option = ""
        self._line: Live | None = None

    def starting(self, folder: Path, *, ephemeral: bool) -> None:
        fate = " (removed at the end)" if ephemeral else ""
        click.echo(f"starting in {folder}{fate}")

    def waiting(self, child: "Child", why: str) -> None:
        click.echo(f"{child.plan.instance}: {why}")

    def missing(self, why: str) -> None:
        click.echo(why)

    def ready(self, children: Sequence["Child"], seen: Mapping[str, "Seen"]) -> None:
        nameservers = [(c, 0, "nameserver") for c in children if c.plan.kind == "nameserver"]
        brokers = ordered(children, seen)
        rows = [
            (
                child.plan.instance,
                role,
                child.plan.address,
                f"http://{child.plan.http}/metrics",
                str(child.plan.store),
                child.pid,
                f"{child.memory_bytes / 1e6:.0f} MB",
            )
            for child, _, role in [*nameservers, *brokers]
        ]
        print_table("", ("name", "role", "address", "metrics", "data", "pid", "memory"), rows)
        self._option = option_of(children)
        masters = [child for child, _, role in brokers if role == "master"]
        click.echo(advice(masters, self._option, self._flush_disk_type, self._mode))
        if self.live:
            from rich.console import Console  # noqa: PLC0415
            from rich.live import Live  # noqa: PLC0415

            self._line = Live("", console=Console(), auto_refresh=False)
            self._line.start()

    def rates(self, text: str) -> None:
        if self._line is not None:
            self._line.update(text, refresh=True)

    def changed(self, seen: "Seen") -> None:
        click.echo(f"{seen.process.instance}: {seen.role} ({seen.state})")

    def died(self, child: "Child", again_s: float) -> None:
        what = f"{child.plan.instance} (pid {child.pid}) ended with {ending(child.exit_code)}"
        if again_s:
            click.echo(f"{what}; it is started again in {again_s:g} s.")
            if child.plan.broker_name:
                other = f"{child.plan.broker_name}/{3 - child.plan.replica_id}"
                promote = f"broker-trio promote{self._option} {other} --one-copy"
                click.echo(f"Was it the master? {promote}")
            return
        self._end_line()
        click.echo(f"{what}; the end of its log, {child.plan.log}:", err=True)
        for line in child.log_tail():
            click.echo(f"  {line}", err=True)

    def restarted(self, child: "Child") -> None:
        click.echo(f"{child.plan.instance} is back, pid {child.pid}")

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


ALONE = {
    "ASYNC_FLUSH": (
        "Each broker is a single master with ASYNC_FLUSH: a send is acknowledged from memory,",
        "and a power cut may take the last half second. There is no slave.",
    ),
    "SYNC_FLUSH": (
        "Each broker is a single master with SYNC_FLUSH: what is acknowledged is on its disk,",
        "and lost with that disk. There is no slave.",
    ),
}
PAIRED = {
    ("ASYNC_FLUSH", "sync"): (
        "A send is acknowledged when master and slave have it in memory (ASYNC_FLUSH and sync",
        "replication): the death of one loses nothing, a power cut of both the last half second.",
    ),
    ("SYNC_FLUSH", "sync"): (
        "A send is acknowledged when it is on the disks of master and slave: the loss of either",
        "disk, or of all power, loses nothing.",
    ),
    ("ASYNC_FLUSH", "async"): (
        "A send is acknowledged from the master's memory (ASYNC_FLUSH, async replication): a",
        "promotion loses what was not copied yet, a power cut the last half second.",
    ),
    ("SYNC_FLUSH", "async"): (
        "A send is acknowledged when it is on the master's disk (async replication): a promotion",
        "loses what was not copied yet.",
    ),
}


def option_of(children: Sequence["Child"]) -> str:
    """What commands need to find this cluster; empty where they find it by themselves."""
    nameservers = [c.plan.address for c in children if c.plan.kind == "nameserver"]
    joined = ";".join(nameservers)
    if nameservers == ["127.0.0.1:9876"]:
        return ""
    return f" -n '{joined}'" if ";" in joined else f" -n {joined}"


def advice(masters: Sequence["Child"], option: str, flush_disk_type: str, mode: str) -> str:
    """What stands below the table: what this cluster promises, and what to try next."""
    paired = bool(masters) and bool(masters[0].plan.peer)
    promise = PAIRED.get((flush_disk_type, mode), ()) if paired else ALONE.get(flush_disk_type, ())
    lines = [
        "",
        *promise,
        "",
        "Try, in another terminal:",
        f"  broker-trio produce{option} hello < /etc/services",
        f"  broker-trio consume{option} hello --group readers --from-first",
        f"  broker-trio topic list{option}",
        f"  broker-trio cluster list{option}",
    ]
    if paired:
        plan = masters[0].plan
        lines += [
            "Kill the master, and watch the slave take over:",
            f"  kill -9 {masters[0].pid}",
            f"  broker-trio promote{option} {plan.broker_name}/{3 - plan.replica_id} --one-copy",
            f"  broker-trio pair status{option} {plan.broker_name}",
        ]
    return "\n".join([*lines, "Ctrl-C stops everything.", ""])


def memory_text(children: Sequence["Child"]) -> str:
    """What the brokers keep in memory, one after the other."""
    brokers = [child for child in children if child.plan.kind == "broker"]
    return " + ".join(f"{child.memory_bytes / 1e6:.0f}" for child in brokers) + " MB"


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
