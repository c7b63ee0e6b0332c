"""What the command line's tests share: a fake cluster, and a way to run commands against it."""

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from broker_trio.cli.access import Outgoing
from broker_trio.cli.main import cli

from .fake_cluster import FakeCluster

Run = Callable[..., Result]


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def run(cluster: FakeCluster) -> Run:
    def invoke(*words: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(
            cli, list(words), input=stdin, obj=Outgoing(cluster.connect), env={"COLUMNS": "200"}
        )

    return invoke
