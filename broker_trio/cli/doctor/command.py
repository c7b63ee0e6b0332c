"""`broker-trio doctor`: what is wrong with this host or with a running cluster, and what to do.

    doctor -n ns1:9876;ns2:9876           every program asked, every port tried, all compared
    doctor --broker-config FILE           is this host fit for the broker? before it is started
    doctor --nameserver-config FILE

Exit code 0 without failures (warnings do not count), 1 with some, 4 where no nameserver answered.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker_trio.cli.access import Target, asks, next_command, run
from broker_trio.cli.failures import Failure, NobodyReached
from broker_trio.cli.output import console, print_json

if TYPE_CHECKING:
    from broker_trio.cli.doctor.findings import Finding

config_path = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--broker-config", type=config_path, help="Check this host for this broker.")
@click.option("--nameserver-config", type=config_path, help="Check this host for it.")
@click.option("--host", "host_only", is_flag=True, help="This host only, no cluster.")
@click.option("--all", "every", is_flag=True, help="A line for each check and subject.")
@asks
def doctor(
    *,
    broker_config: Path | None,
    nameserver_config: Path | None,
    host_only: bool,
    every: bool,
    target: Target,
    as_json: bool,
) -> None:
    """Look for what is wrong with the cluster and this host.

    Each with its cause and the next command.

    Ports are tried from here, and each broker tells how it reaches its nameservers.
    """
    from broker_trio.cli.doctor.findings import Verdict, lines_of, report  # noqa: PLC0415

    configured = broker_config is not None or nameserver_config is not None
    findings = host_findings(
        broker_config, nameserver_config, limits=configured or host_only
    )  # a running program tells its own limits
    reached = True
    if not (configured or host_only):
        found, reached = cluster_findings(target)
        findings = [*found, *findings]
    verdict = Verdict.of(findings)
    if as_json:
        print_json(tree_of(findings))
    else:
        lines = lines_of(findings, every=every)
        console().print(report(lines))
        verdict = Verdict.of(lines)  # what is counted is what is seen
    if not reached:
        asked = ", ".join(target.nameservers)
        raise NobodyReached(f"no nameserver answered: {asked}", "broker-trio up, or -n HOST:PORT")
    if verdict.fail:
        raise Failure(verdict.text, next_command("broker-trio doctor --all", target))
    if not as_json:
        click.echo(verdict.text)


def cluster_findings(target: Target) -> "tuple[list[Finding], bool]":
    """What is wrong with the cluster, and whether any nameserver answered."""
    from broker_trio.cli.doctor.judge import judge  # noqa: PLC0415
    from broker_trio.cli.doctor.seen import look  # noqa: PLC0415

    seen = run(target, look)
    return judge(seen), any(not each.error for each in seen.nameservers)


def host_findings(broker: Path | None, nameserver: Path | None, *, limits: bool) -> "list[Finding]":
    """What is wrong with this host; `limits` of what would be started from here, too.

    Raises `Failure` for a configuration that cannot be used.
    """
    from broker_trio.cli.doctor import host  # noqa: PLC0415
    from broker_trio.cli.roles import load_config  # noqa: PLC0415

    findings = [*([host.limits()] if limits else []), host.clock_is_kept()]
    if broker is not None:
        from broker_trio.broker.config import BrokerConfig, check  # noqa: PLC0415

        findings += host.broker_host(load_config(broker, BrokerConfig, check))
    if nameserver is not None:
        from broker_trio.namesrv.config import NameserverConfig  # noqa: PLC0415
        from broker_trio.namesrv.config import check as check_nameserver  # noqa: PLC0415

        config = load_config(nameserver, NameserverConfig, check_nameserver)
        findings += host.nameserver_host(config)
    return findings


def tree_of(findings: "list[Finding]") -> dict[str, Any]:
    """The report as JSON."""
    from broker_trio.cli.doctor.findings import Verdict  # noqa: PLC0415

    verdict = Verdict.of(findings)._asdict()
    return {"verdict": verdict, "findings": [finding._asdict() for finding in findings]}
