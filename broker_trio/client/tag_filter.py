"""Which messages of a topic a group wants, by tag: `*`, or `TagA || TagB`.

Brokers compare hashes of tags, and two tags may share one: what they let pass is compared here once
more, as text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker_trio.client.errors import InvalidArgument
from broker_trio.model.message import MessageExt
from broker_trio.model.subscription import ALL, SubscriptionData, build_subscription

SQL: Final = re.compile(r"[<>]|\w\s+(=|and|or|not|in|is|between|like)\s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TagFilter:
    """An expression and the tags in it; no tags: everything passes."""

    expression: str
    tags: frozenset[str]

    @classmethod
    def parse(cls, expression: str) -> "TagFilter":
        """Raises `InvalidArgument` with the reason, also for SQL: no message has such a tag."""
        if SQL.search(expression):
            raise InvalidArgument(
                f"filter = {expression!r} reads like SQL, which is not supported: name tags, "
                "as in 'new || paid'"
            )
        try:
            built = build_subscription("any", expression)
        except ValueError as error:
            raise InvalidArgument(f"filter = {expression!r}: {error}") from error
        return cls(built.sub_string, built.tags_set)

    def only(self, messages: list[MessageExt]) -> list[MessageExt]:
        """Those that really have one of the tags."""
        if not self.tags:
            return messages
        return [message for message in messages if message.tags in self.tags]

    def subscription(self, topic: str, version: int) -> SubscriptionData:
        """What a heartbeat says of it. `version` in ms: a newer one replaces an older one."""
        return build_subscription(topic, self.expression, sub_version=version)


EVERYTHING: Final = TagFilter(ALL, frozenset())


def filters_of(
    topics: str | Iterable[str],
    filter: str,  # noqa: A002 -- what our API calls it
) -> dict[str, TagFilter]:
    """One filter for all topics, in their order. Raises `InvalidArgument`."""
    names = [topics] if isinstance(topics, str) else list(topics)
    if not names:
        raise InvalidArgument("a subscription needs at least one topic")
    return dict.fromkeys(names, TagFilter.parse(filter))
