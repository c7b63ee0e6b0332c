"""The properties string."""

import pytest

from broker_trio.model.errors import LocalProtocolError
from broker_trio.wire.properties import find_property, format_properties, parse_properties

ODD = [
    (b"", {}),
    (b"A\x01b\x02", {"A": "b"}),
    (b"A\x01b", {"A": "b"}),
    (b"A\x01b\x02\x02\x02", {"A": "b"}),
    (b"A\x01b\x02A\x01c\x02", {"A": "c"}),
    (b"A\x01b\x02A\x01\x02", {"A": "b"}),
    (b"A\x01\x02\x01b\x02C\x02D\x01d", {"D": "d"}),
    (b"A\x01b\x01c\x02", {"A": "b\x01c"}),
    (b"XA\x01no\x02A\x01yes\x02", {"XA": "no", "A": "yes"}),
    (b"A\x01yes\x02XA\x01no\x02", {"A": "yes", "XA": "no"}),
    (b"B\x01A\x01no\x02A\x01yes", {"B": "A\x01no", "A": "yes"}),
    (b"A\x01yes\x02B\x01A\x01no", {"A": "yes", "B": "A\x01no"}),
]


@pytest.mark.parametrize(("raw", "expected"), ODD)
def test_reading(raw, expected):
    """Empty pieces, names and values are skipped; the later of two wins; the last 0x02 may lack."""
    assert expected == parse_properties(raw)
    assert expected == parse_properties(raw.decode())


@pytest.mark.parametrize(("raw", "expected"), ODD)
def test_finding_one(raw, expected):
    """find_property agrees with the whole parse and is fooled by no value and no longer name."""
    for name in ("A", "B", "C", "D", "XA"):
        value = find_property(raw, name.encode())
        assert expected.get(name) == (None if value is None else value.decode())


def test_writing():
    """Every pair ends in 0x02; pairs without a value are left out."""
    assert format_properties({"KEYS": "k1", "E": "", "TAGS": "ä"}) == (
        b"KEYS\x01k1\x02TAGS\x01\xc3\xa4\x02"
    )


@pytest.mark.parametrize("pair", [("", "v"), ("a\x01", "v"), ("a\x02", "v"), ("a", "v\x02")])
def test_separators_are_refused(pair):
    """A pair that would change its neighbours is our caller's mistake."""
    with pytest.raises(LocalProtocolError):
        format_properties(dict([pair]))
