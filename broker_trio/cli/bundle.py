"""`broker-trio bundle`: the wheelhouse that hosts are installed from, built once on the controller.

    checkout ──▶ our wheel ─┬─▶ what it needs, as wheels ──▶ manifest, lock ──▶ one tar file
                            └─▶ pip's wheel

The only step that asks a package index, by pip and uv as they are configured here. Nothing is
built on a host: what has no wheel for the hosts' Python ends the command.
"""

import compileall
import io
import py_compile
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final

import click

from broker_trio.cli.failures import Failure
from broker_trio.cli.output import json_option, print_json

TOOL_TIMEOUT_S: Final = 600
SHOWN_LINES: Final = 12  # of a tool's last words


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The checkout to build from; this one where it is left out.",
)
@click.option("--python", default="3.11", show_default=True, help="The hosts' python3, as 3.11.")
@click.option(
    "--platform", "platforms", multiple=True, help="A wheel tag of the hosts, if not like here."
)
@json_option
def bundle(
    out: Path, *, project: Path | None, python: str, platforms: tuple[str, ...], as_json: bool
) -> None:
    """Build the wheelhouse for hosts without a way out, as one file in OUT."""
    from broker_trio.model.errors import ConfigError  # noqa: PLC0415
    from broker_trio.ops.bundle import manifest_of, tar_of  # noqa: PLC0415

    source = checkout(project)
    with tempfile.TemporaryDirectory(prefix="broker-trio-bundle-") as folder:
        house = Path(folder)
        collect(source, house, python, platforms)
        files = {path.name: path.read_bytes() for path in house.iterdir() if path.suffix == ".whl"}
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        compiled = bytecode(house, house / "compiled") if python == here else b""
    try:
        manifest = manifest_of(files, python, compiled)
    except ConfigError as error:
        raise Failure(f"bundle: {error}") from error
    out.mkdir(parents=True, exist_ok=True)
    target = out / manifest.tar
    unfinished = target.with_suffix(".part")
    unfinished.write_bytes(tar_of(manifest, files, compiled))
    unfinished.replace(target)
    if as_json:
        digest, version = manifest.digest, manifest.version
        print_json({"file": str(target), "version": version, "digest": digest, "python": python})
        return
    size = sum(wheel.size for wheel in manifest.wheels) / 1e6
    click.echo(f"{target}: {manifest.version}, {len(manifest.wheels)} wheels, {size:.1f} MB")


def checkout(project: Path | None) -> Path:
    """Where our sources are. Raises `Failure` where this is an installed package."""
    found = project or Path(__file__).parents[2]
    if not (found / "pyproject.toml").is_file():
        raise Failure(
            f"{found} holds no pyproject.toml: a bundle is built from a checkout",
            "broker-trio bundle OUT --project CHECKOUT",
        )
    return found


def collect(source: Path, house: Path, python: str, platforms: tuple[str, ...]) -> None:
    """Bring our wheel, pip's, and all that ours needs into `house`."""
    uv = shutil.which("uv")
    if uv is None:
        raise Failure("uv is not on the PATH, and it builds the wheel", "pip install uv")
    call([uv, "build", "--quiet", "--wheel", "--out-dir", str(house), str(source)])
    (ours,) = house.glob("*.whl")
    fetch = [uv, "tool", "run", "--quiet", "pip", "download", "--quiet", "--dest", str(house)]
    fetch += ["--disable-pip-version-check", "--only-binary", ":all:", "--python-version", python]
    for platform in platforms:
        fetch += ["--platform", platform]
    call([*fetch, str(ours), "pip"])


def bytecode(house: Path, folder: Path) -> bytes:
    """The bytecode of all wheels in `house`, as a zip of paths below site-packages.

    It is never compared with its source: both come from one bundle, whose hashes were checked.
    """
    for wheel in sorted(house.glob("*.whl")):
        if not wheel.name.startswith("pip-"):
            with zipfile.ZipFile(wheel) as packed:
                packed.extractall(folder)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, invalidation_mode=mode)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*.pyc")):
            entry = zipfile.ZipInfo(str(path.relative_to(folder)))
            packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def call(command: list[str]) -> None:
    """Run a tool. Raises `Failure` with its last lines."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{' '.join(command)}: not done after {TOOL_TIMEOUT_S} s") from error
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-SHOWN_LINES:])
        raise Failure(f"{' '.join(command)}: exit code {done.returncode}\n{last}")
    sys.stderr.write(done.stderr)
