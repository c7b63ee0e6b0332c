"""Plain counters of the nameserver; metrics/ reads them when it is scraped (ops.md §11.3)."""

from typing import Final, final

from broker_trio.model.histogram import PUT_SECONDS, Histogram

EXPIRED_NAMES_MAX: Final = 1_024
"""Broker names counted apart; further ones share `OTHER`, so that labels stay bounded."""
OTHER: Final = "(other)"


@final
class NameserverStats:
    """Counters only grow. Gauges are asked of the route table itself."""

    def __init__(self) -> None:
        self.registrations = {"new": 0, "refresh": 0, "unchanged": 0, "rejected": 0}
        self.expirations: dict[str, int] = {}  # by broker name: silent, or connection closed
        self.route_found = 0
        self.route_not_found = 0
        self.route_duration = Histogram(PUT_SECONDS)  # seconds from the frame's arrival

    def expired(self, broker_name: str) -> None:
        """Count one broker address dropped without its own word."""
        counts = self.expirations
        name = broker_name
        if name not in counts and len(counts) >= EXPIRED_NAMES_MAX:
            name = OTHER
        counts[name] = counts.get(name, 0) + 1
