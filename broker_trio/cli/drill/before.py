"""What everybody says before a drill: the facts for its guards, and for its report.

look ─▶ Seen ─▶ guards     status of both replicas, what each nameserver shows, alerts
     └▶ Run                who is who, versions, settings, durability
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import trio

from broker_trio.cli.access import Cluster
from broker_trio.cli.drill.observe import shown_at
from broker_trio.cli.drill.web import firing
from broker_trio.cli.failures import Failure, NobodyReached
from broker_trio.cli.pair.reach import look
from broker_trio.client.admin.statistics import Summary
from broker_trio.client.errors import ClientError
from broker_trio.model.pair import Status
from broker_trio.ops.drill.catalogue import Drill
from broker_trio.ops.drill.guards import Seen, guards_of, roles
from broker_trio.ops.drill.records import Guard, Run
from broker_trio.remoting.client import Unreachable

TOPIC: Final = "broker-trio-drill"
OWN: Final = frozenset({"DrillProofOld", "Watchdog"})  # no reason against a drill


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the operator said. `pair` empty: the only one there is."""

    confirm: str
    pair: str = ""
    where: str = "laptop"
    rate: float = 100.0
    timeout_s: float = 2.0
    steady_s: float = 10.0
    lost_max: int = 0
    prometheus: str = ""
    freeze: tuple[str, ...] = ()
    human: bool = False
    running: str = ""
    nameservers: tuple[str, ...] = ()


async def before(cluster: Cluster, drill: Drill, asked: Asked) -> tuple[Run, list[Guard]]:
    """Look at everything; nothing is changed. Raises `Failure`."""
    pair = asked.pair or await only_pair(cluster)
    view = await look(cluster, asked.nameservers, pair, ())
    if not view.replicas:
        raise NobodyReached(f"no replica of {pair} answers", "broker-trio pair status " + pair)
    replicas = {f"{pair}/{status.replica_id}": status for status in view.replicas.values()}
    shown, name = await nameservers_of(cluster, asked.nameservers, pair)
    alerts = await alerts_of(asked.prometheus, name)
    seen = Seen(
        cluster=name, replicas=replicas, nameservers=shown,
        forgot=[address for address, status in view.witnesses.items() if status.forgot],
        alerts=alerts, running=asked.running, freeze=asked.freeze, now_ms=cluster.wall_ms(),
    )  # fmt: skip
    try:
        guards = guards_of(drill, seen, asked.confirm)
    except ValueError as error:
        raise Failure(f"--freeze: {error}") from error
    return await run_of(cluster, drill, asked, seen, guards), guards


async def alerts_of(prometheus: str, cluster: str) -> list[str] | None:
    """What fires now and asks somebody to act, by name.

    Raises `NobodyReached` where a Prometheus was given and says nothing.
    """
    if not prometheus:
        return None
    told = await firing(prometheus, cluster)
    if told is None:
        raise NobodyReached(f"Prometheus at {prometheus} does not tell its alerts")
    return sorted(name for name in told.keys() - OWN if told[name] != "info")


async def only_pair(cluster: Cluster) -> str:
    """The broker name with two replicas, if it is the only one. Raises `Failure`."""
    info = await cluster.nameservers.cluster_info()
    found = sorted(
        name for name, data in info.broker_addr_table.items() if len(data.broker_addrs) > 1
    )
    if len(found) != 1:
        known = ", ".join(found) or "none"
        raise Failure(f"which pair? found: {known}", "broker-trio drill … --pair NAME")
    return found[0]


async def nameservers_of(
    cluster: Cluster, addresses: tuple[str, ...], pair: str
) -> tuple[dict[str, str], str]:
    """What each shows as the pair's master, and the cluster's name."""
    shown: dict[str, str] = {}

    async def ask(address: str) -> None:
        shown[address] = await shown_at(cluster, address, pair) or ""

    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(ask, address)
    info = await cluster.nameservers.cluster_info()
    data = info.broker_addr_table.get(pair)
    return {address: shown[address] for address in addresses}, "" if data is None else data.cluster


async def run_of(
    cluster: Cluster, drill: Drill, asked: Asked, seen: Seen, guards: list[Guard]
) -> Run:
    """What the report has to know of the beginning."""
    master, slave = roles(seen.replicas)
    pair = next(iter(seen.replicas)).rpartition("/")[0]
    versions, config, flush = await settings_of(cluster, seen.replicas)
    owner = seen.replicas.get(master)
    moment = datetime.fromtimestamp(seen.now_ms / 1_000, UTC)
    return Run(
        drill=drill.name, run=f"{moment:%Y%m%dT%H%M%S}-{drill.name}", cluster=seen.cluster,
        pair=pair, where=asked.where, begun_ms=seen.now_ms, topic=TOPIC,
        nameservers=list(asked.nameservers),
        replicas={who: status.address for who, status in sorted(seen.replicas.items())},
        master=master, slave=slave, mode="" if owner is None else owner.mode, flush=flush,
        versions=versions, config=config, rate=asked.rate, timeout_s=asked.timeout_s,
        attempts=drill.attempts, steady_s=asked.steady_s, human=asked.human,
        lost_max=asked.lost_max, guards=guards,
    )  # fmt: skip


async def settings_of(
    cluster: Cluster, replicas: dict[str, Status]
) -> tuple[dict[str, str], dict[str, str], str]:
    """Versions, a fingerprint of the settings, and how the disk is flushed; of who answers."""
    versions, config, flush = {}, {}, set()
    for who, status in sorted(replicas.items()):
        try:
            told = Summary.of(await cluster.admin.statistics.runtime(status.address))
            settings = await cluster.admin.statistics.settings(status.address)
        except (ClientError, Unreachable):
            continue
        versions[who] = told.version or "not told"
        text = "\n".join(f"{key}={value}" for key, value in sorted(settings.items()))
        config[who] = hashlib.sha256(text.encode()).hexdigest()[:12]
        flush.add(settings.get("flushDiskType", ""))
    return versions, config, ", ".join(sorted(flush))
