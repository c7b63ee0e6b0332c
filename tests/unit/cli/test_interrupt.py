"""Ctrl-C and the end of stdin: what a person at a terminal does to `produce` and `consume`."""

import itertools
import os
import signal
import subprocess
import sys

import pytest

from broker_trio.cli.produce import LINE_BYTES_MAX, Line, lines_of

from .live import live


async def lines(chunks: list[bytes]) -> list[Line]:
    """What is sent of a stdin that gives these pieces, one a read, and then ends."""
    reads = itertools.chain(chunks, itertools.repeat(b""))
    return [line async for line in lines_of(lambda _size: next(reads))]


@pytest.mark.trio
async def test_lines_are_put_together_and_counted() -> None:
    """However the bytes arrive; empty lines count and are not sent, the last needs no end."""
    assert await lines([b"on", b"e\r\n\ntw", b"o\nthree"]) == [
        Line(1, b"one"),
        Line(3, b"two"),
        Line(4, b"three"),
    ]
    assert await lines([]) == []


@pytest.mark.trio
async def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    """It becomes several messages of the largest size."""
    found = await lines([b"x" * (LINE_BYTES_MAX // 2)] * 5)
    assert [len(line.body) for line in found] == [
        LINE_BYTES_MAX,
        LINE_BYTES_MAX,
        LINE_BYTES_MAX // 2,
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("produce", "orders"), 130, "interrupted: 1 stored, 0 refused, 0 not sent, 0 of unknown"),
        (("consume", "orders", "--from-first", "--follow"), 0, "1 messages"),
    ],
)
def test_ctrl_c_ends_with_a_sum(words: tuple[str, ...], code: int, text: str) -> None:
    """No abort of the interpreter, no traceback: what was done, and an exit code that says so."""
    with live() as cluster:
        cluster.run("topic", "create", "orders")
        if words[0] == "consume":
            cluster.run("message", "send", "orders", "hello")
        command = [sys.executable, "-m", "broker_trio", *words, "-n", cluster.nameservers]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            if words[0] == "produce":
                os.write(running.stdin.fileno(), b"hello\n")
            assert running.stdout.readline()
            running.send_signal(signal.SIGINT)
            _, errors = running.communicate(timeout=90)
        assert (running.returncode, text in errors.decode()) == (code, True), errors.decode()
        assert b"Traceback" not in errors
