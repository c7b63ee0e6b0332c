"""The roles' commands: configuration, and what their logs look like."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from broker_trio.cli.main import COMMANDS, cli
from broker_trio.cli.roles import LOGGED_CHARS_MAX, bounded, lines_for_people


@pytest.mark.parametrize("role", ["nameserver", "broker"])
def test_check_accepts_an_empty_file(tmp_path: Path, role: str) -> None:
    """Every setting has a default; nothing is started and nothing created."""
    config = tmp_path / "config.toml"
    config.write_text("")
    result = CliRunner().invoke(cli, [role, "--config", str(config), "--check"])
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
