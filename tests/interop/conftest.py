"""Clusters and Java machines, each started once, when the first test asks, and shared by all tests.

`cluster` runs a test twice: against Apache, which proves the test right, and against ours. Nothing
is cleaned between tests: every test works on topics and groups of its own (`topic`, `group`).
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop import cache
from tests.interop.clusters import Cluster, Up, start_broker, start_nameserver
from tests.interop.driver import Driver


def pytest_configure(config: pytest.Config) -> None:
    """`-m 'interop and not oracle'` takes half the time: ours alone, mixtures and comparisons."""
    config.addinivalue_line("markers", "oracle: an interop test run against Apache alone")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs real processes of others."""
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        item.add_marker(pytest.mark.interop)
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "apache" in callspec.params.values():
            item.add_marker(pytest.mark.oracle)


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """`broker-trio up`: one nameserver, one broker."""
    up = Up(tmp_path_factory.mktemp("ours"))
    cluster = up.start()
    yield cluster
    assert up.stop() == 0


@pytest.fixture(scope="session")
def apache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Apache 5.4.0: one nameserver, one broker."""
    script, folder = cache.apache(), tmp_path_factory.mktemp("apache")
    nameserver = start_nameserver("apache", folder / "nameserver", script)
    try:
        broker = start_broker("apache", folder / "broker", nameserver.address, script)
    except BaseException:
        nameserver.stop()
        raise
    yield Cluster("apache", nameserver.address, broker.address, "broker-a")
    for program in (broker, nameserver):
        program.stop(kill=True)  # politely it takes 12 s


@pytest.fixture(params=["ours", "apache"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Each in turn: what Apache does not pass is no test of ours."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Cluster)
    return found


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The Java client with JSON headers, its default."""
    yield from machine(tmp_path_factory, "JSON")


@pytest.fixture(scope="session")
def binary_driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The Java client with ROCKETMQ headers."""
    yield from machine(tmp_path_factory, "ROCKETMQ")


@pytest.fixture(params=["driver", "binary_driver"], ids=["json", "rocketmq"])
def any_driver(request: pytest.FixtureRequest) -> Driver:
    """Both header serialisations in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Driver)
    return found


def machine(tmp_path_factory: pytest.TempPathFactory, serialize: str) -> Iterator[Driver]:
    java = Driver(cache.java_class_path(), tmp_path_factory.mktemp("java"), serialize)
    yield java
    java.close()


@pytest.fixture
def topic() -> str:
    """A name that no other test uses; the first message makes it a topic."""
    return f"Topic-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group() -> str:
    """A consumer group that no other test uses."""
    return f"group-{uuid.uuid4().hex[:12]}"
