"""What was refused at the replication door: counted each time, logged once a peer and reason."""

from typing import Final, final

import structlog

from broker_trio.metrics.families_pair import REFUSED_REASONS

LOGGED_MAX: Final = 1_000  # (reason, host) pairs; beyond it things are only counted

REASONS: Final = REFUSED_REASONS

log = structlog.get_logger("replication")


class RefusedPeerError(Exception):
    """The peer is refused: tell it why, count it, close."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        assert reason in REASONS
        self.reason, self.text = reason, text


@final
class Refusals:
    """One broker's."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(REASONS, 0)
        self._logged: set[tuple[str, str]] = set()

    def note(self, refused: RefusedPeerError, peer: str) -> None:
        """Count it; log it the first time from that host."""
        self.counts[refused.reason] += 1
        key = (refused.reason, peer.rpartition(":")[0])
        if key not in self._logged and len(self._logged) < LOGGED_MAX:
            self._logged.add(key)
            log.warning("replication.refused", peer=peer, reason=refused.reason, text=refused.text)

    def forget(self, host_and_port: str) -> None:
        """A peer is well again: its next refusal is news."""
        host = host_and_port.rpartition(":")[0]
        self._logged = {key for key in self._logged if key[1] != host}
