"""`pair adopt`: nameservers without a record file are told what everybody else knows (rule 15).

Needed once for a new cluster, and after so many files were lost that the rest is no majority. What
replicas settled and other nameservers keep is merged: of each broker name the highest record. All
replicas must answer, or the operator names the reason why one cannot have known more.
"""

from typing import NamedTuple

import click
import trio

from broker_trio.cli.access import Cluster, run
from broker_trio.cli.failures import GuardRefused, NobodyReached
from broker_trio.cli.output import print_json
from broker_trio.cli.pair.carry_out import How
from broker_trio.cli.pair.reach import adopt, look, names_of, table_of
from broker_trio.model.pair import NO_EPOCH, Record


class Found(NamedTuple):
    """Who forgot, what is known, and who did not say."""

    forgot: list[str]
    records: dict[str, Record]
    silent: dict[str, str]

    def heard(self, name: str, record: Record) -> None:
        """Keep the highest record of each name."""
        held = self.records.get(name)
        if record.epoch != NO_EPOCH and (held is None or record.epoch > held.epoch):
            self.records[name] = record


def adopt_all(how: How, reason: str) -> None:
    """Look, print, ask, tell. Raises the `Failure` whose exit code says how it ended."""
    found = run(how.target, lambda cluster: _find(cluster, how))
    plan: dict[str, object] = found._asdict()
    if not how.as_json:
        _show(found)
    if not found.forgot:
        _say(how, "already", plan, "nothing to do: no nameserver that answers forgot")
        return
    if found.silent and not reason:
        if how.as_json:
            print_json({"verdict": "refused", "plan": plan})
        text = "who does not answer may know a higher record: " + ", ".join(sorted(found.silent))
        raise GuardRefused(text, "bring them back, or name the --reason why they cannot")
    if how.dry_run:
        _say(how, "planned", plan, "dry run: nothing was done")
        return
    if not how.yes:
        if how.as_json:
            raise click.UsageError("--json asks nobody: add --yes or --dry-run")
        click.confirm("Do it?", abort=True)
    run(how.target, lambda cluster: _tell(cluster, found), changes=True)
    _say(how, "done", plan, f"done: {', '.join(found.forgot)}")


def _show(found: Found) -> None:
    click.echo("adopt")
    for address in found.forgot:
        click.echo(f"  forgot   {address}")
    for name, record in sorted(found.records.items()):
        copies = f"{record.min} of {len(record.members)} copies"
        click.echo(f"  record   {name}: epoch {record.epoch}, {copies}")
    for address, why in sorted(found.silent.items()):
        click.echo(f"  silent   {address}: {why}")


def _say(how: How, verdict: str, plan: dict[str, object], text: str) -> None:
    if how.as_json:
        print_json({"verdict": verdict, "plan": plan})
    else:
        click.echo(text)


async def _find(cluster: Cluster, how: How) -> Found:
    nameservers = how.target.nameservers
    found = Found([], {}, {})
    for address in nameservers:
        table = await table_of(cluster, address)
        if isinstance(table, str):
            found.silent[address] = table
            continue
        if table.forgot:
            found.forgot.append(address)
        for name, record in table.records.items():
            found.heard(name, record)
    if len(found.silent) == len(nameservers):
        raise NobodyReached("; ".join(found.silent.values()))
    for name in sorted({*found.records, *await names_of(cluster, nameservers)}):
        view = await look(cluster, nameservers, name, how.replicas)
        for status in view.replicas.values():
            assert status.kept is not None, "only replicas are in there"
            found.heard(name, status.kept.settled)
        if view.replicas:
            found.silent.update(view.silent)
    return found


async def _tell(cluster: Cluster, found: Found) -> None:
    async with trio.open_nursery() as nursery:
        for address in found.forgot:
            nursery.start_soon(adopt, cluster, address, found.records)
