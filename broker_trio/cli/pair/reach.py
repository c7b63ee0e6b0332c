"""Everybody's word on a pair: who is asked, and what came back.

    nameservers ─▶ registered replicas ─▶ their peers and their own list of nameservers
                          └──────── STATUS of each ────────┘ ─▶ View

A replica that is not registered is found by its partner's word, or by `--replica`. Who gives no
status is in `silent` with the reason: an absence is a fact for a guard, never an error.
"""

from collections.abc import Iterable
from typing import Final

import trio

from broker_trio.broker.replication.view import View
from broker_trio.cli.access import Cluster
from broker_trio.client.errors import BrokerRefused, ClientError
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.model.pair import Record, Status
from broker_trio.remoting.client import Unreachable
from broker_trio.wire.bodies import pair as bodies
from broker_trio.wire.bodies.route import decode_cluster_info

STATUS_S_MAX: Final = 1.0  # a host that hangs must not hold up its own replacement
ROUNDS_MAX: Final = 3  # of finding replicas by what others say of them


async def names_of(cluster: Cluster, nameservers: Iterable[str]) -> dict[str, set[str]]:
    """Every broker name and its registered addresses, from all nameservers that answer."""
    found: dict[str, set[str]] = {}

    async def ask(address: str) -> None:
        try:
            answer = await cluster.calls.ask(address, RequestCode.GET_BROKER_CLUSTER_INFO)
            info = decode_cluster_info(answer.body, answer.serialize)
        except (ClientError, Unreachable, RemoteProtocolError):
            return
        for name, data in info.broker_addr_table.items():
            found.setdefault(name, set()).update(data.broker_addrs.values())

    async with trio.open_nursery() as nursery:
        for address in nameservers:
            nursery.start_soon(ask, address)
    return found


async def status_of(cluster: Cluster, address: str, name: str) -> Status | str:
    """What it says of itself, or why it says nothing; within a second, or the timeout of all."""
    body = bodies.encode(bodies.Naming(broker_name=name))
    within_s = min(STATUS_S_MAX, cluster.calls.timeout_s)
    try:
        answer = await cluster.calls.ask(
            address, RequestCode.PAIR_STATUS, body=body, within_s=within_s
        )
        return bodies.decode(answer.body, Status)
    except BrokerRefused as error:
        if error.code == ResponseCode.REQUEST_CODE_NOT_SUPPORTED:
            return "it is no part of a pair"
        return error.remark
    except (ClientError, Unreachable, RemoteProtocolError) as error:
        return str(error)


async def look(
    cluster: Cluster, nameservers: tuple[str, ...], name: str, replicas: tuple[str, ...]
) -> View:
    """Ask everybody about one broker name. `replicas`: addresses that the operator names."""
    registered = await names_of(cluster, nameservers)
    wanted = {*registered.get(name, ()), *replicas}
    found: dict[str, Status] = {}
    silent: dict[str, str] = {}

    async def ask(address: str) -> None:
        status = await status_of(cluster, address, name)
        if isinstance(status, Status):
            found[address] = status
        else:
            silent[address] = status

    for _ in range(ROUNDS_MAX):
        new = wanted - found.keys() - silent.keys()
        async with trio.open_nursery() as nursery:
            for address in new:
                nursery.start_soon(ask, address)
        wanted |= {status.peer for status in found.values() if status.peer}
    replicas_found = {a: s for a, s in sorted(found.items()) if s.kept is not None}
    classic = {a: s for a, s in sorted(found.items()) if s.classic is not None}
    told = {a for status in replicas_found.values() for a in status.witnesses}
    found.clear()
    async with trio.open_nursery() as nursery:
        for address in told or nameservers:
            nursery.start_soon(ask, address)
    return View(
        broker_name=name,
        replicas=replicas_found,
        witnesses={a: s for a, s in sorted(found.items()) if s.witness},
        silent=silent,
        witness_count=len(told or nameservers),
        classic=classic,
    )


async def table_of(cluster: Cluster, address: str) -> bodies.Table | str:
    """Every record of a witness, or why it tells none."""
    body = bodies.encode(bodies.Naming(broker_name="", table=True))
    try:
        answer = await cluster.calls.ask(address, RequestCode.PAIR_STATUS, body=body)
        return bodies.decode(answer.body, bodies.Table, bytes_max=bodies.TABLE_BYTES_MAX)
    except (ClientError, Unreachable, RemoteProtocolError) as error:
        return str(error)


async def adopt(cluster: Cluster, address: str, records: dict[str, Record]) -> None:
    """Tell a witness that forgot what is known. Raises what `Calls.ask` does."""
    body = bodies.encode(bodies.Adoption(records=records))
    await cluster.calls.ask(address, RequestCode.PAIR_ADOPT, body=body)


async def order(cluster: Cluster, address: str, asked: bodies.Order) -> Status:
    """Give one order. Raises `BrokerRefused` with the replica's reason, and what `ask` does."""
    answer = await cluster.calls.ask(
        address, RequestCode.PAIR_ORDER, body=bodies.encode(asked), longer_s=15.0
    )
    return bodies.decode(answer.body, Status)
