"""What a program of ours says of its host (26100): the body that `doctor` reads.

Only numbers and names that an operator of the cluster may see: no path, no setting that is secret.
Times in ms since 1970, sizes in bytes; None where the program does not know.
"""

import msgspec

from broker_trio.wire.bodies.codec import decode_body, encode_body
from broker_trio.wire.command import Serialize


class NameserverView(msgspec.Struct, frozen=True, rename="camel"):
    """One nameserver, as a broker reaches it."""

    address: str
    registered: bool = False
    last_success_ms: int = 0
    last_error: str = ""


class HostFacts(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to HOST_FACTS."""

    role: str = ""  # broker | nameserver
    name: str = ""
    version: str = ""
    wall_ms: int = 0
    uptime_s: int = 0
    address: str = ""  # what it tells others
    http_address: str = ""
    insecure: bool = False
    open_files: int = -1
    open_files_max: int = -1
    disk_total: int = 0
    disk_free: int = 0
    nowait: bool | None = None  # reads of cached bytes on the loop: RWF_NOWAIT
    flush: str = ""
    nameservers: list[NameserverView] = []
    route_fingerprint: int | None = None  # of a nameserver's table


def encode_host_facts(facts: HostFacts, serialize: Serialize) -> bytes:
    return encode_body(facts, serialize)


def decode_host_facts(data: bytes, serialize: Serialize) -> HostFacts:
    return decode_body(data, serialize, HostFacts)
