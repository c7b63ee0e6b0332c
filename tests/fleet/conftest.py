"""Booted hosts for tests: one lab a module, gone when pytest is, however that ends.

A module says what it wants by `LAB = Counts(pairs=1, nameservers=1)`; without that it gets the
eight hosts of `broker-trio lab up`; `MOUNTS` shows them files of this machine. `fleet` is one
deployed lab for the whole session (a pair, two nameservers): its tests leave the cluster whole.
Without root, or what a lab needs, tests skip and say why; BROKER_TRIO_REQUIRE_FLEET=1 turns the
skip into a failure.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker_trio.cli.lab import needs
from broker_trio.cli.lab.faults import Faults
from broker_trio.cli.lab.machines import Lab
from broker_trio.ops.lab.plan import Counts, LabError, counts_of, make_plan
from tests.fleet.plays import PROGRAM, ROOT, Fleet, Play
from tests.fleet.verbs import grown, saved, small  # noqa: F401 - fixtures
from tests.interop.cache import java_class_path
from tests.interop.driver import Driver

BUILD_SECONDS = 900


@pytest.fixture(scope="session")
def lab_can_run() -> None:
    """Skips what needs a lab, where there can be none."""
    try:
        needs.check()
    except LabError as error:
        text = f"{error.message}; {error.advice}"
        if os.environ.get("BROKER_TRIO_REQUIRE_FLEET"):
            pytest.fail(text)
        pytest.skip(text)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, lab_can_run: None) -> Iterator[Lab]:
    """All hosts of the module's plan, booted; tied to this process."""
    name = f"test-{os.getpid()}"
    counts = getattr(request.module, "LAB", counts_of(8))
    booted = Lab(name)
    mounts = getattr(request.module, "MOUNTS", ())
    booted.up(make_plan(name, counts, mounts=mounts), tied=True)
    try:
        yield booted
    finally:
        booted.down()


@pytest.fixture
def faults(lab: Lab) -> Iterator[Faults]:
    """Faults that are healed after the test; hosts that it left off are booted again."""
    yield Faults(lab)
    for host in lab.plan.hosts:
        lab.power_on(host.name)
    Faults(lab).heal()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheelhouse of this checkout, built once; BROKER_TRIO_BUNDLE names one that is there."""
    if told := os.environ.get("BROKER_TRIO_BUNDLE"):
        return Path(told)
    return build_bundle(ROOT, tmp_path_factory.mktemp("bundle"))


def build_bundle(source: Path, folder: Path) -> Path:
    """`broker-trio bundle` of a checkout."""
    command = [*PROGRAM, "bundle", str(folder), "--project", str(source)]
    subprocess.run(command, check=True, timeout=BUILD_SECONDS, stdin=subprocess.DEVNULL)
    (tar,) = folder.glob("*.tar")
    return tar


@pytest.fixture(scope="session")
def bare(
    lab_can_run: None, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Booted hosts with nothing of ours on them."""
    name = f"fleet-{os.getpid()}"
    lab = Lab(name)
    lab.up(make_plan(name, Counts(pairs=1, nameservers=2)), tied=True)
    try:
        yield Fleet(lab, bundle, tmp_path_factory.mktemp("fleet"))
    finally:
        lab.down()


@pytest.fixture(scope="session")
def bare_check(bare: Fleet) -> Play:
    """What `--check --diff` says of hosts with nothing on them."""
    return bare.check()


@pytest.fixture(scope="session")
def deployment(bare: Fleet, request: pytest.FixtureRequest) -> Play:
    """The first `site.yml`; after the look at bare hosts, where a test wants one."""
    if any("bare_check" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("bare_check")
    return bare.play("site")


@pytest.fixture
def fleet(bare: Fleet, deployment: Play) -> Fleet:
    """The session's cluster, deployed and whole."""
    return bare


@pytest.fixture
def java(lab_can_run: None, bare: Fleet, tmp_path: Path) -> Iterator[Driver]:
    """The unmodified Java client on the controller, in the lab's network."""
    class_path = java_class_path()
    driver = bare.lab.in_network(lambda: Driver(class_path, tmp_path / "driver"))
    yield driver
    driver.close()


@pytest.fixture(scope="session")
def next_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same program under the next version's name."""
    source = tmp_path_factory.mktemp("next")
    listed = ["git", "ls-files", "-co", "--exclude-standard", "--"]
    done = subprocess.run(
        [*listed, "broker_trio", "pyproject.toml", "README.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in done.stdout.split():
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    version = source / "broker_trio/__init__.py"
    text = version.read_text()
    changed = re.sub(r'^__version__ = ".*"$', '__version__ = "0.9.9"', text, flags=re.MULTILINE)
    assert changed != text
    version.write_text(changed)
    return build_bundle(source, tmp_path_factory.mktemp("next-bundle"))
