"""The HTTP door: health, readiness and the page, over the app and over a real socket."""

from collections.abc import Callable

import msgspec
import pytest
import trio

from broker_trio.metrics.collector import Identity, MetricsCollector
from broker_trio.metrics.exposition import Exposition
from broker_trio.metrics.http import Observed, Readiness, serve


def observed(readiness: Callable[[], Readiness]) -> Observed:
    collector = MetricsCollector(Identity("c", "nameserver", "n"), [])
    return Observed(Exposition(collector), readiness)


async def get(address: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """One request over a new connection; a plain HTTP/1.1 reader of our own."""
    host, _, port = address.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join([chunk async for chunk in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    if headers.get("transfer-encoding") == "chunked":
        body = dechunked(body)
    return int(status.split()[1]), headers, body


def dechunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        parts.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return b"".join(parts)


@pytest.mark.slow
async def test_the_door_answers_on_a_free_port_and_stops_when_cancelled(
    nursery: trio.Nursery,
) -> None:
    """Port 0 is reported as bound; the three paths answer; cancelled, the port is free again."""
    state = [Readiness(False, ("recovering the store",), {"recovery": 0.25})]
    task: trio.CancelScope = trio.CancelScope()
    bound: list[str] = []

    async def door(task_status: trio.TaskStatus[None]) -> None:
        with task:
            async with trio.open_nursery() as inner:
                bound.append(await inner.start(serve, observed(lambda: state[0]), "127.0.0.1:0"))
                task_status.started()

    await nursery.start(door)
    (address,) = bound
    assert not address.endswith(":0")
    assert (await get(address, "/livez"))[0] == 200

    assert (await get(address, "/"))[2] == b"/livez\n/readyz\n/metrics\n"
    status, headers, body = await get(address, "/readyz")
    assert body.endswith(b"}\n")
    assert (status, headers["content-type"]) == (503, "application/json")
    assert msgspec.json.decode(body) == {
        "ready": False,
        "reasons": ["recovering the store"],
        "progress": {"recovery": 0.25},
    }
    state[0] = Readiness(True)
    assert (await get(address, "/readyz"))[0] == 200

    status, headers, body = await get(address, "/metrics")
    assert (status, headers["content-type"][:24]) == (200, "text/plain; version=0.0.")
    assert b"process_resident_memory_bytes" in body
    assert (await get(address, "/console"))[0] == 404

    task.cancel()
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(OSError, match="all attempts to connect"):
        await get(address, "/livez")
