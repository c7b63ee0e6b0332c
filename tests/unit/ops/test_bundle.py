"""What a wheelhouse says of itself, and when there is none to be had."""

import hashlib
import io
import json
import tarfile

import pytest

from broker_trio.model.errors import ConfigError
from broker_trio.ops.bundle import lock_of, manifest_of, tar_of, wheel_of

FILES = {
    "broker_trio-0.3.0-py3-none-any.whl": b"ours",
    "pip-26.0-py3-none-any.whl": b"pip",
    "typing_extensions-4.16.0-py3-none-any.whl": b"types",
    "cbor2-6.1.0-cp311-cp311-manylinux_2_28_x86_64.whl": b"native",
}


def test_a_manifest_names_every_file_with_its_hash() -> None:
    """Version and pip are told apart, names are as indexes write them, hashes are of the bytes."""
    manifest = manifest_of(FILES, "3.11")
    assert (manifest.version, manifest.python) == ("0.3.0", "3.11")
    assert manifest.pip == "pip-26.0-py3-none-any.whl"
    assert manifest.tar == "broker-trio-0.3.0-py3.11.tar"
    assert [wheel.name for wheel in manifest.wheels] == [
        "broker-trio", "cbor2", "pip", "typing-extensions",
    ]  # fmt: skip
    assert manifest.wheels[0].sha256 == hashlib.sha256(b"ours").hexdigest()
    assert manifest.wheels[0].size == 4


def test_the_lock_pins_all_but_pip() -> None:
    """Each line is a requirement with one hash; pip installs itself from nowhere."""
    lines = lock_of(manifest_of(FILES, "3.11")).splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "broker-trio==0.3.0", "cbor2==6.1.0", "typing-extensions==4.16.0",
    ]  # fmt: skip
    assert lines[0].endswith("--hash=sha256:" + hashlib.sha256(b"ours").hexdigest())


def test_equal_wheels_are_equal_bundles() -> None:
    """The digest and the tar depend on the files alone, and on every byte of them."""
    manifest, again = manifest_of(FILES, "3.11"), manifest_of(dict(reversed(FILES.items())), "3.11")
    assert tar_of(manifest, FILES) == tar_of(again, FILES)
    changed = {**FILES, "pip-26.0-py3-none-any.whl": b"pap"}
    assert manifest_of(changed, "3.11").digest != manifest.digest
    assert manifest_of(FILES, "3.12").digest != manifest.digest
    with tarfile.open(fileobj=io.BytesIO(tar_of(manifest, FILES))) as tar:
        assert sorted(tar.getnames()) == sorted([*FILES, "manifest.json", "requirements.lock"])
        inside = tar.extractfile("manifest.json")
        assert inside is not None
        assert json.load(inside)["digest"] == manifest.digest


def test_what_must_be_built_is_no_wheel() -> None:
    """A source archive never gets to a host."""
    with pytest.raises(ConfigError, match=r"cbor2-6\.1\.0\.tar\.gz is no wheel"):
        wheel_of("cbor2-6.1.0.tar.gz", b"")


def test_a_bundle_without_pip_or_with_two_versions_is_refused() -> None:
    """Both are found before anything is copied to a host."""
    without = {file: content for file, content in FILES.items() if not file.startswith("pip")}
    with pytest.raises(ConfigError, match="the bundle lacks pip"):
        manifest_of(without, "3.11")
    double = {**FILES, "pip-25.0-py3-none-any.whl": b""}
    with pytest.raises(ConfigError, match="two versions of pip"):
        manifest_of(double, "3.11")


def test_bytecode_rides_along_and_does_not_name_the_installation() -> None:
    """Hosts check its hash; equal wheels are the same release with it or without."""
    plain, with_it = manifest_of(FILES, "3.11"), manifest_of(FILES, "3.11", b"bytecode")
    assert (plain.compiled, with_it.compiled) == ("", hashlib.sha256(b"bytecode").hexdigest())
    assert plain.digest == with_it.digest
    with tarfile.open(fileobj=io.BytesIO(tar_of(with_it, FILES, b"bytecode"))) as tar:
        assert "compiled.zip" in tar.getnames()
