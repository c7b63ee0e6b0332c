"""What a group wants of a topic: all of it, some tags, or an SQL92 expression.

The broker compares hashes (`code_set`) in the consume queue, so a few messages too many may pass;
the client compares the tags themselves. Never trust a client's `code_set`: `build_subscription`
makes it from the expression.
"""

from typing import Final

import msgspec

from broker_trio.model.hashes import signed32, tags_code

ALL: Final = "*"
TAG: Final = "TAG"
SQL92: Final = "SQL92"
TAGS_MAX: Final = 4096  # tags in one expression: a limit of ours against absurd subscriptions


class SubscriptionData(msgspec.Struct, frozen=True, rename="camel"):
    """One topic of a consumer's subscriptions. An empty code set lets everything pass."""

    topic: str
    sub_string: str = ALL
    tags_set: frozenset[str] = frozenset()
    code_set: frozenset[int] = frozenset()
    sub_version: int = 0  # the client's ms; a newer one replaces an older one
    expression_type: str = TAG
    class_filter_mode: bool = False

    def matches(self, tags_code: int) -> bool:
        """Whether a consume-queue unit with this code may interest the group.

        A unit holds 64 bits of which a tag's hash is the low 32, as RocketMQ compares them.
        """
        return not self.code_set or signed32(tags_code) in self.code_set


def build_subscription(
    topic: str, expression: str | None, expression_type: str | None = TAG, sub_version: int = 0
) -> SubscriptionData:
    """The subscription that an expression means. Raises ValueError with a text for the user."""
    kind = expression_type or TAG
    text = (expression or "").strip()
    if kind == SQL92:
        if not text:
            raise ValueError("an SQL92 subscription without an expression")
        return SubscriptionData(topic, text, sub_version=sub_version, expression_type=SQL92)
    if kind != TAG:
        raise ValueError(f"unknown expression type {kind!r}, known are TAG and SQL92")
    if text in ("", ALL):
        return SubscriptionData(topic, sub_version=sub_version)
    tags = frozenset(tag for piece in text.split("||") if (tag := piece.strip()))
    if not tags:
        raise ValueError(f"no tag in the expression {text!r}")
    if len(tags) > TAGS_MAX:
        raise ValueError(f"{len(tags)} tags in one expression, at most {TAGS_MAX} are allowed")
    return SubscriptionData(topic, text, tags, frozenset(map(tags_code, tags)), sub_version)
