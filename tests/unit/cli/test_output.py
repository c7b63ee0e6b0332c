"""Tables: what gives way on a narrow terminal, what never does, and what a peer cannot do."""

import pytest
from rich.console import Console

from broker_trio.cli.output import (
    Column,
    Styled,
    bytes_text,
    make_table,
    one_line,
    print_facts,
    print_table,
)
from broker_trio.cli.watch import Moved

ID = "7F00000100006873000000000000AD04"
COLUMNS = ("offset", Column("message id", "whole"), "tags", Column("body", "cut"))


def drawn(width: int, rows: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("broker_trio.cli.output.width", lambda: width)
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(make_table("", COLUMNS, rows))
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_ids_stay_whole_and_bodies_are_cut(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a message, as wide as the terminal at most."""
    lines = drawn(width, [(1, ID, "TagA", "x" * 200), (12, ID, "TagB", "short")], monkeypatch)
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert all(ID in line for line in lines[1:])
    assert lines[1].rstrip().endswith("…")
    assert "short" in lines[2]


def test_on_a_very_narrow_terminal_texts_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(60, [(1, ID, "a-long-tag-that-has-to-be-folded", "x" * 50)], monkeypatch)
    assert all(len(line) <= 60 for line in lines)
    assert any(ID in line for line in lines)


def test_numbers_stand_to_the_right_gaps_and_styled_ones_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [("a", 5, None, Styled("7", "warn")), ("b", 12_345, 1.25, Styled("12", "ok"))]
    print_table("title", ("name", "count", "rate", "lag"), rows)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "title",
        "name  count  rate  lag",
        "a         5          7",
        "b     12345   1.2   12",
    ]


def test_nothing_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("", COLUMNS, [], empty="no message")
    assert capsys.readouterr().out == "no message\n"


def test_a_pipe_gets_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not a terminal is 240 wide, whatever COLUMNS says."""
    print_table("", COLUMNS, [(1, ID, "TagA", "x" * 120)])
    assert "x" * 120 in capsys.readouterr().out


def test_a_peer_s_text_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters become blanks, in tables and in facts."""
    evil = "a\x1b[2Jb\rc\n"
    assert one_line(evil) == "a [2Jb c "
    print_table("", ("x",), [(evil,)])
    print_facts([("name", evil)])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (1 << 40, "1.0 TiB")]
)
def test_sizes_have_a_unit(size: int, text: str) -> None:
    assert bytes_text(size) == text


def test_rates_need_two_looks() -> None:
    """None at the first look and for what was not there; else the change a second."""
    moved = Moved()
    moved.look(10.0, {"a": 5})
    assert (moved.per_s("a"), moved.moving) == (None, False)
    moved.look(12.0, {"a": 9, "b": 1})
    assert (moved.per_s("a"), moved.per_s("b"), moved.per_s("c")) == (2.0, None, None)
    moved.look(14.0, {"a": 5})
    assert moved.per_s("a") == -2.0
