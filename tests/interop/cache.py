"""What the interop tests need built, kept outside the repository and made once for each state.

    $XDG_CACHE_HOME/broker-trio-interop/
        lib-<hash of pom.xml>/                   the published jars
        classes-<hash of pom.xml and sources>/   the compiled driver
        node-<hash of package.json>/             node_modules

A folder is filled under another name and then renamed, so one that exists is complete. What is not
installed here skips the tests that need it; BROKER_TRIO_REQUIRE_INTEROP=1 makes them fail instead.
Apache's programs come from a folder beside the repository; without it the tests of ours remain.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

import pytest

HERE: Final = Path(__file__).parent
SHARED: Final = Path(os.environ.get("BROKER_TRIO_PEERS", HERE.parents[2] / "shared" / "peers"))
BUILD_SECONDS: Final = 300.0


def give_up(reason: str) -> NoReturn:
    """Skip the test that asked, or fail it where this machine has promised to run it."""
    if os.environ.get("BROKER_TRIO_REQUIRE_INTEROP") == "1":
        pytest.fail(f"BROKER_TRIO_REQUIRE_INTEROP=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def require(*programs: str) -> None:
    """Give up unless all of them are installed."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        give_up(f"not installed: {', '.join(missing)}")


def apache() -> Path:
    """The script that runs Apache's nameserver and broker; its jars are fetched by now."""
    require("java", "javac", "mvn")
    script = SHARED / "peers"
    if not script.exists():
        pytest.skip(f"no Apache to run: {script} is not there (BROKER_TRIO_PEERS names the folder)")
    run([str(script), "setup"])
    return script


def java_class_path() -> str:
    """Jars and compiled driver, as the argument of -cp."""
    require("java", "javac", "mvn")
    pom, sources = HERE / "java" / "pom.xml", sorted((HERE / "java").glob("*.java"))
    jars = built("lib", [pom], lambda folder: copy_jars(pom, folder))
    names = [str(source) for source in sources]
    classes = built(
        "classes",
        [pom, *sources],
        lambda folder: run(
            [
                "javac",
                "-nowarn",
                "-encoding",
                "UTF-8",
                "-cp",
                f"{jars}/*",
                "-d",
                str(folder),
                *names,
            ]
        ),
    )
    return f"{classes}:{jars}/*"


def node_modules() -> Path:
    """The folder that holds node_modules."""
    require("node", "npm")
    manifest = HERE / "node" / "package.json"

    def install(folder: Path) -> None:
        shutil.copy(manifest, folder)
        run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"], folder)

    return built("node", [manifest], install)


def copy_jars(pom: Path, folder: Path) -> None:
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    run(["mvn", "-q", "-B", "-f", str(pom), *goal])


def built(name: str, inputs: Sequence[Path], build: Callable[[Path], object]) -> Path:
    """The folder for this state of the inputs, filled by `build` unless it is there already."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in inputs)).hexdigest()[:16]
    folder = cache() / f"{name}-{digest}"
    if not folder.exists():
        fresh = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache()))
        try:
            build(fresh)
            fresh.rename(folder)
        except OSError:
            if not folder.exists():  # else somebody else was faster, with the same content
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


def cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "broker-trio-interop"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(command: Sequence[str], folder: Path | None = None) -> None:
    """Run a build step; its output is shown where it fails."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
