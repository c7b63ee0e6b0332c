"""Drills at the command line: names, usage, the processes of an `up`, and healing without us."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from click.testing import CliRunner

from broker_trio.cli.drill import folders, laptop
from broker_trio.cli.drill.before import alerts_of
from broker_trio.cli.drill.observe import Observer
from broker_trio.cli.drill.reading import EMPTY, Looker
from broker_trio.cli.drill.session import end_alone
from broker_trio.cli.drill.web import annotate, firing
from broker_trio.cli.failures import Failure, NobodyReached
from broker_trio.cli.main import cli
from broker_trio.client.errors import NoAnswer
from broker_trio.ops.drill.catalogue import DRILLS
from broker_trio.ops.drill.records import READ
from broker_trio.ops.drill.report import document
from broker_trio.ops.ledger.read import Batch, Stored
from broker_trio.runtime.clock import RealClock
from tests.unit.ops.drills import Made, run_of
from tests.unit.ops.grafana import TOKEN, serving

SLEEP = "import time; time.sleep(600)"
DEADLINE_S = 60.0


def test_the_list_has_every_drill_and_says_where() -> None:
    """For programs with their steps; those that take root name their playbook."""
    told = json.loads(CliRunner().invoke(cli, ["drill", "list", "--json"]).stdout)
    assert [one["name"] for one in told] == [drill.name for drill in DRILLS]
    rooted = {one["name"] for one in told if one["laptop"]}
    assert rooted == {
        "power_off", "cut_pair", "isolate_master", "disk_full", "slow_disk",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "which drill?"),
        (["run", "no-such"], "no drill 'no-such'"),
        (["run", "wrong-key", "--human"], "leaves a person nothing to do"),
        (["run", "kill-master", "--grafana", "http://127.0.0.1:1"], "go together"),
    ],
)
def test_wrong_usage_is_told(words: list[str], said: str) -> None:
    """Exit code 2, before anything is looked at."""
    done = CliRunner().invoke(cli, ["drill", *words])
    assert done.exit_code == 2
    assert said in done.output


def make_folder(tmp_path: Path, made: Made) -> Path:
    """A drill's folder without ledgers, as a killed one leaves it."""
    folder = folders.make_folder(tmp_path, made.run)
    (folder / "marks.jsonl").write_bytes(b'{"at_ms":1,"name":"steady"}\n{"at_m')
    return folder


def test_a_report_of_a_killed_drill_is_inconclusive(tmp_path: Path) -> None:
    """Nothing was proved; the page is there all the same, and the metrics beside it."""
    folder = make_folder(tmp_path, Made())
    done = CliRunner().invoke(cli, ["drill", "report", str(folder)])
    assert done.exit_code == 5, done.output
    assert "INCONCLUSIVE" in done.output
    assert "nothing was proved" in (folder / "report.html").read_text()
    assert "brokertrio_drill_rpo_messages" in (tmp_path / "broker-trio-drills.prom").read_text()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """With the file that is missing."""
    with pytest.raises(Failure, match=r"run\.json"):
        folders.load(tmp_path)
    folders.make_folder(tmp_path / "x", run_of())
    with pytest.raises(Failure, match="exists"):
        folders.make_folder(tmp_path / "x", run_of())


def test_only_one_drill_at_a_time(tmp_path: Path) -> None:
    """The second one hears who holds the lock."""
    lock = tmp_path / "drill.lock"
    with folders.alone(lock) as first, folders.alone(lock) as second:
        assert first == ""
        assert "another drill runs, pid" in second
    with folders.alone(lock) as again:
        assert again == ""


def test_an_annotation_is_left_with_the_token_of_the_file(tmp_path: Path) -> None:
    """The region of the report; a wrong token, or nobody there, is told and not passed over."""
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    made = Made()
    body = document(made.run, made.outcome())["annotation"]
    with serving() as grafana:
        annotate(grafana.address, token, body)
        assert grafana.taken == [body]
        token.write_text("another")
        with pytest.raises(Failure, match="refused the annotation: 401"):
            annotate(grafana.address, token, body)
        with pytest.raises(Failure, match="missing"):
            annotate(grafana.address, tmp_path / "missing", body)
        assert len(grafana.taken) == 1
    with pytest.raises(Failure, match="does not answer"):
        annotate(grafana.address, tmp_path / "token", body)


def alert(name: str, severity: str, **labels: str) -> dict[str, Any]:
    return {"state": "firing", "labels": {"alertname": name, "severity": severity, **labels}}


