"""A real cluster for the command line's tests: its programs in a thread, on loopback sockets.

Commands run a loop of their own, so that the cluster needs another one. It is started once a
module; tests keep apart by the names of their topics and groups.
"""

import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import trio
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from broker_trio.cli.main import cli
from tests.unit.client.admin.cluster import Running, running

T = TypeVar("T")


class Live:
    """Commands against the cluster, and what the client cannot do by itself."""

    def __init__(self, cluster: Running, token: trio.lowlevel.TrioToken) -> None:
        self.cluster, self._token = cluster, token
        self.nameservers = ";".join(app.address for app in cluster.nameserver_apps)
        self.broker = cluster.brokers["broker-a"].address

    def run(self, *words: str, stdin: str | None = None, code: int | None = 0) -> Result:
        """Run a command and check its exit code (None: any)."""
        environment = {"BROKER_TRIO_NAMESERVER": self.nameservers, "COLUMNS": "200"}
        result = CliRunner().invoke(cli, list(words), input=stdin, env=environment)
        if code is not None:
            assert result.exit_code == code, result.output
        return result

    def json(self, *words: str, code: int | None = 0) -> Any:
        """The one document that a command prints."""
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def do(self, work: Callable[[Running], Awaitable[T]]) -> T:
        """Run a coroutine beside the cluster."""

        async def call() -> T:
            return await work(self.cluster)

        return trio.from_thread.run(call, trio_token=self._token)


@contextmanager
def live(brokers: int = 1, nameservers: int = 1) -> Iterator[Live]:
    """The cluster serves inside the block."""
    started = threading.Event()
    found: list[Live] = []
    stop: list[trio.Event] = []

    async def main() -> None:
        async with running(brokers, nameservers) as cluster:
            stop.append(trio.Event())
            found.append(Live(cluster, trio.lowlevel.current_trio_token()))
            started.set()
            await stop[0].wait()

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    with capture_logs():  # the programs would log into the stdout of the commands
        thread.start()
        assert started.wait(20), "the cluster did not start"
        try:
            yield found[0]
        finally:
            trio.from_thread.run_sync(stop[0].set, trio_token=found[0]._token)
            thread.join(10)
