"""What is committed is what the code writes, byte for byte."""

from pathlib import Path

import pytest

from grafana.src.__main__ import ROOT, outputs


@pytest.mark.parametrize(
    ("path", "text"),
    list(outputs()),
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_the_committed_file_is_the_generated_one(path: Path, text: str) -> None:
    """`python -m grafana.src` would change nothing."""
    assert path.read_text() == text, f"run: python -m grafana.src ({path.relative_to(ROOT)})"
