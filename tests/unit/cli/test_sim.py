"""`sim`: a scenario again, from its seed."""

import errno
import json

import pytest
import trio
from click.testing import CliRunner

from broker_trio.cli.main import cli
from broker_trio.cli.sim_many import Ran, tell, what_failed
from broker_trio.testing.promises import Cells
from broker_trio.testing.world import Node, World

HERE = f"{__name__}:"


async def wanderer(world: World) -> None:
    entropy = world.rng("wanderer")
    for _ in range(3):
        await trio.sleep(entropy.random())
        world.log("step", entropy.randrange(100))


async def broken(world: World) -> None:
    world.log("about to break")
    raise AssertionError("the promise was broken")


async def harmed(world: World) -> None:
    """Every fault that the world sees by itself, one that it is told, and an end that is none."""

    async def write(node: Node) -> None:
        file = node.disk.open("commitlog/0", create=True)
        while not node.stopping.is_set():
            with trio.move_on_after(1):
                await node.stopping.wait()
            file.write_at(file.size(), b"x")

    one, two = world.node("a", write, tolerates=(OSError,)), world.node("b", write)
    one.start(), two.start()
    await trio.sleep(1.5)
    world.network.cut("a", "b")
    world.network.stall("b", "a", 2.0)
    world.network.cut_one_way("a", "b")
    world.strike("clock +5 s", "a")
    two.disk.faults.power_off_at(1)
    await two.stopped()
    two.kill(power=True)  # the same power
    one.disk.faults.fail("write", number=errno.EIO)
    await one.stopped()
    one.start()
    await trio.sleep(0.25)
    await one.restart()
    await one.stop()
    assert world.seed != 13, "unlucky"


STRUCK = [
    (1.5, "cut", "a – b"),
    (1.5, "stall", "b – a, 2.0 s"),
    (1.5, "cut one way", "a → b"),
    (1.5, "clock +5 s", "a"),
    (2.0, "power off", "b"),
    (3.0, "EIO at write", "a:commitlog"),
    (3.0, "ended by OSError", "a"),
    (3.25, "kill -9", "a"),
    (3.25, "stopped", "a"),
]


def test_faults_are_listed_with_the_virtual_clock() -> None:
    """What broke where and when, for programs and for people; a failure shows them, too."""
    words = ["sim", HERE + "harmed", "--seed", "7"]
    figures = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert [(one["at_s"], one["what"], one["where"]) for one in figures["struck"]] == STRUCK
    assert figures["faults"] == len(STRUCK)
    lines = CliRunner().invoke(cli, words).stdout.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("AT S"))
    for line, (at_s, what, where) in zip(lines[head + 1 :], STRUCK, strict=False):
        assert line.split() == [f"{at_s:.3f}", *what.split(), *where.split()]
    broke = CliRunner().invoke(cli, ["sim", HERE + "harmed", "--seed", "13"]).exception
    notes = "\n".join(broke.__notes__)
    assert f"faults until then, {len(STRUCK)}:" in notes
    assert "2.000000 s  power off  b\n" in notes


class Lone:
    """A broker `a` that flushes before it answers, without a pair."""

    broker_names, nameserver_names = ("a",), ("ns0",)

    def row(self, name: str) -> str:
        return "SYNC" if name == "a" else ""

    def partner(self, name: str) -> str:
        return ""

    def follows(self, name: str) -> bool:
        return False


async def promised(world: World) -> None:
    world.cells = Cells(Lone(), world.network)  # type: ignore[arg-type]
    await harmed(world)


def test_the_promises_that_were_put_to_the_test_are_listed() -> None:
    """Row and column of docs/operating/promises.md, and when first, for programs and for people."""
    words = ["sim", HERE + "promised", "--seed", "7"]
    figures = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert [(one["row"], one["fault"], one["at_s"]) for one in figures["cells"]] == [
        ("SYNC", "clock step", 1.5),
        ("SYNC", "kill −9", 3.25),
    ], "an end by OSError is none that a broker has"
    lines = CliRunner().invoke(cli, words).stdout.splitlines()
    head = next(number for number, line in enumerate(lines) if "PROMISE OF" in line)
    assert lines[head + 1].split() == ["1.500", "SYNC", "clock", "step"]


