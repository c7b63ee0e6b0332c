import pytest
import trio

from broker_trio.model.errors import StoreFailed
from broker_trio.testing.disk_faults import Dead
from broker_trio.testing.simulate import simulate
from broker_trio.testing.world import Node, World


async def append_forever(node: Node) -> None:
    file = node.disk.open("log", create=True)
    await node.disk.sync_folder("")
    while True:
        file.write_at(file.size(), b"record")
        await file.flush()


def test_a_dying_program_cannot_say_goodbye() -> None:
    """A killed program's finally blocks run, and reach neither its disk nor its network."""
    tried: list[str] = []

    async def program(node: Node) -> None:
        stream = await node.network.connect("peer:1")
        try:
            await trio.sleep_forever()
        finally:
            for goodbye in (
                lambda: node.disk.replace("clean", b""),
                lambda: stream.send_all(b"goodbye"),
            ):
                with pytest.raises(Dead), trio.CancelScope(shield=True):
                    await goodbye()
                tried.append("dead")
            node.disk.open("clean", create=True)

    async def scenario(world: World) -> None:
        listener = await world.network.host("peer").listen("peer:1")
        node = world.node("a", program)
        node.start()
        stream = await listener.accept()
        await trio.sleep(1)
        node.kill()
        await node.stopped()
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        node.disk.restart()
        assert node.disk.list("") == []

    simulate(1, scenario)
    assert tried == ["dead", "dead"]


def test_a_restart_keeps_what_survived() -> None:
    """A program started again after a power loss finds a prefix that covers all it flushed."""

    async def scenario(world: World) -> int:
        node = world.node("a", append_forever)
        node.start()
        await trio.sleep(1)
        durable = len(node.disk.durable("log") or b"")
        await node.restart(power=True)
        assert node.starts == 2
        assert len(node.disk.read("log")) >= durable
        return durable

    assert simulate(1, scenario).value > 0


def test_an_armed_operation_ends_the_whole_process() -> None:
    """Power off at the k-th disk operation kills the node's network and tasks as well."""

    async def scenario(world: World) -> None:
        node = world.node("a", append_forever)
        node.start()
        node.disk.faults.power_off_at(20)
        await node.stopped()
        with pytest.raises(Dead):
            await node.network.listen("a:1")
        assert node.disk.faults.operations == 20

    simulate(1, scenario)


def test_a_clean_stop_is_asked_for() -> None:
    """`stop` sets the program's event and waits; nothing is cancelled."""
    notes: list[str] = []

    async def program(node: Node) -> None:
        await node.stopping.wait()
        await node.disk.replace("clean", b"yes")
        notes.append("clean")

    async def scenario(world: World) -> None:
        node = world.node("a", program)
        node.start()
        await node.stop()
        assert not node.running
        node.start()
        assert node.disk.read("clean") == b"yes"

    simulate(1, scenario)
    assert notes == ["clean"]


async def fail_the_store(node: Node) -> None:
    await trio.sleep(1)
    raise StoreFailed("fsync: EIO")


def test_tolerated_crashes_end_only_their_node() -> None:
    """A crash that the scenario expects is kept on the node, which can start again."""

    async def scenario(world: World) -> None:
        node = world.node("a", fail_the_store, tolerates=(StoreFailed,))
        node.start()
        await node.stopped()
        assert isinstance(node.crash, StoreFailed)
        await node.restart()
        assert node.crash is None

    simulate(1, scenario)


def test_other_crashes_fail_the_run() -> None:
    """An exception that nobody expects ends the simulation, and is what the caller sees."""

    async def scenario(world: World) -> None:
        world.node("a", fail_the_store).start()
        await trio.sleep(10)

    with pytest.raises(StoreFailed, match="EIO"):
        simulate(1, scenario)


def test_purposes_draw_apart() -> None:
    """Drawing more for one purpose changes nothing for another."""

    async def scenario(world: World) -> tuple[float, float]:
        faults, again = world.rng("faults"), world.rng("faults")
        world.rng("load").random()
        return faults.random(), again.random()

    first, second = simulate(1, scenario).value
    assert first == second
    assert simulate(2, scenario).value[0] != first


def test_all_machines_can_lose_power_at_once() -> None:
    """A total power loss ends every node, and power may also go where nothing runs."""

    async def scenario(world: World) -> None:
        nodes = [world.node(name, append_forever) for name in "ab"]
        for node in nodes:
            node.start()
        await trio.sleep(1)
        nodes[0].kill()
        world.power_loss()
        for node in nodes:
            await node.stopped()
            node.start()

    simulate(1, scenario)
