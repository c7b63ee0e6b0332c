"""Java's properties text, both ways."""

import pytest

from broker_trio.model.errors import RemoteProtocolError
from broker_trio.wire.bodies.config_text import LINES_MAX, format_config, parse_config


@pytest.mark.parametrize(
    ("text", "config"),
    [
        (b"", {}),
        (b"# c\n! d\n\n  \na=1\n", {"a": "1"}),
        (b"a = 1 \nb:2\nc 3\nd", {"a": "1 ", "b": "2", "c": "3", "d": ""}),
        (b"a=b=c", {"a": "b=c"}),
        (b"a\\=b=c", {"a=b": "c"}),
        (b"a=x\\\n   y\nb=\\\\\nc=1", {"a": "xy", "b": "\\", "c": "1"}),
        (b"a=\\t\\u00e9\\q", {"a": "\té" + "q"}),
        (b"a=1\r\nb=2\ra=3", {"a": "3", "b": "2"}),
        (b"a=1\\", {"a": "1"}),
        (b"a=\\ud83d\\ude00\\ud83d", {"a": "\U0001f600\ufffd"}),
        ("a=é".encode(), {"a": "é"}),
    ],
)
def test_reads_what_java_reads(text: bytes, config: dict[str, str]) -> None:
    """Comments, separators, continuations and escapes mean what they mean in Java."""
    assert parse_config(text) == config


def test_writes_one_sorted_line_a_key() -> None:
    """What is written is one key=value a line, in the keys' order."""
    assert format_config({"b": "2", "a": "1 1"}) == b"a=1 1\nb=2\n"


@pytest.mark.parametrize("data", [b"\xff=1", b"\n" * (LINES_MAX + 1)])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    """Neither other encodings nor endless texts are taken."""
    with pytest.raises(RemoteProtocolError):
        parse_config(data)
