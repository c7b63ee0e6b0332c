"""The catalogue: conventions that each family keeps."""

import pytest

from broker_trio.metrics.catalogue import CATALOGUE, FAMILIES, by_name, exposed
from broker_trio.metrics.families import Family, Kind, Status

OWN_UNITS = ("seconds", "bytes")
NATIVE = tuple(f for f in FAMILIES if f.name.startswith("rocketmq_"))
OURS = tuple(f for f in FAMILIES if f.name.startswith("brokertrio_"))


@pytest.mark.parametrize("family", OURS, ids=lambda f: f.name)
def test_our_families_use_base_units_in_their_names(family: Family) -> None:
    """A unit stands at the end of the name, and is one of Prometheus' base units."""
    assert family.unit in ("", *OWN_UNITS)
    if family.unit:
        assert family.name.removesuffix("_total").endswith(f"_{family.unit}")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_help_reads_as_a_sentence(family: Family) -> None:
    """Help begins like a sentence and ends with a full stop."""
    assert family.help.endswith(".")
    assert family.help[0].isupper() or family.help[0].isdigit()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_no_label_has_values_without_bound(family: Family) -> None:
    """Client ids, keys and message ids never become labels."""
    assert not {"client_id", "key", "msg_id", "message_id"} & set(family.labels)
    assert "le" not in family.labels


def test_native_families_carry_the_identity_first() -> None:
    """RocketMQ's dashboards filter by cluster, node type and node id."""
    for family in NATIVE:
        assert family.label_names[:3] == ("cluster", "node_type", "node_id")


def test_a_name_stands_once() -> None:
    """Two rows of one name are refused."""
    assert len(CATALOGUE) == len(FAMILIES)
    with pytest.raises(AssertionError, match="twice"):
        by_name([FAMILIES[0], FAMILIES[0]])


def test_nothing_of_a_later_feature_is_exposed() -> None:
    """A family whose feature is not built is on nobody's page."""
    names = {family.name for role in ("broker", "nameserver") for family in exposed(role)}
    assert not names & {f.name for f in FAMILIES if f.status is Status.LATER}
    assert "brokertrio_ready" in names


def test_a_gauge_without_known_values_has_no_zero() -> None:
    """0 would be a claim about something nobody measured."""
    gauge = Family("brokertrio_x", Kind.GAUGE, "X.")
    counter = Family("brokertrio_x_total", Kind.COUNTER, "X.")
    assert gauge.zeros == ()
    assert counter.zeros == ((),)
