"""What doctor sees of a cluster: every nameserver and broker asked, every door tried.

nameservers   table, facts, clock          each on its own
brokers       what any of them shows:      question, VIP port, HTTP, replication port
              runtime, settings, facts
both ways     from here to each door;      from each broker to each nameserver, as it says
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from broker_trio.cli.access import Cluster, outgoing
from broker_trio.client.admin.asking import ask_each
from broker_trio.client.admin.hosts import Clock, NameserverTable
from broker_trio.client.errors import ClientError
from broker_trio.model.route import MASTER_ID
from broker_trio.remoting.client import Unreachable, reason
from broker_trio.wire.bodies.facts import HostFacts

if TYPE_CHECKING:
    from broker_trio.remoting.client import Connect

VIP_OFFSET: Final = -2
HA_OFFSET: Final = 1
LOOK_AGAIN_S: Final = 1.0


class Door(NamedTuple):
    """One port that was tried; `error` is empty where somebody took the connection."""

    name: str
    address: str
    error: str


class NameserverSeen(NamedTuple):
    """One nameserver. `error`: it did not answer. `facts`: None for Apache's."""

    address: str
    table: NameserverTable | None = None
    facts: HostFacts | None = None
    clock: Clock | None = None
    doors: tuple[Door, ...] = ()
    error: str = ""


def label_of(name: str, broker_id: int, *, alone: bool) -> str:
    """One replica: by its broker name alone where that has no other."""
    return name if alone else f"{name}-{broker_id}"


class BrokerSeen(NamedTuple):
    """One broker replica, as registered, and as it answered. `alone`: its name has no other."""

    name: str
    broker_id: int
    address: str
    runtime: dict[str, str]
    settings: dict[str, str]
    facts: HostFacts | None = None
    clock: Clock | None = None
    doors: tuple[Door, ...] = ()
    error: str = ""
    alone: bool = False

    @property
    def label(self) -> str:
        """How every line of the report calls it."""
        return label_of(self.name, self.broker_id, alone=self.alone)


class ClusterSeen(NamedTuple):
    """Everything, in the order of addresses and names."""

    nameservers: list[NameserverSeen]
    brokers: list[BrokerSeen]


async def look(cluster: Cluster) -> ClusterSeen:
    """Ask everybody. Nobody's silence is an error here; it is what is looked for."""
    connect, timeout_s = outgoing(), cluster.calls.timeout_s
    nameservers = await _nameservers(cluster, connect)
    tables = {each.table for each in nameservers if each.table is not None}
    if len(tables) > 1 or len(_prints(nameservers)) > 1:
        await anyio.sleep(LOOK_AGAIN_S)  # a broker may be registering just now
        nameservers = await _nameservers(cluster, connect)
    replicas = sorted({one for each in nameservers if each.table for one in each.table.replicas})
    paired = {name for name, broker_id, _ in replicas if broker_id != MASTER_ID}
    count = Counter(name for name, _, _ in replicas)

    async def one(address: str) -> BrokerSeen:
        name, broker_id, _ = next(each for each in replicas if each[2] == address)
        ha = name in paired and broker_id == MASTER_ID
        seen = await _broker(cluster, connect, timeout_s, (name, broker_id, address), ha=ha)
        return seen._replace(alone=count[name] == 1)

    asked = await ask_each({replica: replica[2] for replica in replicas}, one)
    return ClusterSeen(nameservers, list(asked.answers.values()))


def _prints(nameservers: list[NameserverSeen]) -> set[int | None]:
    return {each.facts.route_fingerprint for each in nameservers if each.facts is not None}


async def _nameservers(cluster: Cluster, connect: "Connect") -> list[NameserverSeen]:
    hosts = cluster.admin.hosts

    async def one(address: str) -> NameserverSeen:
        table = await hosts.table(address)
        told = await hosts.facts(address, cluster.wall_ms)
        if told is None:
            return NameserverSeen(address, table)
        facts, clock = told
        doors = [await _http(connect, cluster.calls.timeout_s, address, facts)]
        return NameserverSeen(address, table, facts, clock, tuple(d for d in doors if d))

    asked = await ask_each({address: address for address in hosts.nameservers}, one)
    return [
        asked.answers.get(address) or NameserverSeen(address, error=str(asked.problems[address]))
        for address in hosts.nameservers
    ]


async def _broker(
    cluster: Cluster,
    connect: "Connect",
    timeout_s: float,
    replica: tuple[str, int, str],
    *,
    ha: bool,
) -> BrokerSeen:
    name, broker_id, address = replica
    hosts, statistics = cluster.admin.hosts, cluster.admin.statistics
    doors = []
    if ha:
        doors.append(await try_door(connect, timeout_s, "replication", beside(address, HA_OFFSET)))
    doors.append(await try_door(connect, timeout_s, "VIP channel", beside(address, VIP_OFFSET)))
    seen = BrokerSeen(name, broker_id, address, {}, {}, doors=tuple(doors))
    try:
        runtime, clock = await hosts.runtime(address, cluster.wall_ms)
        told = await hosts.facts(address, cluster.wall_ms)
        settings = await statistics.settings(address)
    except (ClientError, Unreachable) as error:
        return seen._replace(error=str(error))
    seen = seen._replace(runtime=runtime, settings=settings, clock=clock)
    if told is None:
        return seen
    facts, clock = told
    http = await _http(connect, timeout_s, address, facts)
    return seen._replace(facts=facts, clock=clock, doors=(*seen.doors, *([http] if http else [])))


async def _http(
    connect: "Connect", timeout_s: float, address: str, facts: HostFacts
) -> Door | None:
    """The HTTP door, where there is one that this host may reach."""
    host, _, port = facts.http_address.rpartition(":")
    if not port or port == "0":
        return None
    if host in {"0.0.0.0", "[::]", "::"}:  # noqa: S104 - compared, not bound
        host = address.rpartition(":")[0]
    loopback = host in {"127.0.0.1", "localhost", "[::1]"}
    if loopback and not address.startswith(("127.", "localhost:", "[::1]")):
        return None
    return await try_door(connect, timeout_s, "HTTP", f"{host}:{port}")


def beside(address: str, by: int) -> str:
    """The same host, a neighbouring port."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + by}"


async def try_door(connect: "Connect", timeout_s: float, name: str, address: str) -> Door:
    """Connect and hang up."""
    return Door(name, address, await within(timeout_s, lambda: _knock(connect, address)))


async def _knock(connect: "Connect", address: str) -> None:
    stream = await connect(address)
    await stream.aclose()


async def within(timeout_s: float, attempt: Callable[[], Awaitable[None]]) -> str:
    """Empty where it went well in time, else why not."""
    try:
        with anyio.fail_after(timeout_s):
            await attempt()
    except TimeoutError:
        return f"no answer within {timeout_s:g} s (a firewall drops it?)"
    except OSError as error:
        return reason(error)
    return ""
