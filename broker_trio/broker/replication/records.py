"""The part of a pair that is about records, put together for one broker.

    open    pair.cbor, or a new store id ─▶ Machine ─▶ Replica (the `Role` of the streams)
    run     Lease: a new epoch after a restart, questions, tellings, restoring by itself
    asked   PairRequests: 26001 to 26004

The store has recovered before `open`: where its log ends, and whether the stop was a clean one,
decides whether this still is the same store (rule 9).
"""

from collections.abc import Callable
from typing import Any, Self, final

import structlog

from broker_trio.broker.replication.lease import Lease
from broker_trio.broker.replication.machine import Machine, Timing
from broker_trio.broker.replication.replica import PairSettings, Replica
from broker_trio.broker.replication.requests import PairRequests
from broker_trio.broker.replication.state_file import (
    at_start,
    load_state,
    new_store_id,
    save_state,
)
from broker_trio.model.errors import StoreFailed
from broker_trio.model.route import MASTER_ID
from broker_trio.remoting.client import RemotingClient
from broker_trio.remoting.dispatch import Route
from broker_trio.runtime.seams import Clock, Disk, Entropy
from broker_trio.runtime.supervise import Service
from broker_trio.store.store import Store

log = structlog.get_logger()


@final
class Records:
    """One broker's records: `replica` is its `Role`."""

    def __init__(
        self, machine: Machine, store: Store, clock: Clock, disk: Disk, settings: PairSettings
    ) -> None:
        async def make_durable() -> None:
            store.write_out()
            await store.wait_flushed(store.log.max_offset)

        self.settings = settings
        self.replica = Replica(machine, clock, disk, store.log, settings, make_durable)
        self._requests = PairRequests(self.replica, clock, store.log)
        self._clock = clock

    @classmethod
    async def open(
        cls,
        store: Store,
        clock: Clock,
        disk: Disk,
        entropy: Entropy,
        settings: PairSettings,
        timing: Timing,
        *,
        early_acks: bool,
    ) -> Self:
        """`early_acks`: copies count before they are fsynced (rule 9).

        Raises `StoreCorrupt` for a state file that cannot be read, `StoreFailed` for a broken disk.
        """
        recovered = store.recovered
        assert recovered is not None, "the store recovers before anybody asks about records"
        loaded = load_state(disk)
        early = early_acks and settings.mode == "sync"
        kept = at_start(
            loaded,
            new_store_id(entropy),
            cache=disk.cache_life,
            log_end=store.log.max_offset,
            early=early,
            clean=recovered.clean,
        )
        if kept != loaded:
            try:
                await save_state(disk, kept)
            except OSError as error:
                raise StoreFailed(f"{disk.root}: the pair's state: {error}") from error
            log.info("pair.store", store_id=kept.store_id, new=loaded is None)
        if loaded is not None and loaded.store_id != kept.store_id:
            log.warning("pair.tail_lost", before=loaded.store_id, now=kept.store_id)
        machine = Machine(kept, timing, settings.witnesses)
        return cls(machine, store, clock, disk, settings)

    def routes(self) -> tuple[Route[Any], ...]:
        """What this broker answers about its pair."""
        return self._requests.routes()

    def services(self, client: RemotingClient) -> tuple[Service, ...]:
        """What runs while the broker does; started before its doors open."""
        return (Lease(self.replica, client, self._clock).run,)

    def register_by(self, become: Callable[[int, str], None], again: Callable[[str], None]) -> None:
        """Register as master while this replica owns, else as the slave that it is.

        A master that makes its next record stays the master meanwhile: a client that asked for the
        route in that moment would be without one for half a minute. After a handover nameservers
        hear of the record late: each is asked `again` once it has it.
        """

        def changed() -> None:
            replica = self.replica
            state, store_id = replica.machine.state, replica.store_id
            goes_on = state.settled.owner == store_id == state.promised.owner and not state.fenced
            is_master = replica.owns or (goes_on and not replica.machine.must_renew)
            become(MASTER_ID if is_master else self.settings.replica_id, store_id)

        self.replica.on_change.append(changed)
        self.replica.on_taken.append(again)
        changed()
