"""`python -m grafana.src` writes every generated file; `--check` names those that differ."""

import sys
from collections.abc import Iterator
from pathlib import Path

from grafana.src import catalogue_page

ROOT = Path(__file__).parents[2]


def outputs() -> Iterator[tuple[Path, str]]:
    """Every generated file with its text."""
    yield ROOT / "docs/operating/metrics.md", catalogue_page.page()


def main() -> int:
    differ = [(path, text) for path, text in outputs() if text_of(path) != text]
    for path, text in differ:
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if differ and "--check" in sys.argv else 0


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
