"""Style that the linter cannot say: sizes, leftovers, files nobody imports, docs in step."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "broker_trio").rglob("*.py"))
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
TEXTS = {".py", ".md", ".toml", ".xml", ".json", ".yml", ".java", ".js", ""}
FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 70
TOP_LEVEL = {
    "pyproject.toml", "broker_trio", "playbooks", "inventory", "grafana", "tests", "README.md",
    "docs",
}  # fmt: skip


def test_no_file_grows_past_the_wall():
    """A source file has at most 700 lines; it is split long before."""
    sizes = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: size for path, size in sizes.items() if size > FILE_LINES_MAX} == {}


def test_no_function_grows_past_the_wall():
    """A function has at most 70 lines, its signature and docstring among them."""
    long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} {lines}")
    assert long == []


def test_every_module_opens_with_a_sentence():
    """The first statement of a module is a docstring that ends its first line like a sentence."""
    bad = []
    for path in SOURCES:
        text = ast.get_docstring(ast.parse(path.read_text()))
        if text is None or not re.search(r"[.:!?]", text):
            bad.append(str(path.relative_to(ROOT)))
    assert bad == []


def test_nothing_is_left_to_fix():
    """No leftover markers of unfinished work."""
    marker = re.compile(r"\b(FIX" + "ME|TO" + "DO|XX" + r"X)\b(?!X)")
    left = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marker.search(line.replace("SCHEDULE_TOPIC_XX" + "XX", ""))
    ]
    assert left == []


def test_every_channel_has_a_bound():
    """No memory channel is unbounded."""
    found = [str(p.relative_to(ROOT)) for p in SOURCES if "math.inf" in p.read_text()]
    assert found == []


def test_every_module_is_imported_by_someone():
    """A file that nothing imports is dead; entry points are named here."""
    entry_points = {"broker_trio.__main__", "broker_trio.cli.main"}
    imported = set()
    texts = [p.read_text() for p in SOURCES + sorted((ROOT / "tests").rglob("*.py"))]
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module)
                imported |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    lazily = set(re.findall(r'"(broker_trio\.[a-z_.]+)(?::\w+)?"', "\n".join(texts)))
    modules = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts)
        for p in SOURCES
        if p.name != "__init__.py"
    }
    assert modules - imported - lazily - entry_points == set()


def test_top_level_holds_what_the_design_says():
    """Nothing but the agreed folders and files lies at the top (dotfiles apart)."""
    found = {p.name for p in ROOT.iterdir() if not p.name.startswith(".")}
    assert found - TOP_LEVEL - {"uv.lock"} == set()


@pytest.mark.parametrize("path", DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_document_has_one_title(path):
    """A document starts with its only first-level heading."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    titles = [line for line in text.splitlines() if line.startswith("# ")]
    assert len(titles) == 1
    assert text.lstrip().startswith("# ")


def test_no_path_of_one_machine_and_no_registry_is_named():
    """What is committed holds no developer's path and no package registry's host."""
    hosts = ("pypi" + ".org", "npmjs" + ".", "maven" + ".org", "deb" + "ian.org", "/wo" + "rk/")
    bad = []
    for folder in ("broker_trio", "tests", "docs", ".ci", "playbooks", "inventory", "grafana"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in TEXTS and path.is_file():
                text = path.read_text(errors="replace")
                bad += [f"{path.relative_to(ROOT)}: {h}" for h in hosts if h in text]
    assert bad == []
