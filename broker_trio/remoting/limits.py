"""Limits of the remoting doors: section `[remoting]`. Each has a metric of use and of refusal."""

from typing import Final

import msgspec

MIB: Final = 1 << 20


class RemotingLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one peer, and all of them together, may hold of this process."""

    frame_bytes_max: int = 16 * MIB  # as Netty's peers have it: larger replies kill Java clients
    header_bytes_max: int = 256 << 10  # 32 KiB of properties may be four times that in JSON
    read_bytes: int = 128 << 10  # one socket read: tens of small frames; larger ones cost an mmap
    connections_max: int = 4_096
    connections_per_address_max: int = 1_024
    buffered_bytes_max: int = 256 * MIB  # unfinished frames of all connections together
    outbound_bytes_max: int = 32 * MIB  # queued answers of one connection; past it reading stops
    outbound_total_bytes_max: int = 512 * MIB  # of all connections; past it the largest goes
    parked_max: int = 20_000  # requests of one connection that wait for a flush or a message
    tasks_max: int = 1_024  # requests of one connection that wait for a cold read or a peer
    calls_max: int = 256  # our own requests to one peer that wait for its answer
    first_frame_s: float = 10.0  # from accept to the first whole frame
    frame_s: float = 30.0  # from a frame's first byte to its last
    idle_s: float = 120.0  # no byte either way (serverChannelMaxIdleTimeSeconds)
    write_stall_s: float = 30.0  # a peer that takes none of what is queued for it
    stop_grace_s: float = 5.0  # from the order to stop until open connections are cut
