"""Booted hosts for tests: one lab a module, gone when pytest is, however that ends.

A module says what it wants by `LAB = Counts(pairs=1, nameservers=1)`; without that it gets the
eight hosts of `broker-trio lab up`. Without root, or what a lab needs, tests skip and say why;
BROKER_TRIO_REQUIRE_FLEET=1 turns the skip into a failure.
"""

import os
from collections.abc import Iterator

import pytest

from broker_trio.cli.lab import needs
from broker_trio.cli.lab.faults import Faults
from broker_trio.cli.lab.machines import Lab
from broker_trio.ops.lab.plan import LabError, counts_of, make_plan


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
    booted.up(make_plan(name, counts), tied=True)
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
