"""What the streams of both sides share: their limits, their counters, and how their tasks end."""

from collections.abc import Awaitable, Callable
from typing import Final, final

import msgspec
import trio

from broker_trio.broker.replication.refusals import RefusedPeerError
from broker_trio.model.errors import Refused, RemoteProtocolError

SILENCE_HEARTBEATS: Final = 10  # without a word from the peer, then the connection is given up
LINGER_S: Final = 0.005  # a confirm offset alone waits so long for bytes to go with


class Streaming(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and times, in seconds and bytes."""

    heartbeat_s: float = 1.0
    slave_timeout_s: float = 3.0
    chunk_bytes: int = 256 << 10
    catch_up_bytes_per_s: int = 100 << 20  # to one slave that is more than `level_bytes` behind
    level_bytes: int = 8 << 20
    gap_bytes_max: int = 256 << 20

    @property
    def silence_s(self) -> float:
        return self.heartbeat_s * SILENCE_HEARTBEATS


@final
class StreamStats:
    """Counters of one broker, as master and as slave; they only rise."""

    def __init__(self) -> None:
        self.attached = self.detached = 0
        self.bytes_sent = self.bytes_received = 0
        self.acks_received = self.acks_sent = 0
        self.cut_bytes = self.cuts = 0
        self.failed_attempts = 0
        self.offsets_merged = 0


Task = Callable[[], Awaitable[None]]
ENDS: Final = (
    RefusedPeerError,
    RemoteProtocolError,
    Refused,
    OSError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)
"""What ends a connection and nothing else: a peer, a file that expired, a disk that is full."""


async def first_of(*tasks: Task) -> None:
    """Run them until one returns or finds something wrong with the peer; that is raised bare."""
    ends: list[Exception] = []

    async def run(task: Task) -> None:
        try:
            await task()
        except ENDS as end:
            ends.append(end)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(run, task)
    if ends:
        raise ends[0]


@final
class Counts:
    """About how many messages lie between two places of the log, for lags that people read.

    Samples of (physical offset, messages before it), a few thousand; between and before them the
    mean size of a message decides.
    """

    def __init__(self, samples_max: int = 4_096, step_bytes: int = 64 << 10) -> None:
        self._samples: list[tuple[int, int]] = []
        self._max, self._step = samples_max, step_bytes

    def note(self, offset: int, count: int) -> None:
        """`count` messages were appended here up to `offset`; both ascend."""
        samples = self._samples
        if samples and offset < samples[-1][0]:
            samples.clear()  # the log was cut
        if len(samples) > 1 and offset - samples[-2][0] < self._step:
            samples[-1] = (offset, count)
            return
        samples.append((offset, count))
        if len(samples) > self._max:
            del samples[1::2]

    def between(self, begin: int, end: int) -> int:
        """Messages in [begin, end), about; exact near the log's end."""
        return max(0, self._at(end) - self._at(begin)) if begin < end else 0

    def _at(self, offset: int) -> int:
        samples = self._samples
        if not samples:
            return 0
        low, high = 0, len(samples) - 1
        if offset >= samples[high][0]:
            return samples[high][1]
        if offset < samples[0][0] or high == 0:
            first, last = samples[0], samples[high]
            span, count = last[0] - first[0], last[1] - first[1]
            missing = first[0] - offset
            return first[1] - (missing * count // span if span and count else missing >> 10)
        while high - low > 1:
            middle = (low + high) // 2
            if samples[middle][0] <= offset:
                low = middle
            else:
                high = middle
        (left, before), (right, after) = samples[low], samples[high]
        return before + (offset - left) * (after - before) // max(1, right - left)
