"""Users' programs are typed: the sample passes mypy and pyright, both strict, and mistakes do not.

pyright comes as basedpyright, whose wheel brings its own engine: nothing is downloaded by the test.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SAMPLE = Path(__file__).with_name("sample.py")
WRONG = """
from broker_trio import Client, Json

async def wrong(mq: Client) -> None:
    await mq.send("t", 5)
    await mq.send("t", {"a": 1}, codec=Json(list[int]))
    await mq.send("t", b"x", tags="a")
    number: int = await mq.send("t", b"x")
"""
MISTAKES = {5, 6, 7, 8}  # lines


def pyright(folder: Path, *files: Path) -> list[int]:
    """The lines with errors."""
    config = folder / "pyrightconfig.json"
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}
    config.write_text(json.dumps({**settings, "include": [str(file) for file in files]}))
    done = subprocess.run(
        [
            sys.executable, "-m", "basedpyright", "-p", str(config), "--outputjson",
            "--pythonpath", sys.executable,
        ],
        capture_output=True, check=False, cwd=ROOT,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == len(files)
    return [found["range"]["start"]["line"] + 1 for found in told["generalDiagnostics"]]


def mypy(folder: Path, file: Path) -> list[int]:
    """The lines with errors."""
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--config-file", "",
            "--follow-imports", "silent", "--cache-dir", str(folder / "cache"), str(file),
        ],
        capture_output=True, check=False, cwd=ROOT, text=True,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    return [int(line.split(":")[1]) for line in errors]


@pytest.mark.slow
@pytest.mark.parametrize("check", [pyright, mypy])
def test_a_users_program_is_typed(check, tmp_path: Path):
    """No error in the sample; one for each mistake of a wrong program."""
    assert check(tmp_path, SAMPLE) == []
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    assert set(check(tmp_path, wrong)) == MISTAKES
