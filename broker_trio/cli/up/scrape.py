"""Reading our own children: one HTTP request, and sums over a metrics page.

No HTTP library: requests go to processes that this command started, over loopback, and each answer
ends with its connection.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import trio

ANSWER_BYTES_MAX: Final = 64 << 20
TIMEOUT_S: Final = 2.0


class Answer(NamedTuple):
    """Status and body of an HTTP answer."""

    status: int
    body: bytes


async def http_get(address: str, path: str) -> Answer | None:
    """`GET path` of `host:port`; None where nobody answers within two seconds."""
    host, _, port = address.rpartition(":")
    request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
    data = bytearray()
    with trio.move_on_after(TIMEOUT_S) as scope:
        try:
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await stream.send_all(request)
                async for chunk in stream:
                    data += chunk
                    if len(data) > ANSWER_BYTES_MAX:
                        return None
        except (OSError, trio.BrokenResourceError):
            return None
    return None if scope.cancelled_caught else parse_answer(bytes(data))


def parse_answer(data: bytes) -> Answer | None:
    """Status and body; None for what is no whole answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    words = lines[0].split()
    if len(words) < 2 or not words[1].isdigit():
        return None
    if b"transfer-encoding: chunked" in head.lower():
        body = _dechunked(body)
    return Answer(int(words[1]), body)


def _dechunked(data: bytes) -> bytes:
    parts = []
    while data:
        size_text, _, rest = data.partition(b"\r\n")
        size = int(size_text.split(b";")[0] or b"0", 16)
        if size == 0:
            break
        parts.append(rest[:size])
        data = rest[size + 2 :]
    return b"".join(parts)


@dataclass(slots=True)
class Totals:
    """What the live line is made of, summed over brokers."""

    messages_in: float = 0.0
    messages_out: float = 0.0
    lag: float = 0.0
    connections: float = 0.0

    def add(self, page: bytes) -> None:
        """Add one broker's metrics page."""
        self.messages_in += sum_of(page, b"rocketmq_messages_in_total")
        self.messages_out += sum_of(page, b"rocketmq_messages_out_total")
        self.lag += sum_of(page, b"rocketmq_consumer_lag_messages")
        self.connections += sum_of(page, b"brokertrio_connections")


def sum_of(page: bytes, family: bytes) -> float:
    """Sum of all series of one family; 0.0 where it has none."""
    return sum(
        float(line.rpartition(b" ")[2])
        for line in page.splitlines()
        if line.startswith((family + b"{", family + b" "))
    )


async def totals_of(addresses: list[str]) -> Totals | None:
    """Figures of all brokers; None where one of them did not answer."""
    totals = Totals()
    for address in addresses:
        answer = await http_get(address, "/metrics")
        if answer is None or answer.status != 200:
            return None
        totals.add(answer.body)
    return totals
