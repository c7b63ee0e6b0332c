"""Equal seeds give equal runs: in one process, and in a fresh one with other string hashes.

The scenario uses every simulated seam under faults, so whatever lets chance in from outside (the
order of a set, an address in a trace, a thread) shows as a different hash.
"""

import os
import subprocess
import sys

import pytest
import trio

from broker_trio.testing.simulate import SimResult, simulate
from broker_trio.testing.world import Node, World


async def echo_server(node: Node) -> None:
    """Appends what it gets to a log, flushes, and sends it back."""
    file = node.disk.open("data/log", create=True)
    await node.disk.sync_folder("data")
    listener = await node.network.listen("0.0.0.0:7")

    async def serve(stream: trio.abc.Stream) -> None:
        try:
            while data := await stream.receive_some():
                file.write_at(file.size(), data)
                await file.flush()
                await stream.send_all(data)
        except trio.BrokenResourceError:
            await stream.aclose()

    async with trio.open_nursery() as nursery:
        while True:
            nursery.start_soon(serve, await listener.accept())


async def echo_under_faults(world: World) -> tuple[int, int]:
    """Some clients, a server that dies in different ways, a network that misbehaves."""
    server = world.node("server", echo_server)
    server.start()
    counts = {"ok": 0, "failed": 0}

    async def client(name: str) -> None:
        host, entropy = world.network.host(name), world.rng(name)
        for _ in range(8):
            outcome = "ok"
            try:
                with trio.fail_after(10):
                    stream = await host.connect("server:7")
                    await stream.send_all(entropy.randbytes(300))
                    size = 0
                    while size < 300 and (data := await stream.receive_some()):
                        size += len(data)
                    await stream.aclose()
            except (OSError, trio.BrokenResourceError, trio.TooSlowError):
                outcome = "failed"
            counts[outcome] += 1
            world.log(name, outcome)
            await trio.sleep(entropy.uniform(0, 2))

    async with trio.open_nursery() as nursery:
        for name in ("one", "two", "three"):
            nursery.start_soon(client, name)
        faults = world.rng("faults")
        for _ in range(6):
            await trio.sleep(faults.uniform(0, 3))
            world.network.stall("one", "server", faults.uniform(0, 5))
            server.disk.faults.power_off_at(faults.randint(1, 20))
            if faults.random() < 0.5:
                await server.restart(power=faults.random() < 0.5)
            elif not server.running:
                server.start()
        server.disk.faults.clear()
    return counts["ok"], counts["failed"]


def run(seed: int) -> SimResult[tuple[int, int]]:
    return simulate(seed, echo_under_faults)


@pytest.mark.parametrize("seed", range(3))
def test_two_runs_are_equal(seed: int) -> None:
    """The same seed twice gives the same result and trace hash, and both kinds of outcome."""
    first = run(seed)
    assert first == run(seed)
    assert all(first.value)


def test_seeds_differ() -> None:
    """Five seeds give five traces."""
    assert len({run(seed).trace for seed in range(5)}) == 5


def test_a_fresh_process_with_other_hashes_agrees() -> None:
    """A new interpreter with another PYTHONHASHSEED replays the same trace."""
    program = "import runpy, sys; print(runpy.run_path(sys.argv[1])['run'](3).trace)"
    environ = {**os.environ, "PYTHONHASHSEED": "4711"}
    command = [sys.executable, "-c", program, __file__]
    assert subprocess.check_output(command, text=True, env=environ).strip() == run(3).trace
