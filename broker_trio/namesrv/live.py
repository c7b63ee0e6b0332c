"""Which broker addresses are alive, and which connection speaks for each.

    (cluster, broker address) ──► LiveBroker {name, id, last update, timeout, DataVersion, session}
    session id                ──► the keys that registered over it last

Three things end an entry: the broker says so, its connection closes, or it is silent for longer
than its timeout. A connection is known by its identity and never by its address: a broker that
reconnects registers over the new connection, and the old one's late end must not take it away.

Times are seconds on the monotonic scale and come from the caller; nothing here waits or decides
what a lost broker means for routes (`routes.py` does).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

from broker_trio.model.topic import DataVersion

HEARTBEAT_TIMEOUT_S_MAX: Final = 3_600.0
"""The longest silence that a broker may ask for; longer ones would hide a dead broker for good."""

LiveKey = tuple[str, str]  # cluster, broker address


@dataclass(slots=True)
class LiveBroker:
    """What the last registration or heartbeat of one address left."""

    cluster: str
    broker_name: str
    broker_addr: str
    broker_id: int
    ha_server_addr: str
    data_version: DataVersion
    session_id: int
    timeout_s: float
    last_update: float
    store_id: str = ""  # of a replica of a pair

    @property
    def key(self) -> LiveKey:
        return (self.cluster, self.broker_addr)

    def silent(self, now: float) -> bool:
        """Whether its timeout passed; the exact moment still counts as alive."""
        return self.last_update + self.timeout_s < now


@final
class LiveBrokers:
    """The live table. At most one entry an address of a cluster, at most one session an entry."""

    def __init__(self) -> None:
        self._brokers: dict[LiveKey, LiveBroker] = {}
        self._by_session: dict[int, dict[LiveKey, None]] = {}

    def __len__(self) -> int:
        return len(self._brokers)

    def __iter__(self) -> Iterator[LiveBroker]:
        return iter(self._brokers.values())

    def get(self, cluster: str, broker_addr: str) -> LiveBroker | None:
        return self._brokers.get((cluster, broker_addr))

    def put(self, live: LiveBroker) -> None:
        """Record a registration; the session that it came over speaks for the address from now."""
        self.drop(*live.key)
        live.timeout_s = min(live.timeout_s, HEARTBEAT_TIMEOUT_S_MAX)
        self._brokers[live.key] = live
        self._by_session.setdefault(live.session_id, {})[live.key] = None

    def refresh(self, cluster: str, broker_addr: str, now: float) -> bool:
        """A sign of life. False where nobody registered that address."""
        live = self._brokers.get((cluster, broker_addr))
        if live is not None:
            live.last_update = now
        return live is not None

    def drop(self, cluster: str, broker_addr: str) -> LiveBroker | None:
        """Forget one address, and that its session spoke for it."""
        live = self._brokers.pop((cluster, broker_addr), None)
        if live is not None:
            keys = self._by_session[live.session_id]
            del keys[live.key]
            if not keys:
                del self._by_session[live.session_id]
        return live

    def of_session(self, session_id: int) -> list[LiveBroker]:
        """Every broker that this connection speaks for, oldest registration first."""
        return [self._brokers[key] for key in self._by_session.get(session_id, ())]

    def expired(self, now: float) -> list[LiveBroker]:
        """Every broker whose timeout passed, by cluster and address."""
        return sorted(
            (live for live in self._brokers.values() if live.silent(now)), key=lambda live: live.key
        )