async def test_alerts_of_this_cluster_that_ask_somebody_to_act_are_a_guards_fact() -> None:
    """Neither those of another cluster, nor what is said for information, nor our own age."""
    told = [
        alert("BrokerMasterDown", "page", cluster="c1"), alert("HostDown", "ticket"),
        alert("PairDegraded", "ticket", cluster="c2"), alert("DrillProofOld", "ticket"),
        alert("InsecureListen", "info", cluster="c1"),
        alert("DiskFullSoon", "page") | {"state": "pending"},
    ]  # fmt: skip
    with serving(alerts=told) as web:
        assert await alerts_of(web.address, "c1") == ["BrokerMasterDown", "HostDown"]
        assert (await firing(web.address, "c1") or {}).keys() == {
            "BrokerMasterDown", "HostDown", "DrillProofOld", "InsecureListen",
        }  # fmt: skip
    assert await alerts_of("", "c1") is None
    with pytest.raises(NobodyReached, match="does not tell its alerts"):
        await alerts_of("http://127.0.0.1:1", "c1")


class Watching:
    """An observer whose pair is whole after some looks, or never."""

    def __init__(self, looks: int) -> None:
        self.looks, self.names = looks, list[str]()

    def mark(self, name: str, text: str = "") -> int:
        self.names.append(name)
        return 0

    def why_not_whole(self, since_ms: int) -> str:
        self.looks -= 1
        return "broker-a/1 is learner" if self.looks >= 0 else ""

    note_whole = Observer.note_whole


@pytest.mark.parametrize(("looks", "end"), [(5, "whole"), (10**9, "not_whole")])
async def test_a_ledger_that_nobody_ends_says_whether_the_pair_is_whole(
    autojump_clock: trio.testing.MockClock, looks: int, end: str
) -> None:
    """The controller is dead: it is aborted, and the restoration is looked at all the same."""
    observer: Any = Watching(looks)
    await end_alone(155, observer)
    assert observer.names == ["aborted", "awaited", end]


class Queue:
    """A topic of one queue, as the reader sees it."""

    def __init__(self) -> None:
        self.end, self.given = 0, 10**9
        self.error: Exception | None = None

    async def queues(self) -> list[tuple[str, int]]:
        return [("broker-a", 0)]

    async def bounds(self, broker: str, queue: int) -> tuple[int, int]:
        await trio.lowlevel.checkpoint()
        return 0, self.end

    async def pull(self, broker: str, queue: int, offset: int, count: int) -> Batch:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        found = [Stored(offset, b"", [], 0)] if offset < self.given else []
        return Batch(found, offset + len(found))


async def test_a_look_is_a_message_or_the_cause_why_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An empty topic is no failure; what was counted and is not given is one."""
    topic, seen = Queue(), list[str]()
    looker = Looker(topic, RealClock(), lambda sample: seen.append(sample.state))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(looker.run)
        await trio.sleep(1.1)
        assert seen == []
        topic.end = 5
        await trio.sleep(1.0)
        assert set(seen) == {READ}
        topic.error = NoAnswer("127.0.0.1:1", "3 s")
        await trio.sleep(0.5)
        assert seen[-1] == "no answer"
        topic.error, topic.given = None, 0
        await trio.sleep(0.3)
        assert seen[-1] == EMPTY
        nursery.cancel_scope.cancel()


def children_of(home: Path) -> list[laptop.Child]:
    """What runs of that `up`."""
    return [child for child in laptop.children() if child.folder.parent == home]


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def replica(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that looks like a child of an `up` in tmp_path/up."""
    folder = tmp_path / "up" / "broker-a-2"
    folder.mkdir(parents=True)
    config = folder / "config.toml"
    config.write_text('broker_name = "broker-a"\n[replication]\nreplica_id = 2\n')
    command = [
        sys.executable, "-c", SLEEP, "broker_trio", "broker", "--config", str(config), "--child",
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            wait_until(
                lambda: children_of(folder.parent)
            )  # its command line comes after Popen returns
            yield process
        finally:
            process.kill()


def state_of(pid: int) -> str:
    """One letter, as the kernel has it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for_state(pid: int, letters: str) -> None:
    wait_until(lambda: state_of(pid) in letters)


@pytest.mark.slow
def test_what_heals_without_us_wakes_everybody_and_puts_the_key_back(
    tmp_path: Path, replica: "subprocess.Popen[bytes]"
) -> None:
    """The script that is started before the fault, run alone; twice does no harm."""
    home = tmp_path / "up"
    (found,) = children_of(home)
    assert (found.who, found.kind, found.pid) == ("broker-a/2", "broker", replica.pid)
    assert laptop.find_home(home) == home
    (home / "pair.key").write_text("wrong")
    (home / "pair.key.drill").write_text("right")
    replica.send_signal(signal.SIGSTOP)
    wait_for_state(replica.pid, "T")
    script = laptop.Laptop(home, run_of()).revert_script()
    for _ in range(2):
        subprocess.run(["sh", "-c", script], check=True, timeout=DEADLINE_S)
        wait_for_state(replica.pid, "SR")
        assert (home / "pair.key").read_text() == "right"


def test_a_folder_without_an_up_is_told(tmp_path: Path) -> None:
    """With the command that starts one."""
    with pytest.raises(Failure, match="no `broker-trio up` runs in"):
        laptop.find_home(tmp_path)
