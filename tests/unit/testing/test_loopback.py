"""What an embedded program has below it: a network card and a folder that faults can hit."""

import os
import socket
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.embedded import open_embedded
from broker_trio.testing.folder_disk import FolderDisk
from broker_trio.testing.loopback import SHARED_BIND, Loopback
from broker_trio.testing.shape import Options
from broker_trio.testing.simulated import open_simulated, run_in_virtual_time


@pytest.mark.skipif(not SHARED_BIND, reason="only Linux keeps a port for us")
def test_a_reserved_port_is_nobody_elses() -> None:
    """Between two lives of a broker no other program of the machine can get its port."""
    card = Loopback()
    try:
        host, _, port = card.reserve().rpartition(":")
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((host, int(port)))
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect((host, int(port)))
    finally:
        card.close()


async def test_death_closes_sockets_and_raises_dead() -> None:
    """The peer sees the end at once; whatever the dead process still calls raises Dead."""
    card, peer = Loopback(), Loopback()
    listener = await card.listen("127.0.0.1:0")
    client = await peer.connect(listener.address)
    server = await listener.accept()
    dead = []

    async def receive() -> None:
        try:
            await server.receive_some()
        except (Dead, trio.ClosedResourceError) as error:
            dead.append(type(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        card.kill()
    assert await client.receive_some() == b""
    assert len(dead) == 1
    for call in (server.send_all(b"x"), server.receive_some(), card.connect("127.0.0.1:1")):
        with pytest.raises(Dead):
            await call
    with pytest.raises(Dead):
        server.send_nowait(b"x")
    peer.kill()


async def test_a_cut_holds_bytes_and_heals() -> None:
    """Both directions stop, `send_nowait` takes nothing, and all of it arrives after `heal`."""
    card, peer = Loopback(), Loopback()
    listener = await card.listen("127.0.0.1:0")
    client = await peer.connect(listener.address)
    server = await listener.accept()
    card.cut()
    await client.send_all(b"question")
    assert server.send_nowait(b"answer") == 0
    with trio.move_on_after(0.02) as waited:
        await server.receive_some()
    assert waited.cancelled_caught
    card.heal()
    await server.send_all(b"answer")
    assert await client.receive_some() == b"answer"
    card.kill()
    peer.kill()


async def test_a_dead_folder_stays_dead(tmp_path: Path) -> None:
    """Handles of the life before raise Dead for ever, and the lock is free for the next one."""
    disk = FolderDisk(str(tmp_path))
    disk.lock()
    old = disk.open("a/b", create=True)
    old.write_at(0, b"kept")
    disk.crash()
    for call in (old.size, lambda: disk.exists("a/b"), disk.lock):
        with pytest.raises(Dead):
            call()
    disk.restart()
    disk.lock()
    with pytest.raises(Dead):
        old.read_at_blocking(0, 4)
    assert disk.read("a/b") == b"kept"
    disk.full = True
    with pytest.raises(OSError, match="No space left"):
        disk.open("a/c", create=True)
    disk.crash()


async def test_nothing_is_left_open(tmp_path: Path) -> None:
    """Clusters come and go, killed and cut off, and no descriptor stays behind."""

    async def live(number: int) -> None:
        folder = tmp_path / str(number) if number % 2 else None
        async with open_embedded(Options(folder=folder)) as rocketmq, rocketmq.connect() as mq:
            await mq.send("orders", "one")
            await rocketmq.restart_broker()
            rocketmq.partition()

    await live(1)  # what is opened once for all
    before = len(os.listdir("/proc/self/fd"))
    for number in range(4):
        await live(number)
    assert len(os.listdir("/proc/self/fd")) <= before


async def cancel_after(steps: int, scope: trio.CancelScope) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


@pytest.mark.parametrize("cluster", ["embedded", "simulated"])
def test_a_start_that_is_cancelled_leaves_nothing(cluster: str) -> None:
    """Whenever it is cancelled while programs start: no task, no descriptor, no other error."""
    opened = open_embedded if cluster == "embedded" else open_simulated

    async def main() -> None:
        async with opened():
            pass
        before = len(os.listdir("/proc/self/fd"))
        for steps in range(0, 90, 3):
            async with trio.open_nursery() as nursery:
                with trio.CancelScope() as scope:
                    nursery.start_soon(cancel_after, steps, scope)
                    async with opened():
                        await trio.sleep_forever()
        assert len(os.listdir("/proc/self/fd")) <= before

    run_in_virtual_time(main, seed=1) if cluster == "simulated" else trio.run(main)
