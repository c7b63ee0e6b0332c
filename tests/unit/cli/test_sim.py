"""`sim`: a scenario again, from its seed."""

import json

import trio
from click.testing import CliRunner

from broker_trio.cli.main import cli
from broker_trio.cli.sim_many import what_failed
from broker_trio.testing.world import World

HERE = f"{__name__}:"


async def wanderer(world: World) -> None:
    entropy = world.rng("wanderer")
    for _ in range(3):
        await trio.sleep(entropy.random())
        world.log("step", entropy.randrange(100))


async def broken(world: World) -> None:
    world.log("about to break")
    raise AssertionError("the promise was broken")


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
