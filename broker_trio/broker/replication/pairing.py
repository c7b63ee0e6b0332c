"""A broker's pair, whole: records (who may) and streams (the bytes), put between the other parts.

store recovered ─▶ Records.open ─▶ Replication ─▶ hidden what is not confirmed ─▶ doors
                    who this is      its streams    sends wait for copies from here on
"""

from typing import Any, Final, final

from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.held_pulls import HeldPulls
from broker_trio.broker.pull import Pull
from broker_trio.broker.registrar import Registrar
from broker_trio.broker.replication.line import Who
from broker_trio.broker.replication.machine import Timing
from broker_trio.broker.replication.metadata_sync import Tables
from broker_trio.broker.replication.receipts import PairReceipts
from broker_trio.broker.replication.records import Records
from broker_trio.broker.replication.replica import PairSettings
from broker_trio.broker.replication.replication import Replication
from broker_trio.broker.replication.slave_service import SlaveService
from broker_trio.broker.replication.streaming import Streaming
from broker_trio.broker.retry import Retry
from broker_trio.broker.schedule import Schedule
from broker_trio.broker.send import Send
from broker_trio.broker.stats import BrokerStats
from broker_trio.model.errors import ConfigError
from broker_trio.remoting.client import RemotingClient
from broker_trio.remoting.dispatch import Route
from broker_trio.runtime.seams import Clock, Disk, Entropy, Network
from broker_trio.runtime.supervise import Service
from broker_trio.store.store import Store
from broker_trio.wire.replication import KEY_BYTES_MIN

DOOR_OFFSET: Final = 1  # the replication door is the port above a broker's


def next_door(address: str, by: int = DOOR_OFFSET) -> str:
    """The same host, a neighbouring port; port 0 stays 0."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + by if int(port) else 0}"


def check_key(config: BrokerConfig, key: bytes) -> None:
    """Raises `ConfigError` for a key that proves nothing."""
    if config.replication.is_on and len(key) < KEY_BYTES_MIN:
        raise ConfigError(
            f"replication.key_file = {config.replication.key_file!r} holds {len(key)} bytes, at "
            f"least {KEY_BYTES_MIN} are needed: head -c 32 /dev/urandom > FILE"
        )


@final
class Pairing:
    """Records and streams of one broker."""

    def __init__(
        self,
        records: Records,
        replication: Replication,
        receipts: PairReceipts,
        service: SlaveService,
    ) -> None:
        self.records, self.replication, self.receipts = records, replication, receipts
        self.service = service

    @classmethod
    async def open(
        cls,
        clock: Clock,
        disk: Disk,
        network: Network,
        entropy: Entropy,
        config: BrokerConfig,
        address: str,
        key: bytes,
        store: Store,
        tables: Tables,
        schedule: Schedule,
        stats: BrokerStats,
    ) -> "Pairing":
        """After the store and the tables are there, before any door. `address`: for clients."""
        pair = config.replication
        settings = PairSettings(
            broker_name=config.broker_name,
            replica_id=pair.replica_id,
            address=address,
            peer=pair.peer,
            others=pair.others,
            witnesses=tuple(config.nameservers),
            first_role=pair.role,
            mode=pair.mode,
            restore_after_s=pair.restore_after_ms / 1_000,
        )
        records = await Records.open(
            store, clock, disk, entropy, settings,
            Timing(pair.lease_ms / 1_000, pair.heartbeat_ms / 1_000),
            early_acks=not store.is_sync,
        )  # fmt: skip
        role = records.replica
        streaming = Streaming(
            heartbeat_s=pair.heartbeat_ms / 1_000,
            slave_timeout_s=pair.slave_timeout_ms / 1_000,
            chunk_bytes=pair.chunk_bytes,
            catch_up_bytes_per_s=pair.catch_up_bytes_per_s,
            gap_bytes_max=pair.gap_bytes_max,
        )
        who = Who(config.cluster_name, config.broker_name, pair.replica_id, role.store_id)
        doors = [next_door(address) for address in (pair.peer, *pair.others)]
        replication = Replication(
            store, role, tables, schedule, clock, disk, network, entropy, streaming,
            lambda: who, key, doors, pair.listen or next_door(config.listen),
            flush_timeout_s=config.store.flush_timeout_ms / 1_000,
        )  # fmt: skip
        role.make_durable = replication.make_durable
        role.lag, role.lags = lambda: replication.lag, replication.lags
        role.is_spare = replication.followers.is_spare
        await replication.open()
        trace = "true" if config.trace_on else "false"
        receipts = PairReceipts(
            replication.acks, role, store, stats.receipts, config.region_id, trace
        )
        service = SlaveService(
            role, replication.slave, pair.replica_id, pair.mode,
            lambda: role.may_write(clock.monotonic()),
            lambda: replication.readable_at(clock.monotonic()),
        )  # fmt: skip
        return cls(records, replication, receipts, service)

    def join(
        self, send: Send, retry: Retry, registrar: Registrar, pull: Pull, held: HeldPulls
    ) -> None:
        """Let answers wait for copies, readers go where they should, registrations follow."""
        pull.join_pair(self.service)
        self.replication.slave.on_source.append(held.wake_all)
        send.join_pair(self.receipts)
        retry.acks = self.replication.acks
        self.records.register_by(registrar.become, registrar.again)

    def routes(self) -> tuple[Route[Any], ...]:
        """What this broker answers about its pair."""
        return self.records.routes()

    def services(self, client: RemotingClient) -> tuple[Service, ...]:
        """What runs while the broker does; started before its doors open."""
        return (*self.replication.services(), *self.records.services(client))
