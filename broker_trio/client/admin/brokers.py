"""Which brokers there are, and where: what every other part of the admin client starts from.

nameserver ── cluster_info ──▶ replicas            every registered address
                               masters             whom orders go to (id 0)
                               readable            whom to read from: master, else a slave
"""

from typing import NamedTuple, final

from broker_trio.client.admin.problems import NoSuchBroker
from broker_trio.client.routes import Nameservers, masters, readable_address
from broker_trio.model.route import MASTER_ID


class Replica(NamedTuple):
    """One registered broker process. Id 0 is the master."""

    cluster: str
    broker_name: str
    broker_id: int
    address: str

    @property
    def role(self) -> str:
        return "master" if self.broker_id == MASTER_ID else "slave"


@final
class Brokers:
    """The brokers of the cluster, as its nameservers know them now."""

    def __init__(self, nameservers: Nameservers) -> None:
        self._nameservers = nameservers

    async def replicas(self) -> list[Replica]:
        """Every registered replica, by broker name and id."""
        info = await self._nameservers.cluster_info()
        return [
            Replica(data.cluster, name, broker_id, address)
            for name, data in sorted(info.broker_addr_table.items())
            for broker_id, address in sorted(data.broker_addrs.items())
        ]

    async def masters(self, cluster: str = "", broker: str = "") -> dict[str, str]:
        """Broker name to its master's address, narrowed. Raises `NoSuchBroker` where none is."""
        info = await self._nameservers.cluster_info()
        names = set(info.broker_addr_table)
        if cluster:
            names &= set(info.cluster_addr_table.get(cluster, ()))
        if broker:
            names &= {broker}
        found = {
            name: address
            for name in sorted(names)
            if (address := info.broker_addr_table[name].master)
        }
        if not found:
            wanted = f"no master fits cluster {cluster or '*'}, broker {broker or '*'}"
            raise NoSuchBroker(wanted, info.broker_addr_table)
        return found

    async def address_of(self, broker: str) -> str:
        """An address as it is; a broker name's master, or its first slave, else.

        Raises `NoSuchBroker`.
        """
        if ":" in broker:
            return broker
        table = (await self._nameservers.cluster_info()).broker_addr_table
        data = table.get(broker)
        address = None if data is None else readable_address(data)
        if address is None:
            raise NoSuchBroker(f"no broker named {broker}", table)
        return address

    async def masters_of_topic(self, topic: str) -> dict[str, str]:
        """The masters that have the topic. Raises `NoRoute`."""
        return masters(await self._nameservers.route(topic))

    async def readable_of_topic(self, topic: str) -> dict[str, str]:
        """Whom to read the topic from, by broker name. Raises `NoRoute`."""
        route = await self._nameservers.route(topic)
        return {
            data.broker_name: address
            for data in route.broker_datas
            if (address := readable_address(data))
        }