def test_equal_seeds_print_equal_traces() -> None:
    """The digest of the trace is the run's identity."""

    def replay(seed: int) -> dict[str, object]:
        words = ["sim", HERE + "wanderer", "--seed", str(seed), "--json"]
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 0, result.output
        figures: dict[str, object] = json.loads(result.stdout)
        return figures

    one, two, other = replay(7), replay(7), replay(8)
    assert one["trace"] == two["trace"] != other["trace"]
    assert one["events"] >= 3


def test_a_failing_scenario_exits_with_1() -> None:
    """Its own error is shown, with the seed in its notes."""
    result = CliRunner().invoke(cli, ["sim", HERE + "broken", "--seed", "3"])
    assert result.exit_code == 1
    assert isinstance(result.exception, AssertionError)
    assert any("seed 3" in note for note in result.exception.__notes__)


def test_an_unknown_scenario_is_a_usage_error() -> None:
    """Names, modules and functions that are not there."""
    for scenario in ("nothing", "no.such.module:f", HERE + "no_such_function"):
        result = CliRunner().invoke(cli, ["sim", scenario, "--seed", "1"])
        assert result.exit_code == 2, scenario


def test_without_a_scenario_it_lists_them() -> None:
    """Each name with a line about it, for people and for programs."""
    result = CliRunner().invoke(cli, ["sim", "--json"])
    listed = {row["scenario"]: row["summary"] for row in json.loads(result.stdout)}
    assert {"send_and_pull", "power_loss", "nameserver_loss"} <= listed.keys()
    assert all(listed.values())
    assert "power_loss" in CliRunner().invoke(cli, ["sim"], env={"COLUMNS": "200"}).stdout


def test_count_runs_one_seed_after_the_other() -> None:
    """A line for each; the first failure ends it."""
    words = ["sim", HERE + "wanderer", "--seed", "4", "--count", "3", "--json"]
    lines = CliRunner().invoke(cli, words).stdout.splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [4, 5, 6]
    result = CliRunner().invoke(cli, ["sim", HERE + "broken", "--count", "3", "--json"])
    assert (result.exit_code, result.stdout) == (1, "")


def test_one_run_is_a_table() -> None:
    """A number a line for people, its verdict first; several runs have a line each."""
    words = ["sim", HERE + "wanderer", "--seed", "4"]
    lines = CliRunner().invoke(cli, words).stdout.splitlines()
    assert [line.split() for line in lines[1:3]] == [["seed", "4"], ["verdict", "passed"]]
    several = CliRunner().invoke(cli, [*words, "--count", "2"]).stdout.splitlines()
    assert [line.split(": ")[1][:6] for line in several] == ["passed", "passed"]


def test_many_runs_are_summed_up() -> None:
    """One scenario's sums and the total; an unknown name is a usage error."""
    words = ["sim", "send_and_pull", "--seed", "3", "--seeds", "2", "--json"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["failed"] == []
    assert figures["scenarios"][0]["runs"] == figures["total"]["runs"] == 2
    assert figures["total"]["acked"] > 0
    assert CliRunner().invoke(cli, ["sim", "nothing", "--seeds", "2"]).exit_code == 2


def test_a_failed_run_is_told_in_a_line() -> None:
    """The innermost error and where it was raised, however deep its group."""
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("lost")])])
    assert what_failed(group) == "ValueError: lost"


def test_many_runs_tell_how_far_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr: a failure at once, with its replay, and the end of each scenario."""
    work = [("one", 0), ("one", 1), ("two", 0)]
    done = []
    for scenario, seed in work:
        failure = "Violation: I1" if seed else ""
        done.append(Ran(scenario, seed, failure, 0.1, 1, 1, 1, 0.5, False))
        tell(done, work, 7.4)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "Violation: I1",
        "  broker-trio sim one --seed 1",
        "one: 2 of 3 runs, 7 s",
        "two: 3 of 3 runs, 7 s",
    ]
