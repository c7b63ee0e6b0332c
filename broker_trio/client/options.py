"""Everything that a client can be told, in one frozen record with the defaults of each.

Seconds are floats and end in `_s`; sizes are bytes. `connect(url, send_timeout_s=2.0)` takes the
same names one by one (`OptionNames`); a test holds the two lists together.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypedDict

from broker_trio.client.errors import InvalidArgument, InvalidName
from broker_trio.client.events import Event
from broker_trio.model.names import check_group
from broker_trio.remoting.client import Connect, connect_tcp
from broker_trio.runtime.ambient import wall_ms

if TYPE_CHECKING:
    from broker_trio.runtime.seams import Entropy

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a client behaves; `InvalidArgument` names a value that makes no sense."""

    group: str = "broker-trio-client"
    """Producer group: what brokers and tools call this program."""
    instance_name: str = ""
    """Goes into the client id, where a person is to recognise it; the id is unique without."""
    call_timeout_s: float = 5.0
    """One question to one broker, as long as nothing says otherwise."""
    nameserver_timeout_s: float = 2.0
    """One question to one nameserver, before the next one is asked."""
    send_timeout_s: float = 10.0
    """One send with all its attempts; each call may say otherwise."""
    send_attempts_max: int = 5
    resend_unknown: bool = True
    """Whether a send that nobody answered is sent again, with the same message id. False: at most
    once, and the caller decides."""
    fault_window_s: float = 1.0
    """How long a broker is avoided after its first failure; it doubles with each further one."""
    fault_window_max_s: float = 60.0
    route_poll_s: float = 30.0
    heartbeat_s: float = 30.0
    leave_timeout_s: float = 2.0
    """What leaving the client may take: saying good-bye to brokers."""
    body_bytes_max: int = 4 * MIB
    """Brokers refuse more by default (their `message_size_max`)."""
    batch_bytes_max: int = 1 * MIB
    batch_messages_max: int = 1_000
    compress_above_bytes: int | None = None
    """Larger bodies are sent compressed with zlib, which every client reads. None: never."""
    topics_max: int = 1_024
    """Topics whose routes are kept and polled; of more, the oldest is forgotten."""
    events_max: int = 1_000
    """Events that a slow listener may leave waiting."""
    tracing: bool = True
    """Carry W3C trace context in properties where OpenTelemetry is installed."""
    on_event: Callable[[Event], None] | None = None
    """Called with each event at once; must not wait and must not raise."""
    connect: Connect = connect_tcp
    wall_ms: Callable[[], int] = wall_ms
    entropy: "Entropy | None" = None
    """Where ids and jitter come from; None: a generator of its own."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (int, float, "int", "float") and value <= 0:
                raise InvalidArgument(f"{field.name} = {value!r}, must be above 0")
        try:
            check_group(self.group)
        except ValueError as error:
            raise InvalidName(f"group = {self.group!r}: {error}") from error


class OptionNames(TypedDict, total=False):
    """The same names, for `connect(url, **options)`."""

    group: str
    instance_name: str
    call_timeout_s: float
    nameserver_timeout_s: float
    send_timeout_s: float
    send_attempts_max: int
    resend_unknown: bool
    fault_window_s: float
    fault_window_max_s: float
    route_poll_s: float
    heartbeat_s: float
    leave_timeout_s: float
    body_bytes_max: int
    batch_bytes_max: int
    batch_messages_max: int
    compress_above_bytes: int | None
    topics_max: int
    events_max: int
    tracing: bool
    on_event: Callable[[Event], None] | None
    connect: Connect
    wall_ms: Callable[[], int]
    entropy: "Entropy | None"
