"""Subscriptions: from an expression to codes that consume-queue units are compared with."""

import pytest

from broker_trio.model.hashes import tags_code
from broker_trio.model.subscription import TAGS_MAX, build_subscription


@pytest.mark.parametrize("expression", ["*", "", None, "  "])
def test_everything(expression):
    """A star, nothing and blanks mean every message."""
    subscription = build_subscription("T", expression)
    assert subscription.sub_string == "*"
    assert subscription.matches(0)
    assert subscription.matches(2598919)


def test_tags():
    """Tags are split at ||, trimmed, and matched by their Java hash."""
    subscription = build_subscription("T", " TagA ||TagB||", sub_version=5)
    assert subscription.tags_set == {"TagA", "TagB"}
    assert subscription.code_set == {2598919, 2598920}
    assert subscription.sub_version == 5
    assert list(map(subscription.matches, (2598919, 2598920, 2598921, 0))) == [
        True,
        True,
        False,
        False,
    ]


def test_only_the_low_32_bits_count():
    """A unit's 64-bit code is compared as a signed 32-bit integer, as RocketMQ does."""
    subscription = build_subscription("T", "polygenelubricants")
    code = tags_code("polygenelubricants")
    assert code < 0
    assert subscription.matches(code)
    assert subscription.matches(code & 0xFFFFFFFF)
    assert subscription.matches(code + (7 << 32))


def test_sql():
    """An SQL92 expression is kept as it is and codes do not filter."""
    subscription = build_subscription("T", "a > 1", "SQL92")
    assert (subscription.sub_string, subscription.expression_type) == ("a > 1", "SQL92")
    assert subscription.matches(17)


@pytest.mark.parametrize(
    ("expression", "kind", "reason"),
    [
        (" || ", "TAG", "no tag"),
        ("", "SQL92", "without an expression"),
        ("x", "XPATH", "unknown expression type"),
        ("||".join(map(str, range(TAGS_MAX + 1))), "TAG", "at most"),
    ],
)
def test_refusals(expression, kind, reason):
    """No tag at all, an empty SQL92 expression, an unknown type, too many tags: ValueError."""
    with pytest.raises(ValueError, match=reason):
        build_subscription("T", expression, kind)
