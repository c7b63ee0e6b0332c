"""The pairs of an `up`, as their replicas tell: who is the master, and whether the pair is whole.

    STATUS of each replica ─┬─▶ Seen ─▶ why_not_whole      `up` is ready when every pair is
    routes of a nameserver ─┘      └──▶ role changes       told to the view while it runs

A new pair is whole within a second: the slave attaches, and becomes a member.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from broker_trio.cli.access import Cluster
from broker_trio.cli.pair.reach import status_of
from broker_trio.client.calls import Calls
from broker_trio.client.errors import ClientError
from broker_trio.client.routes import Nameservers
from broker_trio.model.codes import RequestCode
from broker_trio.model.pair import Kept, Status
from broker_trio.remoting.client import RemotingClient, Unreachable, connect_tcp
from broker_trio.wire.bodies.route import decode_cluster_info

if TYPE_CHECKING:
    from broker_trio.cli.up.plan import Plan, Process

LOOK_S: Final = 0.1  # until all are whole, and while a replica is missing
WATCH_S: Final = 0.5
ASK_S: Final = 1.0


class Seen(NamedTuple):
    """One replica at a moment. `broker_id` is what clients know it by: 0 is the master."""

    process: "Process"
    status: Status | None  # None: no answer

    @property
    def kept(self) -> Kept | None:
        return None if self.status is None else self.status.kept

    @property
    def owns(self) -> bool:
        kept = self.kept
        return (
            kept is not None
            and kept.settled.owner == kept.store_id
            and kept.promised == kept.settled.epoch
            and kept.proposed is None
        )

    @property
    def broker_id(self) -> int:
        return 0 if self.owns or not self.process.peer else self.process.replica_id

    @property
    def role(self) -> str:
        return "slave" if self.broker_id else "master"

    @property
    def state(self) -> str:
        """For people: the state of failover, and what a master's answers are worth."""
        if self.status is None:
            return "silent"
        kept = self.kept
        if not self.owns or kept is None:
            return self.status.state
        copies = "one copy" if kept.settled.min == 1 else f"{kept.settled.min} copies"
        return f"{self.status.state}, epoch {kept.settled.epoch.counter}, {copies}"


def why_not_whole(replicas: list[Seen]) -> str:
    """What a pair still waits for; empty where its master writes and its slave is a member."""
    owner = next((one for one in replicas if one.owns), None)
    if owner is None or owner.status is None or owner.status.state != "owner":
        states = ", ".join(f"{one.process.instance} is {one.state}" for one in replicas)
        return f"no master yet: {states}"
    kept = owner.kept
    others = [one for one in replicas if one is not owner]
    assert kept is not None
    if len(kept.settled.members) == 1:
        return f"{owner.process.instance} has the only copy that counts"
    return next(
        (
            f"{one.process.instance} is {one.state}"
            for one in others
            if one.status is None or one.status.state != "slave"
        ),
        "",
    )


class Pairs:
    """All pairs of a plan. Plans without pairs are whole at once, and never change."""

    def __init__(self, plan: "Plan") -> None:
        self._plan = plan
        self._replicas = [process for process in plan.brokers if process.peer]
        self.seen: dict[str, Seen] = {
            process.instance: Seen(process, None) for process in plan.brokers
        }

    async def whole(self, tell: Callable[[str], None]) -> None:
        """Return when every pair is whole and routed; `tell` hears each second what is missing."""
        if not self._replicas:
            return
        async with RemotingClient(connect_tcp) as client:
            cluster = self._cluster(client)
            told_at = trio.current_time()
            while why := await self._why_not(cluster):
                if trio.current_time() - told_at >= 1.0:
                    told_at = trio.current_time()
                    tell(why)
                await trio.sleep(LOOK_S)

    async def watch(self, changed: Callable[[Seen], None]) -> None:
        """Tell each replica whose role is not what it was, until cancelled."""
        async with RemotingClient(connect_tcp) as client:
            cluster = self._cluster(client)
            while self._replicas:
                before = dict(self.seen)
                await self._look(cluster)
                for name, now in self.seen.items():
                    if now.status is None:
                        self.seen[name] = before[name]
                    elif now.owns != before[name].owns or now.state != before[name].state:
                        changed(now)
                await trio.sleep(WATCH_S)

    def _cluster(self, client: RemotingClient) -> Cluster:
        calls = Calls(client, timeout_s=ASK_S)
        addresses = [process.address for process in self._plan.nameservers]
        return Cluster(calls, Nameservers(calls, addresses))

    async def _look(self, cluster: Cluster) -> None:
        async def ask(process: "Process") -> None:
            status = await status_of(cluster, process.address, process.broker_name)
            found = status if isinstance(status, Status) else None
            self.seen[process.instance] = Seen(process, found)

        async with trio.open_nursery() as nursery:
            for process in self._replicas:
                nursery.start_soon(ask, process)

    async def _why_not(self, cluster: Cluster) -> str:
        await self._look(cluster)
        for name in self._plan.names:
            replicas = [one for one in self.seen.values() if one.process.broker_name == name]
            if why := why_not_whole(replicas):
                return why
        for nameserver in self._plan.nameservers:
            routed = await _routed(cluster, nameserver.address)
            for one in self.seen.values():
                place = (one.process.broker_name, one.broker_id)
                if one.process.peer and routed.get(place) != one.process.address:
                    return f"{nameserver.instance} does not show {one.process.instance} yet"
        return ""


async def _routed(cluster: Cluster, nameserver: str) -> dict[tuple[str, int], str]:
    """Who is registered: (broker name, broker id) to address."""
    try:
        answer = await cluster.calls.ask(nameserver, RequestCode.GET_BROKER_CLUSTER_INFO)
    except (ClientError, Unreachable):
        return {}
    info = decode_cluster_info(answer.body, answer.serialize)
    return {
        (name, broker_id): address
        for name, data in info.broker_addr_table.items()
        for broker_id, address in data.broker_addrs.items()
    }
