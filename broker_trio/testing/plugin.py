"""pytest fixtures: a real nameserver and broker in the test's own process.

    async def test_it(rocketmq): …                on Trio: real loopback sockets, real time
    async def test_it(rocketmq_simulated): …      on Trio: simulated network, disk and clock
    def test_it(rocketmq_threaded): …             asyncio and plain tests: a Trio loop in a thread

    @pytest.mark.rocketmq(brokers=2, sync_flush=True)        fields of `Options`, and:
        storage="folder"    stores lie in tmp_path instead of memory
        seed=7              of a simulated run; otherwise made of the test's name

Loaded into every pytest run of an environment that has broker_trio, so it imports nothing but
pytest until a fixture is asked for. docs/testing.md begins at a user's test.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from broker_trio.testing.rocketmq import RocketMQ
    from broker_trio.testing.shape import Options
    from broker_trio.testing.threaded import ThreadedRocketMQ

ON_TRIO = ("rocketmq", "rocketmq_simulated")
NOT_ON_TRIO = (
    "the fixture {name} runs on the test's own Trio loop, and this test has none: "
    "use rocketmq_threaded, which works with asyncio and in plain tests"
)
NOT_RUN = "nothing runs this test on Trio, as the fixture {name} needs it: {advice}"
INSTALL = "pip install pytest-trio, and set trio_mode = true in [tool.pytest.ini_options]"
MARK = "set trio_mode = true in [tool.pytest.ini_options], or write @pytest.mark.trio over the test"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rocketmq")
    group.addoption(
        "--rocketmq-seed",
        type=int,
        default=None,
        help="Seed of every rocketmq_simulated run, instead of one made of the test's name.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "rocketmq(brokers=1, nameservers=1, queues=4, sync_flush=False, auto_create=True, "
        "storage='memory', seed=None): how the rocketmq fixtures start their cluster",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """A simulated test runs in virtual time: pytest-trio is told to run it by our `trio.run`."""
    if "rocketmq_simulated" not in getattr(item, "fixturenames", ()):
        return
    if item.config.pluginmanager.has_plugin("trio") and not item.get_closest_marker("anyio"):
        item.add_marker(pytest.mark.trio(run=_in_virtual_time(item)))


def _in_virtual_time(item: pytest.Item) -> Callable[..., object]:
    # Any: pytest-trio passes what its own signature has.
    def run(main: Callable[[], Awaitable[object]], **options: Any) -> object:
        from broker_trio.testing.simulated import run_in_virtual_time  # noqa: PLC0415

        return run_in_virtual_time(main, seed=seed_of(item), **options)

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A fixture on the wrong loop says so, before pytest fails in its own words."""
    from inspect import iscoroutinefunction  # noqa: PLC0415

    names = [name for name in ON_TRIO if name in getattr(item, "fixturenames", ())]
    if not names:
        return
    function = getattr(item, "obj", None)
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    if not iscoroutinefunction(inner) or item.get_closest_marker("asyncio") is not None:
        pytest.fail(NOT_ON_TRIO.format(name=names[0]), pytrace=False)
    by_anyio = "anyio_backend" in getattr(item, "fixturenames", ())
    if item.get_closest_marker("trio") is None and not by_anyio:
        advice = MARK if item.config.pluginmanager.has_plugin("trio") else INSTALL
        pytest.fail(NOT_RUN.format(name=names[0], advice=advice), pytrace=False)


def seed_of(item: pytest.Item) -> int:
    """The command line's, the marker's, or one made of the test's name: equal in every run."""
    from_command: int | None = item.config.getoption("--rocketmq-seed")
    if from_command is not None:
        return from_command
    marker = item.get_closest_marker("rocketmq")
    seed = marker.kwargs.get("seed") if marker is not None else None
    return crc32(item.nodeid.encode()) if seed is None else int(seed)


def options_of(request: pytest.FixtureRequest) -> "Options":
    """What the nearest `rocketmq` marker says. Raises `pytest.UsageError` naming what is wrong."""
    from dataclasses import fields  # noqa: PLC0415
    from difflib import get_close_matches  # noqa: PLC0415

    from broker_trio.testing.shape import Options  # noqa: PLC0415

    marker = request.node.get_closest_marker("rocketmq")
    given = dict(marker.kwargs) if marker is not None else {}
    given.pop("seed", None)
    storage = given.pop("storage", "memory")
    if storage not in {"memory", "folder"}:
        raise pytest.UsageError(f"storage={storage!r}, allowed 'memory' and 'folder'")
    if storage == "folder":
        given["folder"] = request.getfixturevalue("tmp_path") / "rocketmq"
    where = f"pytest.mark.rocketmq of {request.node.nodeid}"
    known = [*(field.name for field in fields(Options)), "storage", "seed"]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            told = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise pytest.UsageError(f"{where}: no option {name}; {told}")
    try:
        return Options(**given)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{where}: {error}") from None


@pytest.fixture
async def rocketmq(request: pytest.FixtureRequest) -> "AsyncIterator[RocketMQ]":
    """A nameserver and a broker on the test's Trio loop, on real loopback ports."""
    _check_loop("rocketmq")
    from broker_trio.testing.embedded import open_embedded  # noqa: PLC0415

    async with open_embedded(options_of(request)) as running:
        yield running


@pytest.fixture
async def rocketmq_simulated(request: pytest.FixtureRequest) -> "AsyncIterator[RocketMQ]":
    """The same in a simulated world, where hours pass at once."""
    _check_loop("rocketmq_simulated")
    from broker_trio.testing.simulated import open_simulated  # noqa: PLC0415

    async with open_simulated(options_of(request), seed=seed_of(request.node)) as running:
        yield running


@pytest.fixture
def rocketmq_threaded(request: pytest.FixtureRequest) -> "Iterator[ThreadedRocketMQ]":
    """A nameserver and a broker on a Trio loop in a thread, for asyncio and plain tests."""
    from broker_trio.testing.threaded import open_threaded  # noqa: PLC0415

    with open_threaded(options_of(request)) as running:
        yield running


def _check_loop(name: str) -> None:
    import trio  # noqa: PLC0415

    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(NOT_ON_TRIO.format(name=name))
