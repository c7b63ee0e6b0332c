"""Where a slave of an Apache master begins, and whether it may: decisions over plain numbers.

    own log   |-------------------------- end
    master       min ------------------------------- max
                            |<-overlap->|
                            at: asked for again, and compared byte by byte before anything is added

Apache's master takes the first report as the place to send from, but reads 0 as "the beginning of
my newest segment": a fresh slave would never get what is older. So a slave that needs byte 0 asks
for byte 1. The byte in between is 0 for certain: it is the highest one of the first record's size,
and no record has 16 MiB. The record's own checks then prove it.

Classic framing compares offsets and never contents. Here the end of the own log is asked for again
and compared, so that a master that lost its tail and wrote something else there is found out.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from broker_trio.model.errors import RemoteProtocolError

OVERLAP_BYTES: Final = 64 << 10
WIDER: Final = 16  # times, where the whole overlap differs
FIRST_BYTE: Final = b"\0"


class Facts(NamedTuple):
    """What a master says of itself (requests 26 and 28)."""

    broker_name: str
    cluster: str
    broker_id: int
    segment_bytes: int
    door: int  # the port of its replication door
    begin: int
    end: int
    odd: str = ""  # a setting under which its framing is another one


class Beginning(NamedTuple):
    """`at`: the first byte that is compared or appended; `anew`: an empty log is to begin there."""

    at: int
    anew: bool = False

    @property
    def first_report(self) -> int:
        """What to ask for, so that nothing from `at` on is missing."""
        return max(1, self.at)


def facts_of(config: Mapping[str, str], runtime: Mapping[str, str], door: int) -> Facts:
    """From the answers' tables; `door` where it does not say its own.

    Raises `RemoteProtocolError` where one lacks what must be there.
    """
    odd = next(
        (name for name in ("enableControllerMode", "enableDLegerCommitLog")
         if config.get(name) == "true"),
        "",
    )  # fmt: skip
    try:
        return Facts(
            config["brokerName"],
            config["brokerClusterName"],
            int(config["brokerId"]),
            int(config["mappedFileSizeCommitLog"]),
            int(config.get("haListenPort", door)),
            *ends_of(runtime),
            odd=odd,
        )
    except KeyError as missing:
        text = f"the master's configuration (request 26) does not say {missing}"
        raise RemoteProtocolError(text) from None
    except ValueError as error:
        raise RemoteProtocolError(f"the master's configuration (request 26): {error}") from None


def ends_of(runtime: Mapping[str, str]) -> tuple[int, int]:
    """(begin, end) of a master's log, by its runtime information (request 28)."""
    try:
        begin, end = int(runtime["commitLogMinOffset"]), int(runtime["commitLogMaxOffset"])
    except (KeyError, ValueError) as error:
        raise RemoteProtocolError(f"the master's runtime information: {error!r}") from None
    if not -1 <= begin <= end:
        raise RemoteProtocolError(f"the master's log is said to be [{begin}, {end})")
    return max(0, begin), end


def why_not(facts: Facts, *, broker_name: str, cluster: str, segment_bytes: int) -> str:
    """Why this master cannot be followed; empty = it can."""
    if (facts.cluster, facts.broker_name) != (cluster, broker_name):
        return (
            f"it is {facts.broker_name} of {facts.cluster}, here broker_name = {broker_name!r} and "
            f"cluster_name = {cluster!r}: a slave has its master's"
        )
    if facts.odd:
        return f"it has {facts.odd}=true and speaks another framing; classic replication is needed"
    if facts.broker_id != 0:
        return f"it is itself a slave (brokerId={facts.broker_id}): follow its master"
    if facts.segment_bytes != segment_bytes:
        return (
            f"its mappedFileSizeCommitLog is {facts.segment_bytes}: set "
            f"store.commit_log_segment_bytes to that (it is {segment_bytes})"
        )
    return ""


def beginning(low: int, end: int, facts: Facts, overlap: int = OVERLAP_BYTES) -> Beginning | str:
    """Where to begin with an own log of [low, end); or why it cannot be gone on with."""
    if low == end:  # nothing yet
        return Beginning(facts.begin, anew=facts.begin != end)
    if end < facts.begin:
        return (
            f"this log ends at {end}, and the oldest byte that the master still has is "
            f"{facts.begin}: follow with an empty data folder"
        )
    return Beginning(max(low, facts.begin, min(end, facts.end) - overlap))
