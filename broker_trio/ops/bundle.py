"""What a wheelhouse holds, and how a host proves that it got all of it, unchanged. Pure.

    OUT/broker-trio-0.3.0-py3.11.tar
      ├─ manifest.json       version, python, each file's sha256 and size, one digest over all
      ├─ requirements.lock   name==version --hash=sha256:…  (pip: --no-index --require-hashes)
      ├─ compiled.zip        their bytecode, where the builder's Python is the hosts'
      └─ *.whl               ours, everything that it needs, and pip itself

A wheel without a `.data` folder is installed by unpacking it, and its bytecode comes along, so that
small hosts compile nothing. With `.data` pip does it; hosts need none of their own, for a wheel of
pip runs from its file. The digest names an installation: equal digests are equal files, so a host
that has it has nothing to do.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from typing import Final

import msgspec

from broker_trio.model.errors import ConfigError

OURS: Final = "broker-trio"
LOCK: Final = "requirements.lock"
MANIFEST: Final = "manifest.json"
COMPILED: Final = "compiled.zip"
WHEEL: Final = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")


class Wheel(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the bundle. `size` in bytes, `sha256` in hex."""

    file: str
    name: str
    version: str
    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the bundle is. `python`: the minor version that its wheels are for, as `3.11`."""

    version: str
    python: str
    pip: str  # the file name of pip's wheel
    digest: str
    wheels: tuple[Wheel, ...]
    compiled: str = ""  # sha256 of the bytecode; empty where there is none

    @property
    def tar(self) -> str:
        """The bundle's file name."""
        return f"{OURS}-{self.version}-py{self.python}.tar"


def wheel_of(file: str, content: bytes) -> Wheel:
    """The entry of one file. Raises `ConfigError` for a name that no wheel has."""
    found = WHEEL.fullmatch(file)
    if found is None:
        raise ConfigError(f"{file} is no wheel: a bundle holds nothing that must be built")
    name = re.sub(r"[-_.]+", "-", found["name"]).lower()
    digest = hashlib.sha256(content).hexdigest()
    return Wheel(file=file, name=name, version=found["version"], sha256=digest, size=len(content))


def manifest_of(files: Mapping[str, bytes], python: str, compiled: bytes = b"") -> Manifest:
    """The manifest of these wheels. Raises `ConfigError` where one is missing or there twice."""
    wheels = tuple(wheel_of(file, files[file]) for file in sorted(files))
    names = [wheel.name for wheel in wheels]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two versions of {', '.join(double)} in one bundle")
    by_name = {wheel.name: wheel for wheel in wheels}
    if missing := {OURS, "pip"} - by_name.keys():
        raise ConfigError(f"the bundle lacks {' and '.join(sorted(missing))}")
    whole = "\n".join(f"{wheel.sha256}  {wheel.file}" for wheel in wheels)
    return Manifest(
        version=by_name[OURS].version,
        python=python,
        pip=by_name["pip"].file,
        digest=hashlib.sha256(f"{python}\n{whole}".encode()).hexdigest(),
        wheels=wheels,
        compiled=hashlib.sha256(compiled).hexdigest() if compiled else "",
    )


def lock_of(manifest: Manifest) -> str:
    """What `pip install --require-hashes -r` takes: every wheel but pip's own."""
    lines = [
        f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n"
        for wheel in manifest.wheels
        if wheel.name != "pip"
    ]
    return "".join(lines)


def tar_of(manifest: Manifest, files: Mapping[str, bytes], compiled: bytes = b"") -> bytes:
    """The bundle's bytes; the same for the same wheels, whoever packs them, and whenever."""
    texts = {
        MANIFEST: msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n",
        LOCK: lock_of(manifest).encode(),
    } | ({COMPILED: compiled} if compiled else {})
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in sorted({**texts, **files}.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
