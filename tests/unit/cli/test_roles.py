"""The roles' commands: configuration, and what their logs look like."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest
import structlog
from click.testing import CliRunner

from broker_trio.broker.config import BrokerConfig
from broker_trio.cli.main import COMMANDS, cli
from broker_trio.cli.roles import LOGGED_CHARS_MAX, bounded, lines_for_people
from broker_trio.model.settings import load
from broker_trio.namesrv.config import NameserverConfig


@pytest.mark.parametrize("role", ["nameserver", "broker"])
def test_check_accepts_an_empty_file(tmp_path: Path, role: str) -> None:
    """Every setting has a default; nothing is started and nothing created."""
    config = tmp_path / "config.toml"
    config.write_text("")
    environ = {"BROKER_TRIO__DATA": str(tmp_path / "var" / "data")}  # the default is root's
    result = CliRunner().invoke(cli, [role, "--config", str(config), "--check"], env=environ)
    assert (result.exit_code, result.stdout) == (0, f"{config}: ok\n")
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("role", ["nameserver", "broker"])
def test_check_tells_all_mistakes(tmp_path: Path, role: str) -> None:
    """File and environment are checked together; the exit code is 1."""
    config = tmp_path / "config.toml"
    config.write_text("listem = 'x'\n[http]\nseries_max = 'many'\n")
    environ = {"BROKER_TRIO__REMOTING__IDLE": "3"}
    result = CliRunner().invoke(cli, [role, "--config", str(config), "--check"], env=environ)
    assert result.exit_code == 1
    assert "3 mistakes" in result.stderr
    assert "did you mean listen?" in result.stderr
    assert "did you mean idle_s?" in result.stderr


def test_rules_across_fields_are_checked(tmp_path: Path) -> None:
    """An address that others can reach needs the spelled-out switch."""
    config = tmp_path / "config.toml"
    config.write_text('listen = "0.0.0.0:10911"\n')
    result = CliRunner().invoke(cli, ["broker", "--config", str(config), "--check"])
    assert result.exit_code == 1
    assert "allow_insecure_listen" in result.stderr


@pytest.mark.parametrize("role", ["nameserver", "broker"])
@pytest.mark.parametrize("words", [[], ["--check"]])
def test_a_data_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, role: str, words: list[str]
) -> None:
    """Told by the check already, and by a start without a traceback."""
    (tmp_path / "file").write_text("")
    config = tmp_path / "config.toml"
    config.write_text(f'data = "{tmp_path}/file/data"\nlog_json = false\n')
    with structlog.testing.capture_logs():
        result = CliRunner().invoke(cli, [role, "--config", str(config), *words])
    structlog.reset_defaults()
    assert result.exit_code == 1
    text = f"error: data = {tmp_path}/file/data: cannot be made: Not a directory\n"
    assert result.stderr == text


def test_a_word_that_is_not_allowed_is_told_with_those_that_are(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[store]\nflush_disk_type = 'SYNC'\n")
    result = CliRunner().invoke(cli, ["broker", "--config", str(config), "--check"])
    assert "[store] flush_disk_type: allowed: ASYNC_FLUSH, SYNC_FLUSH" in result.stderr


@pytest.mark.parametrize(
    ("role", "kind"), [("broker", BrokerConfig), ("nameserver", NameserverConfig)]
)
def test_the_example_has_every_key_with_its_default(role: str, kind: type[msgspec.Struct]) -> None:
    """Read back it is the default configuration, key by key; without the marks before the keys."""
    result = CliRunner().invoke(cli, [role, "--config-example"])
    assert result.exit_code == 0
    assert load(kind, result.stdout, {}) == kind()
    keys = re.sub(r"^#(?=\w)", "", result.stdout, flags=re.MULTILINE)
    assert load(kind, keys, {}) == kind()
    assert names_of(tomllib.loads(keys)) == names_of(msgspec.to_builtins(kind()))
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def names_of(tree: dict[str, object]) -> dict[str, object]:
    return {
        name: names_of(value) if isinstance(value, dict) else None for name, value in tree.items()
    }


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """No traceback for a mistyped path."""
    result = CliRunner().invoke(cli, ["broker", "--config", str(tmp_path / "none"), "--check"])
    assert result.exit_code == 1
    assert "No such file" in result.stderr


def test_log_lines_are_key_value_with_tracebacks_below() -> None:
    """A traceback keeps its lines: `up` shows the end of it."""
    event = {"event": "process.crashed", "level": "critical", "role": "broker"}
    line = "level=critical event=process.crashed role=broker"
    assert lines_for_people(None, "", {**event}) == line
    text = lines_for_people(None, "", {**event, "exception": "Traceback:\n  line"})
    assert text == f"{line}\nTraceback:\n  line"


def test_a_peers_text_cannot_act_on_the_terminal_or_fill_the_disk() -> None:
    """Control characters are shown as escapes, and a long text is cut with its length told."""
    hostile = {"event": "refused", "topic": "a\x1b[2J\r\n\0\u202e", "long": "x" * 100_000}
    line = lines_for_people(None, "", bounded(None, "", {**hostile}))
    assert line.isprintable()
    assert r"\x1b[2J" in line
    assert len(line) < LOGGED_CHARS_MAX + 200
    assert "(100000 characters)" in line
    trace = bounded(None, "", {"event": "e", "exception": "t" * 5_000})["exception"]
    assert len(trace) == 5_000


def test_every_command_can_be_imported_and_helps() -> None:
    """The table of lazy commands is true."""
    runner = CliRunner()
    overview = runner.invoke(cli, ["--help"]).stdout
    for name in COMMANDS:
        assert name in overview
        result = runner.invoke(cli, [name, "--help"])
        assert result.exit_code == 0
        assert "Usage:" in result.stdout


def test_an_unknown_command_is_a_usage_error() -> None:
    """Exit code 2."""
    assert CliRunner().invoke(cli, ["tipoc"]).exit_code == 2


def test_help_fits_a_terminal() -> None:
    """No line is longer than 80 columns, and no command's text is cut in its group's list."""
    for words, command in every_command(cli, []):
        result = CliRunner().invoke(cli, [*words, "--help"], env={"COLUMNS": "80"})
        assert [line for line in result.stdout.splitlines() if len(line) > 80] == []
        if isinstance(command, click.Group) and words != ["lab"]:
            listed = result.stdout.partition("Commands:")[2]
            assert [line for line in listed.splitlines() if line.endswith("...")] == [], words
    assert all(len(text) <= 60 for _, text in COMMANDS.values())


def every_command(
    command: click.Command, words: list[str]
) -> Iterator[tuple[list[str], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from every_command(inner, [*words, name])
